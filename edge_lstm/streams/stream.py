"""Streams: robots' memories in one model, taken forward one reading at a time.

    Stream     one stream: `step` a reading, or `run` a log
    Streams    several streams of one model that step together (the joints of a leg), or run logs side by side:
               a weight that is read once serves them all

Its rule: a call that raises has changed nothing; `step`, `run` and any mixture of them, alone or together with
others, give the same bits. An object belongs to one thread at a time (any number of them may share a model): use by
two at once is a ThreadError, or each step is taken whole, one after the other. Calls that take long enough to be worth
it release the GIL. Copies (copy, deepcopy, pickle) are streams of their own that remember the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from edge_lstm.core.feedback import Choose
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.readable import Readable
from edge_lstm.engines.choose import engine_for
from edge_lstm.engines.protocol import Checkpoint, Engine, Session
from edge_lstm.engines.status import BAD_READING, NOT_YET, OK
from edge_lstm.errors import FeedbackError, ReadingError, StateError, ThreadError
from edge_lstm.streams.pool import with_help
from edge_lstm.streams.readings import as_readings
from edge_lstm.streams.rollout import Forecast, Rollout, roll_out

MOST_STREAMS = 1 << 16
# Work in multiply-adds, 20 to 40 in a ns. So much (0.6 to 1.2 ms) is worth a thread, which costs up to 0.4 ms of
# processor time and may be late on a busy core. And so much does a reading take beside its own: 35 ns, and by ONNX
# Runtime, of whose graph nothing is counted, 20 µs.
_WORTH_A_THREAD, _BESIDE, _OF_A_GRAPH = 24_000_000, 1400, 800_000
# Parts for each thread: who is late finds less to do, and others wait less for its last. More parts would often wait
# for the GIL, whose owner may have no core. Parts of fewer groups than this read the weights too often: 16 logs in four
# parts took 1.2 to 1.3 of one thread's processor time, in two 1.05 to 1.15 (AVX2, 64 to 256 units). Where logs are of
# unequal lengths, more parts are worth more.
_PARTS, _GROUPS = 2, 4


class Stream(metaclass=Readable):
    """Made by `Model.stream()`, in the reset state."""

    def __init__(self, model: Model, engine: Engine | None = None, digest: str | None = None) -> None:
        """engine: None, the one that suits the model. digest: of the model whose snapshots these are, where this one
        stands for it (`gates.py`)."""
        self.model = model
        self._engine, self._digest = engine or engine_for(model), digest
        self._session = self._engine.open(model, 1, digest)
        self._x: Floats = self._session.x[0]
        self._y: Floats = self._session.y[0]
        self._result: Floats = self._y.view()
        self._result.flags.writeable = False
        # Assigning to a memoryview is the quickest check there is: it refuses all but float32 of this length.
        self._reading = memoryview(self._x)
        self._advance = self._session.advance
        self._forget()

    def __repr__(self) -> str:
        return f"<Stream of {self.model!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles: another stream of this model that remembers the same."""
        latest = self._x.copy(), self._y.copy()
        return _revived, (self.model, self._engine, self._digest, self.snapshot(), *latest)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_inputs, n_outputs)."""
        return self._x.size, self._y.size

    def step(self, x: npt.ArrayLike | Mapping[str, Any]) -> Floats | None:
        """Take one reading: x (n_inputs,), float32 or anything that is numbers of that length, or values by channel
        name (`Model.encode`).

        Returns the output, float32 (n_outputs,), a read-only view that the next call overwrites; or None where a
        window model has not yet seen its first window of readings. Raises ReadingError (wrong length or type, NaN,
        infinity) or StateError (the state would have become infinite), the state being unchanged.
        """
        if self._session.user:
            self._session.check_free()
        try:
            self._reading[:] = x  # type: ignore[assignment]
        except (TypeError, ValueError):
            values = self.model.encode(x) if isinstance(x, Mapping) else x
            self._reading[:] = as_readings(self.model, values, (self._x.size,))  # type: ignore[call-overload]
        status = self._advance()
        if status:
            if status == NOT_YET:
                return None
            refused = self._x.copy()
            self._x.fill(np.nan)  # it was not taken, so no forecast may go on from it
            raise self._session.refusal(status, refused, "the reading")
        return self._result

    def run(self, xs: npt.ArrayLike) -> Floats:
        """Take many readings: xs (T, n_inputs) to float32 (T, n_outputs); NaN where there is no output yet.

        The same bits as T calls of `step`. Raises as `step` does, naming the row; then no reading of this call was
        taken.
        """
        readings = as_readings(self.model, xs, (-1, self._x.size))
        before, latest = self._session.checkpoint(), (self._x.copy(), self._y.copy())
        try:
            return self._session.exclusively(self._run, readings)
        except ThreadError:
            raise
        except BaseException:  # also an interrupt: the outputs are lost, so nothing was taken
            self._session.back_to(before)
            self._x[:], self._y[:] = latest
            raise

    def _run(self, readings: Floats) -> Floats:
        outputs = np.empty((len(readings), self._y.size), np.float32)
        if not self.model.timing.each:
            outputs.fill(np.nan)
        status, taken = self._session.advance_many(readings[None], outputs[None])
        if status not in (OK, NOT_YET):
            raise self._session.refusal(status, readings[taken], f"row {taken}")
        if len(readings):
            self._x[:], self._y[:] = readings[-1], outputs[-1]
        return outputs

    def forecast(
        self, steps: int, *, x: npt.ArrayLike | None = None, choose: Choose | None = None, seed: int | None = None
    ) -> Forecast:
        """The next `steps` steps of the closed loop, from the present memory, which is not touched.

        The first reading is x, or else what the latest output predicts; inputs without feedback keep their latest
        value. choose, seed: instead of what the model's feedback declares. Raises FeedbackError where the model
        declares no feedback, or there is no latest output (at the beginning, after a reset or a restore): give x then.
        """
        if steps < 1:
            raise FeedbackError(f"a forecast of {steps} steps is none")
        rollout = Rollout(self.model, choose, seed)
        ahead = Stream(self.model, self._engine, self._digest)
        ahead.restore(self.snapshot())
        if x is not None:
            values = self.model.encode(x) if isinstance(x, Mapping) else x
            return roll_out(ahead, rollout, steps, as_readings(self.model, values, (self._x.size,)), None)
        if np.isnan(self._y).all() or np.isnan(self._x[~rollout.fed]).any():
            raise FeedbackError("there is no latest reading with its output to go on from; give the first reading as x")
        return roll_out(ahead, rollout, steps, self._x, self._y)

    def _forget(self) -> None:
        """There is no latest reading or output."""
        self._x.fill(np.nan)
        self._y.fill(np.nan)

    def reset(self) -> None:
        """Back to the state in which the stream began."""
        self._session.reset()
        self._forget()

    def resume(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Go on from this memory: every state by name, as `state` gives it, also another model's of the same names and
        sizes (an encoder's). Raises StateError where they do not fit; the state is then unchanged."""
        states = self.model.program.states
        if self.model.timing.mode == "window" or set(state) != {s.name for s in states}:
            wanted = ", ".join(f"{s.name} ({s.slot.size})" for s in states)
            raise StateError(f"model {self.model.name!r} remembers {wanted or 'nothing'}, not {', '.join(state)}")
        values = [np.asarray(state[s.name], np.float32) for s in states]
        for s, value in zip(states, values, strict=True):
            if value.shape != (s.slot.size,):
                raise StateError(f"state {s.name!r} of {self.model.name!r} has {s.slot.size} values, not {value.shape}")
        self._session.resume(np.concatenate([*values, np.empty(0, np.float32)]))
        self._forget()

    @property
    def state(self) -> Mapping[str, Floats]:
        """Read-only copies of what is remembered, by name: "lstm.h" float32 (units,). In window mode, of the window
        whose output comes next."""
        return self._session.state(0)

    def snapshot(self) -> bytes:
        """Everything that is remembered, for `restore` in any stream of the same model, also in another process."""
        return self._session.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Take up what `snapshot` gave. Raises StateError where it is damaged or another model's; the state is then
        unchanged."""
        self._session.restore(snapshot)
        self._forget()


def _revived(model: Model, engine: Engine, digest: str | None, snapshot: bytes, x: Floats, y: Floats) -> Stream:
    stream = Stream(model, engine, digest)
    stream.restore(snapshot)
    stream._x[:], stream._y[:] = x, y
    return stream


def _revived_streams(model: Model, count: int, engine: Engine, snapshot: bytes) -> Streams:
    streams = Streams(model, count, engine)
    streams.restore(snapshot)
    return streams


def _run_sorted(session: Session, xs: Floats, ys: Floats, lengths: list[int]) -> int:
    """Logs of these lengths, which never grow from one stream to the next, to their outputs; the status."""
    start = 0
    for end in sorted(set(lengths) - {0}):
        count = sum(length >= end for length in lengths)
        status, _ = session.advance_many(xs[:count, start:end], ys[:count, start:end])
        if status:
            return status
        start = end
    return OK


class Streams(metaclass=Readable):
    """Made by `Model.streams(count)`, all in the reset state. For models in continuous mode."""

    def __init__(self, model: Model, count: int, engine: Engine | None = None) -> None:
        """engine: None, the one that suits the model."""
        if not isinstance(count, int) or not 1 <= count <= MOST_STREAMS:
            raise ReadingError(f"{count!r} streams cannot be made; 1 to {MOST_STREAMS} can")
        timing = model.timing
        if timing.mode == "window":
            raise ReadingError(f"model {model.name!r} has a window of {timing.window} readings; use a Stream for each")
        if (timing.first_output, timing.stride) != (1, 1):
            raise ReadingError(f"model {model.name!r} has no output with every reading; use a Stream for each")
        self.model, self.count, self._engine = model, count, engine or engine_for(model)
        self._session = self._engine.open(model, count)
        self._kept: list[Session] = []  # of the latest run in threads: as many streams, and some for each thread
        self._x, self._y = self._session.x, self._session.y
        self._result: Floats = self._y.view()
        self._result.flags.writeable = False

    def __repr__(self) -> str:
        return f"<{self.count} Streams of {self.model!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles: as many other streams of this model that remember the same."""
        return _revived_streams, (self.model, self.count, self._engine, self.snapshot())

    def step(self, xs: npt.ArrayLike) -> Floats:
        """Take one reading of each stream: xs (count, n_inputs) to float32 (count, n_outputs), a read-only view that
        the next step overwrites. Raises as `Stream.step` does, naming the stream; then none has taken its reading."""
        return self._session.exclusively(self._step, as_readings(self.model, xs, self._x.shape))

    def _step(self, readings: Floats) -> Floats:
        self._x[:] = readings
        if self._session.advance():
            self._refuse(self._x[:, None], stepping=True)
        return self._result

    def run(self, logs: Sequence[npt.ArrayLike], *, threads: int = 1) -> list[Floats]:
        """Take a log for each stream: `count` arrays (T, n_inputs), of any lengths, to as many float32 (T, n_outputs).

        threads: among how many the logs are dealt out at most, one for each core that is free; the bits are the same.
        Those that share a pass over the weights (2 or 4) stay together, and what is done before another thread would
        be awake is not dealt out, so few or short logs use fewer threads. Raises as `Stream.run` does, naming stream
        and row; then no stream has taken any reading of this call.
        """
        if not isinstance(threads, int) or threads < 1:
            raise ReadingError(f"{threads!r} threads cannot take a log; 1 or more can")
        if len(logs) != self.count:
            raise ReadingError(f"expected {self.count} logs, one for each stream, got {len(logs)}")
        taken = [as_readings(self.model, log, (-1, self._x.shape[1])) for log in logs]
        before = self._session.checkpoint()
        try:
            return self._session.exclusively(self._run, taken, threads, before)
        except ThreadError:
            raise
        except BaseException:  # as in `Stream.run`
            self._session.back_to(before)
            raise

    def _run(self, taken: list[Floats], threads: int, before: Checkpoint) -> list[Floats]:
        if (results := self._run_together(taken, threads)) is not None:
            return results
        self._session.back_to(before)
        for number, log in enumerate(taken):
            if not (whole := np.isfinite(log).all(axis=1)).all():
                row = int(np.argmin(whole))
                raise self._session.refusal(BAD_READING, log[row], f"row {row} of stream {number}")
        return self._refuse(taken, stepping=False)

    def _refuse(self, logs: Sequence[Floats] | Floats, *, stepping: bool) -> NoReturn:
        """Raise for the first stream that refuses a reading of its log also alone, as it does together with others."""
        for number, log in enumerate(logs):
            alone = self._engine.open(self.model)
            alone.take_over(self._session, [0], [number])
            if stepping:
                alone.x[:] = log
                if status := alone.advance():
                    raise alone.refusal(status, log[0], f"the reading of stream {number}")
                continue
            xs, ys = np.ascontiguousarray(log), np.empty((len(log), self._y.shape[1]), np.float32)
            status, taken = alone.advance_many(xs[None], ys[None])
            if status:
                raise alone.refusal(status, xs[taken], f"row {taken} of stream {number}")
        raise AssertionError("streams together refused a reading that each takes alone")

    def _run_together(self, taken: Sequence[Floats], threads: int) -> list[Floats] | None:
        """The outputs; None where a reading is refused: some were taken, `run` takes them back."""
        inputs, outputs = self._x.shape[1], self._y.shape[1]
        # The longest log first, so that those which still have readings are always the first ones.
        order = sorted(range(self.count), key=lambda number: -len(taken[number]))
        lengths = [len(taken[number]) for number in order]
        xs = np.zeros((self.count, lengths[0], inputs), np.float32)
        ys = np.zeros((self.count, lengths[0], outputs), np.float32)
        for place, number in enumerate(order):
            xs[place, : len(taken[number])] = taken[number]
        self._session.rearrange(order)
        program = self.model.program
        work = sum(lengths) * (program.multiply_adds + (_BESIDE if program.onnx is None else _OF_A_GRAPH))
        groups = -(-self.count // self._session.group)
        if (threads := min(threads, groups, work // _WORTH_A_THREAD)) > 1:
            status = self._run_in_threads(xs, ys, lengths, threads)
        else:
            status = _run_sorted(self._session, xs, ys, lengths)
        if status:
            return None
        self._session.rearrange(np.argsort(order).tolist())
        results: list[Floats] = [self._y] * self.count
        for place, number in enumerate(order):
            results[number] = ys[place, : len(taken[number])]
        return results

    def _run_in_threads(self, xs: Floats, ys: Floats, lengths: list[int], threads: int) -> int:
        """As `_run_sorted`, by several threads, each of which takes one part of whole groups after the other.

        They have memories of their own: a call that is interrupted leaves threads at work, on what nobody needs."""
        group, seen = self._session.group, self._session.seen
        groups = -(-self.count // (threads * group))  # for each thread
        fewest = _GROUPS if 4 * lengths[-1] >= 3 * lengths[0] else 1
        size = min(groups, max(-(-groups // _PARTS), fewest)) * group
        kept, self._kept = self._kept, []
        after, *free = kept or [self._engine.open(self.model, self.count)]
        free = [own for own in free if len(own.x) == size]
        free += [self._engine.open(self.model, size) for _ in range(threads - len(free))]
        kept = [after, *free]
        after.take_over(self._session, slice(None), slice(None))
        # The longest logs are taken first, from the end.
        waiting = [slice(start, min(start + size, self.count)) for start in range(0, self.count, size)][::-1]

        def work() -> int:
            own = free.pop()
            while waiting:
                try:
                    part = waiting.pop()
                except IndexError:  # another thread was quicker
                    break
                some = slice(part.stop - part.start)
                own.take_over(after, some, part)
                own.seen = seen
                if status := _run_sorted(own, xs[part], ys[part], lengths[part]):
                    return status
                after.take_over(own, part, some)
            return OK

        try:
            status = max(with_help(threads, work))
        finally:
            waiting.clear()
        if status == OK:
            self._session.take_over(after, slice(None), slice(None))
            self._session.seen = seen + lengths[0]
            self._kept = kept
        return status

    def reset(self) -> None:
        """Every stream back to the state in which it began."""
        self._session.reset()

    @property
    def state(self) -> Mapping[str, Floats]:
        """Read-only copies of what is remembered, by name: "lstm.h" float32 (count, units)."""
        return self._session.state(slice(None))

    def snapshot(self) -> bytes:
        """Everything that all streams remember, for `restore` in as many streams of the same model."""
        return self._session.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Take up what `snapshot` gave. Raises StateError as `Stream.restore` does."""
        self._session.restore(snapshot)
