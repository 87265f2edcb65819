"""The dialect "lines": a robot that prints its readings as lines of text, or answers requests with them, and obeys
lines.

Its rule: a line is a reading, or is counted. What no declared reading looks like is a fault, a debug line too, so that
the summary says how many there were; empty lines, headers and what [link] `ignore` names are none. Text without a
checksum lies quietly, so whatever can be known to be wrong with a line refuses it as a whole.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

from firmware_bridge.events import Event
from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.lines import kinds
from firmware_bridge.links.lines.actions import template
from firmware_bridge.links.lines.asking import schedule
from firmware_bridge.links.lines.kinds import Kind
from firmware_bridge.links.lines.shapes.shape import Refused
from firmware_bridge.links.lines.splitter import LONGEST, LineSplitter
from firmware_bridge.links.lines.text import unescaped
from firmware_bridge.links.promises import Promises
from firmware_bridge.remembered import PART, PARTS, Remembers
from firmware_bridge.table import Table
from firmware_bridge.values import Chunk

# What a chip prints when it starts: ESP32 and ESP8266, MicroPython, CircuitPython, U-Boot's and Linux's first lines.
BOOT = re.compile(rb"rst:0x|rst cause:|ESP-ROM:|\bets [A-Z][a-z]{2} |soft reboot|Booting Linux|U-Boot ")

_BETWEEN = "times are the middle of request and answer, and a restart is not noticed"


class LinesLink(Dialect):
    """README.md beside this file has the keys of its tables."""

    REMEMBERED: ClassVar = {
        "_splitter": PART,
        "_polling": PART,
        "_shapes": PARTS,
        "_polls": bool,
        "_answered": set[str],
        "_told": bool,
    }
    name = "lines"
    sends_texts = True

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        if "start" in table.values:
            self.start = unescaped(table.values["start"]).encode()
        self.kinds = {name: kinds.kind(reading) for name, reading in self.readings.items()}
        self.templates = {name: template(action) for name, action in self.actions.items()}
        groups = kinds.groups(table, list(self.kinds.values()))
        self._groups = [(prefix, [(kind, kind.reader()) for kind in group]) for prefix, group in groups]
        self._ignored = tuple(unescaped(text).encode() for text in table.list("ignore", str, []))
        if b"" in self._ignored:
            raise table.fail("ignore", "holds an empty text, with which every line begins")
        self._boot = unescaped(table.take("boot", str, "")).encode()
        self.checked = all(kind.envelope.checksum is not None for kind in self.kinds.values())
        ends = {template.safe()[-1:] for template in self.templates.values()}
        self.cut = next((end for end in (b"\n", b"\r") if end in ends), b"")
        self._splitter = LineSplitter(tuple(prefix for prefix, _ in self._groups if prefix))
        shapes = ((name, kind.shape) for name, kind in self.kinds.items())
        self._shapes = {name: shape for name, shape in shapes if isinstance(shape, Remembers)}
        self._asks = all(kind.request is not None for kind in self.kinds.values())  # it says nothing unasked
        self._polling = schedule(table, list(self.kinds.values()), self.readings)
        self._polls = False  # since the port was opened
        self._answered = set[str]()  # polled readings that have come since then
        self._told = False  # a reading has come since the port was opened

    def columns(self, table: Table) -> list[Column]:
        return kinds.columns(table)

    def needs_safe(self, table: Table) -> bool:
        """The line `safe` can say it."""
        return "safe" not in table.values

    def opened(self) -> None:
        before = self._splitter.skipped
        self._splitter.opened(cut=not self._asks)
        self.skipped(self._splitter.skipped - before)
        for kind in self.kinds.values():
            kind.shape.opened()
        self._answered.clear()
        self._told = self._polls = False
        if self._polling is not None:
            self._polling.close()

    def receive(self, chunk: Chunk) -> list[Event]:
        """As `Link.receive`; and time alone is an event, where an answer has not come."""
        events = super().receive(chunk)
        for missed in self._polling.overdue(chunk.t_ns, not chunk.data) if self._polling is not None else ():
            if missed.poll.name in self._answered:
                self.missed(chunk.t_ns, missed.poll.name, missed.slots)
        return events

    def decode(self, t_ns: int, data: bytes) -> None:
        before = self._splitter.skipped
        for line in self._splitter.split(data):
            self._line(t_ns, line)
        self.skipped(self._splitter.skipped - before)

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        return self.templates[action.name].write(values)

    def safe(self) -> bytes:
        return b"".join(template.safe() for template in self.templates.values())

    def poll(self, t_ns: int) -> bytes:
        polling = self._polling
        if polling is None:
            return b""
        if not self._polls:
            self._polls = True
            polling.open(t_ns)
        return polling.take(t_ns)

    def poll_due_ns(self) -> int | None:
        return None if self._polling is None else self._polling.due_ns

    @property
    def promises(self) -> Promises:
        """What is asked for and never comes is known, and an answer lies between two times."""
        known = super().promises
        asked = {name for name, kind in self.kinds.items() if kind.request is not None}
        between = ", ".join(name for name in known.undated if name in asked)
        return replace(
            known,
            uncounted=tuple(name for name in known.uncounted if name not in asked),
            undated=tuple(name for name in known.undated if name not in asked),
            also=(f"{_BETWEEN} ({between})",) if between else (),
        )

    def report(self) -> dict[str, Any]:
        """With what was asked."""
        found, asked = super().report(), self._polling
        if asked is not None:
            found |= {
                "asked": asked.asked,
                "unanswered": asked.unanswered,
                "not_asked": asked.passed_over,
                "slowest_answer_ms": asked.slowest_ns / 1e6,
            }
        return found

    def _line(self, t_ns: int, line: bytes) -> None:
        if len(line) > LONGEST:
            self.fault(t_ns, "long", line, f"It is longer than {LONGEST} bytes.")
            return
        if self._ignored and line.startswith(self._ignored):
            self.intact(t_ns)
            return
        refused, understood = None, False
        for prefix, group in self._groups:
            if not line.startswith(prefix):
                continue
            for kind, read in group:
                outcome = read(line)
                if outcome is None:
                    continue
                if isinstance(outcome, Refused):
                    refused = refused or outcome
                elif outcome and self._is_waited_for(kind):
                    for row in outcome:
                        self._reading(t_ns, kind, row)
                    return
                elif outcome:
                    refused = Refused("late", f"{kind.name}: nothing waits for this answer any more.")
                else:
                    understood = True
            break
        if refused is None and understood:
            self.intact(t_ns)
        else:
            self._other(t_ns, line, refused)

    def _is_waited_for(self, kind: Kind) -> bool:
        """Whether its lines are readings now: one that is asked for answers the request in the air."""
        awaited = None if self._polling is None else self._polling.awaited
        return kind.request is None or (awaited is not None and awaited.poll.name == kind.name)

    def _reading(self, t_ns: int, kind: Kind, row: list[float]) -> None:
        self._told = True
        if kind.request is None or self._polling is None:
            self.deliver(t_ns, kind.name, row)
        elif self._polling.awaited is not None:  # else it is a second one of the same answer
            self._answered.add(kind.name)
            self.deliver(t_ns, kind.name, row, self._polling.answered(t_ns).middle_ns)

    def _other(self, t_ns: int, line: bytes, refused: Refused | None) -> None:
        """A line that is no reading."""
        if any(kind.header(line) for kind in self.kinds.values()):
            self.intact(t_ns)
            self.booted()
        elif self._boot and self._boot in line:
            self.booted()
            if self._told and all(reading.clock is None for reading in self.readings.values()):
                self.restarted(t_ns)
                self._told = False
        elif self._is_echo(line):
            self.intact(t_ns)
        else:
            if BOOT.search(line):
                self.booted()
            status, why = refused or Refused("shape", "It looks like no declared reading.")
            self.fault(t_ns, status, line, why)

    def _is_echo(self, line: bytes) -> bool:
        """Whether the robot repeats the request before it answers."""
        awaited = None if self._polling is None else self._polling.awaited
        return awaited is not None and line == awaited.poll.requests[0].strip(b"\r\n")
