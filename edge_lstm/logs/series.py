"""A log as the model reads it: times and readings, all at once, for pictures and forecasts at a desk.

Its rule: what is missing stays NaN. A table is read here; a recording, whose robot.toml says which field feeds which
channel, by `edge_lstm.robot.recorded`.

Never: run a model but in `outputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Encoder
from edge_lstm.errors import LogError
from edge_lstm.logs import open_log
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.jitter import irregularities
from edge_lstm.logs.matching import match, scaled
from edge_lstm.logs.ticks import table_ticks
from edge_lstm.streams.missing import MissingReadings

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
    begins: tuple[int, ...] = ()  # readings with which another recording begins, after the first

    @classmethod
    def encoded(
        cls,
        name: str,
        model: Model,
        t_s: npt.NDArray[np.float64],
        values: npt.NDArray[np.float64] | Floats,
        notes: tuple[str, ...] = (),
    ) -> Series:
        """From values (T, channels), in the order of the model's input channels, NaN where one is missing."""
        with np.errstate(over="ignore"):
            xs = Encoder(model.inputs).rows(values)
        return cls(name, t_s, np.where(np.isfinite(xs), xs, np.float32(np.nan)), notes)

    @property
    def period_s(self) -> float:
        """The usual time from one reading to the next, s."""
        return float(np.median(np.diff(self.t_s))) if len(self.t_s) > 1 else 1.0

    def outputs(self, model: Model) -> Floats:
        """(T, numbers of the outputs), NaN where there is none: each reading a step, what is missing by the model's
        policy, each recording with a memory of its own."""
        filler, found = MissingReadings(model.stream()), []
        for begin, end in pairwise((0, *(k for k in self.begins if k), len(self.xs))):
            if begin:
                filler.reset()
            found.append(filler.run(self.xs[begin:end]).outputs)
        return np.concatenate(found)

    def parts(self) -> list[Series]:
        """Each recording of it by itself; the seconds stay those of the whole."""
        edges = [0, *(k for k in self.begins if k), len(self.xs)]
        if len(edges) == 2:
            return [self]
        return [
            replace(self, name=f"{self.name} ({number})", t_s=self.t_s[a:b], xs=self.xs[a:b], begins=())
            for number, (a, b) in enumerate(pairwise(edges), 1)
        ]

    def row_at(self, t_s: float) -> int:
        """The number of the last reading not later than t_s. LogError where the log does not reach there."""
        if not self.t_s[0] <= t_s <= self.t_s[-1] + self.period_s:
            raise LogError(f"{self.name}: has readings from {self.t_s[0]:g} to {self.t_s[-1]:g} s, none at {t_s:g} s")
        return int(np.searchsorted(self.t_s, t_s, side="right")) - 1

    def begin_of(self, row: int) -> int:
        """The first reading of the recording that this one is of."""
        return max((k for k in self.begins if k <= row), default=0)


def read_table(
    path: Path,
    model: Model,
    *,
    channels: Sequence[str] = (),
    asked: Asked = NOTHING,
    tick: Sequence[str] = (),
    max_age: Sequence[str] = (),
) -> Series:
    """A whole table. The rest: as for `edge-lstm replay`. Raises LogError."""
    log = open_log(path, replace(asked, model_hz=model.rate_hz))
    columns, matched = match(log, model, channels)
    words = {k: c.vocabulary for k, c in enumerate(model.inputs) if c.vocabulary}
    ticks = table_ticks(log, columns, tick, max_age)
    blocks = list(log.blocks(columns, words) if ticks is None else ticks(log.blocks(ticks.columns, words)))
    if not blocks:
        raise LogError(f"{path}: {ticks.why() if ticks is not None else 'holds no reading'}")
    t_s, values = (np.concatenate([getattr(b, part) for b in blocks]) for part in ("t_s", "values"))
    starts = np.cumsum([0, *(len(b.t_s) for b in blocks)]).tolist()
    begins = tuple(start + k for start, b in zip(starts, blocks, strict=False) for k in b.begins)
    notes = (
        *matched,
        *log.notes,
        *irregularities(t_s, np.concatenate([block.lines for block in blocks]), begins, place=log.place),
    )
    made = Series.encoded(path.name, model, t_s, scaled(columns, values[:, : len(columns)]), notes)
    return replace(made, begins=begins)
