"""The keys by which a table of robot.toml says which CAN frame carries what; README.md explains each.

Its rule: a frame is named by its identifier and a layout, or by a message of the DBC file; either way what has been
read here fits together, and no two readings can mean the same frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from firmware_bridge.errors import nearest
from firmware_bridge.formats import Field
from firmware_bridge.links import declarations, packed
from firmware_bridge.links.declarations import UNUSED, ActionDeclaration, Column
from firmware_bridge.links.packed import PackedAction, PackedPart
from firmware_bridge.links.slcan import dbc
from firmware_bridge.links.slcan.messages import GREATEST_EXTENDED, GREATEST_ID, MOST_DATA
from firmware_bridge.table import Table

Identifier = tuple[int, bool]  # and whether it has 29 bits


@dataclass(frozen=True)
class LayoutFrame:
    """A frame that is a reading, or a part of one, by its layout."""

    id: Identifier
    numbers: PackedPart

    @property
    def columns(self) -> tuple[Column, ...]:
        """One for each number."""
        return self.numbers.columns

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return self.numbers.layout.size

    def decode(self, data: bytes) -> Sequence[float] | None:
        """The numbers of `size` bytes; None where a constant is another one, so that it is another frame."""
        numbers = self.numbers.layout.unpack(data)
        for at, value in self.numbers.constants.items():
            if numbers[at] != value:
                return None
        return numbers

    def told_from(self, other: LayoutFrame | SignalFrame) -> bool:
        """Whether no data can be both."""
        if self.size != other.size:
            return True
        if isinstance(other, SignalFrame):
            return False
        return any(
            other.numbers.constants.get(other_at, value) != value
            for at, value in self.numbers.constants.items()
            for other_at, offset in enumerate(other.numbers.layout.offsets)
            if offset == self.numbers.layout.offsets[at]
            and other.numbers.layout.letters[other_at] == self.numbers.layout.letters[at]
        )


@dataclass(frozen=True)
class SignalFrame:
    """A frame that is a reading, or a part of one, by its message in the DBC file."""

    id: Identifier
    message: dbc.Message
    columns: tuple[Column, ...]

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return self.message.size

    def decode(self, data: bytes) -> Sequence[float] | None:
        """The values of its signals; None where they are not all in it."""
        return self.message.decode(data)

    def told_from(self, other: LayoutFrame | SignalFrame) -> bool:
        """Whether no data can be both; of a multiplexed message it is for the signals to say."""
        return self.size != other.size or (isinstance(other, SignalFrame) and self.message.definition.is_multiplexed())


@dataclass(frozen=True)
class LayoutCommand:
    """The frame of an action, by its layout."""

    id: Identifier
    numbers: PackedAction

    def data(self, values: Sequence[float], count: int) -> bytes:
        """Of the frame."""
        return self.numbers.pack(values, count)

    def values(self, data: bytes) -> tuple[float, ...] | None:
        """The action that data says; None where it is none."""
        if len(data) != self.numbers.layout.size:
            return None
        numbers = self.numbers.layout.unpack(data)
        constants = self.numbers.constants.items()
        return self.numbers.values(numbers) if all(numbers[at] == value for at, value in constants) else None


@dataclass(frozen=True)
class SignalCommand:
    """The frame of an action, by its message in the DBC file."""

    id: Identifier
    message: dbc.Message
    constants: Mapping[str, float]
    counter: str | None
    wrap: int

    def data(self, values: Sequence[float], count: int) -> bytes:
        """Of the frame."""
        signals = dict(zip(self.message.signals, values, strict=True)) | dict(self.constants)
        if self.counter is not None:
            signals[self.counter] = count % self.wrap
        return self.message.encode(signals)

    def values(self, data: bytes) -> tuple[float, ...] | None:
        """The action that data says; None where it is none."""
        found = self.message.decode(data) if len(data) == self.message.size else None
        return None if found is None else tuple(found)


Frame = LayoutFrame | SignalFrame
Command = LayoutCommand | SignalCommand


# ---------------------------------------------------------------------------------------------- readings


def frames(table: Table, database: dbc.Database | None) -> list[Frame]:
    """The frames of a reading."""
    found = []
    for each in packed.frames(table, ("fields", "layout", "id", "extended", "where", "message")):
        found.append(_signals(each, database) if "message" in each.values else _numbers(each))
        if each is not table:
            each.done()
    packed.check_once(table, [item for frame in found for item in frame.columns])
    return found


def _numbers(table: Table) -> LayoutFrame:
    identifier = _identifier(table)
    numbers = packed.part(table)
    _check_size(table, numbers.layout.size)
    return LayoutFrame(identifier, numbers)


def _signals(table: Table, database: dbc.Database | None) -> SignalFrame:
    _check_alone(table)
    given = declarations.columns(table) if "fields" in table.values else None
    table.take("fields", list, None)
    if given is not None and any(item.name == UNUSED for item in given):
        raise table.fail("fields", f'"{UNUSED}" is not needed beside message; leave the signal out')
    message = dbc.message(table, database, None if given is None else [item.name for item in given])
    columns = [Column(name, unit) for name, unit in zip(message.signals, dbc.units(message), strict=True)]
    for at, item in enumerate(given or ()):
        if item.unit:
            columns[at] = Column(item.name, item.unit)
    bits = dbc.bits(message)
    made = tuple(Column(item.name, item.unit, bits=bits[at]) for at, item in enumerate(columns))
    return SignalFrame(dbc.identifier(message), message, made)


def check_apart(kinds: Sequence[tuple[Table, str, Frame]]) -> None:
    """No frame can be two things."""
    for at, (table, name, frame) in enumerate(kinds):
        for _, other, earlier in kinds[:at]:
            if frame.id == earlier.id and not frame.told_from(earlier):
                beside = f"one of {other!r}" if other != name else "another of its own"
                key = "message" if isinstance(frame, SignalFrame) else "id"
                raise table.fail(key, f"nothing tells a frame of {name!r} from {beside}: both are {frame.id[0]:#x}")


# ---------------------------------------------------------------------------------------------- actions


def command(action: ActionDeclaration, database: dbc.Database | None) -> Command:
    """The frame of an action."""
    table = action.table
    if "message" not in table.values:
        identifier = _identifier(table)
        numbers = packed.action(action)
        _check_size(table, numbers.layout.size)
        return LayoutCommand(identifier, numbers)
    _check_alone(table)
    fields = action.form.fields
    message = dbc.message(table, database, [field.name for field in fields])
    known = [signal.name for signal in message.definition.signals]
    constants = _constants(table, known)
    counter, wrap = _counter(table, message, known)
    taken = [field.name for field in fields] + list(constants) + ([] if counter is None else [counter])
    for name in known:
        if name not in taken:
            why = f"of signal {name!r} is missing; every signal is a field, a constant or the counter"
            raise table.fail("constant", why)
        if taken.count(name) > 1:
            raise table.fail("constant", f"{name!r} is a field or the counter as well; it can be one of them")
    made = SignalCommand(dbc.identifier(message), message, constants, counter, wrap)
    _check_ranges(table, made, fields)
    return made


def types(table: Table) -> Mapping[str, str]:
    """The dictionary's types of an action's fields."""
    return {} if "message" in table.values else packed.types(table)


def _constants(table: Table, known: Sequence[str]) -> dict[str, float]:
    inner = table.table("constant", required=False)
    found = {}
    for name in inner.values if inner else ():
        if name not in known:
            raise table.fail("constant", f"there is no signal {name!r}{nearest(name, known)}")
        found[name] = cast(float, cast(Table, inner).take(name, float))
    return found


def _counter(table: Table, message: dbc.Message, known: Sequence[str]) -> tuple[str | None, int]:
    name = table.take("counter", str, None)
    if name is None:
        return None, 1
    if name not in known:
        raise table.fail("counter", f"there is no signal {name!r}{nearest(name, known)}")
    bits = dbc.bits_of(message, name)
    if bits is None:
        raise table.fail("counter", f"signal {name!r} is no whole number without sign and scale")
    return name, 1 << bits


def _check_ranges(table: Table, made: SignalCommand, fields: Sequence[Field]) -> None:
    """Whatever the action may be fits into its signals."""
    safe = {field.name: field.safe or 0.0 for field in fields} | dict(made.constants)
    if made.counter is not None:
        safe[made.counter] = 0
    for field in fields:
        for key, value in (("min", field.minimum or 0.0), ("max", field.maximum or 0.0), ("safe", field.safe or 0.0)):
            try:
                made.message.encode(safe | {field.name: value}, strict=True)
            except ValueError as error:
                raise table.fail(
                    "fields", f"{key} of {field.name!r} is {value:g}, which does not fit: {error}"
                ) from None


# ---------------------------------------------------------------------------------------------- both


def _identifier(table: Table) -> Identifier:
    number = table.take("id", int)
    extended = table.take("extended", bool, number > GREATEST_ID)
    most = GREATEST_EXTENDED if extended else GREATEST_ID
    if not 0 <= number <= most:
        bits = "29 bits" if extended or number > GREATEST_EXTENDED else "11 bits; extended = true has 29"
        raise table.fail("id", f"{number:#x} is no identifier: 0 to {most:#x}, of {bits}")
    return number, extended


def _check_size(table: Table, size: int) -> None:
    if size > MOST_DATA:
        raise table.fail("layout", f"has {size} bytes; a frame of CAN has {MOST_DATA} at most")


def _check_alone(table: Table) -> None:
    for key in ("id", "layout", "where", "order", "extended"):
        if key in table.values:
            raise table.fail(key, "stands beside message, which the DBC file explains; give one of them")
