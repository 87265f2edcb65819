"""A stream: one robot's memory in one model, taken forward one reading at a time.

Its rules: the state lives here and nowhere else; a call that raises has changed nothing; `step`, `run` and any
mixture of them give the same bits. A stream belongs to one thread at a time (streams of one model may run in many):
`run`, and `step` of a network large enough to be worth it, release the GIL while they compute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.assembly import aligned
from edge_lstm.errors import ReadingError, StateError
from edge_lstm.kernels import door, layout

if TYPE_CHECKING:
    from edge_lstm.model import Model
    from edge_lstm.program import Floats

# Below this a step is over (about 5 µs) before another thread could do anything with the GIL, but giving it up to a
# busy thread may cost the switch interval (5 ms by default) to get it back.
_WORTH_RELEASING = 200_000  # multiply-adds


class Stream:
    """Made by `Model.stream()`, in the reset state."""

    def __init__(self, model: Model, lanes: int | None = None) -> None:
        self.model = model
        program = model.program
        lanes = door.default_lanes() if lanes is None else lanes
        assembled = model.assembled(lanes)
        copies = model.window or 1
        self._initial = assembled.arena
        self._arenas = aligned(copies * assembled.arena.size).reshape(copies, -1)
        self._x: Floats = aligned(program.input_size)
        self._y: Floats = aligned(program.output_size)
        self._state_elements = np.concatenate([s.slot.elements for s in program.states] or [np.empty(0, np.int64)])
        self._result: Floats = self._y.view()
        self._result.flags.writeable = False
        self._reading = memoryview(self._x)  # type: ignore[arg-type]  # Python < 3.12 has no Buffer type
        self._frame = np.zeros(layout.FRAME, np.int64)
        for field, value in (
            (layout.TABLE, assembled.table.ctypes.data),
            (layout.STEP_ROWS, assembled.step_rows),
            (layout.COMMIT_ROWS, assembled.commit_rows),
            (layout.OUTPUT_ROWS, assembled.output_rows),
            (layout.WEIGHTS, assembled.weights.ctypes.data),
            (layout.ARENA, self._arenas.ctypes.data),
            (layout.ARENA_SIZE, self._initial.size),
            (layout.INITIAL, self._initial.ctypes.data),
            (layout.COPIES, copies),
            (layout.WINDOW, model.window is not None),
            (layout.X_STEP, program.input_size),
            (layout.Y_STEP, program.output_size),
        ):
            self._frame[field] = value
        self._point_at(self._x, self._y, 1)
        self._assembled = assembled  # the frame points into it
        step, self._run = door.bind(self._frame.ctypes.data, lanes)
        self._step = self._run if program.multiply_adds * copies > _WORTH_RELEASING else step
        self.reset()

    def step(self, x: npt.ArrayLike) -> Floats | None:
        """Take one reading: x (n_inputs,), float32 or anything that is numbers of that length.

        Returns the output, float32 (n_outputs,), a read-only view that the next step overwrites; or None where a
        window model has not yet seen its first window of readings. Raises ReadingError (wrong length or type, NaN,
        infinity) or StateError (the state would have become infinite), the state being unchanged.
        """
        try:
            self._reading[:] = x  # type: ignore[assignment]  # refuses all but float32 of this length
        except (TypeError, ValueError):
            self._x[:] = self._converted(x, (self._x.size,))
        status = self._step()
        if status:
            if status == layout.NOT_YET:
                return None
            self._fail(status, self._x, "the reading")
        return self._result

    def run(self, xs: npt.ArrayLike) -> Floats:
        """Take many readings: xs (T, n_inputs) to float32 (T, n_outputs); rows for which there is no output yet are
        NaN.

        The same bits as T calls of `step`. Raises as `step` does, naming the row; then no reading of this call was
        taken.
        """
        readings = np.ascontiguousarray(self._converted(xs, (-1, self._x.size)))
        outputs = np.full((len(readings), self._y.size), np.nan, np.float32)
        before = self.snapshot()
        self._point_at(readings, outputs, len(readings))
        try:
            status = self._run()
        finally:
            self._point_at(self._x, self._y, 1)
        if status in (layout.BAD_READING, layout.BAD_STATE):
            row = int(self._frame[layout.DONE])
            self.restore(before)
            self._fail(status, readings[row], f"row {row}")
        return outputs

    def reset(self) -> None:
        """Back to the state in which the stream began."""
        self._arenas[:] = self._initial
        self._frame[layout.SEEN] = 0

    @property
    def state(self) -> dict[str, Floats]:
        """Copies of what is remembered, by name: "lstm.h" float32 (units,). In window meaning, of the
        window that speaks next."""
        arena = self._arenas[(self._frame[layout.SEEN] + 1) % len(self._arenas)]
        return {s.name: arena[s.slot.offset : s.slot.offset + s.slot.size].copy() for s in self.model.program.states}

    def snapshot(self) -> bytes:
        """Everything that is remembered, for `restore` here or in any stream of the same model, also in another
        process."""
        seen = int(self._frame[layout.SEEN]).to_bytes(8, "little")
        return bytes.fromhex(self.model.digest) + seen + self._arenas[:, self._state_elements].astype("<f4").tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Take up what `snapshot` gave. Raises StateError where it is damaged or another model's; the state is then
        unchanged."""
        expected = 40 + 4 * len(self._arenas) * self._state_elements.size
        if len(snapshot) != expected:
            raise StateError(f"a snapshot of {self.model.name!r} has {expected} bytes, this one has {len(snapshot)}")
        if snapshot[:32] != bytes.fromhex(self.model.digest):
            raise StateError(
                f"the snapshot is of model {snapshot[:6].hex()}…, "
                f"this stream runs {self.model.name!r}, {self.model.digest[:12]}…"
            )
        values = np.frombuffer(snapshot, "<f4", offset=40)
        seen = int.from_bytes(snapshot[32:40], "little")
        if not np.isfinite(values).all() or seen >> 62:
            raise StateError("the snapshot is damaged: it holds NaN, infinity or an impossible count")
        self._arenas[:, self._state_elements] = values.reshape(len(self._arenas), -1)
        self._frame[layout.SEEN] = seen

    def _point_at(self, xs: Floats, ys: Floats, count: int) -> None:
        self._frame[layout.X] = xs.ctypes.data
        self._frame[layout.Y_OUT] = ys.ctypes.data
        self._frame[layout.STEPS] = count

    def _converted(self, x: npt.ArrayLike, shape: Sequence[int]) -> Floats:
        """x as float32 of this shape (-1: any length), or ReadingError."""
        try:
            array = np.asarray(x)
        except ValueError:
            raise ReadingError(f"a reading must be {self._x.size} numbers, this one is ragged") from None
        if array.dtype.kind not in "fiu":
            raise ReadingError(f"a reading must be real numbers, this one is of type {array.dtype}")
        if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
            names = ", ".join(c.name for c in self.model.inputs[:8]) + (", …" if len(self.model.inputs) > 8 else "")
            wanted = "(readings, " * (len(shape) - 1) + f"{self._x.size}" + (")" if len(shape) > 1 else " numbers")
            raise ReadingError(f"expected {wanted} ({names}), got an array of shape {array.shape}")
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which the machine refuses
            converted: Floats = array.astype(np.float32, copy=False)
        return converted

    def _fail(self, status: int, x: Floats, what: str) -> None:
        if status == layout.BAD_STATE:
            raise StateError(f"{what} would have made the memory infinite: the network is unstable; it was not taken")
        place = next(k for k, value in enumerate(x) if not math.isfinite(value))
        raise ReadingError(f"{what} holds {x[place]} in channel {self._channel(place)!r}; it was not taken")

    def _channel(self, place: int) -> str:
        owners: list[Any] = [c for c in self.model.inputs for _ in range(c.width)]
        return str(owners[place].name)
