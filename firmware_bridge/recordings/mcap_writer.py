"""The file format of recordings, MCAP, written: channels of messages in compressed blocks, and an index at the end.

Its rule: `contents.py` decides what is in a message, the recorder what waits and what is left out; here are only the
file's own records (mcap.dev/spec). Every channel has a schema (id not 0, which some viewers refuse to open). Weeks do
not grow it: the index of the blocks waits in a file without a name on the same disk, 150 bytes a block, and is copied
to the end when the recording is closed; memory holds the channels and the block in the making. A file in the making is
locked (flock), so that nobody takes it for an old one.

Never: change a byte that is written. A file that ends anywhere is readable up to its last whole block; what `sync` has
returned for survives a power cut, the file's name included.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import BinaryIO, cast

import lz4.frame
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Attachment,
    AttachmentIndex,
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.cdr import Layout, ros_names, type_name
from firmware_bridge.recordings.contents import EVENTS, WIRE, encodings

MAGIC = b"\x89MCAP0\r\n"  # a file begins and ends with it
METADATA, SUMMARY = "recording", "summary"  # names of the metadata records at the file's beginning and end
WIRE_SCHEMA = "firmware_bridge.wire"
WIRE_TEXT = (
    b"The bytes of one read from the port, or of one write to it, as they were on the line;"
    b" or one call of a model by a program's own loop."
)

BLOCK_BYTES = 1 << 20  # unpacked; then the block is written
BLOCK_NS = 500_000_000  # of the messages' time; then too, so that a day has no more than 172,800 blocks and an index
MOST_CHANNELS = 1000  # a robot that declares other formats again and again must not fill the memory
COPIED = 1 << 20  # bytes of the index at a time

_MESSAGE = struct.Struct("<BQHIQQ").pack  # opcode, length of what follows, channel, sequence, log time, publish time
_BLOCK = struct.Struct("<BQQQQII")  # opcode, length, first and last time, size, CRC, length of the packer's name
_INDEX = struct.Struct("<BQHI")  # opcode, length, channel, bytes of (time, offset) pairs
# Name → what MCAP calls it, and what packs a block, without holding up the interpreter.
PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "lz4": ("lz4", lz4.frame.compress),
    "zstd": ("zstd", lambda data: zstandard.ZstdCompressor(1).compress(data)),
    "none": ("", bytes),
}


class McapWriter:
    """A file in the making. Raises RecordingError if it cannot be begun; later methods raise OSError, as a disk does.

    `metadata` and `attachments` are written at once, before any message. compression: a key of PACKERS.
    """

    def __init__(
        self, path: Path, metadata: Mapping[str, str], attachments: Mapping[str, bytes], compression: str = "lz4"
    ) -> None:
        self._compression, self._pack = PACKERS[compression]
        self._ids: dict[tuple[str, bytes], int] = {}  # (topic, schema) → channel
        self._schemas: dict[tuple[str, bytes], Schema] = {}
        self._channels: list[Channel] = []
        self._attachments: list[AttachmentIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._counts: dict[int, int] = defaultdict(int)  # channel → messages in the file
        self._blocks = 0
        self._span: tuple[int, int] | None = None  # first and last time of a message
        self._at = 0  # the file's length
        self._whole = 0  # as far as it can be read, whatever follows
        self._first_ns = -BLOCK_NS  # time of the block's first message
        self._times: dict[int, list[int]] = defaultdict(list)  # channel → time, offset, time, offset … in the block
        self._latest: dict[str, tuple[bytes, int, list[int]]] = {}  # topic → schema, channel and its list
        self._block = bytearray()  # unpacked records
        self._files = contextlib.ExitStack()
        try:
            self.file: FileIO = self._files.enter_context(path.open("xb", buffering=0))
        except FileExistsError:
            raise RecordingError(
                f"{path} exists already; a recording never overwrites a file. Name another one."
            ) from None
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error
        self._begun = os.fstat(self.file.fileno())
        try:
            self._index = self._files.enter_context(_nameless(path.parent))
            self._write(MAGIC + _bytes(Header("", "edge-lstm firmware_bridge")))
            self._add_metadata(METADATA, metadata)
            for name, data in attachments.items():
                self._add_attachment(name, data)
            self._whole = self._at
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.sync()
            sync_folder(path.parent)
        except OSError as error:
            self.abandon()
            path.unlink(missing_ok=True)  # or it would stand in the way of the next attempt
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error

    def add(self, topic: str, schema: bytes, t_ns: int, data: bytes) -> None:
        """One message, as `contents.Message` says. Raises struct.error for a time that the file cannot hold, ValueError
        where there are too many channels; then no byte of it is in the block."""
        block = self._block
        if len(block) >= BLOCK_BYTES or not -BLOCK_NS < t_ns - self._first_ns < BLOCK_NS:
            self._end_block()
            block, self._first_ns = self._block, t_ns
        latest = self._latest.get(topic)
        if latest is None or latest[0] is not schema:
            number = self._ids.get((topic, schema)) or self._channel(topic, schema)
            latest = self._latest[topic] = (schema, number, self._times[number])
        head = _MESSAGE(5, 22 + len(data), latest[1], 0, t_ns, t_ns)
        latest[2].extend((t_ns, len(block)))
        block += head
        block += data

    def _channel(self, topic: str, schema: bytes) -> int:
        """A new channel, and its schema where no other channel has it."""
        if len(self._channels) >= MOST_CHANNELS and topic != EVENTS and not topic.startswith(WIRE):
            raise ValueError(f"there are {MOST_CHANNELS} channels, and no more are made")
        kind, encoding = encodings(schema)
        known = self._schemas.get((topic if schema else "", schema))
        metadata: dict[str, str] = {}
        if encoding == "cdr":
            metadata = _true_names(Layout.read(schema))
        if known is None:
            known = Schema(id=len(self._schemas) + 1, name=WIRE_SCHEMA, encoding=kind, data=schema or WIRE_TEXT)
            if schema:
                number = sum(of == topic for of, _ in self._schemas) + 1
                json_name = topic.strip("/").replace("/", ".")
                known.name = type_name(topic, number) if encoding == "cdr" else json_name
            self._schemas[topic if schema else "", schema] = known
            self._block += _bytes(known)
        number = self._ids[topic, schema] = len(self._channels) + 1
        made = Channel(id=number, topic=topic, message_encoding=encoding, metadata=metadata, schema_id=known.id)
        self._channels.append(made)
        self._block += _bytes(made)
        return number

    def flush(self) -> None:
        """Hand everything to the system: what is in the file from now on is readable after a crash of this program."""
        self._end_block()

    def sync(self) -> None:
        """Wait until the disk has what was handed over: it is readable after a power cut."""
        getattr(os, "fdatasync", os.fsync)(self.file.fileno())

    @property
    def length(self) -> int:
        """Bytes in the file."""
        return self._at

    @property
    def waiting(self) -> int:
        """Messages in the block in the making: they are not in the file yet."""
        return sum(map(len, self._times.values())) // 2

    def finish(self, summary: Mapping[str, str]) -> None:
        """The summary and the index; then the file is closed."""
        self._end_block()
        self._add_metadata(SUMMARY, summary)
        self._write(_bytes(DataEnd(data_section_crc=0)))
        start, crc = self._at, 0
        offsets: list[McapRecord] = []
        for opcode, pieces in self._summary():
            at = self._at
            for piece in pieces:
                self._write(piece)
                crc = zlib.crc32(piece, crc)
            if self._at > at:
                offsets.append(SummaryOffset(opcode, at, self._at - at))
        offsets_start = self._at
        tail = _bytes(*offsets)
        footer = _bytes(Footer(start, offsets_start, 0))[:-4]  # without its checksum, which covers it
        self._write(tail + footer + struct.pack("<I", zlib.crc32(footer, zlib.crc32(tail, crc))) + MAGIC)
        self.sync()
        self._files.close()

    def abandon(self) -> None:
        """Close the file without an index, and without a block that is half written. Raises nothing."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.file.fileno(), self._whole)
        with contextlib.suppress(OSError):
            self._files.close()

    def is_at(self, path: Path) -> bool:
        """Whether what this path names is still the file that was begun."""
        try:
            return os.path.samestat(path.stat(), self._begun)
        except OSError:
            return False

    def _write(self, data: bytes) -> None:
        self._at += len(data)
        left = memoryview(data)
        while left:
            left = left[self.file.write(left) :]

    def _add_metadata(self, name: str, texts: Mapping[str, str]) -> None:
        data = _bytes(Metadata(name=name, metadata=dict(texts)))
        self._metadata.append(MetadataIndex(offset=self._at, length=len(data), name=name))
        self._write(data)

    def _add_attachment(self, name: str, data: bytes) -> None:
        kind = "application/octet-stream"
        record = _bytes(Attachment(create_time=0, log_time=0, name=name, media_type=kind, data=data))
        self._attachments.append(AttachmentIndex(self._at, len(record), 0, 0, len(data), name, kind))
        self._write(record)

    def _end_block(self) -> None:
        """Write the block, then where its messages are; keep for later where the block is."""
        found = {channel: times for channel, times in self._times.items() if times}
        if not found:
            return  # channels alone wait for their first message
        least = min(min(times[::2]) for times in found.values())
        most, size = max(max(times[::2]) for times in found.values()), len(self._block)
        packed, name = self._pack(bytes(self._block)), self._compression.encode()
        length = _BLOCK.size - 9 + len(name) + 8 + len(packed)
        head = _BLOCK.pack(Opcode.CHUNK, length, least, most, size, zlib.crc32(self._block), len(name))
        pieces = [head, name, len(packed).to_bytes(8, "little"), packed]
        start, places = self._at, {}
        at = indexed = start + sum(map(len, pieces))
        for channel, times in found.items():
            places[channel] = at
            self._counts[channel] += len(times) // 2
            pairs = struct.pack(f"<{len(times)}Q", *times)
            pieces += (_INDEX.pack(Opcode.MESSAGE_INDEX, 6 + len(pairs), channel, len(pairs)), pairs)
            at += _INDEX.size + len(pairs)
        self._write(b"".join(pieces))
        self._whole = self._at
        record = ChunkIndex(
            chunk_length=indexed - start,
            chunk_start_offset=start,
            compression=self._compression,
            compressed_size=len(packed),
            message_end_time=most,
            message_index_length=self._at - indexed,
            message_index_offsets=places,
            message_start_time=least,
            uncompressed_size=size,
        )
        self._index.write(_bytes(record))
        self._blocks += 1
        self._span = (least, most) if self._span is None else (min(self._span[0], least), max(self._span[1], most))
        self._block, self._first_ns = bytearray(), -BLOCK_NS
        for times in found.values():
            times.clear()

    def _summary(self) -> Iterator[tuple[int, Iterable[bytes]]]:
        """The index's groups of records: the opcode that all of one have, and their bytes."""
        first, last = self._span or (0, 0)
        statistics = Statistics(
            attachment_count=len(self._attachments),
            channel_count=len(self._channels),
            channel_message_counts=self._counts,
            chunk_count=self._blocks,
            message_count=sum(self._counts.values()),
            message_end_time=last,
            message_start_time=first,
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )
        yield Opcode.SCHEMA, [_bytes(*self._schemas.values())]
        yield Opcode.CHANNEL, [_bytes(*self._channels)]
        yield Opcode.STATISTICS, [_bytes(statistics)]
        yield Opcode.CHUNK_INDEX, self._kept_index()
        yield Opcode.ATTACHMENT_INDEX, [_bytes(*self._attachments)]
        yield Opcode.METADATA_INDEX, [_bytes(*self._metadata)]

    def _kept_index(self) -> Iterator[bytes]:
        self._index.seek(0)
        while piece := self._index.read(COPIED):
            yield piece


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in it. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _true_names(layout: Layout) -> dict[str, str]:
    """Of the fields in ROS's words: the names in ours, and the units."""
    names = ros_names(layout.names)
    units = {f"{ros}.unit": unit for ros, unit in zip(names, layout.units, strict=True) if unit}
    return dict(zip(names, layout.names, strict=True)) | units


def _nameless(folder: Path) -> BinaryIO:
    """A file that is gone when it is closed, however this program ends."""
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


def _bytes(*records: McapRecord) -> bytes:
    """Records as they stand in a file."""
    builder = RecordBuilder()
    for record in records:
        record.write(builder)
    data: bytes = builder.end()  # type: ignore[no-untyped-call]
    return data
