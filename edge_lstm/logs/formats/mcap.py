"""MCAP: ROS 2's bags, Foxglove's, our own recordings as plain logs: messages in CDR, ROS 1's form, JSON, protobuf.

Its rule: the file is read from its start, so one without an index is read up to where it ends. A message's time is when
it was recorded. A topic whose messages nobody here reads is left out, by a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.ros_types import ros_topic
from edge_lstm.logs.formats.trees import json_topic, protobuf_topic
from edge_lstm.logs.formats.unpacking import MOST_BLOCK
from edge_lstm.logs.log import Doubles
from edge_lstm.logs.topic_log import Record, Topic, TopicLog
from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.contents import READINGS, VALUES, WIRE
from firmware_bridge.recordings.mcap_reader import Attachment, Channel, McapFile, Message, Metadata, Schema
from firmware_bridge.recordings.mcap_writer import METADATA

_LATEST_NS = (1 << 63) - 1  # 18446744073709551615 is how some say that there is no time
_FORM = 4  # bytes
# Behind a field of our recordings: its true name, and its unit.
_OURS = re.compile(r'^\w+ (\w+)  # ("(?:[^"\\]|\\.)*")(?: in ("(?:[^"\\]|\\.)*"))?$', re.MULTILINE)


def is_foreign(path: Path) -> bool:
    """Whether an MCAP is none of this program's recordings, which begin with our metadata: another's, with messages.
    One that was cut off before either is not known to be."""
    for record in McapFile(path, MOST_BLOCK).contents():
        if isinstance(record, Metadata) and record.name == METADATA:
            return False
        if isinstance(record, (Channel, Message)):
            return True
    return False


class McapLog(TopicLog):
    """An MCAP, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`."""
        super().__init__(path, asked)
        self._number: dict[int, int] = {}  # channel → topic
        self._form: dict[int, bytes] = {}  # channel → what is put before its messages, for `_Forms`
        is_ours = False
        schemas: dict[int, Schema] = {0: Schema(id=0, name="", encoding="", data=b"")}
        channels: dict[int, Channel] = {}
        first: dict[int, bytes] = {}
        file = McapFile(path, MOST_BLOCK)
        found = file.statistics()
        counted = {k for k, n in found.channel_message_counts.items() if n} if found else set()
        for record in self._contents(file):
            if isinstance(record, Message):
                first.setdefault(record.channel_id, record.data)
                if counted and counted <= first.keys():
                    break
            elif isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Metadata):
                is_ours = is_ours or record.name == METADATA
        forms: list[list[Topic]] = []  # of each topic
        made: dict[tuple[str, str, str, bytes], tuple[int, int]] = {}
        ours: dict[str, int] = {}
        for number, data in sorted(first.items()):
            channel = channels.get(number)
            schema = schemas.get(channel.schema_id) if channel else None
            if channel is None or schema is None:
                self.damaged(f"channel {number} is not declared, or has no schema")
                continue
            if is_ours and channel.topic.startswith(WIRE):
                continue  # bytes, and what a run remembers: no numbers for people
            key = channel.topic, channel.message_encoding, schema.name, schema.data
            if key not in made:
                try:
                    topic = self._topic(channel, schema, data)
                except ValueError as error:
                    self.note(f"{channel.topic} ({schema.name or channel.message_encoding}) is left out: {error}")
                    continue
                place = len(forms)
                if is_ours:  # its numbers are told by their names, of whatever types they are
                    place = ours.setdefault(topic.name, place)
                    topic = replace(topic, kind="", derived=not topic.name.startswith((READINGS, VALUES)))
                if place == len(forms):
                    forms.append([])
                made[key] = place, len(forms[place])
                forms[place].append(topic)
            self._number[number], form = made[key]
            self._form[number] = form.to_bytes(_FORM, "little")
        self._form = {n: form for n, form in self._form.items() if len(forms[self._number[n]]) > 1}
        self.hold([found[0] if len(found) == 1 else _Forms(found).topic() for found in forms])

    def records(self, topics: frozenset[int]) -> Iterator[Record]:
        """As `TopicLog.records`."""
        number = {channel: topic for channel, topic in self._number.items() if topic in topics}
        for record in self._contents(McapFile(self.path, MOST_BLOCK)):
            if isinstance(record, Message):
                topic = number.get(record.channel_id)
                if topic is not None and record.log_time <= _LATEST_NS:
                    yield record.log_time, topic, self._form.get(record.channel_id, b"") + record.data
                elif topic is not None:
                    self.note(f"{self.topics[topic].name} has messages without a time that can be; they are left out")

    def _contents(self, file: McapFile) -> Iterator[Schema | Channel | Message | Metadata | Attachment]:
        try:
            yield from file.contents()
        except RecordingError as error:
            raise LogError(str(error)) from None
        if file.cut:
            self.damaged(file.cut)

    def _topic(self, channel: Channel, schema: Schema, first: bytes) -> Topic:
        """ValueError: nobody reads such messages."""
        how, form = channel.message_encoding, schema.encoding
        if how == "json":
            return json_topic(channel.topic, schema.data, first)
        if how == "protobuf":
            return protobuf_topic(channel.topic, schema.name, schema.data, first)
        if how not in ("cdr", "ros1"):
            raise ValueError(f"messages in {how!r:.40} are not read; cdr, ros1, json and protobuf are")
        text = schema.data.decode("utf-8", errors="replace")
        idl = form in ("ros2idl", "omgidl")
        topic = ros_topic(self, channel.topic, schema.name, text, first, idl=idl, cdr=how == "cdr")
        if schema.name.startswith("edge_lstm/"):
            return _renamed(topic, text)
        return topic


class _Forms:
    """Reads messages of one topic that come in several forms, each with the number of its form before it."""

    def __init__(self, forms: Sequence[Topic]) -> None:
        self._forms = forms

    def topic(self) -> Topic:
        """With the numbers of all forms."""
        names = dict.fromkeys(name for form in self._forms for name in form.fields)
        units = {name: unit for form in reversed(self._forms) for name, unit in form.units.items() if unit}
        return replace(self._forms[0], fields=tuple(names), decode=self, units=units)

    def __call__(self, messages: Sequence[bytes], names: Sequence[str]) -> Doubles:
        """As `Decode`."""
        values = np.full((len(messages), len(names)), np.nan)
        of = np.array([int.from_bytes(message[:_FORM], "little") for message in messages])
        for k in np.unique(of).tolist():
            at = np.flatnonzero(of == k)
            places = [place for place, name in enumerate(names) if name in self._forms[k].fields]
            known = [names[place] for place in places]
            values[at[:, None], np.array(places, np.int64)] = self._forms[k].decode(
                [messages[n][_FORM:] for n in at.tolist()], known
            )
        return values


def _renamed(topic: Topic, text: str) -> Topic:
    """With the names that the schema of our own recordings has in its comments, and units."""
    true, units = {}, {}
    for ros, name, unit in _OURS.findall(text):
        true[ros] = json.loads(name)
        units[true[ros]] = json.loads(unit) if unit else ""
    if len({true.get(name, name) for name in topic.fields}) < len(topic.fields):
        return topic
    back = {true.get(name, name): name for name in topic.fields}
    decode = topic.decode
    own = replace(topic, fields=tuple(back), units=units)
    return replace(own, decode=lambda messages, names: decode(messages, [back[n] for n in names]))
