"""Operations over rows: softmax and reductions. A sum goes through the row in order, whatever the width; the vectors'
part is only what is the same for every element (exp, subtraction, division)."""

from __future__ import annotations

from numba import int64

from edge_lstm.engines.native.kernels.abi import REDUCE_CODES
from edge_lstm.engines.native.kernels.activations import exp, log
from edge_lstm.engines.native.kernels.simd import (
    broadcast,
    fill,
    kernel,
    larger,
    less,
    load,
    select,
    smaller,
    store,
    store_first,
)

_SUM, _MEAN, _MAX = (REDUCE_CODES[name] for name in ("sum", "mean", "max"))
_PROD, _ARGMAX = REDUCE_CODES["prod"], REDUCE_CODES["argmax"]


@kernel
def _reduce_row(V1, arena, x, n, function):
    total = load(V1, arena, x)
    for k in range(1, n):
        value = load(V1, arena, x + k)
        if function == _SUM or function == _MEAN:  # noqa: SIM109  Numba would compile a search
            total = total + value
        elif function == _PROD:
            total = total * value
        elif function == _MAX:
            total = larger(total, value)
        else:
            total = smaller(total, value)
    return total / fill(V1, n) if function == _MEAN else total


@kernel
def _place_in_row(V1, arena, x, n, function):
    """The number of the largest (or smallest) value, of equals the first."""
    best, place = load(V1, arena, x), fill(V1, 0.0)
    for k in range(1, n):
        value = load(V1, arena, x + k)
        better = less(best, value) if function == _ARGMAX else less(value, best)
        best, place = select(better, value, best), select(better, fill(V1, k), place)
    return place


@kernel
def reduce(V1, arena, x, y, n, rows, function):
    """arena[y + m] = function over row m of n values."""
    for m in range(rows):
        if function >= _ARGMAX:
            result = _place_in_row(V1, arena, x + m * n, n, function)
        else:
            result = _reduce_row(V1, arena, x + m * n, n, function)
        store(V1, arena, y + m, result)


@kernel
def softmax(V, V1, arena, x, y, n, rows, logarithm):
    """Over each row: e^(x - max) / sum, or x - max - log(sum)."""
    for _ in range(rows):
        store(V1, arena, y, _reduce_row(V1, arena, x, n, int64(_MAX)))
        top = broadcast(V, arena, y)
        for k in range(0, n, V.lanes):
            store_first(V, arena, y + k, exp(V, load(V, arena, x + k) - top), n - k)
        total = fill(V1, 0.0)
        for k in range(n):
            total = total + load(V1, arena, y + k)
        first = load(V1, arena, y)
        store(V1, arena, y, total)
        sums = broadcast(V, arena, y)
        store(V1, arena, y, first)
        logs = log(V, sums)
        for k in range(0, n, V.lanes):
            value = load(V, arena, x + k) - top - logs if logarithm else load(V, arena, y + k) / sums
            store_first(V, arena, y + k, value, n - k)
        x += n
        y += n
