"""Frames of protocols that are known: our own, MAVLink, u-blox; and frames between delimiters that are not ours.

Its rule: a frame counts when its check holds. MAVLink's check holds a byte that depends on the message's layout: what
it must be is worked out from each frame, and frames of one message must agree on it, so messages that nobody has
listed are known too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.links.own import framing
from firmware_bridge.recognize.heard import Heard

_CRC = CHECKSUMS["crc16-mcrf4xx"].of
_STEP = [CHECKSUMS["crc16-kermit"].of(bytes([byte])) for byte in range(256)]  # what a byte adds to a register of 0
_STEP_OF = {step: byte for byte, step in enumerate(_STEP)}
_SIGNATURE = 13  # bytes behind a signed MAVLink 2 frame
HEARTBEAT, HEARTBEAT_EXTRA = 0, 50


class Own(NamedTuple):
    """Intact frames of our own protocol: how many, by type; boot ids and dictionary digests that HELLOs told."""

    types: Counter[int]
    streams: dict[int, list[int]]  # stream → times of its readings
    digests: tuple[bytes, ...]


def own_frames(heard: Heard) -> Own:
    """What of our own protocol was heard."""
    from firmware_bridge.links.own.bodies import HELLO

    types: Counter[int] = Counter()
    streams: dict[int, list[int]] = {}
    digests: dict[bytes, None] = {}
    at = 0
    for part in bytes(heard.data).split(b"\0"):
        frame = framing.decode(part) if part else None
        at += len(part) + 1
        if isinstance(frame, framing.Frame):
            types[frame.type] += 1
            if frame.type == framing.READING:
                streams.setdefault(frame.stream, []).append(heard.time_of(at - 1))
            elif frame.type == framing.HELLO and len(frame.payload) == HELLO.size:
                digests[HELLO.unpack(frame.payload)[1]] = None
    return Own(types, streams, tuple(digests))


class MavlinkFrame(NamedTuple):
    """One intact frame. at: where it begins."""

    at: int
    size: int
    version: int
    system: int
    component: int
    message: int
    payload: bytes
    extra: int = -1  # the byte that its check began with, once it is known


def mavlink_frames(data: bytes) -> list[MavlinkFrame]:
    """The intact frames, in order. Two of a message must agree on its byte, but for a heartbeat's, which is known."""
    frames = [(frame, extra) for frame in _possible(data) if (extra := _extra(data, frame)) is not None]
    seen = Counter((frame.version, frame.message, extra) for frame, extra in frames)
    intact, end = [], 0
    for frame, extra in frames:
        sure = seen[frame.version, frame.message, extra] > 1 or (frame.message, extra) == (HEARTBEAT, HEARTBEAT_EXTRA)
        if sure and frame.at >= end:
            intact.append(frame._replace(extra=extra))
            end = frame.at + frame.size
    return intact


def _possible(data: bytes) -> Iterator[MavlinkFrame]:
    """Whatever has the form of a frame."""
    for at in range(len(data) - 7):
        if data[at] == 0xFD and len(data) - at >= 12 and not data[at + 2] & ~1:
            size, signed = data[at + 1], data[at + 2] & 1
            whole = 10 + size + 2 + _SIGNATURE * signed
            message = int.from_bytes(data[at + 7 : at + 10], "little")
            found = MavlinkFrame(at, whole, 2, data[at + 5], data[at + 6], message, data[at + 10 : at + 10 + size])
        elif data[at] == 0xFE:
            size = data[at + 1]
            whole = 6 + size + 2
            found = MavlinkFrame(at, whole, 1, data[at + 3], data[at + 4], data[at + 5], data[at + 6 : at + 6 + size])
        else:
            continue
        if at + whole <= len(data):
            yield found


def _extra(data: bytes, frame: MavlinkFrame) -> int | None:
    """The byte that the check must have begun with after the frame's own bytes; None: no byte makes it right."""
    end = frame.at + (10 if frame.version == 2 else 6) + len(frame.payload)
    register = _CRC(data[frame.at + 1 : end])
    step = _STEP_OF.get(int.from_bytes(data[end : end + 2], "little") ^ register >> 8)
    return None if step is None else step ^ register & 0xFF


class UbxFrame(NamedTuple):
    """One intact frame of a u-blox receiver."""

    at: int
    size: int
    kind: int  # class << 8 | message


def ubx_frames(data: bytes) -> list[UbxFrame]:
    """The intact frames, in order."""
    check, found, at = CHECKSUMS["fletcher8"], [], data.find(b"\xb5\x62")
    while at >= 0:
        end = at + 6 + int.from_bytes(data[at + 4 : at + 6], "little")
        if end + 2 <= len(data) and check.pack(data[at + 2 : end]) == data[end : end + 2]:
            found.append(UbxFrame(at, end + 2 - at, data[at + 2] << 8 | data[at + 3]))
        at = data.find(b"\xb5\x62", at + 1)
    return found


def delimited(data: bytes) -> str:
    """ "COBS" or "SLIP" where the bytes are frames between such delimiters; "" where they are not."""
    parts = [part for part in data.split(b"\0")[1:-1] if part]
    whole = sum(framing.cobs_decode(part) is not None for part in parts if len(part) > 3)
    if len(parts) >= 8 and len(data) > 8 * len(parts) and whole >= 0.9 * len(parts):
        return "COBS"
    parts = [part for part in data.split(b"\xc0")[1:-1] if part]
    escaped = all(part[k + 1 : k + 2] in (b"\xdc", b"\xdd") for part in parts for k in _escapes(part))
    alike = Counter(map(len, parts)).most_common(1)[0][1] if parts else 0
    if len(parts) >= 8 and escaped and alike > len(parts) / 2 and len(data) > 6 * len(parts):
        return "SLIP"
    return ""


def _escapes(part: bytes) -> Iterator[int]:
    return (k for k, byte in enumerate(part) if byte == 0xDB)
