"""A flight controller by the MultiWii Serial Protocol: messages asked for at a rate, and sticks or motors set.

Its rule: that of `Polled`. A message belongs to the request in the air if it has its number; whatever else arrives
whole says only that the robot is there. UARTs are full duplex, so an action does not wait for an answer.

    [link]
    dialect = "msp"
    [link.reading.imu]
    message = "RAW_IMU"             # or a number, with layout = "<9h"
    rate_hz = 100
    [link.action.sticks]
    message = "SET_RAW_RC"
    fields = { rc_1 = { unit = "µs", min = 1000, max = 2000, safe = 1500 } }
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple, cast

from firmware_bridge.errors import nearest
from firmware_bridge.links import declarations, layout, packed
from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.layout import Layout, LayoutError
from firmware_bridge.links.msp import framing
from firmware_bridge.links.msp.tables import ACTIONS, READINGS, Message
from firmware_bridge.links.packed import PackedAction
from firmware_bridge.links.polled import Polled
from firmware_bridge.links.polling import Missed, Poll
from firmware_bridge.remembered import PART
from firmware_bridge.table import Table


class MessageRead(NamedTuple):
    """How a reading is made of a message."""

    number: int
    layout: Layout
    chosen: tuple[tuple[int, float], ...]  # of each column: which number of the message, and its scale


class MessageWrite(NamedTuple):
    """How a message is made of an action."""

    number: int
    packed: PackedAction


class MspLink(Polled):
    """Dialect "msp"."""

    REMEMBERED: ClassVar = {"_finder": PART}
    name = "msp"
    checked = True
    half_duplex = False

    def __init__(self, table: Table) -> None:
        self._finder = framing.finder()
        self._reads: dict[str, MessageRead] = {}  # by the name of the reading's table
        super().__init__(table)
        self._version = table.take("version", int, None)
        if self._version not in (None, 1, 2):
            why = f"of MSP is 1 or 2, not {self._version}; left out: 1, and 2 for what does not fit into it"
            raise table.fail("version", why)
        polls = []
        for name, reading in self.readings.items():
            request = self._encoded(reading.table, self.read_of(name).number)
            polls.append(Poll(name, (request,), self.period_ns(name)))
        self.writes = {name: _write(action) for name, action in self.actions.items()}
        for name, write in self.writes.items():
            self._encoded(self.actions[name].table, write.number)
        self.schedule(polls)

    def _encoded(self, table: Table, number: int) -> bytes:
        if self._version == 1 and number > 254:
            raise table.fail("message", f"{number} does not fit into version 1 of MSP; leave [link] version out")
        return framing.encode(number, version=self._version)

    def read_of(self, name: str) -> MessageRead:
        """How a reading is made of its message."""
        return self._reads[self.readings[name].table.name]

    def columns(self, table: Table) -> list[Column]:
        number, message = _message(table, READINGS)
        if message is None:
            numbers, found = _layout(table), declarations.columns(table)
            if len(numbers.letters) != len(found):
                why = f"names {len(found)} numbers, but the layout has {len(numbers.letters)}"
                raise table.fail("fields", why)
            self._reads[table.name] = MessageRead(number, numbers, tuple((k, 1.0) for k in range(len(found))))
            letters = [numbers.letter(k) for k in range(len(found))]
            return [replace(c, type=letter.type, bits=letter.bits) for c, letter in zip(found, letters, strict=True)]
        if message.repeated or "fields" in table.values:
            found = declarations.columns(table)
        else:
            found = [Column(field.name) for field in message.fields]
        places = [_place(table, "fields", message, column.name) for column in found]
        chosen = tuple((k, message.fields[k].scale) for k in places)
        self._reads[table.name] = MessageRead(number, message.packed(max(places) + 1), chosen)
        scaled = table.values.get("scale", {})
        for column, place in zip(found, places, strict=True):
            if not (isinstance(scaled, dict) and column.name in scaled):
                _check_unit(table, column.name, column.unit, message.fields[place].unit)
        return [Column(c.name, c.unit or message.fields[k].unit) for c, k in zip(found, places, strict=True)]

    def opened(self) -> None:
        super().opened()
        self._finder.reset()

    def decode(self, t_ns: int, data: bytes) -> None:
        skipped = self._finder.skipped
        for item in self._finder.feed(data):
            if isinstance(item, framing.Message):
                self._message(t_ns, item)
            else:
                self.fault(t_ns, item.status, item.data)
        self.skipped(self._finder.skipped - skipped)

    def _message(self, t_ns: int, message: framing.Message) -> None:
        awaited = self.polling.awaited
        if message.direction == framing.ASKED:
            return  # the line's echo of our own
        read = None if awaited is None else self.read_of(awaited.poll.name)
        if awaited is None or read is None or message.number != read.number:
            self.intact(t_ns)
            if message.direction == framing.REFUSED:
                self.fault(t_ns, "refused", message.payload, f"message {message.number} is not known to the robot")
            elif all(message.number != write.number for write in self.writes.values()):
                self.fault(t_ns, "late", message.payload, f"message {message.number} came when it was not awaited")
            return
        name, answer = awaited.poll.name, self.polling.answered(t_ns)
        if message.direction == framing.REFUSED or len(message.payload) < read.layout.size:
            self.intact(t_ns)
            refused = message.direction == framing.REFUSED
            has = f"has {len(message.payload)} bytes, {read.layout.size} are needed"
            status, why = ("refused", "is not known to the robot") if refused else ("length", has)
            self.fault(t_ns, status, message.payload, f"{name}: message {message.number} {why}")
            self.missed(t_ns, name)
            return
        raw = read.layout.unpack(message.payload)
        self.deliver(t_ns, name, [raw[k] * scale for k, scale in read.chosen], answer.middle_ns)

    def gave_up(self, t_ns: int, missed: Missed) -> None:
        for item in self._finder.flush():
            if isinstance(item, framing.Message):
                self._message(t_ns, item)
            else:
                self.fault(t_ns, item.status, item.data)

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        write = self.writes[action.name]
        return framing.encode(write.number, write.packed.pack(values, self.counters.actions_sent), self._version)

    def explain(self, data: bytes) -> str:
        """Each message's name or number, and an action's numbers."""
        names = {message.number: name for name, message in (READINGS | ACTIONS).items()}
        layouts = {write.number: write.packed.layout for write in self.writes.values()}
        said = []
        for item in framing.finder().feed(data):
            if not isinstance(item, framing.Message):
                return super().explain(data)
            text = names.get(item.number, str(item.number))
            if item.number in layouts and len(item.payload) == layouts[item.number].size:
                text += " " + " ".join(f"{value:g}" for value in layouts[item.number].unpack(item.payload))
            said.append(text)
        return ", ".join(said) or super().explain(data)


def _message(table: Table, known: dict[str, Message]) -> tuple[int, Message | None]:
    """The number of the message that a table names, and what it holds if it is one that we know."""
    number = table.values.get("message")
    if isinstance(number, int) and not isinstance(number, bool):
        table.taken.append("message")
        if not 0 <= number <= 0xFFFF:
            raise table.fail("message", f"must be a number from 0 to 65535, not {number}")
        return number, None
    name = table.choice("message", list(known))
    return known[name].number, known[name]


def _layout(table: Table) -> Layout:
    try:
        found = layout.parse(table.take("layout", str))
    except LayoutError as error:
        raise table.fail("layout", str(error)) from None
    if found.size > framing.MAX_PAYLOAD:
        raise table.fail("layout", f"has {found.size} bytes; a message holds {framing.MAX_PAYLOAD}")
    return found


def _place(table: Table, key: str, message: Message, name: str) -> int:
    """Which number of the message a name is."""
    known = [field.name for field in message.fields]
    if name not in known:
        raise table.fail(key, f"there is no {name!r} in {table.values['message']}{nearest(name, known)}")
    return known.index(name)


def _check_unit(table: Table, name: str, unit: str, own: str) -> None:
    """A unit that somebody wrote down must be the message's."""
    if unit and unit != own:
        why = f"is in {own!r} in MSP, not in {unit!r}" if own else f"has no unit in MSP, not {unit!r}"
        raise table.fail("fields", f"{name!r} {why}; leave the unit out (a reading's other unit needs scale)")


def _write(action: ActionDeclaration) -> MessageWrite:
    """How an action becomes a message. The table's error where a number has no value, or one that does not fit."""
    table = action.table
    number, message = _message(table, ACTIONS)
    if message is None:
        made = packed.action(action)
        if made.layout.size > framing.MAX_PAYLOAD:
            raise table.fail("layout", f"has {made.layout.size} bytes; a message holds {framing.MAX_PAYLOAD}")
        return MessageWrite(number, made)
    inner = table.table("constant", required=False)
    constants = {} if inner is None else {name: cast(float, inner.take(name, float)) for name in inner.values}
    fields = {field.name: (field.minimum or 0.0, field.maximum or 0.0) for field in action.form.fields}
    places = {name: _place(table, "fields", message, name) for name in fields}
    for field in action.form.fields:
        _check_unit(table, field.name, field.unit, message.fields[places[field.name]].unit)
    places |= {name: _place(table, "constant", message, name) for name in constants}
    numbers = message.packed(max(places.values()) + 1)
    for name in [field.name for field in message.fields[: len(numbers.letters)]]:
        if name in fields and name in constants:
            raise table.fail("constant", f"{name!r} is one of the fields, so it is not constant")
        if name not in places:
            why = f"has no {name!r}, which the message holds: declare it, or give it a value in constant"
            raise table.fail("fields", why)
        for value in fields.get(name) or (constants[name],):
            try:
                numbers.check(places[name], value / message.fields[places[name]].scale)
            except LayoutError as error:
                raise table.fail("fields" if name in fields else "constant", f"of {name!r}: {error}") from None
    scales = {name: message.fields[place].scale for name, place in places.items()}
    fixed = {places[name]: value / scales[name] for name, value in constants.items()}
    raw = [fixed.get(k, 0.0) if numbers.is_float(k) else round(fixed.get(k, 0)) for k in range(len(numbers.letters))]
    made = PackedAction(
        layout=numbers,
        constants=fixed,
        numbers=tuple(raw),
        places=tuple((places[name], scales[name], 0.0) for name in fields),
        counter=None,
        wrap=1,
    )
    return MessageWrite(number, made)
