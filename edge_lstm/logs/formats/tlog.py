"""MAVLink telemetry, as ground stations write it: `.tlog`: frames, each with its time before it.

Its rule: a frame counts where its checksum fits, by the messages that `firmware_bridge.links.mavlink` knows; with
pymavlink installed also by those of ArduPilot. A topic is a message, NAME[system.component]; NAME is that of who was
heard first, which is said where there are others. Bytes that make no sense are passed over up to the next frame, and
noted; what no definition is known of is counted.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.packed_rows import PackedRows
from edge_lstm.logs.log import Column
from edge_lstm.logs.recognize import MAVLINK_1, MAVLINK_2, WHEN_US, is_tlog
from edge_lstm.logs.topic_log import Record, Topic, TopicLog
from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.links.mavlink.definition import TYPES, Message
from firmware_bridge.links.mavlink.definition_files import of_pymavlink
from firmware_bridge.links.mavlink.framing import BY_ID, SIGNATURE, SIGNED

_crc = CHECKSUMS["crc16-mcrf4xx"].of
_STAMP = struct.Struct(">Q")
_NUMPY = {ours: f"<{ours[0]}{int(ours[1:]) // 8}" for ours in TYPES if ours != "char"}


class _Frame(NamedTuple):
    t_us: int
    system: int
    component: int
    id: int
    payload: bytes


class Tlog(TopicLog):
    """Telemetry, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`."""
        super().__init__(path, asked)
        self._known: Mapping[int, Message] = BY_ID
        self._unknown: Counter[int] = Counter()
        heard = dict.fromkeys((f.id, f.system, f.component) for f in self._frames())
        if self._unknown and (more := of_pymavlink("ardupilotmega")):
            self._known = {**more, **BY_ID}
            self.notes.clear()
            heard = dict.fromkeys((f.id, f.system, f.component) for f in self._frames())
        self._number: dict[tuple[int, int, int], int] = {}
        topics: list[Topic] = []
        self._first: dict[str, str] = {}  # name → who was heard first
        others = set[str]()
        for key in heard:
            message, name, sender = self._known[key[0]], self._known[key[0]].name, f"{key[1]}.{key[2]}"
            if name in self._first:
                others.add(name)
                name = f"{name}[{sender}]"
            else:
                self._first[name] = sender
            places, units = _places(message)
            self._number[key] = len(topics)
            topics.append(Topic(name, tuple(places), PackedRows(message.size, places), units))
        if others:  # whoever is first differs from log to log
            first = ", ".join(f"{name} is {self._first[name]}'s" for name in sorted(others)[:3])
            rest = ", …" if len(others) > 3 else ""
            self.note(f"several senders have messages of one name: {first}{rest}; NAME[SYSTEM.COMPONENT] is any one's")
        if self._unknown:
            kinds = ", ".join(map(str, sorted(self._unknown)[:5]))
            how = "" if len(self._known) > len(BY_ID) else ": the package pymavlink brings ArduPilot's"
            self.note(f"{self._unknown.total()} frames are of messages that are not known ({kinds}){how}")
        self.hold(topics)

    def find(self, name: str) -> Column | None:
        """As `TopicLog.find`; the first sender's is NAME[SYSTEM.COMPONENT], too."""
        return super().find(self._bare(name))

    def topic(self, name: str) -> int | None:
        """As `TopicLog.topic`, with the same names."""
        return super().topic(self._bare(name))

    def _bare(self, name: str) -> str:
        found = re.fullmatch(r"(\w+)\[(\d+\.\d+)\](\..*)?", name)
        return f"{found[1]}{found[3] or ''}" if found and self._first.get(found[1]) == found[2] else name

    def records(self, topics: frozenset[int]) -> Iterator[Record]:
        """As `TopicLog.records`."""
        number = {key: topic for key, topic in self._number.items() if topic in topics}
        sizes = {topic: self._known[key[0]].size for key, topic in number.items()}
        for frame in self._frames():
            topic = number.get((frame.id, frame.system, frame.component))
            if topic is not None:
                # MAVLink 2 leaves zeros at the end out
                yield frame.t_us * 1000, topic, frame.payload.ljust(sizes[topic], b"\0")

    def _frames(self) -> Iterator[_Frame]:
        """Those that are intact and known."""
        self._unknown.clear()
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            view: bytes = data  # type: ignore[assignment]  # indexes and slices as bytes do
            at, end, skipped = 0, len(data), 0
            while at + 8 + 8 <= end:
                found = self._frame(view, at, end)
                if found is None:
                    at += 1
                    skipped += 1
                    continue
                frame, at = found
                if frame is not None:
                    yield frame
            skipped += end - at
            if skipped:
                self.note(f"{skipped} bytes of {end} are no frames and are passed over")

    def _frame(self, data: bytes, at: int, end: int) -> tuple[_Frame | None, int] | None:
        """The frame whose time begins at `at`, None where nothing is known of it, and the place behind it."""
        magic, t_us = data[at + 8], _STAMP.unpack_from(data, at)[0]
        if magic not in (MAVLINK_1, MAVLINK_2) or t_us not in WHEN_US:
            return None
        begin = at + 9
        if magic == MAVLINK_2:
            if begin + 9 > end:
                return None
            size, flags, _compatible, _seq, system, component = data[begin : begin + 6]
            number, start = int.from_bytes(data[begin + 6 : begin + 9], "little"), begin + 9
            after = start + size + 2 + (SIGNATURE if flags & SIGNED else 0)
        else:
            size, _seq, system, component, number = data[begin : begin + 5]
            start = begin + 5
            after = start + size + 2
        stop = start + size
        if after > end:
            return None
        message = self._known.get(number)
        if message is None:
            if after + 8 < end and not is_tlog(data[after : after + 9]):
                return None
            self._unknown[number] += 1
            return None, after
        if _crc(data[begin:stop] + message.extra) != data[stop] | data[stop + 1] << 8:
            return None
        return _Frame(t_us, system, component, number, data[start:stop]), after


def _places(message: Message) -> tuple[dict[str, tuple[str, int]], dict[str, str]]:
    """Where its numbers stand, by name, and their units."""
    places, units, at = {}, {}, 0
    for field in message.wire:
        if field.type != "char":
            size = TYPES[field.type][2]
            for k in range(field.length or 1):
                name = f"{field.name}[{k}]" if field.length else field.name
                places[name] = _NUMPY[field.type], at + k * size
                units[name] = field.unit
        at += field.size
    return places, units
