"""One plain recurrent layer, one reading: h' = tanh(W x + R h + b), or relu in place of tanh.

Sums as in `lstm.py`, packed [block of units][b, then each input][lanes] (`assembly.py`).
"""

from __future__ import annotations

from edge_lstm.kernels.activations import forget_denormal, tanh
from edge_lstm.kernels.simd import broadcast, fill, fma, kernel, maximum, store, weight


@kernel
def _one_sum(V, weights, w, arena, x, n, total):
    """Continue one sum over arena[x : x + n]."""
    for k in range(n):
        total = fma(broadcast(V, arena, x + k), weight(V, weights, w + k * V.lanes), total)
    return total


@kernel
def rnn_cell(V, arena, h_next, total, rectified):
    """What follows from the sum of V.lanes units."""
    y = maximum(fill(V, 0.0), total) if rectified else tanh(V, total)
    store(V, arena, h_next, forget_denormal(V, y))


@kernel
def rnn(V, weights, w, arena, x, h, h_next, n_x, n_h, rectified):
    lanes = V.lanes
    for unit in range(0, n_h, lanes):
        total = weight(V, weights, w)
        total = _one_sum(V, weights, w + lanes, arena, x, n_x, total)
        total = _one_sum(V, weights, w + lanes * (1 + n_x), arena, h, n_h, total)
        w += lanes * (1 + n_x + n_h)
        rnn_cell(V, arena, h_next + unit, total, rectified)
