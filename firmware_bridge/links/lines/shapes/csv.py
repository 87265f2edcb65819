"""Lines of numbers in a fixed order: "0.02,-0.98,9.81".

Its rule: exactly as many cells as declared fields, each of them a number or a word for a missing one. Spaces around a
cell and one separator at the end mean nothing. A column named "_" may hold any text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from firmware_bridge.links.declarations import UNUSED
from firmware_bridge.links.lines.numbers import DECIMAL, HEXADECIMAL, PLAIN, Notation
from firmware_bridge.links.lines.shapes.shape import Outcome, Row, Shape, apart, shape, shown

_NAME_END = re.compile(rb"[ \t(\[]")


class Csv:
    """separator: the text between cells; b" " stands for any number of spaces and tabs. where: columns with a fixed
    value, as number or text; a line with another one there is another kind of message. led: a separator follows the
    prefix, too ("ypr⇥1⇥2")."""

    mark = b""

    def __init__(
        self,
        names: Sequence[str],
        separator: bytes = b",",
        notation: Notation = DECIMAL,
        where: Mapping[str, float | str] | None = None,
        led: bool = False,
    ) -> None:
        self._names = tuple(names)
        self._width = len(self._names)
        self._separator = separator.strip(b" ") or None  # None: any run of spaces, for bytes.split
        self._between, self._led = separator, led
        self._number, self._write = notation.read, notation.write
        self._where = {self._names.index(name): value for name, value in (where or {}).items()}
        self._used = [at for at, name in enumerate(self._names) if name != UNUSED and not self._is_text(at)]
        # Every cell is a number with a point: the whole line is read at once.
        self._at_once = len(self._used) == self._width and not self._where and notation is DECIMAL
        self._named_like_numbers = notation is HEXADECIMAL and all(map(self._reads, self._names))

    def opened(self) -> None:
        """One line is one reading."""

    def read(self, body: bytes) -> Outcome:
        if self._named_like_numbers and self.header(body):
            return None
        cells = self._cells(body)
        if self._where and not self._is_mine(cells):
            return [] if len(cells) == self._width else None
        if len(cells) != self._width:
            return shape(f"It has {_columns(len(cells))} instead of {self._width}.")
        if self._at_once and not body.translate(None, PLAIN):
            try:
                row = list(map(float, cells))
            except ValueError:
                pass
            else:
                if math.isfinite(sum(row)):
                    return [row]
        return self._each(cells)

    def _each(self, cells: list[bytes]) -> Outcome:
        """The careful way, cell by cell: words for missing values, text columns, sentences."""
        row: Row = [math.nan] * self._width
        for at in self._used:
            try:
                row[at] = self._number(cells[at])
            except ValueError:
                return shape(f"{shown(cells[at].strip())} is no number: {self._names[at]!r}.")
        if all(map(math.isnan, row)):
            return shape("It has no number.")
        return [row]

    def header(self, body: bytes) -> bool:
        named = [_NAME_END.split(cell.strip(b' \t#"'), maxsplit=1)[0].lower() for cell in self._cells(body)]
        return len(named) == self._width and all(
            name in (UNUSED, cell.decode(errors="replace"))
            for name, cell in zip(map(str.lower, self._names), named, strict=True)
        )

    def write(self, row: Sequence[float]) -> list[bytes]:
        cells = [b"" if name == UNUSED else self._write(value) for name, value in zip(self._names, row, strict=True)]
        for at, wanted in self._where.items():
            cells[at] = wanted.encode() if isinstance(wanted, str) else self._write(wanted)
        if self._separator is None:
            cells = [cell or b"0" for cell in cells]
        return [(self._between if self._led else b"") + self._between.join(cells)]

    def meets(self, other: Shape) -> str:
        if not isinstance(other, Csv) or self._width != other._width or apart(self._where, other._where):
            return ""
        if self._separator != other._separator and self._width > 1:
            return ""
        return f"both are {_columns(self._width)} of numbers"

    def _cells(self, body: bytes) -> list[bytes]:
        """The texts between separators; one at the end is none, nor one that follows the prefix."""
        cells = body.split(self._separator)
        if self._led and not cells[0].strip():
            cells = cells[1:]
        if len(cells) == self._width + 1 and not cells[-1].strip():
            cells.pop()
        return cells

    def _is_text(self, at: int) -> bool:
        return isinstance(self._where.get(at), str)

    def _is_mine(self, cells: list[bytes]) -> bool:
        """Whether the columns with a fixed value have it."""
        return all(at < len(cells) and self._agrees(cells[at], wanted) for at, wanted in self._where.items())

    def _agrees(self, cell: bytes, wanted: float | str) -> bool:
        if isinstance(wanted, str):
            return cell.strip().decode(errors="replace") == wanted
        try:
            return self._number(cell) == wanted
        except ValueError:
            return False

    def _reads(self, name: str) -> bool:
        try:
            self._number(name.encode())
        except ValueError:
            return False
        return True


def _columns(count: int) -> str:
    return f"{count} column{'' if count == 1 else 's'}"
