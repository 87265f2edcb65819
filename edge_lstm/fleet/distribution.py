"""How the numbers of one output are distributed, in little memory, and the same whoever counted which part.

Its rule: parts are merged in the order of the logs, so the same logs come to the same bits. Quantiles are of a count by
the first 20 bits of each float32 (sign, exponent, 11 bits of 23): right to one part in 4096 of the value.

Never: count what is missing (NaN) as a number. Infinities are counted, and in quantiles, but not in mean and deviation.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

Whole = npt.NDArray[np.int64]
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_CUT = 12  # bits of a float32 that are not counted by
_MOST = 1 << 31 - _CUT  # buckets of one sign
_SMALLEST = 0x00800000 >> _CUT  # the first bucket of normal numbers
_GROUPS = (-_MOST, -_SMALLEST, _SMALLEST, _MOST)  # 0, and numbers of either sign, with mostly nothing between them
_SPARSE = 8  # places of a table for each number that is counted, at most; beyond, sorting is quicker
_PACK, _UNPACK = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()


@dataclass
class Distribution:
    """count: numbers, infinite ones too; missing: NaN; m2: sum of squares of what is finite about its mean; buckets:
    those in use, by `_bucket`, in their order, and how many numbers are in each."""

    count: int = 0
    missing: int = 0
    finite: int = 0
    least: float = float("inf")
    greatest: float = float("-inf")
    mean: float = 0.0
    m2: float = 0.0
    buckets: tuple[Whole, Whole] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros(0, np.int64)))

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """Numbers (T,), float32 or what is written as one."""
        missing = np.isnan(numbers)
        values = numbers[~missing] if missing.any() else numbers
        part = Distribution(len(values), len(numbers) - len(values))
        if len(values):
            part.least, part.greatest = float(values.min()), float(values.max())
            with np.errstate(over="ignore"):
                part.buckets = _counted(_bucket(values.astype(np.float32, copy=False)))
            whole = np.isfinite(part.least) and np.isfinite(part.greatest)
            finite = (values if whole else values[np.isfinite(values)]).astype(np.float64)  # a copy, changed below
            part.finite = len(finite)
            if len(finite):
                part.mean = float(finite.mean())
                finite -= part.mean
                part.m2 = float(np.square(finite, out=finite).sum())
        self.merge(part)

    def merge(self, other: Distribution) -> None:
        """Another part, that follows this one."""
        self._merge_moments(other)
        if not len(self.buckets[0]):
            self.buckets = other.buckets
        elif len(other.buckets[0]):
            keys, counts = (np.concatenate(pair) for pair in zip(self.buckets, other.buckets, strict=True))
            self.buckets = _counted(keys, counts)

    def _merge_moments(self, other: Distribution) -> None:
        """All but the buckets."""
        total = self.finite + other.finite
        if other.finite:
            apart = other.mean - self.mean
            self.m2 += other.m2 + apart * apart * (self.finite * other.finite / total)
            self.mean += apart * (other.finite / total)
        self.finite, self.count = total, self.count + other.count
        self.missing += other.missing
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)

    def quantile(self, share: float) -> float | None:
        """The number below which this share of them is; None where there is none."""
        if not self.count:
            return None
        keys, counts = self.buckets
        at = int(np.searchsorted(np.cumsum(counts), share * (self.count - 1), side="right"))
        return min(max(_middle(int(keys[at])), self.least), self.greatest)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of what is finite; None where nothing is."""
        return float(np.sqrt(self.m2 / self.finite)) if self.finite else None

    def summary(self) -> dict[str, Any]:
        """For people and JSON: None where a number is none, or infinite."""
        found: dict[str, float | None] = {"min": self.least if self.count else None}
        found |= {f"q{round(100 * share):02}": self.quantile(share) for share in QUANTILES}
        found |= {"max": self.greatest if self.count else None}
        found |= {"mean": self.mean if self.finite else None, "std": self.deviation}
        said = {name: v if v is not None and np.isfinite(v) else None for name, v in found.items()}
        return {"count": self.count, "missing": self.missing, "infinite": self.count - self.finite, **said}

    def as_json(self) -> dict[str, Any]:
        """All of it, for `from_json`. Buckets are the steps between keys, then the counts: tens of thousands of whole
        numbers that are mostly small, so all their lowest bytes stand first, all their second, …, packed by zstd. As
        digits they would take longer than the replay that made them; number by number 6 times as long, and twice the
        room."""
        numbers = [x.hex() for x in (self.least, self.greatest, self.mean, self.m2)]
        keys, counts = self.buckets
        whole = np.concatenate([np.diff(keys, prepend=-_MOST), counts])
        width = -(-int(whole.max(initial=1)).bit_length() // 8)
        planes = np.stack([(whole >> 8 * k).astype(np.uint8) for k in range(width)])
        return {
            "counts": [self.count, self.missing, self.finite],
            "numbers": numbers,
            "bytes": width,
            "buckets": b64encode(_PACK.compress(planes.data)).decode("ascii"),
        }

    @staticmethod
    def from_json(found: Any) -> Distribution:
        """What `as_json` gave. ValueError, TypeError or LookupError where it is something else."""
        count, missing, finite = map(int, found["counts"])
        width = int(found["bytes"])
        try:
            packed = b64decode(found["buckets"], validate=True)
            size = zstandard.frame_content_size(packed)
            if not (1 <= width <= 8 and 0 <= size <= 4 * _MOST * width):
                raise ValueError(f"its buckets are damaged: {size} bytes are not what they can be")
            plain = _UNPACK.decompress(packed)
        except zstandard.ZstdError as error:
            raise ValueError(f"its buckets are damaged: {error}") from None
        planes = np.frombuffer(plain, np.uint8).reshape(width, -1)
        whole = planes[0].astype(np.int64)
        for k in range(1, width):
            large = np.flatnonzero(planes[k] != 0)  # hardly any
            whole[large] += planes[k][large].astype(np.int64) << 8 * k
        steps, counts = whole.reshape(2, -1)
        keys = np.cumsum(steps) - _MOST
        if counts.sum() != count or steps.min(initial=1) <= 0 or keys.max(initial=0) >= _MOST:
            raise ValueError("its buckets are damaged: they are not all, or in no order")
        buckets = keys, counts
        least, greatest, mean, m2 = map(float.fromhex, found["numbers"])
        return Distribution(count, missing, finite, least, greatest, mean, m2, buckets)


def merged(parts: Iterable[Distribution]) -> Distribution:
    """All of them, in this order."""
    whole, table = Distribution(), np.zeros(2 * _MOST, np.int64)
    for part in parts:
        whole._merge_moments(part)
        keys, counts = part.buckets
        table[keys + _MOST] += counts
    found = np.flatnonzero(table != 0)
    whole.buckets = found - _MOST, table[found]
    return whole


def _bucket(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Whole numbers in the order of the values: the first bits of each."""
    bits = values.view(np.int32)
    if bits.min(initial=0) < 0:
        bits = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
    found: npt.NDArray[np.int32] = bits >> _CUT
    return found


def _counted(keys: npt.NDArray[Any], counts: Whole | None = None) -> tuple[Whole, Whole]:
    """Keys in their order, each once, and how often each is there, or what its counts come to."""
    found = []
    least, greatest = int(keys.min()), int(keys.max())
    for start, stop in pairwise(_GROUPS):
        if greatest < start or stop <= least:
            continue
        own, weights, low, high = keys, counts, least, greatest
        if not start <= least <= greatest < stop:
            inside = (keys >= start) & (keys < stop)
            if not inside.any():
                continue
            own, weights = keys[inside], None if counts is None else counts[inside]
            low, high = int(own.min()), int(own.max())
        if high - low < _SPARSE * len(own):
            table = np.bincount(np.subtract(own, low, dtype=np.intp), weights)  # as float64 exact up to 2^53
            places = np.flatnonzero(table != 0)  # of truth values that is four times as quick
            found.append((places + low, table[places]))
        else:
            each, at = np.unique(own, return_inverse=True)
            found.append((each, np.bincount(at, weights)))
    ways = ([pair[k] for pair in found] for k in (0, 1))
    both = [np.concatenate(way).astype(np.int64) for way in ways]
    return both[0], both[1]


def _middle(bucket: int) -> float:
    """A number in the middle of a bucket."""
    key = (bucket << _CUT) + (1 << (_CUT - 1))
    if bucket in (0x7F800000 >> _CUT, -(0x7F800000 >> _CUT)):  # infinite
        return float("inf") if bucket > 0 else float("-inf")
    bits = np.array([abs(key)], np.int32).view(np.float32)[0]
    return float(bits) if key >= 0 else -float(bits)
