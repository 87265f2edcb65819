"""edge-lstm: trained recurrent networks on a robot's readings, one at a time, with bit-exact replay.

    model = edge_lstm.load("gait.npz")                # or edge_lstm.import_onnx("gait.onnx")
    stream = model.stream()
    y = stream.step(x)                                # microseconds; the memory stays in the stream

Importing this imports neither numba nor onnx; what needs them does when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_lstm.analysis.verify import verify
    from edge_lstm.core.model import Channel, Feedback, Model, Policy
    from edge_lstm.core.storage import load, save
    from edge_lstm.errors import EdgeLstmError
    from edge_lstm.importers import from_arrays, import_onnx
    from edge_lstm.quantization import quantize
    from edge_lstm.streams.missing import Filler
    from edge_lstm.streams.seq2seq import Translator
    from edge_lstm.streams.stream import Stream, Streams

_HOMES = {
    "Channel": "edge_lstm.core.model",
    "EdgeLstmError": "edge_lstm.errors",
    "Feedback": "edge_lstm.core.model",
    "Filler": "edge_lstm.streams.missing",
    "Model": "edge_lstm.core.model",
    "Policy": "edge_lstm.core.model",
    "Stream": "edge_lstm.streams.stream",
    "Streams": "edge_lstm.streams.stream",
    "Translator": "edge_lstm.streams.seq2seq",
    "from_arrays": "edge_lstm.importers",
    "import_onnx": "edge_lstm.importers",
    "load": "edge_lstm.core.storage",
    "quantize": "edge_lstm.quantization",
    "save": "edge_lstm.core.storage",
    "verify": "edge_lstm.analysis.verify",
}

__all__ = [
    "Channel",
    "EdgeLstmError",
    "Feedback",
    "Filler",
    "Model",
    "Policy",
    "Stream",
    "Streams",
    "Translator",
    "from_arrays",
    "import_onnx",
    "load",
    "quantize",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Find a public name in its file when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_lstm' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
