"""The keys by which a table of robot.toml says what a frame looks like around its numbers; README.md explains each.

Its rule: what all frames of a reading have alike may stand in the reading, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from firmware_bridge.errors import nearest
from firmware_bridge.links import packed
from firmware_bridge.links.binary.frames import LONGEST_MARK, FrameKind
from firmware_bridge.links.checksums import CHECKSUMS, Order
from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.layout import LONGEST, Layout
from firmware_bridge.links.packed import PackedAction
from firmware_bridge.table import Table


@dataclass(frozen=True)
class Part:
    """A frame that is a reading, or a part of one. columns: one for each number of its layout."""

    kind: FrameKind
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Command:
    """The frame of an action."""

    kind: FrameKind
    numbers: PackedAction


def parts(table: Table) -> list[Part]:
    """The frames of a reading."""
    found = []
    for each in packed.frames(table, ("fields", "layout", "head", "where", "length")):
        numbers = packed.part(each)
        length = _length(each, [item.name for item in numbers.columns], numbers.constants)
        found.append(Part(_kind(each, table, numbers.layout, numbers.constants, length), numbers.columns))
        if each is not table:
            each.done()
    packed.check_once(table, [item for part in found for item in part.columns])
    return found


def command(action: ActionDeclaration) -> Command:
    """The frame of an action."""
    numbers = packed.action(action)
    return Command(_kind(action.table, action.table, numbers.layout, numbers.constants, None), numbers)


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
