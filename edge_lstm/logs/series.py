"""A log as the model reads it: times and readings, all at once, for pictures and forecasts at a desk.

Rule: a CSV log by its columns, a recording by the fields of its readings; what is missing stays NaN.

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
from edge_lstm.logs import kind_of
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.jitter import irregularities
from edge_lstm.logs.replay_table import match
from edge_lstm.robot.config import RobotConfig, nearest

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.program import Floats


@dataclass(frozen=True)
class Series:
    """t_s float64 (T,), seconds since the first reading; xs float32 (T, n_inputs), NaN where something is missing.
    notes: sentences about its times, as `edge-lstm replay` gives them."""

    name: str
    t_s: npt.NDArray[np.float64]
    xs: Floats
    notes: tuple[str, ...] = ()

    @property
    def period_s(self) -> float:
        """The usual time from one reading to the next, s."""
        return float(np.median(np.diff(self.t_s))) if len(self.t_s) > 1 else 1.0

    def row_at(self, t_s: float) -> int:
        """The number of the last reading not later than t_s. LogError where the log does not reach there."""
        if not self.t_s[0] <= t_s <= self.t_s[-1] + self.period_s:
            raise LogError(f"{self.name}: has readings from {self.t_s[0]:g} to {self.t_s[-1]:g} s, none at {t_s:g} s")
        return int(np.searchsorted(self.t_s, t_s, side="right")) - 1


def read(
    path: Path,
    model: Model,
    *,
    channels: Sequence[str] = (),
    time_column: str | None = None,
    time_unit: str | None = None,
) -> Series:
    """The whole log. channels, time_column, time_unit: as for `edge-lstm replay` of a CSV log. Raises LogError."""
    encoder = Encoder(model.inputs)
    notes: tuple[str, ...] = ()
    if kind_of(path) == "table":
        log = CsvLog(path, time_column, time_unit)
        columns, _ = match(log, model, channels)
        words = {k: c.vocabulary for k, c in enumerate(model.inputs) if c.vocabulary}
        blocks = list(log.blocks(columns, words))
        t_s, values = (np.concatenate([getattr(b, part) for b in blocks]) for part in ("t_s", "values"))
        notes = (*log.notes, *irregularities(t_s, np.concatenate([block.lines for block in blocks])))
    else:
        t_s, values = _recorded(path, model)
    with np.errstate(over="ignore"):
        xs = encoder.rows(values)
    xs[~np.isfinite(xs)] = np.nan
    return Series(path.name, t_s, xs, notes)


def _recorded(path: Path, model: Model) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    from edge_lstm.robot.config import parse_config
    from firmware_bridge.recordings.reader import open_recording

    recording = open_recording(path)
    if "robot.toml" not in recording.attachments:
        raise LogError(f"{path}: holds no robot.toml, so nobody knows which field feeds which channel")
    text = recording.attachments["robot.toml"].decode("utf-8", errors="replace")
    config: RobotConfig = parse_config(text, f"robot.toml in {path}", path.parent)
    fields = [config.channels.get(c.name, c.name) for c in model.inputs]
    times: list[int] = []
    rows: list[list[float]] = []
    for t_ns, values in recording.values(f"/readings/{config.reading}"):
        for field, channel in zip(fields, model.inputs, strict=True):
            if field not in values:
                raise LogError(
                    f"{path}: {config.reading!r} has no field {field!r} for the model's input {channel.name!r}"
                    f"{nearest(field, values)}"
                )
        times.append(t_ns)
        rows.append([np.nan if values[field] is None else values[field] for field in fields])
    if not rows:
        raise LogError(f"{path}: holds no readings of {config.reading!r}")
    return np.array([t - times[0] for t in times], np.float64) * 1e-9, np.array(rows, np.float64)
