"""The checks against their published values, and against the plainest way to compute them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.checksums import CHECKSUMS, Checksum, Crc
from firmware_bridge.links.own.framing import crc16

every = pytest.mark.parametrize("checksum", CHECKSUMS.values(), ids=CHECKSUMS.keys())


def bit_by_bit(crc: Crc, data: bytes) -> int:
    """A CRC from the catalogue's parameters alone, one bit after the other."""
    rest, top = crc.init, 1 << crc.width - 1
    for byte in data:
        for bit in range(8) if crc.reflected else reversed(range(8)):
            carry = bool(rest & top) != bool(byte >> bit & 1)
            rest = (rest << 1 ^ (crc.poly if carry else 0)) & (1 << crc.width) - 1
    if crc.reflected:
        rest = int(f"{rest:0{crc.width}b}"[::-1], 2)
    return rest ^ crc.xorout


@every
def test_the_published_value_comes_out(checksum: Checksum) -> None:
    """Over b"123456789", which is how firmware engineers tell the variants apart."""
    assert checksum.of(b"123456789") == checksum.check
    assert checksum.pack(b"123456789") == checksum.check.to_bytes(checksum.size, checksum.order)


@every
@given(data=st.binary(max_size=200))
def test_any_bytes_give_what_the_plainest_way_gives(checksum: Checksum, data: bytes) -> None:
    """A CRC bit by bit from its parameters; and whichever it is, it fits into its bytes, for no bytes at all too."""
    value = checksum.of(data)
    assert 0 <= value < 1 << 8 * checksum.size
    if checksum.crc:
        assert value == bit_by_bit(checksum.crc, data)


@given(data=st.binary(max_size=200))
def test_sums_close_the_message(data: bytes) -> None:
    """With their check the bytes xor to 0, sum to 0 or 0xFF; UBX's two sums are those of u-blox's loop."""
    assert CHECKSUMS["xor"].of(data + CHECKSUMS["xor"].pack(data)) == 0
    assert sum(data + CHECKSUMS["sum8-twos"].pack(data)) % 256 == 0
    assert sum(data + CHECKSUMS["sum8-ones"].pack(data)) % 256 == 255
    assert CHECKSUMS["sum16"].of(data) % 256 == CHECKSUMS["sum8"].of(data)
    ck_a = ck_b = 0
    for byte in data:
        ck_a = (ck_a + byte) & 0xFF
        ck_b = (ck_b + ck_a) & 0xFF
    assert CHECKSUMS["fletcher8"].pack(data) == bytes([ck_a, ck_b])


@pytest.mark.parametrize(("text", "value"), [(b"abcde", 0xC8F0), (b"abcdef", 0x2057), (b"abcdefgh", 0x0627)])
def test_fletcher16_of_well_known_texts(text: bytes, value: int) -> None:
    """The three examples that go with the algorithm's description everywhere."""
    assert CHECKSUMS["fletcher16"].of(text) == value


def test_our_own_link_has_one_of_them() -> None:
    """The CRC of PROTOCOL.md is `crc16-ccitt`."""
    assert crc16(b"a robot") == CHECKSUMS["crc16-ccitt"].of(b"a robot")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sum8-ones", "01 02 01 FB"),  # Feetech, Dynamixel 1: PING of servo 1
        ("sum8-twos", "10 01 00 00 21 46 01 36 01 21 47 01 36 00 7E FE 09 D2 19 01 40"),  # a line of Intel HEX
        ("fletcher8", "0A 04 00 00 0E 34"),  # u-blox: the request of MON-VER
        ("crc16-umts", "FF FF FD 00 01 03 00 01 19 4E"),  # Dynamixel 2: PING of servo 1
        ("crc16-modbus", "11 03 00 6B 00 03 76 87"),  # the specification's read of three registers
    ],
)
def test_messages_of_manuals(name: str, message: str) -> None:
    """Messages as their makers print them end in the check, low byte first."""
    checksum, data = CHECKSUMS[name], bytes.fromhex(message)
    assert checksum.of(data[: -checksum.size]) == int.from_bytes(data[-checksum.size :], "little")


def test_a_sentence_of_nmea() -> None:
    """Between $ and * all characters are xored."""
    assert CHECKSUMS["xor"].of(b"GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,") == 0x47
