"""Constants and sizes: what an operator makes of no readings at all, or of their shape alone.

Its rule: exactly as the specification says (onnx.ai, operators, operator sets 7 to 25), in no more memory than allowed.
"""

from __future__ import annotations

import math

import numpy as np

from edge_lstm.importers.onnx.call import Call, sized
from edge_lstm.importers.onnx.graph import DTYPES, Array
from edge_lstm.importers.onnx.operators.record import Operator, every


def _shape(c: Call) -> Array:
    """The Shape operator, also of a value that is not constant."""
    c.arity(1)
    shape = c.array(0).shape
    return np.array(shape[c.attribute("start", 0) : c.attribute("end", len(shape))], np.int64)


def _size(c: Call) -> Array:
    """The Size operator, also of a value that is not constant."""
    c.arity(1)
    return np.array(math.prod(c.array(0).shape), np.int64)


def _constant(c: Call) -> Array:
    kinds = {
        "value": None,
        "value_float": "float32",
        "value_floats": "float32",
        "value_int": "int64",
        "value_ints": "int64",
    }
    for name, dtype in kinds.items():
        value = c.attribute(name)
        if value is not None:
            return np.asarray(value, dtype)
    raise c.fail(f"it holds no numbers, only {sorted(c.node.attributes)}")


def _constant_of_shape(c: Call) -> Array:
    c.arity(1)
    shape = sized(c, [int(d) for d in c.array(0)])
    value = c.attribute("value", np.zeros(1, np.float32))
    return np.full(shape, value.reshape(-1)[0], value.dtype)


def _range(c: Call) -> Array:
    c.arity(3)
    start, limit, delta = (c.array(k).reshape(()) for k in range(3))
    sized(c, [max(math.ceil((float(limit) - float(start)) / float(delta)), 0)])
    return np.arange(start, limit, delta, dtype=start.dtype)


def _dequantize_linear(c: Call) -> Array:
    """(x - zero point) * scale, one of each or one per slice of an axis (onnx.ai, DequantizeLinear, versions 10 to 25):
    weights stored as integers, which are float32 from here on."""
    c.arity(3)
    x, scale, axis = c.array(0), c.array(1), c.attribute("axis", 1)
    if c.attribute("block_size", 0):
        raise c.fail("scales for blocks are not supported; quantize with one scale, or one for each row")
    if DTYPES.get(c.attribute("output_dtype", 0) or 1) != "float32" or scale.dtype != np.float32:
        raise c.fail(f"its scale is {scale.dtype}; only float32 is supported")
    along = [1] * x.ndim
    if scale.size > 1:
        along[c.axis(axis, x.ndim)] = -1
    zero = c.array(2).reshape(along).astype(np.int64) if c.has(2) else 0
    return ((x.astype(np.int64) - zero).astype(np.float32) * scale.reshape(along)).astype(np.float32)  # type: ignore[no-any-return]


def _non_zero(c: Call) -> Array:
    c.arity(1)
    x = c.array(0)
    sized(c, [x.ndim, int(np.count_nonzero(x))])
    return np.array(np.nonzero(x), np.int64)


RECORDS = (
    Operator("Constant", fold=_constant),
    Operator("ConstantOfShape", fold=_constant_of_shape),
    Operator("DequantizeLinear", fold=_dequantize_linear),
    Operator("NonZero", fold=_non_zero, takes=every),
    Operator("Range", fold=_range, compares=True),
    Operator("Shape", fold=_shape, sizes=True),
    Operator("Size", fold=_size, sizes=True),
)
