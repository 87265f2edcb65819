"""Times and sizes as people write them: "10 min", "7 days", "500 MB".

Its rule: a number, a space or none, and a unit; nothing is guessed, so a number alone is refused. A MB is a million
bytes, as on a disk's label.
"""

from __future__ import annotations

import re

TIMES = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0, "days": 86400.0, "weeks": 604800.0}
SIZES = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
LONGEST_S = 100 * 366 * 86400.0
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([A-Za-z]+)")


def seconds_of(text: str) -> float:
    """A time in s, above 0. Raises ValueError saying what to write."""
    value = _amount(text, TIMES)
    if value is None or not 0 < value <= LONGEST_S:
        raise ValueError(f'must be a time such as "5 s", "10 min" or "7 days", not {text!r:.60}')
    return value


def bytes_of(text: str) -> int:
    """A size in bytes, above 0. Raises ValueError saying what to write."""
    value = _amount(text, SIZES)
    if value is None or value < 1:
        raise ValueError(f'must be a size such as "500 MB" or "2 GB", not {text!r:.60}')
    return int(value)


def is_time(text: str) -> bool:
    """Whether its unit is one of time."""
    return _amount(text, TIMES) is not None


def _amount(text: str, units: dict[str, float] | dict[str, int]) -> float | None:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2] not in units:
        return None
    return float(found[1]) * units[found[2]]
