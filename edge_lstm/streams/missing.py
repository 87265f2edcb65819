"""Readings that did not come: what stands in for them, by the model's or the user's `Policy`.

    filler = MissingReadings(model.stream(), Policy("predict", longest_gap=200))
    y = filler.step(x)        # x may hold NaN: those channels are missing
    y = filler.missing(3)     # three readings will never come
    y = filler.overdue()      # one is late; what stands in for it is taken back when it comes after all

Its rule: the memory after a reading depends on the readings and on how many are missing between them, never on when
that became known. So a wire that stutters, a replay and a Python loop come to the same bits.

Never: fill what nothing is known about (before the first reading, beyond the longest gap), hide that it filled, or
work on a gap for longer than MOST_FILLED readings take, however many are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge_lstm.core.feedback import Policy
from edge_lstm.core.readable import Readable
from edge_lstm.errors import ReadingError, StateError
from edge_lstm.streams.rollout import Rollout
from firmware_bridge.remembered import Tree, check, kind_of

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats

MOST_FILLED = 1 << 16  # readings of one gap: a longer one resets the memory, even where no longest gap is said
LAST = 100  # `not_real` is a number of these latest readings
_MASK = (1 << LAST) - 1


@dataclass
class Filled:
    """What became of the readings: real + patched + filled of them were steps."""

    real: int = 0
    patched: int = 0  # some channels filled
    filled: int = 0  # all channels filled
    skipped: int = 0  # some or all channels missing, and not filled
    unstable: int = 0  # of the skipped: with what stands in, the memory would have become infinite
    resets: int = 0  # a gap was longer than the longest


class Result(NamedTuple):
    """Of `MissingReadings.run`, for each of T readings: outputs float32 (T, n_outputs), NaN where there is none; taken
    bool, whether it was a step; refused bool, whether it would have made the memory infinite; not_real int."""

    outputs: Floats
    taken: npt.NDArray[np.bool_]
    refused: npt.NDArray[np.bool_]
    not_real: npt.NDArray[np.int64]


class Steps(Protocol):
    """What readings are given to: a `Stream`, a `GateStream`, or a stream with inputs and outputs around it."""

    @property
    def model(self) -> Model: ...

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of a reading, and of an output."""

    def step(self, x: Any) -> Floats | None: ...

    def run(self, xs: Any) -> Floats: ...

    def reset(self) -> None: ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...


class Moment(NamedTuple):
    """Everything a filler remembers."""

    memory: Any
    known: bool
    reading: Floats
    output: Floats | None
    unreal: int
    in_a_row: int
    gone: int
    draw: int
    counts: Filled


class _Said(NamedTuple):
    """A `Moment` as plain values. memory: of a stream, or of one with inputs and outputs around it."""

    memory: bytes | tuple[bytes, tuple[bytes, bytes, bytes]]
    known: bool
    reading: bytes
    output: bytes | None
    unreal: int
    in_a_row: int
    gone: int
    draw: int
    counts: Filled


class _Whole(NamedTuple):
    """All of a filler. before: what was remembered before readings became overdue."""

    now: _Said
    before: _Said | None
    overdue: int
    taken: bool


class MissingReadings(metaclass=Readable):
    """A stream whose readings may be missing. FeedbackError: the policy is to predict, and the model
    declares no feedback.

    each: for each number of a reading, what else than the policy stands in for it where it alone is missing: "hold" or
    "skip" (the reading is not used); None: the policy's. A reading that is missing wholly is the policy's.

    `taken`: whether the latest reading was a step; `counts`: what became of all of them.
    """

    def __init__(self, stream: Steps, policy: Policy | None = None, each: Sequence[Missing | None] = ()) -> None:
        self.stream = stream
        self.policy = stream.model.policy if policy is None else policy
        self.each = tuple(each)
        self.counts = Filled()
        self.taken = False
        self._rollout = Rollout(stream.model) if self.policy.missing == "predict" else None
        self._bridges = self.policy.missing != "skip"  # readings that are missing wholly
        self._alike = not any(each)  # all numbers are met in the same way
        own = each or [None] * stream.sizes[0]
        self._never = np.array([(self.policy.missing if one is None else one) == "skip" for one in own], np.bool_)
        self._held = np.array([one == "hold" for one in own], np.bool_)  # whatever the model predicts
        self._fills = self._bridges or bool(self._held.any())
        self._longest = self.policy.longest_gap
        self._overdue = 0
        self._known = False  # whether there is a latest reading
        self._x: Floats = np.zeros(stream.sizes[0], np.float32)  # it, its holes filled
        self._y: Floats | None = None
        self._before: Moment | None = None  # what was remembered before readings became overdue
        self._unreal = 0  # a bit for each of the latest readings, the latest lowest
        self._in_a_row = 0  # missing readings since the latest real one
        self._gone = 0  # of them filled, since the latest that came at all

    def __copy__(self) -> MissingReadings:
        return deepcopy(self)

    @property
    def not_real(self) -> int:
        """How many of the latest 100 readings had missing channels, some or all, since the latest reset."""
        return self._unreal.bit_count()

    @property
    def output(self) -> Floats | None:
        """Of the latest reading that was a step, also where it stood in for one; None where there is none."""
        return self._y

    @property
    def is_real(self) -> bool:
        """Whether the latest reading was complete."""
        return not self._unreal & 1

    @property
    def unsettled(self) -> int:
        """How many readings are overdue, that may still come."""
        return 0 if self._before is None else self._overdue

    def step(self, x: npt.ArrayLike | Mapping[str, Any]) -> Floats | None:
        """Take one reading, in which NaN and infinity mean missing. Returns the output as `Stream.step` does, or None
        where the reading was not taken. Raises as `Stream.step` does for another length, and StateError."""
        if self._before is not None:
            self._take_back()
        self._gone = 0
        if not isinstance(x, np.ndarray) and isinstance(x, Mapping):
            x = self.stream.model.encode(x)
        try:
            y = self.stream.step(x)
        except ReadingError as error:
            try:
                values = np.asarray(x, np.float32)
            except (TypeError, ValueError):
                raise error from None
            holes = ~np.isfinite(values)
            if values.shape != self._x.shape or not holes.any():
                raise
            return self._fill(values, None if self._alike and holes.all() else holes)
        if self._fills:
            self._x[:] = x
            self._known, self._y = True, y
        self._real()
        return y

    def missing(self, count: int = 1) -> Floats | None:
        """So many readings will never come. Returns the output of the last one that stands in, or None."""
        if self._before is not None:
            if count >= self._overdue:  # what stood in for them was right
                count -= self._overdue
                self._before = None
            else:
                self._take_back()
        return self._gone_by(count)

    def overdue(self, count: int = 1) -> Floats | None:
        """So many more readings should be here by now. Returns the output for what stands in for the last, until `step`
        or `missing` settles whether they came."""
        if not self._bridges or count < 1:
            return None
        if self._before is None:
            self._before, self._overdue = self.snapshot(), 0
        self._overdue += count
        return self._gone_by(count)

    def _gone_by(self, count: int) -> Floats | None:
        """So many readings without values; at most MOST_FILLED of them are steps, the others cost nothing."""
        y = None
        for done in range(count):
            if self._gone == MOST_FILLED and self._known:
                self._too_long()
            if not (self._bridges and self._stands):  # nothing stands in for all that follow
                self._pass_over(count - done)
                return None
            self._gone += 1
            y = self._fill(self._x, None)
        return y

    def run(self, xs: npt.ArrayLike) -> Result:
        """Many readings (T, n_inputs), in which NaN means missing; the same bits as T calls of `step`. A reading that
        would make the memory infinite is left out."""
        readings = np.ascontiguousarray(xs, np.float32)
        if readings.ndim != 2 or readings.shape[1] != self._x.size:
            raise ReadingError(f"expected (readings, {self._x.size}), got an array of shape {readings.shape}")
        count = len(readings)
        taken, refused, not_real = np.zeros(count, np.bool_), np.zeros(count, np.bool_), np.zeros(count, np.int64)
        whole = np.isfinite(readings)
        if count and whole.all() and (ys := self._run_complete(readings, taken, not_real)) is not None:
            return Result(ys, taken, refused, not_real)  # row by row that takes 20 times as long
        result = Result(np.full((count, self.stream.sizes[1]), np.nan, np.float32), taken, refused, not_real)
        complete: npt.NDArray[np.bool_] = np.asarray(whole.all(axis=1))
        edges = np.flatnonzero(np.diff(complete)) + 1
        for start, end in zip([0, *edges.tolist()], [*edges.tolist(), count], strict=True):
            rows = slice(start, end)
            ys = self._run_complete(readings[rows], taken[rows], not_real[rows]) if complete[rows].any() else None
            if ys is None:
                self._one_by_one(readings[rows], start, result)
            else:
                result.outputs[rows] = ys
        return result

    def _run_complete(self, xs: Floats, taken: npt.NDArray[np.bool_], not_real: npt.NDArray[np.int64]) -> Floats | None:
        """Readings without holes, all at once: their outputs; None, and nothing done, where one of them must be
        refused. taken, not_real: of these readings, to be filled in."""
        if self._before is not None:
            self._take_back()
        try:
            ys = self.stream.run(xs)
        except StateError:
            return None
        taken[:] = True
        for k in range(len(xs)):
            if not self._unreal:
                break
            self._unreal = self._unreal << 1 & _MASK
            not_real[k] = self.not_real
        self._in_a_row = self._gone = 0
        self.counts.real += len(xs)
        if self._fills:
            self._x[:], last, self._known = xs[-1], ys[-1], True
            self._y = None if np.isnan(last).all() else last.copy()
        return ys

    def _one_by_one(self, xs: Floats, start: int, result: Result) -> None:
        for k, x in enumerate(xs, start):
            try:
                y = self.step(x)
            except StateError:
                result.refused[k] = True
            else:
                result.taken[k] = self.taken
                if y is not None:
                    result.outputs[k] = y
            result.not_real[k] = self.not_real

    def reset(self) -> None:
        """The stream's reset, and nothing is known of earlier readings. `counts` go on."""
        self.stream.reset()
        self._forget()

    def keep(self) -> None:
        """What stands in for overdue readings stays: it will never be known whether they came (a restarted board)."""
        self._before = None

    def snapshot(self) -> Moment:
        """Everything that is remembered, for `restore`."""
        y = None if self._y is None else self._y.copy()
        draw = self._rollout.draw if self._rollout else 0
        x, counts = self._x.copy(), replace(self.counts)
        return Moment(self.stream.snapshot(), self._known, x, y, self._unreal, self._in_a_row, self._gone, draw, counts)

    def restore(self, moment: Moment) -> None:
        """Take up what `snapshot` gave."""
        self.stream.restore(moment.memory)
        self._known, self._x[:] = moment.known, moment.reading
        self._y = None if moment.output is None else moment.output.copy()
        self._unreal, self._in_a_row, self._gone = moment.unreal, moment.in_a_row, moment.gone
        self.counts = replace(moment.counts)
        self._before = None
        if self._rollout:
            self._rollout.draw = moment.draw

    def said(self) -> Tree:
        """As `snapshot`, with what is overdue, of plain values alone."""
        before = None if self._before is None else _said(self._before)
        say, _ = kind_of(_Whole)
        assert say is not None
        return say(_Whole(_said(self.snapshot()), before, self._overdue, self.taken))

    def take_up(self, tree: Tree) -> None:
        """Take up what `said` gave. Raises ValueError, TypeError or StateError where it does not fit; some may be taken
        up then."""
        _, take = kind_of(_Whole)
        assert take is not None
        whole: _Whole = take(tree)
        before = None if whole.before is None else self._moment(whole.before)
        self.restore(self._moment(whole.now))
        self._before, self._overdue, self.taken = before, whole.overdue, whole.taken

    def _moment(self, said: _Said) -> Moment:
        inputs, outputs = self.stream.sizes
        reading, output = np.frombuffer(said.reading, np.float32), None
        check(reading.size == inputs and 0 <= said.unreal <= _MASK, "it is of another model's readings")
        if said.output is not None:
            output = np.frombuffer(said.output, np.float32)
            check(output.size == outputs, "it is of another model's outputs")
        return Moment(
            said.memory,
            said.known,
            reading,
            output,
            *(said.unreal, said.in_a_row, said.gone, said.draw),
            said.counts,
        )

    @property
    def _stands(self) -> bool:
        """Whether there is anything that can stand in for a reading."""
        return self._known and not (self._rollout and self._y is None)

    def _forget(self) -> None:
        self._known, self._y, self._before = False, None, None
        self._unreal = self._in_a_row = self._gone = 0
        if self._rollout:
            self._rollout.draw = 0

    def _take_back(self) -> None:
        assert self._before is not None
        self.restore(self._before)

    def _real(self) -> None:
        self.taken = True
        self._in_a_row = 0
        self.counts.real += 1
        if self._unreal:
            self._unreal = self._unreal << 1 & _MASK

    def _not_taken(self, count: int) -> None:
        self.taken = False
        self.counts.skipped += count
        self._in_a_row += count
        self._unreal = (self._unreal << min(count, LAST) | (1 << min(count, LAST)) - 1) & _MASK

    def _pass_over(self, count: int) -> None:
        """So many readings for which nothing stands in, among them perhaps the one that makes the gap too long."""
        if self._longest is not None and self._in_a_row <= self._longest < self._in_a_row + count:
            self._too_long()
        self._not_taken(count)

    def _too_long(self) -> None:
        self.stream.reset()
        self._known, self._y = False, None
        self.counts.resets += 1
        if self._rollout:
            self._rollout.draw = 0

    def _fill(self, values: Floats, holes: npt.NDArray[np.bool_] | None) -> Floats | None:
        """One reading with holes (None: all channels are missing). None, and `taken` False: nothing stands in."""
        if self._in_a_row == self._longest:
            self._too_long()
        if not self._stands or (not self._bridges if holes is None else (holes & self._never).any()):
            self._not_taken(1)
            return None
        x = self._rollout(self._y, self._x) if self._rollout and self._y is not None else self._x
        if holes is not None:
            x = np.where(holes, np.where(self._held, self._x, x), values)
        try:
            y = self.stream.step(x)
        except (ReadingError, StateError):  # the prediction is no number, or the closed loop explodes
            self.counts.unstable += 1
            self._not_taken(1)
            return None
        self._x[:], self._y = x, y
        self.taken = True
        self._in_a_row += 1
        self._unreal = (self._unreal << 1 | 1) & _MASK
        if holes is None:
            self.counts.filled += 1
        else:
            self.counts.patched += 1
        return y


def _said(moment: Moment) -> _Said:
    """As plain values; arrays as their bytes."""
    output = None if moment.output is None else moment.output.tobytes()
    numbers = moment.unreal, moment.in_a_row, moment.gone, moment.draw
    return _Said(moment.memory, moment.known, moment.reading.tobytes(), output, *numbers, moment.counts)
