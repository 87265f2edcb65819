"""Readings of several rates → one row: each reading of one source is a tick, of the others the latest value counts.

    ticks = Ticks([Wanted(0, 2), Wanted(1, 0, max_age_ns=50_000_000)])
    ticks.keep(1, t_ns, values)       # a reading of source 1
    row = ticks.row(t_ns, values)     # a reading of source 0, the tick → a number for each Wanted, NaN where missing

Its rule: a value is the latest that came before the tick, and not older than its age, in whole ns: the rows of a
backward as-of join with a tolerance. What came before is what was given before, so order decides, and times only say
how old a value is. A number that is not finite did not come: the one before it stays the latest. Live readings,
recordings and tables all go through here, and there is no clock in here, so they have the same rows.

Never: fill in a value, but for the constant that was declared to stand for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isfinite, nan
from operator import itemgetter
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError, nearest
from edge_lstm.logs.log import Block, Column, Log
from firmware_bridge.remembered import Remembers, Tree, check

Row = Sequence[float]


class Wanted(NamedTuple):
    """One number of a tick. source: 0 is the tick's own; place: in a reading of that source; max_age_ns: of another
    source's value; constant: what stands for it where it is missing."""

    source: int
    place: int
    max_age_ns: int = 0
    constant: float | None = None


class Ticks(Remembers):
    """The latest values of several sources."""

    REMEMBERED: ClassVar = {"_values": list[float], **dict.fromkeys(("_times", "absent", "late"), list[int])}

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        own = [k for k, w in enumerate(wanted) if w.source == 0]
        others = [k for k, w in enumerate(wanted) if w.source]
        self._own = picker([wanted[k].place for k in own])
        self._in_order = picker([[*own, *others].index(k) for k in range(len(wanted))])
        self._feeds: dict[int, list[tuple[int, int]]] = {}  # source → (number among the others, place)
        for n, k in enumerate(others):
            self._feeds.setdefault(wanted[k].source, []).append((n, wanted[k].place))
        self._ages = [wanted[k].max_age_ns for k in others]
        self._others = others
        self._constants = [(k, w.constant) for k, w in enumerate(wanted) if w.constant is not None]
        self.absent = [0] * len(wanted)  # of the ticks that were looked at: where a number held none, or never came
        self.late = [0] * len(wanted)  # where it was too old
        self.forget()

    def taken(self, tree: Tree) -> list[Callable[[], None]]:
        """See `Remembers.taken`."""
        changes = super().taken(tree)
        sizes = len(self._ages), len(self._ages), len(self.absent), len(self.late)
        found = tuple(len(tree[name]) for name in ("_values", "_times", "absent", "late"))
        check(found == sizes, "it is of other readings")
        return changes

    def keep(self, source: int, t_ns: int, values: Row) -> None:
        """A reading of another source; one that nothing is wanted of is nobody's."""
        for n, place in self._feeds.get(source, ()):
            if isfinite(value := values[place]):
                self._values[n], self._times[n] = value, t_ns

    def row(self, t_ns: int, values: Row) -> Row:
        """The numbers of a tick."""
        row: Row = self._own(values)
        if self._others:
            kept = zip(self._values, self._times, self._ages, strict=True)
            row = self._in_order([*row, *[value if t_ns - then <= age else nan for value, then, age in kept]])
        for k, constant in self._constants:
            if not isfinite(row[k]):
                row = [*row[:k], constant, *row[k + 1 :]]
        return row

    def look(self, row: Row) -> None:
        """Count what is missing in this row, the latest."""
        for k, value in enumerate(row):
            if not isfinite(value):
                late = k in self._others and isfinite(self._values[self._others.index(k)])
                (self.late if late else self.absent)[k] += 1

    def follow(self, old: Ticks) -> None:
        """Go on with the latest values of another one's sources, as far as it kept them."""
        known = {(source, place): n for source, feeds in old._feeds.items() for n, place in feeds}
        for source, feeds in self._feeds.items():
            for n, place in feeds:
                if (theirs := known.get((source, place))) is not None:
                    self._values[n], self._times[n] = old._values[theirs], old._times[theirs]

    def forget(self) -> None:
        """No value is known: the robot has started again."""
        self._values, self._times = [nan] * len(self._ages), [0] * len(self._ages)


def picker(places: Sequence[int]) -> Callable[[Row], Row]:
    """The fastest way to take these places out of a row, always as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return (lambda row: (row[places[0]],)) if places else lambda row: ()


class TableTicks:
    """The ticks of a table whose columns come at several rates (an outer join: rows with blanks). A row is a tick where
    any of the tick's columns holds a number; of each other column the latest number counts, that of the same row
    included."""

    def __init__(
        self,
        columns: Sequence[Column],
        tick: Sequence[Column] | None,
        max_age_ns: Sequence[int | None],
        constants: Sequence[float | None] = (),
        topics: Sequence[int] | None = None,
    ) -> None:
        """columns: for each channel of the model, as `matching.match` finds them; tick: the tick's, None: each row is a
        tick; max_age_ns, constants: for each channel; topics: those whose messages are the ticks, of a log of several
        topics, then `tick` is all columns of them that are read. LogError: a channel of another column has no age."""
        extra = [c for c in tick or () if c not in columns]
        self.columns = [*columns, *extra]  # to be read
        self._tick = None if tick is None else [k for k, c in enumerate(self.columns) if c in tick]
        wanted = []
        for k, found in enumerate(columns):
            constant = constants[k] if constants else None
            if constant is not None:  # it is in the channel's unit, as everywhere
                constant = (constant - found.plus) / found.factor
            if tick is None or found in tick:
                wanted.append(Wanted(0, k, 0, constant))
                continue
            if (age := max_age_ns[k]) is None:
                raise LogError(
                    f"column {found.title!r} is none of the tick's, so say how old its latest value may be, in ms: "
                    f"--max-age 100, or --max-age '{found.title}=100'"
                )
            wanted.append(Wanted(1, k, age, constant))
        self.ticks = Ticks(wanted)
        self.rows = 0  # of the table
        self._topics = topics

    def __call__(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The blocks of the ticks alone, with the channels' columns; each holds one tick at least."""
        size, waiting = 0, False  # waiting: another recording has begun, and no tick has come since
        for block in blocks:
            size += block.size
            at, rows = self._rows(block)
            if at:
                lines, texts = [block.lines[k] for k in at], [block.time_text[k] for k in at]
                starts = {*np.searchsorted(at, block.begins).tolist()} | ({0} if waiting else set())
                waiting = len(at) in starts
                begins = tuple(sorted(starts - {len(at)}))
                yield Block(lines, texts, block.t_s[at], np.array(rows, np.float64), size, begins)
                size = 0
            else:
                waiting = waiting or bool(block.begins)

    def why(self) -> str:
        """A sentence about a table without a tick."""
        names = ", ".join(repr(self.columns[k].title) for k in self._tick or ())
        if self._topics is not None:
            return f"none of its {self.rows} messages is of the tick's topic"
        return f"none of its {self.rows} rows holds a number in {names}, so there is no tick"

    def _rows(self, block: Block) -> tuple[list[int], list[Row]]:
        """Which rows are ticks, and what they hold."""
        ticks, at, rows, begins = self.ticks, [], [], set(block.begins)
        times = np.rint(block.t_s * 1e9).astype(np.int64).tolist()
        ticked = self._ticked(block).tolist()
        self.rows += len(times)
        for k, (t_ns, values, tick) in enumerate(zip(times, block.values.tolist(), ticked, strict=True)):
            if k in begins:
                ticks.forget()
            ticks.keep(1, t_ns, values)
            if tick:
                row = ticks.row(t_ns, values)
                ticks.look(row)
                at.append(k)
                rows.append(row)
        return at, rows

    def _ticked(self, block: Block) -> npt.NDArray[np.bool_]:
        """Which rows are ticks."""
        if self._topics is not None and block.topics is not None:
            return np.isin(block.topics, self._topics)
        told = np.ones((len(block.t_s), 1)) if self._tick is None else block.values[:, self._tick]
        return np.asarray(np.isfinite(told).any(axis=1))


def table_ticks(
    log: Log,
    columns: Sequence[Column],
    tick: Sequence[str] = (),
    max_age: Sequence[str] = (),
    constants: Sequence[float | None] = (),
) -> TableTicks | None:
    """What the options say: --tick COLUMN,… or TOPIC, and --max-age MS or COLUMN=MS,…; None where each row is a tick as
    it is. columns, constants: for each channel of the model. LogError where they do not fit the log, or the channels
    are of several topics and nothing says which is the tick."""
    names = log.topic_names()
    topics = log.tick_topics(tick) if tick else None
    of = list(dict.fromkeys(names[c.topic] for c in columns)) if names else []
    if len(of) > 1 and not tick:
        raise LogError(
            f"{log.path}: the channels are of {len(of)} topics, {', '.join(of)}; say whose messages are the ticks with "
            f"--tick {of[0]}, and with --max-age how many ms old the others' latest values may be"
        )
    found = [(title, log.find(title)) for title in tick] if topics is None else []
    ages: dict[str, float] = {}
    for item in max_age:
        title, _, text = item.rpartition("=")
        try:
            ages[title] = float(text)
        except ValueError:
            ages[title] = nan
        if not 0 < ages[title] < 1e12:
            raise LogError(f"--max-age {item}: {text!r} is no number of milliseconds above 0")
    if not tick and ages:
        raise LogError("--max-age goes with --tick COLUMN: without it each row is a tick, and nothing grows old")
    for title, column in found:
        if column is None:
            raise LogError(f"{log.path}: --tick: no column {title!r}{log.near(title)}")
        if column is log.time:
            raise LogError(f"{log.path}: --tick: {title!r} is the time, which each row has; name a reading's column")
    known = [name for c in columns for name in (c.title, c.name)] + of
    for title in ages:
        if title and title not in known:
            raise LogError(f"{log.path}: --max-age: {title!r} feeds no channel{nearest(title, known)}")
    if not tick and not any(constant is not None for constant in constants):
        return None
    general = [ages.get(names[c.topic] if names else "", ages.get("")) for c in columns]
    own = [ages.get(c.title, ages.get(c.name, age)) for c, age in zip(columns, general, strict=True)]
    ages_ns = [None if age is None else round(age * 1e6) for age in own]
    if topics is not None:
        own_columns = [c for c in columns if c.topic in topics]
        heard = {c.topic for c in own_columns}
        first = [next((c for c in log.columns if c.topic == t and c is not log.time), None) for t in topics]
        if None in first:
            raise LogError(f"{log.path}: --tick: {names[topics[first.index(None)]]!r} holds no numbers")
        own_columns += [c for c in first if c is not None and c.topic not in heard]  # so that its messages are read
        return TableTicks(columns, own_columns, ages_ns, constants, topics)
    return TableTicks(columns, [c for _, c in found if c is not None] or None, ages_ns, constants)
