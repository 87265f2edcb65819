"""One plain recurrent layer: h' = tanh(W x + R h + b), or relu in place of tanh.

Sums as in `lstm.py`, packed [block of units][b, then each input][lanes] (`../layout.py`).
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels.activations import forget_denormal, tanh
from edge_lstm.engines.native.kernels.cells import through
from edge_lstm.engines.native.kernels.simd import (
    all_finite,
    block_biases,
    block_weights,
    broadcast,
    fill,
    fma,
    kernel,
    load,
    maximum,
    per_float,
    store,
    store_mended,
    weight,
)


@kernel
def _one_sum_of_three(G, V, weights, w, pair, third, x, n, two, one):
    """As `_one_sum`, for two arenas and a third one."""
    for k in range(n):
        values, value = broadcast(G, pair, x + k), broadcast(V, third, x + k)
        two, one = fma(values, weight(G, weights, w), two), fma(value, weight(V, weights, w), one)
        w += V.block
    return two, one


@kernel
def _of_three(G, V, weights, w, pair, third, x, h, sizes):
    two, one = block_biases(G, weights, w, 0), block_biases(V, weights, w, 0)
    w += V.block * per_float(weights)
    two, one = _one_sum_of_three(G, V, weights, w, pair, third, x, sizes[0], two, one)
    return _one_sum_of_three(G, V, weights, w + V.block * sizes[0], pair, third, h, sizes[1], two, one)


@kernel
def _one_sum(V, weights, w, apart, arena, x, n, total):
    """Continue one sum over arena[x : x + n]."""
    for k in range(n):
        total = fma(broadcast(V, arena, x + k), block_weights(V, weights, w + k * V.block, apart), total)
    return total


@kernel
def _leave(V, arena, at, between, total):
    store(V, arena, at, total)


@kernel
def _left(V, arena, at, between):
    return load(V, arena, at)


@kernel
def _begun(V, weights, w, apart, arena, x, n_x):
    bias = block_biases(V, weights, w, apart)
    return _one_sum(V, weights, w + V.block * per_float(weights), apart, arena, x, n_x, bias)


@kernel
def rnn_cell(V, arena, h_next, total, rectified):
    """What follows from the sum of V.lanes units: h'."""
    y = maximum(fill(V, 0.0), total) if rectified else tanh(V, total)
    store_mended(V, arena, h_next, y, forget_denormal(V, y))
    return y


@kernel
def _ended(V, weights, w, apart, arena, h, sizes, total):
    n_x, n_h = sizes
    return _one_sum(V, weights, w + V.block * (per_float(weights) + n_x), apart, arena, h, n_h, total)


@kernel
def _cell(V, arena, places, total, count, rectified):
    return all_finite(V, rnn_cell(V, arena, places[4], total, rectified), count)


@kernel
def rnn(kinds, weights, w, span, places, sizes, rectified):
    """As `through`."""
    size = kinds[0].lanes * (per_float(weights) + sizes[0] + sizes[1])
    layer = (weights, w, size, rectified)
    return through(_begun, _ended, _of_three, _leave, _left, _cell, kinds, layer, span, places, sizes)
