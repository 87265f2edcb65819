"""Lines of any kind, read by a pattern of the user's own: its named groups are the fields.

Its rule: the whole line must match, so that no number is read as far as the pattern happens to go. A group that takes
no part is a missing value. The pattern is of bytes: what is not ASCII matches as UTF-8, letter by letter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from firmware_bridge.errors import BridgeError
from firmware_bridge.links.lines.numbers import DECIMAL, Notation
from firmware_bridge.links.lines.shapes.shape import Outcome, Row, Shape, shape, shown


class Regex:
    """pattern: has one group for each name and no other. A robot cannot be made of a pattern: `write` refuses."""

    mark = b""

    def __init__(self, names: Sequence[str], pattern: re.Pattern[bytes], notation: Notation = DECIMAL) -> None:
        self._names, self._pattern, self._number = tuple(names), pattern, notation.read
        self._groups = [pattern.groupindex[name] for name in names]

    def opened(self) -> None:
        """One line is one reading."""

    def read(self, body: bytes) -> Outcome:
        match = self._pattern.fullmatch(body)
        if match is None:
            return None
        row: Row = []
        for name, group in zip(self._names, self._groups, strict=True):
            text = match[group]
            try:
                row.append(math.nan if text is None else self._number(text))
            except ValueError:
                return shape(f"{shown(text)} is no number: {name!r}.")
        return shape("It has no number.") if all(map(math.isnan, row)) else [row]

    def header(self, body: bytes) -> bool:
        return False

    def write(self, row: Sequence[float]) -> list[bytes]:
        raise BridgeError("a pattern says how lines are read, not how they are written; take another shape")

    def meets(self, other: Shape) -> str:
        return ""  # what a pattern matches is the user's own affair; the reading that comes first is asked first
