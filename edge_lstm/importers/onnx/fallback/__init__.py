"""Graphs that only ONNX Runtime runs: what their axes and states are, and the model that holds them."""
