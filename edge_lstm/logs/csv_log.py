"""Comma-separated logs: a header, a time column, readings. Tabs and semicolons are understood by the header.

Its rule: a fast parser for blocks that are as they should be, and a slow one that knows line and column for the others;
both give the same numbers. A cell without a number (empty, nan, inf, na, null, none) is a missing reading, NaN here.

Never: skip a line that is not empty, or accept a cell that is not a number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from edge_lstm.errors import LogError
from edge_lstm.logs.log import SECONDS, TIME_NAMES, UNITS, Block, Column, Doubles, Log, column, normal
from edge_lstm.logs.stamps import stamp_ns

ISO = "ISO 8601"  # in the place of a unit, where the times are dates with a time of day
_MISSING = {"", "nan", "+nan", "-nan", "na", "n/a", "null", "none"}
_PROBE = 1000  # rows looked at when no column is called time
_SAVE = "save it as UTF-8 (for example: iconv -f latin1 -t utf-8 LOG > NEW), if it is a CSV log at all"
_BLOCK = 1 << 20  # characters per block
_LONGEST_LINE = 1 << 20  # characters: memory for one line, whatever a file is


class CsvLog(Log):
    """A CSV log, opened."""

    def __init__(self, path: Path, time: str | None = None, time_unit: str | None = None) -> None:
        """time, time_unit: the time column and its unit where the header does not say. LogError: not readable."""
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
        self._header_line = 1
        self.columns, self._delimiter = self._header()
        self.time = self._time_column(time)
        self._zoned: bool | None = None  # whether the first ISO 8601 stamp says its zone
        unit = self._unit(time_unit)
        if unit and unit != ISO and unit.lower() not in UNITS:
            raise LogError(f"{path}: time column {self.time.title!r}: unit {unit!r} is not one of {', '.join(SECONDS)}")
        if not unit:
            self.notes.append(
                f"time column {self.time.title!r} has no unit: taken as seconds (--time-unit says otherwise)"
            )
        self.time_unit = ISO if unit == ISO else UNITS[unit.lower()] if unit else "s"
        self._check_time()

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """As `Log.blocks`."""
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
                t_s = np.array([t - first for t in exact], np.float64) * self._second
                yield Block([line for line, _ in times], [t for _, t in times], t_s, values, sum(map(len, lines)))
        if first is None:
            raise LogError(f"{self.path}: has a header and no rows")

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """(number of the first line, lines) in blocks, without the header."""
        number = self._header_line
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                for _ in range(number):
                    file.readline()
                rest = ""
                while text := file.read(_BLOCK):
                    *lines, rest = (rest + text).split("\n")
                    if len(rest) > _LONGEST_LINE:
                        line = number + len(lines) + 1
                        raise LogError(f"{self.path}: line {line} is longer than {_LONGEST_LINE} characters")
                    if lines:
                        yield number + 1, [f"{line}\n" for line in lines]
                        number += len(lines)
                if rest:
                    yield number + 1, [rest]
        except UnicodeDecodeError:
            raise LogError(f"{self.path}: is not text in UTF-8 (after line {number}); {_SAVE}") from None
        except OSError as error:
            raise LogError(f"{self.path}: cannot be read: {error.strerror or error}") from None

    def _header(self) -> tuple[tuple[Column, ...], str]:
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                line = file.readline(_BLOCK).rstrip("\n")
                while line.startswith("#"):
                    self._header_line += 1
                    line = file.readline(_BLOCK).rstrip("\n")
        except UnicodeDecodeError:
            raise LogError(f"{self.path}: is not text in UTF-8; {_SAVE}") from None
        number, hint = self._header_line, ""
        if number > 1:
            hint = f" (line {number - 1} begins with #; if it is the header, remove the #)"
            self.notes.append(f"{number - 1} lines before the header begin with # and were skipped")
        delimiter = max(",;\t", key=line.count)
        titles = next(csv.reader([line], delimiter=delimiter), [])
        numbers = [title for title in titles if _number(title) is not None]
        if not any(title.strip() for title in titles):
            raise LogError(f"{self.path}: line {number} is empty; a header with the columns' names is needed{hint}")
        if numbers:
            raise LogError(
                f"{self.path}: line {number} holds the number {numbers[0].strip()!r}, so it is data, not a header; "
                f"a header with the columns' names is needed{hint}"
            )
        return tuple(column(k, title) for k, title in enumerate(titles)), delimiter

    def _time_column(self, asked: str | None) -> Column:
        if asked is not None:
            found = self.find(asked)
            if found is None:
                raise LogError(f"{self.path}: has no column {asked!r}; its columns are {_listed(self.columns)}")
            return found
        named = [c for c in self.columns if normal(c.name) in TIME_NAMES]
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
        table = [[_instant(cell) for cell in row] for _, row in self._first_rows()]
        return [
            c
            for c in self.columns
            if len(table) > 1
            and all(row[c.index] is not None for row in table)
            and all(b[c.index] > a[c.index] for a, b in zip(table, islice(table, 1, None), strict=False))  # type: ignore[operator]
        ]

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
                    why = f"{text!r} is not {known}{_comma(text)}"
                    raise LogError(f"{self.path}: line {line}, column {where.title!r}: {why}")
                if np.isfinite(value):
                    values[row, k] = value
        return values

    def _time(self, line: int, text: str) -> int | float:
        """Whole numbers stay whole, so nanoseconds since 1970 lose nothing."""
        try:
            return int(text)
        except ValueError:
            value = _number(text) if self.time_unit != ISO else self._stamp(line, text)
        if value is None or not np.isfinite(value):
            why = f"{text!r} is not a time{_comma(text)}"
            raise LogError(f"{self.path}: line {line}, column {self.time.title!r}: {why}")
        return value

    def _stamp(self, line: int, text: str) -> int | None:
        """Nanoseconds of an ISO 8601 stamp. Stamps with and without a zone are not comparable."""
        found = stamp_ns(text)
        if found is None:
            return None
        t_ns, zoned = found
        self._zoned = zoned if self._zoned is None else self._zoned
        if zoned != self._zoned:
            why = f"{text!r} {'says' if zoned else 'does not say'} its time zone, unlike the first time"
            raise LogError(f"{self.path}: line {line}, column {self.time.title!r}: {why}")
        return t_ns

    @property
    def _second(self) -> float:
        """What one unit of the time column is, in seconds."""
        return 1e-9 if self.time_unit == ISO else SECONDS[self.time_unit]

    def _first_rows(self) -> list[tuple[int, list[str]]]:
        for start, lines in self._lines():
            return self._slow(start, lines[:_PROBE])
        raise LogError(f"{self.path}: has a header and no rows")

    def _unit(self, asked: str | None) -> str:
        """The time's unit as asked or as the header says it, ISO where the times are dates; "" where neither says."""
        title = self.time.title
        suffix = title.rpartition("_")[2].lower()  # of whatever name: it is the time, and t_device_us is in µs
        said = self.time.unit or (suffix if suffix in ("ms", "us", "ns") else "")
        rows = self._first_rows()
        if rows and stamp_ns(rows[0][1][self.time.index]) is not None:
            if asked:
                raise LogError(
                    f"{self.path}: time column {title!r} holds dates, which have no unit; remove --time-unit"
                )
            return ISO
        if asked and said.lower() in UNITS and UNITS[said.lower()] != asked:
            raise LogError(
                f"{self.path}: time column {title!r} is in {said} by its header, --time-unit says {asked}; "
                "leave --time-unit out, or correct the header"
            )
        return asked or said

    def _check_time(self) -> None:
        """LogError where the first rows show that this column is no time: it never increases, or goes back often."""
        times = [self._time(line, row[self.time.index].strip()) for line, row in self._first_rows()]
        steps = [b - a for a, b in zip(times, islice(times, 1, None), strict=False)]
        back = sum(step < 0 for step in steps)
        if (len(steps) > 1 and max(steps) <= 0) or back > max(1, len(steps) // 10):
            what = f"goes back {back} times in {len(times)} rows" if back else "never increases"
            raise LogError(
                f"{self.path}: column {self.time.title!r} {what}, so it is no time; say which is with --time COLUMN "
                f"(columns: {_listed(self.columns)})"
            )


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _instant(text: str) -> float | None:
    """A number, or a date as nanoseconds, to compare by."""
    number = _number(text)
    if number is not None or ":" not in text:
        return number
    found = stamp_ns(text)
    return None if found is None else float(found[0])


def _comma(text: str) -> str:
    """What to do about a decimal comma."""
    if not re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", text):
        return ""
    return "; it has a decimal comma: write a point instead (sed 's/,/./g' LOG > NEW, where commas do not part columns)"


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(repr(c.title) for c in columns)
