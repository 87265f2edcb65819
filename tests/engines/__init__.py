"""Tests of edge_lstm/engines: every engine's promises, the native engine, ONNX Runtime."""
