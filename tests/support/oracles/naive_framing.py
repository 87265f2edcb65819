"""Framing a second time, straight from PROTOCOL.md and as plainly as can be: the quick code is compared with it."""

from __future__ import annotations

import struct


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def cobs_encode(data: bytes) -> bytes:
    """Consistent overhead byte stuffing, byte by byte, as a microcontroller does it."""
    out = bytearray([0])
    code_at, code = 0, 1
    for at, byte in enumerate(data):
        if byte:
            out.append(byte)
            code += 1
        last = at == len(data) - 1
        if byte == 0 or (code == 255 and not last):
            out[code_at] = code
            code_at, code = len(out), 1
            out.append(0)
    out[code_at] = code
    return bytes(out)


def encode(kind: int, stream: int, seq: int, time_us: int, check: int, payload: bytes) -> bytes:
    body = struct.pack("<BBHIH", 0x10 | kind, stream, seq, time_us, check) + payload
    return cobs_encode(body + struct.pack("<H", crc16(body))) + b"\0"
