"""What every log of readings is, whatever its format: columns with a time among them, and rows in blocks.

Its rule: a log says what it holds (columns, units, time, and in `notes` what it had to assume) before a row is read,
and gives its rows in order, in blocks, so that a long one is never whole in memory. Its numbers are what the file says,
NaN where a reading is missing; units and rates are the caller's business.

Never: know a format. Each has a file of its own beside this one, and a line in `READERS` (`logs/__init__.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, overload

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError, nearest
from firmware_bridge.words import plural

_LONGEST = 60  # characters of a title in a sentence
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}  # what one unit of time is
UNITS = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "milliseconds": "ms", "millis": "ms",
         "usec": "us", "µs": "us", "μs": "us", "micros": "us", "microseconds": "us", "nsec": "ns", "nanoseconds": "ns",
         **{u: u for u in SECONDS}}  # fmt: skip
TIME_NAMES = {"time", "t", "timestamp", "ts", "stamp", "elapsed", "elapsedtime", "unixtime", "epoch", "timesincestart",
              "datetime", "date", "timeofday", "systemtime", "uptime"}  # fmt: skip
TOLD = 5  # numbers of lines in a sentence


@dataclass(frozen=True)
class Column:
    """One column: `title` as the log has it, `name` and `unit` taken apart ("Gyroscope X (deg/s)")."""

    index: int
    title: str
    name: str
    unit: str
    topic: int = 0  # which of the log's topics it is of; a table is all of one
    factor: float = field(default=1.0, compare=False)  # what feeds a channel is number * factor + plus
    plus: float = field(default=0.0, compare=False)


class Texts(Sequence[str]):
    """Numbers as texts, which are made when they are asked for: only what is written needs them."""

    def __init__(self, numbers: npt.NDArray[np.int64] | Doubles) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return map(repr, self._numbers.tolist())

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Texts: ...

    def __getitem__(self, index: int | slice) -> str | Texts:
        return Texts(self._numbers[index]) if isinstance(index, slice) else repr(self._numbers[index].item())


@dataclass(frozen=True)
class Block:
    """Some rows: their times as the log writes them, in seconds since the first row of the log, and numbers."""

    lines: Sequence[int]  # where each row stands in the file: the number of its line, or of the row
    time_text: Sequence[str]
    t_s: Doubles  # (T,)
    numbers: Doubles | Floats  # (T, columns asked for); float32 only where the file's are; NaN = missing
    size: int  # how much of the log's `size` this was, for progress
    begins: tuple[int, ...] = ()  # rows with which another recording begins: what was remembered before is forgotten
    topics: npt.NDArray[np.int64] | None = None  # (T,) which topic each row is a message of; None: the log is a table

    @property
    def values(self) -> Doubles:
        """(T, columns asked for) in float64, whatever the file holds: made anew of float32."""
        return self.numbers.astype(np.float64, copy=False)


class Log(Protocol):
    """A log, opened. Whoever reads a format derives from this, and is made with the path and the options of
    `open_log`; LogError, with file and place, for whatever cannot be read."""

    path: Path
    size: int  # of the whole, for progress: about the sum of the blocks' sizes
    columns: tuple[Column, ...]
    time: Column  # one of the columns
    time_unit: str  # of `Block.time_text`, for people
    notes: list[str]  # sentences: what was concluded about the log, and how
    place: str = "line"  # what `Block.lines` counts, for people

    def find(self, name: str) -> Column | None:
        """The column of this title, or else of this name (without case, spaces and units). LogError where two fit."""
        exact = [c for c in self.columns if c.title == name]
        fits = exact or [c for c in self.columns if normal(name) in (normal(c.name), normal(c.title))]
        if len(fits) > 1:
            places = " and ".join(f"column {c.index + 1} {c.title!r}" for c in fits)
            raise LogError(f"{self.path}: {name!r} could be {places}; give them different names in the header")
        return fits[0] if fits else None

    def near(self, name: str, taken: Sequence[str] = ()) -> str:
        """The end of a sentence about a name that no column has. taken: titles of columns that are not meant."""
        return nearest(name, [c.title[:_LONGEST] for c in self.columns if c.title not in taken])

    def tick_topics(self, titles: Sequence[str]) -> list[int] | None:
        """The topics that --tick names; None in a table, whose ticks are told by columns."""
        return None

    def topic_names(self) -> Sequence[str]:
        """What `Column.topic` counts; nothing in a table."""
        return ()

    def unwrapped(self) -> Log:
        """The log itself, where this one only stands for it."""
        return self

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """All rows in order, at least one. vocabularies: place in `columns` → words, whose index stands for the
        word."""


def normal(name: str) -> str:
    """A name as it is compared between a log and a model: without case, spaces, underscores, hyphens and dots."""
    return re.sub(r"[\s_\-.]+", "", name).casefold()


def column(index: int, title: str) -> Column:
    """Take "name (unit)" and "name [unit]" apart; a time unit may also be a suffix ("t_ns", "time_ms")."""
    title = title.strip()
    found = re.fullmatch(r"(.*?)\s*[(\[]([^()\[\]]*)[)\]]", title)
    if found and found[1] and not re.fullmatch(r"\d+", found[2]):  # x[3] is a place, not a unit
        return Column(index, title, found[1].strip(), found[2].strip())
    stem, _, suffix = title.rpartition("_")
    if stem and suffix.lower() in UNITS and normal(stem) in TIME_NAMES:
        return Column(index, title, stem, suffix)
    return Column(index, title, title, "")


def where(lines: Sequence[int], count: int, place: str = "line") -> str:
    """Lines for people: "lines 3, 7, … (40)". place: what they are, if no lines."""
    more = f", … ({count})" if count > len(lines) else ""
    return f"{plural(count, place)} {', '.join(map(str, lines))}{more}"
