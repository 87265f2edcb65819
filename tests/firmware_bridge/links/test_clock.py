"""Device time → host time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.own.clock import DeviceClock


@pytest.mark.parametrize("drift_ppm", [-80.0, 0.0, 35.0])
def test_offset_and_drift_come_out_of_delayed_arrivals(drift_ppm: float) -> None:
    """With delays of up to 5 ms, always late, offset and drift are found to some 50 µs and 2 ppm."""
    rng = random.Random(3)
    clock = DeviceClock()
    for at_us in range(0, 60_000_000, 2_000):
        truth_ns = 7_000_000_000 + at_us * 1000 + round(at_us * drift_ppm / 1000)
        clock.note(truth_ns + round(rng.expovariate(1 / 500_000)) + 1000, at_us)
    line = clock.fit()
    assert line is not None
    assert line.drift * 1e6 == pytest.approx(drift_ppm, abs=2)
    expected = 7_000_000_000 + 60_000_000_000 + round(60_000_000 * drift_ppm / 1000)
    assert clock.host_ns(60_000_000) == pytest.approx(expected, abs=50_000)


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**9)), min_size=1, max_size=200))
def test_no_message_arrives_before_it_was_sent(steps: list[tuple[int, int]]) -> None:
    """The line never lies above an arrival by more than rounding: nothing is received before its host time."""
    clock = DeviceClock()
    at_us, points = 0, []
    for step_us, delay_ns in steps:
        at_us += step_us
        points.append((at_us, at_us * 1000 + delay_ns))
        clock.note(points[-1][1], at_us)
    kept = {at for at, _offset in [*clock._points, clock._best]}
    for at_us, t_ns in points:
        if at_us in kept:  # the others of their second are later than the one kept
            host_ns = clock.host_ns(at_us)
            assert host_ns is not None
            assert host_ns <= t_ns + 2


def test_one_reading_gives_an_offset_and_none_gives_nothing() -> None:
    """Before the first reading there is no clock; after it there is an offset without drift."""
    clock = DeviceClock()
    assert clock.fit() is None
    assert clock.host_ns(5) is None
    clock.note(1_000_000, 400)
    assert clock.fit() == (400, 600_000, 0.0)
    assert clock.host_ns(500) == 1_100_000
