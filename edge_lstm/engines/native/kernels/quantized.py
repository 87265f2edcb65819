"""Recurrent and dense layers with int8 weights: the cells of `lstm.py`, `gru.py`, `rnn.py` over other sums.

    pre = b    pre = fma(float(sum of W x), W_scale, pre)    pre = fma(float(sum of R h), R_scale, pre)

In the schemes int8 and int16 the values x, h have become integers before (`quantize`), and the sums are exact ones; in
int8-weights they are float32, and a sum adds one product at a time with FMA, from zero, in order. The gates, the memory
and what comes out are float32 in every scheme. One copy of the arena at a time.

Steps go through the blocks of units there and back again by turns: what was read last, and is still in the nearest
cache, is read first. With 128 units that is more than half of the weights, and a quarter of the time.

Packed [block of units][biases of all gates], then for x and for h [scales][starts, int8 only][weights], each
[gates][lanes], the weights [group of inputs][gates][lanes][inputs of the group] (`integers.py`, `packing.py`).
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.kernels.gru import gru_cell
from edge_lstm.engines.native.kernels.integers import (
    begin,
    biases,
    finish,
    first,
    keep_integers,
    passes,
    products,
    width,
)
from edge_lstm.engines.native.kernels.lstm import lstm_cell
from edge_lstm.engines.native.kernels.rnn import rnn_cell
from edge_lstm.engines.native.kernels.simd import (
    all_finite,
    fill,
    kernel,
    lane,
    load,
    maximum,
    minimum,
    read,
    store,
    to_nearest,
    weight,
)
from edge_lstm.engines.status import BAD_STATE, OK


@kernel
def _quantize(V, S, weights, w, arena, x, y, n, most):
    """arena[y] = clamp(rint(x * inverse), -most, most) as integers; whether every x is finite."""
    for k in range(0, n, V.lanes):
        value = first(V, load(V, arena, x + k), n - k)
        if not all_finite(V, value, n - k):
            return False
        value = minimum(to_nearest(value * weight(V, weights, w + k)), fill(V, most))
        keep_integers(V, S, arena, y, k, maximum(value, fill(V, -most)))
    return True


@kernel
def _sum(V, S, weights, w, arena, x, n, bases):
    """bases + scales * sums over the n values at arena[x], and where their weights end."""
    count, step = len(bases), passes(S, bases)
    totals = begin(V, S, weights, w + count * V.lanes, bases)
    at = w + S.heads * count * V.lanes
    for _ in range(-(-n // (step * S.group))):
        totals = products(V, S, totals, bases, weights, at, arena, x)
        at += step * count * width(V, S)
        x += step
    return finish(V, S, totals, weights, w, bases), at


@kernel
def _size(V, S, n, like):
    """float32 that the weights of one block's sums over n values take."""
    count, step = len(like), passes(S, like)
    return S.heads * count * V.lanes + -(-n // (step * S.group)) * step * count * width(V, S)


@kernel
def _block(number, blocks, turn):
    return blocks - 1 - number if turn else number


@kernel
def _lstm(V, S, weights, w, arena, x, h, c, h_next, c_next, n_x, n_h, turn):
    four, blocks = (0, 0, 0, 0), -(-n_h // V.lanes)
    size = 4 * V.lanes + _size(V, S, n_x, four) + _size(V, S, n_h, four)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        sums = biases(V, weights, at, four)
        sums, at = _sum(V, S, weights, at + 4 * V.lanes, arena, x, n_x, sums)
        sums, at = _sum(V, S, weights, at, arena, h, n_h, sums)
        lstm_cell(V, arena, c + unit, h_next + unit, c_next + unit, *sums)


@kernel
def _gru(V, S, weights, w, arena, x, hq, h, h_next, n_x, n_h, turn):
    three, blocks = (0, 0, 0), -(-n_h // V.lanes)
    size = 4 * V.lanes + _size(V, S, n_x, three) + _size(V, S, n_h, three)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        r, z, from_x, from_h = biases(V, weights, at, (0, 0, 0, 0))
        (r, z, from_x), at = _sum(V, S, weights, at + 4 * V.lanes, arena, x, n_x, (r, z, from_x))
        (r, z, from_h), at = _sum(V, S, weights, at, arena, hq, n_h, (r, z, from_h))
        gru_cell(V, arena, h + unit, h_next + unit, r, z, from_x, from_h)


@kernel
def _rnn(V, S, weights, w, arena, x, h, h_next, n_x, n_h, rectified, turn):
    one, blocks = (0,), -(-n_h // V.lanes)
    size = V.lanes + _size(V, S, n_x, one) + _size(V, S, n_h, one)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        sums = biases(V, weights, at, one)
        sums, at = _sum(V, S, weights, at + V.lanes, arena, x, n_x, sums)
        sums, at = _sum(V, S, weights, at, arena, h, n_h, sums)
        rnn_cell(V, arena, h_next + unit, sums[0], rectified)


@kernel
def _dense(V, V1, S, weights, w, arena, x, y, n_x, n_y, exactly, turn):
    one, blocks = (0,), -(-n_y // V.lanes)
    size = V.lanes + _size(V, S, n_x, one)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        (total,), at = _sum(V, S, weights, at + V.lanes, arena, x, n_x, biases(V, weights, at, one))
        if exactly and n_y - unit < V.lanes:  # what lies behind is another row, or not ours
            for k in range(n_y - unit):
                store(V1, arena, y + unit + k, lane(V, V1, total, k))
        else:
            store(V, arena, y + unit, total)


@kernel
def _execute(V, V1, S, table, row, kind, weights, arena, turn):
    w, n, m = read(table, row + abi.W), read(table, row + abi.N), read(table, row + abi.M)
    a, b, c = read(table, row + abi.A), read(table, row + abi.B), read(table, row + abi.C)
    y, z = read(table, row + abi.Y), read(table, row + abi.Z)
    if kind == abi.QUANTIZE:
        for k in range(m):
            if not _quantize(V, S, weights, w, arena, a + k * n, y + k * c, n, b):
                return BAD_STATE
    elif kind == abi.QUANTIZED_LSTM:
        _lstm(V, S, weights, w, arena, a, b, c, y, z, n, m, turn)
    elif kind == abi.QUANTIZED_GRU:
        _gru(V, S, weights, w, arena, a, b, c, y, n, m, turn)
    elif kind == abi.QUANTIZED_RNN:
        _rnn(V, S, weights, w, arena, a, b, y, n, m, z, turn)
    else:
        for k in range(z):
            _dense(V, V1, S, weights, w, arena, a + k * c, y + k * m, n, m, z > 1, (turn + k) & 1)
    return OK


@kernel
def execute(V, V1, Q, table, row, kind, weights, arena, turn):
    """An instruction of a quantized layer; the status. turn: 0 and 1 by turns."""
    scheme = read(table, row + abi.F)
    if scheme == abi.INT8:
        return _execute(V, V1, Q.int8, table, row, kind, weights, arena, turn)
    if scheme == abi.INT16:
        return _execute(V, V1, Q.int16, table, row, kind, weights, arena, turn)
    return _execute(V, V1, Q.weights, table, row, kind, weights, arena, turn)
