"""edge-lstm: trained recurrent networks on a robot's readings, one at a time, with bit-exact replay.

    model = edge_lstm.load("gait.npz")                # or edge_lstm.import_onnx("gait.onnx")
    stream = model.stream()
    y = stream.step(x)                                # microseconds; the memory stays in the stream

Importing this imports neither numba nor onnx; what needs them does when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_lstm.errors import EdgeLstmError
    from edge_lstm.gaps import Filler
    from edge_lstm.importers import from_arrays, import_onnx
    from edge_lstm.model import Channel, Feedback, Model, Policy
    from edge_lstm.quantization import quantize
    from edge_lstm.sequence import Translator
    from edge_lstm.storage import load, save
    from edge_lstm.stream import Stream, Streams
    from edge_lstm.verification import verify

_HOMES = {
    "Channel": "edge_lstm.model",
    "EdgeLstmError": "edge_lstm.errors",
    "Feedback": "edge_lstm.model",
    "Filler": "edge_lstm.gaps",
    "Model": "edge_lstm.model",
    "Policy": "edge_lstm.model",
    "Stream": "edge_lstm.stream",
    "Streams": "edge_lstm.stream",
    "Translator": "edge_lstm.sequence",
    "from_arrays": "edge_lstm.importers",
    "import_onnx": "edge_lstm.importers",
    "load": "edge_lstm.storage",
    "quantize": "edge_lstm.quantization",
    "save": "edge_lstm.storage",
    "verify": "edge_lstm.verification",
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
