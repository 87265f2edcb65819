"""One LSTM layer.

    i, f, o = sigmoid(W x + R h + b)    g = tanh(W x + R h + b)    c' = f c + i g    h' = o tanh(c')

A weighted sum starts from its bias and adds one product at a time with FMA, first over x, then over h. Lanes hold
different units. The four sums of V.lanes units stay in registers from the first product to h', and their weights are
one contiguous pass, packed [block of units][b, then each input][i f g o][lanes] (`../layout.py`). `cells.py` takes the
blocks in turn.
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels.activations import forget_denormal, sigmoid, tanh
from edge_lstm.engines.native.kernels.cells import four_biases, leave_four, left_four, through
from edge_lstm.engines.native.kernels.simd import (
    all_finite,
    block_places,
    block_weights,
    broadcast,
    fma,
    four_values,
    kernel,
    load,
    per_float,
    store,
    store_mended,
    weight,
    weights_of_four,
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
    by_four = n & ~3 if V.by_four else 0
    at = block_places(V, weights, w, apart)
    for _ in range(by_four >> 2):
        x0, x1, x2, x3 = four_values(V, arena, x)
        (i0, f0, g0, o0, i1, f1, g1, o1, i2, f2, g2, o2, i3, f3, g3, o3), at = weights_of_four(V, at)
        i, f, g, o = fma(x0, i0, i), fma(x0, f0, f), fma(x0, g0, g), fma(x0, o0, o)
        i, f, g, o = fma(x1, i1, i), fma(x1, f1, f), fma(x1, g1, g), fma(x1, o1, o)
        i, f, g, o = fma(x2, i2, i), fma(x2, f2, f), fma(x2, g2, g), fma(x2, o2, o)
        i, f, g, o = fma(x3, i3, i), fma(x3, f3, f), fma(x3, g3, g), fma(x3, o3, o)
        x += 4
    w += 4 * V.block * by_four
    for k in range(n - by_four):
        value = broadcast(V, arena, x + k)
        to_i, to_f, to_g, to_o = _four(V, weights, w, apart)
        i, f, g, o = fma(value, to_i, i), fma(value, to_f, f), fma(value, to_g, g), fma(value, to_o, o)
        w += 4 * V.block
    return i, f, g, o


@kernel
def _begun(V, weights, w, apart, arena, x, n_x):
    i, f, g, o = four_biases(V, weights, w, apart)
    w += 4 * V.block * per_float(weights)
    return _four_sums(V, weights, w, apart, arena, x, n_x, i, f, g, o)


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
def _ended(V, weights, w, apart, arena, h, sizes, totals):
    n_x, n_h = sizes
    i, f, g, o = totals
    w += 4 * V.block * (per_float(weights) + n_x)
    return _four_sums(V, weights, w, apart, arena, h, n_h, i, f, g, o)


@kernel
def _four_sums_of_three(G, V, weights, w, pair, third, x, n, two, one):
    """As `_four_sums`, for two arenas and a third one: twelve sums, and four registers for what they are made of."""
    i, f, g, o = two
    i3, f3, g3, o3 = one
    lanes = V.block
    for k in range(n):
        values, value = broadcast(G, pair, x + k), broadcast(V, third, x + k)
        i, i3 = fma(values, weight(G, weights, w), i), fma(value, weight(V, weights, w), i3)
        f, f3 = fma(values, weight(G, weights, w + lanes), f), fma(value, weight(V, weights, w + lanes), f3)
        g, g3 = fma(values, weight(G, weights, w + 2 * lanes), g), fma(value, weight(V, weights, w + 2 * lanes), g3)
        o, o3 = fma(values, weight(G, weights, w + 3 * lanes), o), fma(value, weight(V, weights, w + 3 * lanes), o3)
        w += 4 * lanes
    return (i, f, g, o), (i3, f3, g3, o3)


@kernel
def _of_three(G, V, weights, w, pair, third, x, h, sizes):
    two, one = four_biases(G, weights, w, 0), four_biases(V, weights, w, 0)
    w += 4 * V.block * per_float(weights)
    two, one = _four_sums_of_three(G, V, weights, w, pair, third, x, sizes[0], two, one)
    return _four_sums_of_three(G, V, weights, w + 4 * V.block * sizes[0], pair, third, h, sizes[1], two, one)


@kernel
def _cell(V, arena, places, totals, count, function):
    _, _, c, _, h_next, c_next, _ = places
    i, f, g, o = totals
    memory, y = lstm_cell(V, arena, c, h_next, c_next, i, f, g, o)
    return all_finite(V, memory, count) and all_finite(V, y, count)


@kernel
def lstm(kinds, weights, w, span, places, sizes):
    """As `through`."""
    size = 4 * kinds[0].lanes * (per_float(weights) + sizes[0] + sizes[1])
    layer = (weights, w, size, 0)
    return through(_begun, _ended, _of_three, leave_four, left_four, _cell, kinds, layer, span, places, sizes)
