"""One fuzzing input for the Python bridge: what must hold whatever arrives, on the line, as a dictionary or as a file.

Its rule: an input is any bytes, and every one of them means something. The first says what follows: a dictionary, a
recording, or what a board does. That is a list of moves, which frame what they send themselves (so that the CRC does
not keep the fuzzer out), let time pass, or take the link away. What is played depends on the input alone, never on what
the bridge answers, so that it can be played again in other pieces.

`fuzz_run.py` looks for inputs that reach new code; tests/vectors/corpus/bridge keeps those that did.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import lz4.frame
import zstandard
from mcap.opcode import Opcode

from firmware_bridge.dictionary import MAX_JSON, Dictionary, Field, Format
from firmware_bridge.errors import ActionError, DictionaryError, RecordingError
from firmware_bridge.events import DeviceStatus, Event, Fault, Gap, Hello, Opened, Reading, Reset
from firmware_bridge.links.own import bodies, framing
from firmware_bridge.links.own.bridge import DICTIONARY_PAUSE_NS, LONGEST_DETAIL, Bridge
from firmware_bridge.links.own.framing import Deframer, Frame
from firmware_bridge.recordings.contents import Encoder
from firmware_bridge.recordings.mcap_writer import MAGIC
from firmware_bridge.recordings.reader import Recording
from firmware_bridge.values import Action, Chunk
from tests.support.robots import ROBOT

T = TypeVar("T")

LONGEST_LINE = 8_000  # bytes that a list of moves puts on the line: a move of two bytes may send a whole dictionary
LOUD = 1000  # characters of an error: more is no sentence
DATED = Dictionary(
    (
        Format("r", 1, "reading", (Field("x", "f64", "m"), Field("y", "i8", "", scale=0.5, offset=1.0)), 100.0),
        Format("s", 200, "reading", (Field("z", "u32", ""),)),
        Format("a", 2, "action", (Field("v", "f32", "m/s", minimum=-1.0, maximum=2.0, safe=0.0),), None, 500),
    ),
    "dated",
    "2",
    protocol=2,
)
EMPTY = Dictionary((), "empty", "0")
# What an input is: its first byte, modulo 4.
BOARD, DICTIONARY, RECORD_LIST, FILE = range(4)


class Cursor:
    """The input, read from its beginning; past its end there are zeros and nothing."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def more(self) -> bool:
        return self.at < len(self.data)

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        return (self.take(1) or b"\0")[0]

    def word(self) -> int:
        return self.byte() | self.byte() << 8


def check(data: bytes, path: Path) -> None:
    """Raises AssertionError, or what no caller expects, where a promise is broken. path: a file to write over."""
    kind, rest = (data[0] % 4 if data else BOARD), data[1:]
    if kind == BOARD:
        _check_board(rest)
    elif kind == DICTIONARY:
        _check_dictionary(dictionary_text(rest))
    else:
        path.write_bytes(rest if kind == FILE else record_list(rest))
        _check_recording(path)


def _tried(make: Callable[[], T]) -> T | None:
    """What it gives; None where it is refused, in a sentence."""
    try:
        return make()
    except (DictionaryError, RecordingError) as error:
        text, quoted = str(error), isinstance(error, DictionaryError)
    assert 0 < len(text) < LOUD
    assert not quoted or text.isprintable()  # a device wrote what stands in it
    return None


# ---------------------------------------------------------------------------------------------- the line


class Board:
    """What a board puts on the line, and when."""

    def __init__(self, moves: Cursor) -> None:
        self.moves = moves
        self.chunks: list[Chunk] = []
        self.line = b""
        self.sent = 0
        self.t_ns = 1_000_000_000
        self.skew_us = 0  # the board's clock against the host's
        self.boot = 0xB007
        self.state = bodies.IDLE
        self.seq: Counter[int] = Counter()
        self.known: list[Dictionary | Undeclared] = [ROBOT, DATED, EMPTY]
        self.now: Dictionary | Undeclared = ROBOT

    def chunks_of_moves(self) -> list[Chunk]:
        make = (self.raw, self.frame, self.hello, self.blocks, self.declare, self.wait, self.change, self.readings)
        while self.moves.more and self.sent < LONGEST_LINE:
            move = self.moves.byte()
            make[move % 8](move // 8)
        self.flush()
        return self.chunks

    def flush(self) -> None:
        if self.line:
            self.chunks.append(Chunk(self.t_ns, self.line))
            self.line = b""

    def say(self, data: bytes) -> None:
        self.line += data
        self.sent += len(data)

    def intact(self, kind: int, payload: bytes, stream: int = 0) -> None:
        us = (self.t_ns // 1000 + self.skew_us) & 0xFFFFFFFF
        seq = self.seq[stream] & 0xFFFF
        self.seq[stream] += 1
        self.say(framing.encode(Frame(kind, stream, seq, us, self.now.check, payload[: framing.MAX_PAYLOAD])))

    def raw(self, size: int) -> None:
        self.say(self.moves.take(size * 9))

    def frame(self, kind: int) -> None:
        """One of any type, with the payload given; half of them after numbers left out."""
        stream = self.moves.byte()
        if kind > 15:
            self.seq[stream] += self.moves.word()
        self.intact(kind & 15, self.moves.take(self.moves.byte()), stream)

    def hello(self, how: int) -> None:
        """HELLO of one of the dictionaries, at times with a lie in it."""
        self.now = self.known[how % len(self.known)]
        digest, size = self.now.digest, len(self.now.compressed)
        what = self.moves.byte()
        self.state = what & 7
        self.boot += what >> 3 & 1
        size += what >> 4 & 1
        digest = bytes(8) if what >> 5 == 7 else digest
        self.say(b"\0")
        self.intact(framing.HELLO, bodies.HELLO.pack(self.boot, digest, size & 0xFFFF, self.state))

    def blocks(self, how: int) -> None:
        """The dictionary, all of it or from some place on, in pieces."""
        data, size = self.now.compressed, 1 + 8 * (how or 30)
        start = self.moves.byte() * 8 if how & 1 else 0
        for at in range(start, min(len(data), start + 20 * size), size):
            piece = data[at : at + min(size, framing.MAX_PAYLOAD - bodies.BLOCK.size)]
            self.intact(framing.DICTIONARY, bodies.BLOCK.pack(at, len(data) & 0xFFFF) + piece)

    def declare(self, how: int) -> None:
        """Another dictionary, which the input holds: nobody has checked it."""
        text = dictionary_text(self.moves.take(self.moves.word() % 4096))
        self.known[how % 4 :] = [Undeclared(text, how > 15)]

    def wait(self, power: int) -> None:
        """Time passes, 1 µs to half an hour, in silence if nothing waits."""
        self.flush()
        self.t_ns += 1000 << power
        if self.moves.byte() & 1:
            self.chunks.append(Chunk(self.t_ns))

    def change(self, how: int) -> None:
        """The link opens or is lost, or the board's clock jumps."""
        if how & 3 == 3:
            self.skew_us += (1 << (how >> 2) * 4) * (-1 if self.moves.byte() & 1 else 1)
            return
        self.flush()
        self.chunks.append(Chunk(self.t_ns, self.moves.take(how >> 1), "opened" if how & 1 else "lost"))

    def readings(self, count: int) -> None:
        """Some readings of one format, right but for their values, 1 ms apart."""
        streams = self.now.readings
        if not streams:
            return
        item = streams[self.moves.byte() % len(streams)]
        for _ in range(count % 16 + 1):
            self.intact(framing.READING, self.moves.take(item.size).ljust(item.size, b"\0"), item.id)
            self.flush()
            self.t_ns += 1_000_000


class Undeclared:
    """What a board calls its dictionary: right, or any text."""

    def __init__(self, text: bytes, packed: bool) -> None:
        try:
            found = Dictionary.from_json(text)
            self.readings = found.readings
        except DictionaryError:
            self.readings = ()
        right = Dictionary((), "any", "0", text)
        self.digest, self.check = right.digest, right.check
        self.compressed = text if packed else zlib.compress(text, 1)


class Played:
    """What a bridge made of chunks, and what it sent."""

    def __init__(self, chunks: Iterable[Chunk], size: int = 0, how: int = 0) -> None:
        """size: of the pieces in which each chunk's bytes come (0: whole)."""
        self.bridge = Bridge(every={"wheels": how & 3, "s": 0} if how & 4 else None, clear_fault=how & 8 > 0)
        self.events: list[list[Event]] = []
        self.written: list[bytes] = []
        t_ns = 0
        for chunk in chunks:
            t_ns = chunk.t_ns
            self.events.append([])
            for piece in _pieces(chunk, size):
                self.events[-1] += self.bridge.receive(piece)
            for event in self.events[-1]:
                if isinstance(event, Reading):
                    self.written.append(self._answer(event))
            self.written.append(self.bridge.outgoing())
        self.report = json.dumps(self.bridge.report(), allow_nan=False)
        self.written.append(self.bridge.stop(t_ns))
        assert self.bridge.outgoing() == self._answer(Reading(t_ns, "", 0, 0, ())) == b""

    def _answer(self, event: Reading) -> bytes:
        actions = self.bridge.dictionary.actions if self.bridge.dictionary else ()
        action = actions[0].safe_action() if actions else Action("none", ())
        try:
            return self.bridge.send(event.t_ns, action, 0, event.t_device_us)
        except ActionError:
            assert not actions  # else it is one that the device declares
            return b""


def _pieces(chunk: Chunk, size: int) -> Iterable[Chunk]:
    if chunk.link != "data" or not chunk.data or not size:
        return (chunk,)
    return (Chunk(chunk.t_ns, chunk.data[at : at + size]) for at in range(0, len(chunk.data), size))


def _check_board(data: bytes) -> None:
    moves = Cursor(data)
    how = moves.byte()
    chunks = Board(moves).chunks_of_moves()
    whole = Played(chunks, how=how)
    _check_played(chunks, whole)
    total = sum(len(chunk.data) for chunk in chunks)
    cut = Played(chunks, 1 + total // 256 * 2, how)  # a short one byte by byte
    assert (cut.written, cut.report) == (whole.written, whole.report)
    assert repr(cut.events) == repr(whole.events)  # NaN does not equal itself


def _check_played(chunks: list[Chunk], played: Played) -> None:
    """Events bounded by the bytes, in an order that makes sense, and counted; only intact frames sent."""
    rest, encoder = 0, Encoder()
    for chunk, events in zip(chunks, played.events, strict=True):
        data = chunk.data if chunk.link == "data" else b""
        # An intact frame takes 14 bytes and gives four events at most, a damaged one two bytes and one event.
        assert len(events) <= 5 + len(data) // 2
        rest += len(data)
        for event in events:
            assert event.t_ns == chunk.t_ns
            encoder.event(event)  # it can be recorded
            if isinstance(event, Fault):
                assert len(event.detail) <= LONGEST_DETAIL
                assert event.detail.isprintable()
                assert len(event.data) <= max(framing.MAX_ENCODED, rest)
    events = [event for some in played.events for event in some]
    _check_order(events)
    _check_counters(chunks, events, played)
    for item in Deframer().feed(b"\0" + b"".join(played.written)):
        assert isinstance(item, Frame)
        assert item.type >= framing.HELLO_REQUEST


def _check_order(events: list[Event]) -> None:
    """Readings belong to the last Hello, none comes twice or back in time within a boot, a gap ends with one."""
    dictionary: Dictionary | None = None
    last: dict[str, tuple[int, int]] = {}
    gap: Gap | None = None
    refused_ns: int | None = None
    for event in events:
        if gap is not None:
            assert isinstance(event, Reading)
            assert (event.format, event.seq) == (gap.format, (gap.first_seq + gap.count) & 0xFFFF)
        gap = event if isinstance(event, Gap) else None
        if isinstance(event, Reset):
            dictionary, last = None, {}
        elif isinstance(event, Hello):
            if dictionary is not event.dictionary:
                last = {}
            dictionary = event.dictionary
        elif isinstance(event, Reading):
            assert dictionary is not None
            assert len(event.values) == len(dictionary[event.format].fields)
            this, before = (event.t_device_us, event.seq), last.get(event.format)
            assert before is None or (this != before and this[0] >= before[0])
            last[event.format] = this
        elif isinstance(event, Fault) and event.status == "dictionary":
            assert refused_ns is None or event.t_ns >= refused_ns + DICTIONARY_PAUSE_NS
            refused_ns = event.t_ns


def _check_counters(chunks: list[Chunk], events: list[Event], played: Played) -> None:
    """Each counter is the number of the events it counts."""
    counters = played.bridge.counters
    kinds = Counter(type(event) for event in events)
    assert counters.bytes == sum(len(chunk.data) for chunk in chunks if chunk.link == "data")
    assert counters.bytes_sent == sum(map(len, played.written))
    assert (counters.readings, counters.gaps, counters.hellos) == (kinds[Reading], kinds[Gap], kinds[Hello])
    assert (counters.resets, counters.reconnects) == (kinds[Reset], max(0, kinds[Opened] - 1))
    assert counters.lost_readings == sum(event.count for event in events if isinstance(event, Gap))
    assert counters.faults == Counter(event.status for event in events if isinstance(event, Fault))
    assert counters.frames * (framing.MIN_FRAME + 2) + counters.skipped_bytes <= counters.bytes
    of_frames = (kinds[Reading], kinds[DeviceStatus], kinds[Hello], counters.early_readings)
    assert counters.frames >= sum(of_frames)


# ---------------------------------------------------------------------------------------------- a dictionary

WORDS = [
    *(b'"device":"d"', b'"version":"1"', b'"formats":[', b'"protocol":', b'"name":"', b'"id":', b'"direction":"'),
    *(b'"reading"', b'"action"', b'"fields":[', b'"rate_hz":', b'"max_age_ms":', b'"type":"', b'"unit":""', b'"safe":'),
    *(b'"scale":', b'"offset":', b'"minimum":', b'"maximum":', b'"f32"', b'"f64"', b'"i8"', b'"u8"', b'"i16"'),
    *(b'"u16"', b'"i32"', b'"u32"', b'null', b'true', b'NaN', b'Infinity', b'1e400', b'-1.7e308', b'5e-324', b'256'),
    *(b'"', b'",', b'{', b'}', b'},', b'[', b']', b']}', b'],', b',', b':', b'0', b'1', b'2', b'-1', b'1000', b'0.5'),
    *(b'{"name":"x","type":"f32","unit":""}', b'{"name":"y","type":"u8","unit":"m","scale":0.5}', b'9' * 400),
    *(b'{"name":"v","type":"f32","unit":"","minimum":-1,"maximum":1,"safe":0}', b'\\ud800', b'\x1b', b'\xff'),
    *("\u202e\u00b5/".encode(), b'"_', b'"a' + b'n' * 255, b'{' * 3000, b'[' * 3000, b'{"name":"n","id":1,'),
]  # fmt: skip


def dictionary_text(data: bytes) -> bytes:
    """Bytes from 128 on are words, so that a change of one byte is a change of the meaning."""
    return b"".join(WORDS[byte - 128] if 128 <= byte < 128 + len(WORDS) else bytes((byte,)) for byte in data)


def _check_dictionary(text: bytes) -> None:
    """Refused in a sentence, or one that packs, unpacks, and says itself again."""
    found = _tried(lambda: Dictionary.from_json(text))
    _tried(lambda: Dictionary.from_compressed(text))
    if found is None:
        return
    again = Dictionary(found.formats, found.device, found.version, protocol=found.protocol)
    assert again == found == Dictionary.from_json(again.json)
    if len(text) < MAX_JSON:
        assert Dictionary.from_compressed(found.compressed) == found
    _tried(lambda: bodies.check_sizes(found))
    for item in found.actions:
        payload = item.pack(item.safe_action().values)
        assert len(payload) == item.size
        assert item.clamp(item.unpack(payload)) is not None
    for item in found.readings:
        assert len(item.unpack(bytes(item.size))) == len(item.fields)


# ---------------------------------------------------------------------------------------------- a recording


def record_list(data: bytes) -> bytes:
    """An MCAP file of records, each with its right length; those with bit 7 stand in a block with its right CRC, and
    the footer leads to the statistics. Four bytes each in the input: the opcode, its content's length, and how a block
    of it is packed."""
    records, out, block = Cursor(data), MAGIC, b""
    at: dict[int, int] = {}  # opcode → where the last such record stands
    while records.more:
        opcode, size, packing = records.byte(), records.word(), records.byte()
        content = records.take(size)
        inside = bool(opcode & 0x80)
        if block and not inside:
            out, block = out + _block(block, packing), b""
        if not packing & 32:
            if opcode == Opcode.SUMMARY_OFFSET:
                content = struct.pack("<BQQ", Opcode.STATISTICS, at.get(Opcode.STATISTICS, 0), 0)
            elif opcode == Opcode.FOOTER:
                content = struct.pack("<QQI", 0, at.get(Opcode.SUMMARY_OFFSET, 0), 0)
        record = struct.pack("<BQ", opcode & 0x7F, len(content)) + content
        if inside:
            block += record
        else:
            at[opcode] = len(out)
            out += record
        if block and packing & 1:
            out, block = out + _block(block, packing), b""
    return out + (_block(block, 0) if block else b"") + MAGIC


def _block(data: bytes, packing: int) -> bytes:
    name, pack = (
        (b"", bytes),
        (b"lz4", lz4.frame.compress),
        (b"zstd", zstandard.ZstdCompressor(level=1).compress),
        (b"none", bytes),
    )[packing >> 1 & 3]
    packed = pack(data)
    size = len(data) + (packing >> 3 & 1)
    head = struct.pack("<QQQI", 0, 0, size, 0 if packing & 16 else zlib.crc32(data))
    body = head + struct.pack("<I", len(name)) + name + struct.pack("<Q", len(packed)) + packed
    return struct.pack("<BQ", 6, len(body)) + body


def _check_recording(path: Path) -> None:
    """Refused in a sentence; or all that it holds is read, twice the same, and a bridge takes its chunks."""
    recording = _tried(lambda: Recording(path))
    if recording is None:
        return
    messages = list(recording.messages())
    assert list(recording.messages()) == messages
    assert recording.topics() == Counter(topic for topic, _t_ns, _data in messages)
    assert recording.cut or not recording.damaged
    recording.span()
    _tried(lambda: recording.dropped)
    assert [data for _t_ns, data, taken in recording.writes() if taken] == [data for _t_ns, data in recording.sent()]
    for topic in recording.topics():
        if len(topic) < LOUD // 2:  # an error names what it was asked for
            _tried(lambda topic=topic: list(recording.values(topic)))  # type: ignore[misc]
    chunks = _tried(lambda: list(recording.chunks()))
    if chunks is not None:
        _check_played(chunks, Played(chunks))
