"""ArduPilot's DataFlash: `.bin`.

Its rule: numbers are as the log's formats mean them (hundredths, 1e-7 degrees), further instances of a topic called
TOPIC[1]; a message's time is its TimeUS, µs since the flight controller started. Bytes that make no sense are passed
over up to the next message, and noted.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.packed_rows import PackedRows
from edge_lstm.logs.recognize import DATAFLASH
from edge_lstm.logs.topic_log import Record, Topic, TopicLog

_FMT = 128
_FMT_BODY = struct.Struct("<BB4s16s64s")
# letter → type for NumPy, bytes, how many of it are one, how many there are
_LETTERS: dict[str, tuple[str, int, int, int]] = {
    "a": ("<i2", 2, 1, 32), "b": ("i1", 1, 1, 1), "B": ("u1", 1, 1, 1), "h": ("<i2", 2, 1, 1), "H": ("<u2", 2, 1, 1),
    "i": ("<i4", 4, 1, 1), "I": ("<u4", 4, 1, 1), "f": ("<f4", 4, 1, 1), "d": ("<f8", 8, 1, 1), "g": ("<f2", 2, 1, 1),
    "n": ("", 4, 1, 1), "N": ("", 16, 1, 1), "Z": ("", 64, 1, 1), "c": ("<i2", 2, 100, 1), "C": ("<u2", 2, 100, 1),
    "e": ("<i4", 4, 100, 1), "E": ("<u4", 4, 100, 1), "L": ("<i4", 4, 10_000_000, 1), "M": ("u1", 1, 1, 1),
    "q": ("<i8", 8, 1, 1), "Q": ("<u8", 8, 1, 1),
}  # fmt: skip


class _Form(NamedTuple):
    """One kind of message. size: of its body; time: place and scale to ns of its time; instance: the place of the byte
    that says which one."""

    name: str
    size: int
    places: dict[str, tuple[str, int]]
    scales: dict[str, int]
    time: tuple[int, str, int] | None
    letters: str
    labels: tuple[str, ...]


class DataFlash(TopicLog):
    """A DataFlash log, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`."""
        super().__init__(path, asked)
        self._forms: dict[int, _Form] = {}
        self._instance: dict[int, int] = {}  # kind → place of the byte that says which instance
        self._number: dict[tuple[int, int], int] = {}  # kind, instance → topic
        units: dict[str, str] = {}
        factors: dict[str, float] = {}
        says: dict[int, tuple[str, str]] = {}  # kind → units and multipliers of its fields, a letter each
        heard: dict[int, set[int]] = {}
        for kind, start, data in self._messages():
            form = self._forms[kind]
            instance = data[start + self._instance[kind]] if kind in self._instance else 0
            heard.setdefault(kind, set()).add(instance)
            if form.name == "UNIT" and form.letters == "QbZ":
                units[chr(data[start + 8])] = _text(data[start + 9 : start + 73])
            elif form.name == "MULT" and form.letters == "Qbd":
                factors[chr(data[start + 8])] = struct.unpack_from("<d", data, start + 9)[0]
            elif form.name == "FMTU" and form.letters == "QBNN":
                letters = _text(data[start + 9 : start + 25]), _text(data[start + 25 : start + 41])
                of = data[start + 8]
                says[of] = letters
                place = letters[0].find("#")
                if of in self._forms and 0 <= place < len(self._forms[of].labels):
                    found = self._forms[of].places.get(self._forms[of].labels[place])
                    if found is not None and found[0] in ("u1", "i1"):
                        self._instance[of] = found[1]
        topics: list[Topic] = []
        for kind, instances in sorted(heard.items()):
            form = self._forms[kind]
            fields = form.places
            if form.time is None or kind == _FMT or not fields:
                continue
            known = _units(form, *says.get(kind, ("", "")), units, factors)
            for instance in sorted(instances):
                title = f"{form.name}[{instance}]" if instance else form.name
                self._number[kind, instance] = len(topics)
                topics.append(Topic(title, tuple(fields), PackedRows(form.size, form.places, form.scales), known))
        self.hold(topics)

    def records(self, topics: frozenset[int]) -> Iterator[Record]:
        """As `TopicLog.records`."""
        number = {key: topic for key, topic in self._number.items() if topic in topics}
        kinds = {kind for kind, _ in number}
        times = {k: (struct.Struct(f.time[1]).unpack_from, f.time[0], f.time[2], f.size)
                 for k, f in self._forms.items() if k in kinds and f.time}  # fmt: skip
        instances = self._instance
        for kind, start, data in self._messages():
            if kind in kinds:
                topic = number.get((kind, data[start + instances[kind]] if kind in instances else 0))
                if topic is not None:
                    unpack, place, scale, size = times[kind]
                    t_ns = unpack(data, start + place)[0] * scale
                    if t_ns < 1 << 63:
                        yield t_ns, topic, data[start : start + size]

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """(kind, begin of the body, the file's bytes) of each message; formats are kept when they come."""
        forms = self._forms
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, end, skipped, places = 0, len(data), 0, 0
            view: bytes = data  # type: ignore[assignment]  # indexes and slices as bytes do
            while at + 3 <= end:
                if view[at] == 0xA3 and view[at + 1] == 0x95:
                    kind = view[at + 2]
                    if kind == _FMT and at + 3 + _FMT_BODY.size <= end:
                        self._keep(_FMT_BODY.unpack_from(view, at + 3))
                    form = forms.get(kind)
                    if form is not None and at + 3 + form.size <= end:
                        yield kind, at + 3, view
                        at += 3 + form.size
                        continue
                after = data.find(DATAFLASH, at + 1)
                after = end if after < 0 else after
                skipped += after - at
                places += 1
                at = after
            skipped += max(0, end - at)
            if skipped:
                self.note(f"{skipped} bytes of {end} make no sense and are passed over, in {max(places, 1)} places")

    def _keep(self, body: tuple[int, int, bytes, bytes, bytes]) -> None:
        """A format; the first of its kind is the one."""
        kind, length, name, letters, columns = body
        if kind in self._forms:
            return
        form, labels = _text(letters), _text(columns).split(",")
        places: dict[str, tuple[str, int]] = {}
        scales: dict[str, int] = {}
        time = None
        at = 0
        for letter, label in zip(form, labels, strict=False):
            if letter not in _LETTERS:
                break
            dtype, size, scale, count = _LETTERS[letter]
            if label in ("TimeUS", "TimeMS") and letter in "QI" and time is None:
                time = at, "<" + letter, 1000 if label == "TimeUS" else 1_000_000
            for k in range(count if dtype else 0):
                title = label if count == 1 else f"{label}[{k}]"
                places.setdefault(title, (dtype, at + k * size))
                if scale != 1:
                    scales[title] = scale
            at += size * count
        size = length - 3
        if size < at or size < 1:  # its fields do not fit: nothing can be read of it, but its length
            places, time = {}, None
        if size >= 0:
            self._forms[kind] = _Form(_text(name), size, places, scales, time, form, tuple(labels))


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("latin-1")


def _units(
    form: _Form, letters: str, multipliers: str, units: dict[str, str], factors: dict[str, float]
) -> dict[str, str]:
    """Of those fields whose numbers are in the unit as it stands, not in a multiple of it."""
    found = {}
    for label, letter, multiplier in zip(form.labels, letters, multipliers, strict=False):
        factor = factors.get(multiplier, 1.0) or 1.0  # 0: it has none
        if letter in units and letter not in "-#" and abs(factor * form.scales.get(label, 1) - 1) < 1e-6:
            found[label] = units[letter]
    return found
