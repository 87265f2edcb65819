"""Timing: what contradicts itself is refused, wherever it comes from; when outputs come follows from it alone."""

from __future__ import annotations

from typing import Any

import pytest

from edge_lstm.core.timing import CONTINUOUS, Timing
from edge_lstm.errors import ModelFileError


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"mode": "sometimes"}, "mode must be one of"),
        ({"window": 5}, "with a window of 5"),
        ({"mode": "window"}, "with a window of None"),
        ({"mode": "window", "window": 5}, "the first output comes with reading 1"),
        ({"mode": "window", "window": 5, "first_output": 5, "stride": 2}, "an output at each reading"),
        ({"mode": "window", "window": 0, "first_output": 1}, "window 0 is out of range"),
        ({"mode": "window", "window": True, "first_output": 1}, "is not a whole number"),
        ({"first_output": 0}, "first_output 0 is out of range"),
        ({"first_output": 2.0}, "is not a whole number"),
        ({"stride": 1 << 21}, "is out of range"),
        ({"delay": -1}, "delay -1 is out of range"),
        ({"before_window": "ones"}, "before_window must be one of"),
        ({"before_window": "zeros"}, "zeros before the first window"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], why: str) -> None:
    """Each with the field, its value and what it may be; the same from a file."""
    with pytest.raises(ModelFileError, match=why):
        Timing(**fields)
    with pytest.raises(ModelFileError, match=why):
        Timing.from_dict(CONTINUOUS.as_dict() | fields)


@pytest.mark.parametrize(
    ("timing", "first"),
    [
        (CONTINUOUS, [1, 2, 3]),
        (Timing(first_output=5, stride=3, delay=2), [5, 8, 11]),
        (Timing.over_window(4), [4, 5, 6]),
        (Timing.over_window(4, "zeros"), [1, 2, 3]),
        (Timing.over_window(4, whole=True), [4, 5, 6]),
    ],
)
def test_when_outputs_come(timing: Timing, first: list[int]) -> None:
    """The numbers of the first three readings with an output; and the file's values give the same timing."""
    assert [n for n in range(1, 12) if timing.comes_with(n)][:3] == first
    assert Timing.from_dict(timing.as_dict()) == timing
    assert timing.each == (first == [1, 2, 3])
