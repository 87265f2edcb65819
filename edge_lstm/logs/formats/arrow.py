"""Parquet and Arrow (Feather): `.parquet`, `.feather`, `.arrow`. Tables, as CSV, but with types.

Its rule: columns of numbers and truth values are read, columns of texts where a model wants their words. A list of
numbers is a column for each element that its first row has (`gyro[0]`), a struct one for each field (`stamp.sec`);
whatever else there is, is left out, by a note. The time is found by its type, or as in CSV by its name; its unit is
that of its type, or found as in CSV. Rows are read in batches.

Needs pyarrow, the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.errors import LogError, nearest
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.log import SECONDS, Block, Column, Doubles, Floats, Log, Texts, column
from edge_lstm.logs.recognize import FEATHER_1, PARQUET
from edge_lstm.logs.times import WRAP, Clock, Pair, joined, named_times, no_time, pair_asked, unit_of, why_no_time
from firmware_bridge.installing import not_importable

_BATCH = 1 << 16  # rows
_LOOKED_AT = 1000  # of the first rows, for the unit of their times
_MOST_COLUMNS = 1 << 16
_MOST_ELEMENTS = 256  # of a list: longer ones are pictures


@dataclass(frozen=True)
class _Leaf:
    """A column of plain values. way: from the column of the file to it, fields of structs and places in lists."""

    title: str
    field: str  # the column of the file
    type: Any
    unit: str
    way: tuple[str | int, ...] = ()


class ArrowLog(Log):
    """A table in Parquet or Arrow, opened."""

    place = "row"

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`. LogError where pyarrow is not installed."""
        asked.refuse(path, ("time", "time_unit", "rate_hz", "episode"), "a table with types")
        self.path, self.notes, self._asked = path, [], asked
        try:
            import pyarrow

            self._bad: tuple[type[BaseException], ...] = (
                *(pyarrow.ArrowException, OSError, ValueError, OverflowError, LookupError),
            )
        except ImportError as error:
            raise LogError(f"{path}: to be read, needs {not_importable('pyarrow', error)}") from error
        try:
            self.size = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(4)
            self._parquet = start == PARQUET
            if start == FEATHER_1:
                raise LogError(
                    f"{path}: is Feather of version 1; write it again with pyarrow.feather, which is version 2"
                )
            schema = self._schema()
        except self._bad as error:
            raise LogError(f"{path}: cannot be read: {_short(error)}") from None
        leaves: list[_Leaf] = []
        left: list[str] = []
        for field in schema:
            unit = (field.metadata or {}).get(b"unit", b"").decode("utf-8", errors="replace")
            if found := list(self._leaves(_Leaf(field.name, field.name, field.type, unit))):
                leaves += found
            else:
                left.append(field.name)
        if left:
            self.notes.append(f"columns of another kind than numbers and texts are left out: {', '.join(left[:5])}")
        if not leaves:
            raise LogError(f"{path}: has no column of numbers")
        if len(leaves) > _MOST_COLUMNS:
            raise LogError(f"{path}: has {len(leaves):,} columns; more than {_MOST_COLUMNS:,} are not read")
        pairs = [(column(k, leaf.title), leaf) for k, leaf in enumerate(leaves)]
        self.columns = tuple(Column(c.index, c.title, c.name, c.unit or leaf.unit) for c, leaf in pairs)
        self._leaf = dict(enumerate(leaves))
        self._wrap: int | None = None
        self._pair: Pair | None = None  # where the time is in two columns
        self.time = self._time(asked.time)
        self.time_unit = self._unit(asked.time_unit)
        self._episode = self._episodes(asked.episode)
        self._check_time()

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """As `Log.blocks`."""
        known = bool(columns) and self.time.index >= 0 and self._first_is_all
        times_of = [] if known else self._time_columns
        names = self._named([*times_of, *columns, *([self._episode] if self._episode else [])])
        clock, mark = self._clock(), None
        at = 0
        try:
            for batch, size in self._batches(names, _BATCH):
                count = batch.num_rows
                if not count:
                    continue
                lines = range(at + 1, at + count + 1)
                if self.time.index < 0:
                    times = np.arange(at, at + count)
                else:
                    times = self._times(self._first.slice(at, count) if known else batch)
                sure: list[int] = []
                if self._episode is not None:
                    marks = list(map(str, self._cells(batch, self._episode).to_pylist()))
                    before = [mark if at else marks[0], *marks]
                    sure, mark = [k for k, (a, b) in enumerate(pairwise(before)) if a != b], marks[-1]
                t_s, begins = clock(times, sure=sure, lines=lines)
                found = []
                for k, one in enumerate(columns):
                    words = (vocabularies or {}).get(k)
                    cells = self._cells(batch, one)
                    found.append(self._numbers(cells, one) if words is None else self._words(cells, one, words))
                # Rows as a model takes them; float32 where all columns are, which spares two copies.
                numbers: Any = np.stack(found, axis=1) if found else np.empty((count, 0))
                texts = Texts(times / (self._asked.rate_hz or 1.0) if self.time.index < 0 else times)
                yield Block(lines, texts, t_s, numbers, size, tuple(begins))
                at += count
        except self._bad as error:
            if not at:
                raise LogError(f"{self.path}: cannot be read: {_short(error)}") from None
            self.notes.append(f"it is read up to its damage: after row {at} ({_short(error)})")
        if not at:
            raise LogError(f"{self.path}: has no rows")
        self.notes += [note for note in clock.notes() if note not in self.notes]

    def _leaves(self, leaf: _Leaf) -> Iterator[_Leaf]:
        """The columns of plain values in a column: itself, or what it is made of."""
        from pyarrow import types

        kind = leaf.type
        if _readable(kind):
            yield leaf
        elif types.is_struct(kind):
            for field in (kind.field(k) for k in range(kind.num_fields)):
                way = (*leaf.way, field.name)
                yield from self._leaves(_Leaf(f"{leaf.title}.{field.name}", leaf.field, field.type, leaf.unit, way))
        elif _is_list(kind) and _readable(kind.value_type) and not _holds_texts(kind.value_type):
            count = kind.list_size if types.is_fixed_size_list(kind) else self._length(leaf)
            for k in range(count if count <= _MOST_ELEMENTS else 0):
                yield _Leaf(f"{leaf.title}[{k}]", leaf.field, kind.value_type, leaf.unit, (*leaf.way, k))

    def _length(self, leaf: _Leaf) -> int:
        """How many elements the first list has that is not missing, of the first rows; none where all are."""
        try:
            for batch, _ in self._batches([leaf.field], _LOOKED_AT):
                batch.column(0).validate(full=True)
                lists = _along(batch.column(0), leaf.way)
                there = np.flatnonzero(np.asarray(lists.is_valid()))
                if batch.num_rows:
                    return int(np.diff(np.asarray(lists.offsets))[there[0]]) if len(there) else 0
        except self._bad as error:
            raise LogError(f"{self.path}: cannot be read: {_short(error)}") from None
        return 0

    @property
    def _time_columns(self) -> list[Column]:
        if self._pair is not None:
            return [self._pair.seconds, self._pair.rest]
        return [] if self.time.index < 0 else [self.time]

    def _named(self, columns: Sequence[Column]) -> list[str]:
        """The file's columns that these are of."""
        return list(dict.fromkeys(self._leaf[c.index].field for c in columns))

    def _cells(self, batch: Any, one: Column) -> Any:
        """A column of a batch; its words or numbers where it holds places in a dictionary."""
        from pyarrow import types

        leaf = self._leaf[one.index]
        cells = _along(batch.column(batch.schema.get_field_index(leaf.field)), leaf.way)
        return cells.dictionary_decode() if types.is_dictionary(cells.type) else cells

    def _clock(self) -> Clock:
        hz = self._asked.rate_hz
        second = 1 / (hz or 1.0) if self.time.index < 0 else SECONDS[self.time_unit]
        usual_hz = hz or self._asked.model_hz
        period_s = 1 / usual_hz if usual_hz else None
        by_clock = self._asked.episode is None
        return Clock(second, wrap=self._wrap, by_clock=by_clock, period_s=period_s, place=self.place)

    @cached_property
    def _file(self) -> Any:
        """The Parquet file, opened once: that takes as long as to read 5000 numbers. It is closed with this log."""
        from pyarrow.parquet import ParquetFile

        return ParquetFile(self.path, pre_buffer=False)  # columns as they are needed, by this thread

    def _schema(self) -> Any:
        if self._parquet:
            return self._file.schema_arrow
        import pyarrow

        with pyarrow.memory_map(str(self.path)) as source, pyarrow.ipc.open_file(source) as file:
            return file.schema

    def _batches(self, names: list[str], rows: int) -> Iterator[tuple[Any, int]]:
        """Rows, not more at once than `rows`, and how many bytes of the file they are."""
        if self._parquet:
            every = max(1, self._file.metadata.num_rows)
            for batch in self._file.iter_batches(rows, columns=names, use_threads=False):
                yield batch.select(names), self.size * batch.num_rows // every
            return
        import pyarrow

        with pyarrow.memory_map(str(self.path)) as source, pyarrow.ipc.open_file(source) as file:
            for k in range(file.num_record_batches):
                batch = file.get_batch(k).select(names)
                share = self.size // file.num_record_batches
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows), share if start == 0 else 0

    def _time(self, asked: str | None) -> Column:
        if self._asked.rate_hz is not None:
            if asked is not None:
                raise LogError(f"{self.path}: --time {asked} does not go with --rate, which says that no row has one")
            self.notes.append(f"its rows are taken at {self._asked.rate_hz:g} Hz (--rate)")
            return no_time()
        if asked is not None:
            if (pair := pair_asked(self.columns, asked)) is not None:
                return self._in_two(pair)
            return self._asked_for(asked, "--time")
        from pyarrow import types

        stamps = [c for c in self.columns if types.is_timestamp(self._leaf[c.index].type)]
        named, pair = named_times([c for c in self.columns if not _holds_texts(self._leaf[c.index].type)])
        if pair is not None and len(stamps) != 1:
            return self._in_two(pair)
        fits = stamps if len(stamps) == 1 else named
        if len(fits) != 1:
            names = ", ".join(c.title for c in (fits or self.columns)[:20])
            raise LogError(
                f"{self.path}: which column is the time? say it with --time, or the rate of the rows with --rate HZ if "
                f"none is (columns: {names})"
            )
        return fits[0]

    def _in_two(self, pair: Pair) -> Column:
        self._pair = pair
        self.notes.append(pair.note)
        return pair.time

    def _asked_for(self, title: str, option: str) -> Column:
        found = self.find(title)
        if found is None:
            raise LogError(
                f"{self.path}: no column {title!r} for {option}{nearest(title, [c.title for c in self.columns])}"
            )
        return found

    def _episodes(self, asked: str | None) -> Column | None:
        return None if asked in (None, "none") else self._asked_for(str(asked), "--episode")

    def _unit(self, asked: str | None) -> str:
        """What one unit of the time is."""
        if self.time.index < 0:
            return "s"
        from pyarrow import types

        kind, here = self._leaf[self.time.index].type, f"{self.path}: time column {self.time.title!r}"
        typed = types.is_timestamp(kind) or types.is_duration(kind)
        if typed or self._pair is not None:
            if asked is not None:
                raise LogError(f"{here} says its unit itself; leave out --time-unit")
            return str(kind.unit) if typed else "ns"
        if asked is not None and asked not in SECONDS:
            raise LogError(f"{here} holds no dates: --time-unit s, ms, us or ns")
        name, note = unit_of(here, self.time, asked, self._first_times, self._asked.model_hz)
        if note:
            self.notes.append(note)
        if name in ("ms", "us") and types.is_integer(kind):
            self._wrap = WRAP
        return name

    def _check_time(self) -> None:
        if self.time.index >= 0 and (what := why_no_time(np.array(self._first_times), self._clock())):
            raise LogError(
                f"{self.path}: column {self.time.title!r} {what}, so it is no time; say which is with --time COLUMN, "
                "or --rate HZ if none is"
            )

    @cached_property
    def _first(self) -> Any:
        """The times of the first rows; of all where they are one batch, which is not read again."""
        try:
            rows = _BATCH if self._parquet and self._file.metadata.num_rows <= _BATCH else _LOOKED_AT
            for batch, _ in self._batches(self._named(self._time_columns), rows):
                if batch.num_rows:
                    return batch
        except self._bad as error:
            raise LogError(f"{self.path}: cannot be read: {_short(error)}") from None
        raise LogError(f"{self.path}: has no rows")

    @property
    def _first_is_all(self) -> bool:
        return self._parquet and bool(self._first.num_rows == self._file.metadata.num_rows)

    @cached_property
    def _first_times(self) -> list[float]:
        try:
            return [float(time) for time in self._times(self._first.slice(0, _LOOKED_AT)).tolist()]
        except self._bad as error:
            raise LogError(f"{self.path}: cannot be read: {_short(error)}") from None

    def _times(self, batch: Any) -> Any:
        """The times as they stand, whole numbers where they are; of a pair in ns."""
        found = [self._instants(self._cells(batch, one)) for one in self._time_columns]
        if self._pair is None:
            return found[0]
        times, whole = joined(*found)
        if not whole.all():
            names = f"{self._pair.seconds.title!r} and {self._pair.rest.title!r}"
            raise LogError(f"{self.path}: {names} hold rows that are no seconds and nanoseconds")
        return times

    def _instants(self, cells: Any) -> Any:
        """The times of a column as they stand, whole numbers where they are."""
        import pyarrow

        if cells.null_count:
            raise LogError(f"{self.path}: column {self.time.title!r} has rows without a time")
        whole = pyarrow.types.is_timestamp(cells.type) or pyarrow.types.is_duration(cells.type)
        if whole or pyarrow.types.is_integer(cells.type):
            return cells.cast(pyarrow.int64()).to_numpy(zero_copy_only=False)
        if not pyarrow.types.is_floating(cells.type):
            raise LogError(f"{self.path}: column {self.time.title!r} holds no times")
        found = cells.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        if not np.isfinite(found).all():
            raise LogError(f"{self.path}: column {self.time.title!r} has rows without a time")
        return found

    def _numbers(self, cells: Any, one: Column) -> Doubles | Floats:
        """Numbers, NaN where there is none: float32 where the file has them so."""
        import pyarrow

        kind = cells.type
        if _holds_texts(kind):
            raise LogError(f"{self.path}: column {one.title!r} holds texts, not numbers")
        if pyarrow.types.is_timestamp(kind) or pyarrow.types.is_duration(kind):
            cells = cells.cast(pyarrow.int64())
        elif pyarrow.types.is_decimal(kind):  # by way of their text: pyarrow's own way is off by a bit
            cells = cells.cast(pyarrow.string()).cast(pyarrow.float64())
        with np.errstate(invalid="ignore"):  # a signalling NaN is one
            found: Doubles | Floats = cells.to_numpy(zero_copy_only=False)
            return found if found.dtype == np.float32 else found.astype(np.float64, copy=False)

    def _words(self, cells: Any, one: Column, words: Sequence[str]) -> Doubles:
        """The place of each word in the vocabulary."""
        places = {word: float(k) for k, word in enumerate(words)}
        found = np.empty(len(cells))
        for k, word in enumerate(cells.to_pylist()):
            if word is None:
                found[k] = np.nan
            elif (place := places.get(str(word))) is None:
                raise LogError(f"{self.path}: column {one.title!r} holds {str(word)[:40]!r}, a word that is not known")
            else:
                found[k] = place
        return found


def _along(cells: Any, way: Sequence[str | int]) -> Any:
    """What stands at the end of this way, missing where a struct or an element of a list is."""
    import pyarrow.compute

    if way:  # offsets of a damaged file point anywhere, and nothing else looks where
        cells.validate(full=True)
    for step in way:
        if isinstance(step, str):
            cells = pyarrow.compute.struct_field(cells, step)
        elif pyarrow.types.is_fixed_size_list(cells.type):
            cells = pyarrow.compute.list_element(cells, step)
        else:
            starts, ends = (np.asarray(cells.offsets)[k : len(cells) + k] for k in (0, 1))
            there = (ends - starts > step) & np.asarray(cells.is_valid())
            cells = cells.values.take(pyarrow.array(starts.astype(np.int64) + step, mask=~there))
    return cells


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _readable(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
        or types.is_timestamp(kind) or types.is_duration(kind) or _holds_texts(kind)
    )  # fmt: skip


def _holds_texts(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
