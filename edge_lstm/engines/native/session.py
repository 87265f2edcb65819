"""What is remembered between readings: copies of a program's arena, and the frame through which the machine advances
them.

Its rule: the state lives here and nowhere else. `stream.py` decides what the copies are: the windows of one stream, or
many streams of one model.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Policy, channels_for
from edge_lstm.engines.native import loader
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.layout import aligned
from edge_lstm.errors import ReadingError, StateError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.program import Floats

# Below this a call is over (about 5 µs) before another thread could do anything with the GIL, but giving it up to a
# busy thread may cost the switch interval (5 ms by default) to get it back.
_WORTH_RELEASING = 200_000  # multiply-adds
# A log goes through the rows so many readings at a time: few enough that their arenas stay in a cache (first level).
_AHEAD_FLOATS, _FEWEST_AHEAD, _MOST_AHEAD = 6144, 8, 64
_MOST_AHEAD_FLOATS = 1 << 22  # 16 MiB; where those arenas would be larger, readings go one after the other
_POINTING = struct.Struct("=7q")  # X ... STEPS of a frame
_FLOAT32 = np.dtype(np.float32)
# A snapshot: 32 bytes of the model's digest, 8 of how many readings it has seen, the values, 4 of CRC-32 of all that.
_HEAD, _TAIL = 40, 4


class Memory:
    """So many copies of a model's arena, in the reset state."""

    group = 1  # streams that one pass over the weights serves

    def __init__(self, model: Model, copies: int, lanes: int | None = None, digest: str | None = None) -> None:
        """digest: whose snapshots these are, where the model stands for another one of the same states."""
        self.model = model
        self._digest = bytes.fromhex(model.digest if digest is None else digest)
        lanes = loader.default_lanes() if lanes is None else lanes
        self._assembled = model.assembled(lanes)  # the frame points into it
        if not any(op.kind.startswith("quantized_") for op in model.program.operations):  # those go one by one
            self.group = abi.ARENAS_AT_ONCE[lanes]
        self._initial = self._assembled.arena
        self._arenas = aligned(copies * self._initial.size).reshape(copies, -1)
        states = [s.slot.elements for s in model.program.states]
        self._elements = np.concatenate([*states, np.empty(0, np.int64)])
        # Where zeros stand in for the readings before the first, all windows are under way from the beginning.
        self._begun = copies if model.window is not None and model.before_window == "zeros" else 0
        self._start = self._windows_of_zeros(lanes) if self._begun else self._initial
        self._frame = np.zeros(abi.FRAME, np.int64)
        for field, value in (
            (abi.TABLE, self._assembled.table.ctypes.data),
            (abi.STEP_ROWS, self._assembled.step_rows),
            (abi.COMMIT_ROWS, self._assembled.commit_rows),
            (abi.OUTPUT_ROWS, self._assembled.output_rows),
            (abi.WEIGHTS, self._assembled.weights.ctypes.data),
            (abi.ARENA, self._arenas.ctypes.data),
            (abi.ARENA_SIZE, self._initial.size),
            (abi.INITIAL, self._initial.ctypes.data),
            (abi.COPIES, copies),
            (abi.WINDOW, model.window is not None),
            (abi.READY, model.ready),
            (abi.EVERY, model.every),
        ):
            self._frame[field] = value
        self._input_size, self._output_size = model.program.input_size, model.program.output_size
        self._ahead: Floats | None = None  # made when the first log is taken
        # Two ways in: `advance` for one reading, `advance_many` for many, which releases the GIL.
        advance, self.advance_many = loader.bind(self._frame.ctypes.data, lanes)
        long = model.program.multiply_adds * copies > _WORTH_RELEASING
        self.advance = self.advance_many if long else advance
        self.reset()

    def _windows_of_zeros(self, lanes: int) -> Floats:
        """The copies before the first reading: the window of copy k ends with reading k, so it has taken T - k zeros,
        and copy 0 begins with the first reading. Zeros of the network, whatever the channels' scaling."""
        model, size = self.model, self.model.program.input_size
        inputs = channels_for(("zero",), (size,))
        continuous: dict[str, Any] = {"window": None, "before_window": "wait", "feedback": (), "policy": Policy()}
        network = Memory(replace(model, inputs=inputs, **continuous), 1, lanes, self._digest.hex())
        x, y = aligned(size), aligned(model.program.output_size)
        network.point_at(x, y, 1)
        start = np.repeat(self._initial[None], len(self._arenas), axis=0)
        for copy in range(len(start) - 1, 0, -1):
            if status := network.advance():
                self.fail(status, x, "a reading of zeros before the first window")
            start[copy, self._elements] = network._arenas[0, self._elements]
        return start

    def _arenas_ahead(self) -> Floats | None:
        """Arenas for the readings of a log, of as many streams as advance together; None where they are too large."""
        size = self._initial.size
        readings = min(max(_AHEAD_FLOATS // size, _FEWEST_AHEAD), _MOST_AHEAD)
        floats = (1 + readings) * min(len(self._arenas), 4) * size
        if floats > _MOST_AHEAD_FLOATS:
            return None
        arenas = aligned(floats).reshape(-1, size)
        arenas[:] = self._initial
        self._frame[abi.AHEAD], self._frame[abi.AHEAD_ARENAS] = arenas.ctypes.data, len(arenas)
        return arenas

    def point_at(self, xs: Floats, ys: Floats, steps: int, *, x_copy: int = 0, y_copy: int = 0) -> None:
        """The next calls take `steps` readings from xs and write to ys, C-contiguous arrays that the caller keeps
        alive.

        x_copy, y_copy: float32 from one copy's reading or output to the next one's.
        """
        if steps > 1 and self._ahead is None and self._assembled.ahead and self.model.window is None:
            self._ahead = self._arenas_ahead()
        x, y = (xs.ctypes.data, self._input_size, x_copy), (ys.ctypes.data, self._output_size, y_copy)
        _POINTING.pack_into(self._frame.data, self._frame.itemsize * abi.X, *x, *y, steps)

    def pointing(self) -> bytes:
        """Where calls point to and how many copies they advance, for `point_back`."""
        return self._frame[abi.COPIES : abi.STEPS + 1].tobytes()

    def point_back(self, pointing: bytes) -> None:
        """The next calls point to where they did then."""
        self._frame[abi.COPIES : abi.STEPS + 1] = np.frombuffer(pointing, np.int64)

    def mark(self) -> tuple[Floats, int]:
        """What is remembered, for `back_to`."""
        return self._arenas.copy(), int(self._frame[abi.SEEN])

    def back_to(self, mark: tuple[Floats, int]) -> None:
        """Remember again what was remembered then."""
        self._arenas[:], self._frame[abi.SEEN] = mark

    def take_over(self, other: Memory, copies: slice | Sequence[int], theirs: slice | Sequence[int]) -> None:
        """These copies remember what those of another memory of this model do. Of both, the one that has seen more
        readings says how many."""
        self._arenas[copies] = other._arenas[theirs]
        self._frame[abi.SEEN] = max(self._frame[abi.SEEN], other._frame[abi.SEEN])

    def use_first(self, copies: int) -> None:
        """The next calls advance only so many copies."""
        self._frame[abi.COPIES] = copies

    def rearrange(self, order: Sequence[int] | npt.NDArray[np.intp]) -> None:
        """Copy k becomes what copy order[k] was."""
        self._arenas[:] = self._arenas[order]

    @property
    def done(self) -> int:
        """How many readings the last call has taken."""
        return int(self._frame[abi.DONE])

    def reset(self) -> None:
        """Every copy as it began."""
        self._arenas[:] = self._start
        self._frame[abi.SEEN] = self._begun

    def state(self, copies: int | slice) -> Mapping[str, Floats]:
        """What one copy remembers, or several, by name: float32 (units,) or (copies, units), read-only copies."""
        found = {}
        for s in self.model.program.states:
            values: Floats = self._arenas[copies, s.slot.offset : s.slot.offset + s.slot.size].copy()
            values.flags.writeable = False
            found[s.name] = values
        return MappingProxyType(found)

    @property
    def speaks_next(self) -> int:
        """The copy whose output comes next: in window meaning, the oldest window."""
        return int(self._frame[abi.SEEN] + 1) % len(self._arenas)

    def snapshot(self) -> bytes:
        """Everything that is remembered."""
        seen = int(self._frame[abi.SEEN]).to_bytes(8, "little")
        content = self._digest + seen + self._arenas[:, self._elements].astype("<f4").tobytes()
        return content + zlib.crc32(content).to_bytes(_TAIL, "little")

    def restore(self, snapshot: bytes) -> None:
        """Take up what `snapshot` gave. Raises StateError where it is damaged or another model's, the state
        unchanged."""
        expected = _HEAD + 4 * len(self._arenas) * self._elements.size + _TAIL
        if not isinstance(snapshot, (bytes, bytearray, memoryview)):
            raise StateError(f"a snapshot is bytes, as `snapshot` gives them, not {type(snapshot).__name__}")
        if len(snapshot) != expected:
            raise StateError(f"a snapshot of {self.model.name!r} has {expected} bytes, this one has {len(snapshot)}")
        if snapshot[:32] != self._digest:
            raise StateError(
                f"the snapshot is of model {snapshot[:6].hex()}…, "
                f"this stream runs {self.model.name!r}, {self._digest[:6].hex()}…"
            )
        content, check = snapshot[:-_TAIL], int.from_bytes(snapshot[-_TAIL:], "little")
        values = np.frombuffer(content, "<f4", offset=_HEAD)
        seen = int.from_bytes(content[32:_HEAD], "little")
        if zlib.crc32(content) != check or not np.isfinite(values).all() or seen >> 62:
            raise StateError("the snapshot is damaged: its content does not match its checksum")
        self._arenas[:, self._elements] = values.reshape(len(self._arenas), -1)
        self._frame[abi.SEEN] = seen

    def resume(self, values: Floats) -> None:
        """All states of each copy, one after the other. Raises StateError where a value is not finite."""
        if not np.isfinite(values).all():
            raise StateError("the memory to go on from holds NaN or infinity")
        self._arenas[:, self._elements] = values

    def readings(self, x: npt.ArrayLike, shape: Sequence[int]) -> Floats:
        """x as float32 of this shape (-1: any length), or ReadingError."""
        if (
            type(x) is np.ndarray
            and x.dtype is _FLOAT32
            and x.flags.c_contiguous
            and (x.shape == shape or (len(shape) == x.ndim == 2 and shape == (-1, x.shape[1])))
        ):
            return x
        try:
            array = np.asarray(x)
        except ValueError:
            raise ReadingError(f"a reading must be {shape[-1]} numbers, this one is ragged") from None
        if array.dtype.kind not in "fiu":
            raise ReadingError(f"a reading must be real numbers, this one is of type {array.dtype}")
        if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
            inputs = self.model.inputs
            names = ", ".join(c.name for c in inputs[:8]) + (", …" if len(inputs) > 8 else "")
            wanted = ", ".join("readings" if want == -1 else str(want) for want in shape)
            wanted = f"({wanted})" if len(shape) > 1 else f"{wanted} numbers"
            raise ReadingError(f"expected {wanted} ({names}), got an array of shape {array.shape}")
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which the machine refuses
            converted: Floats = np.ascontiguousarray(array, dtype=np.float32)
        return converted

    def fail(self, status: int, x: Floats, what: str) -> NoReturn:
        """Raise what a call's status means; x is the reading that was refused."""
        if status == abi.BAD_STATE:
            integers = any("x_scale" in op.weights for op in self.model.program.operations)
            also = ", or a value that becomes an integer" if integers else ""
            raise StateError(
                f"{what} would have made the memory infinite{also}: the network is unstable; it was not taken"
            )
        if status == abi.BAD_INDEX:
            raise ReadingError(f"{what} gives a number beyond the model's vocabulary; it was not taken")
        place = next(k for k, value in enumerate(x) if not math.isfinite(value))
        owner = [c.name for c in self.model.inputs for _ in range(c.width)][place]
        raise ReadingError(f"{what} holds {x[place]} in channel {owner!r}; it was not taken")


def memory_of(model: Model, copies: int, lanes: int | None = None, digest: str | None = None) -> Memory:
    """What remembers for this model, and advances it: the machine, or ONNX Runtime where it holds a graph."""
    if model.program.onnx is None:
        return Memory(model, copies, lanes, digest)
    from edge_lstm.engines.onnxruntime.session import GraphMemory

    return GraphMemory(model, copies, digest)
