"""What a table of robot.toml says of numbers that are packed by a layout: their names, constants, order and range.

Its rule: what has been read here fits together: as many names as numbers, constants that their numbers can be, actions
whose whole range fits into the layout. So nothing that is packed or unpacked later can fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from firmware_bridge.errors import nearest
from firmware_bridge.formats import Field
from firmware_bridge.links import declarations
from firmware_bridge.links.declarations import UNUSED, ActionDeclaration, Column
from firmware_bridge.links.layout import Layout, LayoutError, parse
from firmware_bridge.table import Table


@dataclass(frozen=True)
class PackedPart:
    """The numbers of a message that is a reading, or a part of one. columns: one for each number of the layout;
    constants: those that are the same in every such message, by the number's place."""

    layout: Layout
    columns: tuple[Column, ...]
    constants: Mapping[int, float]


@dataclass(frozen=True)
class PackedAction:
    """The numbers of an action's message. `numbers` holds the constants, and 0 where a field or the counter goes."""

    layout: Layout
    constants: Mapping[int, float]
    numbers: tuple[float, ...]
    places: tuple[tuple[int, float, float], ...]  # of each field of the action: (number, scale, offset)
    counter: int | None
    wrap: int  # of the counter

    def pack(self, values: Sequence[float], count: int) -> bytes:
        """The bytes for an action's values. count: of such messages before this one."""
        numbers = list(self.numbers)
        for (at, scale, offset), value in zip(self.places, values, strict=True):
            raw = (value - offset) / scale
            numbers[at] = raw if self.layout.is_float(at) else round(raw)
        if self.counter is not None:
            numbers[self.counter] = count % self.wrap
        return self.layout.packer.pack(*numbers)

    def values(self, numbers: Sequence[float]) -> tuple[float, ...]:
        """The fields of an action from the numbers of its message."""
        return tuple(numbers[at] * scale + offset for at, scale, offset in self.places)


# ---------------------------------------------------------------------------------------------- readings


def frames(table: Table, own: Sequence[str]) -> list[Table]:
    """The tables of a reading's messages: its own, or those of [[link.reading.NAME.frame]], of which the last completes
    it. own: the keys that belong to one message."""
    if "frame" not in table.values:
        return [table]
    for key in own:
        if key in table.values:
            raise table.fail(key, "stands beside [[frame]] tables; it belongs into them")
    found: list[Table] = table.list("frame", dict)
    if not found:
        raise table.fail("frame", "is empty")
    return found


def check_once(table: Table, columns: Sequence[Column]) -> None:
    """No name stands in two messages of one reading."""
    names = [item.name for item in columns if item.name != UNUSED]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise table.fail("frame", f"{name!r} is a field of two frames; a reading has it once")


def part(table: Table) -> PackedPart:
    """What `layout`, `fields` and `where` say."""
    layout = _layout(table)
    columns = declarations.columns(table)
    if len(columns) != len(layout.letters):
        numbers = f"the layout has {len(layout.letters)} numbers ({layout.letters})"
        why = f'{numbers}, and here are {len(columns)} names; "{UNUSED}" is a number that is not used'
        raise table.fail("fields", why)
    constants = _constants(table, "where", [item.name for item in columns], layout)
    columns = [
        replace(item, type=layout.letter(k).type, bits=layout.letter(k).bits, kept=item.kept and k not in constants)
        for k, item in enumerate(columns)
    ]
    return PackedPart(layout, tuple(columns), constants)


# ---------------------------------------------------------------------------------------------- actions


def action(declared: ActionDeclaration) -> PackedAction:
    """What `layout`, `order`, `constant`, `counter`, `scale` and `offset` say of an action."""
    table = declared.table
    layout = _layout(table)
    order = _order(table, layout, [field.name for field in declared.form.fields])
    constants = _constants(table, "constant", order, layout)
    counter = table.take("counter", str, None)
    if counter is not None:
        _check_counter(table, counter, order, layout)
    known = {UNUSED, counter, *(order[at] for at in constants)}
    for field in declared.form.fields:
        if field.name in known:
            raise table.fail("fields", f"{field.name!r} is a constant or the counter as well; it can be one of them")
    for name in order:
        if name not in known and all(field.name != name for field in declared.form.fields):
            raise table.fail("order", f"{name!r} is no field of the action, no constant and no counter")
    scale, offset = (_by_field(table, key, declared.form.fields) for key in ("scale", "offset"))
    places = []
    for field in declared.form.fields:
        at = order.index(field.name)
        place = at, scale.get(field.name, 1.0), offset.get(field.name, 0.0)
        _check_range(table, field, layout, *place)
        places.append(place)
    numbers: list[float] = [0] * len(layout.letters)
    for at, value in constants.items():
        numbers[at] = value if layout.is_float(at) else int(value)
    place_of_counter = None if counter is None else order.index(counter)
    bits = None if place_of_counter is None else layout.letter(place_of_counter).bits
    return PackedAction(layout, constants, tuple(numbers), tuple(places), place_of_counter, 1 << (bits or 0))


def types(table: Table) -> dict[str, str]:
    """The dictionary's types of an action's fields where the layout's numbers are the physical ones."""
    layout = _layout(table)
    names = list(cast(Table, table.table("fields")).values)
    order = _order(table, layout, names)
    scaled = {name for key in ("scale", "offset") for name in cast(dict[str, object], table.take(key, dict, {}))}
    return {name: layout.letter(order.index(name)).type for name in names if name not in scaled}


def _order(table: Table, layout: Layout, fields: Sequence[str]) -> list[str]:
    """What each number of an action's layout is."""
    order: list[str] = table.list("order", str, list(fields))
    if len(order) != len(layout.letters):
        numbers = f"the layout has {len(layout.letters)} numbers ({layout.letters})"
        if "order" in table.values:
            raise table.fail("order", f"{numbers}, and here are {len(order)} names")
        why = f"{numbers}, the action {len(order)} fields; say which is which, with constants and counter:"
        raise table.fail("order", f"is missing: {why} order = {_quoted(fields)}")
    for at, name in enumerate(order):
        if name in order[:at] and name != UNUSED:
            raise table.fail("order", f"names {name!r} twice")
    for name in fields:
        if name not in order:
            raise table.fail("order", f"leaves out the field {name!r}{nearest(name, order)}")
    return order


def _check_counter(table: Table, name: str, order: Sequence[str], layout: Layout) -> None:
    if name not in order:
        raise table.fail("counter", f"{name!r} is not in order{nearest(name, order)}")
    letter = layout.letters[order.index(name)]
    if layout.letter(order.index(name)).bits is None:
        raise table.fail("counter", f"{name!r} is {letter!r}; a counter is a whole number without sign: B H I or Q")


def _check_range(table: Table, field: Field, layout: Layout, at: int, scale: float, offset: float) -> None:
    """Whatever the action may be fits into its number."""
    for key, value in (("min", field.minimum), ("max", field.maximum)):
        raw = ((value or 0.0) - offset) / scale
        try:
            layout.check(at, raw)
        except (LayoutError, OverflowError) as error:
            why = f"{key} of {field.name!r} is {value:g}, so it is sent as {raw:g}, which"
            raise table.fail("fields", f"{why} {_tail(error)}; change {key}, layout or scale") from None


def _tail(error: Exception) -> str:
    text = str(error)
    return text[text.index("does not fit") :] if "does not fit" in text else "does not fit"


def _by_field(table: Table, key: str, fields: Sequence[Field]) -> dict[str, float]:
    """A table of numbers by field of an action."""
    inner = table.table(key, required=False)
    names = [field.name for field in fields]
    found = {}
    for name in inner.values if inner else ():
        if name not in names:
            raise table.fail(key, f"there is no field {name!r}{nearest(name, names)}")
        found[name] = cast(float, cast(Table, inner).take(name, float))
        if key == "scale" and found[name] == 0:
            raise table.fail(key, f"of {name!r} is 0, which would make every value the same")
    return found


# ---------------------------------------------------------------------------------------------- both


def _layout(table: Table) -> Layout:
    try:
        return parse(table.take("layout", str))
    except LayoutError as error:
        raise table.fail("layout", str(error)) from None


def _constants(table: Table, key: str, names: Sequence[str], layout: Layout) -> dict[int, float]:
    """number of the layout → the value that it has in every frame of the kind."""
    inner = table.table(key, required=False)
    found = {}
    for name in inner.values if inner else ():
        if name not in names or name == UNUSED:
            raise table.fail(key, f"there is no field {name!r}{nearest(name, names)}")
        at, value = names.index(name), cast(float, cast(Table, inner).take(name, float))
        try:
            layout.constant(at, value)
        except LayoutError as error:
            raise table.fail(key, f"of {name!r}: {error}") from None
        found[at] = value
    return found


def _quoted(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
