"""A dense layer: y = W x + b.

A head has few outputs and many inputs, so one sum per output would wait for itself. The definition has four: sum j
takes the inputs j, j + 4, j + 8, ... (the first starts from the bias), and the result is (s0 + s1) + (s2 + s3). Packed
[block of outputs][b, then each input][lanes] (`../layout.py`).
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels.simd import (
    block_biases,
    broadcast,
    fill,
    fma,
    kernel,
    per_float,
    store,
    store_first,
    weight,
)


@kernel
def dense(V, weights, w, arena, x, y, n_x, n_y, rows):
    """The same for each of `rows` rows of n_x values."""
    for row in range(rows):
        _dense_row(V, weights, w, arena, x + row * n_x, y + row * n_y, n_x, n_y, rows > 1)


@kernel
def _dense_row(V, weights, w, arena, x, y, n_x, n_y, exactly):
    lanes = V.lanes
    whole = n_x & ~3
    for unit in range(0, n_y, lanes):
        s0 = block_biases(V, weights, w, 0)
        s1 = s2 = s3 = fill(V, 0.0)
        w += lanes * per_float(weights)
        for k in range(0, whole, 4):
            s0 = fma(broadcast(V, arena, x + k), weight(V, weights, w), s0)
            s1 = fma(broadcast(V, arena, x + k + 1), weight(V, weights, w + lanes), s1)
            s2 = fma(broadcast(V, arena, x + k + 2), weight(V, weights, w + 2 * lanes), s2)
            s3 = fma(broadcast(V, arena, x + k + 3), weight(V, weights, w + 3 * lanes), s3)
            w += 4 * lanes
        for k in range(whole, n_x):
            value, column = broadcast(V, arena, x + k), weight(V, weights, w)
            if k == whole:
                s0 = fma(value, column, s0)
            elif k == whole + 1:
                s1 = fma(value, column, s1)
            else:
                s2 = fma(value, column, s2)
            w += lanes
        total = (s0 + s1) + (s2 + s3)
        if exactly and n_y - unit < lanes:  # what lies behind is another row, or not ours
            store_first(V, arena, y + unit, total, n_y - unit)
        else:
            store(V, arena, y + unit, total)
