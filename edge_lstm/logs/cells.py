"""Cells of a block of text as numbers: many at once, each the double that Python's float gives.

Its rule: a decimal of at most 16 digits whose digits are below 2^53 is an exact whole number divided by an exact power
of ten, and IEEE 754 rounds that division correctly; whatever else a cell holds (more digits, exponents, blanks,
nothing) is not read here but by Python's float, cell by cell.

Eight digits are one word of 64 bits: their values are added up pair by pair, as D. Lemire described ("Quickly parsing
eight digits", 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

AT_ONCE = 1 << 13  # cells: what is made of them stays in the cache of a core, and in memory that is there already
WINDOW = 16  # bytes before the end of a cell that are looked at
_ALL = (1 << 64) - 1
_LARGEST = 1 << 53
_TENS = 10.0 ** np.arange(WINDOW + 1)


def _word(value: int) -> np.uint64:
    found: np.uint64 = np.uint64(value & _ALL)
    return found


_ZEROS, _SIXES, _HIGH, _LOW = (_word(byte * 0x0101010101010101) for byte in (0x30, 0x06, 0xF0, 0x0F))
# Of a window of which the last n bytes are digits, the bytes that count, earlier and later word.
_EARLY = np.array([(_ALL << 8 * (WINDOW - n)) & _ALL if n > 8 else 0 for n in range(WINDOW + 1)], np.uint64)
_LATE = np.array([_ALL if n >= 8 else (_ALL << 8 * (8 - n)) & _ALL for n in range(WINDOW + 1)], np.uint64)


class Numbers(NamedTuple):
    """values (N,), where `read`; whole (N,): the same as a whole number where the cell is one, `is_whole`."""

    values: Doubles
    read: npt.NDArray[np.bool_]
    whole: Places
    is_whole: npt.NDArray[np.bool_]


def padded(data: bytes) -> Bytes:
    """The bytes with a window of nothing before them: places in them are those in `data` + WINDOW."""
    return np.frombuffer(b"\0" * WINDOW + data, np.uint8)


def numbers(text: Bytes, starts: Places, ends: Places, usual: dict[int, None] | None = None) -> Numbers:
    """The cells of `text`, which is `padded`, from `starts` to `ends` (places in it).

    usual: digits after the point, most common first, as an earlier block of the same log left them; kept up to date.
    """
    usual = {} if usual is None else usual
    if len(starts) <= AT_ONCE:
        return _numbers(text, starts, ends, usual)
    parts = (slice(at, at + AT_ONCE) for at in range(0, len(starts), AT_ONCE))
    found = [_numbers(text, starts[part], ends[part], usual) for part in parts]
    return Numbers(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def _numbers(text: Bytes, starts: Places, ends: Places, usual: dict[int, None]) -> Numbers:
    count = len(starts)
    negative = text[starts] == ord("-")
    starts = starts + negative
    lengths = ends - starts
    fits = (lengths > 0) & (lengths <= WINDOW)
    whole, power = np.zeros(count, np.int64), np.zeros(count, np.int64)
    read, is_whole = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    words: Words = np.ndarray((len(text) - 7,), "<u8", text, 0, (1,))  # eight bytes from each place on
    left = np.flatnonzero(fits)
    for after in [*usual, *(n for n in range(WINDOW) if n not in usual)]:
        if not len(left):
            break
        at = ends[left] - 1 - after
        here = (text[at] == ord(".")) & (at >= starts[left])
        found = left if here.all() else left[here]
        if len(found):
            usual.setdefault(after)
            digits, fine = _digits(words, ends[found], lengths[found] - 1, after)
            whole[found], read[found], power[found] = digits, fine, after
            left = left[:0] if found is left else left[~here]
    if len(left):
        digits, fine = _digits(words, ends[left], lengths[left], None)
        whole[left], read[left], is_whole[left] = digits, fine, fine
    values = whole / _TENS[power]
    read &= whole <= _LARGEST
    np.negative(values, out=values, where=negative)
    np.negative(whole, out=whole, where=negative)
    return Numbers(values, read, whole, is_whole)


def _digits(words: Words, ends: Places, counts: Places, point: int | None) -> tuple[Places, npt.NDArray[np.bool_]]:
    """The last digits before each end, so many, as a whole number, and where they are digits. point: so many digits
    before the end stands a point, which does not count."""
    late = words[ends - 8]
    wide = int(counts.max(initial=0)) > 8
    early = words[ends - WINDOW] if wide or point is not None else late
    if point is not None and point < 8:
        late, early = _without(late, 7 - point) | (early >> _word(56)), early << _word(8)
    elif point is not None:
        early = _without(early, WINDOW - 1 - point)
    total = np.zeros(len(early), np.uint64)
    fine = counts > 0
    for word, masks in ((early, _EARLY), (late, _LATE))[not wide :]:
        mask = masks[np.maximum(counts, 0)]
        word = (word & mask) | (_ZEROS & ~mask)
        fine &= ((word & _HIGH) == _ZEROS) & (((word + _SIXES) & _HIGH) == _ZEROS)
        word = ((word & _LOW) * _word(2561)) >> _word(8)
        word = ((word & _word(0x00FF00FF00FF00FF)) * _word(6553601)) >> _word(16)
        word = ((word & _word(0x0000FFFF0000FFFF)) * _word(42949672960001)) >> _word(32)
        total = total * _word(10**8) + word
    return total.astype(np.int64), fine


def _without(word: Words, byte: int) -> Words:
    """The word without this byte: those before it move up."""
    before = _word((1 << 8 * byte) - 1)
    after = _word(~((1 << 8 * (byte + 1)) - 1))
    found: Words = (word & after) | ((word & before) << _word(8))
    return found
