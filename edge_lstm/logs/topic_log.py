"""Logs of several topics: bags, flight logs, MCAP. Messages of many kinds at many rates, each with its time.

Its rule: one message is one row, in the order of time, with numbers in its own topic's columns and NaN in the others:
an outer join. Which rows are ticks, and how old a value of another topic may be, is for `ticks.py` to say, as for
tables and live robots. A column is called TOPIC.field, the elements of an array [0], [1] …, joints by their names,
further instances of a topic TOPIC[1]; a name as PlotJuggler spells it, /topic/field/x, is understood, too.

Messages come out of their file in batches, so a long log is never whole in memory; those that were written a little too
late (a logger's threads) are put in order within `_REORDER` messages and `_LATE_NS`, where a clock that was set back is
left as it is. What is damaged is read up to the damage, and a note says where.

Never: know a format. Each has a file in `formats/` that brings topics and their messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError, nearest
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.log import Block, Column, Doubles, Log, Texts, normal
from edge_lstm.logs.times import Clock
from firmware_bridge.words import counted, plural

_BATCH, _BATCH_CELLS, _BATCH_BYTES = 8192, 1 << 22, 1 << 25  # messages, numbers and bytes that are in memory at once
_REORDER, _LATE_NS = 1024, 1_000_000_000
_TOLD = 5  # columns in a sentence
MOST_ELEMENTS = 256  # of an array, as columns: a longer one is a picture or a cloud of points
MOST_COLUMNS = 1 << 16  # of a log

Record = tuple[int, int, bytes]  # t_ns, which topic, message
Decode = Callable[[Sequence[bytes], Sequence[str]], Doubles]  # messages, names → (messages, names), NaN where missing
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Topic:
    """One topic: its name, the names and units of its numbers, and how its messages are read. A message that cannot be
    read is a row of NaN. kind: what its log calls such messages, "" where it calls them nothing. derived: its numbers
    were made of readings, so only its whole name finds them."""

    name: str
    fields: tuple[str, ...]
    decode: Decode
    units: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    derived: bool = False


class Part(NamedTuple):
    """Some messages of one topic: which of a batch, their times, and the numbers asked for."""

    topic: int
    at: Times
    t_ns: Times
    values: Doubles


Parts = tuple[int, list[Part], int]  # how many messages, those of each topic, how many bytes they were


class TopicLog(Log):
    """What logs of several topics share. A format opens its file, calls `hold` with its topics and gives `records`; or,
    where it finds many at once, `parts`."""

    topics: tuple[Topic, ...]
    place = "message"  # of those topics that are read

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`; such a log says its times itself."""
        asked.refuse(path, ("clock",), "a log of messages, which says their times itself")
        self.path, self.notes = path, []
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise LogError(f"{path}: cannot be read: {error.strerror or error}") from None
        if not self.size:
            raise LogError(f"{path}: is empty")
        self.clock = asked.clock or "log"

    def hold(self, topics: Sequence[Topic]) -> None:
        """What the log holds, known from its head. LogError where that is nothing."""
        if not topics:
            raise LogError(f"{self.path}: holds no message{self._why()}")
        self.topics = tuple(topics)
        columns, twins = [Column(0, "t_ns", "t", "ns")], set[str]()
        seen = set[str]()
        for number, topic in enumerate(self.topics):
            (twins if topic.name in seen else seen).add(topic.name)
            for name in topic.fields:
                title = f"{topic.name}.{name}"
                columns.append(Column(len(columns), title, title, topic.units.get(name, ""), number))
        if len(columns) > MOST_COLUMNS:
            raise LogError(f"{self.path}: has {len(columns):,} columns; more than {MOST_COLUMNS:,} are not read")
        self.columns, self.time, self.time_unit = tuple(columns), columns[0], "ns"
        self._twins = twins
        if self.clock == "header" and not any(_stamp(topic) for topic in self.topics):
            raise LogError(f"{self.path}: no topic of it has a header.stamp; leave out --clock header")
        self._spelled: dict[str, list[Column]] = {}
        self._by_field: dict[str, list[Column]] = {}
        for column in columns[1:]:
            self._spelled.setdefault(_spelling(column.title), []).append(column)
            if not self.topics[column.topic].derived:
                self._by_field.setdefault(normal(self._field(column)), []).append(column)

    def records(self, topics: frozenset[int]) -> Iterator[Record]:
        """The messages of these topics, in the order of the file, up to its end or its damage."""
        raise NotImplementedError

    def damaged(self, why: str) -> None:
        """Note where the file's damage begins, or how it ends; once."""
        self.note(f"it is read up to its damage: {why}")

    def note(self, sentence: str) -> None:
        """Add a sentence to the notes, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _why(self) -> str:
        return f" ({'; '.join(self.notes)})" if self.notes else ""

    # --- names --------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Column | None:
        """As `Log.find`; also as PlotJuggler spells it, and without its topic where one alone has such a field.
        LogError where several columns have that name."""
        exact = [c for c in self.columns[1:] if c.title == name] or self._spelled.get(_spelling(name), [])
        if len(exact) > 1:
            names = [self.topics[c.topic].name for c in exact]
            if len({*names}) == 1:
                raise LogError(f"{self.path}: {name!r} could be of either of two topics called {names[0]!r}")
        found = exact[0] if len(exact) == 1 else super().find(name)
        bare = self._by_field.get(normal(name), []) if found is None else []
        if len(bare) > 1:
            several = ", ".join(c.title for c in bare[:_TOLD]) + (f", … ({len(bare)})" if len(bare) > _TOLD else "")
            raise LogError(f"{self.path}: {name!r} could be any of {several}; say which by its whole name")
        return bare[0] if bare else found

    def near(self, name: str, taken: Sequence[str] = ()) -> str:
        """As `Log.near`: among the fields of the topic that it names, where it names one; and without topics."""
        free = [c for c in self.columns[1:] if c.title not in taken]
        spelled = _spelling(name) + "."
        of = [c for c in free if spelled.startswith(_spelling(self.topics[c.topic].name) + ".")]
        if of:
            return nearest(name, [c.title for c in of])
        bare = dict.fromkeys(self._field(c) for c in free if not self.topics[c.topic].derived)
        return nearest(name, [c.title for c in free] if "/" in name else [*bare])

    def topic(self, name: str) -> int | None:
        """The number of the topic of this name. LogError where there are two."""
        fits = [k for k, topic in enumerate(self.topics) if _spelling(topic.name) == _spelling(name)]
        fits = [k for k in fits if self.topics[k].name == name] or fits
        if len(fits) > 1:
            raise LogError(f"{self.path}: has {len(fits)} topics called {name!r} that are of different kinds")
        return fits[0] if fits else None

    def tick_topics(self, titles: Sequence[str]) -> list[int]:
        """The topics that --tick names, or those of the columns it names. LogError: no such topic."""
        found = []
        for title in titles:
            topic = self.topic(title)
            if topic is None and (column := self.find(title)) is not None:
                topic = column.topic
            if topic is None:
                near = nearest(title, [t.name for t in self.topics])
                raise LogError(
                    f"{self.path}: --tick: no topic {title!r}{near} (edge-lstm channels lists those with messages)"
                )
            found.append(topic)
        return found

    def topic_names(self) -> Sequence[str]:
        """As `Log.topic_names`."""
        return [topic.name for topic in self.topics]

    # --- rows ---------------------------------------------------------------------------------------------------------

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """As `Log.blocks`: the messages of the topics that these columns are of; of all where there are none."""
        if vocabularies:
            raise LogError(f"{self.path}: holds numbers, and the model wants words")
        wanted: dict[int, list[int]] = {}
        for place, column in enumerate(columns):
            if column is not self.time:
                wanted.setdefault(column.topic, []).append(place)
        names = {topic: [self._field(columns[k]) for k in places] for topic, places in wanted.items()}
        if twins := [self.topics[t].name for t in wanted if self.topics[t].name in self._twins]:
            raise LogError(
                f"{self.path}: has two topics called {twins[0]!r} that are of different kinds; take out one of them, "
                "or record it under another name"
            )
        clock, count = Clock(1e-9, by_clock=False), 0
        for parts in self.recordings(names or dict.fromkeys(range(len(self.topics)), ())):
            begins = (0,) if count else ()
            for t_ns, topics, values, size in self._ordered(_joined(parts, wanted, len(columns))):
                lines = range(count + 1, count + len(t_ns) + 1)
                count += len(t_ns)
                t_s, _ = clock(t_ns, sure=begins)
                yield Block(lines, Texts(t_ns), t_s, values, size, begins, topics)
                begins = ()
        if not count:
            of = ", ".join(self.topics[t].name for t in wanted)
            raise LogError(f"{self.path}: holds no message{' of ' + of if of else ''}{self._why()}")

    def recordings(self, names: Mapping[int, Sequence[str]]) -> Iterator[Iterator[Parts]]:
        """As `parts`, of each of the recordings that the file holds one after the other: most hold one."""
        yield self.parts(names)

    def parts(self, names: Mapping[int, Sequence[str]]) -> Iterator[Parts]:
        """Batches in the order of the file: how many messages, those of each topic with the numbers of these names, and
        how many bytes they were."""
        return self.batches(self.records(frozenset(names)), names)

    def batches(self, records: Iterator[Record], names: Mapping[int, Sequence[str]]) -> Iterator[Parts]:
        """As `parts`, of these messages."""
        most = self.most(names)
        clocks = {k: stamp for k in names if self.clock == "header" and (stamp := _stamp(self.topics[k]))}
        if self.clock == "header":
            self.note("times are those of header.stamp")
            for k in names.keys() - clocks.keys():
                self.note(f"{self.topics[k].name} has no header.stamp: its log time is taken")
        unread = dict.fromkeys(names, 0)
        for batch in _batches(records, most):
            times = np.array([record[0] for record in batch], np.int64)
            of = np.array([record[1] for record in batch], np.int64)
            found = []
            for k in np.unique(of).tolist():
                at = np.flatnonzero(of == k)
                messages = [batch[n][2] for n in at.tolist()]
                decode, t_ns = self.topics[k].decode, times[at]
                values = decode(messages, names[k])
                if k in clocks:
                    stamps = decode(messages, clocks[k])
                    there = np.isfinite(stamps).all(axis=1)
                    t_ns[there] = stamps[there].astype(np.int64) @ np.array([1_000_000_000, 1])
                unread[k] += int(np.isnan(values).all(axis=1).sum()) if names[k] else 0
                found.append(Part(k, at, t_ns, values))
            yield len(batch), found, sum(len(record[2]) for record in batch)
        for k, many in unread.items():
            if many:
                holds = plural(many, "holds", "hold")
                self.note(f"{counted(many, 'message')} of {self.topics[k].name} {holds} none of the numbers")

    @staticmethod
    def most(names: Mapping[int, Sequence[str]]) -> int:
        """How many messages a batch has at most."""
        return max(64, min(_BATCH, _BATCH_CELLS // max(1, sum(map(len, names.values())))))

    def _field(self, column: Column) -> str:
        return column.title[len(self.topics[column.topic].name) + 1 :]

    def _ordered(
        self, batches: Iterator[tuple[Times, Times, Doubles, int]]
    ) -> Iterator[tuple[Times, Times, Doubles, int]]:
        """The same in the order of time, as far as it was written a little late."""
        held: tuple[Times, Times, Doubles, int] | None = None
        for batch in batches:
            now = batch if held is None else _chained(held, batch)
            order = _in_time(now[0])
            now = now[0][order], now[1][order], now[2][order], now[3]
            ready = len(order) - _REORDER
            if ready > 0:
                yield now[0][:ready], now[1][:ready], now[2][:ready], now[3]
                now = now[0][ready:], now[1][ready:], now[2][ready:], 0
            held = now
        if held is not None:
            yield held


def _joined(
    batches: Iterator[Parts], places: Mapping[int, Sequence[int]], width: int
) -> Iterator[tuple[Times, Times, Doubles, int]]:
    """Batches as the outer join: times, which topic, values (messages, columns), bytes."""
    for count, parts, size in batches:
        t_ns, of = np.empty(count, np.int64), np.empty(count, np.int64)
        values = np.full((count, width), np.nan)
        for part in parts:
            t_ns[part.at], of[part.at] = part.t_ns, part.topic
            if part.topic in places:
                values[part.at[:, None], np.array(places[part.topic])] = part.values
        yield t_ns, of, values, size


def _chained(
    one: tuple[Times, Times, Doubles, int], other: tuple[Times, Times, Doubles, int]
) -> tuple[Times, Times, Doubles, int]:
    t_ns, of, values = (np.concatenate([a, b]) for a, b in zip(one[:3], other[:3], strict=True))
    return t_ns, of, values, one[3] + other[3]


def _in_time(t_ns: Times) -> Times:
    """The order of time, stable; a fall of more than `_LATE_NS` begins anew, as a clock that was set back does."""
    newest = np.maximum.accumulate(t_ns)
    if np.array_equal(newest, t_ns):
        return np.arange(len(t_ns))
    begun = np.zeros(len(t_ns), np.int64)
    start = 0
    while True:
        highest = np.maximum.accumulate(t_ns[start:])
        falls = np.flatnonzero(t_ns[start:] < highest - _LATE_NS)
        if not len(falls) or begun[-1] > _REORDER:  # times that jump about are damage, and left as they are
            break
        start += int(falls[0])
        begun[start:] += 1
    return np.lexsort((t_ns, begun))


def _batches(records: Iterator[Record], most: int) -> Iterator[list[Record]]:
    """In lists of so many, fewer where they are large."""
    while batch := list(islice(records, min(most, 64))):
        size = sum(len(record[2]) for record in batch)
        while len(batch) < most and size < _BATCH_BYTES:
            more = list(islice(records, min(most - len(batch), 64)))
            if not more:
                break
            batch += more
            size += sum(len(record[2]) for record in more)
        yield batch


def _stamp(topic: Topic) -> list[str]:
    """The names of its header's seconds and nanoseconds, if it has one."""
    for seconds, rest in (("sec", "nanosec"), ("sec", "nsec"), ("seconds", "nanos")):
        names = [f"header.stamp.{seconds}", f"header.stamp.{rest}"]
        if {*names} <= {*topic.fields}:
            return names
    return []


def _spelling(name: str) -> str:
    """A name as ROS and PlotJuggler would both spell it: parts with dots between, also where an element is [2], .2 or
    .02, an instance [1] or .01, a joint [left]."""
    parts = [part for part in re.split(r"[/.\[\]]+", name) if part]
    return ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in parts)
