"""Bytes ↔ messages of the MultiWii Serial Protocol: `$M` (version 1, xor) and `$X` (version 2, CRC-8), both at once.

Its rule: that of `Finder`: any split gives the same messages, nothing that arrives raises.

    $ M <  length  number  payload  xor of length … payload                      < asked, > answered, ! not known
    $ X <  flag  number (u16)  length (u16)  payload  CRC-8/DVB-S2 of flag … payload

A length of 255 in version 1 says that the true one stands behind the number, as u16.
Sources: MultiWii's page "Multiwii Serial Protocol", the iNav wiki's "MSP V2", Betaflight's src/main/msp/msp_serial.c.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.links.frames import Finder

ASKED, ANSWERED, REFUSED = b"<", b">", b"!"
MAX_PAYLOAD = 1024  # the longest that flight controllers send are some 800
HEAD, TAIL = 8, 1  # at most
_JUMBO = 255
_xor, _crc = CHECKSUMS["xor"].of, CHECKSUMS["crc8-dvb-s2"].of


class Message(NamedTuple):
    """An intact message. `direction` is "<", ">" or "!"."""

    direction: bytes
    number: int
    payload: bytes
    version: int = 1


def encode(number: int, payload: bytes = b"", version: int | None = None, direction: bytes = ASKED) -> bytes:
    """The bytes of one message; in version 1 where number and length fit into it, if none is given."""
    if version is None:
        version = 1 if number < 255 and len(payload) < _JUMBO else 2
    if version == 1:
        body = bytes((len(payload), number)) + payload
        return b"$M" + direction + body + bytes((_xor(body),))
    body = struct.pack("<BHH", 0, number, len(payload)) + payload
    return b"$X" + direction + body + bytes((_crc(body),))


def finder() -> Finder[Message]:
    return Finder(b"$", HEAD + MAX_PAYLOAD + TAIL, _size, _read)


def _size(begun: bytes) -> int | None:
    if begun[1:2] not in (b"", b"M", b"X") or begun[2:3] not in (b"", ASKED, ANSWERED, REFUSED):
        return 0
    if len(begun) < 5:
        return None
    if begun[1] == ord("M"):
        if begun[3] != _JUMBO:
            return begun[3] + 6
        return int.from_bytes(begun[5:7], "little") + 8 if len(begun) >= 7 else None
    return int.from_bytes(begun[6:8], "little") + 9 if len(begun) >= 8 else None


def _read(data: bytes) -> Message | str:
    if data[1] == ord("X"):
        if _crc(data[3:-1]) != data[-1]:
            return "check"
        return Message(data[2:3], int.from_bytes(data[4:6], "little"), data[8:-1], 2)
    if _xor(data[3:-1]) != data[-1]:
        return "check"
    return Message(data[2:3], data[4], data[7:-1] if data[3] == _JUMBO else data[5:-1])
