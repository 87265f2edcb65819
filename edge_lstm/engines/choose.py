"""Which engine runs a model where the caller names none: ONNX Runtime for a graph, else the native engine."""

from __future__ import annotations

from edge_lstm.core.model import Model
from edge_lstm.engines.protocol import Engine


def engine_for(model: Model) -> Engine:
    """The engine for a model. What one needs (onnxruntime, llvmlite) is imported when it is chosen."""
    if model.program.onnx is not None:
        from edge_lstm.engines.onnxruntime.session import OnnxRuntime

        return OnnxRuntime()
    from edge_lstm.engines.native.session import Native

    return Native()
