"""Bytes ↔ CAN frames, as LAWICEL's adapters write them and CANable's after them: a line of hexadecimal digits and CR.

    t1234DEADBEEF<CR>        a frame of 4 bytes, identifier 0x123
    T18FF00212AABB1A2B<CR>   of 2 bytes, identifier of 29 bits, and the adapter's time stamp

Its rule: any split of the same bytes gives the same lines, and nothing but such a line is a frame: a text has no check,
so every digit is looked at. Never raises on wire data, never holds more than the longest line, never looks at a clock.
"""

from __future__ import annotations

import re
from binascii import Error, unhexlify
from typing import ClassVar, NamedTuple

from firmware_bridge.remembered import Remembers

CR, BEL = b"\r", b"\a"  # end of a line, which is "done" where nothing stands before it; and "refused"
LONGEST_LINE = 160  # of CAN FD with 64 bytes, which is passed over
STAMP_WRAP = 60_000  # ms; the CANUSB manual: 0x0000 to 0xEA5F, then again from 0
GREATEST_ID, GREATEST_EXTENDED = 0x7FF, 0x1FFFFFFF
MOST_DATA = 8
# Remote frames, CAN FD, and answers to requests (done in two ways, flags, version, serial number): of no use here.
_ASIDE = re.compile(
    rb"(r[0-7]HH|R[01]H{7})[0-8](H{4})?|([db][0-7]HH|[DB][01]H{7})H(HH)*|[zZ]|FHH|[VvN]\w+".replace(
        b"H", b"[0-9A-Fa-f]"
    )
)
_ENDS = re.compile(rb"[\r\a]")


class CanFrame(NamedTuple):
    """A data frame. stamp_ms: the adapter's clock at its arrival, where it says so."""

    id: int
    extended: bool
    data: bytes
    stamp_ms: int | None = None


def encode(frame: CanFrame) -> bytes:
    """The line that sends a frame, or tells of one."""
    start = f"T{frame.id:08X}" if frame.extended else f"t{frame.id:03X}"
    stamp = "" if frame.stamp_ms is None else f"{frame.stamp_ms % STAMP_WRAP:04X}"
    return f"{start}{len(frame.data)}{frame.data.hex().upper()}{stamp}\r".encode()


def parse(line: bytes) -> CanFrame | str | None:
    """What a line (without its end) says: a frame, None where it is no data frame, or what is wrong with it."""
    kind = line[:1]
    if kind in (b"t", b"T"):
        extended = kind == b"T"
        at = 9 if extended else 4
        try:
            number = int.from_bytes(unhexlify(line[1:at] if extended else b"0" + line[1:at]), "big")
            rest = unhexlify(line[at + 1 :])
        except Error:
            return "shape"
        size = line[at] - 0x30 if len(line) > at else -1
        if not 0 <= size <= MOST_DATA or number > (GREATEST_EXTENDED if extended else GREATEST_ID):
            return "shape"
        if len(rest) == size:
            return CanFrame(number, extended, rest)
        stamp = int.from_bytes(rest[size:], "big")
        if len(rest) == size + 2 and stamp < STAMP_WRAP:
            return CanFrame(number, extended, rest[:size], stamp)
        return "shape"
    return None if _ASIDE.fullmatch(line) else "shape"


class Line(NamedTuple):
    """What stood before an end, perhaps nothing; `refused`: the end is BEL. size: of more than is kept in `data`."""

    data: bytes
    refused: bool
    size: int


class Splitter(Remembers):
    """Collects bytes until a line ends."""

    REMEMBERED: ClassVar = {"_rest": bytes, "_size": int}

    def __init__(self) -> None:
        self._rest = b""
        self._size = 0  # of the line in progress

    def reset(self) -> int:
        """Forget the line in progress (the port was opened or lost): how many bytes it had."""
        size, self._rest, self._size = self._size, b"", 0
        return size

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end within `data`."""
        found = []
        at = 0
        for end in _ENDS.finditer(data):
            part = data[at : end.start()]
            found.append(Line((self._rest + part)[:LONGEST_LINE], end[0] == BEL, self._size + len(part)))
            self._rest, self._size, at = b"", 0, end.end()
        self._rest = (self._rest + data[at:])[:LONGEST_LINE]
        self._size += len(data) - at
        return found
