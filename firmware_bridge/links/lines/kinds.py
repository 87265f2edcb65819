"""One kind of line, made of the keys of its table [link.reading.NAME].

Its rule: whose a line is must not depend on luck. A line belongs to the readings with the longest prefix that it begins
with; of these, to the one that can read it. Two of which both could are an error of the configuration.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from firmware_bridge.errors import nearest
from firmware_bridge.links import declarations
from firmware_bridge.links.checksums import CHECKSUMS, Checksum
from firmware_bridge.links.declarations import UNUSED, Column, ReadingDeclaration
from firmware_bridge.links.lines import text
from firmware_bridge.links.lines.envelope import Envelope
from firmware_bridge.links.lines.numbers import DECIMAL, DECIMAL_COMMA, HEXADECIMAL, Notation
from firmware_bridge.links.lines.shapes.csv import Csv
from firmware_bridge.links.lines.shapes.json import Json, path_of
from firmware_bridge.links.lines.shapes.pairs import Pairs
from firmware_bridge.links.lines.shapes.regex import Regex
from firmware_bridge.links.lines.shapes.shape import Outcome, Refused, Shape
from firmware_bridge.links.lines.shapes.teleplot import Teleplot
from firmware_bridge.table import Table, show

# shape → the keys that only some shapes have
SHAPES: dict[str, tuple[str, ...]] = {
    "csv": ("separator", "decimal", "base", "where"),
    "pairs": ("labels", "decimal", "base"),
    "json": ("labels", "where"),
    "teleplot": ("labels", "last"),
    "regex": ("pattern", "decimal", "base"),
}
# Of the period: lines of one Teleplot reading with their own timestamps may be as far apart as it takes to print them,
# which is less than a period; those of two readings are at least a period apart.
APART = 0.9
NMEA = "nmea"  # its checksum is an xor of all bytes


@dataclass(frozen=True)
class Kind:
    """How the lines of one reading look. request: what is sent to ask for one; None: the robot sends by itself."""

    name: str
    envelope: Envelope
    shape: Shape
    request: bytes | None = None

    @property
    def prefix(self) -> bytes:
        """What every line of it begins with."""
        return self.envelope.prefix + self.shape.mark

    def reader(self) -> Callable[[bytes], Outcome]:
        """What reads a line that begins with `prefix`; made once, as it runs a thousand times a second."""
        if self.envelope == Envelope():
            return self.shape.read
        within, read = self.envelope.open, self.shape.read

        def opened(line: bytes) -> Outcome:
            body = within(line)
            return body if isinstance(body, Refused) else read(body)

        return opened

    def header(self, line: bytes) -> bool:
        """Whether a line names the fields, with or without the prefix."""
        return self.shape.header(line.removeprefix(self.envelope.prefix))

    def write(self, row: Sequence[float]) -> bytes:
        """The lines that say these numbers."""
        return b"".join(self.envelope.seal(body) + b"\r\n" for body in self.shape.write(row))


def columns(table: Table) -> list[Column]:
    """The columns of a reading; one with a fixed value says which kind of line it is, so it is no channel."""
    found = declarations.columns(table)
    where = table.values.get("where")
    fixed = where.keys() if isinstance(where, dict) else ()
    return [replace(item, kept=False) if item.name in fixed else item for item in found]


def kind(reading: ReadingDeclaration) -> Kind:
    """The kind of line that a reading's table declares. Raises the table's error."""
    table = reading.table
    shape = table.choice("shape", list(SHAPES))
    _check_keys(table, shape)
    envelope = Envelope(text.part(table, "prefix"), text.part(table, "suffix"), _checksum(table))
    request = text.line(table, "request", None)
    if request is not None and reading.rate_hz is None:
        raise table.fail("rate_hz", "is missing: how often is the robot asked? It answers a request, never by itself")
    made = _shape(reading, shape, envelope.prefix)
    return Kind(reading.name, envelope, made, None if request is None else request.encode())


def groups(table: Table, kinds: Sequence[Kind]) -> list[tuple[bytes, list[Kind]]]:
    """Kinds by prefix, the longest first: the order in which a line is compared with them. table: [link], whose error
    says which two cannot be told apart."""
    for one, other in combinations(kinds, 2):
        if one.prefix != other.prefix or (one.request and other.request):
            continue
        if one.envelope.suffix and other.envelope.suffix and one.envelope.suffix != other.envelope.suffix:
            continue
        if why := one.shape.meets(other.shape):
            begin = f"with {one.prefix.decode()!r}" if one.prefix else "with no prefix"
            which = f"lines of {one.name!r} and {other.name!r} cannot be told apart: {why}, {begin}"
            raise table.fail("reading", f"{which}; give each of them a prefix, or a `where`")
    prefixes = sorted({item.prefix for item in kinds}, key=len, reverse=True)
    return [(prefix, [item for item in kinds if item.prefix == prefix]) for prefix in prefixes]


def _check_keys(table: Table, shape: str) -> None:
    """No key of another shape."""
    for key in {key for keys in SHAPES.values() for key in keys}:
        if key in table.values and key not in SHAPES[shape]:
            having = " or ".join(f'"{name}"' for name, keys in SHAPES.items() if key in keys)
            raise table.fail(key, f'means nothing with shape = "{shape}"; it is a key of {having}')


def _checksum(table: Table) -> Checksum | None:
    if "checksum" not in table.values:
        return None
    name = table.choice("checksum", [NMEA, *CHECKSUMS])
    return CHECKSUMS["xor" if name == NMEA else name]


def _shape(reading: ReadingDeclaration, shape: str, prefix: bytes) -> Shape:
    table, names = reading.table, [item.name for item in reading.columns]
    if shape == "csv":
        notation = _notation(table)
        led = prefix[-1:].isalnum()
        return Csv(names, _separator(table, notation), notation, _where_columns(table, names), led)
    if UNUSED in names:
        raise table.fail("fields", f'names its fields by what stands in the line, so "{UNUSED}" cannot be one of them')
    if shape == "regex":
        return _regex(table, names)
    labels = _labels(table, names)
    if shape == "pairs":
        return Pairs(names, labels, _notation(table))
    if shape == "json":
        for name in names:
            _way(table, "fields" if name not in labels else "labels", labels.get(name, name))
        where = _flat(table)
        for name, wanted in where.items():
            _way(table, "where", name)
            if not isinstance(wanted, (str, int, float)):
                raise table.fail("where", f"of {name!r} must be a number, a text, or true or false, not {show(wanted)}")
        return Json(names, labels, where)
    time = None if reading.time is None else names[reading.time]
    last = table.take("last", str, None)
    if last is not None and last not in names:
        raise table.fail("last", f"there is no field {last!r}{nearest(last, names)}")
    apart = math.inf
    if reading.clock is not None and reading.period_ns is not None:
        apart = max(1.0, APART * reading.period_ns / reading.clock.tick_ns)
    return Teleplot(names, labels, last, time, apart)


def _notation(table: Table) -> Notation:
    """How the numbers of a line are written."""
    base = table.choice("base", ("decimal", "hex"), "decimal")
    if base == "hex":
        if "decimal" in table.values:
            raise table.fail("decimal", 'stands beside base = "hex", whose numbers have no decimal point')
        return HEXADECIMAL
    return DECIMAL_COMMA if table.choice("decimal", (".", ","), ".") == "," else DECIMAL


def _separator(table: Table, notation: Notation) -> bytes:
    """What stands between the cells of a line."""
    if "separator" in table.values and not table.take("separator", str):
        raise table.fail("separator", 'is empty; " " is any number of spaces')
    separator = text.part(table, "separator") or b","
    if notation is DECIMAL_COMMA and b"," in separator:
        why = 'is "," where it is left out' if "separator" not in table.values else 'is ","'
        raise table.fail("separator", f'{why}, and decimal = "," makes it a part of numbers; often it is ";"')
    if re.search(rb"[0-9A-Za-z.+_-]", separator):
        raise table.fail("separator", f"{separator.decode()!r} could be a part of a number")
    return separator


def _where_columns(table: Table, names: Sequence[str]) -> dict[str, float | str]:
    inner = table.table("where", required=False)
    wanted = {} if inner is None else inner.values
    for name, value in wanted.items():
        if name not in names:
            raise table.fail("where", f"there is no field {name!r}{nearest(name, names)}")
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise table.fail("where", f"of {name!r} must be a number or a text, not {show(value)}")
    return dict(wanted)


def _flat(table: Table) -> dict[str, Any]:
    """The `where` of JSON; a table in it is the way to what it holds."""
    table.take("where", dict, {})
    flat: dict[str, Any] = {}
    left = list(table.values.get("where", {}).items())
    while left:
        name, value = left.pop(0)
        if isinstance(value, dict):
            left += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            flat[name] = value
    return flat


def _way(table: Table, key: str, name: str) -> None:
    try:
        path_of(name)
    except ValueError as error:
        raise table.fail(key, f"{name!r} {error}") from None


def _labels(table: Table, names: Sequence[str]) -> dict[str, str]:
    """What the robot writes for a field, where that is not its name."""
    inner = table.table("labels", required=False)
    labels: dict[str, str] = {}
    for name in inner.values if inner is not None else ():
        if name not in names:
            raise table.fail("labels", f"there is no field {name!r}{nearest(name, names)}")
        labels[name] = inner.take(name, str) if inner is not None else ""
        if not labels[name].strip():
            raise table.fail("labels", f"of {name!r} is empty")
    written = [labels.get(name, name) for name in names]
    for label in written:
        if written.count(label) > 1:
            raise table.fail("labels", f"{label!r} is the label of two fields")
    return labels


def _regex(table: Table, names: Sequence[str]) -> Shape:
    given = table.take("pattern", str)
    try:
        pattern = re.compile(given.encode())
    except (re.error, OverflowError, RecursionError) as error:
        raise table.fail("pattern", f"is no regular expression: {error}") from None
    groups = list(pattern.groupindex)
    for name in names:
        if name not in groups:
            raise table.fail("pattern", f"has no group (?P<{name}>…) for the field {name!r}{nearest(name, groups)}")
    for group in groups:
        if group not in names:
            raise table.fail("pattern", f"has a group {group!r}, which is no field{nearest(group, names)}")
    return Regex(names, pattern, _notation(table))
