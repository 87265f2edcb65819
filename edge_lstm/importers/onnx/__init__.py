"""From an ONNX graph to a program and its meaning in time."""
