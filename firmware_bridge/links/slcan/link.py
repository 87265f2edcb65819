"""Dialect "slcan": a robot on a CAN bus, behind an adapter that speaks LAWICEL's text over a serial port.

Its rule: that of every dialect. A frame shows that the robot is there; what the adapter answers does not. `stop` sends
the safe output and leaves the channel open: an adapter that closes drops what it has not sent yet, the safe frame among
it, and stops acknowledging; on a bus of two the robot's own frames fail then, until it takes itself off the bus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from firmware_bridge.links.collecting import Collector
from firmware_bridge.links.declarations import TICKS_NS, ActionDeclaration, Column
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.following import RobotClock
from firmware_bridge.links.slcan import dbc, declarations
from firmware_bridge.links.slcan.declarations import Command, Frame, Identifier
from firmware_bridge.links.slcan.messages import (
    BEL,
    CR,
    LONGEST_LINE,
    STAMP_WRAP,
    CanFrame,
    Line,
    Splitter,
    encode,
    parse,
)
from firmware_bridge.remembered import PART, PARTS
from firmware_bridge.table import Table

BITRATES = {
    10_000: b"S0",
    20_000: b"S1",
    50_000: b"S2",
    100_000: b"S3",
    125_000: b"S4",
    250_000: b"S5",
    500_000: b"S6",
    800_000: b"S7",
    1_000_000: b"S8",
}
STAMP = "timestamp"  # the column of the adapter's clock


class SlcanLink(Dialect):
    """A `Link`."""

    REMEMBERED: ClassVar = {
        "_collectors": PARTS,
        "_splitter": PART,
        "_begun_line": bool,
        "_asked": list[bytes],
        "_sent": dict[str, int],
    }
    name: ClassVar[str] = "slcan"
    cut = CR

    def __init__(self, table: Table) -> None:
        self._database = dbc.load(table)
        self.stamped = table.take("timestamps", bool, False)
        super().__init__(table)
        # A line that was cut off ends; then the channel is closed, set up, and opened.
        self._opening = (b"", b"C", *((b"Z1",) if self.stamped else ()), _bitrate(table), b"O")
        self.start = b"".join(line + CR for line in self._opening) + self.start
        self.frames: dict[str, list[Frame]] = {
            name: declarations.frames(item.table, self._database) for name, item in self.readings.items()
        }
        self.commands: dict[str, Command] = {
            name: declarations.command(item, self._database) for name, item in self.actions.items()
        }
        kinds = [(name, at, frame) for name, found in self.frames.items() for at, frame in enumerate(found)]
        declarations.check_apart([(self.readings[name].table, name, frame) for name, _, frame in kinds])
        self._collectors = {name: Collector(len(found)) for name, found in self.frames.items() if len(found) > 1}
        self._routes: dict[Identifier, list[tuple[str, int, Frame]]] = {}
        for name, at, frame in kinds:
            self._routes.setdefault(frame.id, []).append((name, at, frame))
        for item in self.readings.values():
            if item.time is not None and item.columns[item.time].name == STAMP:
                item.clock = RobotClock(TICKS_NS["ms"], STAMP_WRAP)
        self._splitter = Splitter()
        self._begun_line = False  # a line has ended since the port was opened
        self._asked: list[bytes] = []  # of the opening, what the adapter has not answered yet
        self._sent = dict.fromkeys(self.commands, 0)  # frames of each action, for its counter

    def columns(self, table: Table) -> list[Column]:
        found = [column for frame in declarations.frames(table, self._database) for column in frame.columns]
        return [*found, Column(STAMP, "ms", kept=False)] if self.stamped else found

    def types(self, table: Table) -> Mapping[str, str]:
        return declarations.types(table)

    def opened(self) -> None:
        self.skipped(self._splitter.reset())
        self._begun_line, self._asked = False, list(self._opening)
        for collector in self._collectors.values():
            collector.reset()

    def decode(self, t_ns: int, data: bytes) -> None:
        for line in self._splitter.feed(data):
            self._line(t_ns, line)

    def _line(self, t_ns: int, line: Line) -> None:
        first, self._begun_line = not self._begun_line, True
        text = line.data.lstrip(b"\n")
        if not text:
            self._answered(t_ns, line.refused)
            return
        found = "length" if line.size > LONGEST_LINE else "shape" if line.refused else parse(text)
        if isinstance(found, CanFrame):
            self._frame(t_ns, text, found)
        elif isinstance(found, str) and first:  # the rest of a line that began before we listened
            self.skipped(line.size)
        elif isinstance(found, str):
            self._damaged(t_ns, found, text, f"{line.size} bytes that are no line of the adapter's")

    def _answered(self, t_ns: int, refused: bool) -> None:
        """The adapter has done what it was told, or not."""
        asked = self._asked.pop(0) if self._asked else None
        if refused and asked not in (b"", b"C"):  # a line that was cut off, a channel that was closed
            what = "something that was sent, perhaps because the bus is off" if asked is None else asked.decode()
            self.fault(t_ns, "refused", BEL, f"the adapter refuses {what}")

    def _frame(self, t_ns: int, text: bytes, frame: CanFrame) -> None:
        routes = self._routes.get((frame.id, frame.extended), ())
        short = False
        for name, at, kind in routes:
            if len(frame.data) != kind.size:
                short = True
            elif (numbers := kind.decode(frame.data)) is not None:
                self._numbers(t_ns, text, frame, name, at, list(numbers))
                return
        if short:
            sizes = " or ".join(str(kind.size) for _, _, kind in routes)
            detail = f"a frame {frame.id:#x} has {len(frame.data)} bytes; declared are {sizes}"
            self._damaged(t_ns, "length", text, detail)
        else:
            self.intact(t_ns)

    def _numbers(self, t_ns: int, text: bytes, frame: CanFrame, name: str, at: int, numbers: list[float]) -> None:
        collector = self._collectors.get(name)
        if collector is not None:
            whole, broken = collector.add(at, numbers)
            if whole is None:
                self.intact(t_ns)
                if broken:
                    self.fault(t_ns, "incomplete", b"", f"{name}: its frames did not all come, one after the other")
                return
            numbers = whole
        if self.stamped:
            if frame.stamp_ms is None:
                self._damaged(t_ns, "time", text, "a frame without the adapter's time stamp, which timestamps asks for")
                return
            numbers.append(float(frame.stamp_ms))
        self.deliver(t_ns, name, numbers)

    def _damaged(self, t_ns: int, status: str, text: bytes, detail: str) -> None:
        for collector in self._collectors.values():
            collector.interrupt()
        self.fault(t_ns, status, text, detail)

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        command = self.commands[action.name]
        count = self._sent[action.name]
        self._sent[action.name] = count + 1
        return encode(CanFrame(*command.id, command.data(values, count)))

    def explain(self, data: bytes) -> str:
        """Each action with its fields, anything else as the line that it is."""
        *lines, rest = data.split(CR)
        return ", ".join(self._explained(line) for line in lines) if lines and not rest else super().explain(data)

    def _explained(self, line: bytes) -> str:
        frame = parse(line)
        if isinstance(frame, CanFrame):
            for name, command in self.commands.items():
                if command.id == (frame.id, frame.extended) and (values := command.values(frame.data)) is not None:
                    fields = [field.name for field in self.actions[name].form.fields]
                    return " ".join([name, *(f"{k}={v:g}" for k, v in zip(fields, values, strict=True))])
        return super().explain(line) if line else "(empty line)"


def _bitrate(table: Table) -> bytes:
    rate = table.take("bitrate", int)
    if rate not in BITRATES:
        closest = min(BITRATES, key=lambda known: abs(known - rate))
        known = ", ".join(str(rate) for rate in BITRATES)
        raise table.fail("bitrate", f"{rate} is none that adapters have: {known}; did you mean {closest}?")
    return BITRATES[rate]
