"""A model's inputs and outputs at work, one reading at a time.

    signals = Signals(inputs, model, outputs)             # (`programs.py`)
    values = signals.channels(raw)         # raw numbers in the order of `inputs.raw` → a value for each channel
    numbers = signals.outputs(y)           # an output of the model → its numbers, and behind them those of [outputs]

A controller calls `channels` for each tick, takes the model forward with what comes, and calls `outputs` for each
output that comes of it, none where a window is not full yet. What stands in for a tick is a tick: the same two calls
with the raw numbers that stand in. Where it is taken back, `restore` what `snapshot` gave before, as for the model's
stream.

Its rule: both are Streams of their own models, so a call that raises has changed nothing of either, and the same calls
give the same bits, live and in replay. An output is carried over (`previous`) when `outputs` is called; where it is not
finite, the one before stays.

Never: fill a raw number that is missing, but by the default that the file declares for it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.errors import ReadingError, StateError
from edge_lstm.signals.programs import Inputs, Outputs


class Moment(NamedTuple):
    """Everything that signals remember."""

    inputs: bytes
    outputs: bytes
    previous: bytes


class Signals:
    """Made at the handshake, in the reset state."""

    def __init__(self, inputs: Inputs, model: Model, outputs: Outputs | None) -> None:
        self.raw = inputs.raw
        self._raw = len(inputs.raw)
        self._into, self._out_of = inputs.model.stream(), None if outputs is None else outputs.model.stream()
        self._x: Floats = np.zeros(inputs.model.program.input_size, np.float32)
        self._now, self._previous = self._x[: self._raw], self._x[self._raw :]
        self._pack = struct.Struct(f"{self._raw}f").pack_into  # a third of the time of an assignment
        self._bytes = self._x.data.cast("B")
        self._kept = self._previous.copy()
        self._carries = np.array(inputs.previous, np.intp)
        self._size = model.program.output_size
        self._all: Floats = np.zeros(self._size + (outputs.model.program.output_size if outputs else 0), np.float32)
        self._own, self._derived = self._all[: self._size], self._all[self._size :]
        self._defaults = np.array([np.nan if r.default is None else r.default for r in inputs.raw], np.float32)

    @property
    def size(self) -> int:
        """How many numbers `outputs` gives."""
        return int(self._all.size)

    def channels(self, raw: Sequence[float]) -> Floats:
        """The next reading's raw numbers, NaN where one is missing → a value for each channel, float32, a read-only
        view that the next call overwrites. Raises ReadingError (a number is missing or infinite, and has no default) or
        StateError (a filter would have become infinite); then the reading is not taken."""
        try:
            self._pack(self._bytes, 0, *raw)
        except OverflowError:  # beyond float32: infinite, which counts as missing
            with np.errstate(over="ignore"):
                self._now[:] = raw
        except struct.error:
            raise ReadingError(f"expected {self._raw} raw numbers, got {len(raw)}: {raw!r}"[:300]) from None
        try:
            values = self._into.step(self._x)
        except ReadingError:
            values = self._again()
        assert values is not None
        return values

    def _again(self) -> Floats:
        """With defaults for what is missing, and without a previous output that is not finite."""
        self._no_holes()
        missing = ~np.isfinite(self._now)
        self._now[missing] = self._defaults[missing]
        if not (good := np.isfinite(self._now)).all():
            raise ReadingError(f"{self.raw[int(np.argmin(good))].name!r} is missing")
        values = self._into.step(self._x)
        assert values is not None
        return values

    def _no_holes(self) -> None:
        """What is carried over, without an output that is not finite."""
        if not np.isfinite(self._previous).all():
            self._previous[:] = self._kept

    def outputs(self, y: Floats) -> list[float]:
        """An output of the model → its numbers, then those of [outputs]. Raises ReadingError (the output is not finite)
        or StateError; then the outputs' memory is as it was, and nothing is carried over."""
        numbers: list[float] = self.finish(y).tolist()
        return numbers

    def finish(self, y: Floats) -> Floats:
        """The same as float32, a view that the next call overwrites."""
        self._own[:] = y
        if self._out_of is not None:
            self._derived[:] = self._out_of.step(self._own)
        if self._carries.size:
            self._kept[:] = self._previous
            self._all.take(self._carries, out=self._previous)
        return self._all

    def reset(self) -> None:
        """As they began; nothing is carried over."""
        self._into.reset()
        if self._out_of is not None:
            self._out_of.reset()
        self._previous.fill(0)
        self._kept.fill(0)

    def snapshot(self) -> Moment:
        """Everything that is remembered, for `restore` in any signals of the same declarations."""
        self._no_holes()
        outputs = b"" if self._out_of is None else self._out_of.snapshot()
        return Moment(self._into.snapshot(), outputs, self._previous.tobytes())

    def restore(self, moment: Moment) -> None:
        """Take up what `snapshot` gave. Raises StateError where it is damaged or other signals'; the inputs may then
        have taken up theirs."""
        if len(moment.previous) != self._previous.nbytes or bool(moment.outputs) != (self._out_of is not None):
            raise StateError("the snapshot is of other inputs and outputs")
        self._into.restore(moment.inputs)
        if self._out_of is not None:
            self._out_of.restore(moment.outputs)
        self._previous[:] = np.frombuffer(moment.previous, np.float32)
