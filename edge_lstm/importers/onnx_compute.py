"""Operators that compute, on tags: activations, dense layers, normalizations, reductions.

Its rule: an operator reads exactly the inputs and attributes that its specification has (onnx.ai, operators,
operator sets 7 to 25), with the specification's defaults; whatever else stands at the node is refused by
`Call.finish` or `Call.arity`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_lstm.importers.onnx_call import Call
from edge_lstm.importers.onnx_fold import reduced_axes
from edge_lstm.importers.onnx_lower import Lowering, Operand
from edge_lstm.importers.onnx_parts import at_end, binary, dense, over_rows, reduce, swapped, unary
from edge_lstm.importers.onnx_tags import Tagged

LARGEST = float(np.finfo(np.float32).max)


def _map(function: str, **defaults: float) -> Callable[[Call, Lowering], Tagged]:
    """An activation whose attributes are alpha and beta (or gamma), with the specification's defaults."""

    def lower(c: Call, low: Lowering) -> Tagged:
        c.arity(1)
        values = [c.attribute(name, default) for name, default in defaults.items()]
        return unary(c, low, function, c.array(0), *values)

    return lower


def _pair(function: str) -> Callable[[Call, Lowering], Tagged]:
    def lower(c: Call, low: Lowering) -> Tagged:
        c.arity(2)
        return binary(c, low, function, c.array(0), c.array(1))

    return lower


def _many(function: str) -> Callable[[Call, Lowering], Tagged]:
    def lower(c: Call, low: Lowering) -> Tagged:
        result: Operand = c.array(0)
        for k in range(1, len(c.inputs)):
            result = binary(c, low, function, result, c.array(k))
        return low.tagged(c, result)

    return lower


def _matmul(c: Call, low: Lowering) -> Tagged:
    c.arity(2)
    a, b = c.array(0), c.array(1)
    if isinstance(a, Tagged) and isinstance(b, Tagged):
        raise c.fail("multiplies two computed matrices; only products with constant weights are supported")
    if isinstance(a, Tagged):
        while b.ndim > 2 and b.shape[0] == 1 and a.ndim >= b.ndim:
            b = b[0]
        if b.ndim == 1:
            return Tagged(dense(c, low, a, b[None]).tags[..., 0])
        if b.ndim != 2:
            raise c.fail(f"weights of shape {list(b.shape)}: only one matrix for all rows is supported")
        return dense(c, low, a, b.T)
    if a.ndim != 2 or b.ndim < 2:
        raise c.fail(f"weights of shape {list(a.shape)} from the left: only one matrix for all rows is supported")
    return swapped(dense(c, low, swapped(b), a))


def _gemm(c: Call, low: Lowering) -> Tagged:
    c.arity(3)
    a, b = c.array(0), c.array(1)
    if a.ndim != 2 or b.ndim != 2:
        raise c.fail(f"shapes {list(a.shape)} and {list(b.shape)}: Gemm multiplies matrices")
    alpha, beta = np.float32(c.attribute("alpha", 1.0)), np.float32(c.attribute("beta", 1.0))
    left: Any
    right: Any
    left, right = (
        (Tagged(m.tags.T) if isinstance(m, Tagged) else m.T) if c.attribute(name, 0) else m
        for m, name in ((a, "transA"), (b, "transB"))
    )
    offset = c.inputs[2] if c.has(2) else None
    if isinstance(offset, np.ndarray):
        offset = (beta * offset).astype(np.float32)
    elif offset is not None and beta != 1:
        offset = binary(c, low, "mul", offset, np.float32(beta))
    bias = None
    if isinstance(left, Tagged) and isinstance(right, Tagged):
        raise c.fail("multiplies two computed matrices; only products with constant weights are supported")
    if isinstance(left, Tagged):
        if isinstance(offset, np.ndarray):
            rows = np.broadcast_to(offset, (left.shape[0], right.shape[1]))
            if (rows == rows[:1]).all():
                bias, offset = rows[0], None
        y = dense(c, low, left, alpha * right.T, bias)
    else:
        y = swapped(dense(c, low, Tagged(right.tags.T), alpha * left))
    return y if offset is None else binary(c, low, "add", y, offset)


def _clip(c: Call, low: Lowering) -> Tagged:
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


def _prelu(c: Call, low: Lowering) -> Tagged:
    c.arity(2)
    x, slope = c.array(0), c.constant(1, "slope")
    if slope.size and (slope == slope.reshape(-1)[0]).all():
        np.broadcast_to(slope, np.broadcast_shapes(x.shape, slope.shape))
        return unary(c, low, "leaky_relu", x, float(slope.reshape(-1)[0]))
    negative = binary(c, low, "mul", binary(c, low, "min", x, np.float32(0)), slope)
    return binary(c, low, "add", unary(c, low, "relu", x), negative)


def _pow(c: Call, low: Lowering) -> Tagged:
    c.arity(2)
    x, exponent = c.array(0), c.constant(1, "exponent")
    value = float(exponent.reshape(-1)[0]) if exponent.size == 1 else float("nan")
    if value in (2.0, 3.0):
        square = binary(c, low, "mul", x, x)
        return square if value == 2 else binary(c, low, "mul", square, x)
    if value == 0.5:
        return unary(c, low, "sqrt", x)
    if value == 1.0:
        return low.tagged(c, x)
    raise c.fail(f"exponent {exponent.reshape(-1)[:4].tolist()} is not supported; known are 0.5, 1, 2, 3")


def _hard_swish(c: Call, low: Lowering) -> Tagged:
    c.arity(1)
    return binary(c, low, "mul", c.array(0), unary(c, low, "hard_sigmoid", c.array(0), 1 / 6, 0.5))


def _celu(c: Call, low: Lowering) -> Tagged:
    c.arity(1)
    alpha = c.attribute("alpha", 1.0)
    below = binary(c, low, "div", binary(c, low, "min", c.array(0), np.asarray(0, np.float32)), np.float32(alpha))
    return binary(c, low, "add", unary(c, low, "relu", c.array(0)), unary(c, low, "elu", below, alpha))


def _gelu(c: Call, low: Lowering) -> Tagged:
    c.arity(1)
    x = c.array(0)
    if c.attribute("approximate", "none") != "tanh":
        raise c.fail("attribute approximate = 'none' needs the error function; train with nn.GELU(approximate='tanh')")
    cube = binary(c, low, "mul", binary(c, low, "mul", x, x), x)
    inner = binary(c, low, "add", x, binary(c, low, "mul", cube, np.float32(0.044715)))
    wave = unary(c, low, "tanh", binary(c, low, "mul", inner, np.float32(np.sqrt(2 / np.pi))))
    return binary(c, low, "mul", binary(c, low, "mul", x, np.float32(0.5)), unary(c, low, "affine", wave, 1.0, 1.0))


def _mish(c: Call, low: Lowering) -> Tagged:
    c.arity(1)
    return binary(c, low, "mul", c.array(0), unary(c, low, "tanh", unary(c, low, "softplus", c.array(0))))


def _cast(c: Call, low: Lowering) -> Tagged:
    c.arity(1)
    c.attribute("saturate")
    c.attribute("round_mode")
    if c.attribute("to") != 1:
        raise c.fail(
            f"attribute to = {c.attribute('to')}: values of the network stay float32; export the model in float32"
        )
    return low.tagged(c, c.array(0))


def _dropout(c: Call, low: Lowering) -> Tagged:
    c.arity(3)
    c.attribute("ratio")
    c.attribute("seed")
    if c.has(2) and c.constant(2, "training_mode").any():
        raise c.fail("training_mode is true; export the model after model.eval()")
    return low.tagged(c, c.array(0))


def _softmax(log: bool) -> Callable[[Call, Lowering], Tagged]:
    def lower(c: Call, low: Lowering) -> Tagged:
        c.arity(1)
        x = c.array(0)
        axis = c.axis(c.attribute("axis", 1 if c.opset < 13 else -1), x.ndim)
        # Before operator set 13 the axis and all behind it were one row.
        axes = list(range(axis, x.ndim)) if c.opset < 13 else [axis]
        rows, shape = at_end(x, axes)
        source, n = [str(c.node)], rows.shape[-1]
        y = over_rows(c, low, rows, lambda row: low.plan.step("softmax", [row], [n], source=source, rows=1, log=log)[0])
        back = np.argsort([*(k for k in range(x.ndim) if k not in axes), *axes])
        return Tagged(np.transpose(y.tags.reshape(*shape, *(x.shape[k] for k in axes)), back))

    return lower


def _reduction(function: str) -> Callable[[Call, Lowering], Tagged]:
    def lower(c: Call, low: Lowering) -> Tagged:
        x = c.array(0)
        axes = reduced_axes(c, x.ndim)
        keep = bool(c.attribute("keepdims", 1))
        return reduce(c, low, function, x, axes, keep) if axes else low.tagged(c, x)

    return lower


def _batch_norm(c: Call, low: Lowering) -> Tagged:
    c.arity(5)
    x = c.array(0)
    c.attribute("momentum")  # of training; inference does not use it
    if c.attribute("training_mode", 0) or not c.attribute("spatial", 1):
        raise c.fail("only inference with one mean per channel is supported; export the model after model.eval()")
    scale, bias, mean, variance = (c.constant(k, "statistics").astype(np.float64) for k in range(1, 5))
    factor = scale / np.sqrt(variance + c.attribute("epsilon", 1e-5))
    shape = [1] * x.ndim
    shape[min(1, x.ndim - 1)] = -1
    y = binary(c, low, "mul", x, factor.astype(np.float32).reshape(shape))
    return binary(c, low, "add", y, (bias - mean * factor).astype(np.float32).reshape(shape))


def _layer_norm(c: Call, low: Lowering) -> Tagged:
    c.arity(3)
    x = low.tagged(c, c.array(0))
    if c.attribute("stash_type", 1) != 1:
        raise c.fail(f"attribute stash_type = {c.attribute('stash_type')} is not supported; known is 1 (float32)")
    axes = list(range(c.axis(c.attribute("axis", -1), x.ndim), x.ndim))
    centred = binary(c, low, "sub", x, reduce(c, low, "mean", x, axes, True))
    variance = reduce(c, low, "mean", binary(c, low, "mul", centred, centred), axes, True)
    deviation = unary(c, low, "sqrt", binary(c, low, "add", variance, np.float32(c.attribute("epsilon", 1e-5))))
    y = binary(c, low, "mul", binary(c, low, "div", centred, deviation), c.array(1))
    return binary(c, low, "add", y, c.array(2)) if c.has(2) else y


COMPUTE: dict[str, Callable[[Call, Lowering], Any]] = {
    "Abs": _map("abs"),
    "Add": _pair("add"),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Celu": _celu,
    "Clip": _clip,
    "Div": _pair("div"),
    "Dropout": _dropout,
    "Elu": _map("elu", alpha=1.0),
    "Exp": _map("exp"),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _map("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _map("leaky_relu", alpha=0.01),
    "Log": _map("log"),
    "LogSoftmax": _softmax(True),
    "MatMul": _matmul,
    "Max": _many("max"),
    "Min": _many("min"),
    "Mish": _mish,
    "Mul": _pair("mul"),
    "Neg": _map("neg"),
    "PRelu": _prelu,
    "Pow": _pow,
    "Reciprocal": _map("reciprocal"),
    "ReduceMax": _reduction("max"),
    "ReduceMean": _reduction("mean"),
    "ReduceMin": _reduction("min"),
    "ReduceSum": _reduction("sum"),
    "Relu": _map("relu"),
    "Selu": _map("selu", alpha=1.6732631921768188, gamma=1.0507010221481323),
    "Sigmoid": _map("sigmoid"),
    "Softmax": _softmax(False),
    "Softplus": _map("softplus"),
    "Softsign": _map("softsign"),
    "Sqrt": _map("sqrt"),
    "Sub": _pair("sub"),
    "Sum": _many("add"),
    "Tanh": _map("tanh"),
    "ThresholdedRelu": _map("thresholded_relu", alpha=1.0),
}
