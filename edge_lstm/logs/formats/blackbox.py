"""Betaflight's blackbox (and Cleanflight's, INAV's): `.bbl`, `.bfl`.

Its rule: topics are `main` (every loop that was logged), `slow` and `gps`; numbers are as they are logged, raw. A frame
counts where another one, or the end, follows it, and its loop and time go on; after damage the next whole frame (I) is
waited for, as Betaflight's own decoder does. Time is in µs since the flight controller started. Each flight of a file
is a recording of its own, which may log other things than the one before.

    H Field I name:loopIteration,time,gyroADC[0],…      what frames hold; then, without a pause, frames:
    I….P….P….                                           whole ones, and differences to what is predicted
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import nan
from pathlib import Path
from typing import NamedTuple

from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.packed_rows import PackedRows
from edge_lstm.logs.recognize import BLACKBOX
from edge_lstm.logs.topic_log import Parts, Record, Topic, TopicLog

_TOPICS = {"I": "main", "S": "slow", "G": "gps"}
_FRAMES = frozenset(b"IPSGHE")
_MOST_FIELDS, _MOST_HEAD = 1024, 1 << 20
_WRAP, _HALF = 1 << 32, 1 << 31
_FURTHEST_LOOPS, _FURTHEST_US = 5000, 10_000_000  # between two frames; more is damage
_SIGNED, _UNSIGNED, _NEG_14, _TAG8_8, _TAG2_3, _TAG8_4, _NULL, _TAG2_3V = 0, 1, 3, 6, 7, 8, 9, 10
_PREVIOUS, _LINE, _AVERAGE, _MINTHROTTLE, _MOTOR_0, _INCREMENT, _HOME, _1500, _VBATREF, _MAIN_TIME, _MINMOTOR = range(
    1, 12
)


class _Damage(Exception):
    """No frame stands here."""


class _Form(NamedTuple):
    """What frames of one kind hold. groups: (encoding, how many fields) in order; signed, predictor: of each field."""

    names: tuple[str, ...]
    signed: tuple[bool, ...]
    predictors: tuple[int, ...]
    groups: tuple[tuple[int, int], ...]


class _Head(NamedTuple):
    forms: dict[str, _Form]
    offsets: dict[int, int]  # predictor → what it adds
    i_interval: int
    p_interval: tuple[int, int]
    version: int


class Blackbox(TopicLog):
    """A blackbox log, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`."""
        super().__init__(path, asked)
        fields: dict[str, dict[str, None]] = {}  # kind of frame → the names of all flights: they may log other things
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for at in _starts(data):
                forms = _head(data, at)[0].forms
                for kind in _TOPICS.keys() & forms.keys():
                    fields.setdefault(kind, {}).update(dict.fromkeys(forms[kind].names))
        self._kinds = [kind for kind in _TOPICS if kind in fields]
        topics = []
        for kind in self._kinds:
            places = {name: ("<f8", 8 * k) for k, name in enumerate(fields[kind])}
            topics.append(Topic(_TOPICS[kind], tuple(places), PackedRows(8 * len(places), places)))
        self.hold(topics)

    def records(self, topics: frozenset[int]) -> Iterator[Record]:
        """As `TopicLog.records`."""
        return chain.from_iterable(self._flights(topics))

    def recordings(self, names: Mapping[int, Sequence[str]]) -> Iterator[Iterator[Parts]]:
        """As `TopicLog.recordings`: each flight is one."""
        return (self.batches(flight, names) for flight in self._flights(frozenset(names)))

    def _flights(self, topics: frozenset[int]) -> Iterator[Iterator[Record]]:
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            starts = _starts(data)
            if len(starts) > 1:
                self.note(f"holds {len(starts)} flights one after the other, each with a new memory")
            for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True), 1):
                head, at = _head(data, start)
                yield self._flight(number, _Flight(head, data[at:end]), head.forms, topics)

    def _flight(
        self, number: int, flown: _Flight, forms: Mapping[str, _Form], topics: frozenset[int]
    ) -> Iterator[Record]:
        ours = {kind: k for k, kind in enumerate(self._kinds) if k in topics and kind in forms}
        packs = {kind: self._pack(k, forms[kind].names) for kind, k in ours.items()}
        for kind, t_us, values in flown.frames():
            if kind in packs:
                yield t_us * 1000, ours[kind], packs[kind](values)
        if flown.lost:
            self.note(f"flight {number}: {flown.lost} bytes make no sense and are passed over")
        if not flown.ended:
            self.note(f"flight {number} ends without an end of its log, as after a power cut")

    def _pack(self, topic: int, names: Sequence[str]) -> Callable[[Sequence[int]], bytes]:
        """What makes a message of a flight's numbers, which are called `names`: NaN where it has none."""
        fields = self.topics[topic].fields
        pack = struct.Struct(f"<{len(fields)}d").pack
        if fields == names:
            return lambda values: pack(*values)
        places = [names.index(name) if name in names else len(names) for name in fields]
        return lambda values: pack(*map([*values, nan].__getitem__, places))


def _starts(data: mmap.mmap) -> list[int]:
    """Where the heads of its flights begin."""
    found: list[int] = []
    at = data.find(BLACKBOX)
    while at >= 0 and len(found) < 1000:
        found.append(at)
        at = data.find(BLACKBOX, at + 1)
    return found


def _head(data: mmap.mmap, at: int) -> tuple[_Head, int]:
    """The head of a flight, and where its frames begin."""
    said: dict[str, str] = {}
    limit = at + _MOST_HEAD
    while data[at : at + 2] == b"H " and at < limit:
        end = data.find(b"\n", at, limit)
        if end < 0:
            break
        key, _, value = data[at + 2 : end].decode("latin-1").partition(":")
        said[key.strip()] = value.strip()
        at = end + 1
    names = said.get("Field I name", "").split(",")
    forms = {}
    for kind in "IPSGH":
        own = names if kind == "P" else said.get(f"Field {kind} name", "").split(",")
        signed = _integers(said.get(f"Field {'I' if kind == 'P' else kind} signed", ""))
        predictors, encodings = (_integers(said.get(f"Field {kind} {what}", "")) for what in ("predictor", "encoding"))
        if own != [""] and len(own) == len(predictors) == len(encodings) <= _MOST_FIELDS and len({*own}) == len(own):
            signs = (signed + [0] * len(own))[: len(own)]
            forms[kind] = _Form(tuple(own), tuple(map(bool, signs)), tuple(predictors), _groups(encodings))
    minmotor = (_integers(said.get("motorOutput", "")) or [0])[0]
    offsets = {_MINTHROTTLE: _integer(said.get("minthrottle")), _1500: 1500, _VBATREF: _integer(said.get("vbatref"))}
    num, _, denom = said.get("P interval", "1/1").partition("/")
    p_interval = (_integer(num, 1), _integer(denom, 1)) if denom else (1, _integer(num, 1))
    return _Head(
        forms,
        offsets | {_MINMOTOR: minmotor},
        max(1, _integer(said.get("I interval"), 1)),
        (max(1, p_interval[0]), max(1, p_interval[1])),
        _integer(said.get("Data version"), 2),
    ), at


def _integer(text: str | None, default: int = 0) -> int:
    found = _integers(text or "")
    return found[0] if found else default


def _integers(text: str) -> list[int]:
    try:
        return [max(-_HALF, min(_HALF, int(part))) for part in text.split(",")] if text else []
    except ValueError:
        return []


def _groups(encodings: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Neighbours that are packed together."""
    most = {_TAG8_8: 8, _TAG2_3: 3, _TAG8_4: 4, _TAG2_3V: 3}
    found: list[tuple[int, int]] = []
    k = 0
    while k < len(encodings):
        encoding, count = encodings[k], 1
        if encoding == _TAG8_8:
            while count < 8 and k + count < len(encodings) and encodings[k + count] == encoding:
                count += 1
        else:
            count = min(most.get(encoding, 1), len(encodings) - k)
        found.append((encoding, count))
        k += count
    return tuple(found)


class _Flight:
    """The frames of one flight. lost: bytes that were passed over; ended: the log says its end."""

    def __init__(self, head: _Head, data: bytes) -> None:
        self._head, self._data, self._at = head, data, 0
        self._skip_rule = head.i_interval, *head.p_interval
        self.lost, self.ended = 0, False

    def frames(self) -> Iterator[tuple[str, int, list[int]]]:
        """(I, S or G; time in µs; numbers) of every frame that is whole."""
        data, forms, end = self._data, self._head.forms, len(self._data)
        at = 0
        last: list[int] | None = None
        before: list[int] = []
        home: list[int] = []
        t_us = turns = 0
        names = forms["I"].names if "I" in forms else ()
        time_at = names.index("time") if "time" in names else None
        loop_at = names.index("loopIteration") if "loopIteration" in names else None
        while at < end:
            kind = chr(data[at])
            self._at = at + 1
            try:
                if kind == "E":
                    if self._event():
                        self.ended = True
                        return
                elif kind in forms and (kind != "P" or last is not None):
                    values = self._frame(forms[kind], kind, last or [], before, home, t_us)
                    if self._at < end and data[self._at] not in _FRAMES:
                        raise _Damage
                    if kind in "IP":
                        if kind == "P" and last is not None and not _goes_on(values, last, loop_at, time_at):
                            last = None
                            raise _Damage
                        before = values if kind == "I" or last is None else last
                        last = values
                        if time_at is not None:
                            now = values[time_at] % _WRAP
                            turns += now < t_us % _WRAP - _HALF
                            t_us = now + turns * _WRAP
                        yield "I", t_us, values
                    elif kind == "H":
                        home = values
                    else:
                        yield kind, t_us, values
                else:
                    raise _Damage
                at = self._at
            except (_Damage, IndexError):
                if kind in "IP":
                    last = None
                self.lost += 1
                at += 1

    def _frame(
        self, form: _Form, kind: str, last: list[int], before: list[int], home: list[int], t_us: int
    ) -> list[int]:
        raw: list[int] = []
        for encoding, count in form.groups:
            if encoding == _SIGNED:
                raw.append(self._signed())
            elif encoding == _UNSIGNED:
                raw.append(self._unsigned())
            elif encoding == _NULL:
                raw.append(0)
            else:
                raw += self._packed(encoding, count)
        values: list[int] = []
        homes = 0
        for k, (value, predictor, signed) in enumerate(zip(raw, form.predictors, form.signed, strict=True)):
            if predictor == _PREVIOUS:
                value += last[k] if kind in "IP" and last else 0
            elif predictor == _LINE:
                value += 2 * last[k] - before[k] if last else 0
            elif predictor == _AVERAGE:
                value += int((last[k] + before[k]) / 2) if last else 0
            elif predictor == _MOTOR_0:
                value += values[form.names.index("motor[0]")] if "motor[0]" in form.names[:k] else 0
            elif predictor == _INCREMENT:
                value = (last[k] if last else 0) + 1 + self._skipped(last[0] if last else 0)
            elif predictor == _HOME:
                value += home[homes] if homes < len(home) else 0
                homes += 1
            elif predictor == _MAIN_TIME:
                value += t_us
            elif predictor:
                value += self._head.offsets.get(predictor, 0)
            value %= _WRAP
            values.append(value - _WRAP if signed and value >= _HALF else value)
        return values

    def _skipped(self, loop: int) -> int:
        """Loops after this one that are not logged."""
        interval, num, denom = self._skip_rule
        for k in range(min(interval, 10_000)):
            if ((loop + 1 + k) % interval + num - 1) % denom < num:
                return k
        return 0

    # --- numbers ------------------------------------------------------------------------------------------------------

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _unsigned(self) -> int:
        """7 bits a byte, the lowest first."""
        data, at = self._data, self._at
        byte = data[at]
        if byte < 0x80:
            self._at = at + 1
            return byte
        value, shift = byte & 0x7F, 7
        while shift < 35:
            at += 1
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._at = at + 1
                return value & (_WRAP - 1)
            shift += 7
        raise _Damage

    def _signed(self) -> int:
        """Zigzag."""
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _packed(self, encoding: int, count: int) -> list[int]:
        if encoding == _NEG_14:
            return [-_extended(self._unsigned() & 0x3FFF, 14)]
        if encoding == _TAG8_8:
            if count == 1:
                return [self._signed()]
            there = self._byte()
            return [self._signed() if there >> k & 1 else 0 for k in range(count)]
        if encoding == _TAG2_3:
            return self._tag2_3()[:count]
        if encoding == _TAG2_3V:
            return self._tag2_3_variable()[:count]
        if encoding == _TAG8_4:
            return (self._tag8_4() if self._head.version >= 2 else self._tag8_4_first())[:count]
        raise _Damage

    def _tag2_3(self) -> list[int]:
        """Three numbers of 2, 4 or 6 bits, or of 1 to 4 bytes each."""
        first = self._byte()
        size = first >> 6
        if size == 0:
            return [_extended(first >> shift & 3, 2) for shift in (4, 2, 0)]
        if size == 1:
            second = self._byte()
            return [_extended(v, 4) for v in (first & 15, second >> 4, second & 15)]
        if size == 2:
            return [_extended(v & 63, 6) for v in (first, self._byte(), self._byte())]
        return self._by_bytes(first)

    def _tag2_3_variable(self) -> list[int]:
        """Three numbers of 2 bits, of 5, 5 and 4, of 8, 7 and 7, or of 1 to 4 bytes each."""
        first = self._byte()
        size = first >> 6
        if size == 0:
            return [_extended(first >> shift & 3, 2) for shift in (4, 2, 0)]
        if size == 1:
            second = self._byte()
            return [
                _extended(first >> 1 & 31, 5),
                _extended((first & 1) << 4 | second >> 4, 5),
                _extended(second & 15, 4),
            ]
        if size == 2:
            second, third = self._byte(), self._byte()
            low = (second & 63) << 1 | third >> 7
            return [_extended((first & 63) << 2 | second >> 6, 8), _extended(low, 7), _extended(third & 127, 7)]
        return self._by_bytes(first)

    def _by_bytes(self, first: int) -> list[int]:
        found = []
        for k in range(3):
            size = (first >> 2 * k & 3) + 1
            value = int.from_bytes(self._data[self._at : self._at + size], "little", signed=True)
            if self._at + size > len(self._data):
                raise _Damage
            self._at += size
            found.append(value)
        return found

    def _tag8_4(self) -> list[int]:
        """Four numbers of 0, 4, 8 or 16 bits, in half bytes, the higher first."""
        sizes = self._byte()
        bits = [(0, 4, 8, 16)[sizes >> 2 * k & 3] for k in range(4)]
        length = (sum(bits) + 7) // 8
        if self._at + length > len(self._data):
            raise _Damage
        whole = int.from_bytes(self._data[self._at : self._at + length], "big")
        self._at += length
        left, found = 8 * length, []
        for size in bits:
            left -= size
            found.append(_extended(whole >> left & ((1 << size) - 1), size) if size else 0)
        return found

    def _tag8_4_first(self) -> list[int]:
        """The same as version 1 of the data had it: halves come two by two, the lower first."""
        sizes = self._byte()
        found: list[int] = []
        while len(found) < 4:
            size = sizes >> 2 * len(found) & 3
            if size == 0:
                found.append(0)
            elif size == 1:
                both = self._byte()
                found.append(_extended(both & 15, 4))
                if len(found) < 4:
                    found.append(_extended(both >> 4, 4))
            elif size == 2:
                found.append(_extended(self._byte(), 8))
            else:
                found.append(_extended(self._byte() | self._byte() << 8, 16))
        return found

    def _event(self) -> bool:
        """Go past an event; whether it is the end of the log."""
        kind = self._byte()
        if kind == 255:
            if self._data[self._at : self._at + 10] != b"End of log":
                raise _Damage
            return True
        if kind == 13:  # an adjustment in flight
            if self._byte() & 0x80:
                self._at += 4
            else:
                self._signed()
        elif kind in (0, 15):
            self._unsigned()
        elif kind in (14, 30):
            self._unsigned()
            self._unsigned()
        else:
            raise _Damage
        return False


def _extended(value: int, bits: int) -> int:
    """A number of so many bits, with its sign."""
    return value - (1 << bits) if value >> (bits - 1) else value


def _goes_on(values: list[int], last: list[int], loop_at: int | None, time_at: int | None) -> bool:
    """Whether a frame may follow the last."""
    if loop_at is not None and not 0 <= values[loop_at] - last[loop_at] < _FURTHEST_LOOPS:
        return False
    return time_at is None or (values[time_at] - last[time_at]) % _WRAP < _FURTHEST_US
