"""The engine for whole graphs: ONNX Runtime behind the same session."""
