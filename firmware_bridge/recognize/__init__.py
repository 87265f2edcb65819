"""What arrives at a port that nobody has identified: nothing, text, frames of a known kind, or noise."""
