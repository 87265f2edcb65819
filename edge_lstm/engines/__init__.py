"""What runs a model: the native engine, ONNX Runtime and plain Python behind one protocol (`protocol.py`).

Its rule: what one engine needs (llvmlite, onnxruntime) is imported in its own folder, and only when it is chosen.
"""
