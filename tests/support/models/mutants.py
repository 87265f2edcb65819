"""Models of which one unit is another: what `bisect` must name."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from tests.support.robots.small_robot import INPUTS, OUTPUTS

GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}


class Planted(NamedTuple):
    """Which unit is another one, and the model that has it."""

    layer: str
    gate: str
    unit: int
    key: str
    model: Model


def stack(random: np.random.Generator, cells: tuple[str, str], units: int = 12, spread: float = 0.5) -> Model:
    """Two recurrent layers and a dense head, for the simulated robot. spread: of the weights; from 0.5 on a small error
    may grow with time."""

    def weights(*shape: int) -> np.ndarray:
        return random.normal(0, spread, shape).astype(np.float32)

    builder = Builder()
    y = builder.input("x", sum(channel.width for channel in INPUTS))
    for k, kind in enumerate(cells):
        name, wide = f"{kind}_{k}", y.size
        h = builder.state(f"{name}.h", units)
        if kind == "lstm":
            c = builder.state(f"{name}.c", units)
            sums = {"W": weights(4 * units, wide), "R": weights(4 * units, units), "b": weights(4 * units)}
            y, memory = builder.lstm(y, h, c, **sums, name=name)
            builder.next(c, memory)
        elif kind == "gru":
            sums = {"W": weights(3 * units, wide), "R": weights(3 * units, units)}
            y = builder.gru(y, h, **sums, b_W=weights(3 * units), b_R=weights(3 * units), name=name)
        else:
            y = builder.rnn(y, h, W=weights(units, wide), R=weights(units, units), b=weights(units), name=name)
        builder.next(h, y)
    head = builder.dense(y, W=weights(4, units), b=weights(4), activation="sigmoid", name="head")
    builder.output("y", head)
    channels: tuple[Channel, ...] = OUTPUTS
    return Model(builder.build(), INPUTS, channels, name="stack")


def planted(model: Model, random: np.random.Generator, by: float = 0.25, biases: bool = False) -> Planted:
    """The model with one weight of one gate of one unit moved; biases: a bias, which acts with every reading."""
    recurrent = [k for k, op in enumerate(model.program.operations) if op.kind in GATES]
    number = int(random.choice(recurrent))
    op = model.program.operations[number]
    units = op.outputs[0].size
    gate, unit = int(random.integers(len(GATES[op.kind]))), int(random.integers(units))
    keys = [key for key in op.weights if key.startswith("b") or not biases]
    key = str(random.choice(keys))
    weights = {name: w.copy() for name, w in op.weights.items()}
    row = weights[key][gate * units + unit : gate * units + unit + 1].reshape(-1)
    row[random.integers(row.size)] += np.float32(by)
    for w in weights.values():
        w.flags.writeable = False
    operations = list(model.program.operations)
    operations[number] = replace(op, weights=weights)
    program = replace(model.program, operations=tuple(operations))
    return Planted(op.name, GATES[op.kind][gate], unit, key, replace(model, program=program, name="planted"))
