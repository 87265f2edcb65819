"""Streams: robots' memories in one model, taken forward one reading at a time.

    Stream     one stream: `step` a reading, or `run` a log
    Streams    several streams of one model that step together (the joints of a leg), or run logs side by side:
               a weight that is read once serves them all

Their rules: a call that raises has changed nothing; `step`, `run` and any mixture of them, alone or together with
others, give the same bits. An object belongs to one thread at a time (any number of them may share a model); calls
that take long enough to be worth it release the GIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_lstm.assembly import aligned
from edge_lstm.errors import ReadingError
from edge_lstm.kernels import layout
from edge_lstm.memory import Memory

if TYPE_CHECKING:
    from edge_lstm.model import Model
    from edge_lstm.program import Floats


class Stream:
    """Made by `Model.stream()`, in the reset state."""

    def __init__(self, model: Model, lanes: int | None = None) -> None:
        self.model = model
        self._memory = Memory(model, model.window or 1, lanes)
        self._x: Floats = aligned(model.program.input_size)
        self._y: Floats = aligned(model.program.output_size)
        self._result: Floats = self._y.view()
        self._result.flags.writeable = False
        # Assigning to a memoryview is the quickest check there is: it refuses all but float32 of this length.
        self._reading = memoryview(self._x)  # type: ignore[arg-type]  # Python < 3.12 has no Buffer type
        self._advance = self._memory.advance
        self._memory.point_at(self._x, self._y, 1)

    def step(self, x: npt.ArrayLike) -> Floats | None:
        """Take one reading: x (n_inputs,), float32 or anything that is numbers of that length.

        Returns the output, float32 (n_outputs,), a read-only view that the next step overwrites; or None where a
        window model has not yet seen its first window of readings. Raises ReadingError (wrong length or type, NaN,
        infinity) or StateError (the state would have become infinite), the state being unchanged.
        """
        try:
            self._reading[:] = x  # type: ignore[assignment]
        except (TypeError, ValueError):
            self._x[:] = self._memory.readings(x, (self._x.size,))
        status = self._advance()
        if status:
            if status == layout.NOT_YET:
                return None
            self._memory.fail(status, self._x, "the reading")
        return self._result

    def run(self, xs: npt.ArrayLike) -> Floats:
        """Take many readings: xs (T, n_inputs) to float32 (T, n_outputs); NaN where there is no output yet.

        The same bits as T calls of `step`. Raises as `step` does, naming the row; then no reading of this call was
        taken.
        """
        readings = self._memory.readings(xs, (-1, self._x.size))
        outputs = np.full((len(readings), self._y.size), np.nan, np.float32)
        before = self.snapshot()
        self._memory.point_at(readings, outputs, len(readings))
        try:
            status = self._memory.advance_many()
        finally:
            self._memory.point_at(self._x, self._y, 1)
        if status not in (layout.OK, layout.NOT_YET):
            row = self._memory.done
            self.restore(before)
            self._memory.fail(status, readings[row], f"row {row}")
        return outputs

    def reset(self) -> None:
        """Back to the state in which the stream began."""
        self._memory.reset()

    @property
    def state(self) -> dict[str, Floats]:
        """Copies of what is remembered, by name: "lstm.h" float32 (units,). In window meaning, of the window that
        speaks next."""
        return self._memory.state(self._memory.speaks_next)

    def snapshot(self) -> bytes:
        """Everything that is remembered, for `restore` in any stream of the same model, also in another process."""
        return self._memory.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Take up what `snapshot` gave. Raises StateError where it is damaged or another model's; the state is then
        unchanged."""
        self._memory.restore(snapshot)


class Streams:
    """Made by `Model.streams(count)`, all in the reset state. For models in continuous meaning."""

    def __init__(self, model: Model, count: int, lanes: int | None = None) -> None:
        if count < 1:
            raise ReadingError(f"{count} streams cannot be made")
        if model.window is not None:
            raise ReadingError(f"model {model.name!r} has a window of {model.window} readings; use a Stream for each")
        self.model, self.count = model, count
        self._memory = Memory(model, count, lanes)
        inputs, outputs = model.program.input_size, model.program.output_size
        self._x: Floats = aligned(count * inputs).reshape(count, inputs)
        self._y: Floats = aligned(count * outputs).reshape(count, outputs)
        self._result: Floats = self._y.view()
        self._result.flags.writeable = False
        self._point_at_own()

    def _point_at_own(self) -> None:
        self._memory.use_first(self.count)
        self._memory.point_at(self._x, self._y, 1, x_copy=self._x.shape[1], y_copy=self._y.shape[1])

    def step(self, xs: npt.ArrayLike) -> Floats:
        """Take one reading of each stream: xs (count, n_inputs) to float32 (count, n_outputs), a read-only view that
        the next step overwrites. Raises as `Stream.step` does, naming the stream; then none has taken its reading."""
        self._x[:] = self._memory.readings(xs, self._x.shape)
        status = self._memory.advance()
        if status:
            number = int(np.argmin(np.isfinite(self._x).all(axis=1)))
            self._memory.fail(status, self._x[number], f"the reading of stream {number}")
        return self._result

    def run(self, logs: Sequence[npt.ArrayLike]) -> list[Floats]:
        """Take a log for each stream: `count` arrays (T, n_inputs), of any lengths, to as many float32 (T, n_outputs).

        Raises as `Stream.run` does, naming stream and row; then no stream has taken any reading of this call.
        """
        if len(logs) != self.count:
            raise ReadingError(f"expected {self.count} logs, one for each stream, got {len(logs)}")
        inputs, outputs = self._x.shape[1], self._y.shape[1]
        taken = [self._memory.readings(log, (-1, inputs)) for log in logs]
        for number, log in enumerate(taken):
            if not (whole := np.isfinite(log).all(axis=1)).all():
                row = int(np.argmin(whole))
                self._memory.fail(layout.BAD_READING, log[row], f"row {row} of stream {number}")
        longest = max(map(len, taken))
        xs = np.zeros((self.count, longest, inputs), np.float32)
        ys = np.zeros((self.count, longest, outputs), np.float32)
        # The longest log first, so that those which still have readings are always the first ones.
        order = sorted(range(self.count), key=lambda number: -len(taken[number]))
        for place, number in enumerate(order):
            xs[place, : len(taken[number])] = taken[number]
        before = self.snapshot()
        self._memory.rearrange(order)
        try:
            status = self._run_sorted(xs, ys, [len(taken[number]) for number in order])
        finally:
            self._memory.rearrange(np.argsort(order))
            self._point_at_own()
        if status:
            self.restore(before)
            self._memory.fail(status, xs[0, 0], "a reading")
        results: list[Floats] = [self._y] * self.count
        for place, number in enumerate(order):
            results[number] = ys[place, : len(taken[number])]
        return results

    def _run_sorted(self, xs: Floats, ys: Floats, lengths: list[int]) -> int:
        start = 0
        for end in sorted(set(lengths) - {0}):
            self._memory.use_first(sum(length >= end for length in lengths))
            x, y = xs[:, start:], ys[:, start:]
            self._memory.point_at(x, y, end - start, x_copy=xs[0].size, y_copy=ys[0].size)
            if status := self._memory.advance_many():
                return status
            start = end
        return layout.OK

    def reset(self) -> None:
        """Every stream back to the state in which it began."""
        self._memory.reset()

    def state(self, number: int) -> dict[str, Floats]:
        """Copies of what one stream remembers, by name."""
        return self._memory.state(number)

    def snapshot(self) -> bytes:
        """Everything that all streams remember, for `restore` in as many streams of the same model."""
        return self._memory.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Take up what `snapshot` gave. Raises StateError as `Stream.restore` does."""
        self._memory.restore(snapshot)
