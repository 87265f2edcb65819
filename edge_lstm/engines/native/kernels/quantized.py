"""Recurrent and dense layers with int8 weights: the cells of `lstm.py`, `gru.py`, `rnn.py` over other sums.

    pre = b    pre = fma(float(sum of W x), W_scale * unit, pre)    pre = fma(float(sum of R h), R_scale * unit, pre)

In the schemes int8, int16 and int8-dynamic the values x, h have become integers before (`_quantize`), and the sums are
exact ones. Before the integers stands their unit: 1, or in int8-dynamic what one of them is worth in this step; there,
what x leaves becomes a second set of integers, with a unit and a sum of their own over the same weights. In
int8-weights values are float32, and a sum adds one product at a time with FMA, from zero, in order. The gates, the
memory and what comes out are float32 in every scheme. One copy of the arena at a time.

Steps go through the blocks of units there and back again by turns: what was read last, and is still in the nearest
cache, is read first. With 128 units that is more than half of the weights, and a quarter of the time.

Packed [block of units][biases of all gates], then for x and for h [scales][starts, int8 only][weights], each
[gates][lanes], the weights [group of inputs][gates][lanes][inputs of the group] (`integers.py`, `packing.py`).
"""

from __future__ import annotations

from edge_lstm.core.operations.functions import FINER, LEAST
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
    absolute,
    all_finite,
    broadcast,
    fill,
    kernel,
    lane,
    largest_lane,
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
def _within(V, value, most):
    return maximum(minimum(value, fill(V, most)), fill(V, -most))


@kernel
def _quantize(V, V1, S, weights, w, arena, x, y, n, most, dynamic, finer):
    """arena[y] = unit, and behind it clamp(rint(x * inverse * per_unit), -most, most) as integers; whether every x is
    finite. dynamic: the unit follows the largest |x * inverse|, where no inverse is above 1.
    finer: where it is not zero, arena[y + finer] = unit / FINER and the integers of what the first ones leave."""
    per_unit, unit = fill(V, 1.0), fill(V, 1.0)
    if dynamic:
        largest = fill(V, LEAST)
        for k in range(0, n, V.lanes):
            value = first(V, load(V, arena, x + k), n - k) * weight(V, weights, w + k)
            if not all_finite(V, value, n - k):
                return False
            largest = maximum(largest, absolute(value))
        largest = largest_lane(V, largest)
        per_unit, unit = fill(V, most) / largest, largest / fill(V, most)
    store(V1, arena, y, lane(V, V1, unit, 0))
    if finer:
        store(V1, arena, y + finer, lane(V, V1, unit * fill(V, 1 / FINER), 0))
    for k in range(0, n, V.lanes):
        value = first(V, load(V, arena, x + k), n - k)
        if not all_finite(V, value, n - k):
            return False
        value = value * weight(V, weights, w + k) * per_unit
        nearest = to_nearest(value)
        keep_integers(V, S, arena, y + S.units, k, _within(V, nearest, most))
        if finer:
            left = to_nearest((value - nearest) * fill(V, FINER))
            keep_integers(V, S, arena, y + finer + S.units, k, _within(V, left, most))
    return True


@kernel
def _sum(V, S, weights, w, arena, x, n, bases):
    """bases + scales * sums over the n values at arena[x], and where their weights end."""
    count, step = len(bases), passes(S, bases)
    totals = begin(V, S, weights, w + count * V.lanes, bases)
    unit = broadcast(V, arena, x) if S.units else fill(V, 1.0)
    x += S.units
    at = w + S.heads * count * V.lanes
    for _ in range(-(-n // (step * S.group))):
        totals = products(V, S, totals, bases, weights, at, arena, x)
        at += step * count * width(V, S)
        x += step
    return finish(V, S, totals, weights, w, unit, bases), at


@kernel
def _sums(V, S, weights, w, arena, x, n, finer, bases):
    """As `_sum`, and over finer integers where there are any."""
    bases, at = _sum(V, S, weights, w, arena, x, n, bases)
    if finer:
        bases, at = _sum(V, S, weights, w, arena, x + finer, n, bases)
    return bases, at


@kernel
def _size(V, S, n, like):
    """float32 that the weights of one block's sums over n values take."""
    count, step = len(like), passes(S, like)
    return S.heads * count * V.lanes + -(-n // (step * S.group)) * step * count * width(V, S)


@kernel
def _block(number, blocks, turn):
    return blocks - 1 - number if turn else number


@kernel
def _lstm(V, S, weights, w, arena, x, h, c, h_next, c_next, n_x, n_h, finer, turn):
    four, blocks = (0, 0, 0, 0), -(-n_h // V.lanes)
    size = 4 * V.lanes + _size(V, S, n_x, four) + _size(V, S, n_h, four)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        sums = biases(V, weights, at, four)
        sums, at = _sums(V, S, weights, at + 4 * V.lanes, arena, x, n_x, finer, sums)
        sums, at = _sum(V, S, weights, at, arena, h, n_h, sums)
        lstm_cell(V, arena, c + unit, h_next + unit, c_next + unit, *sums)


@kernel
def _gru(V, S, weights, w, arena, x, hq, h, h_next, n_x, n_h, finer, turn):
    three, blocks = (0, 0, 0), -(-n_h // V.lanes)
    size = 4 * V.lanes + _size(V, S, n_x, three) + _size(V, S, n_h, three)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        r, z, from_x, from_h = biases(V, weights, at, (0, 0, 0, 0))
        (r, z, from_x), at = _sums(V, S, weights, at + 4 * V.lanes, arena, x, n_x, finer, (r, z, from_x))
        (r, z, from_h), at = _sum(V, S, weights, at, arena, hq, n_h, (r, z, from_h))
        gru_cell(V, arena, h + unit, h_next + unit, r, z, from_x, from_h)


@kernel
def _rnn(V, S, weights, w, arena, x, h, h_next, n_x, n_h, rectified, finer, turn):
    one, blocks = (0,), -(-n_h // V.lanes)
    size = V.lanes + _size(V, S, n_x, one) + _size(V, S, n_h, one)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        sums = biases(V, weights, at, one)
        sums, at = _sums(V, S, weights, at + V.lanes, arena, x, n_x, finer, sums)
        sums, at = _sum(V, S, weights, at, arena, h, n_h, sums)
        rnn_cell(V, arena, h_next + unit, sums[0], rectified)


@kernel
def _dense(V, V1, S, weights, w, arena, x, y, n_x, n_y, exactly, finer, turn):
    one, blocks = (0,), -(-n_y // V.lanes)
    size = V.lanes + _size(V, S, n_x, one)
    for number in range(blocks):
        block = _block(number, blocks, turn)
        at, unit = w + block * size, block * V.lanes
        bias = biases(V, weights, at, one)
        (total,), at = _sums(V, S, weights, at + V.lanes, arena, x, n_x, finer, bias)
        if exactly and n_y - unit < V.lanes:  # what lies behind is another row, or not ours
            for k in range(n_y - unit):
                store(V1, arena, y + unit + k, lane(V, V1, total, k))
        else:
            store(V, arena, y + unit, total)


@kernel
def _execute(V, V1, S, table, row, kind, weights, arena, turn):
    w, n, m = read(table, row + abi.W), read(table, row + abi.N), read(table, row + abi.M)
    a, b, c = read(table, row + abi.A), read(table, row + abi.B), read(table, row + abi.C)
    y, z, finer = read(table, row + abi.Y), read(table, row + abi.Z), read(table, row + abi.SUMS)
    if kind == abi.QUANTIZE:
        dynamic = read(table, row + abi.F) == abi.INT8_DYNAMIC
        for k in range(m):
            if not _quantize(V, V1, S, weights, w, arena, a + k * n, y + k * c, n, b, dynamic, finer):
                return BAD_STATE
    elif kind == abi.QUANTIZED_LSTM:
        _lstm(V, S, weights, w, arena, a, b, c, y, z, n, m, finer, turn)
    elif kind == abi.QUANTIZED_GRU:
        _gru(V, S, weights, w, arena, a, b, c, y, n, m, finer, turn)
    elif kind == abi.QUANTIZED_RNN:
        _rnn(V, S, weights, w, arena, a, b, y, n, m, z, finer, turn)
    else:
        for k in range(z):
            _dense(V, V1, S, weights, w, arena, a + k * c, y + k * m, n, m, z > 1, finer, (turn + k) & 1)
    return OK


@kernel
def execute(V, V1, Q, table, row, kind, weights, arena, turn):
    """An instruction of a quantized layer; the status. turn: 0 and 1 by turns."""
    scheme = read(table, row + abi.F)
    if scheme == abi.INT8 or scheme == abi.INT8_DYNAMIC:
        return _execute(V, V1, Q.int8, table, row, kind, weights, arena, turn)
    if scheme == abi.INT16:
        return _execute(V, V1, Q.int16, table, row, kind, weights, arena, turn)
    return _execute(V, V1, Q.weights, table, row, kind, weights, arena, turn)
