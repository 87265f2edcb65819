"""Other ways to run a model than the machine: ONNX Runtime.

Its rule: onnxruntime is imported here and nowhere else, and only when it is asked for.
"""
