"""The file format of recordings, MCAP: channels of messages in compressed blocks, readable as far as it was written.

Rule: `contents.py` decides what is in a message, the recorder what waits and what is left out; here are only the
file's own records. Every channel has a schema (id not 0, which some viewers refuse to open).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mcap.exceptions import EndOfFile, McapError
from mcap.reader import make_reader
from mcap.records import Attachment, Channel, Chunk, Footer, Message, Metadata
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import CompressionType, Writer

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.contents import json_bytes

METADATA, SUMMARY = "recording", "summary"  # names of the metadata records at the file's beginning and end
WIRE_ENCODING = "firmware-bridge"  # of the raw channels and of their schema
WIRE_SCHEMA = "firmware_bridge.wire"
WIRE_TEXT = b"The bytes of one read from the port, or of one write to it, as they were on the line."

MAGIC = b"\x89MCAP0\r\n"  # a file begins and ends with it
LONGEST_RECORD = 1 << 30  # bytes; a longer length is damage, not data


class McapWriter:
    """A file in the making. Raises RecordingError if it cannot be begun; later methods raise OSError, as a disk does.

    `metadata` and `attachments` are written at once, before any message.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str], attachments: Mapping[str, bytes]) -> None:
        self._channels: dict[tuple[str, ...], int] = {}
        self._wire_schema = 0
        try:
            self.file: BinaryIO = path.open("xb")
        except FileExistsError:
            raise RecordingError(
                f"{path} exists already; a recording never overwrites a file. Name another one."
            ) from None
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error
        self._writer = Writer(self.file, compression=CompressionType.LZ4)
        try:
            self._writer.start(profile="", library="edge-lstm firmware_bridge")
            self._writer.add_metadata(METADATA, dict(metadata))
            for name, data in attachments.items():
                self._writer.add_attachment(0, 0, name, "application/octet-stream", data)
            self.flush()
        except OSError as error:
            self.abandon()
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error

    def raw_channel(self, topic: str) -> int:
        """The channel of a topic whose messages are bytes of the line."""
        key = (topic,)
        if key not in self._channels:
            if not self._wire_schema:
                self._wire_schema = self._writer.register_schema(WIRE_SCHEMA, WIRE_ENCODING, WIRE_TEXT)
            self._channels[key] = self._writer.register_channel(topic, WIRE_ENCODING, self._wire_schema)
        return self._channels[key]

    def json_channel(self, topic: str, schema: Mapping[str, Any]) -> int:
        """The channel of a topic; one that gets other properties becomes another channel of the same topic."""
        key = (topic, *schema["properties"])
        if key not in self._channels:
            name = topic.strip("/").replace("/", ".")
            schema_id = self._writer.register_schema(name, "jsonschema", json_bytes(schema))
            self._channels[key] = self._writer.register_channel(topic, "json", schema_id)
        return self._channels[key]

    def add(self, channel: int, t_ns: int, data: bytes) -> None:
        """One message. Raises ValueError for a time that the file cannot hold, before a byte of it is in the block."""
        if not 0 <= t_ns < 1 << 64:
            raise ValueError(f"the time {t_ns} ns is outside 64 bits")
        self._writer.add_message(channel, log_time=t_ns, data=data, publish_time=t_ns)

    def flush(self) -> None:
        """Hand everything to the system: what is in the file from now on is readable after a crash of this program."""
        self._writer.flush()  # type: ignore[no-untyped-call]

    def finish(self, summary: Mapping[str, str]) -> None:
        """The summary and the index; then the file is closed."""
        self._writer.add_metadata(SUMMARY, dict(summary))
        self._writer.finish()  # type: ignore[no-untyped-call]
        self.file.close()

    def abandon(self) -> None:
        """Close the file as it is, without an index. Raises nothing."""
        with contextlib.suppress(OSError):
            self.file.close()


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
            if isinstance(outer, Chunk):
                try:
                    inner = breakup_chunk(outer, validate_crc=True)
                except (McapError, ValueError, RuntimeError, struct.error) as error:
                    self.cut, self.damaged = f"a block of it is damaged ({error})", True
                    return
            else:
                inner = [outer]
            for record in inner:
                if isinstance(record, Channel):
                    names[record.id] = record.topic
                elif isinstance(record, Message):
                    topic = names.get(record.channel_id)
                    if topic is None:
                        where = f"a message at t_ns {record.log_time}"
                        self.cut, self.damaged = f"{where} of it is of a channel that it does not declare", True
                        return
                    if topics is None or topic in topics:
                        yield topic, record.log_time, record.data

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
                summary = make_reader(file).get_summary()
        except (McapError, OSError, ValueError, LookupError, RuntimeError, struct.error):  # a damaged index
            return None
        found = summary.statistics if summary else None
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
            try:
                reader = StreamReader(_Exact(file), emit_chunks=True, record_size_limit=LONGEST_RECORD)  # type: ignore[arg-type]
                for record in reader.records:
                    whole = isinstance(record, Footer)
                    yield record
            except EndOfFile:
                self.cut = "" if whole else f"it ends after {file.tell()} bytes without an index, as after a power cut"
                if not whole and _has_end(file):
                    self.cut, self.damaged = "a record of it gives a length beyond the file's end", True
            except (McapError, ValueError, struct.error) as error:
                self.cut, self.damaged = f"it is damaged before byte {file.tell()} ({error})", True


def _has_end(file: BinaryIO) -> bool:
    """Whether the file's last bytes are those of a recording that was finished."""
    size = file.seek(0, 2)
    file.seek(max(0, size - len(MAGIC)))
    return size > len(MAGIC) and file.read() == MAGIC


class _Exact:
    """A file whose reads give all the bytes asked for, or say that the file has ended."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EndOfFile
        return data
