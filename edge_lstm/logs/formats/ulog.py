"""PX4's ULog: `.ulg`.

Its rule: topics are those that the log subscribes to, further instances of one called TOPIC[1]; an instance's time is
its own `timestamp`, µs since the flight controller started. Bytes that make no sense are passed over up to the next
mark of synchronization, as PX4's own readers do, and noted.
"""

from __future__ import annotations

import mmap
import re
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.packed_rows import PackedRows
from edge_lstm.logs.log import Column
from edge_lstm.logs.recognize import ULOG, beginning
from edge_lstm.logs.topic_log import MOST_COLUMNS, MOST_ELEMENTS, Part, Parts, Topic, TopicLog

_HEAD = 16  # bytes of the file's head
_SYNC = b"\x2f\x73\x13\x20\x25\x0c\xbb\x12"
_TYPES = {"int8_t": "i1", "uint8_t": "u1", "int16_t": "<i2", "uint16_t": "<u2", "int32_t": "<i4", "uint32_t": "<u4",
          "int64_t": "<i8", "uint64_t": "<u8", "float": "<f4", "double": "<f8", "bool": "u1", "char": "S1"}  # fmt: skip
_FIELD = re.compile(r"(\w+)(?:\[(\d+)\])? (\w+)")
_LARGEST = 1 << 16  # bytes of a message, whose length has 16 bits
_KINDS = frozenset(b"FIMPQADLCSORB")
_DATA, _FLAGS = ord("D"), ord("B")
_APPENDED = 1  # a flag: more was appended behind the end
_LATEST_US = (1 << 63) // 1000
_Places = dict[str, tuple[str, int]]


class ULog(TopicLog):
    """An ULog, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`."""
        super().__init__(path, asked)
        if not beginning(path).startswith(ULOG):
            raise LogError(f"{path}: is no ULog")
        formats: dict[str, str] = {}
        subscribed: dict[int, tuple[str, int]] = {}  # number of a subscription → its format, which instance
        starts = array("Q")
        first = struct.Struct("<H").unpack_from
        for kind, start, end, data in self._messages():
            if kind == _DATA:
                if end - start > 2:
                    starts.append(start)
            elif kind == ord("F"):
                name, _, fields = data[start:end].decode("utf-8", errors="replace").partition(":")
                formats.setdefault(name, fields)
            elif kind == ord("A") and end - start > 3:
                number = first(data, start + 1)[0]
                subscribed[number] = data[start + 3 : end].decode("utf-8", errors="replace"), data[start]
        self._starts = np.frombuffer(starts, np.uint64).astype(np.int64)  # of all data, behind their kind
        numbers = self._little(self._file(), self._starts)
        heard = set(np.unique(numbers).tolist())
        topics: list[Topic] = []
        topic_of = np.full(1 << 16, -1, np.int64)  # by the number of the subscription
        self._time: dict[int, int] = {}  # topic → place of its time
        self._rows: dict[int, PackedRows] = {}
        made: dict[str, int] = {}
        for number, (name, instance) in sorted(subscribed.items(), key=lambda item: (item[1], item[0])):
            if number not in heard:
                continue
            title = f"{name}[{instance}]" if instance else name
            if title not in made:
                places: _Places = {}
                try:
                    size = _places(formats, name, "", 0, places, 0)
                except ValueError as error:
                    self.note(f"{title} is left out: {error}")
                    continue
                if places.get("timestamp", ("", 0))[0] != "<u8":
                    self.note(f"{title} is left out: it has no timestamp")
                    continue
                made[title] = len(topics)
                self._time[len(topics)] = places["timestamp"][1]
                self._rows[len(topics)] = PackedRows(size, places)
                topics.append(Topic(title, tuple(places), self._rows[len(topics)]))
            topic_of[number] = made[title]
        self._of = topic_of[numbers]
        self.hold(topics)

    def parts(self, names: Mapping[int, Sequence[str]]) -> Iterator[Parts]:
        """As `TopicLog.parts`, from the places that were found when it was opened."""
        data, most = self._file(), self.most(names)
        wanted = np.isin(self._of, list(names))
        starts, of = self._starts[wanted], self._of[wanted]
        for begin in range(0, len(starts), most):
            window, topics = starts[begin : begin + most], of[begin : begin + most]
            lengths = self._little(data, window - 3) - 2  # of the bodies, behind the number of the subscription
            kept = np.zeros(len(window), bool)
            found = []
            for k in np.unique(topics).tolist():
                at = np.flatnonzero(topics == k)
                rows, place = self._rows[k], self._time[k]
                places = np.minimum(window[at][:, None] + 2 + np.arange(rows.size), len(data) - 1)
                bodies = data[places]
                t_us = bodies[:, place : place + 8].copy().view("<u8")[:, 0]
                dated = (lengths[at] >= place + 8) & (t_us < _LATEST_US)
                kept[at[dated]] = True
                values = rows.read(bodies[dated].tobytes(), lengths[at][dated], names[k])
                found.append(Part(k, at[dated], t_us[dated].astype(np.int64) * 1000, values))
            number = np.cumsum(kept) - 1
            parts = [part._replace(at=number[part.at]) for part in found]
            if kept.any():
                yield int(kept.sum()), parts, int(lengths.sum())

    def _file(self) -> npt.NDArray[np.uint8]:
        return np.memmap(self.path, np.uint8, "r")

    @staticmethod
    def _little(data: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The 16 bits at these places."""
        return data[at].astype(np.int64) | data[at + 1].astype(np.int64) << 8

    def find(self, name: str) -> Column | None:
        """As `TopicLog.find`; the first instance is TOPIC[0], too."""
        return super().find(re.sub(r"^([^.\[]+)\[0\]\.", r"\1.", name))

    def _messages(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(kind, begin, end, the file's bytes) of each message."""
        if self.size < _HEAD:
            raise LogError(f"{self.path}: is cut off in its head")
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, size, skipped, gaps, cut = _HEAD, len(data), 0, 0, 0
            borders: list[int] = []  # where more was written behind the end, the next first
            head = struct.Struct("<HB").unpack_from
            view: bytes = data  # type: ignore[assignment]  # indexes and slices as bytes do
            while at + 3 <= size:
                length, kind = head(view, at)
                end = at + 3 + length
                if borders and end > borders[0]:
                    cut += borders[0] - at
                    at = borders.pop(0)
                    continue
                if kind in _KINDS and end <= size:
                    if kind == _FLAGS and at == _HEAD:
                        borders = self._borders(view[at + 3 : end], size)
                    yield kind, at + 3, end, view
                    at = end
                    continue
                mark = data.find(_SYNC, at)
                if mark < 0:
                    break
                skipped, gaps = skipped + mark - at, gaps + 1
                at = mark + len(_SYNC)
                borders = [border for border in borders if border >= at]
            if cut:
                self.note(f"{cut} bytes are of messages that are cut off, behind which more was appended")
            if skipped:
                self.note(f"{skipped} bytes of {size} make no sense and are passed over, in {gaps} places")
            if at != size:
                self.damaged(f"after {at} of {size} bytes no whole message begins")

    def _borders(self, flags: bytes, size: int) -> list[int]:
        """Where data is that was appended after a crash, in front of which the last message may be cut off. LogError:
        the file says that only a reader that knows more may read it."""
        if len(flags) < 40:
            return []
        if (flags[8] & ~_APPENDED) or any(flags[9:16]):
            raise LogError(f"{self.path}: is of a version of ULog that is not known here")
        if not flags[8] & _APPENDED:
            return []
        return sorted(border for border in struct.unpack_from("<3Q", flags, 16) if _HEAD < border < size)


def _places(formats: dict[str, str], name: str, prefix: str, at: int, places: _Places, depth: int) -> int:
    """Add the numbers of a format; the place behind it. ValueError: it is not defined, or too large."""
    if name not in formats or depth > 8:
        raise ValueError(f"the format {name!r:.40} is not defined")
    for text in filter(None, formats[name].split(";")):
        found = _FIELD.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"its format has a field {text[:40]!r}")
        kind, array, field = found.groups()
        count = 1 if array is None else int(array)
        shown = not field.startswith("_padding") and count <= MOST_ELEMENTS
        if count > _LARGEST:
            raise ValueError(f"its field {field[:40]!r} is too long")
        for k in range(count):
            title = f"{prefix}{field}" if array is None else f"{prefix}{field}[{k}]"
            if kind in _TYPES:
                if kind != "char" and shown:
                    places[title] = _TYPES[kind], at
                at += int(_TYPES[kind][-1])
            else:
                at = _places(formats, kind, f"{title}.", at, places, depth + 1)
            if at > _LARGEST or len(places) > MOST_COLUMNS:
                raise ValueError("its format is longer than a message")
    return at
