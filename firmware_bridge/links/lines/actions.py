"""The line of an action: "m {left:.3f} {right:.3f}\\n" with the values in place of the names.

Its rule: a line can say nothing but the action's fields as plain numbers: names alone, no attribute, index or nested
format, and a number of digits for each, since an exponent ("1e-07") is read as 1 by many boards. What it makes of the
least, the greatest and the safe values must read back as these, or the configuration is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from string import Formatter

from firmware_bridge.errors import nearest
from firmware_bridge.formats import Field
from firmware_bridge.links.declarations import ActionDeclaration
from firmware_bridge.links.lines import text
from firmware_bridge.table import Table

_SPEC = re.compile(r"(?:[ 0]?[<>=^])?[-+ ]?(?P<width>0?\d{0,2})(?:\.\d{1,2})?(?P<kind>[fFdxX])")
# How each kind of number looks, and what would make it longer.
_WRITTEN = {
    **dict.fromkeys("fF", (r"[-+]?[0-9]+(?:\.[0-9]+)?", "[0-9.]")),
    "d": ("[-+]?[0-9]+", "[0-9]"),
    **dict.fromkeys("xX", ("[-+]?[0-9A-Fa-f]+", "[0-9A-Fa-f]")),
}
_CLOSE = 0.01  # of a field's range: how far a written number may be from the value


class LineTemplate:
    """The line of one action, written and read."""

    def __init__(self, table: Table, fields: Sequence[Field]) -> None:
        """table: the action's; its error says what is wrong with `line` or `safe`."""
        self._table, self._fields = table, tuple(fields)
        self._safe_values = tuple(float(field.safe or 0.0) for field in self._fields)
        line = text.line(table, "line")
        assert line is not None  # it is required
        self._parts: list[tuple[str, int | None, str]] = []  # text before, field, format; the last has no field
        self._pattern = re.compile(self._parse(line).encode())
        self._check()
        self._safe = self._safe_line()

    def write(self, values: Sequence[float]) -> bytes:
        """The line for values in the order of the fields."""
        out = []
        for before, at, spec in self._parts:
            out.append(before)
            if at is not None:
                out.append(_formatted(values[at], spec))
        return "".join(out).encode()

    def safe(self) -> bytes:
        """The line that makes the robot safe."""
        return self._safe

    def read(self, data: bytes) -> tuple[tuple[float, ...], int] | None:
        """The values of the line that `data` begins with, and its length; None: it begins with another one, or with
        half of this. The robot's side."""
        if data.startswith(self._safe):
            return self._safe_values, len(self._safe)
        return self._read(data)

    def _read(self, data: bytes) -> tuple[tuple[float, ...], int] | None:
        match = self._pattern.match(data)
        if match is None:
            return None
        values = [0.0] * len(self._fields)
        said = [(at, spec) for _before, at, spec in self._parts if at is not None]
        for (at, spec), number in zip(said, match.groups(), strict=True):
            try:
                values[at] = _number(number.decode(), spec)
            except ValueError:
                return None
        return tuple(values), match.end()

    def _parse(self, line: str) -> str:
        """Fill `_parts`; returns the pattern of such lines."""
        fail, names = self._table.fail, [field.name for field in self._fields]
        if re.match(r"\{\s*\"", line):
            raise fail("line", "begins as JSON does: write {{ and }} for its braces; { } are for the names of fields")
        try:
            parts = list(Formatter().parse(line))
        except ValueError as error:
            raise fail("line", f"{error}; a brace that the robot shall see is written {{{{ or }}}}") from None
        pattern = []
        for place, (before, name, spec, conversion) in enumerate(parts):
            pattern.append(re.escape(before))
            if name is None:
                self._parts.append((before, None, ""))
                continue
            if name not in names:
                raise fail("line", f"there is no field {name!r}{nearest(name, names)}")
            if conversion or not (found := _SPEC.fullmatch(spec or "")):
                given = f"{{{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
                raise fail("line", f"{given} {_HOW}")
            behind = parts[place + 1][0] if place + 1 < len(parts) and parts[place + 1][1] is not None else "\n"
            pattern.append(self._number_pattern(name, spec or "", found["kind"], int(found["width"] or 0), behind))
            self._parts.append((before, names.index(name), spec or ""))
        said = {at for _before, at, _spec in self._parts}
        for at, name in enumerate(names):
            if at not in said:
                raise fail("line", f"does not say {name!r}: where does {{{name}:.3f}} belong?")
        return "".join(pattern)

    def _number_pattern(self, name: str, spec: str, kind: str, width: int, behind: str) -> str:
        """The pattern of one number. behind: the text up to the next number."""
        number, goes_on = _WRITTEN[kind]
        if not behind and width:
            return f"(.{{{width}}})"
        if not behind or re.match(goes_on, behind):
            why = f"between {{{name}:{spec}}} and the next number must stand what is no part of a number"
            raise self._table.fail("line", f"{why}, such as a space")
        return f"( *{number} *)"

    def _check(self) -> None:
        """The line says what is meant, at the ends of every field and where it is safe."""
        for _before, at, spec in self._parts:
            if at is not None:
                self._check_field(self._fields[at], spec)
        for key in ("minimum", "maximum", "safe"):
            values = [float(getattr(field, key)) for field in self._fields]
            line = self.write(values)
            found = self._read(line)
            if found is None or not self._near(found[0], values):
                why = f"{line.decode()!r} cannot be read back as its numbers; put text between them"
                raise self._table.fail("line", why)
            if line.lstrip().startswith(b"{"):
                try:
                    json.loads(line)
                except ValueError as error:
                    raise self._table.fail("line", f"{line.decode()!r} is not JSON: {error}") from None

    def _near(self, found: Sequence[float], values: Sequence[float]) -> bool:
        return all(abs(a - b) <= _room(field) for a, b, field in zip(found, values, self._fields, strict=True))

    def _check_field(self, field: Field, spec: str) -> None:
        for key, name in (("minimum", "min"), ("maximum", "max"), ("safe", "safe")):
            value = float(getattr(field, key))
            try:
                written = _formatted(value, spec)
                near = abs(_number(written, spec) - value) <= _room(field)
            except ValueError as error:
                raise self._table.fail("line", f"{{{field.name}:{spec}}} does not write a number: {error}") from None
            if not near:
                why = f"{{{field.name}:{spec}}} writes {name} = {value:g} as {written.strip()}"
                raise self._table.fail("line", f"{why}; give it more digits")

    def _safe_line(self) -> bytes:
        """`safe`, or the line with the safe values."""
        safe = text.line(self._table, "safe", None)
        if safe is None:
            return self.write(self._safe_values)
        if "{{" in safe or "}}" in safe:
            raise self._table.fail("safe", "is sent as it stands, so a brace is written once")
        found = self._read(safe.encode())
        for field, value, declared in zip(self._fields, found[0], self._safe_values, strict=True) if found else ():
            if abs(value - declared) > _room(field):
                why = f"says {field.name} = {value:g}, but the field's safe value is {declared:g}"
                raise self._table.fail("safe", f"{why}; if the line is right, give the field safe = {value:g}")
        return safe.encode()


_HOW = (
    "must say how a number is written: a number of digits such as {:.3f}, or {:d} for a whole one, {:x} in base 16; "
    "without, one near 0 is written with an exponent (1e-07), which many boards read as 1"
)


def template(action: ActionDeclaration) -> LineTemplate:
    """The line of an action. Raises its table's error."""
    return LineTemplate(action.table, action.form.fields)


def _formatted(value: float, spec: str) -> str:
    return format(round(value) if spec[-1] in "dxX" else value, spec)


def _number(written: str, spec: str) -> float:
    """Raises ValueError."""
    return float(int(written, 16) if spec[-1] in "xX" else float(written))


def _room(field: Field) -> float:
    """How far a written number may be from the value."""
    return _CLOSE * ((field.maximum or 0.0) - (field.minimum or 0.0)) + 1e-9
