"""Checks of a model: against the ONNX graph it came from, and what its gates do on a log."""
