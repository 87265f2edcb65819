"""Tests of edge_lstm/engines: graphs that ONNX Runtime runs behind the same Stream."""
