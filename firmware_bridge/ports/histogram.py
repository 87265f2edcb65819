"""Durations counted in buckets: percentiles of weeks in a fixed 8 KB. Never forgets a sample, never grows.

Each power of two is cut into 32 buckets, so a percentile is at most 1/32 (3 %) above the truth, and never below it.
"""

from __future__ import annotations

SUB_BITS = 5
BUCKETS = 40 << SUB_BITS  # up to 2^44 ns, five hours; longer ones fall into the last


class Histogram:
    """Counts of durations in ns."""

    def __init__(self) -> None:
        self.count = 0
        self.max_ns = 0
        self.latest_ns = -1  # none yet
        self._buckets = [0] * BUCKETS

    def add(self, duration_ns: int) -> None:
        """Count one duration; a negative one counts as 0."""
        self.latest_ns = value = max(duration_ns, 0)
        self.count += 1
        self.max_ns = max(self.max_ns, value)
        shift = max(value.bit_length() - SUB_BITS - 1, 0)
        self._buckets[min((shift << SUB_BITS) + (value >> shift), BUCKETS - 1)] += 1

    def buckets(self) -> list[tuple[int, int]]:
        """(longest duration in ns, how many) of each bucket that holds some, shortest first."""
        counts = enumerate(self._buckets.copy())
        return [(_longest_ns(index), count) for index, count in counts if count]

    def percentile_ns(self, percent: float) -> int:
        """The least duration that at least `percent` of the samples do not exceed, to within 3 %; 0 without samples."""
        needed = self.count * percent / 100
        seen = 0
        for index, count in enumerate(self._buckets):
            seen += count
            if count and seen >= needed:
                return min(_longest_ns(index), self.max_ns)
        return 0


def _longest_ns(index: int) -> int:
    """What falls into a bucket at most."""
    shift = max((index >> SUB_BITS) - 1, 0)
    return ((index - (shift << SUB_BITS)) + 1 << shift) - 1
