"""One LSTM layer, one reading.

    i, f, o = sigmoid(W x + R h + b)    g = tanh(W x + R h + b)    c' = f c + i g    h' = o tanh(c')

A weighted sum starts from its bias and adds one product at a time with FMA, first over x, then over h. Lanes hold
different units. The four sums of V.lanes units stay in registers from the first product to h', and their weights are
one contiguous pass, packed [block of units][b, then each input][i f g o][lanes] (`assembly.py`).
"""

from __future__ import annotations

from edge_lstm.kernels.activations import forget_denormal, sigmoid, tanh
from edge_lstm.kernels.simd import broadcast, fma, kernel, load, store, weight


@kernel
def _four_sums(V, weights, w, arena, x, n, i, f, g, o):
    """Continue four sums over arena[x : x + n]."""
    lanes = V.lanes
    for k in range(n):
        value = broadcast(V, arena, x + k)
        i = fma(value, weight(V, weights, w), i)
        f = fma(value, weight(V, weights, w + lanes), f)
        g = fma(value, weight(V, weights, w + 2 * lanes), g)
        o = fma(value, weight(V, weights, w + 3 * lanes), o)
        w += 4 * lanes
    return i, f, g, o


@kernel
def lstm_cell(V, arena, c, h_next, c_next, i, f, g, o):
    """What follows from the four sums of V.lanes units."""
    kept = sigmoid(V, f) * load(V, arena, c)
    memory = forget_denormal(V, fma(sigmoid(V, i), tanh(V, g), kept))
    store(V, arena, c_next, memory)
    store(V, arena, h_next, forget_denormal(V, sigmoid(V, o) * tanh(V, memory)))


@kernel
def lstm(V, weights, w, arena, x, h, c, h_next, c_next, n_x, n_h):
    lanes = V.lanes
    for unit in range(0, n_h, lanes):
        i = weight(V, weights, w)
        f = weight(V, weights, w + lanes)
        g = weight(V, weights, w + 2 * lanes)
        o = weight(V, weights, w + 3 * lanes)
        w += 4 * lanes
        i, f, g, o = _four_sums(V, weights, w, arena, x, n_x, i, f, g, o)
        w += 4 * lanes * n_x
        i, f, g, o = _four_sums(V, weights, w, arena, h, n_h, i, f, g, o)
        w += 4 * lanes * n_h
        lstm_cell(V, arena, c + unit, h_next + unit, c_next + unit, i, f, g, o)
