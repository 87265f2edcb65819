"""The file format of recordings, MCAP, read: as far as it was written, and no further than memory and time allow.

Its rule: a file may come from a stranger. Nothing is unpacked, read or counted beyond the limits below, whatever the
file says of itself; what is beyond them is damage, and a file gives what stands before its damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.records import Attachment as Attachment
from mcap.records import Channel as Channel
from mcap.records import Chunk, Statistics, SummaryOffset
from mcap.records import Message as Message
from mcap.records import Metadata as Metadata
from mcap.records import Schema as Schema

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.contents import WIRE_ENCODING
from firmware_bridge.recordings.mcap_writer import MAGIC, METADATA, SUMMARY

LONGEST_RECORD = 256 << 20  # bytes; a longer length is damage, not data
LONGEST_BLOCK = 16 << 20  # bytes unpacked: 16 times ours, 4 times the largest that a common writer makes unasked
_HEAD = struct.Struct("<BQ")  # opcode, length of what follows
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_FOOTER = struct.Struct("<BQQQI8s")  # opcode, length, start of the summary, of its offsets, its CRC, the magic
_BLOCK = struct.Struct("<QQQII")  # of a block: first and last time, size, CRC, length of the packer's name
_PLACE = struct.Struct("<QQQQI")  # of a block's place in the index: first and last time, offset, length, bytes of a map
_CHANNEL_AT = struct.Struct("<HQ")  # of that map: channel, where its messages are


class Kind(NamedTuple):
    """What the messages of a channel are. schema: as `Message.schema`."""

    topic: str
    encoding: str
    schema: bytes


class Block(NamedTuple):
    """Where messages stand together. at: in the file; channels: of these messages."""

    at: int
    first_ns: int
    last_ns: int
    channels: tuple[int, ...]


class McapFile:
    """Any MCAP on disk, whole or cut off; each iterator reads it afresh.

    `cut` says why the file ends early, "" if it is whole; it is found out by the first iterator that gets to the end.
    `damaged`: not only the end is missing, as it is after a power cut, so what followed is unknown.
    """

    def __init__(self, path: Path, longest_block: int = LONGEST_BLOCK) -> None:
        """longest_block: bytes of a block unpacked."""
        self.path = path
        self.cut = ""
        self.damaged = False
        self._longest_block = longest_block

    def contents(self) -> Iterator[Any]:
        """Schemas, channels, messages, metadata and attachments, in the order in which they were written. Raises
        RecordingError where there is no file."""
        for _at, record in self._records():
            if not isinstance(record, Chunk):
                yield record
                continue
            try:
                yield from _unpacked(record, self._longest_block)
            except _BAD as error:
                self.cut, self.damaged = f"a block of it is damaged ({error})", True
                return

    def is_begun(self) -> bool:
        """Whether anything but the end of a head is missing in it. RecordingError: it cannot be read."""
        for _at, record in self._records():
            if not isinstance(record, (Metadata, Attachment)):
                return True
        return not self.cut or self.damaged

    def statistics(self) -> Statistics | None:
        """How many messages each channel has, by the file's index; None if it was cut off before it was written."""
        try:
            with self.path.open("rb") as file:
                return _statistics(file)
        except (*_BAD, OSError):  # a damaged index
            return None

    def _records(self, start: int = 0) -> Iterator[tuple[int, Any]]:
        """(offset, record) of the file, from an offset up to its end, or to where it is cut off."""
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise RecordingError(f"{self.path} cannot be read: {error.strerror}.") from error
        whole = False
        with file:
            source = _Exact(file)
            try:
                if source.read(len(MAGIC)) != MAGIC:
                    raise ValueError("it does not begin as MCAP")
                if start:
                    source.skip(start - len(MAGIC))
                while not whole:
                    at = file.tell()
                    opcode, length = _HEAD.unpack(source.read(_HEAD.size))
                    kind = _READ.get(opcode)
                    if not opcode:  # a file system that has promised a length and was cut off before it wrote
                        raise EndOfFile
                    if kind is None:
                        source.skip(length)  # the index's, or a later version's
                    elif length > LONGEST_RECORD:
                        raise ValueError(f"a record of it is longer than {LONGEST_RECORD >> 20} MiB")
                    else:
                        yield at, _parsed(kind, opcode, source.read(length))
                    whole = opcode == Opcode.FOOTER
            except EndOfFile:
                self.cut = f"it ends after {file.tell()} bytes without an index, as after a power cut"
                if _has_end(file):
                    self.cut, self.damaged = "a record of it gives a length beyond the file's end", True
            except _BAD as error:
                self.cut, self.damaged = f"it is damaged before byte {file.tell()} ({error})", True


class McapReader(McapFile):
    """A recording on disk, in the order in which it was written.

    `metadata` and `attachments` are what the writer was given. Raises RecordingError for a file that is no recording.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.metadata: dict[str, str] = {}
        self.attachments: dict[str, bytes] = {}
        self._index: tuple[list[Block], dict[int, Kind]] | None = None
        self._read_head()

    def messages(self, topics: set[str] | None) -> Iterator[tuple[str, int, bytes]]:
        """(topic, t_ns, data) of every message on these topics; None: on all."""
        return ((kind.topic, t_ns, data) for kind, t_ns, data, _at in self.read(topics))

    def read(self, topics: set[str] | None, start: int = 0) -> Iterator[tuple[Kind, int, bytes, int]]:
        """(kind, t_ns, data, where its block is) of the same, from the block there on; 0: from the first on."""
        kinds = dict(self.index()[1]) if start else {}
        schemas: dict[int, bytes] = {}
        for at, outer in self._records(start):
            try:
                for record in _unpacked(outer, self._longest_block) if isinstance(outer, Chunk) else (outer,):
                    if isinstance(record, Message):
                        kind = kinds.get(record.channel_id)
                        if kind is None:
                            where = f"a message at t_ns {record.log_time}"
                            self.cut, self.damaged = f"{where} of it is of a channel that it does not declare", True
                            return
                        if topics is None or kind.topic in topics:
                            yield kind, record.log_time, record.data, at
                    else:
                        _declare(record, schemas, kinds)
            except _BAD as error:
                self.cut, self.damaged = f"a block of it is damaged ({error})", True
                return

    def index(self) -> tuple[list[Block], dict[int, Kind]]:
        """Where all blocks are, and what channels there are, without unpacking what is not needed for it: from the
        file's end, or block by block where it has none."""
        if self._index is None:
            try:
                with self.path.open("rb") as file:
                    self._index = _summary_index(file) or self._walk(file)
            except OSError as error:
                raise RecordingError(f"{self.path} cannot be read: {error.strerror}.") from error
        return self._index

    def _walk(self, file: BinaryIO) -> tuple[list[Block], dict[int, Kind]]:
        """The index of a file that was cut off, as far as it is whole."""
        found: list[tuple[Block, int, set[int]]] = []  # each with its record's length and its channels
        size, at = file.seek(0, 2), len(MAGIC)
        while at + _HEAD.size <= size:
            file.seek(at)
            opcode, length = _HEAD.unpack(file.read(_HEAD.size))
            if at + _HEAD.size + length > size or opcode in (0, Opcode.DATA_END):
                break
            if opcode == Opcode.MESSAGE_INDEX and found and length >= 2:
                found[-1][2].add(int.from_bytes(file.read(2), "little"))
            elif opcode == Opcode.CHUNK and _BLOCK.size <= length <= LONGEST_RECORD:
                first_ns, last_ns, *_ = _BLOCK.unpack(file.read(_BLOCK.size))
                found.append((Block(at, first_ns, last_ns, ()), length, set()))
            at += _HEAD.size + length
        blocks: list[Block] = []
        schemas: dict[int, bytes] = {}
        kinds: dict[int, Kind] = {}
        try:
            for block, length, channels in found:
                if not channels <= kinds.keys():
                    file.seek(block.at + _HEAD.size)
                    for record in _unpacked(_parsed(Chunk, Opcode.CHUNK, file.read(length)), self._longest_block):
                        _declare(record, schemas, kinds)
                blocks.append(block._replace(channels=tuple(channels)))
        except _BAD:
            pass  # what stands before the damage
        return blocks, kinds

    def summary(self) -> dict[str, str] | None:
        """The texts that the writer put at the end; None if the file was cut off before that."""
        for _at, record in self._records():
            if isinstance(record, Metadata) and record.name == SUMMARY:
                return dict(record.metadata)
        return None

    def span(self) -> tuple[int, int] | None:
        """The first and the last t_ns, from the file's index; None if it was cut off before the index was written."""
        found = self.statistics()
        return (found.message_start_time, found.message_end_time) if found else None

    def _read_head(self) -> None:
        """Metadata and attachments stand before the first message."""
        found = False
        for _at, record in self._records():
            if isinstance(record, Metadata) and record.name == METADATA:
                self.metadata = dict(record.metadata)
                found = True
            elif isinstance(record, Attachment):
                self.attachments[record.name] = record.data
            elif isinstance(record, (Chunk, Schema, Channel, Message)):
                break
        if not found:
            raise RecordingError(
                f"{self.path} is not a recording of this program, or it was cut off before its first second"
                f"{': ' + self.cut if self.cut else ''}."
            )


def _has_end(file: BinaryIO) -> bool:
    """Whether the file's last bytes are those of a recording that was finished."""
    size = file.seek(0, 2)
    file.seek(max(0, size - len(MAGIC)))
    return size > len(MAGIC) and file.read() == MAGIC


def _parsed(kind: Any, opcode: int, data: bytes) -> Any:
    """A record of the opcode that mcap reads as `kind`. Raises one of _BAD where it is longer than it says."""
    stream = ReadDataStream(_Exact(BytesIO(data)))  # type: ignore[arg-type]
    try:
        return kind.read(stream, len(data)) if opcode == Opcode.MESSAGE else kind.read(stream)
    except EndOfFile:
        raise ValueError("a record of it is shorter than what it holds") from None


def _declare(record: Any, schemas: dict[int, bytes], kinds: dict[int, Kind]) -> None:
    """Take note of a schema or a channel."""
    if isinstance(record, Schema):
        schemas[record.id] = record.data
    elif isinstance(record, Channel):
        raw = record.message_encoding == WIRE_ENCODING  # its schema is a sentence
        schema = b"" if raw else schemas.get(record.schema_id, b"")
        kinds[record.id] = Kind(record.topic, record.message_encoding, schema)


def _unpacked(block: Chunk, longest: int) -> Iterator[Schema | Channel | Message]:
    """The schemas, channels and messages of a block. Raises one of _BAD for a block that is damaged or too long."""
    data = _content(block, longest)
    if block.uncompressed_crc and zlib.crc32(data) != block.uncompressed_crc:
        raise ValueError("its checksum is another")
    at, end = 0, len(data)
    while at < end:
        opcode, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if length > end - at:
            raise ValueError("a record of it is longer than itself")
        if opcode == Opcode.MESSAGE:
            channel, sequence, t_ns, published_ns = _MESSAGE.unpack_from(data, at)
            if length < _MESSAGE.size:
                raise ValueError("a message of it has no head")
            yield Message(channel, t_ns, data[at + _MESSAGE.size : at + length], published_ns, sequence)
        elif opcode in (Opcode.CHANNEL, Opcode.SCHEMA):
            yield _parsed(_READ[opcode], opcode, data[at : at + length])
        at += length


def _content(block: Chunk, longest: int) -> bytes:
    """A block's records, unpacked as far as it declares, which is `longest` at most."""
    most = block.uncompressed_size
    if most > longest:
        raise ValueError(f"it would be more than {longest >> 20} MiB unpacked")
    if block.compression == "":
        data = block.data
    elif block.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(block.data, most + 1)
    elif block.compression == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(block.data) as stream:
            data = stream.read(most + 1)
    else:
        raise ValueError(f"it is packed as {block.compression!r:.40}, which is unknown")
    if len(data) != most:
        raise ValueError(f"its length is not the {most} bytes that it declares")
    return data


def _groups(file: BinaryIO) -> dict[int, tuple[int, int]] | None:
    """Opcode → (offset, length) of the index's groups of records, in a file that was finished. Raises one of _BAD."""
    size = file.seek(0, 2)
    if size < _FOOTER.size:
        return None
    file.seek(size - _FOOTER.size)
    opcode, _length, _start, offsets, _crc, magic = _FOOTER.unpack(file.read(_FOOTER.size))
    if (opcode, magic) != (Opcode.FOOTER, MAGIC) or not 0 < offsets <= size:
        return None
    file.seek(offsets)
    source = _Exact(file)
    found: dict[int, tuple[int, int]] = {}
    while True:  # ends with the footer at the latest
        opcode, length = _HEAD.unpack(source.read(_HEAD.size))
        if opcode != Opcode.SUMMARY_OFFSET:
            return found
        place = _parsed(SummaryOffset, opcode, source.read(length))
        found[place.group_opcode] = (min(place.group_start, size), place.group_length)


def _group(file: BinaryIO, opcode: int, place: tuple[int, int]) -> Iterator[bytes]:
    """The records of one group. Raises one of _BAD."""
    file.seek(place[0])
    source = _Exact(file)
    data = source.read(min(place[1], LONGEST_RECORD))
    at = 0
    while at < len(data):
        found, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if found != opcode or length > len(data) - at:
            raise ValueError("its index is damaged")
        yield data[at : at + length]
        at += length


def _statistics(file: BinaryIO) -> Statistics | None:
    """The statistics of a file that was finished, found without its index of blocks, which is 26 MB a day."""
    groups = _groups(file)
    if not groups or Opcode.STATISTICS not in groups:
        return None
    for data in _group(file, Opcode.STATISTICS, groups[Opcode.STATISTICS]):
        record = _parsed(Statistics, Opcode.STATISTICS, data)
        return record if isinstance(record, Statistics) else None
    return None


def _summary_index(file: BinaryIO) -> tuple[list[Block], dict[int, Kind]] | None:
    """From the end of a file that was finished; None where there is none, or it is damaged."""
    blocks: list[Block] = []
    schemas: dict[int, bytes] = {}
    kinds: dict[int, Kind] = {}
    try:
        groups = _groups(file)
        if not groups or Opcode.CHUNK_INDEX not in groups:
            return None
        for opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            for data in _group(file, opcode, groups.get(opcode, (0, 0))):
                _declare(_parsed(_READ[opcode], opcode, data), schemas, kinds)
        for data in _group(file, Opcode.CHUNK_INDEX, groups[Opcode.CHUNK_INDEX]):
            first_ns, last_ns, at, _length, size = _PLACE.unpack_from(data)
            places = _CHANNEL_AT.iter_unpack(data[_PLACE.size : _PLACE.size + size])
            blocks.append(Block(at, first_ns, last_ns, tuple([channel for channel, _ in places])))
    except _BAD:
        return None
    return blocks, kinds


class _Exact:
    """A file whose reads give all the bytes asked for, or say that the file has ended, before memory is taken."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        at = file.tell()
        self._left = file.seek(0, 2) - at
        file.seek(at)

    def read(self, size: int) -> bytes:
        self._take(size)
        return self._file.read(size)

    def skip(self, size: int) -> None:
        """Go past so many bytes."""
        self._take(size)
        self._file.seek(size, 1)

    def _take(self, size: int) -> None:
        if size > self._left:
            self._file.seek(0, 2)
            raise EndOfFile
        self._left -= size


# The records that are read; all others are skipped.
_READ: dict[int, Any] = {
    Opcode.ATTACHMENT: Attachment,
    Opcode.CHANNEL: Channel,
    Opcode.CHUNK: Chunk,
    Opcode.MESSAGE: Message,
    Opcode.METADATA: Metadata,
    Opcode.SCHEMA: Schema,
}
# What reading a damaged file raises; no MemoryError, as the limits are there to avoid it.
_BAD = (McapError, ValueError, LookupError, RuntimeError, EOFError, struct.error, zstandard.ZstdError)
