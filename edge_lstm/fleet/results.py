"""Where results are: a file of numbers for each log, and beside it a record of what made them.

    RESULTS/drive.mcap-1a2b3c4d.parquet      time, outputs, actions; or .csv
    RESULTS/drive.mcap-1a2b3c4d.json         readings, distributions, notes, and the key
    RESULTS/summary.json                     all logs

Its rule: the record is written last, so a log with a record is done. It says the key: the digest of what ran, the log's
size and time (or its hash), the options and this form. What has another key is done again.

Never: take over what another model, other options or another log made.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.errors import LogError
from edge_lstm.fleet.distribution import Distribution
from edge_lstm.fleet.job import How, Outcome, Piece

if TYPE_CHECKING:
    from edge_lstm.logs.csv_out import CsvWriter

FORM = 3  # of a record
SUMMARY = "summary.json"
_RESULT = re.compile(r"(.+-[0-9a-f]{8})(\.\d+-of-\d+)?\.(csv|parquet)")  # see `part_name`
_ROWS = 1 << 16  # of a group in Parquet
_NOT_REAL = "_not_real"


def name_of(log: Path) -> str:
    """What the results of a log are called: its name, and which of the folders it is in."""
    return f"{log.name}-{hashlib.sha256(str(log.resolve().parent).encode()).hexdigest()[:8]}"


def is_result(path: Path) -> bool:
    """Whether a file is what a replay of many logs wrote: by its name, and the record or the summary beside it."""
    found = _RESULT.fullmatch(path.name)
    return found is not None and any((path.parent / name).is_file() for name in (f"{found[1]}.json", SUMMARY))


def part_name(piece: Piece, form: str) -> str:
    """The file of a piece."""
    part = f".{piece.number:04}-of-{piece.of:04}" if piece.of > 1 else ""
    return f"{name_of(piece.log)}{part}.{form}"


class Sink:
    """Where the numbers of a piece go; in its place when it is left without an exception. name: of the file, None where
    nothing is written."""

    def __init__(self, how: How, piece: Piece) -> None:
        self._form = how.form if how.results is not None else "none"
        self.name = None if self._form == "none" else part_name(piece, self._form)
        self._path = None if how.results is None or self.name is None else how.results / self.name
        self._csv: CsvWriter | None = None
        self._parquet: Any = None
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Sink:
        return self

    def csv(self, titles: Sequence[str]) -> CsvWriter | None:
        """The table, begun with these titles; None where none is asked for."""
        from edge_lstm.logs.csv_out import CsvWriter

        if self._form == "csv" and self._csv is None and self._path is not None:
            self._csv = CsvWriter(self._path, titles)
        return self._csv

    def columns(self, columns: Mapping[str, Any]) -> None:
        """Some rows, each column by its name."""
        if self._form != "parquet":
            return
        self._waiting.append({name: np.asarray(column) for name, column in columns.items()})
        if sum(len(next(iter(one.values()))) for one in self._waiting) >= _ROWS:
            self._write()

    def _write(self) -> None:
        if not self._waiting or self._path is None:
            return
        names = list(self._waiting[0])
        if any(list(one) != names for one in self._waiting):
            raise LogError("the device declares other fields than before; one table cannot hold both")
        first, *more = self._waiting
        table = as_table(
            first if not more else {name: np.concatenate([one[name] for one in self._waiting]) for name in names}
        )
        self._waiting.clear()
        if self._parquet is None:
            self._parquet = _writer(self._partial(), table.schema)
        elif self._parquet.schema != table.schema:
            raise LogError("the device declares other fields than before; one table cannot hold both")
        self._parquet.write_table(table)

    def _partial(self) -> Path:
        assert self._path is not None
        return self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._csv is not None:
            self._csv.__exit__(kind, error, at)
        if self._form != "parquet" or self._path is None:
            return
        partial = self._partial()
        try:
            if kind is None:
                self._write()
            if self._parquet is not None:
                self._parquet.close()
            if kind is None and self._parquet is not None:
                partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)


def as_table(columns: Mapping[str, Any]) -> Any:
    """Columns of numbers (T,) as a table for Parquet: none of them is null (what is missing is NaN), so whether one is
    need not be written, which takes a fifth of the time."""
    import pyarrow as pa

    arrays = [pa.array(column) for column in columns.values()]
    fields = [pa.field(name, one.type, nullable=False) for name, one in zip(columns, arrays, strict=True)]
    return pa.table(arrays, schema=pa.schema(fields))


def parquet_options(schema: Any) -> dict[str, Any]:
    """How such a table is written. Numbers that are hardly ever the same go byte by byte of each (byte stream split)
    and not as places in a dictionary, which takes four times as long, and twice the room. LZ4 takes three
    quarters of zstd's time, and a twentieth more room."""
    import pyarrow as pa

    split = [field.name for field in schema if pa.types.is_floating(field.type)]
    return {"compression": "lz4", "use_dictionary": [_NOT_REAL], "use_byte_stream_split": split}


def _writer(path: Path, schema: Any) -> Any:
    """A new Parquet file."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema, **parquet_options(schema))


def joined(results: Path, names: Sequence[str], whole: str) -> None:
    """The files of a log's parts as one, in their order; the parts are gone then."""
    partial = results / f".{whole}.{os.getpid()}.partial"
    try:
        if whole.endswith(".csv"):
            with partial.open("wb") as out:
                for number, name in enumerate(names):
                    with (results / name).open("rb") as part:
                        titles = part.readline()
                        out.write(b"" if number else titles)
                        while block := part.read(1 << 20):
                            out.write(block)
        else:
            import pyarrow.parquet as pq

            writer = None
            for name in names:
                file = pq.ParquetFile(results / name)
                writer = writer or _writer(partial, file.schema_arrow)
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group))
                file.close()
            if writer is not None:
                writer.close()
        partial.replace(results / whole)
    finally:
        partial.unlink(missing_ok=True)
    for name in names:
        (results / name).unlink(missing_ok=True)


def basis_of(how: How) -> dict[str, Any]:
    """What all results depend on, whichever log they are of."""
    found: dict[str, Any] = json.loads(json.dumps({"digest": how.digest, "options": how.key()}, default=str))
    return found


def key_of(files: Sequence[Path], basis: Mapping[str, Any], by_hash: bool) -> dict[str, Any]:
    """What the results of a log depend on. OSError where it cannot be looked at."""
    logs = []
    for path in files:
        found = path.stat()
        if by_hash and path.is_file():
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while block := file.read(1 << 20):
                    digest.update(block)
            logs.append({"size": found.st_size, "sha256": digest.hexdigest()})
        else:
            logs.append({"size": found.st_size, "mtime_ns": found.st_mtime_ns})
    return {"form": FORM, "logs": logs, **basis}


def write_record(results: Path, outcome: Outcome, key: Mapping[str, Any]) -> None:
    """Say that a log is done. OSError."""
    tree = {one.name: getattr(outcome, one.name) for one in fields(outcome) if one.name not in ("peak", "pid")}
    text = json.dumps({"key": key, **tree}, allow_nan=False)  # indented it would not be C that writes it
    write_whole(results / f"{name_of(Path(outcome.log))}.json", text)


def read_record(results: Path, log: Path, key: Mapping[str, Any]) -> Outcome | None:
    """What is done of this log; None where it is not, or is of another key, or its file is gone."""
    try:
        tree = json.loads((results / f"{name_of(log)}.json").read_text(encoding="utf-8"))
        if tree.pop("key") != key:
            return None
        for found in tree["numbers"].values():
            Distribution.from_json(found)  # which says whether it is one
        outcome = Outcome(**tree)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    whole = not outcome.error and (outcome.file is None or (results / outcome.file).is_file())
    outcome.log = str(log)
    return outcome if whole else None


def write_whole(path: Path, text: str) -> None:
    """A file that is there whole, or as it was. OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
