"""The engine for ONNX graphs: ONNX Runtime behind the same session."""
