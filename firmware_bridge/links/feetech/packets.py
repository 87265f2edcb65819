"""Bytes ↔ packets of Feetech's serial bus servos (STS, SMS, SCS), the protocol of Dynamixel 1 with two more
instructions.

Its rule: that of `Finder`: any split gives the same packets, nothing that arrives raises.

    FF FF  id  length  instruction  parameters…  check         length: of what follows it
    FF FF  id  length  error        parameters…  check         a servo's answer
    check: ones' complement of the sum of id … parameters

Source: Feetech, "Communication protocol of the magnetic encoding servo" (FT-SCS protocol), and their SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.links.frames import Finder

HEAD = b"\xff\xff"
PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x82, 0x83
EVERY_SERVO, LAST_ID = 0xFE, 0xFC
MAX_LENGTH = 250
_check = CHECKSUMS["sum8-ones"].of

# bits of a status packet's error byte
ERRORS = ("input voltage", "angle sensor", "overheated", "over current", "bit 4", "overload", "bit 6", "bit 7")


class Packet(NamedTuple):
    """An intact packet. `code` is the instruction of the one who asks, the error bits of a servo that answers."""

    id: int
    code: int
    parameters: bytes


def encode(id: int, code: int, parameters: bytes = b"") -> bytes:
    """The bytes of one packet."""
    body = bytes((id, len(parameters) + 2, code)) + parameters
    return HEAD + body + bytes((_check(body),))


def read(id: int, address: int, size: int) -> bytes:
    return encode(id, READ, bytes((address, size)))


def sync_read(ids: Sequence[int], address: int, size: int) -> bytes:
    """Each servo answers with a packet of its own, in this order."""
    return encode(EVERY_SERVO, SYNC_READ, bytes((address, size, *ids)))


def write(id: int, address: int, data: bytes) -> bytes:
    return encode(id, WRITE, bytes((address,)) + data)


def sync_write(address: int, values: Mapping[int, bytes]) -> bytes:
    """One value of the same length for each servo; none answers."""
    size = len(next(iter(values.values())))
    return encode(
        EVERY_SERVO, SYNC_WRITE, bytes((address, size)) + b"".join(bytes((id,)) + data for id, data in values.items())
    )


def finder() -> Finder[Packet]:
    return Finder(HEAD, MAX_LENGTH + 4, _size, _read)


def _size(begun: bytes) -> int | None:
    if len(begun) < 4:
        return 0 if begun[2:3] == b"\xff" else None
    if begun[2] == 0xFF or begun[3] < 2:
        return 0
    return begun[3] + 4


def _read(data: bytes) -> Packet | str:
    if _check(data[2:-1]) != data[-1]:
        return "check"
    return Packet(data[2], data[4], data[5:-1])
