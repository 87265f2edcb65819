"""What a column of numbers is: a value, the robot's clock, a counter; and names and units for what has none.

Its rule: a clock is found by how it grows against the time of arrival, a counter by steps of one; a name that says it
only decides where both are possible. A few damaged numbers change nothing: medians, not means.
"""

from __future__ import annotations

import itertools
import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import sub
from statistics import median

from firmware_bridge.declared import LONGEST_TEXT, plain
from firmware_bridge.recognize.findings import SAMPLES, FoundField

# unit → how much a clock of that unit grows in a second, and the names that say so
_CLOCKS = {
    "ms": (1e3, {"ms", "millis", "millisec", "milliseconds", "time_ms", "t_ms", "timestamp_ms", "time_boot_ms"}),
    "us": (1e6, {"us", "micros", "microsec", "microseconds", "time_us", "t_us", "timestamp_us", "time_usec"}),
    "ns": (1e9, {"ns", "nanos", "nanoseconds", "time_ns", "t_ns", "timestamp_ns"}),
    "s": (1.0, {"s", "sec", "secs", "seconds", "time_s", "t_s"}),
}
_CLOCK_NAMES = {"t", "time", "timestamp", "stamp", "clock", "uptime", "tick", "ticks"}
_COUNTER_NAMES = {"n", "seq", "count", "counter", "sequence", "frame", "packet", "id", "i", "index", "cnt"}
_GROWTH = (0.75, 1.35)  # of a clock, against what its unit says: chunks arrive unevenly
COUNTING = 0.93  # this share of a counter's steps is one: what goes round in ten is none
_STEADY = 0.9  # this share of all steps must fit


def named(count: int) -> list[str]:
    """Names for fields that have none: a, b, c …"""
    letters = string.ascii_lowercase
    return [letters[k] if k < len(letters) else f"f{k + 1}" for k in range(count)]


def clean_name(text: str) -> str:
    """A label as the name of a field: without spaces, which part it from its unit, or what a declaration refuses."""
    name = re.sub(r"\s+", "_", plain(text.strip().strip("\"'"))).strip("_")[: LONGEST_TEXT // 2]
    return name or "field"


def distinct(names: Iterable[str]) -> list[str]:
    """The same names, the second of two equal ones with a number."""
    made: list[str] = []
    for name in names:
        number, new = 2, name
        while new in made:
            new, number = f"{name}_{number}", number + 1
        made.append(new)
    return made


def split_unit(label: str) -> tuple[str, str]:
    """(name, unit) of "ax (m/s2)", "ax [deg/s]" or "ax"."""
    found = re.fullmatch(r"\s*(.+?)\s*[\[(]([^\])]*)[\])]\s*", label)
    return clean_name(found[1] if found else label), found[2] if found else ""


def clean_unit(text: str) -> str:
    """A unit as a declaration takes it."""
    return plain(" ".join(text.split()))[: LONGEST_TEXT // 2]


def fields_of(
    names: Sequence[str],
    units: Sequence[str],
    rows: Sequence[Sequence[float | None]],
    rate_hz: float | None,
    whole: Sequence[bool],
) -> tuple[FoundField, ...]:
    """One field for each column. rows: None where a cell is no number; whole: columns of whole numbers only."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    roles = [
        _role(name, place, column, rate_hz, is_whole)
        for place, (name, column, is_whole) in enumerate(zip(names, columns, whole, strict=True))
    ]
    clock = _one(roles, "time", names, _CLOCK_NAMES | set().union(*(known for _, known in _CLOCKS.values())))
    counter = _one(roles, "counter", names, _COUNTER_NAMES)
    made = []
    for place, (name, unit, column) in enumerate(zip(names, units, columns, strict=True)):
        role, time_unit = roles[place]
        if (role == "time" and place != clock) or (role == "counter" and place != counter):
            role, time_unit = "value", ""
        finite = _finite(column)
        made.append(
            FoundField(
                name,
                clean_unit(unit),
                role,  # type: ignore[arg-type]
                time_unit,
                tuple(finite[-SAMPLES:]),
                min(finite, default=None),
                max(finite, default=None),
                median(map(sub, finite[1:], finite)) if len(finite) > 3 else None,
                _bits(finite) if role == "counter" else None,
            )
        )
    return tuple(made)


def _finite(column: Iterable[float | None]) -> list[float]:
    """Its numbers, without words, NaN and infinity."""
    return [x for x in column if x is not None and math.isfinite(x)]


def _bits(numbers: list[float]) -> int:
    """After how many bits a counter begins again, as far as it has been seen to: 32 where it has not."""
    steps = set(map(sub, numbers[1:], numbers))
    return next((bits for bits in (8, 16) if 1 - (1 << bits) in steps), 32)


def by_clock(fields: Sequence[FoundField]) -> float | None:
    """How many readings the robot takes a second by its own clock; None: it has none. Chunks arrive unevenly, and a
    busy machine reads them late, which the clock does not know of."""
    clock = next((field for field in fields if field.role == "time" and field.step), None)
    return None if clock is None or not clock.step else _CLOCKS[clock.time_unit][0] / clock.step


def _role(name: str, place: int, column: Sequence[float | None], rate_hz: float | None, whole: bool) -> tuple[str, str]:
    """(role, unit of time) of one column."""
    if sum(x is not None for x in column) < len(column) / 2:
        return "unused", ""
    numbers = _finite(column)
    low = name.lower()
    said = next((unit for unit, (_, known) in _CLOCKS.items() if low in known), "")
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if len(steps) < 3:
        return ("time", said) if said and said != "s" else ("value", "")
    growing = sum(step > 0 for step in steps) >= _STEADY * len(steps)
    step = median(steps)
    steady = sum(abs(other - step) <= max(0.25 * abs(step), 1.01 * whole) for other in steps) >= 0.8 * len(steps)
    ones = whole and sum(other in (1, -0xFF, -0xFFFF) for other in steps) >= COUNTING * len(steps)
    ones = ones and not _goes_round(steps)
    if growing and min(numbers) >= 0 and rate_hz is not None and low not in _COUNTER_NAMES:
        growth = step * rate_hz
        for unit, (per_second, _) in _CLOCKS.items():
            if _GROWTH[0] <= growth / per_second <= _GROWTH[1]:
                hinted = bool(said) or low in _CLOCK_NAMES or (place == 0 and not ones)
                if (unit != "s" and (whole or hinted) and (steady or hinted)) or (unit == "s" and hinted and steady):
                    return "time", unit
    if said and said != "s" and growing:
        return "time", said
    return ("counter", "") if ones else ("value", "")


def _goes_round(steps: Sequence[float]) -> bool:
    """Whether it begins again after a number that no counter of 8 or 16 bits ends with, time after time: a position, an
    angle, a second of the minute. Once may be a restart."""
    back = Counter(step for step in steps if step < -1)
    return bool(back) and not {-0xFF, -0xFFFF} & back.keys() and max(back.values()) > 1


def _one(roles: list[tuple[str, str]], role: str, names: Sequence[str], known: set[str]) -> int | None:
    """The place of the column that has this role: one whose name says so before others."""
    places = [place for place, (found, _) in enumerate(roles) if found == role]
    return min(places, key=lambda place: (names[place].lower() not in known, place), default=None)
