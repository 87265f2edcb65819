"""The one general constant folder: ONNX operators evaluated with NumPy.

Its rule: a function here gets whole arrays and gives whole arrays, exactly as the operator's specification says
(onnx.ai, operators, operator sets 7 to 25). It must never guess: an operator that is not in the table is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edge_lstm.importers.onnx.call import Call, Result, guarded, sized, together, unsupported
from edge_lstm.importers.onnx.graph import DTYPES, Array
from edge_lstm.importers.onnx.moves import MOVES


def evaluate(call: Call) -> tuple[Array, ...]:
    """The outputs of a node all of whose inputs are constants. ImportModelError where the operator is unknown."""
    function = FUNCTIONS.get(call.node.op)
    if function is None or call.node.domain:
        raise unsupported(call)
    return guarded(call, function)


def shape_of(c: Call) -> Array:
    """The Shape operator, also of a value that is not constant."""
    c.arity(1)
    shape = c.array(0).shape
    return np.array(shape[c.attribute("start", 0) : c.attribute("end", len(shape))], np.int64)


def size_of(c: Call) -> Array:
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


def _cast(c: Call) -> Array:
    c.arity(1)
    c.attribute("saturate")  # only for float8, which no constant here can have
    c.attribute("round_mode")
    to = DTYPES.get(c.attribute("to"))
    if to is None or to == "string":
        raise c.fail(f"attribute to = {c.attribute('to')}: this element type is not supported")
    return c.array(0).astype(to)  # type: ignore[no-any-return]


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


def _divide(c: Call) -> Array:
    c.arity(2)
    a, b = c.array(0), c.array(1)
    together(c, a, b)
    if a.dtype.kind in "iu":  # ONNX truncates toward zero
        if (b == 0).any():
            raise c.fail("divides by zero")
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)  # type: ignore[no-any-return]
    return (a / b).astype(a.dtype)  # type: ignore[no-any-return]


def _mod(c: Call) -> Array:
    c.arity(2)
    together(c, c.array(0), c.array(1))
    function = np.fmod if c.attribute("fmod", 0) else np.mod
    return function(c.array(0), c.array(1))  # type: ignore[no-any-return]


def _pow(c: Call) -> Array:
    c.arity(2)
    together(c, c.array(0), c.array(1))
    return np.power(c.array(0), c.array(1)).astype(c.array(0).dtype)  # type: ignore[no-any-return]


def _matmul(c: Call) -> Array:
    c.arity(2)
    return np.matmul(c.array(0), c.array(1))  # type: ignore[no-any-return]


def _gemm(c: Call) -> Array:
    c.arity(3)
    a, b = c.array(0), c.array(1)
    a = a.T if c.attribute("transA", 0) else a
    b = b.T if c.attribute("transB", 0) else b
    y = (a @ b) * a.dtype.type(c.attribute("alpha", 1.0))
    beta = a.dtype.type(c.attribute("beta", 1.0))
    if c.has(2):
        together(c, y, c.array(2))
    return y + beta * c.array(2) if c.has(2) else y  # type: ignore[no-any-return]


def _clip(c: Call) -> Array:
    c.arity(3)
    x = c.array(0)
    low = c.array(1) if c.has(1) else c.attribute("min")
    high = c.array(2) if c.has(2) else c.attribute("max")
    together(c, x, *(limit for limit in (low, high) if limit is not None))
    return np.clip(x, low, high).astype(x.dtype) if low is not None or high is not None else x  # type: ignore[no-any-return]


def reduced_axes(c: Call, rank: int) -> tuple[int, ...]:
    """The axes of a reduction, as attribute or input, with `noop_with_empty_axes` obeyed."""
    c.arity(2)
    axes = c.ints("axes", 1, "axes")
    noop = c.attribute("noop_with_empty_axes", 0)
    if not axes:
        return () if noop else tuple(range(rank))
    return tuple(c.axis(a, rank) for a in axes)


def _reduction(function: Callable[..., Array]) -> Callable[[Call], Array]:
    def reduce(c: Call) -> Array:
        x = c.array(0)
        result = function(x, axis=reduced_axes(c, x.ndim), keepdims=bool(c.attribute("keepdims", 1)))
        return np.asarray(result).astype(x.dtype)

    return reduce


def _unary(function: Callable[[Array], Array]) -> Callable[[Call], Array]:
    def unary(c: Call) -> Array:
        c.arity(1)
        return np.asarray(function(c.array(0))).astype(c.array(0).dtype)

    return unary


def _binary(function: Callable[[Array, Array], Array]) -> Callable[[Call], Array]:
    def binary(c: Call) -> Array:
        c.arity(2)
        together(c, c.array(0), c.array(1))
        return np.asarray(function(c.array(0), c.array(1)))

    return binary


def _variadic(function: Callable[[Array, Array], Array]) -> Callable[[Call], Array]:
    def variadic(c: Call) -> Array:
        result = c.array(0)
        for k in range(1, len(c.inputs)):
            together(c, result, c.array(k))
            result = function(result, c.array(k))
        return np.asarray(result)

    return variadic


def _trilu(c: Call) -> Array:
    c.arity(2)
    k = int(c.array(1).reshape(-1)[0]) if c.has(1) else 0
    return (np.triu if c.attribute("upper", 1) else np.tril)(c.array(0), k)


def _cumsum(c: Call) -> Array:
    c.arity(2)
    if c.attribute("exclusive", 0) or c.attribute("reverse", 0):
        raise c.fail("exclusive or reverse is not supported for constants")
    return np.cumsum(c.array(0), axis=int(c.array(1).reshape(-1)[0]), dtype=c.array(0).dtype)


def _softmax(c: Call) -> Array:
    c.arity(1)
    x = c.array(0)
    axis = c.axis(c.attribute("axis", 1 if c.opset < 13 else -1), x.ndim)
    axes = tuple(range(axis, x.ndim)) if c.opset < 13 else axis
    powers = np.exp(x - x.max(axis=axes, keepdims=True))
    return (powers / powers.sum(axis=axes, keepdims=True)).astype(x.dtype)  # type: ignore[no-any-return]


def _non_zero(c: Call) -> Array:
    c.arity(1)
    x = c.array(0)
    sized(c, [x.ndim, int(np.count_nonzero(x))])
    return np.array(np.nonzero(x), np.int64)


def _one_hot(c: Call) -> Array:
    c.arity(3)
    index, depth, (off, on) = c.array(0), int(c.array(1).reshape(-1)[0]), c.array(2).reshape(-1)[:2]
    axis = c.axis(c.attribute("axis", -1), index.ndim + 1)
    sized(c, [*index.shape, depth])
    places = np.where(index < 0, index + depth, index)  # a negative number counts from the end
    hit = places[..., None].astype(np.int64) == np.arange(depth)
    return np.asarray(np.moveaxis(np.where(hit, on, off), -1, axis))


def _einsum(c: Call) -> Array:
    return np.asarray(np.einsum(c.attribute("equation"), *(c.array(k) for k in range(len(c.inputs)))))


def _cast_like(c: Call) -> Array:
    c.arity(2)
    c.attribute("saturate")
    c.attribute("round_mode")
    return c.array(0).astype(c.array(1).dtype)  # type: ignore[no-any-return]


def _erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x.reshape(-1)]).reshape(x.shape)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


FUNCTIONS: dict[str, Callable[[Call], Result]] = {
    **{op: function for op, (function, _) in MOVES.items()},
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "CastLike": _cast_like,
    "Clip": _clip,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _unary(np.cos),
    "CumSum": _cumsum,
    "DequantizeLinear": _dequantize_linear,
    "Div": _divide,
    "Einsum": _einsum,
    "Equal": _binary(np.equal),
    "Erf": _unary(_erf),
    "Exp": _unary(np.exp),
    "Floor": _unary(np.floor),
    "Gemm": _gemm,
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Log": _unary(np.log),
    "MatMul": _matmul,
    "Max": _variadic(np.maximum),
    "Min": _variadic(np.minimum),
    "Mod": _mod,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "NonZero": _non_zero,
    "Not": _unary(np.logical_not),
    "OneHot": _one_hot,
    "Or": _binary(np.logical_or),
    "Pow": _pow,
    "Range": _range,
    "Reciprocal": _unary(np.reciprocal),
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
    "Relu": _unary(lambda x: np.maximum(x, 0)),
    "Round": _unary(np.rint),
    "Shape": shape_of,
    "Sigmoid": _unary(_sigmoid),
    "Sign": _unary(np.sign),
    "Sin": _unary(np.sin),
    "Size": size_of,
    "Softmax": _softmax,
    "Sqrt": _unary(np.sqrt),
    "Sub": _binary(np.subtract),
    "Sum": _variadic(np.add),
    "Tanh": _unary(np.tanh),
    "Trilu": _trilu,
    "Xor": _binary(np.logical_xor),
}
