"""One GRU layer, with the reset gate after the product (ONNX linear_before_reset = 1, as PyTorch has it).

    r, z = sigmoid(W x + b_W + R h + b_R)    n = tanh(W x + b_W + r (R h + b_R))    h' = n + z (h - n)

Sums as in `lstm.py`; the candidate has two, one over x and one over h. Packed
[block of units][b then r z n per input; b_R of n, then r z n per unit][lanes] (`../layout.py`).
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
    store_mended,
    weight,
    weights_of_three,
)


@kernel
def _three(V, weights, w, apart):
    lanes = V.block
    r, z = block_weights(V, weights, w, apart), block_weights(V, weights, w + lanes, apart)
    return r, z, block_weights(V, weights, w + 2 * lanes, apart)


@kernel
def _three_sums(V, weights, w, apart, arena, x, n, r, z, s):
    """Continue three sums over arena[x : x + n]."""
    by_four = n & ~3 if V.by_four else 0
    at = block_places(V, weights, w, apart)
    for _ in range(by_four >> 2):
        x0, x1, x2, x3 = four_values(V, arena, x)
        (r0, z0, s0, r1, z1, s1, r2, z2, s2, r3, z3, s3), at = weights_of_three(V, at)
        r, z, s = fma(x0, r0, r), fma(x0, z0, z), fma(x0, s0, s)
        r, z, s = fma(x1, r1, r), fma(x1, z1, z), fma(x1, s1, s)
        r, z, s = fma(x2, r2, r), fma(x2, z2, z), fma(x2, s2, s)
        r, z, s = fma(x3, r3, r), fma(x3, z3, z), fma(x3, s3, s)
        x += 4
    w += 3 * V.block * by_four
    for k in range(n - by_four):
        value = broadcast(V, arena, x + k)
        to_r, to_z, to_s = _three(V, weights, w, apart)
        r, z, s = fma(value, to_r, r), fma(value, to_z, z), fma(value, to_s, s)
        w += 3 * V.block
    return r, z, s


@kernel
def _begun(V, weights, w, apart, arena, x, n_x):
    r, z, from_x, from_h = four_biases(V, weights, w, apart)
    w += 4 * V.block * per_float(weights)
    r, z, from_x = _three_sums(V, weights, w, apart, arena, x, n_x, r, z, from_x)
    return r, z, from_x, from_h


@kernel
def gru_cell(V, arena, h, h_next, r, z, from_x, from_h):
    """What follows from the four sums of V.lanes units: h'."""
    candidate = tanh(V, fma(sigmoid(V, r), from_h, from_x))
    change = load(V, arena, h) - candidate
    y = fma(sigmoid(V, z), change, candidate)
    store_mended(V, arena, h_next, y, forget_denormal(V, y))
    return y


@kernel
def _ended(V, weights, w, apart, arena, h, sizes, totals):
    n_x, n_h = sizes
    r, z, from_x, from_h = totals
    w += V.block * (4 * per_float(weights) + 3 * n_x)
    r, z, from_h = _three_sums(V, weights, w, apart, arena, h, n_h, r, z, from_h)
    return r, z, from_x, from_h


@kernel
def _three_sums_of_three(G, V, weights, w, pair, third, x, n, two, one):
    """As `_three_sums`, for two arenas and a third one."""
    r, z, s = two
    r3, z3, s3 = one
    lanes = V.block
    for k in range(n):
        values, value = broadcast(G, pair, x + k), broadcast(V, third, x + k)
        r, r3 = fma(values, weight(G, weights, w), r), fma(value, weight(V, weights, w), r3)
        z, z3 = fma(values, weight(G, weights, w + lanes), z), fma(value, weight(V, weights, w + lanes), z3)
        s, s3 = fma(values, weight(G, weights, w + 2 * lanes), s), fma(value, weight(V, weights, w + 2 * lanes), s3)
        w += 3 * lanes
    return (r, z, s), (r3, z3, s3)


@kernel
def _of_three(G, V, weights, w, pair, third, x, h, sizes):
    r, z, from_x, from_h = four_biases(G, weights, w, 0)
    r3, z3, from_x3, from_h3 = four_biases(V, weights, w, 0)
    w += 4 * V.block * per_float(weights)
    two, one = (r, z, from_x), (r3, z3, from_x3)
    (r, z, from_x), (r3, z3, from_x3) = _three_sums_of_three(G, V, weights, w, pair, third, x, sizes[0], two, one)
    w += 3 * V.block * sizes[0]
    two, one = (r, z, from_h), (r3, z3, from_h3)
    (r, z, from_h), (r3, z3, from_h3) = _three_sums_of_three(G, V, weights, w, pair, third, h, sizes[1], two, one)
    return (r, z, from_x, from_h), (r3, z3, from_x3, from_h3)


@kernel
def _cell(V, arena, places, totals, count, function):
    _, _, _, own_h, h_next, _, _ = places
    r, z, from_x, from_h = totals
    return all_finite(V, gru_cell(V, arena, own_h, h_next, r, z, from_x, from_h), count)


@kernel
def gru(kinds, weights, w, span, places, sizes):
    """As `through`."""
    size = kinds[0].lanes * (4 * per_float(weights) + 3 * (sizes[0] + sizes[1]))
    layer = (weights, w, size, 0)
    return through(_begun, _ended, _of_three, leave_four, left_four, _cell, kinds, layer, span, places, sizes)
