"""A log as the model reads it: times and readings, all at once, for pictures and forecasts at a desk.

Its rule: what is missing stays NaN. A table is read here; a recording, whose robot.toml says which field feeds which
channel, by `edge_lstm.robot.recorded`.

Never: run the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Encoder
from edge_lstm.errors import LogError
from edge_lstm.logs import open_log
from edge_lstm.logs.jitter import irregularities
from edge_lstm.logs.matching import match
from edge_lstm.logs.ticks import table_ticks

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats


@dataclass(frozen=True)
class Series:
    """t_s float64 (T,), seconds since the first reading; xs float32 (T, n_inputs), NaN where something is missing.
    notes: sentences about its times, as `edge-lstm replay` gives them."""

    name: str
    t_s: npt.NDArray[np.float64]
    xs: Floats
    notes: tuple[str, ...] = ()

    @classmethod
    def encoded(
        cls,
        name: str,
        model: Model,
        t_s: npt.NDArray[np.float64],
        values: npt.NDArray[np.float64],
        notes: tuple[str, ...] = (),
    ) -> Series:
        """From values float64 (T, channels), in the order of the model's input channels, NaN where one is missing."""
        with np.errstate(over="ignore"):
            xs = Encoder(model.inputs).rows(values)
        xs[~np.isfinite(xs)] = np.nan
        return cls(name, t_s, xs, notes)

    @property
    def period_s(self) -> float:
        """The usual time from one reading to the next, s."""
        return float(np.median(np.diff(self.t_s))) if len(self.t_s) > 1 else 1.0

    def row_at(self, t_s: float) -> int:
        """The number of the last reading not later than t_s. LogError where the log does not reach there."""
        if not self.t_s[0] <= t_s <= self.t_s[-1] + self.period_s:
            raise LogError(f"{self.name}: has readings from {self.t_s[0]:g} to {self.t_s[-1]:g} s, none at {t_s:g} s")
        return int(np.searchsorted(self.t_s, t_s, side="right")) - 1


def read_table(
    path: Path,
    model: Model,
    *,
    channels: Sequence[str] = (),
    time_column: str | None = None,
    time_unit: str | None = None,
    tick: Sequence[str] = (),
    max_age: Sequence[str] = (),
) -> Series:
    """A whole table. The rest: as for `edge-lstm replay`. Raises LogError."""
    log = open_log(path, time_column, time_unit)
    columns, _ = match(log, model, channels)
    words = {k: c.vocabulary for k, c in enumerate(model.inputs) if c.vocabulary}
    ticks = table_ticks(log, columns, tick, max_age)
    blocks = list(log.blocks(columns, words) if ticks is None else ticks(log.blocks(ticks.columns, words)))
    if not blocks:
        raise LogError(f"{path}: {ticks.why() if ticks is not None else 'holds no reading'}")
    t_s, values = (np.concatenate([getattr(b, part) for b in blocks]) for part in ("t_s", "values"))
    notes = (*log.notes, *irregularities(t_s, np.concatenate([block.lines for block in blocks])))
    return Series.encoded(path.name, model, t_s, values, notes)
