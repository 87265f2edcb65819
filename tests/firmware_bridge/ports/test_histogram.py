"""Durations counted in buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.ports.histogram import Histogram


@given(st.lists(st.integers(0, 2**43), min_size=1), st.floats(0, 100))
def test_percentiles_are_within_three_percent(samples: list[int], percent: float) -> None:
    """A percentile is never below the true one and at most 1/32 above it."""
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)
    ordered = sorted(samples)
    rank = max(0, min(len(ordered) - 1, -int(-len(ordered) * percent // 100) - 1))
    truth = ordered[rank]
    assert truth <= histogram.percentile_ns(percent) <= truth * 33 / 32
    assert histogram.percentile_ns(100) == ordered[-1] == histogram.max_ns


def test_extreme_durations_are_counted() -> None:
    """Longer than the last bucket, or negative after a stepped clock: counted, no error."""
    histogram = Histogram()
    for sample in (-5, 2**60, 0):
        histogram.add(sample)
    assert (histogram.count, histogram.max_ns) == (3, 2**60)
    assert Histogram().percentile_ns(99) == 0


def test_buckets_hold_every_sample_and_say_the_longest_of_theirs():
    """Their counts add up, their limits rise, and a percentile is the limit of the bucket in which it falls."""
    histogram = Histogram()
    assert (histogram.buckets(), histogram.latest_ns) == ([], -1)
    for duration_ns in (0, 3, 40, 1_000, 1_001, 5_000_000, -7):
        histogram.add(duration_ns)
    buckets = histogram.buckets()
    assert sum(count for _, count in buckets) == histogram.count
    assert [longest for longest, _ in buckets] == sorted(longest for longest, _ in buckets)
    assert histogram.percentile_ns(50) in [longest for longest, _ in buckets]
    assert histogram.latest_ns == 0
