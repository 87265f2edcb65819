"""Tables in text, as people have them: CSV and its relatives. `CSV.md` says what is understood.

Its rule: `csv_layout.py` says what the text is, `times.py` what its times are, `csv_rows.py` makes rows of its lines.
What is assumed, and what is left out, is a note.

Never: accept a cell that is not a number, or leave out a line in silence: what is no row is counted, and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from edge_lstm.errors import LogError, nearest
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.csv_layout import LOOKED_AT, decimal_comma, look, number
from edge_lstm.logs.csv_rows import Form, Reader
from edge_lstm.logs.log import SECONDS, Block, Column, Log, column
from edge_lstm.logs.stamps import DAY_NS, Read, by_format, of_day_ns, other_order, stamp_ns
from edge_lstm.logs.text_file import TextFile
from edge_lstm.logs.times import WRAP, Clock, Pair, named_times, no_time, pair_asked, unit_of, why_no_time

ISO = "ISO 8601"  # in the place of a unit, where the times are dates with a time of day
OF_DAY = "times of day"
_MOST, _LONGEST = 30, 40  # titles, and their characters, in a sentence


class CsvLog(Log):
    """A table in text, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """LogError: not readable."""
        self.path, self._asked = path, asked
        self._file = TextFile(path, asked.encoding)
        self.size = self._file.size
        start = self._start()
        self._layout = layout = look(path, start, asked)
        self.notes = [*self._file.notes, *layout.notes]
        found = (column(k, title) for k, title in enumerate(layout.titles))
        pairs = zip(found, layout.units, strict=True)
        self.columns = tuple(c if c.unit or not unit else replace(c, unit=unit) for c, unit in pairs)
        cells = [(k, layout.split(line)) for k, line in enumerate(start, 1) if k >= layout.first]
        self._probe = [
            (k, row) for k, row in cells if len(row) in (layout.cells, len(self.columns)) and not self._is_header(row)
        ]
        self._blanks_part = self._parting(start)
        self._read: Read | None = None  # of times that are no numbers
        self._wrap: int | None = None
        self._pair: Pair | None = None  # where the time is in two columns
        self.time = self._time_column(asked.time)
        self.time_unit = self._unit(asked.time_unit)
        self._episode = self._episode_column(asked.episode)
        if asked.hex:
            self.notes.append("cells are read as hexadecimal (--hex), the time as decimal")
        self._check_time()

    # --- what it is -------------------------------------------------------------------------------------------------

    def _start(self) -> list[str]:
        """The first lines."""
        found: list[str] = []
        most = LOOKED_AT + self._asked.skip_lines
        for block in self._file.blocks():
            found += block.data.decode("utf-8").split("\n")[:-1]
            if len(found) > most:
                break
        return found[:most]

    def _parting(self, start: Sequence[str]) -> bool:
        """Whether blank lines part recordings: they do not where they stand after every row or two."""
        inside = [bool(line.strip()) for line in start[self._layout.first - 1 :]]
        while inside and not inside[-1]:
            inside.pop()
        runs = sum(b and not a for a, b in pairwise(inside))
        return sum(inside) > 2 * (runs + 1)

    def _is_header(self, row: Sequence[str]) -> bool:
        return list(row[: len(self.columns)]) == [c.title for c in self.columns]

    def _time_column(self, asked: str | None) -> Column:
        hz, listed = self._asked.rate_hz, _listed(self.columns)
        if hz is not None:
            if asked is not None:
                raise LogError(f"{self.path}: --time {asked} does not go with --rate, which says that no row has one")
            self.notes.append(f"its rows are taken at {hz:g} Hz (--rate)")
            return no_time()
        if asked is not None:
            if (pair := pair_asked(self.columns, asked)) is not None:
                return self._in_two(pair)
            found = self.find(asked)
            if found is None:
                near = nearest(asked, _titles(self.columns))
                raise LogError(f"{self.path}: has no column {asked!r}{near}")
            return found
        named, pair = named_times(self.columns)
        if pair is not None:
            return self._in_two(pair)
        if len(named) > 1:
            named = [c for c in named if self._probe and _instant(self._probe[0][1][c.index]) is not None] or named
        if len(named) == 1:
            return named[0]
        if not named:
            named = self._increasing(strictly=True)
            if len(named) == 1:
                self.notes.append(f"time column {named[0].title!r}: the only one that always increases")
                return named[0]
        if not self._probe:
            raise LogError(f"{self.path}: has a header and no rows")
        model_hz = self._asked.model_hz
        if not named and model_hz:
            named = self._increasing(strictly=False)
            if not named:
                self.notes.append(
                    f"no column looks like the time: its rows are taken at the model's {model_hz:g} Hz "
                    "(--rate says another rate, --time the column)"
                )
                self._asked = replace(self._asked, rate_hz=model_hz)
                return no_time()
        what = f"several columns could be the time: {_listed(named)}" if named else "no column looks like the time"
        if len(named) == 1:
            what = f"{named[0].title!r} could be the time, but it does not always increase"
        raise LogError(
            f"{self.path}: {what}; say which with --time COLUMN, or the rate of the rows with --rate HZ if none is "
            f"(columns: {listed})"
        )

    def _in_two(self, pair: Pair) -> Column:
        self._pair = pair
        self.notes.append(pair.note)
        return pair.time

    def _increasing(self, strictly: bool) -> list[Column]:
        """The columns whose numbers increase over the first rows, one wrap left aside; or at least never fall."""
        table = [[_instant(cell) for cell in row] for _, row in self._probe]
        found = []
        for c in self.columns:
            values = [row[c.index] for row in table]
            numbers = [value for value in values if value is not None]
            if len(values) < 2 or len(numbers) < len(values):
                continue
            steps = [b - a for a, b in pairwise(numbers)]
            if strictly:
                ahead = sum(step > 0 for step in steps)
                wraps = sum(WRAP // 2 < -step < WRAP for step in steps)
                fits = ahead + wraps == len(steps) and wraps <= 1 and ahead > 0
            else:
                fits = min(steps) >= 0 and max(steps) > 0 and len(steps) > 1
            if fits:
                found.append(c)
        return found

    def _unit(self, asked: str | None) -> str:
        """The time's unit, as it is asked, said, or recognised."""
        here = f"{self.path}: time column {self.time.title!r}"
        if self.time.index < 0:
            return "s"
        if self._pair is not None:
            if asked:
                raise LogError(f"{here} says its unit itself; leave out --time-unit")
            return "ns"
        comma = self._layout.comma
        texts = [row[self.time.index] for _, row in self._probe]
        first = next((text for text in texts if text), "")
        if asked and "%" in asked:
            self._read = by_format(asked)
            if first and self._read(first) is None:
                raise LogError(f"{here}: {first!r} is not written as --time-unit {asked!r} says")
            return ISO
        for read, kind in ((stamp_ns, ISO), (of_day_ns, OF_DAY)):
            if first and read(first) is not None:
                if asked:
                    raise LogError(f"{here} holds dates, which have no unit; remove --time-unit")
                self._read, self._wrap = read, DAY_NS if kind == OF_DAY else None
                return kind
        if (form := other_order(texts)) is not None:
            raise LogError(
                f"{here}: {first!r} does not say what is the day and what the month; say how it is written, "
                f'for example --time-unit "{form}"'
            )
        values = [value for text in texts if (value := _instant(text, comma)) is not None and np.isfinite(value)]
        name, note = unit_of(here, self.time, asked, values, self._asked.model_hz)
        if note:
            self.notes.append(note)
        if name in ("ms", "us") and all(value == int(value) for value in values):
            self._wrap = WRAP
        return name

    def _episode_column(self, asked: str | None) -> Column | None:
        if asked is None or asked == "none":
            return None
        found = self.find(asked)
        if found is None:
            near = nearest(asked, _titles(self.columns))
            raise LogError(f"{self.path}: --episode: has no column {asked!r}{near}")
        return found

    def _clock(self) -> Clock:
        hz = self._asked.rate_hz
        second = 1e-9 if self._read else SECONDS[self.time_unit]
        if self.time.index < 0:
            second = 1 / (hz or 1.0)
        usual_hz = hz or self._asked.model_hz
        by_clock = self._asked.episode is None
        return Clock(second, wrap=self._wrap, by_clock=by_clock, period_s=1 / usual_hz if usual_hz else None)

    def _check_time(self) -> None:
        """LogError where the first rows show that this column is no time: it never increases, or goes back often."""
        if self.time.index < 0 or not self._probe:
            return
        found = [self._probed(row) for _, row in self._probe]
        times = np.array([value for value in found if value is not None and np.isfinite(value)], np.float64)
        if what := why_no_time(times, self._clock()):
            raise LogError(
                f"{self.path}: column {self.time.title!r} {what}, so it is no time; say which is with --time COLUMN, "
                f"or --rate HZ if none is (columns: {_listed(self.columns)})"
            )

    def _probed(self, row: Sequence[str]) -> float | None:
        """The time of a row, roughly."""
        first = _instant(row[self.time.index], self._layout.comma, self._read)
        if self._pair is None:
            return first
        rest = _instant(row[self._pair.rest.index], self._layout.comma)
        return None if first is None or rest is None else first * 1e9 + rest

    # --- rows -------------------------------------------------------------------------------------------------------

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """As `Log.blocks`."""
        form = Form(
            self._layout,
            self.columns,
            self.time,
            self._read,
            self._asked.hex,
            self._asked.rate_hz,
            self._episode,
            None if self._pair is None else self._pair.rest,
        )
        reader = Reader(form, columns, vocabularies or {})
        clock, size, rows = self._clock(), 0, 0
        last_mark: str | None = None
        for block in self._file.blocks():
            size += block.size
            found = reader.rows(block, rows, self._file.open_end)
            if not len(found.lines):
                continue
            if self._episode is not None:
                marks = [found.marks[0] if last_mark is None else last_mark, *found.marks]
                sure, breaks = {k for k, (a, b) in enumerate(pairwise(marks)) if a != b}, set[int]()
                last_mark = marks[-1]
            elif self._asked.episode is not None:  # none
                sure, breaks = set(), set()
            else:
                sure, breaks = set(found.after_blanks if self._blanks_part else ()), set(found.after_headers)
                if self.time.index < 0:
                    sure, breaks = sure | breaks, set()
            nothing = set() if rows else {0}  # stands before the first
            lines = found.lines.tolist()
            t_s, begins = clock(found.times, tuple(breaks - nothing), tuple(sure - nothing), lines)
            rows += len(found.lines)
            if not reader.bad.count or self._asked.skip_bad:
                texts = found.texts
                if self._layout.comma and self._read is None:  # as all numbers are written: with a point
                    texts = [decimal_comma(text) or text for text in texts]
                yield Block(lines, texts, t_s, found.values, size, tuple(begins))
                size = 0
        self._report(reader, clock, rows)

    def _report(self, reader: Reader, clock: Clock, rows: int) -> None:
        """What came of it all, known at its end. LogError: lines that cannot be read, or no row."""
        bad, total = reader.bad, rows + reader.bad.count
        if not total:
            raise LogError(f"{self.path}: has a header and no rows")
        if bad.count and not self._asked.skip_bad:
            many = f"{bad.count} of {total} lines cannot be read, {bad.where()}; --skip-bad leaves them out"
            way = f"--skip-bad leaves out that one of {total} lines" if bad.count == 1 else many
            raise LogError(f"{self.path}: {bad.why}; {way}")
        if not rows:
            raise LogError(f"{self.path}: none of its {total} lines can be read: {bad.why}")
        found = list(self._file.notes)
        if bad.count:
            found.append(f"{bad.count} of {total} lines left out (--skip-bad), {bad.where()}: {bad.why}")
        if reader.comments.count:
            found.append(f"comments between the rows were skipped: {reader.comments.where()}")
        if reader.headers.count:
            found.append(f"the header stands again between the rows: {reader.headers.where()}")
        if reader.cut:
            found.append(f"the last line, {reader.cut}, is cut off, and left out")
        found += clock.notes()
        self.notes += [note for note in found if note not in self.notes]


def _instant(text: str, comma: bool = False, read: Read | None = None) -> float | None:
    """A number, or a date or a time of day as nanoseconds, to compare by."""
    value = number(decimal_comma(text) or text) if comma else number(text)
    if value is not None or (":" not in text and read is None):
        return value
    found = read(text) if read else stamp_ns(text) or of_day_ns(text)
    return None if found is None else float(found[0])


def _listed(columns: Sequence[Column]) -> str:
    found = ", ".join(map(repr, _titles(columns)))
    return f"{found}, … ({len(columns)})" if len(columns) > _MOST else found


def _titles(columns: Sequence[Column]) -> list[str]:
    """Titles for a sentence: not a whole file, whatever it is."""
    return [c.title if len(c.title) <= _LONGEST else f"{c.title[:_LONGEST]}…" for c in islice(columns, _MOST)]
