"""One GRU layer, one reading, with the reset gate after the product (ONNX linear_before_reset = 1, as PyTorch has it).

    r, z = sigmoid(W x + b_W + R h + b_R)    n = tanh(W x + b_W + r (R h + b_R))    h' = n + z (h - n)

Sums as in `lstm.py`; the candidate has two, one over x and one over h. Packed
[block of units][b then r z n per input; b_R of n, then r z n per unit][lanes] (`assembly.py`).
"""

from __future__ import annotations

from edge_lstm.kernels.activations import forget_denormal, sigmoid, tanh
from edge_lstm.kernels.simd import broadcast, fma, kernel, load, store, weight


@kernel
def _three_sums(V, weights, w, arena, x, n, r, z, s):
    """Continue three sums over arena[x : x + n]."""
    lanes = V.lanes
    for k in range(n):
        value = broadcast(V, arena, x + k)
        r = fma(value, weight(V, weights, w), r)
        z = fma(value, weight(V, weights, w + lanes), z)
        s = fma(value, weight(V, weights, w + 2 * lanes), s)
        w += 3 * lanes
    return r, z, s


@kernel
def gru_cell(V, arena, h, h_next, r, z, from_x, from_h):
    """What follows from the four sums of V.lanes units."""
    candidate = tanh(V, fma(sigmoid(V, r), from_h, from_x))
    change = load(V, arena, h) - candidate
    store(V, arena, h_next, forget_denormal(V, fma(sigmoid(V, z), change, candidate)))


@kernel
def gru(V, weights, w, arena, x, h, h_next, n_x, n_h):
    lanes = V.lanes
    for unit in range(0, n_h, lanes):
        r = weight(V, weights, w)
        z = weight(V, weights, w + lanes)
        from_x = weight(V, weights, w + 2 * lanes)
        from_h = weight(V, weights, w + 3 * lanes)
        w += 4 * lanes
        r, z, from_x = _three_sums(V, weights, w, arena, x, n_x, r, z, from_x)
        w += 3 * lanes * n_x
        r, z, from_h = _three_sums(V, weights, w, arena, h, n_h, r, z, from_h)
        w += 3 * lanes * n_h
        gru_cell(V, arena, h + unit, h_next + unit, r, z, from_x, from_h)
