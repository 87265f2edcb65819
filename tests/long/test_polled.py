"""Polled robots in real time, each a process behind a pseudo-terminal: asked on time, and what is withheld is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tools.bench.polled import RATES, TABLES, measure

pytestmark = pytest.mark.long
SECONDS = 60
LATE_MS = 2.0


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("dialect", TABLES)
def test_it_is_asked_on_time_and_each_withheld_answer_is_one_gap(
    dialect: str, rate_hz: float, volume: Callable[[float], int]
) -> None:
    """99 % of the requests follow the one before after no more than the period and 2 ms. As many readings are lost as
    answers were withheld; where the machine made the robot or the link late, the link says so."""
    row = measure(dialect, rate_hz, volume(SECONDS), withhold=200)
    assert row["interval_p99"] <= 1000 / rate_hz + LATE_MS, row
    assert row["withheld"] > 0
    assert 0 <= row["lost"] - row["withheld"] <= row["late"] + row["not_asked"], row
    assert row["arrival_to_action_p99"] < 2, row
