"""The naive twin: executes a Program step by step in NumPy, in the most obvious way.

Its rule: no cleverness. Each kind of operation is its formula, in the dtype given (float64 to measure the error of
the real machine, float32 to imitate it). The machine's own tests and the importers' tests both compare against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.core.program import Operation, Program, Slot

Array = npt.NDArray[Any]


def sigmoid(x: Array) -> Array:
    return 0.5 * np.tanh(0.5 * x) + 0.5


def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


MAPS: dict[str, Callable[[Array, float, float], Array]] = {
    "identity": lambda x, a, b: x,
    "tanh": lambda x, a, b: np.tanh(x),
    "sigmoid": lambda x, a, b: sigmoid(x),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "selu": lambda x, a, b: b * np.where(x <= 0, a * np.expm1(np.minimum(x, 0)), x),
    "softplus": lambda x, a, b: softplus(x),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "thresholded_relu": lambda x, a, b: np.where(x > a, x, 0),
    "clip": lambda x, a, b: np.clip(x, a, b),
    "exp": lambda x, a, b: np.exp(x),
    "log": lambda x, a, b: np.log(x),
    "sqrt": lambda x, a, b: np.sqrt(x),
    "abs": lambda x, a, b: np.abs(x),
    "neg": lambda x, a, b: -x,
    "reciprocal": lambda x, a, b: 1 / x,
    "affine": lambda x, a, b: a * x + b,
    "floor": lambda x, a, b: np.floor(x),
    "ceil": lambda x, a, b: np.ceil(x),
    "round": lambda x, a, b: np.rint(x),
    "trunc": lambda x, a, b: np.trunc(x),
    "sign": lambda x, a, b: np.sign(x),
    "erf": lambda x, a, b: np.vectorize(math.erf)(x).astype(x.dtype),
    "not": lambda x, a, b: (x == 0).astype(x.dtype),
}
BINARIES = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "less": np.less,
    "less_or_equal": np.less_equal,
    "equal": np.equal,
    "and": np.logical_and,
    "or": np.logical_or,
}
REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "argmax": np.argmax,
    "argmin": np.argmin,
}


class Reference:
    """One stream of a program. `dtype` is the type it computes in."""

    def __init__(self, program: Program, dtype: Any = np.float64) -> None:
        self.program, self.dtype = program, np.dtype(dtype)
        self.reset()

    def reset(self) -> None:
        self.arena = self.program.initial_arena().astype(self.dtype)

    def read(self, slot: Slot) -> Array:
        return self.arena[slot.offset : slot.offset + slot.size].copy()

    def write(self, slot: Slot, values: Array) -> None:
        assert values.shape == (slot.size,), (values.shape, slot)
        self.arena[slot.offset : slot.offset + slot.size] = values

    def step(self, x: npt.ArrayLike) -> Array:
        """One reading in, one output out; the states move on."""
        flat = np.asarray(x, self.dtype).reshape(-1)
        assert flat.size == self.program.input_size
        start = 0
        for named in self.program.inputs:
            self.write(named.slot, flat[start : start + named.slot.size])
            start += named.slot.size
        for op in self.program.operations:
            for slot, values in zip(op.outputs, self.operation(op), strict=True):
                self.write(slot, values)
        y = np.concatenate([self.read(named.slot) for named in self.program.outputs])
        following = [self.read(state.next) for state in self.program.states]
        for state, values in zip(self.program.states, following, strict=True):
            self.write(state.slot, values)
        return y

    def run(self, xs: npt.ArrayLike) -> Array:
        """(T, n_in) → (T, n_out)."""
        return np.stack([self.step(x) for x in np.asarray(xs)])

    def operation(self, op: Operation) -> tuple[Array, ...]:
        """The outputs of one operation."""
        inputs = [self.read(slot) for slot in op.inputs]
        w = {k: v if v.dtype.kind == "i" else v.astype(self.dtype) for k, v in op.weights.items()}
        a: dict[str, Any] = dict(op.attributes)
        if op.kind == "lstm":
            x, h, c = inputs
            i, f, g, o = np.split(w["W"] @ x + w["R"] @ h + w["b"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c
        if op.kind == "gru":
            x, h = inputs
            (xr, xz, xn), (hr, hz, hn) = np.split(w["W"] @ x + w["b_W"], 3), np.split(w["R"] @ h + w["b_R"], 3)
            z = sigmoid(xz + hz)
            return ((1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h,)
        if op.kind == "rnn":
            x, h = inputs
            y = w["W"] @ x + w["R"] @ h + w["b"]
            return (MAPS[a["activation"]](y, 0.0, 0.0),)
        if op.kind == "dense":
            return ((inputs[0].reshape(a["rows"], -1) @ w["W"].T + w["b"]).reshape(-1),)
        if op.kind == "map":
            return (MAPS[a["function"]](inputs[0], self.dtype.type(a["alpha"]), self.dtype.type(a["beta"])),)
        if op.kind == "binary":
            return (BINARIES[a["function"]](*inputs).astype(self.dtype),)
        if op.kind == "where":
            return (np.where(inputs[0] != 0, inputs[1], inputs[2]),)
        if op.kind == "lookup":
            return (w["table"][inputs[0].astype(np.int64)].reshape(-1),)
        if op.kind == "softmax":
            rows = inputs[0].reshape(a["rows"], -1)
            rows = rows - rows.max(axis=1, keepdims=True)
            total = np.exp(rows).sum(axis=1, keepdims=True)
            return ((rows - np.log(total) if a["log"] else np.exp(rows) / total).reshape(-1),)
        if op.kind == "reduce":
            return (REDUCTIONS[a["function"]](inputs[0].reshape(a["rows"], -1), axis=1).astype(self.dtype),)  # type: ignore[operator]
        if op.kind == "take":
            return (self.arena[w["indices"]],)
        raise AssertionError(f"the reference does not know {op.kind}")


def run_model(model: Model, xs: npt.ArrayLike, dtype: Any = np.float64) -> Array:
    """A model in its meaning in time: (T, n_in) → (T, n_out), NaN while a window is not full."""
    readings = np.asarray(xs)
    stream = Reference(model.program, dtype)
    if model.window is None:
        outputs = stream.run(readings).astype(np.float64)
        numbers = np.arange(1, len(readings) + 1) - model.ready
        outputs[(numbers < 0) | (numbers % model.every != 0)] = np.nan
        return outputs
    rows = np.full((len(readings), model.program.output_size), np.nan)
    for t in range(model.window - 1, len(readings)):
        stream.reset()
        rows[t] = stream.run(readings[t + 1 - model.window : t + 1])[-1]
    return rows
