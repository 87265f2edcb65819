"""Operators that compute, on traced values: activations, arithmetic, dense layers.

Its rule: an operator reads exactly the inputs and attributes that its specification has (onnx.ai, operators,
operator sets 7 to 25), with the specification's defaults; whatever else stands at the node is refused by
`Call.finish` or `Call.arity`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.call import Call, sized
from edge_lstm.importers.onnx.lowering import Lowering, Operand
from edge_lstm.importers.onnx.parts import binary, dense, reduce, swapped, unary
from edge_lstm.importers.onnx.provenance import Traced

LARGEST = float(np.finfo(np.float32).max)


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


def product(c: Call, low: Lowering, a: Traced, b: Traced) -> Traced:
    """The matrix product of two computed arrays, element by element (attention within one reading)."""
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise c.fail(f"shapes {list(a.shape)} and {list(b.shape)} do not go together")
    left = Traced(a.origins[..., :, None, :], a.kind)
    right = Traced(np.swapaxes(b.origins, -1, -2)[..., None, :, :], b.kind)
    sized(c, np.broadcast_shapes(left.shape, right.shape))
    pairs = binary(c, low, "mul", left, right)
    return reduce(c, low, "sum", pairs, [pairs.ndim - 1], False)


def _matmul(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    a, b = c.array(0), c.array(1)
    if a.ndim == 0 or b.ndim == 0:
        raise c.fail("multiplies a number; matrices are needed")
    if isinstance(a, Traced) and not isinstance(b, Traced):
        while b.ndim > 2 and b.shape[0] == 1 and a.ndim >= b.ndim:
            b = b[0]
        if b.ndim == 1:
            return Traced(dense(c, low, a, b[None]).origins[..., 0], a.kind)
        if b.ndim == 2:
            return dense(c, low, a, b.T)
    elif isinstance(b, Traced) and not isinstance(a, Traced) and a.ndim == 2 and b.ndim >= 2:
        return swapped(dense(c, low, swapped(b), a))
    x, y = low.traced(c, a), low.traced(c, b)
    left = Traced(x.origins[None], x.kind) if a.ndim == 1 else x
    right = Traced(y.origins[:, None], y.kind) if b.ndim == 1 else y
    result = product(c, low, left, right).origins
    result = result[..., 0, :] if a.ndim == 1 else result
    return Traced(result[..., 0] if b.ndim == 1 else result, x.kind)


def _gemm(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    a, b = c.array(0), c.array(1)
    if a.ndim != 2 or b.ndim != 2:
        raise c.fail(f"shapes {list(a.shape)} and {list(b.shape)}: Gemm multiplies matrices")
    alpha, beta = np.float32(c.attribute("alpha", 1.0)), np.float32(c.attribute("beta", 1.0))
    left: Any
    right: Any
    left, right = (
        (Traced(m.origins.T, m.kind) if isinstance(m, Traced) else m.T) if c.attribute(name, 0) else m
        for m, name in ((a, "transA"), (b, "transB"))
    )
    offset = c.inputs[2] if c.has(2) else None
    if isinstance(offset, np.ndarray):
        offset = (beta * offset).astype(np.float32)
    elif offset is not None and beta != 1:
        offset = binary(c, low, "mul", offset, np.float32(beta))
    bias = None
    y: Traced
    if isinstance(left, Traced) and isinstance(right, Traced):
        y = product(c, low, left, right)
        y = y if alpha == 1 else binary(c, low, "mul", y, np.float32(alpha))
    elif isinstance(left, Traced):
        if isinstance(offset, np.ndarray):
            rows = np.broadcast_to(offset, (left.shape[0], right.shape[1]))
            if (rows == rows[:1]).all():
                bias, offset = rows[0], None
        y = dense(c, low, left, alpha * right.T, bias)
    else:
        y = swapped(dense(c, low, Traced(right.origins.T, right.kind), alpha * left))
    return y if offset is None else binary(c, low, "add", y, offset)


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
    # Exact up to 2^24: what could make larger whole numbers is refused (`_most` in onnx_parts.py).
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


def _dropout(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    c.attribute("ratio")
    c.attribute("seed")
    if c.has(2) and c.constant(2, "training_mode").any():
        raise c.fail("training_mode is true; export the model after model.eval()")
    return low.traced(c, c.array(0))


COMPUTE: dict[str, Callable[[Call, Lowering], Any]] = {
    "Abs": _map("abs"),
    "Add": _pair("add"),
    "Celu": _celu,
    "Clip": _clip,
    "Ceil": _map("ceil"),
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _map("elu", alpha=1.0),
    "Erf": _map("erf"),
    "Exp": _map("exp"),
    "Floor": _map("floor"),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _map("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": _hard_swish,
    "LeakyRelu": _map("leaky_relu", alpha=0.01),
    "Log": _map("log"),
    "MatMul": _matmul,
    "Max": _many("max"),
    "Min": _many("min"),
    "Mean": _mean,
    "Mish": _mish,
    "Mod": _mod,
    "Mul": _pair("mul"),
    "Neg": _map("neg"),
    "PRelu": _prelu,
    "Pow": _pow,
    "Reciprocal": _map("reciprocal"),
    "Relu": _map("relu"),
    "Round": _map("round"),
    "Selu": _map("selu", alpha=1.6732631921768188, gamma=1.0507010221481323),
    "Sigmoid": _map("sigmoid"),
    "Sign": _map("sign"),
    "Softplus": _map("softplus"),
    "Softsign": _map("softsign"),
    "Sqrt": _map("sqrt"),
    "Swish": _swish,
    "Sub": _pair("sub"),
    "Sum": _many("add"),
    "Tanh": _map("tanh"),
    "ThresholdedRelu": _map("thresholded_relu", alpha=1.0),
}
