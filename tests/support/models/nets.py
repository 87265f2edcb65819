"""Small networks for tests, with weights from a seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Slot
from edge_lstm.core.timing import Timing

CELLS = ("lstm", "gru", "rnn")


class Weights:
    """Uniform weights in ±1/sqrt(units), as PyTorch begins."""

    def __init__(self, seed: int, units: int) -> None:
        self._random = np.random.default_rng(seed)
        self._bound = units**-0.5

    def __call__(self, *shape: int) -> npt.NDArray[np.float32]:
        return self._random.uniform(-self._bound, self._bound, shape).astype(np.float32)


def cell(b: Builder, kind: str, x: Slot, units: int, w: Weights, name: str) -> Slot:
    """One recurrent layer with a random initial state; its output."""
    h = b.state(f"{name}.h", units, w(units))
    if kind == "lstm":
        c = b.state(f"{name}.c", units, w(units))
        y, memory = b.lstm(x, h, c, W=w(4 * units, x.size), R=w(4 * units, units), b=w(4 * units), name=name)
        b.next(c, memory)
    elif kind == "gru":
        matrices = {"W": w(3 * units, x.size), "R": w(3 * units, units), "b_W": w(3 * units), "b_R": w(3 * units)}
        y = b.gru(x, h, **matrices, name=name)
    else:
        y = b.rnn(x, h, W=w(units, x.size), R=w(units, units), b=w(units), name=name)
    b.next(h, y)
    return y


def network(
    kind: str = "lstm",
    inputs: int = 8,
    units: int = 16,
    outputs: int = 4,
    layers: int = 1,
    seed: int = 0,
    window: int | None = None,
    channels: tuple[Channel, ...] | None = None,
) -> Model:
    """inputs → `layers` recurrent layers → dense outputs."""
    w, b = Weights(seed, units), Builder()
    y = b.input("x", inputs)
    for number in range(layers):
        y = cell(b, kind, y, units, w, f"{kind}{number}")
    b.output("y", b.dense(y, W=w(outputs, units), b=w(outputs), name="head"))
    return Model(
        b.build(),
        channels or channels_for(("x",), (inputs,)),
        channels_for(("y",), (outputs,)),
        timing=Timing() if window is None else Timing.over_window(window),
        name=f"{kind}-{units}",
    )


def one_map(function: str, size: int, alpha: float = 0.0, beta: float = 0.0) -> Model:
    """x → function(x), nothing else."""
    b = Builder()
    b.output("y", b.map(function, b.input("x", size), alpha=alpha, beta=beta))
    return Model(b.build(), channels_for(("x",), (size,)), channels_for(("y",), (size,)), name=function)


def readings(count: int, size: int, seed: int = 0, scale: float = 1.0) -> npt.NDArray[np.float32]:
    """(count, size) normal float32."""
    return np.random.default_rng(seed).normal(0, scale, (count, size)).astype(np.float32)
