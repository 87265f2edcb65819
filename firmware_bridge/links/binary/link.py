"""Dialect "struct": a robot that sends its numbers packed, as its firmware has them in memory, behind a head.

Its rule: that of every dialect; and nothing here can fail, because the declarations fit their layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from firmware_bridge.links import packed
from firmware_bridge.links.binary import declarations
from firmware_bridge.links.binary.declarations import Command, Part
from firmware_bridge.links.binary.frames import (
    CHECK,
    CONSTANT,
    HEAD,
    LENGTH,
    TAIL,
    Found,
    FrameFinder,
    FrameKind,
    Passed,
    told_apart,
)
from firmware_bridge.links.collecting import Collector
from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.remembered import PART, PARTS
from firmware_bridge.table import Table

INCOMPLETE = "incomplete"
_WHY = {
    HEAD: "no frame begins there",
    CONSTANT: "a frame whose constants are not those of where",
    LENGTH: "a frame whose length cannot be",
    TAIL: "a frame without its tail",
    CHECK: "a frame whose check is wrong",
}


class StructLink(Dialect):
    """A `Link`."""

    REMEMBERED: ClassVar = {"_collectors": PARTS, "_finder": PART, "_skipped": int, "_sent": dict[str, int]}
    name: ClassVar[str] = "struct"

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.parts: dict[str, list[Part]] = {
            name: declarations.parts(item.table) for name, item in self.readings.items()
        }
        self.commands: dict[str, Command] = {name: declarations.command(item) for name, item in self.actions.items()}
        kinds = [(name, at, part.kind) for name, found in self.parts.items() for at, part in enumerate(found)]
        _check_apart([(self.readings[name].table, name, kind) for name, _, kind in kinds])
        _check_apart([(self.actions[name].table, name, item.kind) for name, item in self.commands.items()])
        self.checked = all(kind.checksum is not None for _, _, kind in kinds)
        self.cut = _filler([item.kind for item in self.commands.values()])
        self._collectors = {name: Collector(len(found)) for name, found in self.parts.items() if len(found) > 1}
        self._routes = tuple((name, at, self._collectors.get(name), kind.numbers) for name, at, kind in kinds)
        self._finder = FrameFinder([kind for _, _, kind in kinds])
        self._skipped = 0
        self._sent = dict.fromkeys(self.commands, 0)  # frames of each action, for its counter

    def columns(self, table: Table) -> list[Column]:
        return [column for part in declarations.parts(table) for column in part.columns]

    def types(self, table: Table) -> Mapping[str, str]:
        return packed.types(table)

    def opened(self) -> None:
        self._finder.reset()
        self._count_skipped()
        for collector in self._collectors.values():
            collector.reset()

    def decode(self, t_ns: int, data: bytes) -> None:
        for item in self._finder.feed(data):
            if isinstance(item, Passed):
                for each in self._collectors.values():
                    each.interrupt()
                self.fault(t_ns, item.status, item.data, f"{item.size} bytes: {_WHY[item.status]}")
            elif item.kind is None:
                self.intact(t_ns)
            else:
                name, at, collector, numbers = self._routes[item.kind]
                if collector is None:
                    self.deliver(t_ns, name, numbers(item.frame))
                else:
                    self._collect(t_ns, name, collector, at, numbers(item.frame))
        self._count_skipped()

    def _collect(self, t_ns: int, name: str, collector: Collector, at: int, numbers: tuple[float, ...]) -> None:
        """Frame number `at` of a reading of several."""
        whole, broken = collector.add(at, numbers)
        if whole is not None:
            self.deliver(t_ns, name, whole)
            return
        self.intact(t_ns)
        if broken:
            self.fault(t_ns, INCOMPLETE, b"", f"{name}: its frames did not all come, one after the other")

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        command = self.commands[action.name]
        count = self._sent[action.name]
        self._sent[action.name] = count + 1
        return command.kind.seal(command.numbers.pack(values, count))

    def explain(self, data: bytes) -> str:
        """Each action with its fields."""
        named, said, size = list(self.commands.items()), [], 0
        for item in FrameFinder([command.kind for _, command in named]).feed(data) if named else ():
            if isinstance(item, Found) and item.kind is not None:
                name, command = named[item.kind]
                fields = [field.name for field in self.actions[name].form.fields]
                values = command.numbers.values(command.kind.numbers(item.frame))
                said.append(" ".join([name, *(f"{k}={v:g}" for k, v in zip(fields, values, strict=True))]))
                size += len(item.frame)
        return ", ".join(said) if said and size == len(data) else super().explain(data)

    def _count_skipped(self) -> None:
        skipped = self._finder.skipped
        if skipped != self._skipped:
            self.skipped(skipped - self._skipped)
            self._skipped = skipped


def _check_apart(kinds: list[tuple[Table, str, FrameKind]]) -> None:
    """No frame can be two things."""
    for at, (table, name, kind) in enumerate(kinds):
        for _, other, earlier in kinds[:at]:
            if not told_apart(kind, earlier):
                beside = f"one of {other!r}" if other != name else "another of its own"
                why = f"nothing tells a frame of {name!r} from {beside}: give them different heads, or constants"
                raise table.fail("head", why)


def _filler(kinds: list[FrameKind]) -> bytes:
    """What completes a frame that was cut off, wherever: its check is wrong then, and the next frame is read as one.
    No head begins with it."""
    if not kinds:
        return b""
    heads = {kind.head[0] for kind in kinds}
    byte = next(value for value in range(len(heads) + 1) if value not in heads)
    return bytes([byte]) * max(kind.size for kind in kinds)
