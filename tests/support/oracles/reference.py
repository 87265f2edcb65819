"""The naive twin: a model in NumPy by each operation's formula, in any float type, without an engine.

Its rule: no cleverness. float64 measures the error of the native engine, float32 imitates it. The engine's own tests
and the importers' compare with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.core.operation import Slot
from edge_lstm.core.program import Program
from edge_lstm.engines.plain import Formulas

Array = npt.NDArray[Any]


class Reference:
    """One stream of a program. `dtype` is the type it computes in, and remembers."""

    def __init__(self, program: Program, dtype: Any = np.float64) -> None:
        self.program, self.dtype = program, np.dtype(dtype)
        self._formulas = Formulas(program, dtype)
        self.reset()

    def reset(self) -> None:
        self.arena = self.program.initial_arena().astype(self.dtype)

    def read(self, slot: Slot) -> Array:
        """What stands there now."""
        return self.arena[slot.offset : slot.offset + slot.size].copy()

    def step(self, x: npt.ArrayLike) -> Array:
        """One reading in, one output out; the states move on."""
        flat = np.asarray(x, self.dtype).reshape(-1)
        assert flat.size == self.program.input_size
        y = self._formulas.step(self.arena, flat)
        self._formulas.commit(self.arena)
        return y

    def run(self, xs: npt.ArrayLike) -> Array:
        """(T, n_in) → (T, n_out)."""
        return np.stack([self.step(x) for x in np.asarray(xs)])


def run_model(model: Model, xs: npt.ArrayLike, dtype: Any = np.float64) -> Array:
    """A model with its timing: (T, n_in) → (T, n_out), NaN while a window is not full."""
    readings, timing = np.asarray(xs), model.timing
    stream = Reference(model.program, dtype)
    if timing.mode != "window" or timing.window is None:
        outputs = stream.run(readings).astype(np.float64)
        outputs[[not timing.comes_with(number) for number in range(1, len(readings) + 1)]] = np.nan
        return outputs
    rows = np.full((len(readings), model.program.output_size), np.nan)
    for t in range(timing.window - 1, len(readings)):
        stream.reset()
        rows[t] = stream.run(readings[t + 1 - timing.window : t + 1])[-1]
    return rows
