"""Lines of labels and values in any order: "Setpoint:100.0,Speed:97.5", "PWM: 10.5%, Thrust: -0.01lbs".

Its rule: every declared label exactly once, its value a number with or without a unit; ":" or "=" between them. Other
labels, and whatever they say, mean nothing. Two lines run together are refused as far as that can be seen: a label
twice, no separator between a value and the next label, a unit that is none or another one than in the line before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from firmware_bridge.links.lines.numbers import DECIMAL, DECIMAL_COMMA, Notation
from firmware_bridge.links.lines.shapes.shape import Outcome, Refused, Row, Shape, shape, shown
from firmware_bridge.remembered import Remembers

_SIGNS = re.compile(rb"[:=]")
_BLANK = b" \t"
# Letters, "%", what stands in m/s² in UTF-8; a digit only as an exponent. So "10>5%", a "10.5%" with one bit wrong, is
# refused and not read as 10. One byte a turn: nothing here takes more than one pass.
_UNIT = re.compile(rb"(?:[A-Za-z%/^*]|[\xc2-\xce][\x80-\xbf]|\xe2[\x80-\xbf]{2}|(?<=[A-Za-z^])[23](?![0-9]))*")
_OTHER = -1  # a label that is not declared
_REMEMBERED = 256  # ends of values that are known by heart: ",Speed" comes again with each line


class Pairs(Remembers):
    """labels: what the robot writes for a field, where that is not the field's name."""

    REMEMBERED: ClassVar = dict.fromkeys(("_units", "_changed"), dict[int, bytes])
    mark = b""

    def __init__(
        self,
        names: Sequence[str],
        labels: Mapping[str, str] | None = None,
        notation: Notation = DECIMAL,
    ) -> None:
        self._labels = [(labels or {}).get(name, name).encode() for name in names]
        self._at = {label: at for at, label in enumerate(self._labels)}
        self._longest_first = sorted(self._labels, key=len, reverse=True)
        self._number, self._write, self._token = notation.read, notation.write, notation.token
        comma = notation is DECIMAL_COMMA
        self._hard = re.compile(rb"[;|\t]" if comma else rb"[,;|\t]")  # separates wherever it stands; a space need not
        self._between = b"; " if comma else b","
        self._known: dict[bytes, tuple[bytes, int] | None] = {}
        self._units: dict[int, bytes] = {}  # of each label, in the lines before
        self._changed: dict[int, bytes] = {}  # another one that came once

    def opened(self) -> None:
        self._units.clear()
        self._changed.clear()

    def read(self, body: bytes) -> Outcome:
        first, *pieces = _SIGNS.split(body)
        if not pieces:
            return None
        row: Row = [math.nan] * len(self._labels)
        found = set[int]()
        label = self._at.get(self._hard.split(first)[-1].strip(_BLANK), _OTHER)
        pieces[-1] += b";"  # the last value ends as the others do
        for piece in pieces:
            if label == _OTHER:
                label = self._label(piece)
                continue
            token = self._token.match(piece)
            assert token is not None  # it may be empty
            rest = self._after(piece[token.end() :])
            if rest is None:
                return shape(f"{shown(piece.strip())} is no number: {self._labels[label].decode()!r}.")
            unit, following = rest
            if unit != self._units.get(label) and (refused := self._new_unit(label, unit)):
                return refused
            if label in found:
                return shape(f"{self._labels[label].decode()!r} stands twice in it.")
            found.add(label)
            row[label] = self._number(token[1])
            label = following
        if not found:
            return None
        if len(found) < len(row):
            missing = next(at for at in range(len(row)) if at not in found)
            return shape(f"It has no {self._labels[missing].decode()!r}.")
        self._changed.clear()
        return shape("It has no number.") if all(map(math.isnan, row)) else [row]

    def header(self, body: bytes) -> bool:
        return False

    def write(self, row: Sequence[float]) -> list[bytes]:
        pairs = [label + b":" + self._write(value) for label, value in zip(self._labels, row, strict=True)]
        return [self._between.join(pairs)]

    def meets(self, other: Shape) -> str:
        if not isinstance(other, Pairs):
            return ""
        labels, others = self._at.keys(), other._at.keys()
        return "one has all the labels of the other" if labels <= others or labels >= others else ""

    def _after(self, rest: bytes) -> tuple[bytes, int] | None:
        """What stands behind a number: its unit, and which label follows. None: no unit, or no separator."""
        if rest not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[rest] = self._unit_and_label(rest)
        return self._known[rest]

    def _unit_and_label(self, rest: bytes) -> tuple[bytes, int] | None:
        unit, *others = self._hard.split(rest)
        label = self._at.get(others[-1].strip(_BLANK), _OTHER) if others else _OTHER
        if not others:
            text = self._last_words(rest)
            if len(text) == len(rest):
                return None  # nothing separates
            unit, label = rest[: -len(text)], self._at.get(text, _OTHER)
        unit = unit.strip(_BLANK)
        return (unit, label) if _UNIT.fullmatch(unit) else None

    def _label(self, text: bytes) -> int:
        """Which label follows a value that means nothing."""
        last = self._hard.split(text)[-1].strip(_BLANK)
        return self._at.get(last, self._at.get(self._last_words(text), _OTHER))

    def _last_words(self, text: bytes) -> bytes:
        """Where only spaces separate: the longest declared label that the text ends with, else its last word."""
        text = text.rstrip(b" ")
        for label in self._longest_first:
            if text.endswith(b" " + label):
                return label
        return text.rpartition(b" ")[2]

    def _new_unit(self, label: int, unit: bytes) -> Refused | None:
        """A unit that was not in the line before changes what the number means, or is a damaged number's end: refused
        until it has come twice running."""
        before = self._units.get(label)
        if before is None or self._changed.get(label) == unit:
            self._units[label] = unit
            return None
        self._changed[label] = unit
        return shape(f"{self._labels[label].decode()!r} has the unit {shown(unit)}, before it was {shown(before)}.")
