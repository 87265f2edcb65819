"""The exact twin: a program of quantized layers in plain NumPy, bit by bit what the machine must compute.

Its rule: float32 throughout, with a fused multiply-add that is rounded once, and sums of integers that are exact. It
follows `edge_lstm/engines/native/kernels/README.md`, not the kernels: whole matrices, nothing packed, no lanes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm.core.model import Model
from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.functions import most

F = np.float32
TANH_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c in float32, rounded once: in float64 the product is exact, the sum is rounded to odd (Boldo & Melquiond
    2008), and then the rounding to float32 is what it would have been of the exact sum."""
    product, addend = np.float64(a) * np.float64(b), np.float64(c)
    total = product + addend
    shadow = total - product
    lost = (product - (total - shadow)) + (addend - shadow)  # Knuth's two-sum: total + lost is exact
    bits = np.asarray(total).view(np.int64)
    even = (bits & 1) == 0
    towards = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where((lost != 0) & even, bits + towards, bits).view(np.float64).astype(np.float32)


def tanh(x: Any) -> Any:
    within = np.clip(x, F(-7.90531110763549805), F(7.90531110763549805))
    s = within * within
    p, q = F(TANH_P[0]), F(TANH_Q[0])
    for coefficient in TANH_P[1:]:
        p = fma(s, p, F(coefficient))
    for coefficient in TANH_Q[1:]:
        q = fma(s, q, F(coefficient))
    return np.where(np.abs(x) > F(8.3178), np.sign(x), within * p / q).astype(np.float32)


def sigmoid(x: Any) -> Any:
    return fma(F(0.5), tanh(F(0.5) * x), F(0.5))


def kept(x: Any) -> Any:
    """A value that a recurrent layer keeps: below 2^-64 it is zero."""
    return np.where(np.abs(x) < F(2.0**-64), F(0), x)


def rescaled(op: Operation, matrix: str, values: Any, base: Any) -> Any:
    """base + the sums over one matrix: what a quantized layer adds to its pre-activation, for values (n,)."""
    weights, scale = op.weights[matrix], op.weights[f"{matrix}_scale"]
    scheme, n = str(op.attributes["scheme"]), weights.shape[1]
    if scheme == "int8-weights":
        total = np.zeros(len(weights), np.float32)
        for k in range(n):
            total = fma(values[k], weights[:, k].astype(np.float32), total)
        return fma(total, scale, base)
    largest, unit = most(scheme, n), F(1)
    with np.errstate(over="ignore"):
        values = values * (F(1) / op.weights.get({"W": "x_scale", "R": "h_scale"}[matrix], np.ones(1, F)))
        if scheme == "int8-dynamic":
            most_now = max(np.abs(values).max(), F(2.0**-100))
            values, unit = values * (F(127) / most_now), most_now / F(127)
    parts = [(np.rint(values), unit)]
    if scheme == "int8-dynamic" and matrix == "W":
        parts.append((np.rint((values - np.rint(values)) * F(256)), unit / F(256)))
    for part, worth in parts:
        total = weights.astype(np.int64) @ np.clip(part, -largest, largest).astype(np.int64)
        assert np.abs(total).max() < 2**31
        base = fma(total.astype(np.float32), scale * worth, base)
    return base


def operation(op: Operation, inputs: list[Any]) -> tuple[Any, ...]:
    """The outputs of one quantized operation."""
    w = op.weights
    if op.kind == "quantized_lstm":
        x, h, c = inputs
        i, f, g, o = np.split(rescaled(op, "R", h, rescaled(op, "W", x, w["b"])), 4)
        memory = kept(fma(sigmoid(i), tanh(g), sigmoid(f) * c))
        return kept(sigmoid(o) * tanh(memory)), memory
    if op.kind == "quantized_gru":
        x, h = inputs
        n = len(h)
        bias = np.concatenate([(w["b_W"] + w["b_R"])[: 2 * n], w["b_W"][2 * n :]])
        from_x = rescaled(op, "W", x, bias)
        r, z, from_h = np.split(rescaled(op, "R", h, np.concatenate([from_x[: 2 * n], w["b_R"][2 * n :]])), 3)
        candidate = tanh(fma(sigmoid(r), from_h, from_x[2 * n :]))
        return (kept(fma(sigmoid(z), h - candidate, candidate)),)
    if op.kind == "quantized_rnn":
        x, h = inputs
        total = rescaled(op, "R", h, rescaled(op, "W", x, w["b"]))
        return (kept(np.maximum(total, F(0)) if op.attributes["activation"] == "relu" else tanh(total)),)
    assert op.kind == "quantized_dense", op.kind
    rows = inputs[0].reshape(int(op.attributes["rows"]), -1)
    return (np.concatenate([rescaled(op, "W", row, w["b"]) for row in rows]),)


class Exact:
    """One stream of a model of quantized layers."""

    def __init__(self, model: Model) -> None:
        self.program = model.program
        self.arena = model.program.initial_arena()

    def step(self, x: Any) -> Any:
        """One reading in, one output out; the states move on."""
        start = 0
        for named in self.program.inputs:
            slot = named.slot
            self.arena[slot.offset :][: slot.size] = x[start : start + slot.size]
            start += slot.size
        for op in self.program.operations:
            inputs = [self.arena[s.offset :][: s.size].copy() for s in op.inputs]
            for slot, values in zip(op.outputs, operation(op, inputs), strict=True):
                self.arena[slot.offset :][: slot.size] = values
        y = np.concatenate([self.arena[o.slot.offset :][: o.slot.size] for o in self.program.outputs])
        following = [self.arena[s.next.offset :][: s.next.size].copy() for s in self.program.states]
        for state, values in zip(self.program.states, following, strict=True):
            self.arena[state.slot.offset :][: state.slot.size] = values
        return y

    def run(self, xs: Any) -> Any:
        """(T, n_in) to (T, n_out)."""
        return np.stack([self.step(x) for x in xs])
