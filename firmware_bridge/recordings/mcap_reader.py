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
from typing import Any, BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.records import Attachment, Channel, Chunk, Message, Metadata, Statistics, SummaryOffset

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.mcap_writer import MAGIC, METADATA, SUMMARY

LONGEST_RECORD = 256 << 20  # bytes; a longer length is damage, not data
LONGEST_BLOCK = 16 << 20  # bytes unpacked: 16 times ours, 4 times the largest that a common writer makes unasked
_HEAD = struct.Struct("<BQ")  # opcode, length of what follows
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_FOOTER = struct.Struct("<BQQQI8s")  # opcode, length, start of the summary, of its offsets, its CRC, the magic


class McapReader:
    """A file on disk, whole or cut off. Each iterator reads it afresh, in the order in which it was written.

    `metadata` and `attachments` are what the writer was given. `cut` says why the file ends early, "" if it is whole;
    it is found out by the first iterator that gets to the end. `damaged`: not only the end is missing, as it is after a
    power cut, so what followed is unknown. Raises RecordingError for a file that is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, str] = {}
        self.attachments: dict[str, bytes] = {}
        self.cut = ""
        self.damaged = False
        self._read_head()

    def messages(self, topics: set[str] | None) -> Iterator[tuple[str, int, bytes]]:
        """(topic, t_ns, data) of every message on these topics; None: on all."""
        names: dict[int, str] = {}
        for outer in self._records():
            try:
                for record in _unpacked(outer) if isinstance(outer, Chunk) else (outer,):
                    if isinstance(record, Message):
                        topic = names.get(record.channel_id)
                        if topic is None:
                            where = f"a message at t_ns {record.log_time}"
                            self.cut, self.damaged = f"{where} of it is of a channel that it does not declare", True
                            return
                        if topics is None or topic in topics:
                            yield topic, record.log_time, record.data
                    elif isinstance(record, Channel):
                        names[record.id] = record.topic
            except _BAD as error:
                self.cut, self.damaged = f"a block of it is damaged ({error})", True
                return

    def summary(self) -> dict[str, str] | None:
        """The texts that the writer put at the end; None if the file was cut off before that."""
        for record in self._records():
            if isinstance(record, Metadata) and record.name == SUMMARY:
                return dict(record.metadata)
        return None

    def span(self) -> tuple[int, int] | None:
        """The first and the last t_ns, from the file's index; None if it was cut off before the index was written."""
        try:
            with self.path.open("rb") as file:
                found = _statistics(file)
        except (*_BAD, OSError):  # a damaged index
            return None
        return (found.message_start_time, found.message_end_time) if found else None

    def _read_head(self) -> None:
        """Metadata and attachments stand before the first message."""
        found = False
        for record in self._records():
            if isinstance(record, Metadata) and record.name == METADATA:
                self.metadata = dict(record.metadata)
                found = True
            elif isinstance(record, Attachment):
                self.attachments[record.name] = record.data
            elif isinstance(record, (Chunk, Channel, Message)):
                break
        if not found:
            raise RecordingError(
                f"{self.path} is not a recording of this program, or it was cut off before its first second"
                f"{': ' + self.cut if self.cut else ''}."
            )

    def _records(self) -> Iterator[Any]:
        """The file's records up to its end, or to where it is cut off."""
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
                while not whole:
                    opcode, length = _HEAD.unpack(source.read(_HEAD.size))
                    kind = _READ.get(opcode)
                    if kind is None:
                        source.skip(length)  # the index's, or a later version's
                    elif length > LONGEST_RECORD:
                        raise ValueError(f"a record of it is longer than {LONGEST_RECORD >> 20} MiB")
                    else:
                        yield _parsed(kind, opcode, source.read(length))
                    whole = opcode == Opcode.FOOTER
            except EndOfFile:
                self.cut = f"it ends after {file.tell()} bytes without an index, as after a power cut"
                if _has_end(file):
                    self.cut, self.damaged = "a record of it gives a length beyond the file's end", True
            except _BAD as error:
                self.cut, self.damaged = f"it is damaged before byte {file.tell()} ({error})", True


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


def _unpacked(block: Chunk) -> Iterator[Channel | Message]:
    """The channels and messages of a block. Raises one of _BAD for a block that is damaged or too long."""
    data = _content(block)
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
        elif opcode == Opcode.CHANNEL:
            yield _parsed(Channel, opcode, data[at : at + length])
        at += length


def _content(block: Chunk) -> bytes:
    """A block's records, unpacked as far as it declares, which is LONGEST_BLOCK at most."""
    most = block.uncompressed_size
    if most > LONGEST_BLOCK:
        raise ValueError(f"it would be more than {LONGEST_BLOCK >> 20} MiB unpacked")
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


def _statistics(file: BinaryIO) -> Statistics | None:
    """The statistics of a file that was finished, found without its index of blocks, which is 26 MB a day."""
    size = file.seek(0, 2)
    if size < _FOOTER.size:
        return None
    file.seek(size - _FOOTER.size)
    opcode, _length, _start, offsets, _crc, magic = _FOOTER.unpack(file.read(_FOOTER.size))
    if (opcode, magic) != (Opcode.FOOTER, MAGIC) or not 0 < offsets <= size:
        return None
    file.seek(offsets)
    source = _Exact(file)
    while True:  # ends with the footer at the latest
        opcode, length = _HEAD.unpack(source.read(_HEAD.size))
        if opcode != Opcode.SUMMARY_OFFSET:
            return None
        place = _parsed(SummaryOffset, opcode, source.read(length))
        if place.group_opcode == Opcode.STATISTICS:
            file.seek(min(place.group_start, size))
            source = _Exact(file)
            opcode, length = _HEAD.unpack(source.read(_HEAD.size))
            record = _parsed(Statistics, opcode, source.read(length)) if opcode == Opcode.STATISTICS else None
            return record if isinstance(record, Statistics) else None


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
}
# What reading a damaged file raises; no MemoryError, as the limits are there to avoid it.
_BAD = (McapError, ValueError, LookupError, RuntimeError, EOFError, struct.error, zstandard.ZstdError)
