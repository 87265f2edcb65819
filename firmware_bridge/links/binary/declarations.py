"""The keys by which a table of robot.toml says what a frame looks like; README.md explains each.

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
from firmware_bridge.links.binary.frames import LONGEST_MARK, FrameKind
from firmware_bridge.links.checksums import CHECKSUMS, Order
from firmware_bridge.links.declarations import UNUSED, ActionDeclaration, Column
from firmware_bridge.links.layout import LONGEST, Layout, LayoutError, parse
from firmware_bridge.table import Table


@dataclass(frozen=True)
class Part:
    """A frame that is a reading, or a part of one. columns: one for each number of its layout."""

    kind: FrameKind
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Command:
    """The frame of an action. `numbers` holds the constants, and 0 where a field or the counter goes."""

    kind: FrameKind
    numbers: tuple[float, ...]
    places: tuple[tuple[int, float, float], ...]  # of each field of the action: (number, scale, offset)
    counter: int | None
    wrap: int  # of the counter

    def raw(self, values: Sequence[float], count: int) -> list[float]:
        """The numbers of one frame."""
        numbers = list(self.numbers)
        for (at, scale, offset), value in zip(self.places, values, strict=True):
            raw = (value - offset) / scale
            numbers[at] = raw if self.kind.layout.is_float(at) else round(raw)
        if self.counter is not None:
            numbers[self.counter] = count % self.wrap
        return numbers

    def values(self, numbers: Sequence[float]) -> tuple[float, ...]:
        """The fields of an action from the numbers of its frame."""
        return tuple(numbers[at] * scale + offset for at, scale, offset in self.places)


# ---------------------------------------------------------------------------------------------- readings


def parts(table: Table) -> list[Part]:
    """The frames of a reading: its own, or those of [[link.reading.NAME.frame]], the last of which completes it."""
    if "frame" not in table.values:
        return [_part(table, table)]
    found = []
    for key in ("fields", "layout", "head", "where", "length"):
        if key in table.values:
            raise table.fail(key, "stands beside [[frame]] tables; it belongs into them")
    inner = table.list("frame", dict)
    if not inner:
        raise table.fail("frame", "is empty")
    for each in inner:
        found.append(_part(each, table))
        each.done()
    names = [item.name for part in found for item in part.columns if item.name != UNUSED]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise table.fail("frame", f"{name!r} is a field of two frames; a reading has it once")
    return found


def _part(table: Table, common: Table) -> Part:
    layout = _layout(table)
    columns = declarations.columns(table)
    if len(columns) != len(layout.letters):
        numbers = f"the layout has {len(layout.letters)} numbers ({layout.letters})"
        why = f'{numbers}, and here are {len(columns)} names; "{UNUSED}" is a number that is not used'
        raise table.fail("fields", why)
    names = [item.name for item in columns]
    constants = _constants(table, "where", names, layout)
    columns = [
        replace(item, type=layout.letter(k).type, bits=layout.letter(k).bits, kept=item.kept and k not in constants)
        for k, item in enumerate(columns)
    ]
    return Part(_kind(table, common, layout, constants, _length(table, names, constants)), tuple(columns))


def _length(table: Table, names: Sequence[str], constants: Mapping[int, float]) -> int | None:
    name = table.take("length", str, None)
    if name is None:
        return None
    if name not in names:
        raise table.fail("length", f"there is no field {name!r}{nearest(name, names)}")
    at = names.index(name)
    if at not in constants or not float(constants[at]).is_integer():
        raise table.fail("length", f"what does {name!r} say in this frame? Add where = {{ {name} = … }}")
    return at


# ---------------------------------------------------------------------------------------------- actions


def command(action: ActionDeclaration) -> Command:
    """The frame of an action."""
    table = action.table
    layout = _layout(table)
    order = _order(table, layout, [field.name for field in action.form.fields])
    constants = _constants(table, "constant", order, layout)
    counter = table.take("counter", str, None)
    if counter is not None:
        _check_counter(table, counter, order, layout)
    known = {UNUSED, counter, *(order[at] for at in constants)}
    for field in action.form.fields:
        if field.name in known:
            raise table.fail("fields", f"{field.name!r} is a constant or the counter as well; it can be one of them")
    for name in order:
        if name not in known and all(field.name != name for field in action.form.fields):
            raise table.fail("order", f"{name!r} is no field of the action, no constant and no counter")
    scale, offset = (_by_field(table, key, action.form.fields) for key in ("scale", "offset"))
    places = []
    for field in action.form.fields:
        at = order.index(field.name)
        place = at, scale.get(field.name, 1.0), offset.get(field.name, 0.0)
        _check_range(table, field, layout, *place)
        places.append(place)
    numbers: list[float] = [0] * len(layout.letters)
    for at, value in constants.items():
        numbers[at] = value if layout.is_float(at) else int(value)
    place_of_counter = None if counter is None else order.index(counter)
    bits = None if place_of_counter is None else layout.letter(place_of_counter).bits
    kind = _kind(table, table, layout, constants, None)
    return Command(kind, tuple(numbers), tuple(places), place_of_counter, 1 << (bits or 0))


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


def _kind(table: Table, common: Table, layout: Layout, constants: Mapping[int, float], length: int | None) -> FrameKind:
    """A frame from its keys; those that all frames of a reading have alike may stand in the reading."""
    head = _mark(table, "head")
    if not head:
        raise table.fail("head", 'is empty; a frame is found by its first bytes, such as "AA 55"')
    tail = _mark(_owner(table, common, "tail"), "tail", "")
    name = _owner(table, common, "checksum").choice("checksum", ("none", *CHECKSUMS), "none")
    checksum = CHECKSUMS.get(name)
    for key in ("checksum_from", "checksum_at", "checksum_order"):
        if checksum is None and key in (*table.values, *common.values):
            raise table.fail(key, f"is given, but no checksum; add checksum = one of {', '.join(CHECKSUMS)}")
    start = _owner(table, common, "checksum_from").choice("checksum_from", ("head", "layout"), "layout")
    place = _owner(table, common, "checksum_at").choice("checksum_at", ("before tail", "end"), "before tail")
    order = _owner(table, common, "checksum_order").choice("checksum_order", ("little", "big"), layout.order)
    kind = FrameKind(
        head,
        layout,
        tail,
        checksum,
        covers_head=start == "head",
        check_last=place == "end",
        order=cast(Order, order),
        constants=tuple(constants.items()),
        length=length,
    )
    if kind.size > LONGEST:
        raise table.fail("layout", f"makes a frame of {kind.size:,} bytes; {LONGEST:,} is the most")
    return kind


def _owner(table: Table, common: Table, key: str) -> Table:
    """Where a key stands that all frames of a reading may have in common."""
    return common if table.take(key, str, None) is None else table


def _mark(table: Table, key: str, *default: str) -> bytes:
    text = table.take(key, str, *default)
    try:
        mark = bytes.fromhex(text)
    except ValueError:
        why = f'{text!r} is not bytes in hexadecimal digits, such as "AA 55"'
        raise table.fail(key, why) from None
    if len(mark) > LONGEST_MARK:
        raise table.fail(key, f"has {len(mark)} bytes; {LONGEST_MARK} is the most")
    return mark


def _quoted(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
