"""Convolutions and pooling, on traced values: positions are taken, each a row of a dense layer or of a reduction.

Its rule: axes are axes; where one of them is time, the rows reach back, and `delays.py` finds the ring buffer.
Definitions: onnx.ai, Conv, ConvTranspose, MaxPool, AveragePool, LpPool, Global….
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.call import Call, sized
from edge_lstm.importers.onnx.delays import LARGEST
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.operators.record import Operator, onward, under_kernel
from edge_lstm.importers.onnx.parts import binary, dense, over_rows, reduce, unary
from edge_lstm.importers.onnx.plan import Ids
from edge_lstm.importers.onnx.provenance import Ints, Traced


def _numbers(c: Call, name: str, count: int, default: int) -> list[int]:
    values = list(c.attribute(name) or [default] * count)
    if len(values) != count or min(values, default=0) < (0 if name in ("pads", "output_padding") else 1):
        raise c.fail(f"attribute {name} = {values} does not fit {count // (2 if name == 'pads' else 1)} spatial axes")
    return values


def _padding(c: Call, size: Sequence[int], span: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Padding before and after each spatial axis. span: how many positions the kernel covers."""
    n = len(size)
    pads, auto = _numbers(c, "pads", 2 * n, 0), c.attribute("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return [(pads[k], pads[k + n]) for k in range(n)]
    if auto == "VALID":
        return [(0, 0)] * n
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise c.fail(f"attribute auto_pad = {auto!r} is unknown")
    result = []
    for d, s, stride in zip(size, span, strides, strict=True):
        total = max((-(-d // stride) - 1) * stride + s - d, 0)
        less = total // 2
        result.append((less, total - less) if auto == "SAME_UPPER" else (total - less, less))
    return result


def _windows(x: Ints, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Ints:
    """(N, C, spatial…) to (N, C, positions…, kernel…)."""
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, span, axis=axes)
    steps = [slice(None), slice(None), *(slice(None, None, s) for s in strides)]
    steps += [slice(None, None, d) for d in dilations]
    return view[tuple(steps)]


def _shape(c: Call, x: Traced, weight: Array) -> tuple[list[int], int]:
    if x.ndim < 3 or weight.ndim != x.ndim:
        raise c.misfit(f"input {list(x.shape)} and weights {list(weight.shape)} do not go together")
    kernel = list(weight.shape[2:])
    if list(c.attribute("kernel_shape", kernel)) != kernel:
        raise c.fail(f"attribute kernel_shape = {list(c.attribute('kernel_shape'))}, but the weights have {kernel}")
    groups = c.attribute("group", 1)
    if groups < 1 or x.shape[1] % groups:
        raise c.fail(f"attribute group = {groups} does not divide {x.shape[1]} channels")
    return kernel, groups


def _rows_times(c: Call, low: Lowering, x: Ints, weight: Array, bias: Array | None, groups: int, steps: Any) -> Traced:
    """x (N, C, spatial…), padded; weight (M, C / groups, kernel…); steps: strides, dilations."""
    kernel = weight.shape[2:]
    seen = _windows(x, kernel, *steps)
    if not seen.size:
        raise c.misfit(f"its kernel {list(kernel)} is larger than the padded input {list(x.shape[2:])}")
    n, positions = len(x), seen.shape[2 : x.ndim]
    each, outputs = x.shape[1] // groups, len(weight) // groups
    sized(c, seen.shape)
    parts = []
    for g in range(groups):
        part = seen[:, g * each : (g + 1) * each]
        rows = np.moveaxis(part, 1, len(positions) + 1).reshape(n, *positions, -1)
        chosen = slice(g * outputs, (g + 1) * outputs)
        y = dense(c, low, Traced(rows), weight[chosen].reshape(outputs, -1), None if bias is None else bias[chosen])
        parts.append(np.moveaxis(y.origins, -1, 1))
    return Traced(np.concatenate(parts, axis=1))


def _conv(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    x, weight = low.traced(c, c.array(0)), c.constant(1, "weights").astype(np.float32)
    kernel, groups = _shape(c, x, weight)
    if weight.shape[1] * groups != x.shape[1] or len(weight) % groups:
        raise c.misfit(f"input {list(x.shape)} and weights {list(weight.shape)} in {groups} groups do not go together")
    n = len(kernel)
    strides, dilations = _numbers(c, "strides", n, 1), _numbers(c, "dilations", n, 1)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    around = [(0, 0), (0, 0), *_padding(c, x.shape[2:], span, strides)]
    padded = _padded(c, low, x, around, 0.0)
    bias = c.constant(2, "bias") if c.has(2) else None
    return _rows_times(c, low, padded, weight, bias, groups, (strides, dilations))


def _padded(c: Call, low: Lowering, x: Traced, around: list[tuple[int, int]], value: float) -> Ints:
    sized(c, [d + sum(a) for d, a in zip(x.shape, around, strict=True)])
    fill = int(low.traced(c, np.asarray(value, np.float32)).origins)
    return np.pad(x.origins, around, constant_values=fill)


def _conv_transpose(c: Call, low: Lowering) -> Traced:
    """The convolution of the input, with zeros between its positions, with the kernel turned round."""
    c.arity(3)
    x, weight = low.traced(c, c.array(0)), c.constant(1, "weights").astype(np.float32)
    kernel, groups = _shape(c, x, weight)
    if len(weight) != x.shape[1]:
        raise c.misfit(f"input {list(x.shape)} and weights {list(weight.shape)} do not go together")
    n = len(kernel)
    strides, dilations = _numbers(c, "strides", n, 1), _numbers(c, "dilations", n, 1)
    extra = _numbers(c, "output_padding", n, 0)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [s * (d - 1) + e + p for s, d, e, p in zip(strides, x.shape[2:], extra, span, strict=True)]
    pads, auto = _numbers(c, "pads", 2 * n, 0), c.attribute("auto_pad", "NOTSET")
    asked = c.attribute("output_shape")
    if asked is not None or auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = list(asked)[-n:] if asked is not None else [d * s for d, s in zip(x.shape[2:], strides, strict=True)]
        total = [max(f - w, 0) for f, w in zip(full, wanted, strict=True)]
        half = [t // 2 for t in total]
        rest = [t - h for t, h in zip(total, half, strict=True)]
        pads = half + rest if auto == "SAME_UPPER" else rest + half
    elif auto not in ("NOTSET", "", "VALID"):
        raise c.fail(f"attribute auto_pad = {auto!r} is unknown")
    wide = [(d - 1) * s + 1 for d, s in zip(x.shape[2:], strides, strict=True)]
    sized(c, (*x.shape[:2], *wide))
    zero = int(low.traced(c, np.asarray(0.0, np.float32)).origins)
    spread = np.full((*x.shape[:2], *wide), zero, np.int64)
    spread[tuple([slice(None)] * 2 + [slice(None, None, s) for s in strides])] = x.origins
    around = [(s - 1 - pads[k], s - 1 - pads[k + n] + extra[k]) for k, s in enumerate(span)]
    cut = tuple(slice(max(-a, 0), d - max(-b, 0)) for (a, b), d in zip(around, wide, strict=True))
    kept = [(max(a, 0), max(b, 0)) for a, b in around]
    whole = (slice(None), slice(None), *cut)
    padded = _padded(c, low, Traced(spread[whole]), [(0, 0), (0, 0), *kept], 0.0)
    each = len(weight) // groups
    turned = np.flip(weight, axis=tuple(range(2, weight.ndim)))  # (C, M / groups, kernel…)
    parts = [np.swapaxes(turned[g * each : (g + 1) * each], 0, 1) for g in range(groups)]
    bias = c.constant(2, "bias") if c.has(2) else None
    return _rows_times(c, low, padded, np.concatenate(parts), bias, groups, ([1] * n, dilations))


# --- pooling ----------------------------------------------------------------------------------------------------------


def _pool(function: str) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(1)
        x = low.traced(c, c.array(0))
        kernel = list(c.attribute("kernel_shape") or ())
        n = len(kernel)
        if not n or x.ndim != n + 2:
            raise c.fail(f"attribute kernel_shape = {kernel} does not fit an input of shape {list(x.shape)}")
        strides, dilations = _numbers(c, "strides", n, 1), _numbers(c, "dilations", n, 1)
        span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        around = _padding(c, x.shape[2:], span, strides)
        c.attribute("storage_order")  # of the indices, which are not given
        count_padding = c.attribute("count_include_pad", 0)
        if c.attribute("ceil_mode", 0):
            more = []
            for d, (a, b), s, stride in zip(x.shape[2:], around, span, strides, strict=True):
                places = -(-(d + a + b - s) // stride)
                places -= places * stride >= d + a  # a window must not begin in the padding behind
                more.append(max(places * stride + s - (d + a + b), 0))
            if any(more) and function == "mean" and count_padding:
                raise c.fail("attribute ceil_mode = 1 together with count_include_pad = 1 is not supported")
            around = [(a, b + m) for (a, b), m in zip(around, more, strict=True)]
        edges = [(0, 0), (0, 0), *around]
        fill = -LARGEST if function == "max" else 0.0
        seen = _windows(_padded(c, low, x, edges, fill), kernel, strides, dilations)
        rows = Traced(seen.reshape(*seen.shape[: x.ndim], -1), x.kind)
        if function == "max":
            return _reduced(c, low, "max", rows)
        if function == "lp":
            return _lp(c, low, rows)
        if count_padding or not any(map(any, around)):
            return _reduced(c, low, "mean", rows)
        there = _windows(np.pad(np.ones(x.shape, np.int64), edges), kernel, strides, dilations)
        number = there.reshape(*there.shape[: x.ndim], -1).sum(axis=-1)
        return binary(c, low, "div", _reduced(c, low, "sum", rows), number.astype(np.float32))

    return lower


def _reduced(c: Call, low: Lowering, function: str, rows: Traced) -> Traced:
    def make(values: Ids, count: int) -> Ids:
        return low.plan.step("reduce", [values], [count], source=[str(c.node)], function=function, rows=count)[0]

    return Traced(over_rows(c, low, rows, make).origins[..., 0], rows.kind)


def _lp(c: Call, low: Lowering, rows: Traced) -> Traced:
    p = c.attribute("p", 2)
    if p not in (1, 2):
        raise c.fail(f"attribute p = {p}; known are 1 and 2")
    total = _reduced(c, low, "sum", unary(c, low, "abs", rows) if p == 1 else binary(c, low, "mul", rows, rows))
    return total if p == 1 else unary(c, low, "sqrt", total)


def _global(function: str) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(1)
        x = low.traced(c, c.array(0))
        return reduce(c, low, function, x, range(2, x.ndim), True)

    return lower


RECORDS = (
    Operator("AveragePool", lower=_pool("mean"), kernel=True, takes=under_kernel),
    Operator("Conv", lower=_conv, kernel=True, features=lambda node, weight: weight.shape[1]),
    Operator("ConvTranspose", lower=_conv_transpose, kernel=True),
    Operator("GlobalAveragePool", lower=_global("mean"), takes=onward(2)),
    Operator("GlobalLpPool", takes=onward(2)),
    Operator("GlobalMaxPool", lower=_global("max"), takes=onward(2)),
    Operator("LpPool", lower=_pool("lp"), kernel=True, takes=under_kernel),
    Operator("MaxPool", lower=_pool("max"), kernel=True, takes=under_kernel),
)
