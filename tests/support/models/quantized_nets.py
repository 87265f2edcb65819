"""Small quantized networks for tests, with integers and scales from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Slot
from edge_lstm.core.operations.functions import INTEGERS, RANGED, SCHEMES, most
from edge_lstm.core.timing import Timing

__all__ = ["CELLS", "SCHEMES", "Integers", "cell", "quantized_network"]
CELLS = ("lstm", "gru", "rnn")


class Integers:
    """Weights as a quantizer makes them of uniform ones in ±1/sqrt(units); every integer occurs, the ends too."""

    def __init__(self, scheme: str, seed: int, units: int) -> None:
        self.scheme, self.units = scheme, units
        self.random = np.random.default_rng(seed)

    def floats(self, *shape: int) -> Any:
        return self.random.uniform(-1, 1, shape).astype(np.float32) * np.float32(self.units**-0.5)

    def matrix(self, rows: int, columns: int) -> Any:
        return self.random.integers(-127, 128, (rows, columns), np.int8)

    def __call__(self, rows: int, x: int, h: int | None, *biases: str) -> dict[str, Any]:
        """The weights of one operation; x_scale differs from input to input, ±3 being the largest value it holds;
        where the step decides that, x_scale lies between 1 and 1.5."""
        sums = {"W": x} if h is None else {"W": x, "R": h}
        weights: dict[str, Any] = {key: self.floats(rows) for key in biases}
        for key, columns in sums.items():
            weights[key] = self.matrix(rows, columns)
            row = self.random.uniform(0.5, 1, rows) / 127 * self.units**-0.5
            unit = (3.0 if key == "W" else 1.0) / most(self.scheme, columns) if self.scheme in RANGED else 1.0
            weights[f"{key}_scale"] = (row * unit).astype(np.float32)
        if self.scheme in INTEGERS:
            one = most(self.scheme, x) if self.scheme in RANGED else 2
            weights["x_scale"] = (self.random.uniform(2, 3, x) / one).astype(np.float32)
            if h is not None and self.scheme in RANGED:
                weights["h_scale"] = np.float32([1 / most(self.scheme, h)])
        return weights


def cell(b: Builder, kind: str, x: Slot, units: int, w: Integers, name: str, activation: str = "tanh") -> Slot:
    """One quantized recurrent layer with a random initial state; its output."""
    h = b.state(f"{name}.h", units, w.floats(units))
    if kind == "lstm":
        c = b.state(f"{name}.c", units, w.floats(units))
        y, memory = b.quantized_lstm(x, h, c, scheme=w.scheme, weights=w(4 * units, x.size, units, "b"), name=name)
        b.next(c, memory)
    elif kind == "gru":
        weights = w(3 * units, x.size, units, "b_W", "b_R")
        y = b.quantized_gru(x, h, scheme=w.scheme, weights=weights, name=name)
    else:
        weights = w(units, x.size, units, "b")
        y = b.quantized_rnn(x, h, scheme=w.scheme, weights=weights, activation=activation, name=name)
    b.next(h, y)
    return y


def quantized_network(
    kind: str = "lstm",
    scheme: str = "int8",
    inputs: int = 8,
    units: int = 16,
    outputs: int = 4,
    layers: int = 1,
    seed: int = 0,
    window: int | None = None,
    activation: str = "tanh",
) -> Model:
    """inputs → `layers` quantized recurrent layers → quantized dense outputs."""
    b, w = Builder(), Integers(scheme, seed, units)
    y = b.input("x", inputs)
    for number in range(layers):
        y = cell(b, kind, y, units, w, f"{kind}{number}", activation)
    b.output("y", b.quantized_dense(y, scheme=scheme, weights=w(outputs, units, None, "b"), name="head"))
    return Model(
        b.build(),
        channels_for(("x",), (inputs,)),
        channels_for(("y",), (outputs,)),
        timing=Timing() if window is None else Timing.over_window(window),
        name=f"{scheme}-{kind}-{units}",
    )
