"""Bytes ↔ packets of Dynamixel protocol 2.

Its rule: that of `Finder`: any split gives the same packets, nothing that arrives raises.

    FF FF FD 00  id  length (u16)  instruction  parameters…  CRC (u16)      length: of what follows it
    FF FF FD 00  id  length (u16)  0x55  error  parameters…  CRC (u16)      an answer (status)

A head inside instruction … parameters is broken by one FD more (FF FF FD → FF FF FD FD: byte stuffing), which the
length counts. The CRC-16 (0x8005, not reflected, from 0) is over all bytes before it, as they stand on the wire.
Source: ROBOTIS e-Manual, "DYNAMIXEL Protocol 2.0".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.links.frames import Finder

HEAD = b"\xff\xff\xfd\x00"
PING, READ, WRITE, STATUS, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x55, 0x82, 0x83
EVERY_SERVO, LAST_ID = 0xFE, 0xFC
MAX_LENGTH = 1024
ALERT = 0x80  # of a status' error: look at hardware_error_status
ERRORS = ("", "result fail", "instruction", "CRC", "data range", "data length", "data limit", "access")
_MARK, _STUFFED = b"\xff\xff\xfd", b"\xff\xff\xfd\xfd"
_crc = CHECKSUMS["crc16-umts"].of


class Packet(NamedTuple):
    """An intact packet; of a status, `error` is its error byte, else 0."""

    id: int
    instruction: int
    error: int
    parameters: bytes


def encode(id: int, instruction: int, parameters: bytes = b"") -> bytes:
    """The bytes of one packet; the parameters of a status begin with the error."""
    body = (bytes((instruction,)) + parameters).replace(_MARK, _STUFFED)
    packet = HEAD + bytes((id,)) + (len(body) + 2).to_bytes(2, "little") + body
    return packet + _crc(packet).to_bytes(2, "little")


def read(id: int, address: int, size: int) -> bytes:
    return encode(id, READ, _u16(address) + _u16(size))


def sync_read(ids: Sequence[int], address: int, size: int) -> bytes:
    """Each servo answers with a status of its own, in this order."""
    return encode(EVERY_SERVO, SYNC_READ, _u16(address) + _u16(size) + bytes(ids))


def write(id: int, address: int, data: bytes) -> bytes:
    return encode(id, WRITE, _u16(address) + data)


def sync_write(address: int, values: Mapping[int, bytes]) -> bytes:
    """One value of the same length for each servo; none answers."""
    size = len(next(iter(values.values())))
    parameters = b"".join(bytes((id,)) + data for id, data in values.items())
    return encode(EVERY_SERVO, SYNC_WRITE, _u16(address) + _u16(size) + parameters)


def finder() -> Finder[Packet]:
    return Finder(HEAD, MAX_LENGTH + 7, _size, _read)


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _size(begun: bytes) -> int | None:
    if len(begun) < 7:
        return None
    length = int.from_bytes(begun[5:7], "little")
    return 0 if length < 3 else length + 7


def _read(data: bytes) -> Packet | str:
    if _crc(data[:-2]) != int.from_bytes(data[-2:], "little"):
        return "check"
    body = data[7:-2].replace(_STUFFED, _MARK)
    if body[0] != STATUS:
        return Packet(data[4], body[0], 0, body[1:])
    return Packet(data[4], STATUS, body[1], body[2:]) if len(body) > 1 else "length"
