"""What `simd.py` and `integers.py` offer, in NumPy, where NUMBA_DISABLE_JIT=1: kernels are ordinary Python then, for a
debugger, for coverage (`tests/support/oracles/kernel_coverage.py`), and as a second opinion on every bit.

Its rule: one function for one intrinsic, of the same name and arguments; each rounds once, as IEEE 754 says. A vector
is an array of float32, a mask one of truth values; a pointer is an address with a type. A step takes milliseconds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lstm.engines.native.kernels.abi import GROUPS, together

Vector = Any  # float32 (lanes * copies,)
Mask = Any  # truth values (lanes * copies,)

# --- memory


@dataclass(frozen=True)
class Pointer:
    """An address, and what is found there."""

    address: int
    dtype: str

    def at(self, index: int, count: int) -> Any:
        """A view of so many values from that index on."""
        return _view(self.address + np.dtype(self.dtype).itemsize * int(index), count, self.dtype)


@dataclass(frozen=True)
class arenas:
    """Arrays from this address on, `stride` floats apart."""

    address: int
    stride: int

    def copy(self, number: int) -> Pointer:
        return floats(self.address + 4 * number * self.stride)


def _view(address: int, count: int, dtype: str) -> Any:
    memory: Any = (ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(int(address))
    return np.frombuffer(memory, dtype)


def floats(address: int) -> Pointer:
    return Pointer(address, "f4")


def integers(address: int) -> Pointer:
    return Pointer(address, "i8")


def indices(address: int) -> Pointer:
    return Pointer(address, "i4")


def halves(integers: Any, address: int) -> Pointer:
    return Pointer(address, "f2")


def per_float(pointer: Pointer) -> int:
    return 4 // np.dtype(pointer.dtype).itemsize


def read(pointer: Pointer, index: int) -> Any:
    return pointer.at(index, 1)[0].item()


def write(pointer: Pointer, index: int, value: float) -> None:
    pointer.at(index, 1)[0] = value


def _arrays(V: Any, array: Pointer | arenas) -> list[Pointer]:
    return [array] * V.copies if isinstance(array, Pointer) else [array.copy(c) for c in range(V.copies)]


def weight(V: Any, pointer: Pointer, index: int) -> Vector:
    return np.tile(pointer.at(index, V.lanes).astype(np.float32), V.copies)


def block_weights(V: Any, pointer: Pointer, index: int, apart: int) -> Vector:
    parts = [pointer.at(index + b * apart, V.block).astype(np.float32) for b in range(V.blocks)]
    return np.tile(np.concatenate(parts), V.copies)


def block_biases(V: Any, pointer: Pointer, index: int, apart: int) -> Vector:
    size = np.dtype(pointer.dtype).itemsize
    parts = [floats(pointer.address + size * (index + b * apart)).at(0, V.block) for b in range(V.blocks)]
    return np.tile(np.concatenate(parts), V.copies)


def load(V: Any, array: Pointer | arenas, index: int) -> Vector:
    return np.concatenate([one.at(index, V.lanes) for one in _arrays(V, array)])


def broadcast(V: Any, array: Pointer | arenas, index: int) -> Vector:
    return np.repeat(np.concatenate([one.at(index, 1) for one in _arrays(V, array)]), V.lanes)


def four_values(V: Any, array: Pointer | arenas, index: int) -> tuple[Vector, ...]:
    return tuple(broadcast(V, array, index + k) for k in range(4))


def block_places(V: Any, pointer: Pointer, index: int, apart: int) -> tuple[Pointer, ...]:
    size = np.dtype(pointer.dtype).itemsize
    return tuple(Pointer(pointer.address + size * (index + b * apart), pointer.dtype) for b in range(V.blocks))


def _by_four(V: Any, places: tuple[Pointer, ...], gates: int) -> tuple[tuple[Vector, ...], tuple[Pointer, ...]]:
    rows = range(0, 4 * gates * V.block, V.block)
    found = [np.concatenate([place.at(row, V.block).astype(np.float32) for place in places]) for row in rows]
    behind = [Pointer(place.at(rows.stop, 1).ctypes.data, place.dtype) for place in places]
    return tuple(np.tile(row, V.copies) for row in found), tuple(behind)


def weights_of_three(V: Any, places: tuple[Pointer, ...]) -> tuple[tuple[Vector, ...], tuple[Pointer, ...]]:
    return _by_four(V, places, 3)


def weights_of_four(V: Any, places: tuple[Pointer, ...]) -> tuple[tuple[Vector, ...], tuple[Pointer, ...]]:
    return _by_four(V, places, 4)


def store(V: Any, array: Pointer | arenas, index: int, value: Vector) -> None:
    for c, one in enumerate(_arrays(V, array)):
        one.at(index, V.lanes)[:] = value[c * V.lanes : (c + 1) * V.lanes]


def load_first(V: Any, array: Pointer | arenas, index: int, count: int) -> Vector:
    values = [one.at(index, min(count, V.lanes)) for one in _arrays(V, array)]
    return np.concatenate([np.pad(part, (0, V.lanes - part.size)) for part in values])


def store_first(V: Any, array: Pointer | arenas, index: int, value: Vector, count: int) -> None:
    count = min(count, V.lanes)
    for c, one in enumerate(_arrays(V, array)):
        one.at(index, count)[:] = value[c * V.lanes :][:count]


def store_mended(V: Any, array: Pointer | arenas, index: int, value: Vector, mended: Vector) -> None:
    store(V, array, index, mended)


def largest_lane(V: Any, value: Vector) -> Vector:
    return np.repeat(value.reshape(V.copies, V.lanes).max(axis=1), V.lanes)


def lane(V: Any, single: Any, value: Vector, number: int) -> Vector:
    return value[number :: V.lanes]


def fill(V: Any, value: float) -> Vector:
    return np.full(V.lanes * V.copies, value, np.float32)


# --- arithmetic: + - * / are NumPy's, each correctly rounded


def fma(a: Vector, b: Vector, c: Vector) -> Vector:
    """a * b + c, rounded once. The product is exact in float64; the sum is rounded to odd there (what was lost shows in
    the last bit), so that rounding it to float32 ends where one rounding would (Boldo and Melquiond 2008)."""
    product, more = a.astype(np.float64) * b, c.astype(np.float64)
    total = product + more
    back = total - product
    lost = (product - (total - back)) + (more - back)  # exactly (Knuth's two-sum)
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    return np.where((lost != 0) & even & np.isfinite(total), odd, total).astype(np.float32)


def less(a: Vector, b: Vector) -> Mask:
    return a < b


def equal(a: Vector, b: Vector) -> Mask:
    return a == b


def select(mask: Mask, a: Vector, b: Vector) -> Vector:
    return np.where(mask, a, b)


def minimum(a: Vector, b: Vector) -> Vector:
    return np.where(a < b, a, b)


def maximum(a: Vector, b: Vector) -> Vector:
    return np.where(a > b, a, b)


absolute, sqrt, to_nearest, floor, ceil, truncate = np.abs, np.sqrt, np.rint, np.floor, np.ceil, np.trunc


def power_of_two(n: Vector) -> Vector:
    return ((n.astype(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)


def exponent_above(a: Vector, bits: int) -> Vector:
    return ((a.view(np.int32) - np.int32(bits)) >> np.int32(23)).astype(np.float32)


def with_sign(a: Vector, b: Vector) -> Vector:
    return np.copysign(a, b)


def all_finite(V: Any, a: Vector, count: int) -> bool:
    return bool(np.isfinite(a.reshape(V.copies, V.lanes)[:, :count]).all())


# --- sums of integers (`integers.py`)


@dataclass(frozen=True)
class Scheme:
    """What values are in a sum; the numbers that Numba knows by its type."""

    name: str
    family: str

    @property
    def group(self) -> int:
        return GROUPS[self.name]

    @property
    def heads(self) -> int:
        return 2 if self.name == "int8" else 1

    @property
    def units(self) -> int:
        return 0 if self.name == "int8-weights" else 1

    @property
    def dtype(self) -> str:
        return {4: "i1", 2: "i2", 1: "f4"}[self.group]


@dataclass(frozen=True)
class Integers:
    """The schemes."""

    family: str

    @property
    def int8(self) -> Scheme:
        return Scheme("int8", self.family)

    @property
    def int16(self) -> Scheme:
        return Scheme("int16", self.family)

    @property
    def weights(self) -> Scheme:
        return Scheme("int8-weights", self.family)


def width(V: Any, S: Scheme) -> int:
    return int(V.lanes * S.group // 4)


def passes(S: Scheme, bases: Sequence[Any]) -> int:
    return together(S.name, len(bases))


def first(V: Any, value: Vector, count: int) -> Vector:
    return np.where(np.arange(V.lanes) < count, value, np.float32(0))


def _values(S: Scheme, arena: arenas, start: int, number: int, count: int) -> Any:
    return Pointer(arena.address + 4 * start, S.dtype).at(number, count)


def keep_integers(V: Any, S: Scheme, arena: arenas, start: int, number: int, value: Vector) -> None:
    _values(S, arena, start, number, V.lanes)[:] = value.astype(S.dtype)


def biases(V: Any, pointer: Pointer, index: int, like: Sequence[Any]) -> tuple[Vector, ...]:
    return tuple(pointer.at(index + k * V.lanes, V.lanes) for k in range(len(like)))


def begin(V: Any, S: Scheme, pointer: Pointer, index: int, bases: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(np.zeros(V.lanes, "f4" if S.group == 1 else "i8") for _ in range(len(bases) * passes(S, bases)))


def products(
    V: Any,
    S: Scheme,
    totals: Sequence[Any],
    bases: Sequence[Any],
    pointer: Pointer,
    index: int,
    arena: arenas,
    start: int,
) -> tuple[Any, ...]:
    sums, count = list(totals), len(bases)
    for number in range(count * passes(S, bases)):
        weights = _view(pointer.address + 4 * (index + number * width(V, S)), V.lanes * S.group, "i1")
        values = _values(S, arena, start, number // count * S.group, S.group)
        if S.group == 1:
            sums[number] = fma(fill(V, values[0]), weights.astype(np.float32), sums[number])
        else:
            sums[number] = sums[number] + weights.reshape(V.lanes, S.group).astype(np.int64) @ values.astype(np.int64)
    return tuple(sums)


def finish(
    V: Any, S: Scheme, totals: Sequence[Any], pointer: Pointer, index: int, unit: Vector, bases: Sequence[Any]
) -> tuple[Vector, ...]:
    count, scales = len(bases), biases(V, pointer, index, bases)
    sums = [sum(totals[k + count :: count], totals[k]).astype(np.float32) for k in range(count)]
    return tuple(fma(total, scale * unit, base) for total, scale, base in zip(sums, scales, bases, strict=True))
