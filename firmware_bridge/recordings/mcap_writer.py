"""The file format of recordings, MCAP, written: channels of messages in compressed blocks, and an index at the end.

Its rule: `contents.py` decides what is in a message, the recorder what waits and what is left out; here are only the
file's own records (mcap.dev/spec). Every channel has a schema (id not 0, which some viewers refuse to open). Weeks do
not grow it: the index of the blocks waits in a file without a name on the same disk, 150 bytes a block, and is copied
to the end when the recording is closed; memory holds the channels and the block in the making.

Never: change a byte that is written. A file that ends anywhere is readable up to its last whole block.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import lz4.frame
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
from firmware_bridge.recordings.contents import EVENTS, WIRE

MAGIC = b"\x89MCAP0\r\n"  # a file begins and ends with it
METADATA, SUMMARY = "recording", "summary"  # names of the metadata records at the file's beginning and end
WIRE_ENCODING = "firmware-bridge"  # of the raw channels and of their schema
WIRE_SCHEMA = "firmware_bridge.wire"
WIRE_TEXT = (
    b"The bytes of one read from the port, or of one write to it, as they were on the line;"
    b" or one call of a model by a program's own loop."
)

BLOCK_BYTES = 1 << 20  # unpacked; then the block is written
BLOCK_NS = 500_000_000  # of the messages' time; then too, so that a day has no more than 172,800 blocks and an index
MOST_CHANNELS = 1000  # a robot that declares other formats again and again must not fill the memory
COPIED = 1 << 20  # bytes of the index at a time

_MESSAGE = struct.Struct("<BQHIQQ")  # opcode, length of what follows, channel, sequence, log time, publish time
_BLOCK = struct.Struct("<BQQQQII3sQ")  # opcode, length, first and last time, size, CRC, "lz4" with its length, length
_INDEX = struct.Struct("<BQHI")  # opcode, length, channel, bytes of (time, offset) pairs


class McapWriter:
    """A file in the making. Raises RecordingError if it cannot be begun; later methods raise OSError, as a disk does.

    `metadata` and `attachments` are written at once, before any message.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str], attachments: Mapping[str, bytes]) -> None:
        self._ids: dict[tuple[str, bytes], int] = {}  # (topic, schema) → channel
        self._schemas: dict[tuple[str, bytes], Schema] = {}
        self._channels: list[Channel] = []
        self._attachments: list[AttachmentIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._counts: dict[int, int] = defaultdict(int)  # channel → messages in the file
        self._blocks = 0
        self._span: tuple[int, int] | None = None  # first and last time of a message
        self._at = 0  # the file's length
        self._first_ns = self._least_ns = self._most_ns = 0  # time of the block's first message; of all of them
        self._begin_block()
        self._files = contextlib.ExitStack()
        try:
            self.file: BinaryIO = self._files.enter_context(path.open("xb"))
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
            self.file.flush()
        except OSError as error:
            self.abandon()
            path.unlink(missing_ok=True)  # or it would stand in the way of the next attempt
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error

    def add(self, topic: str, schema: bytes, t_ns: int, data: bytes) -> None:
        """One message: JSON of this schema, or bytes of the line where it is empty. Raises ValueError, before a byte of
        it is in the block, for a time that the file cannot hold, or where there are too many channels."""
        if not 0 <= t_ns < 1 << 64:
            raise ValueError(f"the time {t_ns} ns is outside 64 bits")
        if self._times and (len(self._block) >= BLOCK_BYTES or abs(t_ns - self._first_ns) >= BLOCK_NS):
            self._end_block()
        channel = self._ids.get((topic, schema)) or self._channel(topic, schema)
        if not self._times:
            self._first_ns = self._least_ns = self._most_ns = t_ns
        elif t_ns < self._least_ns:
            self._least_ns = t_ns
        elif t_ns > self._most_ns:
            self._most_ns = t_ns
        times = self._times.get(channel)
        if times is None:
            times = self._times[channel] = []
        times += (t_ns, len(self._block))
        self._block += _MESSAGE.pack(Opcode.MESSAGE, 22 + len(data), channel, 0, t_ns, t_ns)
        self._block += data

    def _channel(self, topic: str, schema: bytes) -> int:
        """A new channel, and its schema where no other channel has it."""
        if len(self._channels) >= MOST_CHANNELS and topic != EVENTS and not topic.startswith(WIRE):
            raise ValueError(f"there are {MOST_CHANNELS} channels, and no more are made")
        name, encoding = (topic.strip("/").replace("/", "."), "json") if schema else (WIRE_SCHEMA, WIRE_ENCODING)
        kind = self._schemas.get((name, schema))
        if kind is None:
            number = len(self._schemas) + 1
            kind = Schema(id=number, name=name, encoding="jsonschema" if schema else encoding, data=schema or WIRE_TEXT)
            self._schemas[name, schema] = kind
            self._block += _bytes(kind)
        number = self._ids[topic, schema] = len(self._channels) + 1
        made = Channel(id=number, topic=topic, message_encoding=encoding, metadata={}, schema_id=kind.id)
        self._channels.append(made)
        self._block += _bytes(made)
        return number

    def flush(self) -> None:
        """Hand everything to the system: what is in the file from now on is readable after a crash of this program."""
        self._end_block()
        self.file.flush()

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
        self._files.close()

    def abandon(self) -> None:
        """Close the file as it is, without an index. Raises nothing."""
        with contextlib.suppress(OSError):
            self._files.close()

    def is_at(self, path: Path) -> bool:
        """Whether what this path names is still the file that was begun."""
        try:
            return os.path.samestat(path.stat(), self._begun)
        except OSError:
            return False

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self._at += len(data)

    def _add_metadata(self, name: str, texts: Mapping[str, str]) -> None:
        data = _bytes(Metadata(name=name, metadata=dict(texts)))
        self._metadata.append(MetadataIndex(offset=self._at, length=len(data), name=name))
        self._write(data)

    def _add_attachment(self, name: str, data: bytes) -> None:
        kind = "application/octet-stream"
        record = _bytes(Attachment(create_time=0, log_time=0, name=name, media_type=kind, data=data))
        self._attachments.append(AttachmentIndex(self._at, len(record), 0, 0, len(data), name, kind))
        self._write(record)

    def _begin_block(self) -> None:
        self._block = bytearray()  # unpacked records
        self._times: dict[int, list[int]] = {}  # channel → time, offset, time, offset … of its messages in the block

    def _end_block(self) -> None:
        """Write the block, then where its messages are; keep for later where the block is."""
        if not self._times:
            return  # channels alone wait for their first message
        least, most, size = self._least_ns, self._most_ns, len(self._block)
        packed = lz4.frame.compress(self._block)
        length = _BLOCK.size - 9 + len(packed)
        head = _BLOCK.pack(Opcode.CHUNK, length, least, most, size, zlib.crc32(self._block), 3, b"lz4", len(packed))
        start = self._at
        self._write(head + packed)
        indexed, places = self._at, {}
        for channel, times in self._times.items():
            places[channel] = self._at
            self._counts[channel] += len(times) // 2
            pairs = struct.pack(f"<{len(times)}Q", *times)
            self._write(_INDEX.pack(Opcode.MESSAGE_INDEX, 6 + len(pairs), channel, len(pairs)) + pairs)
        record = ChunkIndex(
            chunk_length=indexed - start,
            chunk_start_offset=start,
            compression="lz4",
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
        self._begin_block()

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
