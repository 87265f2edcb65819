"""Times and sizes as people write them."""

from __future__ import annotations

import pytest

from firmware_bridge.amounts import bytes_of, is_time, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5 s", 5),
        ("500ms", 0.5),
        ("10 min", 600),
        ("1.5 h", 5400),
        ("7 days", 604800),
        ("1 day", 86400),
        ("2 weeks", 1209600),
    ],
)
def test_times(text: str, seconds: float) -> None:
    """A number and a unit, with a space or without."""
    assert is_time(text)
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("500 MB", 5 * 10**8), ("2GB", 2 * 10**9), ("1.5 kB", 1500), ("1 TB", 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    """Of 1000, as on a disk's label."""
    assert not is_time(text)
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5 s", "5 S", "5 minutes ago", "0 s", "1e9 s", "5  s", "9" * 40 + " s", "999999 weeks"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Nothing is guessed: a number alone could be of any unit."""
    with pytest.raises(ValueError, match="must be a time such as"):
        seconds_of(text)
    with pytest.raises(ValueError, match="must be a size such as"):
        bytes_of(text)
