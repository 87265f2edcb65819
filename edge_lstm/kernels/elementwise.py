"""Operations element by element, and data movement: map, binary, take, and the copies at a step's borders."""

from __future__ import annotations

from edge_lstm.kernels.activations import apply
from edge_lstm.kernels.layout import BINARY_CODES
from edge_lstm.kernels.simd import any_not_finite, broadcast, kernel, load, maximum, minimum, read, store

_ADD, _SUB, _MUL, _DIV = (BINARY_CODES[name] for name in ("add", "sub", "mul", "div"))
_MIN = BINARY_CODES["min"]


@kernel
def map_values(V, weights, w, arena, x, y, n, function):
    """arena[y : y + n] = function(arena[x : x + n]); alpha and beta at weights[w], weights[w + 1]."""
    alpha, beta = broadcast(V, weights, w), broadcast(V, weights, w + 1)
    for k in range(0, n, V.lanes):
        store(V, arena, y + k, apply(V, function, load(V, arena, x + k), alpha, beta))


@kernel
def _combine(function, a, b):
    if function == _ADD:
        return a + b
    if function == _SUB:
        return a - b
    if function == _MUL:
        return a * b
    if function == _DIV:
        return a / b
    if function == _MIN:
        return minimum(a, b)
    return maximum(a, b)


@kernel
def binary(V, arena, a, b, y, n, single, function):
    """arena[y : y + n] = function(a, b); bit 0 of `single`: a is one value; bit 1: b is one value."""
    for k in range(0, n, V.lanes):
        left = broadcast(V, arena, a) if single & 1 else load(V, arena, a + k)
        right = broadcast(V, arena, b) if single & 2 else load(V, arena, b + k)
        store(V, arena, y + k, _combine(function, left, right))


@kernel
def take(V1, table, w, arena, y, n):
    """arena[y + k] = arena[table[w + k]]."""
    for k in range(n):
        store(V1, arena, y + k, load(V1, arena, read(table, w + k)))


@kernel
def copy(V, V1, source, x, target, y, n):
    """target[y : y + n] = source[x : x + n], not one element more."""
    whole = n - n % V.lanes
    for k in range(0, whole, V.lanes):
        store(V, target, y + k, load(V, source, x + k))
    for k in range(whole, n):
        store(V1, target, y + k, load(V1, source, x + k))


@kernel
def finite(V, V1, values, x, n):
    """Whether every one of values[x : x + n] is finite."""
    whole = n - n % V.lanes
    for k in range(0, whole, V.lanes):
        if any_not_finite(load(V, values, x + k)):
            return False
    for k in range(whole, n):  # noqa: SIM110  Numba has no all() over a generator
        if any_not_finite(load(V1, values, x + k)):
            return False
    return True
