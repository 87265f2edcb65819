"""Frames are found whatever is around them, however the bytes are cut, and nothing damaged is one."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.binary.frames import (
    KEPT,
    LONGEST_RUN,
    Found,
    FrameFinder,
    FrameKind,
    Passed,
    told_apart,
)
from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.links.layout import parse

CRC = CHECKSUMS["crc32"]


def kind(head: str, layout: str, check: str = "", tail: str = "", **more) -> FrameKind:
    made = parse(layout)
    order = more.pop("order", made.order)
    return FrameKind(bytes.fromhex(head), made, bytes.fromhex(tail), CHECKSUMS.get(check), order=order, **more)


# Several ways in which robots frame; heads that are in each other, of one byte, repeated.
SETS: dict[str, list[FrameKind]] = {
    "one": [kind("AA 55", "<BBI7f", "xor", constants=((0, 33),))],
    "tail": [kind("7B", ">10h", "xor", "7D", covers_head=True)],
    "several": [kind(f"55 5{n}", "<4h", "sum8", covers_head=True) for n in (1, 2, 3)],
    "no check": [kind("7B", "<2B", tail="7D")],
    "check at the end": [kind("02", "<3H", "crc16-modbus", "03", check_last=True)],
    "heads in heads": [kind("AA", "<2B", "crc32"), kind("AA BB", "<4B", "crc32"), kind("AA AA BB", "<B", "crc32")],
    "twice the same byte": [kind("FF FF", "<3B", "sum8-ones", constants=((0, 1),))],
    "lengths": [
        kind("AA 55", "<BBf", "crc16-ccitt", constants=((0, 5), (1, 1)), length=0),
        kind("AA 55", "<BB2f", "crc16-ccitt", constants=((0, 9), (1, 2)), length=0),
    ],
    "length and tail": [kind("A5", ">HB3h", "sum16", "0D 0A", constants=((0, 7), (1, 4)), length=0)],
}
every = pytest.mark.parametrize("kinds", SETS.values(), ids=SETS.keys())


def frame(kinds: list[FrameKind], which: int, rng: random.Random) -> bytes:
    """A frame of a kind: its numbers drawn, often with heads in them."""
    item = kinds[which]
    body = bytearray(rng.choice((rng.randrange(256), *item.head, 0)) for _ in range(item.layout.size))
    for at, value in item.constants:
        known = item.layout.constant(at, value)
        body[item.layout.offsets[at] : item.layout.offsets[at] + len(known)] = known
    return item.seal(bytes(body))


def plain(kinds: list[FrameKind]) -> bytes:
    """A frame with nothing in it that could be another one's beginning."""
    return kinds[0].frame([dict(kinds[0].constants).get(at, 0) for at in range(len(kinds[0].layout.letters))])


def stream(kinds: list[FrameKind], rng: random.Random, pieces: int) -> bytes:
    """Whole, cut, damaged and glued frames, text and noise."""
    out = b""
    for _ in range(pieces):
        data = frame(kinds, rng.randrange(len(kinds)), rng)
        what = rng.randrange(6)
        at = rng.randrange(len(data))
        if what == 0:
            data = data[:at]
        elif what == 1:
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif what == 2:
            data = b"E (1234) i2c: timeout\r\n" + data
        elif what == 3:
            data = kinds[0].head * rng.randrange(1, 9) + data
        out += data
    return out


def cuts(data: bytes, rng: random.Random) -> list[bytes]:
    """The same bytes in pieces, empty ones too."""
    ends = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 30)))
    return [data[a:b] for a, b in pairwise([0, *ends, len(data)])]


def found(finder: FrameFinder, *parts: bytes) -> list[Found | Passed]:
    return [item for part in parts for item in finder.feed(part)]


def frames(items: list[Found | Passed]) -> list[bytes]:
    return [item.frame for item in items if isinstance(item, Found)]


@every
@given(seed=st.integers(0, 2**32), pieces=st.integers(1, 12))
def test_any_split_gives_the_same(kinds: list[FrameKind], seed: int, pieces: int) -> None:
    """Whole, byte by byte, and in any pieces: the same frames, the same faults, in the same order, as many skipped."""
    rng = random.Random(seed)
    data = stream(kinds, rng, pieces)
    whole, bytewise, cut = FrameFinder(kinds), FrameFinder(kinds), FrameFinder(kinds)
    wanted = found(whole, data)
    assert found(bytewise, *(data[at : at + 1] for at in range(len(data)))) == wanted
    assert found(cut, *cuts(data, rng)) == wanted
    for finder in (whole, bytewise, cut):
        finder.reset()
    assert whole.skipped == bytewise.skipped == cut.skipped


@every
@given(seed=st.integers(0, 2**32), pieces=st.integers(1, 12))
def test_every_byte_is_accounted_for(kinds: list[FrameKind], seed: int, pieces: int) -> None:
    """Bytes in frames, in faults, and skipped are all that came."""
    data = stream(kinds, random.Random(seed), pieces)
    finder = FrameFinder(kinds)
    items = found(finder, data)
    finder.reset()
    kept = sum(len(item.frame if isinstance(item, Found) else item.data) for item in items)
    assert kept + finder.skipped == len(data)


@every
@given(seed=st.integers(0, 2**32), count=st.integers(1, 8))
def test_whole_frames_all_arrive(kinds: list[FrameKind], seed: int, count: int) -> None:
    """One behind the other, with heads in what they carry: each, of its kind, and not a word about anything else."""
    rng = random.Random(seed)
    sent = [(n := rng.randrange(len(kinds)), frame(kinds, n, rng)) for _ in range(count)]
    sent.append((0, plain(kinds)))
    items = found(FrameFinder(kinds), b"".join(data for _, data in sent))
    assert [item.frame for item in items if isinstance(item, Found)] == [data for _, data in sent]
    if all(told_apart(a, b) for a in kinds for b in kinds if a is not b):
        assert items == [Found(n, data) for n, data in sent]


@given(
    seed=st.integers(0, 2**32),
    before=st.binary(max_size=60),
    damage=st.sampled_from(("flip", "drop", "insert", "cut", "text", "none")),
)
def test_what_follows_damage_is_never_lost_and_the_damaged_is_never_a_frame(seed: int, before: bytes, damage: str):
    """Three whole frames after a damaged one and noise: those three come, and only they. The check is a CRC-32, so that
    chance has no part in it."""
    kinds = [kind("AA 55", "<BBI7f", "crc32", constants=((0, 33),)), kind("AA", "<5h", "crc32", "0D")]
    rng = random.Random(seed)
    first, *rest = (frame(kinds, rng.randrange(2), rng) for _ in range(4))
    at = rng.randrange(len(first))
    damaged = {
        "flip": first[:at] + bytes([first[at] ^ rng.randrange(1, 256)]) + first[at + 1 :],
        "drop": first[:at] + first[at + 1 :],
        "insert": first[:at] + bytes([rng.randrange(256)]) + first[at:],
        "cut": first[:at],
        "text": first[:at] + b"E (1234) i2c: timeout\r\n" + first[at:],
        "none": b"",
    }[damage]
    finder = FrameFinder(kinds)
    lead = frame(kinds, 0, rng)
    items = found(finder, lead + before + damaged + b"".join(rest))
    got = frames(items)
    assert got == [lead, *([first] if first in damaged else []), *rest]
    assert sum(isinstance(item, Passed) for item in items) <= 2


@every
@given(seed=st.integers(0, 2**32), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_damaged_byte_costs_at_most_the_frames_it_touches(kinds, seed: int, at: int, bit: int) -> None:
    """Of ten frames nine arrive as they were; with the weakest checks, too, unless what is damaged happens to be right
    for another kind."""
    rng = random.Random(seed)
    sent = [frame(kinds, rng.randrange(len(kinds)), rng) for _ in range(10)]
    data = bytearray(b"".join(sent))
    at %= len(data)
    data[at] ^= 1 << bit
    start = 0
    touched = 0
    while at >= start + len(sent[touched]):
        start += len(sent[touched])
        touched += 1
    sent.append(plain(kinds))
    got = frames(found(FrameFinder(kinds), bytes(data) + sent[-1]))
    assert got[:touched] == sent[:touched]
    if all(item.checksum is CRC for item in kinds):
        assert got[touched:] == sent[touched + 1 :]
    else:  # resynchronised, at the latest, behind a frame that was found by accident
        assert got[-4:] == sent[-4:] or touched > 3


@every
@given(data=st.binary(max_size=3000))
def test_random_bytes_never_raise(kinds: list[FrameKind], data: bytes) -> None:
    """And what comes of them is bounded, however long they go on."""
    finder = FrameFinder(kinds)
    items = found(finder, data, data, data)
    assert all(len(item.data) <= KEPT for item in items if isinstance(item, Passed))
    assert len(items) <= 2 * len(data) + 1


@every
def test_endless_noise_is_one_fault(kinds: list[FrameKind]) -> None:
    """Said when it has become long, not again, and its memory is bounded; the next frame is found as ever."""
    finder = FrameFinder(kinds)
    byte = next(value for value in range(256) if all(value not in item.head for item in kinds))
    noise = bytes([byte]) * 1000
    items = [item for _ in range(200) for item in finder.feed(noise)]
    (said,) = items
    assert (said.status, said.data, said.size) == ("head", noise[:KEPT], LONGEST_RUN)
    whole = frame(kinds, 0, random.Random(1))
    assert frames(finder.feed(whole)) == [whole]
    assert finder.skipped == 200_000 - KEPT


@every
def test_a_stream_of_heads_is_bounded_work(kinds: list[FrameKind]) -> None:
    """Every byte could begin a frame, none does; what is kept is less than the longest frame."""
    finder = FrameFinder(kinds)
    longest = max(256, *(item.size for item in kinds))
    for _ in range(50):
        finder.feed(kinds[0].head * 50)
        assert len(finder._rest) < longest


def test_what_was_cut_by_the_opening_is_no_fault() -> None:
    """The rest of a frame that began before we listened is skipped; later the same is a fault."""
    kinds = SETS["one"]
    rng = random.Random(0)
    whole = frame(kinds, 0, rng)
    finder = FrameFinder(kinds)
    assert found(finder, whole[7:] + whole) == [Found(0, whole)]
    assert finder.skipped == len(whole) - 7
    (fault, after) = found(finder, whole[7:] + whole)
    assert (fault.data, fault.size, after.frame) == (whole[7:], len(whole) - 7, whole)
    finder.reset()
    assert found(finder, b"boot" * 20 + whole) == [Passed("head", b"boot" * 20, 80), Found(0, whole)]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:], "check"),
        (lambda data: data[:2] + b"\x22" + data[3:], "length"),
        (lambda data: data[:-1] + b"\x7e", "tail"),
        (lambda data: b"\x00" + data[1:], "head"),
        (lambda data: b"\x66".join((data[:1], data[2:])), "constant"),
    ],
)
def test_a_fault_says_what_was_wrong(change, status: str) -> None:
    """The first thing in the run that began like a frame decides."""
    kinds = [
        kind("AA 55", "<BB2f", "xor", "7D", constants=((0, 10),), length=0),
        kind("AA 66", "<2B", constants=((1, 0),)),
    ]
    body = bytes([10, 4]) + bytes(8)
    whole = kinds[0].seal(body)
    items = found(FrameFinder(kinds), whole + change(whole) + whole)
    assert [item.status for item in items if isinstance(item, Passed)] == [status]


def test_frames_that_nobody_asked_for_are_passed_over_by_their_length() -> None:
    """Under the same head, of whatever length, with a right check: intact, of no kind, no fault; a damaged one is a
    fault. One whose length is more than may be waited for is a fault at once."""
    kinds = SETS["lengths"]
    rng = random.Random(0)
    known, check = frame(kinds, 0, rng), CHECKSUMS["crc16-ccitt"]

    def other(size: int) -> bytes:
        body = bytes([size]) + rng.randbytes(size)
        return b"\xaa\x55" + body + check.of(body).to_bytes(2, "little")

    strange = [other(size) for size in (1, 3, 5, 9, 200)]
    items = found(FrameFinder(kinds), known + b"".join(strange) + known)
    assert items == [Found(0, known), *(Found(None, data) for data in strange), Found(0, known)]
    damaged = bytearray(other(60))
    damaged[20] ^= 1
    items = found(FrameFinder(kinds), known + bytes(damaged) + known)
    assert [item.status for item in items if isinstance(item, Passed)] == ["check"]
    assert frames(items) == [known, known]
    (known_too,) = SETS["length and tail"]
    whole = frame([known_too], 0, rng)
    items = found(FrameFinder([known_too]), whole + b"\xa5\x40\x00" + whole)
    assert frames(items) == [whole, whole]


def test_a_frame_cut_off_whose_check_is_right_by_chance_does_not_swallow_the_next() -> None:
    """One byte of check lets one in 256 through: where the next frame begins inside it, that one decides. A frame that
    holds such bytes without being cut arrives once they have turned out to be none."""
    kinds = SETS["one"]
    rng = random.Random(0)
    before, after = frame(kinds, 0, rng), frame(kinds, 0, rng)
    tried = 0
    for at in range(4, 30):
        for last in range(256):
            cut = (before[:at] + bytes([last]) + after)[: kinds[0].size]
            if kinds[0].judge(cut, 0)[0]:
                continue
            tried += 1
            items = found(FrameFinder(kinds), frame(kinds, 0, rng) + before[:at] + bytes([last]) + after)
            assert frames(items)[1:] == [after]
            assert [item.status for item in items if isinstance(item, Passed)] == ["check"]
    assert tried == 26
    holding = bytearray(before[2:-1])
    holding[10:13] = b"\xaa\x55\x21"
    held = kinds[0].seal(bytes(holding))
    assert frames(found(FrameFinder(kinds), held)) == []
    assert frames(found(FrameFinder(kinds), held + after)) == [held, after]
    assert frames(found(FrameFinder(kinds), held + held + before + held + after)) == [held, held, before, held, after]
    assert frames(found(FrameFinder(kinds), held + b"warning: low battery, and more of it\n" + after)) == [held, after]


def test_kinds_that_nothing_tells_apart_are_known() -> None:
    """Same bytes at the same places, and no check that would decide."""
    one = kind("AA", "<2f", "xor")
    assert not told_apart(one, kind("AA", "<2f", "xor"))
    assert not told_apart(kind("AA", "<2f"), kind("AA", "<3f", "xor"))
    assert told_apart(one, kind("AA", "<3f", "xor"))
    assert told_apart(one, kind("AB", "<2f", "xor"))
    assert told_apart(kind("AA", "<2B", constants=((0, 1),)), kind("AA", "<2B", constants=((0, 2),)))
    assert told_apart(kind("AA", "<2B", constants=((0, 1),)), kind("AA 02", "<2B"))
    assert not told_apart(kind("AA", "<2B", constants=((0, 1),)), kind("AA", "<2B", constants=((1, 2),)))


def test_numbers_come_back() -> None:
    """Of every set, what was packed is unpacked."""
    for kinds in SETS.values():
        for item in kinds:
            numbers = [dict(item.constants).get(at, 1) for at in range(len(item.layout.letters))]
            assert item.numbers(item.frame(numbers)) == tuple(map(float, numbers))
            assert not any(math.isnan(number) for number in item.numbers(item.frame(numbers)))
