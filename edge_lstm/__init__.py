"""edge-lstm: trained recurrent networks on a robot's readings, one at a time, with bit-exact replay.

    model = edge_lstm.load("gait.npz")                # or edge_lstm.import_onnx("gait.onnx")
    stream = model.stream()
    y = stream.step(x)                                # microseconds; the memory stays in the stream

    load, save                                files of models           import_onnx, from_arrays   bring a network in
    Model, Channel, Timing, Feedback, Policy  what a model is           quantize, verify           smaller; compared
    Stream, Streams, MissingReadings          what remembers            record                     a loop of your own
    Translator                                encoder and decoder       LogError, StateError, …    every error

`help(edge_lstm.Stream)` and so on are a screen each; recipes: `edge-lstm docs recipes`.

All names that other programs may rely on are here, the errors too. Importing this imports neither numba nor onnx; what
needs them does when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_lstm.analysis.verify import verify
    from edge_lstm.core.channels import Channel
    from edge_lstm.core.feedback import Feedback, Policy
    from edge_lstm.core.model import Model
    from edge_lstm.core.storage import load, save
    from edge_lstm.core.timing import Timing
    from edge_lstm.core.version import __version__
    from edge_lstm.errors import (
        CacheError,
        ConditionError,
        ConfigError,
        DaemonError,
        EdgeLstmError,
        FeedbackError,
        ImportModelError,
        LogError,
        ModelFileError,
        ProgramError,
        QuantizeError,
        ReadingError,
        RealtimeError,
        StateError,
        ThreadError,
        TooLargeError,
        UnfinishedError,
        UnknownNameError,
        UnsupportedError,
    )
    from edge_lstm.importers import from_arrays, import_onnx
    from edge_lstm.quantization import quantize
    from edge_lstm.robot.own_loop import record
    from edge_lstm.streams.missing import MissingReadings
    from edge_lstm.streams.seq2seq import Translator
    from edge_lstm.streams.stream import Stream, Streams

_HOMES = {
    "CacheError": "edge_lstm.errors",
    "Channel": "edge_lstm.core.channels",
    "ConditionError": "edge_lstm.errors",
    "ConfigError": "edge_lstm.errors",
    "DaemonError": "edge_lstm.errors",
    "EdgeLstmError": "edge_lstm.errors",
    "Feedback": "edge_lstm.core.feedback",
    "FeedbackError": "edge_lstm.errors",
    "ImportModelError": "edge_lstm.errors",
    "LogError": "edge_lstm.errors",
    "MissingReadings": "edge_lstm.streams.missing",
    "Model": "edge_lstm.core.model",
    "ModelFileError": "edge_lstm.errors",
    "Policy": "edge_lstm.core.feedback",
    "ProgramError": "edge_lstm.errors",
    "QuantizeError": "edge_lstm.errors",
    "ReadingError": "edge_lstm.errors",
    "RealtimeError": "edge_lstm.errors",
    "StateError": "edge_lstm.errors",
    "Stream": "edge_lstm.streams.stream",
    "Streams": "edge_lstm.streams.stream",
    "ThreadError": "edge_lstm.errors",
    "Timing": "edge_lstm.core.timing",
    "TooLargeError": "edge_lstm.errors",
    "UnfinishedError": "edge_lstm.errors",
    "Translator": "edge_lstm.streams.seq2seq",
    "UnknownNameError": "edge_lstm.errors",
    "UnsupportedError": "edge_lstm.errors",
    "__version__": "edge_lstm.core.version",
    "from_arrays": "edge_lstm.importers",
    "import_onnx": "edge_lstm.importers",
    "load": "edge_lstm.core.storage",
    "quantize": "edge_lstm.quantization",
    "record": "edge_lstm.robot.own_loop",
    "save": "edge_lstm.core.storage",
    "verify": "edge_lstm.analysis.verify",
}

__all__ = [
    "CacheError",
    "Channel",
    "ConditionError",
    "ConfigError",
    "DaemonError",
    "EdgeLstmError",
    "Feedback",
    "FeedbackError",
    "ImportModelError",
    "LogError",
    "MissingReadings",
    "Model",
    "ModelFileError",
    "Policy",
    "ProgramError",
    "QuantizeError",
    "ReadingError",
    "RealtimeError",
    "StateError",
    "Stream",
    "Streams",
    "ThreadError",
    "Timing",
    "TooLargeError",
    "Translator",
    "UnfinishedError",
    "UnknownNameError",
    "UnsupportedError",
    "__version__",
    "from_arrays",
    "import_onnx",
    "load",
    "quantize",
    "record",
    "save",
    "verify",
]


_OLD = {"Filler": "MissingReadings"}  # names of 0.1, which still work, with a warning (COMPATIBILITY.md)


def __getattr__(name: str) -> Any:
    """Find a public name in its file when it is first asked for (PEP 562)."""
    from importlib import import_module

    if name in _OLD:
        import warnings

        warnings.warn(f"edge_lstm.{name} is now edge_lstm.{_OLD[name]}", DeprecationWarning, stacklevel=2)
        name = _OLD[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_lstm' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
