"""Logs: readings that something else wrote, as tables or as topics, and our own recordings.

Its rule: one file per format, and one table here from a format's suffix to its reader. A log says what it holds
(columns, units, time) before a row is read; rows come in blocks so that a long log is never whole in memory (`log.py`).
Which format a file is, its first bytes say (`recognize.py`). What people should know of all of them: README.md.

To add a format: a file in `formats/` with a class that derives from `Log` or `TopicLog`, its line in `READERS`, tests.
A program of one's own adds its line at run time. Whatever takes a log then takes the format: replay, forecast, explain,
quantize, verify, bench, channels.

Never: guess in silence. What was taken for the time, and in which unit, is a note; a cell that cannot be read is an
error with file, line and column.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from edge_lstm.errors import LogError, nearest_file
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.log import Log
from edge_lstm.logs.recognize import LOOK, SAME, beginning, by_content, how_packed, is_text

Kind = Literal["table", "recording"]


class Reader(Protocol):
    """Opens a log of one format: its class."""

    def __call__(self, path: Path, asked: Asked = NOTHING) -> Log:
        """See `open_log`."""


def _in(file: str, name: str) -> Reader:
    """A reader in `formats/`, imported when it is needed."""

    def reader(path: Path, asked: Asked = NOTHING) -> Log:
        made: Reader = getattr(import_module(f"edge_lstm.logs.formats.{file}"), name)
        return made(path, asked)

    return reader


_CSV: dict[str, Reader] = {".csv": CsvLog, ".tsv": CsvLog, ".txt": CsvLog, ".log": CsvLog}
_OURS: dict[str, Reader] = {
    ".bag": _in("ros1_bag", "Ros1Bag"),
    ".db3": _in("ros2_db3", "Ros2Db3"),
    ".mcap": _in("mcap", "McapLog"),
    ".ulg": _in("ulog", "ULog"),
    ".bin": _in("dataflash", "DataFlash"),
    ".tlog": _in("tlog", "Tlog"),
    ".bbl": _in("blackbox", "Blackbox"),
    ".parquet": _in("arrow", "ArrowLog"),
    ".arrow": _in("arrow", "ArrowLog"),
}
READERS: dict[str, Reader] = _CSV | _OURS | {other: _OURS[suffix] for other, suffix in SAME.items()}  # by the suffix


def format_of(path: Path) -> str:
    """The suffix in READERS that `path` should have. LogError: it is missing, a folder, or nobody here reads it."""
    if path.is_dir():
        raise LogError(f"{path}: is a folder, not a log")
    if not path.exists():
        raise LogError(f"{path}: there is no such file{nearest_file(path)}")
    found = _format(path, beginning(path))
    if found is None:
        hint = " (a model? the log comes first, then --model MODEL)" if path.suffix == ".npz" else ""
        raise LogError(f"{path}: suffix {path.suffix!r} is not a log's{hint}; readable: {', '.join(READERS)}")
    return found


def _format(path: Path, start: bytes) -> str | None:
    """Of a log of this name that begins so; None: nobody here reads it."""
    own = path.suffix.lower()
    if own in READERS and own not in _CSV and own not in _OURS and own not in SAME:  # somebody's own
        return own
    found = by_content(start)
    if found is not None:
        return found
    if own in READERS and not (own in _OURS and is_text(start)):
        return SAME.get(own, own)
    return ".csv" if is_text(start) else None


def kind_of(path: Path) -> Kind:
    """What `path` is: a recording of this program, or a log that knows no robot, a table or topics. LogError where it
    is missing, or nobody here reads it."""
    if path.is_file() and how_packed(beginning(path)):
        return "table"
    if path.is_dir():
        from edge_lstm.logs.formats.bag_folder import is_bag, parts_of

        parts_of(path)
        return "table" if is_bag(path) else "recording"
    if format_of(path) != ".mcap":
        return "table"
    from edge_lstm.logs.formats.mcap import is_foreign

    return "table" if is_foreign(path) else "recording"


def open_log(path: Path, asked: Asked = NOTHING) -> Log:
    """The log at `path`, by the reader of its format; a recording as a log of its topics.

    asked: what the log does not say itself. LogError: not readable.
    """
    if path.is_dir():
        from edge_lstm.logs.formats.bag_folder import BagFolder

        return BagFolder(path, open_log, asked)
    if path.is_file():
        how = how_packed(beginning(path))
        if how is not None:
            from edge_lstm.logs.formats.unpacking import beginning_within
            from edge_lstm.logs.packed import PackedLog, inner_name

            if _format(Path(inner_name(path)), beginning_within(path, how, LOOK)) in _CSV:
                return CsvLog(path, asked)
            return PackedLog(path, how, open_log, asked)
        suffix = format_of(path)
    elif not path.exists():
        raise LogError(f"{path}: there is no such file{nearest_file(path)}")
    else:  # a pipe
        suffix = path.suffix.lower()
    log = READERS.get(suffix, CsvLog)(path, asked)
    own = path.suffix.lower()
    if own in READERS and SAME.get(own, own) != suffix and suffix in _OURS:
        log.notes.append(f"it is called {own}, and read as {suffix}: that is what its first bytes are")
    return log
