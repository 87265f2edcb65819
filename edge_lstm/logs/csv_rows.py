"""Lines of a table in text → rows of numbers.

Its rule: lines that are as they should be are read many at once (`cells.py`), the others one by one; both give the
numbers that Python's float gives. A cell without a number (empty, nan, inf, #N/A …) is a missing reading, NaN here.
Every line that is not empty is a row, a comment, the header again, or bad; each is counted.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.logs import cells as fast
from edge_lstm.logs.csv_layout import BLANKS, COMMENTS, MISSING, Layout, decimal_comma, number
from edge_lstm.logs.log import TOLD, Column, Doubles, where
from edge_lstm.logs.stamps import Read
from edge_lstm.logs.text_file import Lines
from edge_lstm.logs.times import joined
from firmware_bridge.words import counted

_HEX = re.compile(r"[+-]?(0[xX])?[0-9a-fA-F]+")
_EITHER = re.compile(r"[0-9]+E[0-9]+")  # a number with an exponent, or hexadecimal
_MAY_BE_EITHER = re.compile(rb"(?<![.\d])\d+E\d")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}|[0-9]{19}")
_LONGEST = 60  # characters of a cell that is shown
Cells = list[str]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Form:
    """What is known of a table before its rows are read."""

    layout: Layout
    columns: tuple[Column, ...]
    time: Column  # index -1: no column is it
    read: Read | None  # of times that are no numbers
    hex: bool | None
    rate_hz: float | None
    episode: Column | None
    rest: Column | None = None  # nanoseconds beside the time's seconds


@dataclass
class Counted:
    """Lines that are no rows: how many, which, and why the first is none."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)  # the first lines, and why each is none

    @property
    def why(self) -> str:
        """Why the first is none."""
        return self.first[0][1]

    def add(self, line: int, why: str = "") -> None:
        """One more; those of a block come in any order."""
        self.count += 1
        insort(self.first, (line, why))
        del self.first[TOLD:]

    def where(self) -> str:
        """The first of them, for people."""
        return where([line for line, _ in self.first], self.count)


@dataclass
class Rows:
    """The rows of some lines, in their order."""

    lines: Ints
    texts: Cells  # the times as the log writes them
    times: Any  # int64 or float64 (R,)
    values: Doubles  # (R, columns asked for)
    marks: Cells  # of the column of episodes
    after_blanks: Sequence[int] = ()  # rows before which blank lines stand
    after_headers: Sequence[int] = ()


@dataclass
class _Grid:
    """The lines of a block that are as they should be: where each cell stands, and which of them are rows."""

    data: bytes
    places: fast.Bytes  # `data` as `cells.padded` gives it
    lines: Ints  # (R,) their numbers
    starts: Ints  # (R, cells), in `places`
    stops: Ints
    good: Bools  # (R,) as far as is known a row
    headers: list[int] = field(default_factory=list)  # lines that are the header again
    blanks: list[int] = field(default_factory=list)  # lines without a number

    def column(self, k: int) -> Cells:
        """The cells of a column."""
        return _cells(self.data, self.starts[:, k], self.stops[:, k])

    def row(self, row: int) -> Cells:
        """The cells of a line."""
        return _cells(self.data, self.starts[row], self.stops[row])


class Reader:
    """Lines → rows, for these columns."""

    def __init__(self, form: Form, columns: Sequence[Column], words: Mapping[int, Sequence[str]]) -> None:
        self._form, self._layout, self._columns, self._words = form, form.layout, columns, words
        self._indices = {k: {word: n for n, word in enumerate(vocabulary)} for k, vocabulary in words.items()}
        self._numeric = [k for k in range(len(columns)) if k not in words]
        self._usual: dict[int, None] = {}
        self._usual_time: dict[int, None] = {}
        self._zoned: bool | None = None
        self._blank = self._header = False  # what the latest block ended with
        self._titles = [c.title for c in form.columns]
        self.bad, self.comments, self.headers, self.cut = Counted(), Counted(), Counted(), 0
        delimiter = self._layout.delimiter
        self._mark = ord("\t" if delimiter == BLANKS else delimiter)

    def rows(self, block: Lines, before: int, open_end: bool) -> Rows:
        """before: rows of the blocks before this one; open_end: its last line had no end."""
        data, first = block.data, block.first
        if first < self._layout.first:
            lines = data.split(b"\n", self._layout.first - first)
            if len(lines) <= self._layout.first - first:
                return self._none()
            data, first = lines[-1], self._layout.first
        if not data:
            return self._none()
        if self._layout.delimiter == BLANKS:
            data = re.sub(rb"[ \t]+", b"\t", data)
            data = re.sub(rb"^\t|\t$", b"", data, flags=re.MULTILINE)
        places = fast.padded(data)
        seps = np.flatnonzero((places == self._mark) | (places == ord("\n")))
        ends = np.flatnonzero(places[seps] == ord("\n"))
        line_ends = seps[ends]
        line_starts = np.concatenate(([fast.WINDOW], line_ends[:-1] + 1))
        count = self._layout.cells
        regular = np.diff(ends, prepend=-1) == count
        marks = places[line_starts]
        regular &= (marks != ord("#")) & (marks != ord("%"))
        if count == 1:
            regular &= line_ends > line_starts
        if b'"' in data:
            regular[np.searchsorted(line_ends, np.flatnonzero(places == ord('"')))] = False
        every = bool(regular.all())
        stops = seps.reshape(-1, count) if every else seps[ends[regular][:, None] + np.arange(1 - count, 1)]
        starts = np.concatenate((line_starts[regular][:, None], stops[:, :-1] + 1), axis=1)
        lines_at = first + np.flatnonzero(regular)
        if self._layout.trailing and (full := stops[:, -1] > starts[:, -1]).any():
            for line in lines_at[full].tolist():
                self.bad.add(line, f"line {line} has a cell more than the header names")
            lines_at, starts, stops = lines_at[~full], starts[~full], stops[~full]
        grid = _Grid(data, places, lines_at, starts, stops, np.ones(len(lines_at), np.bool_))
        found = self._regular(grid)
        blanks, headers = grid.blanks, grid.headers
        others: list[tuple[int, Cells]] = []
        for k in [] if every else np.flatnonzero(~regular).tolist():
            text = data[line_starts[k] - fast.WINDOW : line_ends[k] - fast.WINDOW].decode("utf-8", "replace")
            kind = self._odd(first + k, text, open_end and k == len(regular) - 1)
            if kind == "blank":
                blanks.append(first + k)
            elif kind == "header":
                headers.append(first + k)
            elif isinstance(kind, list):
                others.append((first + k, kind))
        if others:
            found = self._with(found, others)
        if self._form.time.index < 0:
            hz = self._form.rate_hz or 1.0
            found.times = np.arange(before, before + len(found.lines))
            found.texts = [repr(k / hz) for k in found.times.tolist()]
        found.after_blanks, self._blank = _after(found.lines, blanks, self._blank)
        found.after_headers, self._header = _after(found.lines, headers, self._header)
        return found

    def _none(self) -> Rows:
        return Rows(np.zeros(0, np.int64), [], np.zeros(0, np.int64), np.zeros((0, len(self._columns))), [])

    # --- many rows at once ------------------------------------------------------------------------------------------

    def _regular(self, grid: _Grid) -> Rows:
        """The rows of the grid; what is none is counted."""
        if not len(grid.lines):
            return self._none()
        if self._layout.comma:
            places = grid.places.copy()
            places[places == ord(".")] = ord("?")
            places[places == ord(",")] = ord(".")
            grid.places = places
        lines, good = grid.lines, grid.good
        texts, times = self._times(grid)
        values = np.full((len(lines), len(self._columns)), np.nan)
        if self._numeric:
            values[:, self._numeric] = self._numbers(grid)
        for k in self._words:
            for row, cell in enumerate(grid.column(self._columns[k].index)):
                if good[row]:
                    self._put(values, good, row, k, k, int(lines[row]), cell)
        marks: Cells = []
        if (episode := self._form.episode) is not None:
            marks = grid.column(episode.index)
        if not good.all():
            lines, times, values = lines[good], times[good], values[good]
            kept = np.flatnonzero(good).tolist()
            texts, marks = [texts[k] for k in kept], [marks[k] for k in kept] if marks else []
        return Rows(lines, texts, times, values, marks)

    def _times(self, grid: _Grid) -> tuple[Cells, Any]:
        """(texts, times) of the rows; what has no time is no good row."""
        if self._form.time.index < 0:
            title = ord(self._titles[0][:1] or "\0")
            for row in np.flatnonzero(grid.places[grid.starts[:, 0]] == title).tolist():
                self._again(grid, row)
            return [""] * len(grid.lines), np.zeros(len(grid.lines), np.int64)
        first = self._times_of(self._form.time, grid)
        if self._form.rest is None:
            return first
        more = self._times_of(self._form.rest, grid)
        times, whole = joined(first[1], more[1])
        for row in np.flatnonzero(grid.good & ~whole).tolist():
            grid.good[row] = False
            line, why = int(grid.lines[row]), _no_pair(first[0][row], more[0][row])
            self.bad.add(line, f"line {line}, column {self._form.time.title!r}: {why}")
        return list(map(str, times.tolist())), times

    def _times_of(self, column: Column, grid: _Grid) -> tuple[Cells, Any]:
        """As `_times`, of a column."""
        k = column.index
        texts = grid.column(k)
        if self._form.read is None:
            begin, end = np.ascontiguousarray(grid.starts[:, k]), np.ascontiguousarray(grid.stops[:, k])
            found = fast.numbers(grid.places, begin, end, self._usual_time)
            if found.is_whole.all():
                return texts, found.whole
            if found.read.all():
                return texts, found.values
        exact = [self._time(cell) for cell in texts]
        for row, value in enumerate(exact):
            if isinstance(value, str):
                exact[row], line = 0, int(grid.lines[row])
                if not grid.good[row]:  # by its other half
                    continue
                if (grid.starts[row] == grid.stops[row]).all():  # as spreadsheets leave them
                    grid.good[row] = False
                    grid.blanks.append(line)
                elif not self._again(grid, row):
                    grid.good[row] = False
                    self.bad.add(line, f"line {line}, column {column.title!r}: {value}")
        return texts, _array(exact)

    def _again(self, grid: _Grid, row: int) -> bool:
        """Whether this row is the header again; it is none then."""
        if grid.row(row)[: len(self._titles)] != self._titles:
            return False
        line = int(grid.lines[row])
        self.headers.add(line)
        grid.headers.append(line)
        grid.good[row] = False
        return True

    def _numbers(self, grid: _Grid) -> Doubles:
        at = [self._columns[k].index for k in self._numeric]
        starts, stops = grid.starts[:, at], grid.stops[:, at]
        begin, end = starts.ravel(), stops.ravel()
        if self._form.hex:
            values, left = np.full(len(begin), np.nan), np.arange(len(begin))
        else:
            found = fast.numbers(grid.places, begin, end, self._usual)
            values, left = found.values, np.flatnonzero(~found.read)
        table: Doubles = values.reshape(starts.shape)
        if not len(left):
            return table
        pairs = zip((begin[left] - fast.WINDOW).tolist(), (end[left] - fast.WINDOW).tolist(), strict=True)
        raw = [grid.data[a:b] for a, b in pairs]
        if not (self._form.hex or self._layout.comma or b"_" in grid.data or _MAY_BE_EITHER.search(grid.data)):
            try:
                own = np.array([float(cell or b"nan") for cell in raw])
            except ValueError:
                pass
            else:
                own[~np.isfinite(own)] = np.nan
                values[left] = own
                return table
        for place, cell in zip(left.tolist(), raw, strict=True):
            row, k = divmod(place, len(at))
            if grid.good[row]:
                text = cell.decode("utf-8", "replace").strip()
                self._put(table, grid.good, row, k, self._numeric[k], int(grid.lines[row]), text)
        return table

    # --- one by one -------------------------------------------------------------------------------------------------

    def _odd(self, line: int, text: str, may_be_cut: bool) -> str | Cells:
        """What a line is that is not as the rows are: "blank", "header", "" (nothing, or bad), or its cells."""
        if not text.strip():
            return "blank"
        if text.startswith(COMMENTS):
            self.comments.add(line)
            return ""
        found = text.split("\t") if self._layout.delimiter == BLANKS else self._layout.split(text)
        own = len(self._titles)
        if found[:own] == self._titles:
            self.headers.add(line)
            return "header"
        if len(found) == own or (len(found) == self._layout.cells and not found[-1]):
            return found[:own]
        if may_be_cut and len(found) < own:
            self.cut = line
            return ""
        self.bad.add(line, f"line {line} has {counted(len(found), 'cell')}, the header has {own}")
        return ""

    def _with(self, fine: Rows, others: Sequence[tuple[int, Cells]]) -> Rows:
        """These rows and those that were read one by one."""
        good = np.ones(len(others), np.bool_)
        values = np.full((len(others), len(self._columns)), np.nan)
        at_time, episode = self._form.time.index, self._form.episode
        texts: Cells = []
        times: list[int | float] = []
        for row, (line, cells) in enumerate(others):
            for k, column in enumerate(self._columns):
                if good[row]:
                    self._put(values, good, row, k, k, line, cells[column.index].strip())
            texts.append("" if at_time < 0 else cells[at_time].strip())
            time = 0 if at_time < 0 else self._time(texts[-1])
            if self._form.rest is not None and not isinstance(time, str):
                rest = cells[self._form.rest.index].strip()
                time = self._both(texts[-1], time, rest)
                texts[-1] = str(time)
            if isinstance(time, str):
                if good[row]:
                    self.bad.add(line, f"line {line}, column {self._form.time.title!r}: {time}")
                good[row], time = False, 0
            times.append(time)
        marks = [cells[episode.index].strip() for _, cells in others] if episode is not None else []
        kept = np.flatnonzero(good).tolist()
        lines = np.concatenate((fine.lines, np.array([others[k][0] for k in kept], np.int64)))
        order = np.argsort(lines, kind="stable")
        at = order.tolist()
        all_texts, exact = fine.texts + [texts[k] for k in kept], fine.times.tolist() + [times[k] for k in kept]
        all_marks = fine.marks + [marks[k] for k in kept] if episode is not None else []
        return Rows(
            lines[order],
            [all_texts[k] for k in at],
            _array([exact[k] for k in at]),
            np.concatenate((fine.values, values[kept]))[order],
            [all_marks[k] for k in at] if all_marks else [],
        )

    def _both(self, seconds: str, time: int | float, rest: str) -> int | str:
        """The time of a pair; or why it is none."""
        more = self._time(rest)
        if isinstance(more, str):
            return more
        (found,), (whole,) = joined(np.array([time]), np.array([more]))
        return int(found) if whole else _no_pair(seconds, rest)

    def _put(self, values: Doubles, good: Bools, row: int, k: int, column: int, line: int, cell: str) -> None:
        """A cell into its place; where it cannot be read the row is not good. column: which of those asked for."""
        found = self._value(cell, column)
        if isinstance(found, str):
            good[row] = False
            self.bad.add(line, f"line {line}, column {self._columns[column].title!r}: {found}")
        else:
            values[row, k] = found

    def _value(self, cell: str, column: int) -> float | str:
        """A cell's number, NaN where it holds none; or why it is none."""
        if column in self._indices:
            if (index := self._indices[column].get(cell)) is not None:
                return float(index)
            known = ", ".join(self._words[column])
            return np.nan if cell.lower() in MISSING else f"{_shown(cell)} is not one of {known}"
        if cell.lower() in MISSING:
            return np.nan
        if self._form.hex and _HEX.fullmatch(cell):
            return float(max(min(int(cell, 16), 1 << 1023), -(1 << 1023)))
        value = None if self._layout.comma and "." in cell else number(self._pointed(cell))
        if value is None:
            hexadecimal = "; if it is hexadecimal, say --hex" if _HEX.fullmatch(cell) and len(cell) < 20 else ""
            comma = "; it has a decimal comma: part the columns with ; instead" if decimal_comma(cell) else ""
            return f"{_shown(cell)} is not a number{hexadecimal}{comma}"
        if self._form.hex is None and _EITHER.fullmatch(cell):
            return f"{_shown(cell)} may be {value:g} or hexadecimal; say which: --no-hex or --hex"
        return value if np.isfinite(value) else np.nan

    def _time(self, cell: str) -> int | float | str:
        """A time, whole where it is, so nanoseconds since 1970 lose nothing; or why it is none."""
        if self._form.read is not None:
            found = self._form.read(cell)
            if found is None:
                return f"{_shown(cell)} is not a time"
            t_ns, zoned = found
            self._zoned = zoned if self._zoned is None else self._zoned
            if zoned != self._zoned:
                return f"{_shown(cell)} {'says' if zoned else 'does not say'} its time zone, unlike the first time"
            return t_ns
        if _WHOLE.fullmatch(cell):
            return int(cell)
        value = number(self._pointed(cell))
        return f"{_shown(cell)} is not a time" if value is None or not np.isfinite(value) else value

    def _pointed(self, cell: str) -> str:
        return (decimal_comma(cell) or cell) if self._layout.comma else cell


def _after(lines: Ints, marks: list[int], pending: bool) -> tuple[list[int], bool]:
    """(the rows right after these lines, whether one waits for the next block). pending: one of the last block does."""
    if not len(lines):
        return [], pending or bool(marks)
    rows = set(np.searchsorted(lines, np.array(marks, np.int64)).tolist()) | ({0} if pending else set())
    return sorted(rows - {len(lines)}), len(lines) in rows


def _cells(data: bytes, starts: Ints, stops: Ints) -> Cells:
    """Cells as texts."""
    pairs = zip((starts - fast.WINDOW).tolist(), (stops - fast.WINDOW).tolist(), strict=True)
    if len(starts) > 1000 and data.isascii():
        plain = data.decode("ascii")
        found = [plain[a:b] for a, b in pairs]
        return [cell.strip() for cell in found] if " " in plain or "\t" in plain else found
    return [data[a:b].decode("utf-8", "replace").strip() for a, b in pairs]


def _array(exact: Sequence[int | float | str]) -> Any:
    """Times as whole numbers where all are, and fit."""
    if all(isinstance(value, int) and -(1 << 62) < value < 1 << 62 for value in exact):
        return np.array(exact, np.int64)
    return np.array(exact, np.float64)


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _LONGEST else f"{cell[:_LONGEST]}…")


def _no_pair(seconds: str, rest: str) -> str:
    return f"{_shown(seconds)} and {_shown(rest)} are no seconds and nanoseconds"
