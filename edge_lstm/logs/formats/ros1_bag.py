"""ROS 1 bags (format 2.0): `.bag`.

Its rule: the file is read from its start, block by block, so a bag that was never closed, or has lost its index, is
read as well. A message's time is when it was recorded.

Never: need ROS, or a library of it; a bag holds the definitions of its messages.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.ros_types import ros_topic
from edge_lstm.logs.formats.unpacking import BAD, block
from edge_lstm.logs.recognize import ROS_1
from edge_lstm.logs.topic_log import Record, Topic, TopicLog

_MESSAGE, _BAG, _INDEX, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 4, 5, 6, 7
_LONGEST = 1 << 28  # bytes of a record
_MUCH = 1 << 16  # bytes, beyond which it is asked whether the file has so many


class _Connection(NamedTuple):
    topic: str
    kind: str
    text: str


class Ros1Bag(TopicLog):
    """A bag, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`."""
        super().__init__(path, asked)
        self._connections: dict[int, _Connection] = {}
        self._number: dict[int, int] = {}  # connection → topic
        counts = self._indexed()
        first: dict[int, bytes] = {}
        for connection, _t_ns, data in self._messages():
            first.setdefault(connection, data)
            if counts is not None and counts <= first.keys():
                break
        topics: list[Topic] = []
        made: dict[tuple[str, str, str], int] = {}
        for connection, data in sorted(first.items()):
            found = self._connections[connection]
            if found in made:
                self._number[connection] = made[found]
                continue
            try:
                topic = ros_topic(self, *found, data, idl=False, cdr=False)
            except ValueError as error:
                self.note(f"{found.topic} ({found.kind}) is left out: {error}")
                continue
            made[found] = self._number[connection] = len(topics)
            topics.append(topic)
        self.hold(topics)

    def records(self, topics: frozenset[int]) -> Iterator[Record]:
        """As `TopicLog.records`."""
        number = {connection: topic for connection, topic in self._number.items() if topic in topics}
        for connection, t_ns, data in self._messages():
            topic = number.get(connection)
            if topic is not None:
                yield t_ns, topic, data

    def _indexed(self) -> set[int] | None:
        """The connections that have messages, by the index at the end; None where there is none."""
        counted: set[int] = set()
        try:
            with self.path.open("rb") as file:
                if file.read(len(ROS_1)) != ROS_1:
                    raise LogError(f"{self.path}: is no bag of ROS 1, version 2.0")
                fields, _data = _record(file)
                at = struct.unpack("<Q", fields[b"index_pos"])[0]
                if not 0 < at < self.size:
                    return None
                file.seek(at)
                while file.tell() < self.size:
                    fields, data = _record(file)
                    if fields.get(b"op") == bytes([_CHUNK_INFO]):
                        for connection, count in struct.iter_unpack("<II", data):
                            if count:
                                counted.add(connection)
        except (ValueError, LookupError, struct.error, OSError):
            return None
        return counted or None

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """(connection, t_ns, message), as far as the file goes."""
        with self.path.open("rb") as file:
            file.seek(len(ROS_1))
            try:
                while file.tell() < self.size:
                    fields, data = _record(file)
                    op = fields[b"op"]
                    if op == bytes([_CHUNK]):
                        size = struct.unpack("<I", fields[b"size"])[0]
                        yield from self._block(block(fields[b"compression"].decode("latin-1"), data, size))
                    elif op == bytes([_MESSAGE]):
                        yield self._message(fields, data)
                    elif op == bytes([_CONNECTION]):
                        self._connect(fields, data)
            except (*BAD, LookupError, struct.error) as error:
                self.damaged(f"before byte {file.tell()} of {self.size} ({error})")

    def _block(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The messages of a block."""
        at, end = 0, len(data)
        length = struct.Struct("<I")
        while at < end:
            start = at + 4
            at = start + length.unpack_from(data, at)[0]
            begin = at + 4
            after = begin + length.unpack_from(data, at)[0]
            if after > end:
                raise ValueError("a record of a block is longer than the block")
            fields = _fields(data[start:at])
            if fields[b"op"] == b"\x02":
                yield self._message(fields, data[begin:after])
            elif fields[b"op"] == b"\x07":
                self._connect(fields, data[begin:after])
            at = after

    def _message(self, fields: dict[bytes, bytes], data: bytes) -> tuple[int, int, bytes]:
        connection = int.from_bytes(fields[b"conn"], "little")
        if connection not in self._connections:
            raise ValueError("a message is of a connection that is not declared")
        seconds, rest = struct.unpack("<II", fields[b"time"])
        return connection, seconds * 1_000_000_000 + rest, data

    def _connect(self, fields: dict[bytes, bytes], data: bytes) -> None:
        connection = int.from_bytes(fields[b"conn"], "little")
        if connection not in self._connections:
            own = _fields(data)
            topic, kind, text = (each.decode("utf-8", errors="replace") for each in (
                fields[b"topic"], own[b"type"], own[b"message_definition"]))  # fmt: skip
            self._connections[connection] = _Connection(topic, kind, text)


def _record(file: BinaryIO) -> tuple[dict[bytes, bytes], bytes]:
    """The next record: its fields and data. ValueError: cut off, or too long."""
    return _fields(_exact(file)), _exact(file)


def _exact(file: BinaryIO) -> bytes:
    head = file.read(4)
    size = int.from_bytes(head, "little")
    if size > _LONGEST:
        raise ValueError("a record of it is too long")
    # Python takes the memory for a length before it reads, so that of a damaged length, too.
    if len(head) < 4 or (size > _MUCH and size > os.fstat(file.fileno()).st_size - file.tell()):
        raise ValueError("it is cut off")
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it is cut off")
    return data


def _fields(header: bytes) -> dict[bytes, bytes]:
    """name=value, each with its length before it."""
    found, at, end = {}, 0, len(header)
    while at < end:
        size = int.from_bytes(header[at : at + 4], "little")
        name, is_one, value = header[at + 4 : at + 4 + size].partition(b"=")
        if not is_one:
            raise ValueError("a header of it is damaged")
        found[name] = value
        at += 4 + size
    return found
