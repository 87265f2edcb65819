"""What can be said of a model beside its outputs: equality with its ONNX graph, and what its gates do on a log."""
