"""Operators that compute element by element: activations, arithmetic, comparisons, logic.

Its rule: an operator reads exactly the inputs and attributes that its specification has (onnx.ai, operators,
operator sets 7 to 25), with the specification's defaults; whatever else stands at the node is refused by
`Call.finish` or `Call.arity`. Everything is float32 in the arena; a boolean is 1 or 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edge_lstm.importers.onnx.call import Call, together
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering, Operand
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.parts import binary, unary
from edge_lstm.importers.onnx.provenance import Traced

LARGEST = float(np.finfo(np.float32).max)


# --- of constants -----------------------------------------------------------------------------------------------------


def _one(function: Callable[[Array], Array]) -> Callable[[Call], Array]:
    def one(c: Call) -> Array:
        c.arity(1)
        return np.asarray(function(c.array(0))).astype(c.array(0).dtype)

    return one


def _two(function: Callable[[Array, Array], Array]) -> Callable[[Call], Array]:
    def two(c: Call) -> Array:
        c.arity(2)
        together(c, c.array(0), c.array(1))
        return np.asarray(function(c.array(0), c.array(1)))

    return two


def _folded(function: Callable[[Array, Array], Array]) -> Callable[[Call], Array]:
    def folded(c: Call) -> Array:
        result = c.array(0)
        for k in range(1, len(c.inputs)):
            together(c, result, c.array(k))
            result = function(result, c.array(k))
        return np.asarray(result)

    return folded


def _fold_div(c: Call) -> Array:
    c.arity(2)
    a, b = c.array(0), c.array(1)
    together(c, a, b)
    if a.dtype.kind in "iu":  # ONNX truncates toward zero
        if (b == 0).any():
            raise c.fail("divides by zero")
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)  # type: ignore[no-any-return]
    return (a / b).astype(a.dtype)  # type: ignore[no-any-return]


def _fold_mod(c: Call) -> Array:
    c.arity(2)
    together(c, c.array(0), c.array(1))
    function = np.fmod if c.attribute("fmod", 0) else np.mod
    return function(c.array(0), c.array(1))  # type: ignore[no-any-return]


def _fold_pow(c: Call) -> Array:
    c.arity(2)
    together(c, c.array(0), c.array(1))
    return np.power(c.array(0), c.array(1)).astype(c.array(0).dtype)  # type: ignore[no-any-return]


def _fold_clip(c: Call) -> Array:
    c.arity(3)
    x = c.array(0)
    low = c.array(1) if c.has(1) else c.attribute("min")
    high = c.array(2) if c.has(2) else c.attribute("max")
    together(c, x, *(limit for limit in (low, high) if limit is not None))
    return np.clip(x, low, high).astype(x.dtype) if low is not None or high is not None else x  # type: ignore[no-any-return]


def _erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x.reshape(-1)]).reshape(x.shape)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# --- of readings ------------------------------------------------------------------------------------------------------


def _map(function: str, **defaults: float) -> Callable[[Call, Lowering], Traced]:
    """An activation whose attributes are alpha and beta (or gamma), with the specification's defaults."""

    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(1)
        values = [c.attribute(name, default) for name, default in defaults.items()]
        return unary(c, low, function, c.array(0), *values)

    return lower


def _pair(function: str) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(2)
        return binary(c, low, function, c.array(0), c.array(1))

    return lower


def _many(function: str) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        result: Operand = c.array(0)
        for k in range(1, len(c.inputs)):
            result = binary(c, low, function, result, c.array(k))
        return low.traced(c, result)

    return lower


def _clip(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    limits = []
    for k, (name, default) in enumerate((("min", -LARGEST), ("max", LARGEST)), start=1):
        value = c.attribute(name, default)
        if c.has(k):
            value = c.constant(k, name).reshape(())
        limits.append(float(np.clip(value, -LARGEST, LARGEST)))
    if limits[0] > limits[1]:
        raise c.fail(f"min = {limits[0]} is above max = {limits[1]}")
    return unary(c, low, "clip", c.array(0), *limits)


def _div(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    y = binary(c, low, "div", c.array(0), c.array(1))
    # Exact up to 2^24: what could make larger whole numbers is refused (`_most` in `parts.py`).
    return y if y.kind == "f" else unary(c, low, "trunc", y)


def _mod(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    a, b = c.array(0), c.array(1)
    quotient = binary(c, low, "div", a, b)
    whole = unary(c, low, "trunc" if c.attribute("fmod", 0) else "floor", quotient)
    if quotient.kind == "f" and not (
        isinstance(b, np.ndarray) and b.size == 1 and float(b.reshape(-1)[0]).is_integer()
    ):
        raise c.fail("a remainder of floats is exact only for one constant whole divisor")
    if quotient.kind == "f":
        return binary(c, low, "sub", a, binary(c, low, "mul", whole, b))
    # No larger than the dividend, so exact where that is.
    factor = Traced(b.origins) if isinstance(b, Traced) else b.astype(np.float32)
    y = binary(c, low, "sub", a, Traced(binary(c, low, "mul", Traced(whole.origins), factor).origins, "i"))
    low.bound(y.ids, low.largest(b))
    return y


def _mean(c: Call, low: Lowering) -> Traced:
    return binary(c, low, "mul", _many("add")(c, low), np.float32(1 / len(c.inputs)))


def _swish(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    x, alpha = c.array(0), c.attribute("alpha", 1.0)
    inner = x if alpha == 1 else binary(c, low, "mul", x, np.float32(alpha))
    return binary(c, low, "mul", x, unary(c, low, "sigmoid", inner))


def _prelu(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    x, slope = c.array(0), c.constant(1, "slope")
    if slope.size and (slope == slope.reshape(-1)[0]).all():
        np.broadcast_to(slope, np.broadcast_shapes(x.shape, slope.shape))
        return unary(c, low, "leaky_relu", x, float(slope.reshape(-1)[0]))
    negative = binary(c, low, "mul", binary(c, low, "min", x, np.float32(0)), slope)
    return binary(c, low, "add", unary(c, low, "relu", x), negative)


def _pow(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    x, exponent = c.array(0), c.array(1)
    if isinstance(x, np.ndarray):
        if x.size != 1 or not x.reshape(-1)[0] > 0:
            raise c.fail("a power of a constant needs one positive base")
        scaled = binary(c, low, "mul", exponent, np.float32(np.log(float(x.reshape(-1)[0]))))
        return unary(c, low, "exp", scaled)
    value = float(exponent.reshape(-1)[0]) if isinstance(exponent, np.ndarray) and exponent.size == 1 else None
    if value is None:
        raise c.fail("its exponent must be one constant number")
    if isinstance(x, Traced) and x.kind == "i" and (exponent.dtype.kind not in "iu" or value < 0):
        raise c.fail("a power of whole numbers needs a whole exponent; cast to float32 first")
    size = abs(value)
    if 2 * size != int(2 * size) or size > 16:
        # Exact only for x > 0; for x < 0 the operator gives NaN, which no stream takes.
        return unary(c, low, "exp", binary(c, low, "mul", unary(c, low, "log", x), np.float32(value)))
    result: Traced | None = unary(c, low, "sqrt", x) if size != int(size) else None
    for _ in range(int(size)):
        result = low.traced(c, x) if result is None else binary(c, low, "mul", result, x)
    if result is None:
        raise c.fail("exponent 0 makes a constant of the readings")
    return unary(c, low, "reciprocal", result) if value < 0 else result


def _hard_swish(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    return binary(c, low, "mul", c.array(0), unary(c, low, "hard_sigmoid", c.array(0), 1 / 6, 0.5))


def _celu(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    alpha = c.attribute("alpha", 1.0)
    below = binary(c, low, "div", binary(c, low, "min", c.array(0), np.asarray(0, np.float32)), np.float32(alpha))
    return binary(c, low, "add", unary(c, low, "relu", c.array(0)), unary(c, low, "elu", below, alpha))


def _gelu(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    x = c.array(0)
    half = binary(c, low, "mul", x, np.float32(0.5))
    if c.attribute("approximate", "none") == "none":
        wave = unary(c, low, "erf", binary(c, low, "mul", x, np.float32(np.sqrt(0.5))))
    elif c.attribute("approximate") == "tanh":
        cube = binary(c, low, "mul", binary(c, low, "mul", x, x), x)
        inner = binary(c, low, "add", x, binary(c, low, "mul", cube, np.float32(0.044715)))
        wave = unary(c, low, "tanh", binary(c, low, "mul", inner, np.float32(np.sqrt(2 / np.pi))))
    else:
        raise c.fail(f"attribute approximate = {c.attribute('approximate')!r}; known are none and tanh")
    return binary(c, low, "mul", half, unary(c, low, "affine", wave, 1.0, 1.0))


def _mish(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    return binary(c, low, "mul", c.array(0), unary(c, low, "tanh", unary(c, low, "softplus", c.array(0))))


def _compare(function: str, *, swap: bool = False, negate: bool = False) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(2)
        a, b = c.array(0), c.array(1)
        y = binary(c, low, function, b, a) if swap else binary(c, low, function, a, b)
        return unary(c, low, "not", y) if negate else y

    return lower


def _not(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    return unary(c, low, "not", c.array(0))


def _is_nan(c: Call, low: Lowering) -> Traced:
    """Always false: a reading that is not finite never reaches the network, and a state that is not is refused."""
    c.arity(1)
    c.attribute("detect_negative")
    c.attribute("detect_positive")
    x: Operand = low.traced(c, c.array(0))
    low.notes.append(f"{c.node} is always false: readings that are not finite are never taken")
    return low.traced(c, np.zeros(x.shape, bool))


def _activation(name: str, function: str, **defaults: float) -> Operator:
    return Operator(name, lower=_map(function, **defaults))


def _number(name: str, function: str, numpy: Callable[[Array], Array]) -> Operator:
    return Operator(name, fold=_one(numpy), lower=_map(function))


RECORDS = (
    _number("Abs", "abs", np.abs),
    Operator("Add", fold=_two(np.add), lower=_pair("add"), compares=True),
    Operator("And", fold=_two(np.logical_and), lower=_compare("and")),
    Operator("Celu", lower=_celu),
    _number("Ceil", "ceil", np.ceil),
    Operator("Clip", fold=_fold_clip, lower=_clip, compares=True),
    Operator("Cos", fold=_one(np.cos)),
    Operator("Div", fold=_fold_div, lower=_div, compares=True),
    _activation("Elu", "elu", alpha=1.0),
    Operator("Equal", fold=_two(np.equal), lower=_compare("equal"), compares=True, truth=True),
    _number("Erf", "erf", _erf),
    _number("Exp", "exp", np.exp),
    _number("Floor", "floor", np.floor),
    Operator("Gelu", lower=_gelu),
    Operator("Greater", fold=_two(np.greater), lower=_compare("less", swap=True), compares=True, truth=True),
    Operator(
        "GreaterOrEqual",
        fold=_two(np.greater_equal),
        lower=_compare("less_or_equal", swap=True),
        compares=True,
        truth=True,
    ),
    _activation("HardSigmoid", "hard_sigmoid", alpha=0.2, beta=0.5),
    Operator("HardSwish", lower=_hard_swish),
    Operator("IsInf", lower=_is_nan),
    Operator("IsNaN", lower=_is_nan),
    _activation("LeakyRelu", "leaky_relu", alpha=0.01),
    Operator("Less", fold=_two(np.less), lower=_compare("less"), compares=True, truth=True),
    Operator("LessOrEqual", fold=_two(np.less_equal), lower=_compare("less_or_equal"), compares=True, truth=True),
    _number("Log", "log", np.log),
    Operator("Max", fold=_folded(np.maximum), lower=_many("max"), compares=True),
    Operator("Mean", lower=_mean),
    Operator("Min", fold=_folded(np.minimum), lower=_many("min"), compares=True),
    Operator("Mish", lower=_mish),
    Operator("Mod", fold=_fold_mod, lower=_mod, compares=True),
    Operator("Mul", fold=_two(np.multiply), lower=_pair("mul")),
    _number("Neg", "neg", np.negative),
    Operator("Not", fold=_one(np.logical_not), lower=_not),
    Operator("Or", fold=_two(np.logical_or), lower=_compare("or")),
    Operator("PRelu", lower=_prelu),
    Operator("Pow", fold=_fold_pow, lower=_pow),
    _number("Reciprocal", "reciprocal", np.reciprocal),
    _number("Relu", "relu", lambda x: np.maximum(x, 0)),
    _number("Round", "round", np.rint),
    _activation("Selu", "selu", alpha=1.6732631921768188, gamma=1.0507010221481323),
    _number("Sigmoid", "sigmoid", _sigmoid),
    _number("Sign", "sign", np.sign),
    Operator("Sin", fold=_one(np.sin)),
    _activation("Softplus", "softplus"),
    _activation("Softsign", "softsign"),
    _number("Sqrt", "sqrt", np.sqrt),
    Operator("Sub", fold=_two(np.subtract), lower=_pair("sub"), compares=True),
    Operator("Sum", fold=_folded(np.add), lower=_many("add")),
    Operator("Swish", lower=_swish),
    _number("Tanh", "tanh", np.tanh),
    _activation("ThresholdedRelu", "thresholded_relu", alpha=1.0),
    Operator("Xor", fold=_two(np.logical_xor), lower=_compare("equal", negate=True)),
)
