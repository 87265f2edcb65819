"""Every error this package raises on purpose. A message names the file, node, key or reading, and what to do about it.

    EdgeLstmError
    ├── ModelFileError      a model file is damaged, truncated, foreign or newer
    ├── ProgramError        a program contradicts itself (sizes, slots, unknown operation)
    ├── ImportModelError    a trained model cannot be brought in: node, operator, attribute and value are named
    │   └── UnsupportedError    … the native engine cannot hold it (TooLargeError: for its size); ONNX Runtime may
    ├── QuantizeError       a model cannot be quantized: layer, channel or log is named
    ├── ReadingError        a reading has the wrong length, type or layout, or holds NaN; the state is unchanged
    ├── FeedbackError       the model's own prediction is asked for, and it declares none, or none is there yet
    ├── StateError          a snapshot belongs to another model, or a step would have made the state infinite
    ├── UnknownNameError    a state or gate by a name that it does not have; also a KeyError
    ├── ThreadError         a stream is used by two threads at the same time; nothing was taken
    ├── ConfigError         robot.toml: file, table, key (UnfinishedError: whatever robot is there)
    ├── LogError            a log cannot be read: file, line, column
    ├── ConditionError      a condition (`--where`) is not understood: the part of it, and what there is
    ├── RealtimeError       a priority, core or locked memory that cannot be had, and is required or cannot exist
    ├── DaemonError         a run's status or control socket: none, another's, or what was asked cannot be
    └── CacheError          the compiled step cannot be made or loaded

Wire faults are not here: they are values (`firmware_bridge.events`), because a robot's day is full of them.
`nearest` ends a message about an unknown name, `nearest_file` one about a file that is not there.
"""

from __future__ import annotations

from firmware_bridge.errors import nearest as nearest
from firmware_bridge.errors import nearest_file as nearest_file


class EdgeLstmError(Exception):
    """The root of all errors this package raises on purpose."""


class ModelFileError(EdgeLstmError):
    """A model file is damaged, truncated, foreign or newer than this program."""


class ProgramError(EdgeLstmError):
    """A program contradicts itself: sizes that do not fit, a slot outside the arena, an unknown operation."""


class ImportModelError(EdgeLstmError):
    """A trained model cannot be brought in; the message names node, operator, attribute and value."""


class UnsupportedError(ImportModelError):
    """The native engine cannot hold a network: an operator, attribute or type is missing. ONNX Runtime may run it."""


class TooLargeError(UnsupportedError, ProgramError):
    """The native engine cannot hold a network of this size. ONNX Runtime may run it."""


class QuantizeError(EdgeLstmError):
    """A model cannot be quantized; the message names layer, channel or log, and what to do."""


class ReadingError(EdgeLstmError):
    """A reading has the wrong length, type or layout, or holds NaN or infinity; the stream's state is unchanged."""


class FeedbackError(EdgeLstmError):
    """The model's own prediction is asked for where it declares no feedback, or before there is one."""


class StateError(EdgeLstmError):
    """A snapshot does not belong to this model, or a step would have put infinity into the state (it is unchanged)."""


class UnknownNameError(EdgeLstmError, KeyError):
    """A state or a gate is asked for by a name that there is not; the message says the nearest, or all."""

    __str__ = Exception.__str__  # KeyError would show the sentence in quotes


class ThreadError(EdgeLstmError):
    """A stream is used by a thread while another one is using it. A stream belongs to one thread at a time."""


class ConfigError(EdgeLstmError):
    """A configuration file is wrong; the message names file, table and key."""


class UnfinishedError(ConfigError):
    """It lacks a line: no other robot makes that good, so none is waited for."""


class LogError(EdgeLstmError):
    """A log cannot be read; the message names file, line and column."""


class ConditionError(EdgeLstmError):
    """A condition over names and numbers is not understood; the message quotes the part of it."""


class RealtimeError(EdgeLstmError):
    """The operating system does not give the priority, core or locked memory that was required."""


class DaemonError(EdgeLstmError):
    """A run's status or control socket: there is none, it may not be used, or it refuses what was asked."""


class CacheError(EdgeLstmError):
    """The compiled step can neither be loaded nor made."""
