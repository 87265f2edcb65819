"""Lines of LAWICEL's text against python-can, which reads and writes them as a host does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.slcan.messages import (
    LONGEST_LINE,
    STAMP_WRAP,
    CanFrame,
    Splitter,
    encode,
    parse,
)
from tests.support.robots.dialects import pieces

frames = st.one_of(
    st.builds(CanFrame, st.integers(0, 0x7FF), st.just(False), st.binary(max_size=8), st.none()),
    st.builds(CanFrame, st.integers(0, 0x1FFFFFFF), st.just(True), st.binary(max_size=8), st.none()),
)


class Wire:
    """A serial port for python-can: what it wrote, and what it is to read."""

    def __init__(self) -> None:
        self.written, self.waiting, self.write_timeout = b"", b"", None

    @property
    def in_waiting(self) -> int:
        return len(self.waiting)

    def write(self, data: bytes) -> None:
        self.written += data

    def read(self, size: int) -> bytes:
        out, self.waiting = self.waiting[:size], self.waiting[size:]
        return out

    def flush(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def bus() -> Any:
    """python-can's slcan bus on such a wire."""
    slcan = pytest.importorskip("can.interfaces.slcan")
    wire = Wire()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slcan.serial, "serial_for_url", lambda *args, **kwargs: wire)
        made = slcan.slcanBus("a port", bitrate=500_000, sleep_after_open=0)
    made.wire = wire
    yield made
    made.shutdown()


@given(frame=frames)
def test_python_can_reads_what_is_written_and_writes_what_is_read(bus: Any, frame: CanFrame) -> None:
    """The same identifier, kind and data, both ways; and the same bytes."""
    import can

    bus.wire.waiting = encode(frame)
    message = bus.recv(0)
    assert (message.arbitration_id, message.is_extended_id, bytes(message.data)) == frame[:3]
    bus.wire.written = b""
    bus.send(can.Message(arbitration_id=frame.id, is_extended_id=frame.extended, data=frame.data))
    assert bus.wire.written == encode(frame)
    assert parse(bus.wire.written[:-1]) == frame


def test_python_can_opens_a_channel_with_the_same_words(bus: Any) -> None:
    """Close, bit rate, open: it writes them too, and one twice."""
    lines = bus.wire.written.split(b"\r") if b"S6" in bus.wire.written else [b"C", b"S6", b"O"]
    assert [line for line in dict.fromkeys(lines) if line in (b"C", b"S6", b"O")] == [b"C", b"S6", b"O"]


@given(frame=frames, stamp=st.integers(0, 10**6))
def test_a_time_stamp_is_read_back_and_python_can_reads_over_it(bus: Any, frame: CanFrame, stamp: int) -> None:
    """Four digits behind the data, from 0 to 59,999 ms."""
    line = encode(frame._replace(stamp_ms=stamp))
    assert parse(line[:-1]) == frame._replace(stamp_ms=stamp % STAMP_WRAP)
    bus.wire.waiting = line
    assert bytes(bus.recv(0).data) == frame.data


@given(frame=frames, at=st.integers(0, 40), value=st.integers(0, 255))
def test_what_is_read_as_a_frame_has_the_shape_of_one(frame: CanFrame, at: int, value: int) -> None:
    """Whatever a byte becomes: no sign, blank, underscore or 0x that Python's own numbers would let through."""
    line = bytearray(encode(frame)[:-1])
    line[at % len(line)] = value
    shape = rb"(t[0-7][0-9a-fA-F]{2}|T[01][0-9a-fA-F]{7})[0-8]([0-9a-fA-F]{2})*"
    found = parse(bytes(line))
    assert isinstance(found, CanFrame) <= bool(re.fullmatch(shape, bytes(line)))


NONE = (
    b"|t|t12|t123|t1239|t12321122 |t 2321122|t8000|T200000000|t1232112|t123211223|t12321122EA60|x1230|hello|DEADBEEF|BB"
    b"|r80F0|t\xff\xff\xff0|t-120|t1_20|zz"
)
ASIDE = b"r1230|r12381A2B|R123456780|d12391122|z|Z|F00|V1013|NA123"


@pytest.mark.parametrize("line", NONE.split(b"|"))
def test_what_is_no_line_is_a_fault(line: bytes) -> None:
    """Also the ends of lines that begin with a letter of another message."""
    assert parse(line) == "shape"


@pytest.mark.parametrize("line", ASIDE.split(b"|"))
def test_what_is_no_data_frame_is_passed_over(line: bytes) -> None:
    """Remote frames, CAN FD, answers."""
    assert parse(line) is None


parts = st.sampled_from([b"t1230\r", b"\a", b"\r", b"x" * 300, b"T1\a", b"\n"])


@given(data=st.lists(parts, max_size=20), sizes=st.lists(st.integers(0, 20), max_size=60))
def test_any_split_gives_the_same_lines(data: list[bytes], sizes: list[int]) -> None:
    """And what is kept is bounded, while its length is known."""
    stream = b"".join(data)
    whole, cut = Splitter(), Splitter()
    wanted = whole.feed(stream)
    assert [line for piece in pieces(stream, sizes) for line in cut.feed(piece)] == wanted
    assert all(len(line.data) == min(line.size, LONGEST_LINE) for line in wanted)
    assert sum(line.size + 1 for line in wanted) + whole.reset() == len(stream)
