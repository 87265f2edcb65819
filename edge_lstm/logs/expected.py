"""A replay's outputs beside those that somebody else's program gave for the same log.

Its rule: row by row, by the outputs' names; an error is a share of the range of what was expected. Where only one of
both has a number, they differ.

Never: agree where nothing was compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError
from edge_lstm.logs import kind_of, open_log
from edge_lstm.logs.asked import Asked
from firmware_bridge.words import counted

TOLERANCE = 1e-4  # of an output's range: what float32 in another order of sums comes to, and a text of six digits


@dataclass(frozen=True)
class Output:
    """One output: its largest error, as a share of its range, and the line of the expected file where it is."""

    name: str
    largest: float
    line: int
    compared: int


@dataclass(frozen=True)
class Comparison:
    """Of all outputs. differ: rows in which one is beyond the tolerance, or has no number in one of both; first: the
    line of the expected file."""

    expected: str
    tolerance: float
    rows: int
    differ: int
    first: int | None
    off: int  # of them: those in which one is beyond the tolerance
    alone: int  # and those in which only one of both has a number
    outputs: tuple[Output, ...]
    place: str = "line"  # of the expected file: what `first` and each output's `line` are

    @property
    def ok(self) -> bool:
        """Something was compared, and nothing differs."""
        return not self.differ and any(output.compared for output in self.outputs)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"ok": self.ok}

    def verdict(self) -> str:
        """Why it is not `ok`."""
        if not self.differ:
            return f"nothing could be compared with {self.expected}: no row has a number in both"
        if not self.off:
            return f"not every row could be compared with {self.expected}: {self._alone()}"
        return f"differs from {self.expected} by more than {self.tolerance:g} of an output's range"

    def lines(self) -> list[str]:
        """For people."""
        found = [
            f"{output.name}: {output.compared} of {self.rows} rows compared"
            + (
                f", largest error {output.largest:.1e} of its range, {self.place} {output.line}"
                if output.compared
                else ""
            )
            for output in self.outputs
        ]
        if self.differ:
            off = (
                f"{counted(self.off, 'row differs', 'rows differ')} by more than {self.tolerance:g}" if self.off else ""
            )
            what = "; ".join(part for part in (off, self._alone() if self.alone else "") if part)
            found.append(f"{what}, first in {self.place} {self.first}")
        elif self.ok:
            found.append(f"the same within {self.tolerance:g} of an output's range: yes")
        return [f"expected {line}" for line in found]

    def _alone(self) -> str:
        return f"{counted(self.alone, 'row has', 'rows have')} a number in only one of both"


def compare(path: Path, outputs: Mapping[str, npt.NDArray[Any]], tolerance: float = TOLERANCE) -> Comparison:
    """outputs: name → (T,), NaN where there is none. LogError: the file lacks a column, or has another number of
    rows."""
    if kind_of(path) == "recording":
        raise LogError(f"{path}: --expect: is a recording; a table is meant, with a row for each reading")
    log = open_log(path, Asked(rate_hz=1.0))
    columns = []
    for name in outputs:
        if (column := log.find(name)) is None:
            raise LogError(
                f"{path}: --expect: has no column {name!r}, and needs one for each output of the model "
                f"({', '.join(outputs)}){log.near(name)}"
            )
        columns.append(column)
    blocks = list(log.blocks(columns))
    wanted = np.concatenate([block.values for block in blocks])
    lines = [line for block in blocks for line in block.lines]
    got = np.stack(list(outputs.values()), axis=1).astype(np.float64)
    if len(wanted) != len(got):
        raise LogError(
            f"{path}: --expect: has {len(wanted)} rows, and the log {len(got)} readings; one for each is needed"
        )
    both = np.isfinite(wanted) & np.isfinite(got)
    beyond = np.isfinite(wanted) != np.isfinite(got)
    found = []
    for k, name in enumerate(outputs):
        at = np.flatnonzero(both[:, k])
        if not len(at):
            found.append(Output(name, 0.0, 0, 0))
            continue
        low, high = float(wanted[at, k].min()), float(wanted[at, k].max())
        span = high - low or max(abs(high), 1.0)
        error = np.abs(wanted[at, k] - got[at, k]) / span
        beyond[at, k] = error > tolerance
        worst = int(error.argmax())
        found.append(Output(name, float(error[worst]), lines[at[worst]], len(at)))
    rows = np.flatnonzero(beyond.any(axis=1))
    first = lines[rows[0]] if len(rows) else None
    alone = np.isfinite(wanted) != np.isfinite(got)
    off = int((beyond & ~alone).any(axis=1).sum())
    only = int(alone.any(axis=1).sum())
    return Comparison(str(path), tolerance, len(got), len(rows), first, off, only, tuple(found), log.place)
