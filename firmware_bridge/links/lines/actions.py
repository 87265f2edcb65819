"""The line of an action: "m {left:.3f} {right:.3f}\\n" with the values in place of the names.

Its rule: a line can say nothing but the action's fields: names alone, no attribute, index or nested format. A number
has its digits, since an exponent ("1e-07") is read as 1 by many boards; the number of a choice is written as its text,
and can be told from every other choice where it stands. What comes of the least, the greatest and the safe values must
read back as these, or the configuration is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import cast

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


@dataclass(frozen=True)
class _Digits:
    """How a number is written."""

    field: Field
    spec: str  # as of `format`

    @property
    def room(self) -> float:
        """How far a written number may be from the value."""
        return _CLOSE * ((self.field.maximum or 0.0) - (self.field.minimum or 0.0)) + 1e-9

    def write(self, value: float) -> str:
        return format(round(value) if self.spec[-1] in "dxX" else value, self.spec)

    def read(self, written: str) -> float:
        """Raises ValueError."""
        return float(int(written, 16) if self.spec[-1] in "xX" else float(written))

    def show(self, value: float) -> str:
        """As the file says it."""
        return f"{value:g}"


@dataclass(frozen=True)
class _Choice:
    """How the number of a choice is written: as its text."""

    field: Field
    choices: tuple[str, ...]
    room = 0.0

    def write(self, value: float) -> str:
        return self.choices[round(value)]

    def read(self, written: str) -> float:
        """Raises ValueError."""
        return float(self.choices.index(written))

    def show(self, value: float) -> str:
        """As the file says it."""
        return json.dumps(self.write(value), ensure_ascii=False)


class LineTemplate:
    """The line of one action, written and read."""

    def __init__(self, table: Table, fields: Sequence[Field], choices: Mapping[str, tuple[str, ...]]) -> None:
        """table: the action's; its error says what is wrong with `line` or `safe`. choices: of fields that are texts,
        by name."""
        self._table, self._fields, self._choices = table, tuple(fields), choices
        self._safe_values = tuple(float(field.safe or 0.0) for field in self._fields)
        line = text.line(table, "line")
        assert line is not None  # it is required
        # text before, field, how it is written; the last has no field
        self._parts: list[tuple[str, int, _Digits | _Choice] | tuple[str, None, None]] = []
        self._pattern = re.compile(self._parse(line).encode())
        self._check()
        self._safe = self._safe_line()

    def write(self, values: Sequence[float]) -> bytes:
        """The line for values in the order of the fields."""
        out = []
        for before, at, how in self._parts:
            out.append(before)
            if at is not None and how is not None:
                out.append(how.write(values[at]))
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
        for (at, how), written in zip(self._said(), match.groups(), strict=True):
            try:
                values[at] = how.read(written.decode())
            except ValueError:
                return None
        return tuple(values), match.end()

    def _said(self) -> list[tuple[int, _Digits | _Choice]]:
        """The fields in the order of the line."""
        return [(at, how) for _before, at, how in self._parts if at is not None and how is not None]

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
                self._parts.append((before, None, None))
                continue
            if name not in names:
                raise fail("line", f"there is no field {name!r}{nearest(name, names)}")
            given = f"{{{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
            field = self._fields[names.index(name)]
            if name in self._choices:
                if conversion or spec:
                    raise fail("line", f"{given} is a choice, which is written as it stands: {{{name}}}")
                made = _Choice(field, tuple(map(text.unescaped, self._choices[name])))
                pattern.append(self._choice_pattern(made, parts[place + 1][0] if place + 1 < len(parts) else ""))
                self._parts.append((before, names.index(name), made))
                continue
            if conversion or not (found := _SPEC.fullmatch(spec or "")):
                raise fail("line", f"{given} {_HOW}")
            behind = parts[place + 1][0] if place + 1 < len(parts) and parts[place + 1][1] is not None else "\n"
            pattern.append(self._number_pattern(name, spec or "", found["kind"], int(found["width"] or 0), behind))
            self._parts.append((before, names.index(name), _Digits(field, spec or "")))
        said = {at for at, _how in self._said()}
        for at, name in enumerate(names):
            if at not in said:
                example = name if name in self._choices else f"{name}:.3f"
                raise fail("line", f"does not say {name!r}: where does {{{example}}} belong?")
        return "".join(pattern)

    def _choice_pattern(self, choice: _Choice, behind: str) -> str:
        """The pattern of one choice. behind: the text up to the next field, or the end. No choice, followed by it,
        begins with another one, followed by it: so a line says one of them."""
        name, table = choice.field.name, cast(Table, self._table.table("fields"))
        for one in choice.choices:
            if any(end in one for end in text.ENDS):
                why = f"{one!r} holds a line end, which belongs at the end of `line`"
                raise cast(Table, table.table(name)).fail("choices", why)
            for other in choice.choices:
                if other != one and (other + behind).startswith(one + behind):
                    why = f"{other!r} begins with {one!r} where {{{name}}} stands; put text behind it, such as a space"
                    raise self._table.fail("line", why)
        return f"({'|'.join(map(re.escape, choice.choices))})"

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
        for _at, how in self._said():
            if isinstance(how, _Digits):
                self._check_digits(how)
        ends = [[float(getattr(field, key)) for field in self._fields] for key in ("minimum", "maximum", "safe")]
        for values in [*ends, *self._each_choice()]:
            line = self.write(values)
            found = self._read(line)
            if found is None or any(abs(found[0][at] - values[at]) > how.room for at, how in self._said()):
                why = f"{line.decode()!r} cannot be read back as its numbers; put text between them"
                raise self._table.fail("line", why)
            if line.lstrip().startswith(b"{"):
                try:
                    json.loads(line)
                except ValueError as error:
                    raise self._table.fail("line", f"{line.decode()!r} is not JSON: {error}") from None

    def _each_choice(self) -> Iterator[list[float]]:
        """The safe values, but for one choice."""
        for at, how in self._said():
            for number in range(len(how.choices)) if isinstance(how, _Choice) else ():
                yield [*self._safe_values[:at], float(number), *self._safe_values[at + 1 :]]

    def _check_digits(self, how: _Digits) -> None:
        field, spec = how.field, how.spec
        for key, name in (("minimum", "min"), ("maximum", "max"), ("safe", "safe")):
            value = float(getattr(field, key))
            try:
                written = how.write(value)
                near = abs(how.read(written) - value) <= how.room
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
        values = self._safe_values if found is None else found[0]
        for at, how in self._said():
            value, declared = values[at], self._safe_values[at]
            if abs(value - declared) > how.room:
                said = how.show(value)
                why = f"says {how.field.name} = {said}, but the field's safe value is {how.show(declared)}"
                raise self._table.fail("safe", f"{why}; if the line is right, give the field safe = {said}")
        return safe.encode()


_HOW = (
    "must say how a number is written: a number of digits such as {:.3f}, or {:d} for a whole one, {:x} in base 16; "
    "without, one near 0 is written with an exponent (1e-07), which many boards read as 1"
)


def template(action: ActionDeclaration) -> LineTemplate:
    """The line of an action. Raises its table's error."""
    return LineTemplate(action.table, action.form.fields, action.choices)
