"""Reading a recording, whole or cut off, and replaying it as a port.

Rule: chunks come back exactly as they were recorded (time, bytes, silence, link), in the order in which they were
received; so whatever is a function of the chunks comes back bit by bit. A file that ends early gives all that it holds
and says where it ended.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mcap.exceptions import EndOfFile, McapError
from mcap.reader import make_reader
from mcap.records import Attachment, Channel, Footer, Message, Metadata
from mcap.records import Chunk as McapChunk
from mcap.stream_reader import StreamReader, breakup_chunk

from firmware_bridge.errors import RecordingError
from firmware_bridge.messages import Chunk
from firmware_bridge.ports.serial_port import Pacer, PortStats
from firmware_bridge.recordings.recorder import LINK, METADATA, RECEIVED, SENT, SUMMARY, UNSENT, Recorder

__all__ = ["Recorder", "Recording", "RecordingPort", "open_recording"]

MAGIC = b"\x89MCAP0\r\n"  # a file begins and ends with it
LONGEST_RECORD = 1 << 30  # bytes; a length beyond this is damage, not data


class Recording:
    """A recording on disk. Each iterator reads the file afresh, in the order in which it was written.

    `metadata` and `attachments` are what the recorder was given. `cut` says why the file ends early, "" if it is whole;
    it is found out by the first iterator that gets to the end. `damaged`: not only the end is missing, as
    it is after a power cut, so what followed is unknown.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.metadata: dict[str, str] = {}
        self.attachments: dict[str, bytes] = {}
        self.cut = ""
        self.damaged = False
        self._read_head()

    def chunks(self) -> Iterator[Chunk]:
        """What the port gave, as it gave it."""
        for topic, message in self._messages({RECEIVED, LINK}):
            if topic == RECEIVED:
                yield Chunk(message.log_time, message.data)
            else:
                yield self._link(message)

    def _link(self, message: Message) -> Chunk:
        try:
            tree = json.loads(message.data)
            description, link = tree["description"].encode(errors="surrogateescape"), tree["link"]
            if link not in ("opened", "lost"):
                raise ValueError(f"{link!r} is neither opened nor lost")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"its message on {LINK} at t_ns {message.log_time} does not say what happened to the link"
            raise RecordingError(f"{self.path} is damaged: {why} ({error}).") from None
        return Chunk(message.log_time, description, link)

    def sent(self) -> Iterator[tuple[int, bytes]]:
        """(t_ns, bytes) of every write that the port took, in order."""
        for _topic, message in self._messages({SENT}):
            yield message.log_time, message.data

    def writes(self) -> Iterator[tuple[int, bytes, bool]]:
        """(t_ns, bytes, whether the port took them) of every write, in order."""
        for topic, message in self._messages({SENT, UNSENT}):
            yield message.log_time, message.data, topic == SENT

    def values(self, topic: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(t_ns, values by name) of a JSON channel: "/readings/<format>", "/outputs", "/actions/<format>", "/link" …"""
        for _topic, message in self._messages({topic}):
            try:
                tree = json.loads(message.data)
            except (ValueError, RecursionError) as error:
                why = f"its message on {topic} at t_ns {message.log_time} is not JSON"
                raise RecordingError(f"{self.path} is damaged: {why} ({error}).") from None
            yield message.log_time, tree

    def topics(self) -> dict[str, int]:
        """Every topic with the number of its messages."""
        counts: dict[str, int] = {}
        for topic, _message in self._messages(None):
            counts[topic] = counts.get(topic, 0) + 1
        return counts

    def span(self) -> tuple[int, int] | None:
        """The first and the last t_ns, from the file's index; None if it was cut off before the index was written."""
        try:
            with self.path.open("rb") as file:
                summary = make_reader(file).get_summary()
        except (McapError, OSError, ValueError, LookupError, RuntimeError, struct.error):  # a damaged index
            return None
        found = summary.statistics if summary else None
        return (found.message_start_time, found.message_end_time) if found else None

    @property
    def dropped(self) -> int | None:
        """How many items the recorder had to leave out; None if the file was cut off before it said so."""
        for record in self._records():
            if isinstance(record, Metadata) and record.name == SUMMARY:
                text = record.metadata.get("dropped", "0")
                if not (text.isascii() and text.isdigit() and len(text) < 20):
                    raise RecordingError(f"{self.path} is damaged: it says that {text!r:.60} items are missing.")
                return int(text)
        return None

    def _read_head(self) -> None:
        """Metadata and attachments stand before the first message."""
        found = False
        for record in self._records():
            if isinstance(record, Metadata) and record.name == METADATA:
                self.metadata = dict(record.metadata)
                found = True
            elif isinstance(record, Attachment):
                self.attachments[record.name] = record.data
            elif isinstance(record, (McapChunk, Channel, Message)):
                break
        if not found:
            raise RecordingError(
                f"{self.path} is not a recording of this program, or it was cut off before its first second"
                f"{': ' + self.cut if self.cut else ''}."
            )

    def _messages(self, topics: set[str] | None) -> Iterator[tuple[str, Message]]:
        names: dict[int, str] = {}
        for outer in self._records():
            if isinstance(outer, McapChunk):
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
                        yield topic, record

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


def open_recording(path: str | Path) -> Recording:
    """A recording, whole or cut off. Raises RecordingError for a file that is none."""
    return Recording(path)


class RecordingPort:
    """A recording as a port: the same chunks, as fast as they are taken, or at `speed` times the speed of life.

    What is written goes nowhere; it is only counted. Raises RecordingError for a file that is no recording.
    """

    def __init__(self, path: str | Path, speed: float | None = None) -> None:
        if speed is not None and not 0 < speed < float("inf"):
            raise RecordingError(f"A recording cannot be replayed at speed {speed}; give a number above 0.")
        self.recording = Recording(path)
        self.stats = PortStats()
        self._speed = speed
        self._stopped = threading.Event()

    def chunks(self) -> Iterator[Chunk]:
        """See `Port.chunks`."""
        pacer = Pacer(self._speed, self._stopped)
        for chunk in self.recording.chunks():
            pacer.wait_for(chunk.t_ns)
            if self._stopped.is_set():
                return
            if chunk.link == "data" and chunk.data:
                self.stats.received(len(chunk.data))
            yield chunk

    def write(self, data: bytes) -> bool:
        """See `Port.write`."""
        if data:
            self.stats.wrote(len(data), None)
        return True

    def write_last(self, data: bytes) -> bool:
        """See `Port.write_last`."""
        return self.write(data)

    def stop(self) -> None:
        """See `Port.stop`."""
        self._stopped.set()

    def close(self) -> None:
        """See `Port.close`."""
        self._stopped.set()
