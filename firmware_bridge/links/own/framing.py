"""Bytes ↔ frames: COBS between 0x00 delimiters, a fixed header, CRC-16. The layout is in PROTOCOL.md.

Its rule: any split of the same bytes gives the same frames, and whatever arrives becomes a value, `Frame` or `Damaged`.
Never raises on wire data, never holds more than one frame of it, never looks at a clock.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from typing import ClassVar, Literal, NamedTuple

from firmware_bridge.remembered import Remembers

VERSION = 1  # of the frame; which version of the link a device speaks stands in its dictionary
MAX_PAYLOAD = 242
HEADER = struct.Struct("<BBHIH")  # version << 4 | type, stream, seq, time µs, schema check
MIN_FRAME = HEADER.size + 2  # and the CRC
MAX_FRAME = MIN_FRAME + MAX_PAYLOAD  # 254: the longest that COBS lengthens by a single byte
MAX_ENCODED = MAX_FRAME + 2  # an encoder may end a full block with an empty one (0x01); it is accepted

DELIMITER = b"\0"  # ends each frame

# Device → host.
HELLO, DICTIONARY, READING, STATUS = 1, 2, 3, 4
# Host → device.
HELLO_REQUEST, DICTIONARY_REQUEST, START, ACTION, HEARTBEAT, STOP, CLEAR = 8, 9, 10, 11, 12, 13, 14


class Frame(NamedTuple):
    """An intact frame. `stream` 0 is the link itself, 1-255 a format's id; `time_us` is the sender's clock mod 2^32."""

    type: int
    stream: int
    seq: int
    time_us: int
    check: int
    payload: bytes = b""


class Damaged(NamedTuple):
    """Bytes between two delimiters that are no frame, and what is wrong with them."""

    status: Literal["cobs", "short", "long", "crc", "version"]
    data: bytes


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected; 0x29B1 over b"123456789"."""
    return crc_hqx(data, 0xFFFF)


def cobs_encode(data: bytes) -> bytes:
    """`data` without any 0x00 in it: each zero becomes the distance to the next. At most one byte longer per 254."""
    out = bytearray()
    *before, last = data.split(DELIMITER)
    for part in before:
        while len(part) >= 254:
            out += b"\xff" + part[:254]  # a full block: no zero follows it
            part = part[254:]
        out.append(len(part) + 1)
        out += part
    while len(last) > 254:
        out += b"\xff" + last[:254]
        last = last[254:]
    out.append(len(last) + 1)
    out += last
    return bytes(out)


def cobs_decode(data: bytes) -> bytes | None:
    """The inverse of `cobs_encode`; None if a distance leads past the end. `data` holds no 0x00."""
    out = bytearray(data)
    size = len(out)
    at = 0
    full = []  # ends of full blocks: no zero was there
    while at < size:
        distance = out[at]
        out[at] = 0
        at += distance
        if distance == 255:
            full.append(at)
    if at != size:
        return None
    for end in reversed(full):
        if end < size:
            del out[end]
    return bytes(out[1:])


def encode(frame: Frame) -> bytes:
    """The bytes of one frame on the wire, with its closing delimiter. Raises ValueError if a part does not fit."""
    if len(frame.payload) > MAX_PAYLOAD:
        raise ValueError(
            f"a payload of {len(frame.payload)} bytes is longer than {MAX_PAYLOAD}, the most a frame carries"
        )
    if frame.type >> 4:
        raise ValueError(f"{frame} does not fit into a frame header: a type is 0 to 15")
    try:
        head = HEADER.pack(VERSION << 4 | frame.type, frame.stream, frame.seq, frame.time_us, frame.check)
    except struct.error as error:
        raise ValueError(f"{frame} does not fit into a frame header: {error}") from error
    body = head + frame.payload
    return cobs_encode(body + crc_hqx(body, 0xFFFF).to_bytes(2, "little")) + DELIMITER


def decode(data: bytes) -> Frame | Damaged:
    """One frame from the bytes between two delimiters."""
    if len(data) > MAX_ENCODED:
        return Damaged("long", data[:MAX_ENCODED])
    body = cobs_decode(data)
    if body is None:
        return Damaged("cobs", data)
    if len(body) < MIN_FRAME:
        return Damaged("short", data)
    if crc_hqx(body[:-2], 0xFFFF) != body[-2] | body[-1] << 8:
        return Damaged("crc", data)
    kind, stream, seq, time_us, check = HEADER.unpack_from(body)
    if kind >> 4 != VERSION:
        return Damaged("version", data)
    if len(body) > MAX_FRAME:
        return Damaged("long", data)
    return Frame(kind & 15, stream, seq, time_us, check, body[10:-2])


class Deframer(Remembers):
    """Collects bytes until a delimiter. Counts what it could not use in `skipped` (bytes).

    Bytes before the first delimiter after `reset` are the rest of a frame that began before we listened: they are used
    if they happen to be an intact frame, and skipped without a fault if not.
    """

    REMEMBERED: ClassVar = {"skipped": int, "_rest": bytes, "_synchronized": bool, "_overlong": bool}

    def __init__(self) -> None:
        self.skipped = 0
        self._rest = b""
        self.reset()

    def reset(self) -> None:
        """Forget the frame in progress (the link was opened or lost)."""
        self.skipped += len(self._rest)
        self._rest = b""
        self._synchronized = False
        self._overlong = False  # inside a frame that is already reported as too long

    def feed(self, data: bytes) -> list[Frame | Damaged]:
        """The frames, intact and damaged, that end within `data`."""
        parts = (self._rest + data).split(DELIMITER)
        self._rest = parts.pop()
        found: list[Frame | Damaged] = []
        for part in parts:
            if self._synchronized and not self._overlong:
                if part:
                    found.append(decode(part))
                    if len(part) > MAX_ENCODED:
                        self.skipped += len(part) - MAX_ENCODED
            else:
                self._resume(part, found)
        if self._overlong or len(self._rest) > MAX_ENCODED:
            self._overflow(found)
        return found

    def _resume(self, part: bytes, found: list[Frame | Damaged]) -> None:
        """The first delimiter after opening, or after a frame that was too long."""
        item = decode(part) if part and not self._overlong else None
        if isinstance(item, Frame):
            found.append(item)
        else:
            self.skipped += len(part)
        self._synchronized = True
        self._overlong = False

    def _overflow(self, found: list[Frame | Damaged]) -> None:
        """No delimiter for longer than any frame: report it once and keep nothing more of it."""
        if self._synchronized and not self._overlong:
            found.append(Damaged("long", self._rest[:MAX_ENCODED]))
            self.skipped -= MAX_ENCODED  # those are reported, the others skipped
        self.skipped += len(self._rest)
        self._overlong = True
        self._rest = b""
