"""The functions that operations apply: element by element, between two values, over a row; and schemes of integers.

Its rule: compiled code numbers each table in its order (`kernels/abi.py`), so what is new goes to the end. All are
ONNX's, operator set 20, unless a comment says otherwise. Formulas are in NumPy for any float type, as a reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), by tanh: no overflow."""
    result: Array = 0.5 * np.tanh(0.5 * x) + 0.5
    return result


def _softplus(x: Array) -> Array:
    result: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return result


def _elu(x: Array, alpha: Any) -> Array:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


# name -> how many of (alpha, beta) it uses, and the function.
MAPS: Mapping[str, tuple[int, Callable[[Array, Any, Any], Array]]] = {
    "identity": (0, lambda x, a, b: x),
    "tanh": (0, lambda x, a, b: np.tanh(x)),
    "sigmoid": (0, lambda x, a, b: sigmoid(x)),
    "relu": (0, lambda x, a, b: np.maximum(x, 0)),
    "leaky_relu": (1, lambda x, a, b: np.where(x < 0, a * x, x)),
    "elu": (1, lambda x, a, b: _elu(x, a)),
    "selu": (2, lambda x, a, b: b * _elu(x, a)),  # beta is ONNX's gamma
    "softplus": (0, lambda x, a, b: _softplus(x)),
    "softsign": (0, lambda x, a, b: x / (1 + np.abs(x))),
    "hard_sigmoid": (2, lambda x, a, b: np.clip(a * x + b, 0, 1)),
    "thresholded_relu": (1, lambda x, a, b: np.where(x > a, x, 0)),
    "clip": (2, lambda x, a, b: np.clip(x, a, b)),  # alpha is the minimum, beta the maximum
    "exp": (0, lambda x, a, b: np.exp(x)),
    "log": (0, lambda x, a, b: np.log(x)),
    "sqrt": (0, lambda x, a, b: np.sqrt(x)),
    "abs": (0, lambda x, a, b: np.abs(x)),
    "neg": (0, lambda x, a, b: -x),
    "reciprocal": (0, lambda x, a, b: 1 / x),
    "affine": (2, lambda x, a, b: a * x + b),  # rounded once
    "floor": (0, lambda x, a, b: np.floor(x)),
    "ceil": (0, lambda x, a, b: np.ceil(x)),
    "round": (0, lambda x, a, b: np.rint(x)),  # ties to even
    "trunc": (0, lambda x, a, b: np.trunc(x)),  # what ONNX's Cast to an integer does
    "sign": (0, lambda x, a, b: np.sign(x)),
    "erf": (0, lambda x, a, b: np.array([math.erf(v) for v in x], x.dtype)),
    "not": (0, lambda x, a, b: (x == 0).astype(x.dtype)),  # 1 where x is zero, else 0
}
MAP_FUNCTIONS: Mapping[str, int] = {name: used for name, (used, _) in MAPS.items()}
# Truth is 1 and falsehood 0; `and` and `or` take any other number than zero as true.
BINARIES: Mapping[str, Callable[[Array, Array], Array]] = {
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
BINARY_FUNCTIONS = tuple(BINARIES)
REDUCTIONS: Mapping[str, Callable[..., Array]] = {  # argmax, argmin: of equals, the first
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "argmax": np.argmax,
    "argmin": np.argmin,
}
REDUCE_FUNCTIONS = tuple(REDUCTIONS)
RNN_ACTIVATIONS = ("tanh", "relu")
SCHEMES = ("int8", "int16", "int8-weights", "int8-dynamic")  # of quantized layers: what activations become
# Of those in which activations become integers: the integers, by which sums are packed and added.
INTEGERS = {"int8": "int8", "int16": "int16", "int8-dynamic": "int8"}
# What one integer is worth follows the largest value of the step. An x is two integers, the second of which counts the
# FINER-th parts that the first leaves: readings reach further beside their usual size than memories do.
DYNAMIC, FINER = ("int8-dynamic",), 256
LEAST = 2.0**-100  # of that value, so that neither it nor 127 / it leaves what float32 holds
RANGED = tuple(scheme for scheme in INTEGERS if scheme not in DYNAMIC)  # what goes beyond a calibrated range is clipped
# More inputs than this could overflow an int32 sum of int8 products, and would leave int16 no more than int8 has.
MOST_INPUTS = 133_000


def most(scheme: str, inputs: int) -> int:
    """The largest magnitude of an activation's integer in a sum over so many inputs: no sum can overflow int32."""
    return 127 if INTEGERS.get(scheme) == "int8" else min(32767, (2**31 - 1) // (127 * inputs))
