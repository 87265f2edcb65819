"""One LSTM layer.

    i, f, o = sigmoid(W x + R h + b)    g = tanh(W x + R h + b)    c' = f c + i g    h' = o tanh(c')

A weighted sum starts from its bias and adds one product at a time with FMA, first over x, then over h. Lanes hold
different units. The four sums of V.lanes units stay in registers from the first product to h', and their weights are
one contiguous pass, packed [block of units][b, then each input][i f g o][lanes] (`../layout.py`). `cells.py` takes the
blocks in turn.
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels.activations import forget_denormal, sigmoid, tanh
from edge_lstm.engines.native.kernels.cells import through
from edge_lstm.engines.native.kernels.simd import (
    all_finite,
    block_weights,
    broadcast,
    fma,
    kernel,
    load,
    store,
    store_mended,
)


@kernel
def _four(V, weights, w, apart):
    lanes = V.block
    return (
        block_weights(V, weights, w, apart),
        block_weights(V, weights, w + lanes, apart),
        block_weights(V, weights, w + 2 * lanes, apart),
        block_weights(V, weights, w + 3 * lanes, apart),
    )


@kernel
def _four_sums(V, weights, w, apart, arena, x, n, i, f, g, o):
    """Continue four sums over arena[x : x + n]."""
    for k in range(n):
        value = broadcast(V, arena, x + k)
        to_i, to_f, to_g, to_o = _four(V, weights, w, apart)
        i, f, g, o = fma(value, to_i, i), fma(value, to_f, f), fma(value, to_g, g), fma(value, to_o, o)
        w += 4 * V.block
    return i, f, g, o


@kernel
def _begin(V, weights, w, arena, x, sums, between, n_x):
    i, f, g, o = _four(V, weights, w, 0)
    i, f, g, o = _four_sums(V, weights, w + 4 * V.block, 0, arena, x, n_x, i, f, g, o)
    store(V, arena, sums, i)
    store(V, arena, sums + between, f)
    store(V, arena, sums + 2 * between, g)
    store(V, arena, sums + 3 * between, o)


@kernel
def lstm_cell(V, arena, c, h_next, c_next, i, f, g, o):
    """What follows from the four sums of V.lanes units: c' (before it is forgotten) and h'."""
    memory = fma(sigmoid(V, i), tanh(V, g), sigmoid(V, f) * load(V, arena, c))
    # What is forgotten is so small that o tanh(c') is forgotten too: h' need not wait for that.
    y = sigmoid(V, o) * tanh(V, memory)
    store_mended(V, arena, h_next, y, forget_denormal(V, y))
    store(V, arena, c_next, forget_denormal(V, memory))
    return memory, y


@kernel
def _block(V, weights, w, apart, arena, places, between, sizes, count, function):
    x, h, c, _, h_next, c_next, sums = places
    n_x, n_h = sizes
    if between:
        i, f = load(V, arena, sums), load(V, arena, sums + between)
        g, o = load(V, arena, sums + 2 * between), load(V, arena, sums + 3 * between)
    else:
        i, f, g, o = _four(V, weights, w, apart)
        i, f, g, o = _four_sums(V, weights, w + 4 * V.block, apart, arena, x, n_x, i, f, g, o)
    i, f, g, o = _four_sums(V, weights, w + 4 * V.block * (1 + n_x), apart, arena, h, n_h, i, f, g, o)
    memory, y = lstm_cell(V, arena, c, h_next, c_next, i, f, g, o)
    return all_finite(V, memory, count) and all_finite(V, y, count)


@kernel
def lstm(kinds, weights, w, span, places, sizes):
    """As `through`."""
    size = 4 * kinds[0].lanes * (1 + sizes[0] + sizes[1])
    return through(_begin, _block, kinds, weights, w, size, span, places, sizes, 0)
