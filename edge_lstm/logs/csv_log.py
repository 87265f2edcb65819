"""Comma-separated logs: a header, a time column, readings. Tabs and semicolons are understood by the header.

Rule: a fast parser for blocks that are as they should be, and a slow one that knows line and column for the others;
both give the same numbers. A cell without a number (empty, nan, inf, na, null, none) is a missing reading, NaN here.

Never: skip a line that is not empty, or accept a cell that is not a number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError

Doubles = npt.NDArray[np.float64]

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_UNITS = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "milliseconds": "ms", "millis": "ms",
          "usec": "us", "µs": "us", "μs": "us", "micros": "us", "microseconds": "us", "nsec": "ns", "nanoseconds": "ns",
          **{u: u for u in SECONDS}}  # fmt: skip
_TIME_NAMES = {"time", "t", "timestamp", "ts", "stamp", "elapsed", "elapsedtime", "unixtime", "epoch", "timesincestart"}
_MISSING = {"", "nan", "+nan", "-nan", "na", "n/a", "null", "none"}
_PROBE = 1000  # rows looked at when no column is called time
_BLOCK = 1 << 20  # characters per block


@dataclass(frozen=True)
class Column:
    """One column: `title` as the header has it, `name` and `unit` taken apart ("Gyroscope X (deg/s)")."""

    index: int
    title: str
    name: str
    unit: str


@dataclass(frozen=True)
class Block:
    """Some rows: their times as the log writes them, in seconds since the first row of the log, and values."""

    time_text: list[str]
    t_s: Doubles  # (T,)
    values: Doubles  # (T, columns asked for); NaN = missing
    characters: int  # how much of the file this was, for progress


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
    if stem and suffix.lower() in _UNITS and normal(stem) in _TIME_NAMES:
        return Column(index, title, stem, suffix)
    return Column(index, title, title, "")


class CsvLog:
    """A CSV log, opened: `columns`, `time` (the column), `time_unit`, `notes` (what was concluded and how)."""

    def __init__(self, path: Path, time: str | None = None, time_unit: str | None = None) -> None:
        """time, time_unit: the time column and its unit where the header does not tell. LogError: not readable."""
        self.path = path
        self.notes: list[str] = []
        try:
            self.size = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(1 << 16)
        except OSError as error:
            raise LogError(f"{path}: cannot be read: {error.strerror or error}") from None
        if not start.strip():
            raise LogError(f"{path}: is empty")
        if b"\0" in start:
            raise LogError(f"{path}: is not text (a zero byte at {start.index(0)}); is it really a CSV log?")
        self.columns, self._delimiter = self._header()
        self.time = self._time_column(time)
        unit = time_unit or self.time.unit
        if unit and unit.lower() not in _UNITS:
            raise LogError(f"{path}: time column {self.time.title!r}: unit {unit!r} is not one of {', '.join(SECONDS)}")
        if not unit:
            self.notes.append(
                f"time column {self.time.title!r} has no unit: taken as seconds (--time-unit says otherwise)"
            )
        self.time_unit = _UNITS[unit.lower()] if unit else "s"

    def find(self, name: str) -> Column | None:
        """The column of this title, or else of this name (without case, spaces and units). LogError where two fit."""
        exact = [c for c in self.columns if c.title == name]
        fits = exact or [c for c in self.columns if normal(name) in (normal(c.name), normal(c.title))]
        if len(fits) > 1:
            raise LogError(f"{self.path}: {name!r} could be any of {_listed(fits)}")
        return fits[0] if fits else None

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """All rows in order. vocabularies: place in `columns` → words, whose index stands for the word."""
        first: int | float | None = None
        for start, lines in self._lines():
            values = None if vocabularies else self._fast(lines, columns)
            if values is not None:
                d, k = self._delimiter, self.time.index
                times = [(start + n, line.split(d, k + 1)[k].strip()) for n, line in enumerate(lines)]
            else:
                cells = self._slow(start, lines)
                values = self._numbers(cells, columns, vocabularies or {})
                times = [(line, row[self.time.index].strip()) for line, row in cells]
            if times:
                exact = [self._time(line, text) for line, text in times]
                first = exact[0] if first is None else first
                t_s = np.array([t - first for t in exact], np.float64) * SECONDS[self.time_unit]
                yield Block([text for _, text in times], t_s, values, sum(map(len, lines)))
        if first is None:
            raise LogError(f"{self.path}: has a header and no rows")

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """(number of the first line, lines) in blocks, without the header."""
        number = 1
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                file.readline()
                while lines := file.readlines(_BLOCK):
                    yield number + 1, lines
                    number += len(lines)
        except UnicodeDecodeError:
            raise LogError(
                f"{self.path}: is not text in UTF-8 (after line {number}); is it really a CSV log?"
            ) from None
        except OSError as error:
            raise LogError(f"{self.path}: cannot be read: {error.strerror or error}") from None

    def _header(self) -> tuple[tuple[Column, ...], str]:
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                line = file.readline(_BLOCK).rstrip("\n")
        except UnicodeDecodeError:
            raise LogError(f"{self.path}: is not text in UTF-8; is it really a CSV log?") from None
        delimiter = max(",;\t", key=line.count)
        titles = next(csv.reader([line], delimiter=delimiter), [])
        numbers = [title for title in titles if _number(title) is not None]
        if not any(title.strip() for title in titles):
            raise LogError(f"{self.path}: line 1 is empty; a header with the columns' names is needed")
        if numbers:
            raise LogError(
                f"{self.path}: line 1 holds the number {numbers[0].strip()!r}, so it is data, not a header; "
                "a header with the columns' names is needed"
            )
        return tuple(column(k, title) for k, title in enumerate(titles)), delimiter

    def _time_column(self, asked: str | None) -> Column:
        if asked is not None:
            found = self.find(asked)
            if found is None:
                raise LogError(f"{self.path}: has no column {asked!r}; its columns are {_listed(self.columns)}")
            return found
        named = [c for c in self.columns if normal(c.name) in _TIME_NAMES]
        if len(named) == 1:
            return named[0]
        if not named:
            named = self._increasing()
            if len(named) == 1:
                self.notes.append(f"time column {named[0].title!r}: the only one that always increases")
                return named[0]
        what = f"several columns could be the time: {_listed(named)}" if named else "no column looks like the time"
        raise LogError(f"{self.path}: {what}; say which with --time COLUMN (columns: {_listed(self.columns)})")

    def _increasing(self) -> list[Column]:
        """The columns whose numbers strictly increase over the first rows."""
        for start, lines in self._lines():
            cells = self._slow(start, lines[:_PROBE])
            table = [[_number(cell) for cell in row] for _, row in cells]
            return [
                c
                for c in self.columns
                if len(table) > 1
                and all(row[c.index] is not None for row in table)
                and all(b[c.index] > a[c.index] for a, b in zip(table, islice(table, 1, None), strict=False))  # type: ignore[operator]
            ]
        raise LogError(f"{self.path}: has a header and no rows")

    def _fast(self, lines: list[str], columns: Sequence[Column]) -> Doubles | None:
        """The columns of a block in one call, or None where any line is out of the ordinary."""
        commas = len(self.columns) - 1
        if any(line.count(self._delimiter) != commas or '"' in line or line.isspace() for line in lines):
            return None
        try:
            values: Doubles = np.loadtxt(
                lines,
                np.float64,
                delimiter=self._delimiter,
                comments=None,
                usecols=[c.index for c in columns],
                ndmin=2,
                encoding="utf-8",
            )
        except ValueError:
            return None
        values[~np.isfinite(values)] = np.nan
        return values

    def _slow(self, start: int, lines: list[str]) -> list[tuple[int, list[str]]]:
        """(line number, cells) of every line that is not empty. LogError where the number of cells is wrong."""
        rows = []
        for number, line in enumerate(lines, start):
            if line.strip():
                cells = next(csv.reader([line.rstrip("\n")], delimiter=self._delimiter))
                if len(cells) != len(self.columns):
                    raise LogError(
                        f"{self.path}: line {number} has {len(cells)} cells, the header has {len(self.columns)}; "
                        "if the log was cut off there, remove the line"
                    )
                rows.append((number, cells))
        return rows

    def _numbers(
        self, cells: list[tuple[int, list[str]]], columns: Sequence[Column], words: Mapping[int, Sequence[str]]
    ) -> Doubles:
        values = np.full((len(cells), len(columns)), np.nan)
        indices = {k: {word: index for index, word in enumerate(vocabulary)} for k, vocabulary in words.items()}
        for row, (line, texts) in enumerate(cells):
            for k, where in enumerate(columns):
                text = texts[where.index].strip()
                if text.lower() in _MISSING and text not in indices.get(k, {}):
                    continue
                value = indices[k].get(text) if k in indices else _number(text)
                if value is None:
                    known = f"one of {', '.join(words[k])}" if k in indices else "a number"
                    raise LogError(f"{self.path}: line {line}, column {where.title!r}: {text!r} is not {known}")
                if np.isfinite(value):
                    values[row, k] = value
        return values

    def _time(self, line: int, text: str) -> int | float:
        """Whole numbers stay whole, so nanoseconds since 1970 lose nothing."""
        try:
            return int(text)
        except ValueError:
            value = _number(text)
        if value is None or not np.isfinite(value):
            raise LogError(f"{self.path}: line {line}, column {self.time.title!r}: {text!r} is not a time")
        return value


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(repr(c.title) for c in columns)
