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

import re
import struct
from typing import NamedTuple, cast

from firmware_bridge.errors import nearest
from firmware_bridge.formats import TYPES
from firmware_bridge.links import declarations
from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.msp import framing
from firmware_bridge.links.msp.tables import ACTIONS, READINGS, Field, Layout
from firmware_bridge.links.polled import Polled
from firmware_bridge.links.polling import Missed, Poll
from firmware_bridge.table import Table

_LIMITS = {code: (least, greatest) for code, least, greatest in TYPES.values()} | {
    "q": (-(2.0**63), 2.0**63 - 1),
    "Q": (0.0, 2.0**64 - 1),
}


class MessageRead(NamedTuple):
    """How a reading is made of a message."""

    number: int
    packed: struct.Struct
    chosen: tuple[tuple[int, float], ...]  # of each column: which number of the message, and its scale


class MessageWrite(NamedTuple):
    """How a message is made of an action: each number is one of the action's fields, or always the same."""

    number: int
    packed: struct.Struct
    codes: str
    numbers: tuple[tuple[int | None, float, float], ...]  # field (None: constant), the constant, scale


class MspLink(Polled):
    """Dialect "msp"."""

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
        number, layout = _message(table, READINGS)
        if layout is None:
            codes = _codes(table)
            found = declarations.columns(table)
            if len(codes) != len(found):
                raise table.fail("fields", f"names {len(found)} numbers, but the layout has {len(codes)}")
            chosen = tuple((k, 1.0) for k in range(len(codes)))
        else:
            known = [field.name for field in layout.fields]
            if layout.repeated or "fields" in table.values:
                found = declarations.columns(table)
            else:
                found = [Column(name) for name in known]
            places = [_place(table, layout, column.name) for column in found]
            codes = layout.codes(max(places) + 1)
            chosen = tuple((k, layout.fields[k].scale) for k in places)
            found = [Column(c.name, c.unit or layout.fields[k].unit) for c, k in zip(found, places, strict=True)]
        self._reads[table.name] = MessageRead(number, struct.Struct("<" + codes), chosen)
        return found

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
        if message.direction == framing.REFUSED or len(message.payload) < read.packed.size:
            self.intact(t_ns)
            refused = message.direction == framing.REFUSED
            has = f"has {len(message.payload)} bytes, {read.packed.size} are needed"
            status, why = ("refused", "is not known to the robot") if refused else ("length", has)
            self.fault(t_ns, status, message.payload, f"{name}: message {message.number} {why}")
            self.missed(t_ns, name)
            return
        raw = read.packed.unpack_from(message.payload)
        self.deliver(t_ns, name, [raw[k] * scale for k, scale in read.chosen], answer.middle_ns)

    def gave_up(self, t_ns: int, missed: Missed) -> None:
        for item in self._finder.flush():
            if isinstance(item, framing.Message):
                self._message(t_ns, item)
            else:
                self.fault(t_ns, item.status, item.data)

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        write = self.writes[action.name]
        raw = [(constant if k is None else values[k]) / scale for k, constant, scale in write.numbers]
        numbers = [value if code in "fd" else round(value) for value, code in zip(raw, write.codes, strict=True)]
        return framing.encode(write.number, write.packed.pack(*numbers), self._version)

    def explain(self, data: bytes) -> str:
        """Each message's name or number, and an action's numbers."""
        names = {layout.number: name for name, layout in (READINGS | ACTIONS).items()}
        packed = {write.number: write.packed for write in self.writes.values()}
        said = []
        for item in framing.finder().feed(data):
            if not isinstance(item, framing.Message):
                return super().explain(data)
            text = names.get(item.number, str(item.number))
            if item.number in packed and len(item.payload) == packed[item.number].size:
                text += " " + " ".join(f"{value:g}" for value in packed[item.number].unpack(item.payload))
            said.append(text)
        return ", ".join(said) or super().explain(data)


def _message(table: Table, known: dict[str, Layout]) -> tuple[int, Layout | None]:
    """The number of the message that a table names, and its layout if it is one that we know."""
    number = table.values.get("message")
    if isinstance(number, int) and not isinstance(number, bool):
        table.taken.append("message")
        if not 0 <= number <= 0xFFFF:
            raise table.fail("message", f"must be a number from 0 to 65535, not {number}")
        return number, None
    name = table.choice("message", list(known))
    return known[name].number, known[name]


def _codes(table: Table) -> str:
    """The letters of a layout such as "<9h", one for each number."""
    text: str = table.take("layout", str)
    if not re.fullmatch(r"<?(\d{0,3}[bBhHiIqQfd])+", text):
        why = f'{text!r} is not a layout such as "<BHh9h": letters of Python\'s struct, little-endian, of numbers only'
        raise table.fail("layout", why)
    codes = "".join(code * int(count or 1) for count, code in re.findall(r"(\d*)([a-zA-Z])", text))
    if not 1 <= struct.calcsize("<" + codes) <= framing.MAX_PAYLOAD:
        raise table.fail("layout", f"{text!r} is not 1 to {framing.MAX_PAYLOAD} bytes long")
    return codes


def _place(table: Table, layout: Layout, name: str) -> int:
    """Which number of the message a name is."""
    known = [field.name for field in layout.fields]
    if name not in known:
        raise table.fail("fields", f"there is no {name!r} in {table.values['message']}{nearest(name, known)}")
    return known.index(name)


def _write(action: ActionDeclaration) -> MessageWrite:
    """How an action becomes a message. The table's error where a number of the message has no value, or too large
    one."""
    table = action.table
    number, layout = _message(table, ACTIONS)
    constants = table.table("constant", required=False)
    names = [field.name for field in action.form.fields]
    if layout is None:
        codes, known = _codes(table), tuple(Field(name) for name in names)
        if constants is not None:
            raise table.fail("constant", "is for messages by name; of one by number, every number is a field")
        if len(codes) != len(names):
            raise table.fail("fields", f"names {len(names)} numbers, but the layout has {len(codes)}")
    else:
        values = constants.values if constants is not None else {}
        count = max(_place(table, layout, name) for name in [*names, *values]) + 1 if layout.repeated else 0
        codes = layout.codes(count)
        known = layout.fields[: len(codes)]
    numbers: list[tuple[int | None, float, float]] = []
    for field, code in zip(known, codes, strict=True):
        if field.name in names:
            place = names.index(field.name)
            form = action.form.fields[place]
            ends = (cast(float, form.minimum), cast(float, form.maximum))
            numbers.append((place, 0.0, field.scale))
        elif constants is not None and field.name in constants.values:
            ends = (constants.take(field.name, float),) * 2
            numbers.append((None, ends[0], field.scale))
        else:
            why = f"has no {field.name!r}, which the message holds: declare it, or give it a value in constant"
            raise table.fail("fields", why)
        least, greatest = _LIMITS[code]
        if not least <= ends[0] / field.scale <= ends[1] / field.scale <= greatest:
            why = f"of {field.name!r}: {ends[0]:g} to {ends[1]:g} does not fit into the message's number ({code!r})"
            raise table.fail("fields", why)
    for name in names:
        if name not in [field.name for field in known]:
            _place(table, cast(Layout, layout), name)
    if constants is not None:
        constants.done()
    return MessageWrite(number, struct.Struct("<" + codes), codes, tuple(numbers))
