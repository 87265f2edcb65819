"""What made the shipped models, their pages and the test vectors: all that needs PyTorch (the `train` extra)."""
