"""What [link] wants of which messages: readings made of their fields, actions that fill them.

Its rule: every name, type and unit is the definition's, and a field of an action that nobody has said anything about is
an error, never a guess: in MAVLink a 0 may mean "let go", "full down" or "ignore". Everything is checked when the file
is read; what is made of it are places in a message, so that no name is looked up while frames come.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from firmware_bridge.errors import nearest
from firmware_bridge.links import declarations
from firmware_bridge.links.declarations import ActionDeclaration, Column, ReadingDeclaration
from firmware_bridge.links.mavlink import definition_files
from firmware_bridge.links.mavlink.definition import Field, Message, Value
from firmware_bridge.links.mavlink.messages import MESSAGES, SPOKEN
from firmware_bridge.table import Table

STALE_MS = 1000  # of the parts of a reading that other messages bring
# Filled in: to whom it goes. The time of a command is nobody's to know, and robots take 0 for it.
TARGETS = {"target_system": 0, "target": 0, "target_component": 1}
_UNSAID = (*TARGETS, "time_boot_ms", "time_usec")
_SPELLINGS = {"²": "^2", "m/s/s": "m/s^2", "°": "deg", "µ": "u"}


class Place(NamedTuple):
    """Where a number of a reading comes from."""

    message: Message
    at: int
    field: Field


class WantedReading(NamedTuple):
    """How a reading is put together when its message `on` comes."""

    name: str
    on: int
    places: tuple[tuple[int, int], ...]  # (message, number in it) of each column
    numbers: tuple[int, ...] | None  # the same where `on` has them all
    others: tuple[int, ...]  # the messages that must have come before
    stale_ns: int  # how old those may be
    where: tuple[tuple[int, float | bytes], ...]  # numbers of `on` that must have these values


class WantedAction(NamedTuple):
    """How an action's message is filled."""

    message: Message
    template: tuple[float | bytes, ...]
    places: tuple[tuple[int, Field], ...]  # of each of its fields
    targets: tuple[tuple[int, int], ...]  # (number in it, 0: the system's or 1: the component's)


class Vocabulary:
    """The messages that [link] may name, and what its tables make of them."""

    def __init__(self, table: Table, version: int) -> None:
        of_file = definition_files.messages(table, "definitions").values()
        # A dialect's definition stands for the common one of its number; the few that the link speaks are ours.
        by_id = {item.id: item for known in (MESSAGES.values(), of_file, SPOKEN) for item in known}
        self.by_id: dict[int, Message] = by_id
        self.messages = {item.name: item for item in by_id.values()}
        self._version = version
        self._more = (
            "" if "definitions" in table.values else '; other dialects: definitions = "ardupilotmega" in [link]'
        )

    # ------------------------------------------------------------------------------------------ readings

    def columns(self, table: Table) -> list[Column]:
        """A column for each field, with the definition's type and unit; and the time, if it is not among them."""
        found = declarations.columns(table)
        on, places = self._on(table), self._places(table)
        scaled = table.values.get("scale")
        made = []
        for item, place in zip(found, places, strict=False):
            if not (isinstance(scaled, dict) and item.name in scaled):
                _check_unit(table, item.name, item.unit, place.field)
            made.append(_column(item.name, item.unit or place.field.unit, place.field))
        aside = {name: self._place(table, "time", name, on).field for name in _aside(table)}
        return made + [_column(name, field.unit, field) for name, field in aside.items()]

    def reading(self, item: ReadingDeclaration) -> WantedReading:
        """How a reading is put together."""
        table = item.table
        on, places = self._on(table), self._places(table)
        others = tuple(sorted({place.message.id for place in places} - {on.id}))
        stale_ms = number(table, "max_age_ms", 1, 3_600_000, STALE_MS)
        if not others and "max_age_ms" in table.values:
            raise table.fail("max_age_ms", f"is of no use: all fields come from {on.name} itself")
        return WantedReading(
            name=item.name,
            on=on.id,
            places=tuple((place.message.id, place.at) for place in places),
            numbers=None if others else tuple(place.at for place in places),
            others=others,
            stale_ns=stale_ms * 1_000_000,
            where=self._where(table, on),
        )

    def _where(self, table: Table, on: Message) -> tuple[tuple[int, float | bytes], ...]:
        inner = table.table("where", required=False)
        found: list[tuple[int, float | bytes]] = []
        for name in inner.values if inner is not None else ():
            assert inner is not None
            if name in on.columns and on.columns[name].field.type == "char":
                found.append((on.columns[name].at, _text(inner, name, on.columns[name].field)))
            else:
                place = _place(table, "where", on, name)
                found.append((place.at, _fixed(inner, name, place.field)))
        return tuple(found)

    def _on(self, table: Table) -> Message:
        """The message that makes a reading: `message`, or `on`, or the only one that its fields name."""
        if "message" in table.values and "on" in table.values:
            raise table.fail("on", "stands beside message, which says the same; give one of them")
        for key in ("message", "on"):
            if key in table.values:
                return self._message(table, key)
        names = {text.partition(".")[0].strip() for text in table.list("fields", str) if "." in text}
        if len(names) > 1:
            raise table.fail("on", f"is missing: which message makes the reading, {' or '.join(sorted(names))}?")
        return self._message(table, "fields", names.pop()) if names else self._message(table, "message")

    def _places(self, table: Table) -> list[Place]:
        """Where each of a reading's columns comes from."""
        on = self._on(table)
        named = [("fields", declarations.column(text).name) for text in table.list("fields", str)]
        return [self._place(table, key, name, on) for key, name in named + [("time", name) for name in _aside(table)]]

    def _place(self, table: Table, key: str, name: str, on: Message) -> Place:
        """A field named as field, or as MESSAGE.field."""
        head, dot, rest = name.partition(".")
        return _place(table, key, self._message(table, key, head), rest) if dot else _place(table, key, on, name)

    def _message(self, table: Table, key: str, name: str | None = None) -> Message:
        name = table.take(key, str) if name is None else name
        found = self.messages.get(name)
        if found is None:
            close = difflib.get_close_matches(name, self.messages, n=1, cutoff=0.5)
            near = f"; did you mean {close[0]!r}?" if close else ""
            raise table.fail(key, f"{name!r} is no message that is known here{near}{self._more}")
        return found

    # ------------------------------------------------------------------------------------------ actions

    def types(self, table: Table) -> Mapping[str, str]:
        """The types of an action's fields; and every mistake that there can be in its message."""
        message, fields = self._message(table, "message"), table.table("fields")
        assert fields is not None
        types = {}
        for name, value in fields.values.items():
            field = _place(table, "fields", message, name).field
            if isinstance(value, dict) and isinstance(value.get("unit"), str):
                _check_unit(table, name, value["unit"], field)
            types[name] = _column(name, "", field).type
        constant = _constant(table, message)
        if twins := sorted(types.keys() & constant.keys()):
            raise table.fail("constant", f"{twins[0]!r} is among fields, too; say it once")
        said = {name.partition("[")[0] for name in (*types, *constant)}
        missing = [x.name for x in message.fields[: message.base] if x.name not in said and x.name not in _UNSAID]
        if missing:
            names = ", ".join(missing)
            raise table.fail("constant", f"{message.name} also has {names}: say what they are, here or in fields")
        if self._version == 1 and message.id > 255:
            raise table.fail("message", f"{message.name} has the number {message.id}; MAVLink 1 has none above 255")
        return types

    def action(self, item: ActionDeclaration) -> WantedAction:
        """How an action's message is filled."""
        message = self._message(item.table, "message")
        constant, columns = _constant(item.table, message), message.columns
        names = [field.name for field in item.form.fields]
        return WantedAction(
            message=message,
            template=tuple(message.numbers(constant)),
            places=tuple((columns[name].at, columns[name].field) for name in names),
            targets=tuple(
                (columns[name].at, which)
                for name, which in TARGETS.items()
                if name in columns and name not in constant and name not in names
            ),
        )


def number(table: Table, key: str, least: int, most: int, default: int) -> int:
    """A whole number within its limits."""
    value: int = table.take(key, int, default)
    if not least <= value <= most:
        raise table.fail(key, f"must be a whole number from {least} to {most}, not {value}")
    return value


def _aside(table: Table) -> Sequence[str]:
    """The time of a reading, where it is not among its fields."""
    time = table.values.get("time")
    named = [declarations.column(text).name for text in table.list("fields", str)]
    return [time] if isinstance(time, str) and time not in named else []


def _place(table: Table, key: str, message: Message, name: str) -> Place:
    """A number of a message. The table's error where there is none of that name."""
    found = message.columns.get(name)
    if found is not None and found.field.type != "char":
        return Place(message, *found)
    if found is not None:
        raise table.fail(key, f"{name!r} of {message.name} is a text, not a number")
    array = next((item for item in message.fields if item.name == name), None)
    if array is not None:
        raise table.fail(key, f'{name!r} of {message.name} has {array.length} elements; name each as "{name}[0]"')
    numbers = [key for key, item in message.columns.items() if item.field.type != "char"]
    raise table.fail(key, f"{message.name} has no field {name!r}{nearest(name, numbers)}")


def _column(name: str, unit: str, field: Field) -> Column:
    """A column as the definition has it; integers of 64 bits become f64."""
    small = field.type in ("f32", "f64") or field.bits < 64
    return Column(name, unit, field.type if small else "f64", field.bits if field.type[0] == "u" else None)


def _check_unit(table: Table, name: str, unit: str, field: Field) -> None:
    """A unit that somebody wrote down must be the definition's, however it is spelled."""
    if unit and _spelled(unit) != _spelled(field.unit):
        why = f"is in {field.unit!r} as MAVLink defines it, not in {unit!r}" if field.unit else "has no unit in MAVLink"
        raise table.fail("fields", f"{name!r} {why}; leave the unit out (a reading's other unit needs scale)")


def _spelled(unit: str) -> str:
    for ours, theirs in _SPELLINGS.items():
        unit = unit.replace(ours, theirs)
    return unit


def _constant(table: Table, message: Message) -> dict[str, Value]:
    """The fields of an action's message that never change."""
    inner = table.table("constant", required=False)
    found: dict[str, Value] = {}
    for name in inner.values if inner is not None else ():
        assert inner is not None
        whole = next((item for item in message.fields if item.name == name), None)
        if whole is None or not whole.length:
            found[name] = _fixed(inner, name, whole or _place(table, "constant", message, name).field)
        elif whole.type == "char":
            found[name] = _text(inner, name, whole)
        else:
            found[name] = [_fitting(inner, name, whole, value) for value in inner.list(name, float)]
            if len(inner.values[name]) != whole.length:
                raise inner.fail(name, f"has {whole.length} elements, not {len(inner.values[name])}")
    return found


def _fixed(table: Table, name: str, field: Field) -> float:
    """A number of the file for a field; NaN, which some commands take for "as it is", where it may be one."""
    value = table.values[name]
    if not (isinstance(value, float) and math.isnan(value) and field.type[0] == "f"):
        value = table.take(name, float)
    return _fitting(table, name, field, value)


def _fitting(table: Table, name: str, field: Field, value: float) -> float:
    least, most = field.limits
    if field.type[0] == "f":
        if not (math.isnan(value) or least <= value <= most):
            raise table.fail(name, f"{value:g} is none of the numbers {least:g} to {most:g}")
    elif not (least <= value <= most and value.is_integer()):
        raise table.fail(name, f"{value:g} is none of the whole numbers {least:g} to {most:g}")
    return field.number(value)


def _text(table: Table, name: str, field: Field) -> bytes:
    value: bytes = table.take(name, str).encode()
    if len(value) > field.length:
        raise table.fail(name, f"has {len(value)} bytes; {field.length} is the most")
    return value
