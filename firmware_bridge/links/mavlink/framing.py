"""Bytes ↔ MAVLink frames, version 1 (magic FE) and 2 (magic FD).

Its rule: any split of the same bytes gives the same frames, and whatever arrives becomes a value, `Frame` or `Damaged`.
A frame of a message that we know is checked whole (16 bits of CRC, which the message's definition goes into). The check
byte of one that we do not know is missing, so its CRC must fit one of 256: such a frame is passed over and counted,
never read. Must never: raise on wire data, hold more than one frame of it, look at a clock. A signature is passed over,
not verified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from firmware_bridge.links.mavlink.definition import Message, crc
from firmware_bridge.links.mavlink.messages import MESSAGES
from firmware_bridge.remembered import Remembers

MAGIC_1, MAGIC_2 = 0xFE, 0xFD
SIGNED = 0x01  # the only incompatibility flag there is
SIGNATURE = 13  # bytes: link, time, the hash's first 6
MAX_FRAME = 10 + 255 + 2 + SIGNATURE
BY_ID = {item.id: item for item in MESSAGES.values()}

_MAGIC = re.compile(rb"[\xfd\xfe]")
# A CRC goes on by one byte as rest >> 8 ^ step, with one step for each value of the byte and the rest.
_STEPS = frozenset(crc(bytes([byte])) ^ 0xFF for byte in range(256))

Why = Literal["shape", "check", "length", "flags"]


class Frame(NamedTuple):
    """An intact frame. `message` is None for one that we do not know: its CRC fits some definition, ours has none."""

    version: Literal[1, 2]
    seq: int
    system: int
    component: int
    id: int
    payload: bytes
    message: Message | None = None
    signed: bool = False


class Damaged(NamedTuple):
    """Bytes in a row that belong to no frame, and what was wrong with the first of them: "shape" no frame begins there,
    "check" its CRC, "length" MAVLink 1 with too short a payload, "flags" one that the specification does not know."""

    status: Why
    data: bytes


def encode(version: Literal[1, 2], seq: int, system: int, component: int, message: Message, payload: bytes) -> bytes:
    """The bytes of one frame. MAVLink 1 gets no extension fields, MAVLink 2 no zeros at the end (but for one byte).
    Raises ValueError for a message that MAVLink 1 has no number for."""
    if version == 1:
        if message.id > 0xFF:
            raise ValueError(f"{message.name} has the number {message.id}; MAVLink 1 has none above 255.")
        payload = payload[: message.base_size]
        body = bytes((len(payload), seq, system, component, message.id)) + payload
        magic = b"\xfe"
    else:
        payload = payload.rstrip(b"\0") or b"\0"
        number = message.id.to_bytes(3, "little")
        body = bytes((len(payload), 0, 0, seq, system, component)) + number + payload
        magic = b"\xfd"
    return magic + body + crc(body + message.extra).to_bytes(2, "little")


def renumbered(data: bytes, seq: int, known: Mapping[int, Message]) -> tuple[bytes, int]:
    """Frames that `encode` made of known messages, numbered from `seq` on; and the number after the last."""
    out, at = b"", 0
    while at < len(data):
        second = data[at] == MAGIC_2
        after = at + data[at + 1] + (12 if second else 8)
        body = bytearray(data[at + 1 : after - 2])
        body[3 if second else 1] = seq
        number = int.from_bytes(body[6:9], "little") if second else body[4]
        out += data[at : at + 1] + body + crc(bytes(body) + known[number].extra).to_bytes(2, "little")
        at, seq = after, (seq + 1) & 0xFF
    return out, seq


class Deframer(Remembers):
    """Collects bytes until a frame is whole. Counts what was no frame in `skipped` (bytes), that which came before the
    first frame after `reset`: there the rest of one that began before we listened is no fault.

    known: the messages whose frames are checked whole, by number.
    """

    REMEMBERED: ClassVar = {
        "skipped": int,
        "_rest": bytes,
        "_lost": bytearray,
        "_why": Why,
        **dict.fromkeys(("_synchronized", "_doubtful"), bool),
    }

    def __init__(self, known: Mapping[int, Message] = BY_ID) -> None:
        self.skipped = 0
        self._known = known
        self._rest = b""
        self._lost = bytearray()  # bytes that belong to no frame, since the last one
        self.reset()

    def reset(self) -> None:
        """Forget the frame in progress (the link was opened or lost)."""
        self.skipped += len(self._lost) + len(self._rest)
        self._rest = b""
        self._lost.clear()
        self._why: Why = "shape"  # of the first of them
        self._synchronized = False  # there was a frame since the reset
        self._doubtful = True  # the last byte was not the end of a frame

    def feed(self, data: bytes) -> list[Frame | Damaged]:
        """The frames that end within `data`, and the damage that is over with one, or has gone on for `MAX_FRAME`."""
        buffer = self._rest + data if self._rest else data
        found: list[Frame | Damaged] = []
        at, end = 0, len(buffer)
        while at < end:
            item = self._frame(buffer, at, end)
            if item is None:  # not whole yet
                break
            if isinstance(item, str):
                match = _MAGIC.search(buffer, at + 1)
                after = match.start() if match else end
                self._lose(buffer[at:after], item, found)
                at = after
            else:
                frame, at = item
                self._recover(found)
                found.append(frame)
        self._rest = bytes(buffer[at:])
        return found

    def _frame(self, buffer: bytes, at: int, end: int) -> tuple[Frame, int] | Why | None:
        """The frame that begins at `at` and where the next byte is; what is wrong with it; None: it is not whole."""
        magic, left = buffer[at], end - at
        if magic == MAGIC_2:
            if left > 2 and buffer[at + 2] & ~SIGNED:
                return "flags"
            if left < 12:
                return None
            size, flags, compatible, seq, system, component = buffer[at + 1 : at + 7]
            number = int.from_bytes(buffer[at + 7 : at + 10], "little")
            message = self._known.get(number)
            # After damage any byte may seem to begin a frame, and the true ones would wait until it is whole.
            if message is None and compatible and self._doubtful:
                return "flags"
            start = at + 10
            after = start + size + (2 + SIGNATURE if flags else 2)
        elif magic == MAGIC_1:
            if left < 8:
                return None
            size, seq, system, component, number = buffer[at + 1 : at + 6]
            message = self._known.get(number)
            if message is None:
                if self._doubtful:
                    return "shape"
            elif size < message.base_size:
                return "length"
            flags, start = 0, at + 6
            after = start + size + 2
        else:
            return "shape"
        if after > end:
            return None
        stop = start + size
        received = buffer[stop] | buffer[stop + 1] << 8
        if message is not None:
            if crc(buffer[at + 1 : stop] + message.extra) != received:
                return "check"
        elif (received ^ crc(buffer[at + 1 : stop]) >> 8) not in _STEPS:
            return "check"
        version: Literal[1, 2] = 2 if magic == MAGIC_2 else 1
        payload = buffer[start:stop]
        return Frame(version, seq, system, component, number, payload, message, flags != 0), after

    def _lose(self, data: bytes, why: Why, found: list[Frame | Damaged]) -> None:
        """Bytes that belong to no frame. However they come, each piece reported is as long as the longest frame."""
        self._doubtful = True
        if not self._synchronized:
            self.skipped += len(data)
            return
        if not self._lost:
            self._why = why
        self._lost += data
        while len(self._lost) >= MAX_FRAME:
            found.append(Damaged(self._why, bytes(self._lost[:MAX_FRAME])))
            del self._lost[:MAX_FRAME]
            self._why = "shape"

    def _recover(self, found: list[Frame | Damaged]) -> None:
        """A frame is intact: what was no frame before it is over."""
        if self._lost:
            found.append(Damaged(self._why, bytes(self._lost)))
            self._lost.clear()
        self._synchronized, self._doubtful = True, False
