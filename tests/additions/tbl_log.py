"""A made-up log format: `.tbl`, a small binary table. Magic, widths, titles; then rows of a time in ns and float64.

Its rule: the whole format is in this file, as one that stays would be in `edge_lstm/logs/`; the other thing it takes is
its line in `edge_lstm.logs.READERS`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.log import Block, Column, Doubles, Log, column

_HEAD = struct.Struct("<4sHI")  # magic, columns beside the time, bytes of their titles
_ROWS = 64  # of a block


class TblLog(Log):
    """A `.tbl` log, opened."""

    def __init__(self, path: Path, asked: Asked = NOTHING) -> None:
        """As `open_log`; the format says its time itself. LogError: not readable."""
        asked.refuse(path, (), "a .tbl log, which says everything itself")
        with path.open("rb") as file:
            magic, count, size = _HEAD.unpack(file.read(_HEAD.size).ljust(_HEAD.size, b"\0"))
            titles = file.read(size).decode().split("\n")
        if magic != b"TBL1" or len(titles) != count:
            raise LogError(f"{path}: is no .tbl log, or its head is damaged")
        self.path, self.size = path, path.stat().st_size
        self.columns = tuple(column(k, title) for k, title in enumerate(["t_ns", *titles]))
        self.time, self.time_unit = self.columns[0], "ns"
        self.notes: list[str] = []
        self._start, self._row = _HEAD.size + size, np.dtype([("t_ns", "<i8"), ("values", "<f8", (count,))])

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """As `Log.blocks`."""
        if vocabularies:
            raise LogError(f"{self.path}: holds numbers, no words")
        rows = np.fromfile(self.path, self._row, offset=self._start)
        if not len(rows):
            raise LogError(f"{self.path}: has no rows")
        for at in range(0, len(rows), _ROWS):
            part = rows[at : at + _ROWS]
            t_s = (part["t_ns"] - rows["t_ns"][0]).astype(np.float64) * 1e-9
            lines = list(range(at + 1, at + len(part) + 1))
            values = part["values"][:, [c.index - 1 for c in columns]]
            yield Block(lines, part["t_ns"].astype(str).tolist(), t_s, values, part.nbytes)


def write(path: Path, titles: Sequence[str], t_ns: Sequence[int], values: Doubles) -> None:
    """values (T, columns), NaN where one is missing."""
    head = "\n".join(titles).encode()
    rows = np.zeros(len(t_ns), [("t_ns", "<i8"), ("values", "<f8", (len(titles),))])
    rows["t_ns"], rows["values"] = t_ns, values
    path.write_bytes(_HEAD.pack(b"TBL1", len(titles), len(head)) + head + rows.tobytes())
