"""The checks that robots put on their messages, each once, by the name under which a configuration asks for it.

    CHECKSUMS["crc16-modbus"].of(b"123456789") == 0x4B37

Its rule: each has its value over b"123456789" beside it, so that a firmware engineer sees which one theirs is. A CRC
stands with the parameters that the catalogue of parametrised CRC algorithms publishes for it
(reveng.sourceforge.io/crc-catalogue), and is computed from them. Tables are small and made once; where the standard
library has the loop in C, that is used.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Literal, NamedTuple
from zlib import crc32

Order = Literal["little", "big"]
Function = Callable[[bytes], int]


class Crc(NamedTuple):
    """A CRC as the catalogue says it. `init` is 0 or all ones, so it is the same however bits are numbered."""

    catalogue: str
    width: int
    poly: int
    init: int
    reflected: bool  # bits go lowest first, in and out
    xorout: int


@dataclass(frozen=True, slots=True)
class Checksum:
    """One kind of check. `of` gives its number for any bytes; `order` is how its bytes usually stand on the wire."""

    name: str
    size: int  # bytes on the wire
    order: Order
    of: Function
    check: int  # `of(b"123456789")`
    where: str  # that has it
    crc: Crc | None = None  # its parameters, if it is one

    def pack(self, data: bytes) -> bytes:
        """The bytes that follow `data` on the wire, in the usual order."""
        return self.of(data).to_bytes(self.size, self.order)


# ---------------------------------------------------------------------------------------------- sums


def xor8(data: bytes) -> int:
    """All bytes xored."""
    return reduce(xor, data, 0)


def sum8(data: bytes) -> int:
    """The lowest 8 bits of the sum of all bytes."""
    return sum(data) & 0xFF


def sum8_ones(data: bytes) -> int:
    """The ones' complement of `sum8`: sum and check make 0xFF."""
    return ~sum(data) & 0xFF


def sum8_twos(data: bytes) -> int:
    """The two's complement of `sum8`: sum and check make 0."""
    return -sum(data) & 0xFF


def sum16(data: bytes) -> int:
    """The lowest 16 bits of the sum of all bytes."""
    return sum(data) & 0xFFFF


def _fletcher(modulus: int) -> Function:
    """Two sums: of the bytes (low byte), and of the first sum after each of them (high byte)."""

    def of(data: bytes) -> int:
        first = second = 0
        for byte in data:
            first += byte
            second += first
        return second % modulus << 8 | first % modulus

    return of


# ---------------------------------------------------------------------------------------------- CRCs

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # each byte with its bits the other way round


def function_of(crc: Crc) -> Function:
    """How a CRC is computed: in C where the standard library has its polynomial, else by a table."""
    if crc == CRC32:
        return crc32
    if crc.poly == 0x1021:
        return _hqx_reflected(crc) if crc.reflected else _hqx(crc)
    table = [_divided(crc, byte) for byte in range(256)]
    if crc.width == 8:
        return _by_bytes(crc, bytes(table))
    return _by_table_reflected(crc, table) if crc.reflected else _by_table(crc, table)


def _hqx(crc: Crc) -> Function:
    init, xorout = crc.init, crc.xorout
    return lambda data: crc_hqx(data, init) ^ xorout


def _hqx_reflected(crc: Crc) -> Function:
    """Every bit the other way round: what the unreflected loop makes of reversed bytes, reversed."""
    reverse, init, xorout = REVERSED, crc.init, crc.xorout

    def of(data: bytes) -> int:
        rest = crc_hqx(data.translate(reverse), init)
        return (reverse[rest & 0xFF] << 8 | reverse[rest >> 8]) ^ xorout

    return of


def _divided(crc: Crc, byte: int) -> int:
    """What one byte leaves in a register that was 0."""
    rest = (REVERSED[byte] if crc.reflected else byte) << crc.width - 8
    for _ in range(8):
        rest = rest << 1 ^ (crc.poly if rest >> crc.width - 1 & 1 else 0)
    rest &= (1 << crc.width) - 1
    return int(f"{rest:0{crc.width}b}"[::-1], 2) if crc.reflected else rest


def _by_bytes(crc: Crc, table: bytes) -> Function:
    init, xorout = crc.init, crc.xorout

    def of(data: bytes) -> int:
        rest = init
        for byte in data:
            rest = table[rest ^ byte]
        return rest ^ xorout

    return of


def _by_table(crc: Crc, table: list[int]) -> Function:
    init, xorout, shift, mask = crc.init, crc.xorout, crc.width - 8, (1 << crc.width) - 1

    def of(data: bytes) -> int:
        rest = init
        for byte in data:
            rest = (rest << 8 ^ table[rest >> shift ^ byte]) & mask
        return rest ^ xorout

    return of


def _by_table_reflected(crc: Crc, table: list[int]) -> Function:
    init, xorout = crc.init, crc.xorout

    def of(data: bytes) -> int:
        rest = init
        for byte in data:
            rest = rest >> 8 ^ table[(rest ^ byte) & 0xFF]
        return rest ^ xorout

    return of


# ---------------------------------------------------------------------------------------------- all of them

CRC32 = Crc("CRC-32/ISO-HDLC", 32, 0x04C11DB7, 0xFFFFFFFF, True, 0xFFFFFFFF)

SUMS = (
    Checksum("xor", 1, "little", xor8, 0x31, "NMEA 0183, MSP 1"),
    Checksum("sum8", 1, "little", sum8, 0xDD, "WitMotion sensors"),
    Checksum("sum8-ones", 1, "little", sum8_ones, 0x22, "Feetech, Dynamixel protocol 1"),
    Checksum("sum8-twos", 1, "little", sum8_twos, 0x23, "Modbus ASCII, Intel HEX"),
    Checksum("sum16", 2, "big", sum16, 0x01DD, "Plantower sensors"),
    Checksum("fletcher8", 2, "little", _fletcher(256), 0x15DD, "u-blox UBX (RFC 1145, modulo 256)"),
    Checksum("fletcher16", 2, "little", _fletcher(255), 0x1EDE, "Fletcher 1982, modulo 255"),
)

# name, parameters, value over b"123456789", where
_CRCS: tuple[tuple[str, Crc, int, str], ...] = (
    ("crc8", Crc("CRC-8/SMBUS", 8, 0x07, 0, False, 0), 0xF4, "SMBus"),
    ("crc8-maxim", Crc("CRC-8/MAXIM-DOW", 8, 0x31, 0, True, 0), 0xA1, "1-Wire"),
    ("crc8-dvb-s2", Crc("CRC-8/DVB-S2", 8, 0xD5, 0, False, 0), 0xBC, "MSP 2, Crossfire"),
    ("crc16-ccitt", Crc("CRC-16/IBM-3740", 16, 0x1021, 0xFFFF, False, 0), 0x29B1, "known as CCITT-FALSE; our own link"),
    ("crc16-xmodem", Crc("CRC-16/XMODEM", 16, 0x1021, 0, False, 0), 0x31C3, "XMODEM"),
    ("crc16-kermit", Crc("CRC-16/KERMIT", 16, 0x1021, 0, True, 0), 0x2189, "Kermit"),
    ("crc16-mcrf4xx", Crc("CRC-16/MCRF4XX", 16, 0x1021, 0xFFFF, True, 0), 0x6F91, "MAVLink, which calls it X.25"),
    ("crc16-x25", Crc("CRC-16/IBM-SDLC", 16, 0x1021, 0xFFFF, True, 0xFFFF), 0x906E, "HDLC, X.25"),
    ("crc16-modbus", Crc("CRC-16/MODBUS", 16, 0x8005, 0xFFFF, True, 0), 0x4B37, "Modbus RTU"),
    ("crc16-arc", Crc("CRC-16/ARC", 16, 0x8005, 0, True, 0), 0xBB3D, "LHA"),
    ("crc16-umts", Crc("CRC-16/UMTS", 16, 0x8005, 0, False, 0), 0xFEE8, "Dynamixel protocol 2, low byte first"),
    ("crc32", CRC32, 0xCBF43926, "Ethernet, zip"),
    ("crc32-mpeg2", Crc("CRC-32/MPEG-2", 32, 0x04C11DB7, 0xFFFFFFFF, False, 0), 0x0376E6E7, "STM32's unit, over bytes"),
)

# A reflected CRC usually goes low byte first, another high byte first: the order in which bits leave the register.
CHECKSUMS: dict[str, Checksum] = {item.name: item for item in SUMS} | {
    name: Checksum(name, crc.width // 8, "little" if crc.reflected else "big", function_of(crc), check, where, crc)
    for name, crc, check, where in _CRCS
}
