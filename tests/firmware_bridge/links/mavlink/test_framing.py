"""Bytes ↔ MAVLink frames: any split, damage, versions, signatures, messages that we do not know."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.mavlink.definition import crc
from firmware_bridge.links.mavlink.framing import MAX_FRAME, Damaged, Deframer, Frame, encode
from firmware_bridge.links.mavlink.messages import MESSAGES

IMU, MANUAL = MESSAGES["HIGHRES_IMU"], MESSAGES["MANUAL_CONTROL"]


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("pymavlink.dialects.v20.all", reason="the other side of these tests is pymavlink")


def frame(seq: int, version: Any = 2, x: float = 1.5) -> bytes:
    return encode(version, seq % 256, 1, 1, IMU, IMU.pack({"time_usec": seq * 10_000, "xacc": x, "zgyro": -x}))


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def read(parts: list[bytes]) -> tuple[list[Frame | Damaged], int]:
    deframer = Deframer()
    found = [item for part in parts for item in deframer.feed(part)]
    return found, deframer.skipped


def test_a_stream_of_pymavlinks_is_read(theirs: Any) -> None:
    """Version 1 and 2 in one stream, of several messages and senders: each frame comes out with all that it says."""
    link, data, sent = theirs.MAVLink(None, 3, 4), b"", []
    for n in range(300):
        made = [
            theirs.MAVLink_attitude_message(n, 0.1 * n, 0, 0, 0, 0, 0),
            theirs.MAVLink_heartbeat_message(2, 12, 128, n, 4, 3),
            theirs.MAVLink_scaled_imu2_message(n, *range(9)),
        ][n % 3]
        link.seq = n % 256
        data += made.pack(link, force_mavlink1=n % 5 == 0)
        sent.append((1 if n % 5 == 0 else 2, n % 256, 3, 4, made.id))
    found, skipped = read([data])
    assert [item[:5] for item in found] == sent
    assert skipped == 0


pieces = st.lists(
    st.one_of(
        st.integers(0, 400).map(frame),
        st.integers(0, 400).map(lambda n: frame(n, 1)),
        st.integers(0, 400).map(lambda n: frame(n)[: n % 60]),
        st.binary(max_size=40),
        st.binary(min_size=1, max_size=3).map(lambda end: b"\xfd" + end),
        st.just(b"E (1234) i2c: timeout\r\n"),
        st.just(b"\0" * 600),
    ),
    max_size=12,
)


@given(pieces, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_split_gives_the_same_frames(parts: list[bytes], places: list[int]) -> None:
    """The same frames and the same damage come out of whole bytes, of single bytes and of any chunks; none is long."""
    data = b"".join(parts)
    whole = read([data])
    assert read(split(data, places)) == whole
    assert read([data[i : i + 1] for i in range(len(data))]) == whole
    assert all(len(item.data) <= MAX_FRAME for item in whole[0] if isinstance(item, Damaged))


@given(pieces)
def test_every_byte_is_a_frames_or_damaged_or_skipped(parts: list[bytes]) -> None:
    """Nothing goes uncounted: frames, damage, and what was skipped make up all that came."""
    data = b"".join(parts)
    deframer = Deframer()
    found = deframer.feed(data)
    deframer.reset()
    frames = sum(_size(item) for item in found if isinstance(item, Frame))
    damaged = sum(len(item.data) for item in found if isinstance(item, Damaged))
    assert frames + damaged + deframer.skipped == len(data)


def _size(item: Frame) -> int:
    return len(item.payload) + (8 if item.version == 1 else 12) + 13 * item.signed


def test_no_flipped_bit_is_believed() -> None:
    """Every single bit of a frame flipped: that frame never comes out, all others do, at the latest when as many bytes
    have come as a flipped length asked for."""
    first, second, others = frame(1), frame(2, x=2.5), b"".join(map(frame, range(3, 9)))
    for bit in range(8 * len(second)):
        bad = bytearray(second)
        bad[bit // 8] ^= 1 << bit % 8
        found, _skipped = read([first + bytes(bad) + others])
        assert [item.seq for item in found if isinstance(item, Frame)] == [1, *range(3, 9)], bit


def test_random_bytes_hold_no_frame() -> None:
    """A megabyte of noise: no frame of a message that we know, and little is held at any time."""
    draw = random.Random(11)
    deframer, known = Deframer(), 0
    for _ in range(1000):
        found = deframer.feed(draw.randbytes(1000))
        known += sum(isinstance(item, Frame) and item.message is not None for item in found)
        assert len(deframer._rest) + len(deframer._lost) < 2 * MAX_FRAME
    assert known == 0


def test_a_byte_that_seems_to_begin_a_frame_delays_none() -> None:
    """After damage a stray magic byte must not make intact frames wait for a length that it made up."""
    for magic in (b"\xfd\x00\x01", b"\xfe\xff\x00\x01\x01\xc8", b"\xfd\xff\x00\x07\x00\x01\x01\xff\xff\xff"):
        deframer = Deframer()
        deframer.feed(frame(1))
        deframer.feed(b"x" + magic)
        assert [item.seq for item in deframer.feed(frame(2)) if isinstance(item, Frame)] == [2], magic


def test_a_signature_is_passed_over(theirs: Any) -> None:
    """A signed frame is read and says that it was signed; nobody checked with what key."""
    link = theirs.MAVLink(None, 1, 1)
    link.signing.secret_key, link.signing.sign_outgoing = b"k" * 32, True
    data = b"".join(theirs.MAVLink_attitude_message(n, 1, 0, 0, 0, 0, 0).pack(link) for n in range(3))
    found, skipped = read([data + frame(9)])
    assert [(item.id, item.signed) for item in found] == [(30, True)] * 3 + [(105, False)]
    assert skipped == 0


def test_an_unknown_flag_of_incompatibility_refuses_the_frame() -> None:
    """A flag that the specification does not know may change anything: the frame is not read, even with a right CRC."""
    body = bytearray(frame(2)[1:-2])
    body[1] = 0x02
    bad = b"\xfd" + bytes(body) + crc(bytes(body) + IMU.extra).to_bytes(2, "little")
    found, _skipped = read([frame(1) + bad + frame(3)])
    assert [item.seq if isinstance(item, Frame) else item.status for item in found] == [1, "flags", 3]


def test_messages_that_we_do_not_know_are_passed_over_whole(theirs: Any) -> None:
    """A message of another dialect is a frame without a message: counted, never read, no damage; also at the start."""
    link = theirs.MAVLink(None, 1, 1)
    made = theirs.MAVLink_rpm_message(10.0, 20.0)  # of ArduPilot's own dialect
    data = made.pack(link) + frame(1) + made.pack(link) + made.pack(link, force_mavlink1=True) + frame(2)
    found, skipped = read([data])
    assert [item.id for item in found] == [226, 105, 226, 226, 105]
    assert [item.message is None for item in found] == [True, False, True, True, False]
    assert skipped == 0
    bad = bytearray(made.pack(link))
    bad[-2:] = b"\0\0"
    found, _skipped = read([frame(1) + bytes(bad) + frame(2)])
    assert [type(item) for item in found] == [Frame, Damaged, Frame]


def test_mavlink_1_with_too_short_a_payload_is_refused() -> None:
    """MAVLink 1 leaves no zeros out; a short payload is another definition's."""
    body = bytes((3, 2, 1, 1, MANUAL.id)) + b"abc"
    bad = b"\xfe" + body + crc(body + MANUAL.extra).to_bytes(2, "little")
    found, _skipped = read([frame(1) + bad + frame(3)])
    assert [item.seq if isinstance(item, Frame) else item.status for item in found] == [1, "length", 3]
