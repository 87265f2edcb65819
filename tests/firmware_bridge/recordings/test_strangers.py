"""A recording from a stranger takes no more memory and time than its size deserves, and ends in a sentence."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from mcap.writer import CompressionType, Writer

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.mcap_reader import LONGEST_BLOCK
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk

PEAK = 120_000_000  # bytes
BOMB = 400 << 20  # bytes unpacked


def packed(kind: str, size: int) -> bytes:
    """So many zeros, packed."""
    if kind == "lz4":
        packer = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX4MB)
        return packer.begin() + b"".join(packer.compress(bytes(4 << 20)) for _ in range(size >> 22)) + packer.flush()
    stream = zstandard.ZstdCompressor().compressobj()
    return b"".join(stream.compress(bytes(4 << 20)) for _ in range(size >> 22)) + stream.flush()


def record(opcode: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", opcode, len(body) if length is None else length) + body


def block(kind: str, data: bytes, declared: int, crc: int = 0) -> bytes:
    name = kind.encode()
    head = struct.pack("<QQQII", 1, 1, declared, crc, len(name)) + name + struct.pack("<Q", len(data))
    return record(6, head + data)


def with_records(path: Path, *records: bytes) -> Path:
    """A recording of one chunk, then these records, then a chunk more."""
    recorder = Recorder(path.with_suffix(".first"))
    recorder.received(Chunk(1, b"first"))
    recorder.close()
    data = path.with_suffix(".first").read_bytes()
    end = data.index(record(15, bytes(4)))  # of the data
    path.write_bytes(data[:end] + b"".join(records) + data[end:])
    return path


@pytest.mark.parametrize("declared", [BOMB, 100])
@pytest.mark.parametrize("kind", ["lz4", "zstd"])
def test_a_small_block_that_unpacks_to_much_is_damage(tmp_path: Path, kind: str, declared: int) -> None:
    """Whether the block says its length or lies: no more than the limit is unpacked, what stood before is there."""
    data = packed(kind, BOMB)
    assert len(data) < 3_000_000
    recording = open_recording(with_records(tmp_path / "x.mcap", block(kind, data, declared)))
    tracemalloc.start()
    assert [chunk.data for chunk in recording.chunks()] == [b"first"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < PEAK
    assert recording.damaged
    said = f"more than {LONGEST_BLOCK >> 20} MiB unpacked" if declared == BOMB else "not the 100 bytes that it declares"
    assert said in recording.cut


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 9, 12, 99])
@pytest.mark.parametrize("length", [1 << 29, 1 << 40, (1 << 64) - 1])
def test_a_record_that_claims_much_takes_no_memory(tmp_path: Path, opcode: int, length: int) -> None:
    """A length beyond the file is damage; nothing is read for it."""
    recording = open_recording(with_records(tmp_path / "x.mcap", record(opcode, b"abc", length)))
    tracemalloc.start()
    assert [chunk.data for chunk in recording.chunks()] == [b"first"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert recording.damaged


def test_many_small_messages_are_read_one_by_one(tmp_path: Path) -> None:
    """A block of 50,000 messages, which packs to nothing, takes the memory of its bytes and no more."""
    message = record(5, struct.pack("<HIQQ", 1, 0, 1, 1))
    inner = message * 50_000
    made = block("lz4", lz4.frame.compress(inner), len(inner), zlib.crc32(inner))
    assert len(made) < 100_000
    recording = open_recording(with_records(tmp_path / "x.mcap", made))
    tracemalloc.start()
    assert sum(1 for _ in recording.chunks()) == 50_001
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(inner)


@pytest.mark.parametrize("compression", list(CompressionType))
def test_recordings_that_other_writers_packed_are_read(tmp_path: Path, compression: CompressionType) -> None:
    """Not packed, lz4 or zstd, as tools that copy a recording may leave it; in blocks larger than ours."""
    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file, chunk_size=4 << 20, compression=compression)
        writer.start()
        writer.add_metadata("recording", {})
        channel = writer.register_channel("/wire/received", "firmware-bridge", 0)
        for number in range(6000):
            writer.add_message(channel, log_time=number, data=bytes([number % 256]) * 1000, publish_time=number)
        writer.finish()
    recording = open_recording(tmp_path / "x.mcap")
    assert [chunk.t_ns for chunk in recording.chunks()] == list(range(6000))
    assert (recording.cut, recording.span()) == ("", (0, 5999))


@pytest.mark.parametrize(
    "inner",
    [
        lambda: record(5, b"short"),
        lambda: record(5, bytes(22), 1 << 40),
        lambda: record(4, b"\x01\x00\x01\x00" + struct.pack("<I", 1 << 31) + b"x"),
        lambda: b"\x05",
    ],
    ids=["no head", "too long", "a name without end", "half a record"],
)
def test_a_block_with_broken_records_is_damage(tmp_path: Path, inner: Callable[[], bytes]) -> None:
    """Whatever stands in a block, reading ends with a sentence and what was before."""
    recording = open_recording(with_records(tmp_path / "x.mcap", block("", inner(), len(inner()))))
    assert [chunk.data for chunk in recording.chunks()] == [b"first"]
    assert "a block of it is damaged" in recording.cut


def test_an_index_that_lies_has_no_span(tmp_path: Path) -> None:
    """Whatever bytes of the end are changed, the span is there or None."""
    path = with_records(tmp_path / "x.mcap")
    data = path.read_bytes()
    for at in range(len(data) - 400, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            recording = open_recording(path)
        except RecordingError:
            continue
        span = recording.span()
        assert span is None or len(span) == 2
