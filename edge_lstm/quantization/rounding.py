"""One layer in integers: the scales of what it reads, and the int8 weights that come nearest on real readings; or in
float16.

Its rule: weights are rounded one column after the other, and what a rounding does to a row's sum is made good, as far
as the readings allow, by the columns that are not rounded yet (Frantar et al. 2022, GPTQ; Hassibi & Stork 1993). What
is left on average goes into the bias, which stays float32. In float16 each weight is rounded to the nearest: what
that leaves is smaller than what there is to make good.

Measured on the shipped example and three networks made by others (README.md): against rounding each weight to the
nearest, the errors of int16 and int8-weights fall by up to six sevenths; those of int8, where the activations decide,
hardly change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.functions import DYNAMIC, FINER, INTEGERS, LEAST, MOST_INPUTS, RANGED, most
from edge_lstm.core.operations.record import MATRICES
from edge_lstm.errors import QuantizeError
from edge_lstm.quantization.layers import FLOAT16, QUANTIZED, Layer, scheme_of
from edge_lstm.quantization.observe import Seen

Doubles = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

WEIGHTS_ONLY = "int8-weights"
_DAMPING = 0.01  # of a column's own power, so that few readings cannot make a column follow their noise
_SMALLEST, _LARGEST = 2.0**-100, 2.0**100  # of a scale: far inside what the program takes


@dataclass(frozen=True)
class Scaling:
    """How far the integers reach. clip: at most this part of an input's values is clipped; 0: none. spread: 0, each
    input has its own scale; 1, all have the largest, which leaves the weights their own proportions; in between, the
    geometric mean. memory: "whole", what a memory behind tanh can ever be, -1 ... 1; "seen", as large as it was."""

    clip: float
    spread: float
    memory: str = "whole"


# What is tried, the first being the plainest. Seven bits are not enough for outliers, nor for a memory that stays
# small; fifteen are, and can give the weights, which have seven, their own proportions back. Where the scale follows
# the step nothing is clipped, and only what the inputs of a layer weigh beside each other is left to choose.
SCALINGS = {
    "int8": tuple(Scaling(clip, 0, memory) for memory in ("whole", "seen") for clip in (0, 0.0001, 0.0005)),
    "int16": (Scaling(0, 1), Scaling(0, 0.5)),
    WEIGHTS_ONLY: (Scaling(0, 0),),
    "int8-dynamic": (Scaling(0, 1), Scaling(0, 0.5), Scaling(0, 0)),
    FLOAT16: (Scaling(0, 0),),
}


def quantized(layer: Layer, seen: Seen, scheme: str, scaling: Scaling) -> dict[str, Array]:
    """The weights of the quantized operation. QuantizeError: too many inputs for a sum of integers."""
    w = {key: array.astype(np.float64) for key, array in layer.operation.weights.items()}
    inputs = w["W"].shape[1]
    if scheme in INTEGERS and max(inputs, w["R"].shape[1] if "R" in w else 0) > MOST_INPUTS:
        raise QuantizeError(f"layer {layer.name!r} has {inputs} inputs; {scheme} sums take {MOST_INPUTS}: keep it")
    found: dict[str, Array] = {}
    sums = [_Sum("W", w["W"], seen.x.astype(np.float64), _x_scale(seen, scheme, scaling, inputs), scheme)]
    if seen.h is not None:
        sums.append(_Sum("R", w["R"], seen.h.astype(np.float64), _h_scale(layer, seen, scheme, scaling), scheme))
    for one in sums:
        found |= one.scales(scheme)
    if layer.kind == "gru":  # the two sums are added only after the reset gate, so each has a bias
        for one, bias in zip(sums, ("b_W", "b_R"), strict=True):
            found[bias] = w[bias] + _round([one], found)
    else:
        found["b"] = w["b"] + _round(sums, found)
    return {key: _frozen(array, np.int8 if key in ("W", "R") else np.float32) for key, array in found.items()}


def halved(layer: Layer) -> dict[str, Array]:
    """Its weights with matrices of float16, each weight the nearest, ties to even. QuantizeError: one is too large."""
    found = dict(layer.operation.weights)
    for key in MATRICES:
        if key in found:
            with np.errstate(over="ignore"):
                half = found[key].astype(np.float16)
            if not np.isfinite(half).all():
                raise QuantizeError(
                    f"layer {layer.name!r} has a weight of {np.abs(found[key]).max():.6g} in {key}, and float16 ends at"
                    f" {np.finfo(np.float16).max:.0f}: keep the layer float32 (keep), or take another scheme"
                )
            found[key] = _frozen(half, np.float16)
    return found


def operation(op: Operation, scheme: str, weights: dict[str, Array]) -> dict[str, Any]:
    """What changes of an operation."""
    if scheme == FLOAT16:
        return {"weights": weights}
    return {"kind": QUANTIZED + op.kind, "weights": weights, "attributes": {**op.attributes, "scheme": scheme}}


def clipped(op: Operation, x: Array, h: Array | None) -> npt.NDArray[np.bool_]:
    """(n,): whether any value of x (n, inputs) or h (n, units) lies outside what the integers of a quantized
    operation can hold."""
    if (scheme := str(scheme_of(op))) not in RANGED:
        return np.zeros(len(x), np.bool_)
    beyond = np.zeros(len(x), np.bool_)
    for values, key, matrix in ((x, "x_scale", "W"), (h, "h_scale", "R")):
        if values is not None:
            reach = (most(scheme, op.weights[matrix].shape[1]) + 0.5) * op.weights[key]
            beyond |= (np.abs(values) > reach).any(axis=1)
    return beyond


def _x_scale(seen: Seen, scheme: str, scaling: Scaling, inputs: int) -> Doubles:
    if scheme == WEIGHTS_ONLY:
        return np.ones(inputs)
    reach = seen.reach(scaling.clip).astype(np.float64)
    largest = min(max(float(reach.max()), _SMALLEST * 2**16), _LARGEST)
    # What was always zero (a word that did not occur, a unit that was silent) may become as large as the others.
    reach = np.where(reach > largest * 2.0**-60, reach, largest)
    scale = reach ** (1 - scaling.spread) * largest**scaling.spread
    return _single(scale / (scale.min() if scheme in DYNAMIC else most(scheme, inputs)))


def _h_scale(layer: Layer, seen: Seen, scheme: str, scaling: Scaling) -> Doubles:
    """A memory behind relu, which nothing bounds, is as large as it was seen."""
    if scheme not in RANGED:
        return np.ones(1)
    as_seen = layer.operation.attributes.get("activation") == "relu" or scaling.memory == "seen"
    reach = (seen.h_most or 1.0) if as_seen else max(1.0, seen.h_most)
    return _single(np.array([reach / most(scheme, layer.operation.weights["R"].shape[1])]))


class _Sum:
    """One weighted sum: a matrix (rows, n), its inputs (readings, n) and their scale (n,) or (1,)."""

    def __init__(self, key: str, matrix: Doubles, values: Doubles, scale: Doubles, scheme: str) -> None:
        self.key, self.scale = key, scale
        self.expected = values @ matrix.T
        self.values = _as_integers(key, values / scale, scheme) if scheme in INTEGERS else values
        self.folded = matrix * scale
        largest = np.abs(self.folded).max(axis=1) / 127
        self.step = _single(np.where(largest > _SMALLEST, largest, 1.0))  # a row of zeros

    def scales(self, scheme: str) -> dict[str, Array]:
        own = {}
        if scheme in (INTEGERS if self.key == "W" else RANGED):
            own = {"x_scale" if self.key == "W" else "h_scale": self.scale}
        return {f"{self.key}_scale": self.step, **own}


def _as_integers(key: str, values: Doubles, scheme: str) -> Doubles:
    """What values (readings, n), in units of their scales, are once they have become integers."""
    reach = most(scheme, values.shape[1])
    unit = np.maximum(np.abs(values).max(axis=1, keepdims=True), LEAST) / reach if scheme in DYNAMIC else 1.0
    finest = FINER if scheme in DYNAMIC and key == "W" else 1
    rounded: Doubles = np.clip(np.rint(values / unit * finest) / finest, -reach, reach) * unit
    return rounded


def _round(sums: list[_Sum], found: dict[str, Array]) -> Doubles:
    """Put the integers of these sums, which are added, into `found`; returns what the bias makes good, (rows,)."""
    values = np.concatenate([one.values for one in sums], axis=1)
    folded = np.concatenate([one.folded for one in sums], axis=1)
    step = np.concatenate([np.broadcast_to(one.step[:, None], one.folded.shape) for one in sums], axis=1)
    integers = compensated(folded, step, values)
    start = 0
    for one in sums:
        found[one.key] = integers[:, start : start + one.folded.shape[1]]
        start += one.folded.shape[1]
    expected = sum(one.expected.mean(axis=0) for one in sums)
    made_good: Doubles = expected - (integers * step) @ values.mean(axis=0)
    return made_good


def compensated(target: Doubles, step: Doubles, values: Doubles) -> Doubles:
    """Integers -127 ... 127 (rows, n) such that (integers * step) @ values.T is near target @ values.T, up to a
    constant for each row, over the readings `values` (T, n)."""
    count = target.shape[1]
    power = np.cov(values, rowvar=False, bias=True).reshape(count, count)
    own = np.diag(power).copy()
    power[np.diag_indices(count)] = np.where(own > 0, own * (1 + _DAMPING), 1.0)
    # Row k of the factor has how the columns after k make an error of column k good.
    factor = np.linalg.cholesky(np.linalg.inv(power)).T
    rest, integers = target.copy(), np.zeros_like(target)
    for k in range(count):
        integers[:, k] = np.clip(np.rint(rest[:, k] / step[:, k]), -127, 127)
        error = (rest[:, k] - integers[:, k] * step[:, k]) / factor[k, k]
        rest[:, k + 1 :] -= error[:, None] * factor[k, k + 1 :]
    return integers


def _single(values: Doubles) -> Doubles:
    """As float32 has them, so that what is rounded with them here is rounded with them there."""
    return values.astype(np.float32).astype(np.float64)


def _frozen(values: Array, dtype: Any) -> Array:
    array = np.ascontiguousarray(values, dtype)
    array = array.copy() if array is values else array
    array.flags.writeable = False
    return array
