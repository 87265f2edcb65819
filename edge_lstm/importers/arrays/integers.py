"""Weights that somebody else has made integers: weight = (q - zero_point) * scale.

    NAME               int8 or uint8 (a bias up to int32), the shape it has as float
    NAME.scale         float, one number or one for each row of gates or outputs (of a Keras kernel: each column)
    NAME.zero_point    integers of the same type and shape as the scale; left out: 0

    LAYER.input_scale, LAYER.hidden_scale    float, one number each: what one unit of the layer's int8 input, and of its
                       int8 memory, is worth (numbered as the weights are where a stack has several: input_scale_l0);
                       both or none. Without them activations stay float32 (int8-weights)

Its rule: what is less its zero point within -127 ... 127 stays the integer that it is. What is not (-128, or a zero
point far out) makes its layer float32 again, with the same values, and the model says so. Biases may be integers with a
scale too; they become float32, as ours are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.importers.arrays.named import Arrays

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
_LEAST, _MOST = 2.0**-126, 2.0**126  # a normal number whose inverse is one
_OF_MATRIX = (np.int8, np.uint8)
_OF_BIAS = (*_OF_MATRIX, np.int16, np.uint16, np.int32)


@dataclass(frozen=True)
class Weight:
    """A matrix float32 (rows, inputs). Where it came as integers: `integers` int8 (rows, inputs) and `step` float32
    (rows,), the worth of one; or `why` they cannot stay. A matrix that came as float32 has none of these."""

    values: Floats
    integers: npt.NDArray[np.int8] | None = None
    step: Floats | None = None
    why: str = ""

    @property
    def came_as_integers(self) -> bool:
        """Whether it came as integers."""
        return self.integers is not None or bool(self.why)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, inputs)."""
        rows, inputs = self.values.shape
        return rows, inputs

    def worth(self, scale: float | None) -> Floats:
        """(rows,): what one unit of each row's sum is worth, where one of its inputs is worth `scale` (None: 1); 0 or
        infinity where float32 has no such number."""
        assert self.step is not None
        with np.errstate(over="ignore", under="ignore"):
            worth: Floats = self.step * np.float32(1 if scale is None else scale)
        return worth

    def __getitem__(self, rows: Any) -> Weight:
        """Some of the rows, or all of them in another order."""
        if self.integers is None or self.step is None:
            return Weight(self.values[rows], why=self.why)
        return Weight(self.values[rows], self.integers[rows], self.step[rows])


def weight(a: Arrays, name: str, across: bool = False) -> Weight:
    """A matrix from a file, float or integers. across: its columns are the rows here (Keras)."""
    if a.arrays[name].dtype.kind not in "iu":
        values = as_float(a, name, (None, None))
        return Weight(np.ascontiguousarray(values.T) if across else values)
    a.check(name, (None, None))
    whole, step = _integers(a, name, _OF_MATRIX, across)
    values = _floats(a, name, whole, step)
    if (whole < -127).any() or (whole > 127).any():
        most = max(-int(whole.min()), int(whole.max()))
        return Weight(values, why=f"array {name!r} less its zero point reaches {most} in magnitude, beyond 127")
    return Weight(values, whole.astype(np.int8), step)


def normal(scale: Floats) -> npt.NDArray[np.bool_]:
    """Which of these can be scales: float32 computes with them, and with their inverse."""
    return (scale >= _LEAST) & (scale <= _MOST)


def as_float(a: Arrays, name: str, shape: tuple[int | None, ...]) -> Floats:
    """One array of this shape (None: any size) as float32; integers, those of a bias too, each row (of a vector: each
    value) times its scale."""
    array = a.check(name, shape)
    if array.dtype.kind in "iu":
        return _floats(a, name, *_integers(a, name, _OF_BIAS))
    if array.dtype.kind != "f":
        raise a.fail(f"array {name!r} holds {array.dtype}; weights must be floating-point numbers")
    result = array.astype(np.float32)
    if not np.isfinite(result).all():
        raise a.fail(f"array {name!r} holds NaN or infinity, or does not fit float32")
    return result


def activation_scale(a: Arrays, key: str, part: str, kind: str) -> float | None:
    """`input_scale` or `hidden_scale` (kind) of the layer whose array `key` holds `part`; None where there is none."""
    exact = re.sub(rf"{part}(?=(_l\d+)?(:0)?$)", kind, key)
    names = [n for n in (exact, re.sub(r"_l\d+$|:0$", "", exact)) if n in a.arrays]
    zero = [n for n in (f"{n}.zero_point" for n in names) if n in a.arrays]
    for name in zero:
        a.left.pop(name, None)
        if np.any(a.arrays[name]):
            raise a.fail(
                f"array {name!r} is not 0: activations here are symmetric. Leave the activation scales out"
                " (int8-weights), or quantize the float32 model with edge-lstm quantize"
            )
    if not names:
        return None
    return float(_scale(a, names[0], 1)[0])


def _floats(a: Arrays, name: str, whole: npt.NDArray[np.int64], step: Floats) -> Floats:
    with np.errstate(over="ignore"):
        values = (whole * step.reshape(-1, *[1] * (whole.ndim - 1)).astype(np.float64)).astype(np.float32)
    if not np.isfinite(values).all():
        raise a.fail(f"array {name!r} times its scale, {step.max():.4g}, is beyond what float32 holds")
    return values


def _integers(
    a: Arrays, name: str, types: tuple[type, ...], across: bool = False
) -> tuple[npt.NDArray[np.int64], Floats]:
    """q - zero_point with the rows first, and their scales (rows,)."""
    array = a.arrays[name]
    if f"{name}.scale" not in a.arrays:
        raise a.fail(
            f"array {name!r} holds {array.dtype}; weights must be floating-point numbers, or come with {name}.scale"
        )
    if array.dtype not in types:
        known = ", ".join(np.dtype(one).name for one in types)
        raise a.fail(f"array {name!r} holds {array.dtype}; integers here must be {known}")
    a.left.pop(name, None)
    q = (array.T if across else array).astype(np.int64)
    step = _scale(a, f"{name}.scale", len(q))
    if f"{name}.zero_point" in a.arrays:
        q = q - _zero_point(a, name, len(q)).reshape(-1, *[1] * (q.ndim - 1))
    return np.ascontiguousarray(q), step


def _per_row(a: Arrays, name: str, rows: int) -> Array:
    array = a.arrays[name]
    a.left.pop(name, None)
    if array.size != 1 and array.shape != (rows,):
        wanted = "one number" if rows == 1 else f"one number or [{rows}]"
        raise a.fail(f"array {name!r} has shape {list(array.shape)}, must be {wanted}")
    return np.broadcast_to(array.reshape(-1), (rows,))


def _scale(a: Arrays, name: str, rows: int) -> Floats:
    array = _per_row(a, name, rows)
    with np.errstate(over="ignore", under="ignore"):
        step = array.astype(np.float32) if array.dtype.kind == "f" else np.zeros(1, np.float32)
    good = normal(step)
    if not good.all():
        bad = array[int(np.argmin(good))]
        raise a.fail(f"array {name!r} holds {bad}; a scale is a positive float32 number, not 0, NaN or infinity")
    return np.ascontiguousarray(step)


def _zero_point(a: Arrays, name: str, rows: int) -> npt.NDArray[np.int64]:
    of, key = a.arrays[name].dtype, f"{name}.zero_point"
    zero, low, high = _per_row(a, key, rows), np.iinfo(of).min, np.iinfo(of).max
    if zero.dtype.kind not in "iu" or (zero < low).any() or (zero > high).any():
        raise a.fail(f"array {key!r} holds {zero.dtype} {zero.min()} … {zero.max()}, must be integers {low} … {high}")
    return zero.astype(np.int64)
