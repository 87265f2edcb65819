"""Results as CSV: written beside their place and moved there when they are whole.

Its rule: after an error or Ctrl-C the file is either the old one or not there; a number is the shortest text that reads
back to the same float32 (or float64).

Never: replace what is not an ordinary file (a pipe, /dev/null): those are written to directly.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from edge_lstm.logs import digits


class CsvWriter:
    """A context manager; leaving it without an exception puts the file in place. Raises OSError as the system does."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        direct = path.exists() and not path.is_file()
        self._path = path if direct else path.resolve()  # a pipe behind /dev/stdout resolves to nothing
        self._partial = None if direct else self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        self._file = (self._partial or self._path).open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(header)

    def rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Each row is its texts, see `texts`."""
        self._rows.writerows(rows)

    def table(
        self,
        first: Sequence[str],
        values: npt.NDArray[np.float64],
        outputs: npt.NDArray[np.float32],
        last: npt.NDArray[np.int64],
    ) -> None:
        """Rows of a text, numbers (T, n), (T, m) as `texts` writes them, and a whole number that is small."""
        every = "".join(first)
        if not all(first) or any(mark in every for mark in ',"\r\n\0'):
            cells = zip(first, texts(values), texts(outputs), map(str, last.tolist()), strict=True)
            self.rows([a, *b, *c, d] for a, b, c, d in cells)
            return
        columns = [digits.of(first), *digits.each(digits.doubles, values), *digits.each(digits.floats, outputs)]
        self._file.write(digits.joined([*columns, digits.whole(last)]).decode())

    def __enter__(self) -> CsvWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._file.close()
            if kind is None and self._partial:
                self._partial.replace(self._path)
        finally:
            if self._partial:
                self._partial.unlink(missing_ok=True)


def texts(values: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> list[list[str]]:
    """(T, n) numbers → their shortest exact texts; NaN (nothing there) is an empty cell."""
    if values.dtype == np.float64:
        return [["" if v != v else repr(v) for v in row] for row in values.tolist()]
    found = values.astype(str)
    found[np.isnan(values)] = ""
    return [[str(cell) for cell in row] for row in found.tolist()]
