"""Operations element by element, and data movement: map, binary, take, and what a step copies in and out."""

from __future__ import annotations

import math

from edge_lstm.engines.native.kernels.abi import BINARY_CODES
from edge_lstm.engines.native.kernels.activations import apply
from edge_lstm.engines.native.kernels.simd import (
    all_finite,
    broadcast,
    equal,
    fill,
    floats,
    kernel,
    larger,
    less,
    load,
    load_first,
    read,
    select,
    smaller,
    store,
    store_first,
    write,
)

_ADD, _SUB, _MUL, _DIV = (BINARY_CODES[name] for name in ("add", "sub", "mul", "div"))
_MIN, _MAX, _LESS, _LESS_OR_EQUAL = (BINARY_CODES[name] for name in ("min", "max", "less", "less_or_equal"))
_EQUAL, _AND = BINARY_CODES["equal"], BINARY_CODES["and"]


@kernel
def map_values(V, weights, w, arena, x, y, n, function):
    """arena[y : y + n] = function(arena[x : x + n]); alpha and beta at weights[w], weights[w + 1]."""
    alpha, beta = broadcast(V, weights, w), broadcast(V, weights, w + 1)
    for k in range(0, n, V.lanes):
        store(V, arena, y + k, apply(V, function, load(V, arena, x + k), alpha, beta))


@kernel
def _combine(V, function, a, b):
    zero, one = fill(V, 0.0), fill(V, 1.0)
    if function == _ADD:
        return a + b
    if function == _SUB:
        return a - b
    if function == _MUL:
        return a * b
    if function == _DIV:
        return a / b
    if function == _MIN:
        return smaller(a, b)
    if function == _MAX:
        return larger(a, b)
    if function == _LESS:
        return select(less(a, b), one, zero)
    if function == _LESS_OR_EQUAL:
        return select(less(a, b), one, select(equal(a, b), one, zero))
    if function == _EQUAL:
        return select(equal(a, b), one, zero)
    if function == _AND:
        return select(equal(a, zero), zero, select(equal(b, zero), zero, one))
    return select(equal(a, zero), select(equal(b, zero), zero, one), one)


@kernel
def binary(V, arena, a, b, y, n, single, function):
    """arena[y : y + n] = function(a, b); bit 0 of `single`: a is one value; bit 1: b is one value."""
    for k in range(0, n, V.lanes):
        left = broadcast(V, arena, a) if single & 1 else load(V, arena, a + k)
        right = broadcast(V, arena, b) if single & 2 else load(V, arena, b + k)
        store(V, arena, y + k, _combine(V, function, left, right))


@kernel
def where(V, arena, condition, a, b, y, n):
    """arena[y : y + n] = a where the condition is not zero, else b."""
    zero = fill(V, 0.0)
    for k in range(0, n, V.lanes):
        chosen = select(equal(load(V, arena, condition + k), zero), load(V, arena, b + k), load(V, arena, a + k))
        store(V, arena, y + k, chosen)


@kernel
def take(V1, table, w, arena, y, n):
    """arena[y + k] = arena[table[w + k]]."""
    for k in range(n):
        store(V1, arena, y + k, load(V1, arena, read(table, w + k)))


@kernel
def take_in(V, source, x, target, y, n):
    """target[y : y + n] = source[x : x + n], whether all of them are finite. The target is a whole slot, so its padding
    may be written; of the source not one element more is read."""
    for k in range(0, n, V.lanes):
        value = load_first(V, source, x + k, n - k)
        if not all_finite(V, value, n - k):
            return False
        store(V, target, y + k, value)
    return True


@kernel
def move(V, source, x, target, y, n):
    """target[y : y + n] = source[x : x + n], where both are slots of an arena: whole vectors, with their padding."""
    for k in range(0, n, V.lanes):
        store(V, target, y + k, load(V, source, x + k))


@kernel
def give_out(V, source, x, target, y, n):
    """target[y : y + n] = source[x : x + n], not one element more being written. NaN gets the same bits everywhere: the
    NaN that an operation makes is negative on x86-64 and positive on Arm."""
    for k in range(0, n, V.lanes):
        value = load(V, source, x + k)
        store_first(V, target, y + k, select(equal(value, value), value, fill(V, math.nan)), n - k)


@kernel
def finite(V, values, x, n):
    """Whether every one of values[x : x + n] is finite."""
    for k in range(0, n, V.lanes):  # noqa: SIM110  Numba has no all() over a generator
        if not all_finite(V, load(V, values, x + k), n - k):
            return False
    return True


@kernel
def lookup(weights, w, arena, x, y, n, width, rows):
    """Row arena[x + k] of the table for each k; whether all indices are numbers of rows."""
    values = floats(arena.address)
    for k in range(n):
        wanted = read(values, x + k)
        if not (wanted > -1.0 and wanted < rows):
            return False
        number = int(wanted)
        for d in range(width):
            write(values, y + k * width + d, read(weights, w + number * width + d))
    return True
