"""What a line of text may look like: one file a shape, each of which reads such lines and writes them."""
