"""Bytes → frames of packed numbers: a head, numbers of a layout, perhaps a check and a tail.

Its rule: any split of the same bytes gives the same frames. A frame is taken where it begins first, and only with all
that was said about it right: head, constants, tail, check. Behind a damaged one the search goes on byte by byte, so no
whole frame that follows is lost; what was passed over in between is one `Passed`. Never raises on wire data, never
holds more than the longest frame and the beginning of what it passed over; per byte passed over it computes at most
one check of each kind of frame. Never looks at a clock.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from firmware_bridge.links.checksums import Checksum, Order
from firmware_bridge.links.layout import Layout
from firmware_bridge.remembered import Remembers

LONGEST_MARK = 16  # bytes of a head or a tail
LONGEST_UNDECLARED = (
    256  # bytes of a frame of which only the length is known: so long may a damaged one keep us waiting
)
# A check of 8 bits lets one wrong frame of 256 through. Where so many bytes that begin a frame stand in the middle of
# another one, it is more likely that this one was cut off than that it holds them by chance.
WEAK, TELLING = 1, 3
KEPT = 256  # bytes of what is passed over, to be looked at
LONGEST_RUN = 4096  # bytes passed over, after which it is said at once

# What `judge` says: it is whole, more bytes must come, or what is wrong, the less of it was right the earlier.
OK, WAIT = "", "…"
HEAD, CONSTANT, LENGTH, TAIL, CHECK = WRONG = ("head", "constant", "length", "tail", "check")


@dataclass(frozen=True)
class FrameKind:
    """One kind of frame: head, layout, check and tail, in the order of the wire. The check covers what is before it,
    from the head or from the layout on."""

    head: bytes
    layout: Layout
    tail: bytes = b""
    checksum: Checksum | None = None
    covers_head: bool = False
    check_last: bool = False  # behind the tail, which it covers then
    order: Order = "little"  # of the check's bytes
    constants: tuple[tuple[int, float], ...] = ()  # (number of the layout, its value)
    length: int | None = None  # the constant that counts the frame's bytes
    size: int = field(init=False)
    known: tuple[tuple[int, bytes, str], ...] = field(init=False, repr=False)  # (offset, bytes, what else is wrong)
    _check: tuple[int, int, int] = field(init=False, repr=False)  # from, to, and the end of the check itself

    def __post_init__(self) -> None:
        layout = self.layout
        body = len(self.head) + layout.size
        width = self.checksum.size if self.checksum else 0
        at = body + len(self.tail) if self.check_last else body
        object.__setattr__(self, "size", body + width + len(self.tail))
        object.__setattr__(self, "_check", (0 if self.covers_head else len(self.head), at, at + width))
        first = len(self.head)
        known = [
            (first + layout.offsets[n], layout.constant(n, value), LENGTH if n == self.length else CONSTANT)
            for n, value in sorted(self.constants)
        ]
        if self.tail:
            known.append((body if self.check_last else body + width, self.tail, TAIL))
        object.__setattr__(self, "known", tuple(known))

    @property
    def beginning(self) -> bytes:
        """The bytes with which every such frame begins: the head, and constants that follow it."""
        known = self.head
        for offset, constant, wrong in self.known:
            if offset == len(known) and wrong != TAIL:
                known += constant
        return known

    def judge(self, data: bytes, at: int) -> tuple[str, int]:
        """What the bytes from `at` on are, which begin with the head, and how many of them."""
        size = self.size
        whole = len(data) - at >= size
        for offset, known, wrong in self.known:
            if not data.startswith(known, at + offset):
                if whole or len(data) - at >= offset + len(known):
                    return wrong, 0
                return WAIT, 0
        if not whole:
            return WAIT, 0
        checksum = self.checksum
        if checksum is not None:
            start, end, stop = self._check
            if checksum.of(data[at + start : at + end]) != int.from_bytes(data[at + end : at + stop], self.order):
                return CHECK, 0
        return OK, size

    def frame(self, values: Sequence[float]) -> bytes:
        """The bytes of one frame, of raw numbers that fit into the layout."""
        return self.seal(self.layout.packer.pack(*values))

    def seal(self, body: bytes) -> bytes:
        """The same, of the numbers' bytes."""
        if self.checksum is None:
            return self.head + body + self.tail
        covered = (self.head if self.covers_head else b"") + body + (self.tail if self.check_last else b"")
        check = self.checksum.of(covered).to_bytes(self.checksum.size, self.order)
        return self.head + body + (self.tail + check if self.check_last else check + self.tail)

    def numbers(self, frame: bytes) -> tuple[float, ...]:
        """The raw numbers of a whole frame."""
        return self.layout.unpack(frame, len(self.head))


@dataclass(frozen=True)
class Undeclared:
    """What a robot sends under the same head without being asked for: of it nothing is known but where its length
    stands (`at`, `number`) and how many bytes it has beside what that counts (`more`)."""

    head: bytes
    at: int
    number: str  # its layout
    more: int
    least: int
    tail: bytes
    checksum: Checksum | None
    covers_head: bool
    check_last: bool
    order: Order
    size: int = LONGEST_UNDECLARED

    @classmethod
    def beside(cls, kind: FrameKind) -> Undeclared:
        """What comes beside frames of this kind, whose length is one of its constants."""
        assert kind.length is not None
        number = kind.layout.one(kind.length)
        at = len(kind.head) + kind.layout.offsets[kind.length]
        least = at + number.size + kind.size - len(kind.head) - kind.layout.size
        more = kind.size - int(dict(kind.constants)[kind.length])
        marks = kind.tail, kind.checksum, kind.covers_head, kind.check_last, kind.order
        return cls(kind.head, at, number.format, more, least, *marks)

    def judge(self, data: bytes, at: int) -> tuple[str, int]:
        """As of a `FrameKind`; of one that is not whole yet, too, how long it will be."""
        left = len(data) - at
        if left < self.least:
            return WAIT, 0
        size = struct.unpack_from(self.number, data, at + self.at)[0] + self.more
        if not self.least <= size <= self.size:
            return LENGTH, 0
        if left < size:
            return WAIT, size
        return self._judge(data[at : at + size]), size

    def _judge(self, frame: bytes) -> str:
        checksum = self.checksum
        width = checksum.size if checksum else 0
        tail = len(frame) - len(self.tail) - (width if self.check_last else 0)
        if not frame.startswith(self.tail, tail):
            return TAIL
        if checksum is None:
            return OK
        end = len(frame) - width if self.check_last else tail - width
        covered = frame[0 if self.covers_head else len(self.head) : end]
        return OK if checksum.of(covered) == int.from_bytes(frame[end : end + width], self.order) else CHECK


class Found(NamedTuple):
    """A whole frame, and which of the finder's kinds it is; None: an undeclared one."""

    kind: int | None
    frame: bytes


class Passed(NamedTuple):
    """A run of bytes that are no frame: what was wrong with the first thing in it that began like one, the beginning of
    it, and its length. One that has become very long is said before it ends, and no more of it after."""

    status: str
    data: bytes
    size: int


class FrameFinder(Remembers):
    """Finds frames of these kinds. Counts what it passed over beside what is in `Passed.data`, in `skipped` (bytes).

    What comes before the first frame after `reset` is the rest of one that began before we listened, unless it is
    longer than any: it is passed over without a word.
    """

    REMEMBERED: ClassVar = {
        **dict.fromkeys(("skipped", "_run_size"), int),
        **dict.fromkeys(("_rest", "_run"), bytes),
        **dict.fromkeys(("_run_said", "_begun"), bool),
        "_run_status": str,
    }

    def __init__(self, kinds: Sequence[FrameKind]) -> None:
        self.skipped = 0
        # Of those that could begin at the same place the shortest is asked first, the undeclared last.
        declared = sorted(enumerate(kinds), key=lambda item: item[1].size)
        undeclared = dict.fromkeys(Undeclared.beside(kind) for kind in kinds if kind.length is not None)
        self._judges: list[tuple[int | None, bytes, Callable[[bytes, int], tuple[str, int]]]] = [
            *((number, kind.head, kind.judge) for number, kind in declared),
            *((None, kind.head, kind.judge) for kind in undeclared),
        ]
        self._checked = [(kind.head, kind.judge) for kind in kinds if kind.checksum is not None]
        self._weak = {number for number, kind in declared if kind.checksum is not None and kind.checksum.size <= WEAK}
        telling = [(kind.beginning, kind.judge) for kind in kinds if len(kind.beginning) >= TELLING]
        self._telling = telling
        self._search_telling = _search({beginning for beginning, _ in telling}, whole=True) if telling else None
        self._longest = max([kind.size for kind in kinds] + [kind.size for kind in undeclared])
        self._search = _search({kind.head for kind in kinds})
        self._rest = b""
        self._run = b""  # the beginning of what is being passed over
        self._run_size = 0
        self._run_status = HEAD
        self._run_said = False
        self._begun = False  # a frame was found since `reset`

    def reset(self) -> None:
        """Forget the frame in progress (the link was opened or lost)."""
        self.skipped += len(self._rest) + (0 if self._run_said else self._run_size)
        self._rest = self._run = b""
        self._run_size, self._run_status, self._run_said, self._begun = 0, HEAD, False, False

    def feed(self, data: bytes) -> list[Found | Passed]:
        """The frames that end within `data`, and what was passed over, in their order."""
        if self._rest:
            data = self._rest + data
        found: list[Found | Passed] = []
        at, size, search = 0, len(data), self._search
        while at < size:
            match = search(data, at)
            start = match.start() if match else size
            if start > at:
                self._pass(data[at:start], HEAD, found)
                at = start
                if not match:
                    break
            status, kind, start, length = self._judge(data, at)
            if status == WAIT:
                break
            if status == OK:
                if self._run_size:
                    self._end_run(found)
                self._begun = True
                found.append(Found(kind, data[start : start + length]))
                at = start + length
            else:
                self._pass(data[at:start], status, found)
                at = start
        self._rest = data[at:]
        return found

    def _judge(self, data: bytes, at: int) -> tuple[str, int | None, int, int]:
        """What the first kind says that does not refuse what begins at `at`: (status, kind, start, length); else the
        refusal that came furthest, and where the search goes on."""
        worst = HEAD
        left = len(data) - at
        for kind, head, judge in self._judges:
            if data.startswith(head, at):
                status, size = judge(data, at)
                if kind is None and size and (inner := self._inside(data, at + 1, at + size)):
                    return worst, None, inner, 0
                if status == OK and kind in self._weak:
                    status = self._doubted(data, at + 1, at + size)
                if status in _GOOD:
                    return status, kind, at, size
            elif left < len(head) and head.startswith(data[at:]):
                return WAIT, kind, at, 0
            else:
                continue
            if _RANK[status] > _RANK[worst]:
                worst = status
        return worst, None, at + 1, 0

    def _inside(self, data: bytes, at: int, end: int) -> int | None:
        """Where the declared frame begins that is whole first, before `end`, and has a check. What is known only by its
        length may be a damaged frame, and must not hide or delay those that follow it."""
        first = None
        while (match := self._search(data, at)) and match.start() < end:
            at = match.start()
            for head, judge in self._checked:
                if data.startswith(head, at):
                    status, size = judge(data, at)
                    if status == OK and at + size < end:
                        first, end = at, at + size
            at += 1
        return first

    def _doubted(self, data: bytes, at: int, end: int) -> str:
        """Of a frame whose check is weak, and which ends before `end`: CHECK where another one begins inside it and is
        whole, unless one begins right behind it, as behind a frame that was not cut off; WAIT where that cannot be said
        yet; else OK."""
        if self._search_telling is None:
            return OK
        while (match := self._search_telling(data, at)) and match.end() <= end:
            at = match.start()
            for beginning, judge in self._telling:
                if data.startswith(beginning, end):
                    return OK
                if beginning.startswith(data[end : end + len(beginning)]):
                    return WAIT
                if data.startswith(beginning, at):
                    status, _ = judge(data, at)
                    if status in _GOOD:
                        return CHECK if status == OK else WAIT
            at += 1
        return OK

    def _pass(self, data: bytes, status: str, found: list[Found | Passed]) -> None:
        """These bytes are no frame."""
        self._run_size += len(data)
        if self._run_said:
            self.skipped += len(data)
            return
        if self._run_status == HEAD:
            self._run_status = status
        if len(self._run) < KEPT:
            self._run = (self._run + data)[:KEPT]
        if self._run_size >= LONGEST_RUN:
            found.append(Passed(self._run_status, self._run, LONGEST_RUN))
            self.skipped += self._run_size - len(self._run)
            self._run_said = True

    def _end_run(self, found: list[Found | Passed]) -> None:
        """A frame follows on what was passed over."""
        if not self._run_said:
            if self._begun or self._run_size > self._longest:
                found.append(Passed(self._run_status, self._run, self._run_size))
                self.skipped += self._run_size - len(self._run)
            else:
                self.skipped += self._run_size
        self._run, self._run_size, self._run_status, self._run_said = b"", 0, HEAD, False


_GOOD = (OK, WAIT)
_RANK = {status: rank for rank, status in enumerate(WRONG)}


def _search(heads: set[bytes], whole: bool = False) -> Callable[[bytes, int], re.Match[bytes] | None]:
    """Finds the next place where one of the heads stands, or begins at the very end of the data; whole: stands."""
    ways = []
    for head in sorted(heads):
        lengths = () if whole else range(1, len(head))
        ways += [re.escape(head), *(re.escape(head[:length]) + rb"\Z" for length in lengths)]
    return re.compile(b"|".join(ways)).search


def told_apart(one: FrameKind, other: FrameKind) -> bool:
    """Whether no bytes are whole frames of both kinds, or only by an accident of their checks."""
    known, others = _known_bytes(one), _known_bytes(other)
    if any(others.get(at, byte) != byte for at, byte in known.items()):
        return True
    if one.size == other.size:
        return one.checksum is not other.checksum and None not in (one.checksum, other.checksum)
    return min(one, other, key=lambda kind: kind.size).checksum is not None


def _known_bytes(kind: FrameKind) -> dict[int, int]:
    """offset → byte, of those that are the same in every frame of the kind."""
    parts = [(0, kind.head, ""), *kind.known]
    return {at + n: byte for at, part, _ in parts for n, byte in enumerate(part)}
