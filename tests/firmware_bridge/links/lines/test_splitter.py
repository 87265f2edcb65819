"""Bytes into lines: every kind of end, no line too long, the cut one passed over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.events import Fault
from firmware_bridge.links.lines.splitter import LONGEST, LineSplitter
from tests.support.robots.text_robots import give, link_of, values


def lines_of(splitter: LineSplitter, *pieces: bytes) -> list[bytes]:
    return [line for piece in pieces for line in splitter.split(piece)]


def test_every_end_ends_a_line() -> None:
    """LF, CR LF, CR, and an end cut in two; an empty line is none."""
    splitter = LineSplitter()
    assert lines_of(splitter, b"cut\none\r\n\r\ntwo\rthree\r", b"\nfour\n\n\rfi", b"ve\n") == [
        b"one",
        b"two",
        b"three",
        b"four",
        b"five",
    ]
    assert splitter.skipped == 3


def test_the_first_line_is_passed_over_unless_it_begins_as_a_whole_one() -> None:
    """Also where all of it that came is its end."""
    assert lines_of(LineSplitter((b"<",)), b"<1,2>\n<3,4>\n") == [b"<1,2>", b"<3,4>"]
    assert lines_of(LineSplitter((b"<",)), b"1,2>\n<3,4>\n") == [b"<3,4>"]
    assert lines_of(LineSplitter(), b"\r\n1\n") == [b"1"]
    again = LineSplitter()
    assert lines_of(again, b"a\nb\nc") == [b"b"]
    again.opened()
    assert lines_of(again, b"d\ne\n") == [b"e"]
    assert again.skipped == len("a" + "c" + "d")


@given(st.lists(st.integers(1, 3 * LONGEST), max_size=5), st.integers(1, 700))
def test_a_line_that_is_too_long_comes_once_and_short(lengths: list[int], piece: int) -> None:
    """Its first bytes, whatever the chunks; what is passed over is counted, what is held is bounded."""
    data = b"\n" + b"".join(b"x" * length + b"\n" for length in lengths)
    splitter = LineSplitter()
    lines = lines_of(splitter, *(data[k : k + piece] for k in range(0, len(data), piece)))
    assert lines == [b"x" * min(length, LONGEST + 1) for length in lengths]
    assert splitter.skipped == sum(max(0, length - LONGEST - 1) for length in lengths)


def test_a_long_line_is_a_fault_and_the_next_one_a_reading() -> None:
    """The fault comes when the line is too long, not when it ends, and is bounded itself."""
    link = link_of('[link.reading.r]\nshape = "csv"\nfields = ["x"]')
    events = give(link, [b"\n1\n" + b"9" * 100_000])
    assert link.counters.faults == {"long": 1}
    assert len(next(event for event in events if isinstance(event, Fault)).data) <= 256
    assert values([*events, *give(link, [b"\n2\n"])]) == [["r", 1], ["r", 2]]
