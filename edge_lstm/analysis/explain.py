"""What a network's gates show of a log: how long each unit remembers, and which input moves which gate.

Its rule: every number is measured on this log, not read off the weights. A unit's time constant follows from how much
of its memory it keeps from reading to reading, on average: tau = -1 / mean(ln f) readings, after which a memory that
nothing adds to has fallen to 37 %. An input's influence on a gate is the mean change of the gate when that input is
set to its mean over the log and everything else is as it was.

Never: fill a reading. Rows with a missing number are left out, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError
from edge_lstm.streams.gates import cell, layers

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats
    from edge_lstm.logs.series import Series

_KEEPS = {"lstm": "f", "gru": "z"}  # the gate that decides how much of the memory is kept
_MOST = 50_000  # readings over which influences are measured
_GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}


@dataclass(frozen=True)
class Unit:
    """One unit of a layer; readings: its time constant, None where the layer has no such gate."""

    layer: str
    number: int
    kept: float | None  # geometric mean of the share of the memory that is kept
    readings: float | None
    strength: float  # mean magnitude of its memory


@dataclass(frozen=True)
class Explained:
    """gates: by name, float32 (T, units); influence: (layer.gate, channel) → mean change, 0 … 1 (g, n, h: 0 … 2)."""

    t_s: npt.NDArray[np.float64]
    xs: Floats
    ys: Floats
    gates: dict[str, Floats]
    units: list[Unit]
    influence: dict[tuple[str, str], float]
    left_out: int


def explain(model: Model, series: Series, begin_s: float = -np.inf, end_s: float = np.inf) -> Explained:
    """Run the log through the model and look at the gates between two times (s); the memory comes from the beginning.

    StateError: the model has no gates. LogError: no output between the times.
    """
    complete = np.asarray(np.isfinite(series.xs).all(axis=1))
    xs, t_s = series.xs[complete], series.t_s[complete]
    stream = model.stream(gates=True)
    first, last = int(np.searchsorted(t_s, begin_s, "left")), int(np.searchsorted(t_s, end_s, "right"))
    starts = sorted({int(complete[:k].sum()) for k in series.begins})  # of further recordings in the log
    latest = max((k for k in starts if k <= first), default=0)
    if first > latest:
        stream.run(xs[latest:first])
    parts = []
    for start, stop in pairwise([first, *(k for k in starts if first < k < last), max(first, last)]):
        if start in starts:
            stream.reset()
        parts.append(stream.run_gates(xs[start:stop]))
    ys = np.concatenate([part for part, _ in parts])
    gates = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
    there = ~np.isnan(next(iter(gates.values()))).any(axis=1) if len(ys) else np.zeros(0, bool)
    if not there.any():
        raise LogError(f"{series.name}: no output between {max(begin_s, 0):g} and {min(end_s, t_s[-1]):g} s")
    seen = {name: values[there] for name, values in gates.items()}
    return Explained(
        t_s[first:last][there],
        xs[first:last][there],
        ys[there],
        seen,
        _units(model, seen),
        _influence(model, xs[:_MOST]),
        int((~complete).sum()),
    )


def _units(model: Model, gates: dict[str, Floats]) -> list[Unit]:
    units: list[Unit] = []
    for layer, op in layers(model).items():
        memory = gates[f"{layer}.{'c' if cell(op) == 'lstm' else 'h'}"].astype(np.float64)
        strength = np.abs(memory).mean(axis=0)
        if cell(op) not in _KEEPS:
            units += [Unit(layer, k, None, None, float(s)) for k, s in enumerate(strength)]
            continue
        keeps = gates[f"{layer}.{_KEEPS[cell(op)]}"].astype(np.float64)
        mean_log = np.log(np.clip(keeps, 1e-12, 1 - 2.0**-25)).mean(axis=0)
        rows = zip(np.exp(mean_log), -1 / mean_log, strength, strict=True)
        units += [Unit(layer, k, float(f), float(tau), float(s)) for k, (f, tau, s) in enumerate(rows)]
    return units


def _influence(model: Model, xs: Floats) -> dict[tuple[str, str], float]:
    """Each channel in turn set to its mean."""
    names = [f"{layer}.{gate}" for layer, op in layers(model).items() for gate in _GATES[cell(op)]]
    _, before = model.stream(gates=True).run_gates(xs)
    found: dict[tuple[str, str], float] = {}
    start = 0
    for channel in model.inputs:
        changed = xs.copy()
        changed[:, start : start + channel.width] = xs[:, start : start + channel.width].mean(axis=0)
        start += channel.width
        _, after = model.stream(gates=True).run_gates(changed)
        for name in names:
            found[name, channel.name] = float(np.nanmean(np.abs(after[name] - before[name])))
    return found


def longest_first(units: list[Unit], layer: str) -> list[int]:
    """The numbers of a layer's units, the longest memory first (the strongest, where the layer has no gates)."""
    own = [u for u in units if u.layer == layer]
    return [u.number for u in sorted(own, key=lambda u: -(u.strength if u.readings is None else u.readings))]
