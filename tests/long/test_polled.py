"""Polled robots in real time, each a process behind a pseudo-terminal: what is withheld is known.

How punctually they are asked is measured by `python -m tools.bench.polled`; a test asserts no time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tools.bench.polled import RATES, TABLES, measure

pytestmark = pytest.mark.long
SECONDS = 20


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("dialect", TABLES)
def test_each_withheld_answer_is_one_gap(dialect: str, rate_hz: float, volume: Callable[[float], int]) -> None:
    """As many readings are lost as answers were withheld, but for one that was still waited for at the end; where the
    machine made the robot or the link late, the link says so."""
    row = measure(dialect, rate_hz, volume(SECONDS), withhold=200)
    assert row["withheld"] > 0
    assert row["open"] in (0, 1), row
    assert 0 <= row["lost"] + row["open"] - row["withheld"] <= row["late"] + row["not_asked"] + row["open"], row
