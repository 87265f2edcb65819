"""Logs: tables of readings that something else wrote, and our own recordings.

Rule: one file per format, and one table here from the file's suffix to its kind. A log says what it holds (columns,
units, time) before a row is read; rows come in blocks so that a long log is never whole in memory.

Never: guess in silence. What was taken for the time, and in which unit, is a note; a cell that cannot be read is an
error with file, line and column.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge_lstm.errors import LogError

Kind = Literal["table", "recording"]

KINDS: dict[str, Kind] = {".csv": "table", ".tsv": "table", ".txt": "table", ".mcap": "recording"}


def kind_of(path: Path) -> Kind:
    """What `path` is, by its suffix. LogError where it is missing, a folder, or of a suffix nobody here reads."""
    if path.is_dir():
        raise LogError(f"{path}: is a folder, not a log")
    if not path.exists():
        raise LogError(f"{path}: there is no such file")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise LogError(f"{path}: suffix {path.suffix!r} is not a log's; readable: {', '.join(KINDS)}")
    return kind
