"""Numbers as text: many at once, each the shortest text that reads back to the same number, as Python's repr gives it.

Its rule: a whole number of few digits over a power of ten is tried until one is the number itself; with at most 15
digits (a float32: the fewest that come back) no shorter text can be. What none is, is written by Python and NumPy.

Never: a text that another version of this file would write otherwise: files are compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Texts = npt.NDArray[np.uint8]  # (T, width): a text in each row; zero bytes are no part of it
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

AT_ONCE = 1 << 14  # numbers: what is made of them stays in the cache of a core, and in memory that is there already
_DIGITS = 15  # of a double: two texts of so many digits are two doubles
_DOUBLE_PLACES = (3, 6, 9, 12, 15)  # after the point; zeros at the end are taken away again
_FLOAT_PLACES = range(13)  # a float32 times 10^12 is exact in a double
_SURE = 6  # digits of a float32 that are always the shortest


def doubles(values: Doubles) -> Texts:
    """(T,) → their texts; NaN (nothing there) is an empty one."""
    size = np.abs(values)
    whole, places = np.zeros(len(values), np.int64), np.full(len(values), -1, np.int64)
    with np.errstate(all="ignore"):
        left = np.flatnonzero(((size >= 1e-4) & (size < 1e15)) | (size == 0))
        for after in _DOUBLE_PLACES:
            if not len(left):
                break
            ten = 10.0**after
            scaled = np.rint(size[left] * ten)
            found = (scaled < 10.0**_DIGITS) & (scaled / ten == size[left])
            at = left[found]
            whole[at], places[at] = scaled[found].astype(np.int64), after
            left = left[~found]
    return _texts(values, whole, places, [repr(v) for v in values[_others(values, places)].tolist()])


def floats(values: Floats) -> Texts:
    """(T,) → their texts; NaN is an empty one."""
    with np.errstate(invalid="ignore"):  # a NaN that signals
        size = np.abs(values.astype(np.float64))
    whole, places = np.zeros(len(values), np.int64), np.full(len(values), -1, np.int64)
    two = np.frexp(size)[0] == 0.5  # it is nearer to its neighbour below, so fewer texts are sure
    with np.errstate(all="ignore"):
        left = np.flatnonzero(((size >= 1e-4) & (size < 1e6)) | (size == 0))  # from 1e6 on NumPy writes exponents
        for after in _FLOAT_PLACES:
            if not len(left):
                break
            ten, own = 10.0**after, size[left]
            scaled = np.rint(own * ten)
            back = scaled / ten
            found = back.astype(np.float32) == own.astype(np.float32)
            halfway = (back.view(np.int64) & 0x1FFFFFFF) == 0x10000000  # rounded twice: not judged here
            sure = found & ~halfway & (~two[left] | (scaled < 10.0**_SURE))
            at = left[sure]
            whole[at], places[at] = scaled[sure].astype(np.int64), after
            left = left[~(found | halfway)]
    return _texts(values, whole, places, values[_others(values, places)].astype(str).tolist())


def _others(values: npt.NDArray[np.floating], places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (places < 0) & ~np.isnan(values)
    return found


def _texts(
    values: npt.NDArray[np.floating], whole: npt.NDArray[np.int64], places: npt.NDArray[np.int64], others: Sequence[str]
) -> Texts:
    """whole / 10^places as text, without zeros at the end; where places is -1 `others`, in their order, or nothing."""
    usual = places >= 0
    most = int(places.max(initial=0))
    count = len(values)
    before = max(len(str(int((whole // 10 ** np.maximum(places, 0)).max(initial=0)))), 1)
    width = max([1 + before + 1 + max(most, 1), *map(len, others)])
    found = np.zeros((width, count), np.uint8)  # a row is a place, so that each step is over neighbours
    rest = whole.copy()
    seen = np.zeros(count, np.bool_)  # a digit that stays has been met, from the right
    for after in range(most, 0, -1):
        has = places >= after
        quotient = rest // 10
        digit = np.where(has, rest - 10 * quotient, 0)
        rest = np.where(has, quotient, rest)
        seen |= digit != 0
        seen |= after == 1
        np.copyto(found[1 + before + after], (digit + 48).astype(np.uint8), where=seen & usual)
    found[1 + before][usual] = ord(".")
    if most == 0:
        found[2 + before][usual] = ord("0")
    for place in range(before, 0, -1):
        quotient = rest // 10
        shown = (rest > 0) | (place == before)
        np.copyto(found[place], (rest - 10 * quotient + 48).astype(np.uint8), where=shown & usual)
        rest = quotient
    found[0][usual & np.signbit(values)] = ord("-")
    texts = np.ascontiguousarray(found.T)
    at = np.flatnonzero(_others(values, places))
    if len(at):
        texts[at] = np.array([text.encode() for text in others], f"S{width}").view(np.uint8).reshape(-1, width)
    return texts


def each(write: Callable[[Any], Texts], table: npt.NDArray[Any]) -> list[Texts]:
    """(T, n) numbers → the texts of each column, written many at once."""
    count, width = table.shape
    some = max(AT_ONCE // max(count, 1), 1)  # columns
    columns: list[Texts] = []
    for first in range(0, width, some):
        found = write(np.ascontiguousarray(table[:, first : first + some].T).ravel())
        columns += [found[at : at + count] for at in range(0, len(found), max(count, 1))]
    return columns


def whole(values: npt.NDArray[np.int64]) -> Texts:
    """(T,) small numbers, not below 0 → their texts."""
    table = of([str(k) for k in range(int(values.max(initial=0)) + 1)])
    found: Texts = table[values]
    return found


def of(texts: Sequence[str]) -> Texts:
    """Texts that are there already, one at least. A zero byte within them would be lost."""
    found = np.array([text.encode() for text in texts], "S")
    return found.view(np.uint8).reshape(len(found), -1)


def joined(columns: Sequence[Texts], between: bytes = b",", end: bytes = b"\n") -> bytes:
    """Texts side by side, as the lines of a table."""
    count = len(columns[0])
    comma, line = (np.frombuffer(part, np.uint8) for part in (between, end))
    parts: list[Texts] = []
    for k, column in enumerate(columns):
        parts += [column, np.broadcast_to(line if k == len(columns) - 1 else comma, (count, 1))]
    table = np.concatenate(parts, axis=1).ravel()
    found: bytes = table[table != 0].tobytes()
    return found
