"""ROS 2 bags in sqlite: `.db3`.

Its rule: the file is opened for reading only, and nothing of it is executed. Bags of Iron and later hold the
definitions of their messages; those of before need the library rosbags, which knows the types of ROS.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import zstandard

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.ros_types import ros_topic
from edge_lstm.logs.formats.unpacking import MOST_BLOCK
from edge_lstm.logs.recognize import PACKED
from edge_lstm.logs.topic_log import Record, Topic, TopicLog

_BAD = (sqlite3.Error, UnicodeError, OverflowError)
_ZSTD = next(magic for magic, how in PACKED.items() if how == "zstd")


class Ros2Db3(TopicLog):
    """A bag, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`."""
        super().__init__(path, asked)
        self._number: dict[int, int] = {}  # their topic → ours
        topics: list[Topic] = []
        try:
            with closing(self._open()) as base:
                known = self._definitions(base)
                query = "SELECT id, name, type, serialization_format FROM topics ORDER BY id"
                declared = base.execute(query).fetchmany(10_000)
                first = _first(base, {number for number, *_ in declared if isinstance(number, int)})
                for number, name, kind, form in declared:
                    if number not in first:
                        continue
                    try:
                        topic = self._topic(str(name), str(kind), str(form), _plain(first[number]), known)
                    except ValueError as error:
                        self.note(f"{name} ({kind}) is left out: {error}")
                        continue
                    self._number[number] = len(topics)
                    topics.append(topic)
        except _BAD as error:
            if not topics:
                raise LogError(f"{path}: is no bag of ROS 2 that can be read: {error}") from None
            self.damaged(str(error))
        self.hold(topics)

    def records(self, topics: frozenset[int]) -> Iterator[Record]:
        """As `TopicLog.records`."""
        number = {theirs: ours for theirs, ours in self._number.items() if ours in topics}
        wanted = ",".join(str(int(theirs)) for theirs in number)
        query = f"SELECT timestamp, topic_id, data FROM messages WHERE topic_id IN ({wanted}) ORDER BY id"
        try:
            with closing(self._open()) as base:
                for t_ns, theirs, data in base.execute(query):
                    if not isinstance(t_ns, int):
                        raise sqlite3.DataError("a message has no time")
                    yield t_ns, number[theirs], _plain(data)
        except (*_BAD, ValueError) as error:
            self.damaged(str(error))

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(f"file:{quote(str(self.path.absolute()))}?mode=ro&immutable=1", uri=True)
        base.execute("PRAGMA trusted_schema = 0")
        return base

    @staticmethod
    def _definitions(base: sqlite3.Connection) -> dict[str, tuple[str, str]]:
        """Type → (msg or idl, its text), of bags that hold them."""
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        try:
            return {str(kind): (str(form), str(text)) for kind, form, text in base.execute(query).fetchmany(10_000)}
        except sqlite3.OperationalError:  # there is no such table
            return {}

    def _topic(self, name: str, kind: str, form: str, first: bytes, known: dict[str, tuple[str, str]]) -> Topic:
        if form != "cdr":
            raise ValueError(f"messages in {form!r:.40} are not read; cdr is")
        how, text = known.get(kind, ("", ""))
        return ros_topic(self, name, kind, text, first, idl="idl" in how, cdr=True)


def _first(base: sqlite3.Connection, missing: set[int]) -> dict[int, Any]:
    """The first message of each of these topics that has one, in one pass over the file: there is no index by topic."""
    found: dict[int, Any] = {}
    after = -(1 << 63)
    while missing:
        wanted = ",".join(map(str, missing))
        query = f"SELECT id, topic_id, data FROM messages WHERE id > ? AND topic_id IN ({wanted}) ORDER BY id LIMIT 1"
        row = base.execute(query, (after,)).fetchone()
        if row is None:
            break
        after, number, data = row
        found[number] = data
        missing = missing - {number}
    return found


def _plain(data: Any) -> bytes:
    """A message, unpacked where each is packed alone. ValueError: it is none."""
    if not isinstance(data, bytes):
        raise ValueError("a message is no bytes")
    if data.startswith(_ZSTD):
        try:
            with zstandard.ZstdDecompressor().stream_reader(data) as stream:
                found = stream.read(MOST_BLOCK + 1)
        except zstandard.ZstdError as error:
            raise ValueError(f"a message cannot be unpacked ({error})") from None
        if len(found) > MOST_BLOCK:
            raise ValueError(f"a message is more than {MOST_BLOCK >> 20} MiB unpacked")
        return found
    return data
