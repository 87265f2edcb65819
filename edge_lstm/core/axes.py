"""What the inputs and outputs of an ONNX graph are to a stream of readings: axes of time and batch, states, constants.

Its rule: what comes from a file is checked here, field by field, before anybody relies on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_lstm.errors import ModelFileError

_MOST = 1 << 20  # readings, streams


@dataclass(frozen=True)
class InputAxes:
    """Which axes of an input are time and batch; None where it has none."""

    time: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class OutputAxes:
    """The same of an output, whose row k along time comes with reading number first + k * stride. Without a time axis
    it belongs to the newest reading."""

    time: int | None = None
    batch: int | None = None
    first: int = 1
    stride: int = 1


@dataclass(frozen=True)
class GraphAxes:
    """inputs, outputs: by name, in the order of the model's, states among the inputs where they have axes of their own.
    states: {input: output}, what is carried from call to call. zero: inputs that are always zero. constants: {input:
    value}. streams: how many the batch axis holds, 1 where it is open; all of them get the same readings.
    linear_before_reset: of every GRU, where the file's own attribute is wrong. sizes: {"input[axis]": size} of open
    dimensions that are neither time nor batch."""

    inputs: Mapping[str, InputAxes]
    outputs: Mapping[str, OutputAxes]
    states: Mapping[str, str] = field(default_factory=dict)
    zero: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    streams: int = 1
    linear_before_reset: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; defaults are left out."""
        found: dict[str, Any] = {
            "zero": list(self.zero),
            "constants": dict(self.constants),
            "states": dict(self.states),
            "streams": self.streams,
            "inputs": {name: {"time": a.time, "batch": a.batch} for name, a in self.inputs.items()},
            "outputs": {
                name: {"time": a.time, "batch": a.batch}
                | ({"first": a.first} if a.first != 1 else {})
                | ({"every": a.stride} if a.stride != 1 else {})
                for name, a in self.outputs.items()
            },
        }
        if self.linear_before_reset is not None:
            found["linear_before_reset"] = self.linear_before_reset
        if self.sizes:
            found["sizes"] = dict(self.sizes)
        return found

    @staticmethod
    def from_json(text: str) -> GraphAxes:
        """From the text of `as_dict`; further keys are left alone. Raises ModelFileError."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ModelFileError("it is not JSON") from None
        return GraphAxes.from_dict(found)

    @staticmethod
    def from_dict(found: Any) -> GraphAxes:
        """From what `as_dict` gave. Raises ModelFileError naming the field."""
        if not isinstance(found, dict):
            raise ModelFileError(f"axes must be a table, not {type(found).__name__}")
        inputs = {n: InputAxes(*_axes(n, a)) for n, a in _table(found, "inputs").items()}
        outputs = {
            n: OutputAxes(*_axes(n, a), _number(n, a, "first"), _number(n, a, "every"))
            for n, a in _table(found, "outputs").items()
        }
        states = _table(found, "states")
        if not all(isinstance(o, str) for o in states.values()):
            raise ModelFileError("states must be {input: output}")
        zero = found.get("zero", [])
        if not isinstance(zero, list) or not all(isinstance(n, str) for n in zero):
            raise ModelFileError("zero must be a list of inputs")
        reset = found.get("linear_before_reset")
        if reset is not None and (type(reset) is not int or reset not in (0, 1)):
            raise ModelFileError(f"linear_before_reset must be 0 or 1, not {reset!r}")
        streams = _number("the graph", found, "streams")
        given = _table(found, "sizes")
        sizes = {name: _number("sizes", given, name) for name in given}
        return GraphAxes(inputs, outputs, states, tuple(zero), _table(found, "constants"), streams, reset, sizes)


def _table(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key, {})
    if not isinstance(value, dict):
        raise ModelFileError(f"{key} must be a table, not {value!r}"[:200])
    return value


def _axes(name: str, found: Any) -> tuple[int | None, int | None]:
    if not isinstance(found, dict):
        raise ModelFileError(f"the axes of {name!r} must be a table, not {found!r}"[:200])
    for key in ("time", "batch"):
        axis = found.get(key)
        if axis is not None and (type(axis) is not int or not 0 <= axis < 64):
            raise ModelFileError(f"{key} of {name!r} must be an axis from 0 to 63, not {axis!r}"[:200])
    return found.get("time"), found.get("batch")


def _number(name: str, found: Mapping[str, Any], key: str) -> int:
    value = found.get(key, 1)
    if type(value) is not int or not 1 <= value <= _MOST:
        raise ModelFileError(f"{key} of {name!r} must be a whole number from 1 to {_MOST}, not {value!r}"[:200])
    return value
