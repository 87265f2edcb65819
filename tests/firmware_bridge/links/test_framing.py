"""Bytes ↔ frames."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.own import framing
from firmware_bridge.links.own.framing import MAX_ENCODED, MAX_PAYLOAD, Damaged, Deframer, Frame
from tests.support.oracles import naive_framing as naive

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "frames.json").read_text())

frames = st.builds(
    Frame,
    type=st.integers(0, 15),
    stream=st.integers(0, 255),
    seq=st.integers(0, 0xFFFF),
    time_us=st.integers(0, 0xFFFFFFFF),
    check=st.integers(0, 0xFFFF),
    payload=st.one_of(st.binary(max_size=MAX_PAYLOAD), st.integers(0, MAX_PAYLOAD).map(lambda n: b"\xff" * n)),
)


def deframer_in_step() -> Deframer:
    """One that has seen its first delimiter."""
    deframer = Deframer()
    assert deframer.feed(b"\0") == []
    return deframer


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def test_the_crc_is_ccitt_false() -> None:
    """The CRC over "123456789" is 0x29B1, the check value of CRC-16/CCITT-FALSE."""
    assert framing.crc16(b"123456789") == 0x29B1


@given(st.binary(max_size=600))
def test_crc_and_cobs_equal_their_naive_twins(data: bytes) -> None:
    """CRC and COBS give what the plain bit-by-bit and byte-by-byte versions give."""
    assert framing.crc16(data) == naive.crc16(data)
    assert framing.cobs_encode(data) == naive.cobs_encode(data)


@given(st.one_of(st.binary(max_size=600), st.integers(0, 800).map(lambda n: b"\x01" * n)))
def test_cobs_removes_zeros_and_comes_back(data: bytes) -> None:
    """COBS leaves no zero, adds one byte per 254 at most, and decodes to what it was."""
    encoded = framing.cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + 1 + max(len(data) - 1, 0) // 254
    assert framing.cobs_decode(encoded) == data


def test_a_full_block_may_end_with_an_empty_one() -> None:
    """An encoder that closes 254 non-zero bytes with an empty block (0x01) is understood as well."""
    assert framing.cobs_decode(b"\xff" + b"\x07" * 254 + b"\x01") == b"\x07" * 254


@given(frames)
def test_a_frame_comes_back(frame: Frame) -> None:
    """Every frame that can be encoded decodes to itself, is at most 256 bytes, and ends with its only zero."""
    data = framing.encode(frame)
    assert len(data) <= 256
    assert data.index(0) == len(data) - 1
    assert deframer_in_step().feed(data) == [frame]
    assert data == naive.encode(*frame)


@given(st.lists(st.one_of(frames.map(framing.encode), st.binary(max_size=300)), max_size=8), st.lists(st.integers(0)))
def test_any_split_gives_the_same(pieces: list[bytes], places: list[int]) -> None:
    """However the bytes are cut, frames, damage and the count of skipped bytes are the same."""
    data = b"".join(pieces)
    whole, byte_by_byte, split = Deframer(), Deframer(), Deframer()
    expected = whole.feed(data)
    assert [item for byte in data for item in byte_by_byte.feed(bytes([byte]))] == expected
    assert [item for part in cut(data, places) for item in split.feed(part)] == expected
    assert whole.skipped == byte_by_byte.skipped == split.skipped
    for each in (whole, byte_by_byte, split):
        each.reset()
    assert whole.skipped == byte_by_byte.skipped == split.skipped


@pytest.mark.parametrize("in_step", [True, False])
def test_what_is_skipped_of_a_long_frame_is_counted_as_it_comes(in_step: bool) -> None:
    """Before its end has come, too, the count does not depend on how the bytes were cut."""
    whole, byte_by_byte = (deframer_in_step() if in_step else Deframer() for _ in range(2))
    data = b"\x55" * (MAX_ENCODED + 22)
    assert whole.feed(data) == [item for byte in data for item in byte_by_byte.feed(bytes([byte]))]
    assert whole.skipped == byte_by_byte.skipped == (22 if in_step else len(data))


@given(st.binary(max_size=400), frames)
def test_rubbish_costs_no_later_frame(rubbish: bytes, frame: Frame) -> None:
    """Whatever came before, a frame after a delimiter is found."""
    assert deframer_in_step().feed(rubbish + b"\0" + framing.encode(frame))[-1] == frame


def test_every_single_bit_flip_is_noticed() -> None:
    """No flip of a single bit of a frame on the wire yields another frame."""
    frame = Frame(framing.READING, 1, 513, 1_000_000, 0xBEEF, b"\0\x01\xff\x80" * 8)
    data = framing.encode(frame)
    for at in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            for item in deframer_in_step().feed(bytes(broken) + b"\0"):
                assert isinstance(item, Damaged), f"bit {bit} of byte {at} went unnoticed: {item}"


def test_the_rest_of_a_frame_at_the_beginning_is_no_fault() -> None:
    """Bytes before the first delimiter are skipped and counted; a frame that happens to be whole is used."""
    frame = Frame(framing.HELLO, 0, 0, 0, 0, b"abc")
    data = framing.encode(frame)
    deframer = Deframer()
    assert deframer.feed(data[3:] + data) == [frame]
    assert deframer.skipped == len(data) - 4
    assert Deframer().feed(data) == [frame]


def test_endless_noise_is_told_once_and_not_kept() -> None:
    """A megabyte without a delimiter is one "long", and the frame after the next delimiter is found."""
    deframer = deframer_in_step()
    found = [item for _ in range(1000) for item in deframer.feed(b"\x55" * 1000)]
    assert [item.status for item in found if isinstance(item, Damaged)] == ["long"]
    assert deframer.skipped == 1_000_000 - MAX_ENCODED
    frame = Frame(framing.HELLO, 0, 0, 0, 0)
    assert deframer.feed(b"\0" + framing.encode(frame)) == [frame]


@pytest.mark.parametrize("case", VECTORS["frames"], ids=lambda case: case["name"])
def test_vector_frames(case: dict[str, Any]) -> None:
    """Each frame of tests/vectors/frames.json is encoded to its bytes and decoded from them."""
    parts = [case[key] for key in ("type", "stream", "seq", "time_us", "check")]
    frame = Frame(*parts, bytes.fromhex(case["payload"]))  # type: ignore[call-arg]
    wire = bytes.fromhex(case["wire"])
    assert framing.encode(frame) == wire == naive.encode(*frame)
    assert deframer_in_step().feed(wire) == [frame]


def test_vector_checksums_and_stuffing() -> None:
    """The CRC and COBS cases of tests/vectors/frames.json hold, also for the naive twins."""
    for case in VECTORS["crc"]:
        data = bytes.fromhex(case["data"])
        assert framing.crc16(data) == naive.crc16(data) == case["crc"]
    for case in VECTORS["cobs"]:
        data, encoded = bytes.fromhex(case["data"]), bytes.fromhex(case["encoded"])
        assert framing.cobs_encode(data) == naive.cobs_encode(data) == encoded
        assert framing.cobs_decode(encoded) == data


@pytest.mark.parametrize("case", VECTORS["damaged"], ids=lambda case: case["name"])
def test_vector_damage(case: dict[str, Any]) -> None:
    """Each damaged frame of tests/vectors/frames.json is reported with its status."""
    found = deframer_in_step().feed(bytes.fromhex(case["wire"]))
    assert [item.status for item in found if isinstance(item, Damaged)] == [case["status"]]


@pytest.mark.parametrize(
    "frame",
    [
        Frame(16, 0, 0, 0, 0),
        Frame(1, 256, 0, 0, 0),
        Frame(1, 0, -1, 0, 0),
        Frame(1, 0, 0, 0, 0, bytes(MAX_PAYLOAD + 1)),
    ],
)
def test_what_does_not_fit_into_a_frame_is_refused(frame: Frame) -> None:
    """A field or payload that does not fit raises, instead of going out cut."""
    with pytest.raises(ValueError, match=r"fit into a frame header|is longer than 242"):
        framing.encode(frame)
