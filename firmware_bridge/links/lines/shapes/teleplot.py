"""Teleplot's lines, one variable each: ">roll:1.5", ">roll:1203340:1.5§rad|np", ">roll:1203340:1.5;1203350:1.6".

Its rule: a reading is all declared variables since the one before; the variable `last` ends it. One that comes again
before `last`, or is missing at it, or was said at another time, is a fault: readings are never mixed. What began before
the port was opened, or holds a line that was refused already, is passed over. Other variables, texts and plots of x
over y mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from firmware_bridge.links.lines.numbers import DECIMAL, PLAIN
from firmware_bridge.links.lines.shapes.shape import Outcome, Row, Shape, shape, shown
from firmware_bridge.remembered import Remembers

_UNIT = b"\xa7"  # § in Latin-1, and the end of it in UTF-8
_NAME = PLAIN + b"_"  # what the name of a variable that is not declared is made of


class Teleplot(Remembers):
    """last: the field whose line ends a reading; None: the last one. time: the field that is the lines' own timestamp,
    or a variable. most_apart: of the timestamps of one reading, in their unit."""

    REMEMBERED: ClassVar = {"_held": dict[int, list[float]], "_times": list[list[float]], "_torn": bool}
    mark = b">"

    def __init__(
        self,
        names: Sequence[str],
        labels: Mapping[str, str] | None = None,
        last: str | None = None,
        time: str | None = None,
        most_apart: float = math.inf,
    ) -> None:
        self._labels = [(labels or {}).get(name, name) for name in names]
        self._at = {label.encode(): at for at, label in enumerate(self._labels)}
        self._time = None if time is None else list(names).index(time)
        self._last = list(names).index(last or [name for name in names if name != time][-1])
        self._most_apart = most_apart
        self._held: dict[int, list[float]] = {}  # by field: the values since the last reading
        self._times: list[list[float]] = []  # timestamps of each line with any
        self._torn = True  # what is held is known not to be whole: at its end that is no fault any more

    def opened(self) -> None:
        self._begin(torn=True)

    def read(self, body: bytes) -> Outcome:
        name, colon, rest = body[1:].partition(b":")
        rest, _bar, flags = rest.rpartition(b"|") if b"|" in rest else (rest, b"", b"")
        if flags in (b"t", b"xy"):
            return []
        at = self._at.get(name)
        if not colon or b">" in rest or (at is None and name.translate(None, _NAME)):
            self._begin(torn=True)
            return shape("It is not one variable, '>name:value'.")
        if at is None:
            return []
        try:
            values, times = _samples(rest)
        except ValueError:
            self._begin(torn=True)
            return shape(f"{shown(rest)} is no number: {self._labels[at]!r}.")
        return self._add(at, values, times)

    def header(self, body: bytes) -> bool:
        return False

    def write(self, row: Sequence[float]) -> list[bytes]:
        stamp = b"" if self._time is None else DECIMAL.write(row[self._time]) + b":"
        order = sorted(range(len(row)), key=lambda at: at == self._last)
        return [
            b">" + self._labels[at].encode() + b":" + stamp + DECIMAL.write(row[at]) for at in order if at != self._time
        ]

    def meets(self, other: Shape) -> str:
        both = self._at.keys() & other._at.keys() if isinstance(other, Teleplot) else set()
        return f"both have the variable {min(both).decode()!r}" if both else ""

    def _add(self, at: int, values: list[float], times: list[float]) -> Outcome:
        """The values of one line."""
        again, known = at in self._held and at != self._time, self._torn
        if again:
            self._begin(torn=True)
        self._held[at] = values
        if times and self._time is not None:
            self._held[self._time] = times
            self._times.append(times)
        if at == self._last:
            return self._end()
        if again and not known:
            return shape(f"{self._labels[at]!r} came again before {self._labels[self._last]!r}.")
        return []

    def _end(self) -> Outcome:
        """The readings that `last` ends."""
        held, times, torn = self._held, self._times, self._torn
        self._begin(torn=False)
        missing = [label for at, label in enumerate(self._labels) if at not in held]
        if missing:
            return [] if torn else shape(f"{missing[0]!r} is missing before {self._labels[self._last]!r}.")
        if len({len(values) for values in held.values()}) > 1:
            return shape("Its variables have different numbers of values.")
        if any(max(stamps) - min(stamps) > self._most_apart for stamps in zip(*times, strict=True)):
            return shape("Its variables are of different times.")
        rows: list[Row] = [list(row) for row in zip(*(held[at] for at in range(len(self._labels))), strict=True)]
        return shape("It has no number.") if any(all(map(math.isnan, row)) for row in rows) else rows

    def _begin(self, torn: bool) -> None:
        self._held, self._times, self._torn = {}, [], torn


def _samples(text: bytes) -> tuple[list[float], list[float]]:
    """Values, and the timestamps of all of them or none. Raises ValueError."""
    if (end := text.find(_UNIT)) >= 0:
        text = text[:end].removesuffix(b"\xc2")
    if b";" not in text:
        stamp, colon, value = text.rpartition(b":")
        return [DECIMAL.read(value)], [DECIMAL.read(stamp)] if colon else []
    values, times = [], []
    for sample in text.removesuffix(b";").split(b";"):
        stamp, colon, value = sample.rpartition(b":")
        values.append(DECIMAL.read(value))
        if colon:
            times.append(DECIMAL.read(stamp))
    if times and len(times) != len(values):
        raise ValueError
    return values, times
