"""Logs: tables of readings that something else wrote, and our own recordings.

Its rule: one file per format, and one table here from the file's suffix to its reader. A log says what it holds
(columns, units, time) before a row is read; rows come in blocks so that a long log is never whole in memory (`log.py`).

To add a format: a file here with a class that derives from `Log`, its line in `READERS`, tests. A program of one's own
adds its line at run time. Whatever takes a table then takes the format: replay, forecast, explain, quantize, verify.

Never: guess in silence. What was taken for the time, and in which unit, is a note; a cell that cannot be read is an
error with file, line and column.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from edge_lstm.errors import LogError
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.log import Log

Kind = Literal["table", "recording"]


class Reader(Protocol):
    """Opens a log of one format: its class."""

    def __call__(self, path: Path, time: str | None = None, time_unit: str | None = None) -> Log:
        """See `open_log`."""


READERS: dict[str, Reader] = {".csv": CsvLog, ".tsv": CsvLog, ".txt": CsvLog}  # of tables, by the file's suffix
RECORDINGS = (".mcap",)  # read by `firmware_bridge.recordings`


def kind_of(path: Path) -> Kind:
    """What `path` is, by its suffix. LogError where it is missing, a folder, or of a suffix nobody here reads."""
    if path.is_dir():
        raise LogError(f"{path}: is a folder, not a log")
    if not path.exists():
        raise LogError(f"{path}: there is no such file")
    suffix = path.suffix.lower()
    if suffix not in READERS and suffix not in RECORDINGS:
        readable = ", ".join((*READERS, *RECORDINGS))
        raise LogError(f"{path}: suffix {path.suffix!r} is not a log's; readable: {readable}")
    return "table" if suffix in READERS else "recording"


def open_log(path: Path, time: str | None = None, time_unit: str | None = None) -> Log:
    """The table at `path`, by the reader of its suffix; of a suffix that has none, as CSV, which any text may be.

    time, time_unit: the time column and its unit (s, ms, us, ns), where the log does not say. LogError: not readable.
    """
    return READERS.get(path.suffix.lower(), CsvLog)(path, time, time_unit)
