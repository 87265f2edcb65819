"""Networks whose weights are float16, and the same with these weights as float32: the twin, whose bits they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.record import MATRICES

LAYERS = ("lstm", "gru", "rnn", "dense")
Array = npt.NDArray[np.generic]


def halved(model: Model) -> Model:
    """The model with all layers in float16, each weight the nearest one."""
    return _with(model, lambda w: w.astype(np.float16))


def widened(model: Model) -> Model:
    """The float32 twin of such a model."""
    return _with(model, lambda w: w.astype(np.float32))


def _with(model: Model, change: Callable[[Array], Array]) -> Model:
    made: dict[int, Array] = {}

    def once(w: Array) -> Array:
        if id(w) not in made:
            made[id(w)] = change(w)
            made[id(w)].flags.writeable = False
        return made[id(w)]

    def changed(op: Operation) -> Operation:
        if op.kind not in LAYERS:
            return op
        return replace(op, weights={key: once(w) if key in MATRICES else w for key, w in op.weights.items()})

    operations = tuple(map(changed, model.program.operations))
    return replace(model, program=replace(model.program, operations=operations), name=f"float16 {model.name}")


def half_heads() -> Model:
    """A head over four rows that no vector divides, and one whose weights are the extremes of float16: zeros of both
    signs, the least, the largest below the normal ones, the largest of all; their inputs are as far apart."""
    b, w = Builder(), np.random.default_rng(14).normal(0, 0.3, (5, 3)).astype(np.float32)
    x = b.input("x", 12)
    rows = b.dense(x, W=w, b=w[:, 0], rows=4, name="rows")
    least, normal, most = 2.0**-24, 2.0**-14, 65504.0
    extremes = np.array([0.0, -0.0, least, -least, normal - least, -normal, most, -most, 1.0, 3 * least], np.float32)
    wide = np.stack([np.roll(extremes, k) for k in range(7)])
    b.output("y", b.dense(b.map("affine", rows, alpha=1e-3).part(0, 10), W=wide, b=wide[:, 2], name="extremes"))
    b.output("rows", rows)
    return halved(Model(b.build(), channels_for(("x",), (12,)), channels_for(("y", "rows"), (7, 20)), name="heads"))
