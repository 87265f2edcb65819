"""The engine of our own: a program laid out for compiled kernels, and the loader of those."""
