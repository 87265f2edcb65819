"""Operators that compute over rows, on traced values: softmax, reductions, normalizations, running sums.

Its rule: as the specification says (onnx.ai, operators, operator sets 7 to 25); statistics are computed from centred
values, as ONNX Runtime does, so large means cost no accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.delays import running
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering, Operand
from edge_lstm.importers.onnx.operators.record import Numbers, Operator, Taken, along, axes_given, every, onward
from edge_lstm.importers.onnx.parts import at_end, binary, over_rows, reduce, unary
from edge_lstm.importers.onnx.plan import Ids
from edge_lstm.importers.onnx.provenance import Misfit, Traced, first_unique, steps_along, traced


def reduced_axes(c: Call, rank: int) -> tuple[int, ...]:
    """The axes of a reduction, as attribute or input, with `noop_with_empty_axes` obeyed."""
    c.arity(2)
    axes = c.ints("axes", 1, "axes")
    noop = c.attribute("noop_with_empty_axes", 0)
    if not axes:
        return () if noop else tuple(range(rank))
    return tuple(c.axis(a, rank) for a in axes)


def _fold_reduction(function: Callable[..., Array]) -> Callable[[Call], Array]:
    def reduce(c: Call) -> Array:
        x = c.array(0)
        result = function(x, axis=reduced_axes(c, x.ndim), keepdims=bool(c.attribute("keepdims", 1)))
        return np.asarray(result).astype(x.dtype)

    return reduce


def _fold_softmax(c: Call) -> Array:
    c.arity(1)
    x = c.array(0)
    axis = c.axis(c.attribute("axis", 1 if c.opset < 13 else -1), x.ndim)
    axes = tuple(range(axis, x.ndim)) if c.opset < 13 else axis
    powers = np.exp(x - x.max(axis=axes, keepdims=True))
    return (powers / powers.sum(axis=axes, keepdims=True)).astype(x.dtype)  # type: ignore[no-any-return]


def _fold_cumsum(c: Call) -> Array:
    c.arity(2)
    if c.attribute("exclusive", 0) or c.attribute("reverse", 0):
        raise c.fail("exclusive or reverse is not supported for constants")
    return np.cumsum(c.array(0), axis=int(c.array(1).reshape(-1)[0]), dtype=c.array(0).dtype)


def _fold_trilu(c: Call) -> Array:
    c.arity(2)
    k = int(c.array(1).reshape(-1)[0]) if c.has(1) else 0
    return (np.triu if c.attribute("upper", 1) else np.tril)(c.array(0), k)


def _softmax(log: bool) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(1)
        x = c.array(0)
        axis = c.axis(c.attribute("axis", 1 if c.opset < 13 else -1), x.ndim)
        # Before operator set 13 the axis and all behind it were one row.
        axes = list(range(axis, x.ndim)) if c.opset < 13 else [axis]
        rows, shape = at_end(x, axes)

        def make(values: Ids, count: int) -> Ids:
            return low.plan.step("softmax", [values], [values.size], source=[str(c.node)], rows=count, log=log)[0]

        y = over_rows(c, low, rows, make)
        back = np.argsort([*(k for k in range(x.ndim) if k not in axes), *axes])
        return Traced(np.transpose(y.origins.reshape(*shape, *(x.shape[k] for k in axes)), back))

    return lower


def _reduction(function: str, before: str = "", after: str = "") -> Callable[[Call, Lowering], Traced]:
    """A reduction, with a map before and one after it."""

    def lower(c: Call, low: Lowering) -> Traced:
        x: Operand = low.traced(c, c.array(0))
        axes = reduced_axes(c, x.ndim)
        keep = bool(c.attribute("keepdims", 1))
        if isinstance(x, Traced) and x.kind == "i" and (function == "mean" or after):
            raise c.fail("works on whole numbers, whose result would be cut to a whole one; cast to float32 first")
        if before == "square":
            x = binary(c, low, "mul", x, x)
        elif before:
            x = unary(c, low, before, x)
        y = reduce(c, low, function, low.traced(c, x), axes, keep) if axes else low.traced(c, x)
        return unary(c, low, after, y) if after else y

    return lower


def _log_sum_exp(c: Call, low: Lowering) -> Traced:
    x = low.traced(c, c.array(0))
    axes, keep = reduced_axes(c, x.ndim), bool(c.attribute("keepdims", 1))
    if x.kind == "i":
        raise c.fail("works on whole numbers, whose result would be cut to a whole one; cast to float32 first")
    if not axes:
        return x
    highest = reduce(c, low, "max", x, axes, True)
    total = reduce(c, low, "sum", unary(c, low, "exp", binary(c, low, "sub", x, highest)), axes, True)
    y = binary(c, low, "add", unary(c, low, "log", total), highest)
    return y if keep else Traced(y.origins.reshape([d for k, d in enumerate(x.shape) if k not in axes]))


def _arg(function: str) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(1)
        x = c.array(0)
        if c.attribute("select_last_index", 0):
            raise c.fail("attribute select_last_index = 1 is not supported; of equals the first is taken")
        axis = c.axis(c.attribute("axis", 0), x.ndim)
        return reduce(c, low, function, x, [axis], bool(c.attribute("keepdims", 1)))

    return lower


# --- normalizations ---------------------------------------------------------------------------------------------------


def normalized(
    c: Call, low: Lowering, x: Traced, axes: Sequence[int], epsilon: float, *, centre: bool = True
) -> Traced:
    """(x - mean) / sqrt(variance + epsilon) over the axes; without the mean where it is not to be taken off."""
    centred = binary(c, low, "sub", x, reduce(c, low, "mean", x, axes, True)) if centre else x
    variance = reduce(c, low, "mean", binary(c, low, "mul", centred, centred), axes, True)
    deviation = unary(c, low, "sqrt", binary(c, low, "add", variance, np.float32(epsilon)))
    return binary(c, low, "div", centred, deviation)


def _per_channel(values: Operand, rank: int) -> Operand:
    """(C,) to (C, 1, 1, …), for x [N, C, …]."""
    shape = (-1, *[1] * (rank - 2))
    return Traced(values.origins.reshape(shape)) if isinstance(values, Traced) else values.reshape(shape)


def _batch_norm(c: Call, low: Lowering) -> Traced:
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


def _layer_norm(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    x = low.traced(c, c.array(0))
    _float32_inside(c)
    axes = list(range(c.axis(c.attribute("axis", -1), x.ndim), x.ndim))
    y = normalized(c, low, x, axes, c.attribute("epsilon", 1e-5))
    y = binary(c, low, "mul", y, c.array(1))
    return binary(c, low, "add", y, c.array(2)) if c.has(2) else y


def _rms_norm(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    x = low.traced(c, c.array(0))
    _float32_inside(c)
    axes = list(range(c.axis(c.attribute("axis", -1), x.ndim), x.ndim))
    return binary(c, low, "mul", normalized(c, low, x, axes, c.attribute("epsilon", 1e-5), centre=False), c.array(1))


def _float32_inside(c: Call) -> None:
    if c.attribute("stash_type", 1) != 1:
        raise c.fail(f"attribute stash_type = {c.attribute('stash_type')} is not supported; known is 1 (float32)")


def _instance_norm(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    x = low.traced(c, c.array(0))
    y = normalized(c, low, x, range(2, x.ndim), c.attribute("epsilon", 1e-5))
    y = binary(c, low, "mul", y, _per_channel(c.array(1), x.ndim))
    return binary(c, low, "add", y, _per_channel(c.array(2), x.ndim))


def _group_norm(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    x = low.traced(c, c.array(0))
    _float32_inside(c)
    groups = c.attribute("num_groups")
    if not groups or x.ndim < 2 or x.shape[1] % groups:
        raise c.fail(f"attribute num_groups = {groups} does not divide {list(x.shape)}")
    split = Traced(x.origins.reshape(x.shape[0], groups, -1))
    y = Traced(normalized(c, low, split, [2], c.attribute("epsilon", 1e-5)).origins.reshape(x.shape))
    factors: list[Operand] = [c.array(1), c.array(2)]
    if c.opset < 21:  # one pair per group; from 21 on one per channel
        each = x.shape[1] // groups
        factors = [np.repeat(c.constant(k, "scale or bias"), each) for k in (1, 2)]
    y = binary(c, low, "mul", y, _per_channel(factors[0], x.ndim))
    return binary(c, low, "add", y, _per_channel(factors[1], x.ndim))


def _mean_variance(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    x = low.traced(c, c.array(0))
    axes = [c.axis(a, x.ndim) for a in c.attribute("axes", (0, 2, 3))]
    centred = binary(c, low, "sub", x, reduce(c, low, "mean", x, axes, True))
    variance = reduce(c, low, "mean", binary(c, low, "mul", centred, centred), axes, True)
    # The specification adds 1e-9 to the deviation, not to the variance.
    return binary(c, low, "div", centred, binary(c, low, "add", unary(c, low, "sqrt", variance), np.float32(1e-9)))


def _lp_norm(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    x = low.traced(c, c.array(0))
    axis, p = c.axis(c.attribute("axis", -1), x.ndim), c.attribute("p", 2)
    if p not in (1, 2):
        raise c.fail(f"attribute p = {p}; known are 1 and 2")
    size = unary(c, low, "abs", x) if p == 1 else binary(c, low, "mul", x, x)
    total = reduce(c, low, "sum", size, [axis], True)
    return binary(c, low, "div", x, total if p == 1 else unary(c, low, "sqrt", total))


# --- running sums -----------------------------------------------------------------------------------------------------


def _cumsum(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    x = low.traced(c, c.array(0))
    axis = c.axis(int(c.constant(1, "axis").reshape(-1)[0]), x.ndim)
    exclusive, backwards = c.attribute("exclusive", 0), c.attribute("reverse", 0)
    if low.length > 1 and steps_along(x.t, axis, low.length):
        if exclusive or backwards:
            raise c.fail(
                "a running sum over time that leaves out the newest reading, or runs backwards, is not supported"
            )
        if (x.ids != np.take(x.ids, [0], axis)).any():
            raise Misfit(f"{c.node}: its input is computed differently at different readings")
        different, where = first_unique(x.ids.reshape(-1))
        total = running(low, "sum", different, [str(c.node)])
        return traced(x.t, x.b, total[where].reshape(x.shape), x.kind)
    parts = [Traced(np.take(x.origins, [k], axis), x.kind) for k in range(x.shape[axis])]
    parts = parts[::-1] if backwards else parts
    sums: list[Traced] = []
    for part in parts:
        sums.append(binary(c, low, "add", sums[-1], part) if sums else part)
    if exclusive:
        zero = np.zeros(parts[0].shape, np.float32 if x.kind == "f" else np.int64)
        sums = [low.traced(c, zero), *sums[:-1]]
    sums = sums[::-1] if backwards else sums
    return Traced(np.concatenate([s.origins for s in sums], axis), x.kind)


def _trilu(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    x = low.traced(c, c.array(0))
    k = int(c.constant(1, "k").reshape(-1)[0]) if c.has(1) else 0
    keep = np.ones(x.shape, bool)
    keep = np.triu(keep, k) if c.attribute("upper", 1) else np.tril(keep, k)
    zero = low.traced(c, np.zeros((), np.float32 if x.kind == "f" else np.int64)).origins
    return Traced(np.where(keep, x.origins, zero), x.kind)


def _trilu_reach(c: Call, rank: int, numbers: Numbers) -> Iterable[tuple[int, int]]:
    return ((axis, max(map(abs, numbers("k", 1)), default=0)) for axis in range(rank))


def _reduced(
    name: str, lower: Callable[[Call, Lowering], Traced], fold: Callable[..., Array] | None = None
) -> Operator:
    return Operator(name, lower=lower, fold=None if fold is None else _fold_reduction(fold), takes=axes_given)


def _norm(name: str, lower: Callable[[Call, Lowering], Traced] | None, takes: Taken) -> Operator:
    return Operator(name, lower=lower, takes=takes)


RECORDS = (
    Operator("ArgMax", lower=_arg("argmax"), takes=along(0)),
    Operator("ArgMin", lower=_arg("argmin"), takes=along(0)),
    Operator("BatchNormalization", lower=_batch_norm),
    Operator("Compress", takes=every),
    Operator("CumProd", takes=every),
    Operator("CumSum", fold=_fold_cumsum, lower=_cumsum, takes=axes_given),
    _norm("GroupNormalization", _group_norm, onward(1)),
    Operator("Hardmax", takes=along(-1, before_13=1)),
    _norm("InstanceNormalization", _instance_norm, onward(2)),
    _norm("LRN", None, onward(1)),
    _norm("LayerNormalization", _layer_norm, onward(-1)),
    Operator("LogSoftmax", lower=_softmax(True), takes=along(-1, before_13=1)),
    _norm("LpNormalization", _lp_norm, along(-1)),
    _norm("MeanVarianceNormalization", _mean_variance, every),
    _norm("RMSNormalization", _rms_norm, onward(-1)),
    _reduced("ReduceL1", _reduction("sum", "abs")),
    _reduced("ReduceL2", _reduction("sum", "square", "sqrt")),
    _reduced("ReduceLogSum", _reduction("sum", "", "log")),
    _reduced("ReduceLogSumExp", _log_sum_exp),
    _reduced("ReduceMax", _reduction("max"), np.max),
    _reduced("ReduceMean", _reduction("mean"), np.mean),
    _reduced("ReduceMin", _reduction("min"), np.min),
    _reduced("ReduceProd", _reduction("prod"), np.prod),
    _reduced("ReduceSum", _reduction("sum"), np.sum),
    _reduced("ReduceSumSquare", _reduction("sum", "square")),
    _norm("SimplifiedLayerNormalization", None, onward(-1)),
    _norm("SkipLayerNormalization", None, onward(-1)),
    Operator("Softmax", fold=_fold_softmax, lower=_softmax(False), takes=along(-1, before_13=1)),
    Operator("Sort", takes=every),
    Operator("TopK", takes=along(-1)),
    Operator("Trilu", fold=_fold_trilu, lower=_trilu, reach=_trilu_reach),
    Operator("Unique", takes=every),
)
