"""What a session remembers: copies of a program's arena, and how many readings they have seen.

Its rule: the state lives here and nowhere else, as float32 in the arena's places, whoever advances it. What the copies
are, one for each stream or one for each window under way, is decided by whoever makes them.

Two threads: a call that lets other threads run (it releases the GIL) has the memory for itself until it is over, and
any other use of it meanwhile is a ThreadError. Checking and claiming are neighbouring bytecodes without a call between
them, so no other thread gets in between (CPython 3.10 to 3.14 look for other threads at calls and at jumps back).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from threading import get_ident
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from edge_lstm.core.by_name import ByName
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.engines.status import BAD_INDEX, BAD_STATE
from edge_lstm.errors import EdgeLstmError, ReadingError, StateError, ThreadError

_ALIGNMENT = 64  # bytes: a cache line, and an AVX-512 vector
# A snapshot: 32 bytes of the model's digest, 8 of how many readings it has seen, the values, 4 of CRC-32 of all that.
_HEAD, _TAIL = 40, 4
Result = TypeVar("Result")


def aligned(size: int) -> Floats:
    """Zeros (size,) that start at a cache line."""
    raw = np.zeros(size + _ALIGNMENT // 4, np.float32)
    start = -raw.ctypes.data % _ALIGNMENT // 4
    array: Floats = raw[start : start + size]
    return array


class Memory:
    """`copies` of an arena. initial: the arena after a reset, float32 (size,)."""

    group = 1
    user = 0  # the thread that has this memory for itself; 0: none

    def __init__(self, model: Model, copies: int, initial: Floats, digest: str | None = None) -> None:
        """digest: whose snapshots these are, where the model stands for another one of the same states."""
        self.model = model
        self._digest = bytes.fromhex(model.digest if digest is None else digest)
        self._initial = initial
        self._arenas = aligned(copies * initial.size).reshape(copies, -1)
        states = [s.slot.elements for s in model.program.states]
        self._elements = np.concatenate([*states, np.empty(0, np.int64)])
        self._start: Floats = initial  # of each copy, or (copies, size)
        self._begun = 0  # readings that `_start` has seen
        self._seen = 0

    def check_free(self) -> None:
        """Raises ThreadError where another thread has this memory for itself."""
        user = self.user
        if user and user != get_ident():
            raise ThreadError(
                f"this stream of {self.model.name!r} is in use by another thread; a stream belongs to one thread at a"
                " time (streams of one model may be used side by side)"
            )

    def exclusively(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """The result of a call that lets other threads run, with this memory for itself. Raises ThreadError."""
        me, before, claimed = get_ident(), 0, False
        try:
            before = self.user
            if before and before != me:
                self.check_free()
            claimed = True  # before it is, so that an interrupt between the two leaves nothing claimed
            self.user = me
            return work(*arguments)
        finally:
            if claimed:
                self.user = before

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session is neither copied nor pickled; copy or pickle its stream, or use a snapshot")

    @property
    def seen(self) -> int:
        """Readings since the reset."""
        return self._seen

    @seen.setter
    def seen(self, readings: int) -> None:
        self._seen = readings

    def reset(self) -> None:
        """As `Session.reset`."""
        self.check_free()
        self._arenas[:] = self._start
        self.seen = self._begun

    def checkpoint(self) -> tuple[Floats, int]:
        """As `Session.checkpoint`."""
        self.check_free()
        return self._arenas.copy(), self.seen

    def back_to(self, checkpoint: tuple[Floats, int]) -> None:
        """As `Session.back_to`."""
        self._arenas[:], self.seen = checkpoint

    def take_over(self, other: Memory, copies: slice | Sequence[int], theirs: slice | Sequence[int]) -> None:
        """As `Session.take_over`. Of both, the larger number of readings is taken."""
        self.check_free()
        other.check_free()
        self._arenas[copies] = other._arenas[theirs]
        self.seen = max(self.seen, other.seen)

    def rearrange(self, order: Sequence[int] | npt.NDArray[np.intp]) -> None:
        """As `Session.rearrange`."""
        self._arenas[:] = self._arenas[order]

    def state(self, copies: int | slice) -> Mapping[str, Floats]:
        """As `Session.state`."""
        self.check_free()
        found = {}
        if self.model.timing.mode == "window":
            copies = (self.seen + 1) % len(self._arenas)  # the oldest window
        for s in self.model.program.states:
            values: Floats = self._arenas[copies, s.slot.offset : s.slot.offset + s.slot.size].copy()
            values.flags.writeable = False
            found[s.name] = values
        return MappingProxyType(ByName("state", found, f"model {self.model.name!r} remembers nothing"))

    def snapshot(self) -> bytes:
        """As `Session.snapshot`."""
        self.check_free()
        content = self._digest + self.seen.to_bytes(8, "little")
        content += self._arenas[:, self._elements].astype("<f4").tobytes()
        return content + zlib.crc32(content).to_bytes(_TAIL, "little")

    def restore(self, snapshot: bytes) -> None:
        """As `Session.restore`."""
        self.check_free()
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
        self.seen = seen

    def resume(self, values: Floats) -> None:
        """As `Session.resume`."""
        self.check_free()
        if not np.isfinite(values).all():
            raise StateError("the memory to go on from holds NaN or infinity")
        self._arenas[:, self._elements] = values

    def refusal(self, status: int, x: Floats, what: str) -> EdgeLstmError:
        """As `Session.refusal`."""
        if status == BAD_STATE:
            integers = any("x_scale" in op.weights for op in self.model.program.operations)
            also = ", or a value that becomes an integer" if integers else ""
            return StateError(
                f"{what} would have made the memory infinite{also}: the network is unstable; it was not taken"
            )
        if status == BAD_INDEX:
            return ReadingError(f"{what} gives a number beyond the model's vocabulary; it was not taken")
        place = next(k for k, value in enumerate(x) if not math.isfinite(value))
        owner = [c.name for c in self.model.inputs for _ in range(c.width)][place]
        return ReadingError(f"{what} holds {x[place]} in channel {owner!r}; it was not taken")
