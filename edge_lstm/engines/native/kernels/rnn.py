"""One plain recurrent layer: h' = tanh(W x + R h + b), or relu in place of tanh.

Sums as in `lstm.py`, packed [block of units][b, then each input][lanes] (`../layout.py`).
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels.activations import forget_denormal, tanh
from edge_lstm.engines.native.kernels.cells import through
from edge_lstm.engines.native.kernels.simd import (
    all_finite,
    block_weights,
    broadcast,
    fill,
    fma,
    kernel,
    load,
    maximum,
    store,
    store_mended,
)


@kernel
def _one_sum(V, weights, w, apart, arena, x, n, total):
    """Continue one sum over arena[x : x + n]."""
    for k in range(n):
        total = fma(broadcast(V, arena, x + k), block_weights(V, weights, w + k * V.block, apart), total)
    return total


@kernel
def _begin(V, weights, w, arena, x, sums, between, n_x):
    bias = block_weights(V, weights, w, 0)
    store(V, arena, sums, _one_sum(V, weights, w + V.block, 0, arena, x, n_x, bias))


@kernel
def rnn_cell(V, arena, h_next, total, rectified):
    """What follows from the sum of V.lanes units: h'."""
    y = maximum(fill(V, 0.0), total) if rectified else tanh(V, total)
    store_mended(V, arena, h_next, y, forget_denormal(V, y))
    return y


@kernel
def _block(V, weights, w, apart, arena, places, between, sizes, count, rectified):
    x, h, _, _, h_next, _, sums = places
    n_x, n_h = sizes
    if between:
        total = load(V, arena, sums)
    else:
        total = block_weights(V, weights, w, apart)
        total = _one_sum(V, weights, w + V.block, apart, arena, x, n_x, total)
    total = _one_sum(V, weights, w + V.block * (1 + n_x), apart, arena, h, n_h, total)
    return all_finite(V, rnn_cell(V, arena, h_next, total, rectified), count)


@kernel
def rnn(kinds, weights, w, span, places, sizes, rectified):
    """As `through`."""
    size = kinds[0].lanes * (1 + sizes[0] + sizes[1])
    return through(_begin, _block, kinds, weights, w, size, span, places, sizes, rectified)
