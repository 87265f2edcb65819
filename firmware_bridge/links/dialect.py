"""The base of every link to a robot that has a firmware of its own: all that does not depend on what it speaks.

Its rule: that of every link (`links/link.py`): a function of the chunks and calls given. A dialect says how bytes
become numbers and how an action becomes bytes; what is missing, late, outside its limits, repeated or safe is decided
here, so it is the same for all of them. The robot declares nothing: the dictionary is made of its configuration, and a
`Hello` comes with the first message that arrives whole.

A sensor that sends "12.5;3" a line:

    class Scale(Dialect):
        name = "scale"
        cut = b"\\n"

        def opened(self) -> None:
            self._line = b""

        def decode(self, t_ns: int, data: bytes) -> None:
            *lines, self._line = (self._line + data).split(b"\\n")
            for line in lines:
                try:
                    self.deliver(t_ns, "weight", [float(text) for text in line.split(b";")])
                except ValueError:
                    self.fault(t_ns, "shape", line)

In robot.toml `dialect = "my_package:Scale"`, and [link.reading.weight] with its fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from firmware_bridge.declared import plain, shortened
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import ActionError, DictionaryError, nearest
from firmware_bridge.events import Event, Fault, Gap, Hello, Lost, Opened, Reading, Reset, Silent
from firmware_bridge.links import declarations
from firmware_bridge.links.counters import Counters
from firmware_bridge.links.declarations import ActionDeclaration, Column, ReadingDeclaration
from firmware_bridge.links.promises import Promises
from firmware_bridge.table import Table
from firmware_bridge.values import Action, Chunk

SILENT_NS = 1_500_000_000  # without a whole message: the robot is silent
ACTION_NS = 250_000_000  # how long an action stays fresh without another, unless `hold_ns` is longer
LONGEST_FAULT = 256  # bytes of what was of no use that a `Fault` keeps
MOST_KINDS = 120  # of readings, and of actions


class Dialect:
    """A `Link` made of the table [link]. The subclass reads its own keys after `super().__init__`."""

    name: ClassVar[str] = ""  # what [link] dialect says
    checked: bool = False  # whether every message carries a check; a dialect may say so of itself
    cut: bytes = b""  # what ends a message that was cut off in the middle; sent before the last one

    def __init__(self, table: Table) -> None:
        self.table = table
        table.take("dialect", str, "")
        device = table.take("device", str, self.name)
        self._start = _start(table)
        self.counters = Counters()
        self.dictionary: Dictionary | None = None  # of the configuration, since the robot has been heard
        self.readings: dict[str, ReadingDeclaration] = {}
        self.actions: dict[str, ActionDeclaration] = {}
        for name, inner in table.tables("reading").items():
            number = len(self.readings) + 1
            self.readings[name] = declarations.reading(name, number, inner, self.columns(inner))
        for name, inner in table.tables("action").items():
            number = len(self.readings) + len(self.actions) + 1
            self.actions[name] = declarations.action(name, number, inner, self.types(inner), self.needs_safe(inner))
        if not self.readings:
            raise table.fail("reading", "is missing: add a table [link.reading.NAME] with its fields")
        if len(self.readings) > MOST_KINDS or len(self.actions) > MOST_KINDS:
            raise table.fail("reading", f"declares more than {MOST_KINDS} kinds of messages")
        if twins := set(self.readings) & set(self.actions):
            raise table.fail("action", f"{min(twins)!r} is a reading already; take another name")
        forms = [item.form for item in self.readings.values()] + [item.form for item in self.actions.values()]
        try:
            self._declared = Dictionary(tuple(forms), device, self.name)
        except DictionaryError as error:
            raise table.fail("device" if "device" in str(error) else "reading", str(error)) from None
        self._state = "closed"
        self._stopped = self._silent = self._booted = False
        self._events: list[Event] = []
        self._now_ns = self._heard_ns = 0
        self._begun = False
        self._opened = 0
        self._to_start = self._to_calm = False  # bytes that are due: the start, the safe output
        # action → values, when written, until when fresh
        self._in_force: dict[str, tuple[tuple[float, ...], int, int]] = {}
        self._moved = False  # an action was written since the robot was safe
        longest = [item.period_ns or 0.0 for item in self.readings.values()]
        self._silent_ns = max(SILENT_NS, int(5 * min(longest)))

    # ------------------------------------------------------------------------------ what a dialect says of itself

    def columns(self, table: Table) -> list[Column]:
        """The numbers of a reading's message, in the order in which `deliver` is given them. table: the reading's."""
        return declarations.columns(table)

    def types(self, table: Table) -> Mapping[str, str]:
        """The wire's types of an action's fields where they are not f64. table: the action's."""
        return {}

    def needs_safe(self, table: Table) -> bool:
        """Whether each field of an action must say its safe value; a dialect may know another way to be safe."""
        return True

    def opened(self) -> None:
        """The port was opened or lost: forget half a message."""

    def decode(self, t_ns: int, data: bytes) -> None:
        """Bytes that arrived: call `deliver`, `fault`, `intact` … for what they are. Must not raise."""
        raise NotImplementedError

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        """The bytes of an action, once for each time that it is written; its values are within its limits."""
        raise NotImplementedError

    def safe(self) -> bytes:
        """The bytes that make the robot safe: every action at its safe values."""
        return b"".join(self.encode(item, item.form.safe_action().values) for item in self.actions.values())

    def poll(self, t_ns: int) -> bytes:
        """What is due now of what the dialect itself sends: requests, heartbeats. Called after every chunk."""
        return b""

    def poll_due_ns(self) -> int | None:
        """When `poll` next has something to send; None: it does not need to be woken."""
        return None

    def release(self, t_ns: int, data: bytes) -> bytes:
        """The bytes of an action that may be written now; a half-duplex dialect keeps them until `poll` may send."""
        return data

    def also(self) -> tuple[str, ...]:
        """Sentences about what else this link cannot notice."""
        return ()

    # ------------------------------------------------------------------------------ what a dialect calls in decode

    def intact(self, t_ns: int) -> None:
        """Something of the robot's arrived whole: it is there, and speaks as it was told it would."""
        self._heard_ns, self._silent = t_ns, False
        self.counters.frames += 1
        if self.dictionary is None or self._state == "listening":
            self.dictionary, self._state = self._declared, "running"
            self.counters.hellos += 1
            declared = self._declared
            self._events.append(Hello(t_ns, declared.device, declared.version, self.counters.resets, declared))

    def deliver(self, t_ns: int, name: str, raw: Sequence[float], at_ns: int | None = None) -> None:
        """A message of reading `name` arrived whole, with these numbers, one for each of its columns. at_ns: when it
        was measured, where the robot has no clock and the dialect knows better than `t_ns`."""
        reading = self.readings[name]
        if len(raw) != len(reading.columns):
            wanted = len(reading.columns)
            self.fault(t_ns, "length", b"", f"{name}: {len(raw)} numbers came; its fields are {wanted}")
            return
        self.intact(t_ns)
        values = tuple([float(raw[k]) for k in reading.kept])
        if reading.scales is not None:
            values = tuple([v * scale + offset for v, (scale, offset) in zip(values, reading.scales, strict=True)])
        for k, least, greatest in reading.limits:
            if values[k] < least or values[k] > greatest:  # a missing value (NaN) is neither
                field = reading.form.fields[k]
                what = f"{field.name} = {values[k]:g} {field.unit}".rstrip()
                self.fault(t_ns, "limits", b"", f"{name}: {what} is outside {least:g} to {greatest:g}")
                return
        missing, device_us = self._follow(t_ns, reading, raw, t_ns if at_ns is None else at_ns)
        if missing < 0:
            return
        self._gap(t_ns, reading, missing)
        reading.number += 1
        self.counters.readings += 1
        self._events.append(Reading(t_ns, name, reading.number & 0xFFFF, device_us, values))

    def missed(self, t_ns: int, name: str, count: int = 1) -> None:
        """So many readings were asked for and never came."""
        self._gap(t_ns, self.readings[name], count)

    def booted(self) -> None:
        """The robot has printed something that it prints when it starts: if its clock goes back now, it has."""
        self._booted = True

    def restarted(self, t_ns: int) -> None:
        """The robot has started again: its clocks and counters begin afresh, and it must be told again to start."""
        self.counters.resets += 1
        for reading in self.readings.values():
            for follower in (reading.clock, reading.follow):
                if follower is not None:
                    follower.restart()
        self._in_force.clear()
        self._moved, self._to_start = False, True
        self._events.append(Reset(t_ns, self.counters.resets))

    def fault(self, t_ns: int, status: str, data: bytes = b"", detail: str = "") -> None:
        """Bytes of no use. status: one word (shape, check, length, limits, time …); detail: a sentence or empty."""
        self.counters.faults[status] = self.counters.faults.get(status, 0) + 1
        self._events.append(Fault(t_ns, status, data[:LONGEST_FAULT], plain(detail)[:LONGEST_FAULT]))

    def skipped(self, count: int) -> None:
        """Bytes that were passed over, as the rest of a message that began before the port was opened."""
        self.counters.skipped_bytes += count

    def _gap(self, t_ns: int, reading: ReadingDeclaration, missing: int) -> None:
        if missing > 0:
            self.counters.gaps += 1
            self.counters.lost_readings += missing
            self._events.append(Gap(t_ns, reading.name, reading.number + 1 & 0xFFFF, missing))
            reading.number += missing

    def _follow(self, t_ns: int, reading: ReadingDeclaration, raw: Sequence[float], at_ns: int) -> tuple[int, int]:
        """How many readings are missing before this one (-1: it is not believed), and its time on the robot in µs."""
        missing, device_us = 0, at_ns // 1000
        booted, self._booted = self._booted, False
        if reading.clock is not None and reading.time is not None:
            step = reading.clock.accept(t_ns, raw[reading.time], booted)
            if step.refused:
                self._booted = booted
                self.fault(t_ns, "time", b"", f"{reading.name}: {step.refused}")
                return -1, 0
            if step.restarted:
                self.restarted(t_ns)
                reading.clock.accept(t_ns, raw[reading.time], False)
            elif reading.period_ns is not None:
                missing = max(0, round(step.forward_ns / reading.period_ns) - 1)
            device_us = step.time_ns // 1000
            booted = step.restarted
        if reading.follow is not None and reading.counter is not None:
            missing, refused = reading.follow.accept(t_ns, raw[reading.counter], booted)
            if refused:
                self.fault(t_ns, "counter", b"", f"{reading.name}: {refused}")
                return -1, 0
        return missing, device_us

    # ------------------------------------------------------------------------------ what every link has

    @property
    def state(self) -> str:
        """closed, listening, running; silent while nothing whole arrives; stopped after `stop`."""
        return "stopped" if self._stopped else "silent" if self._silent and self._state == "running" else self._state

    @property
    def declared(self) -> Dictionary:
        """What the configuration declares; `dictionary` is that once the robot has been heard."""
        return self._declared

    @property
    def promises(self) -> Promises:
        """What this link cannot notice."""
        return Promises(
            damage=self.checked,
            uncounted=tuple(item.name for item in self.readings.values() if not item.counted),
            undated=tuple(item.name for item in self.readings.values() if item.clock is None),
            unguarded=tuple(item.name for item in self.actions.values() if not item.watchdog_ms),
            also=self.also(),
        )

    @property
    def due_ns(self) -> int | None:
        """See `Link.due_ns`: the next poll, the next repetition of an action, or when the last one is too old."""
        if self._stopped or self._state == "closed":
            return None
        due = [] if (poll := self.poll_due_ns()) is None else [poll]
        for name, (_values, written_ns, stale_ns) in self._in_force.items():
            repeat_ns = self.actions[name].repeat_ns
            due.append(stale_ns if repeat_ns is None else min(stale_ns, written_ns + repeat_ns))
        return min(due, default=None)

    def receive(self, chunk: Chunk) -> list[Event]:
        """See `Link.receive`."""
        t_ns, self._events = chunk.t_ns, []
        if not self._begun:
            self._begun, self._heard_ns = True, t_ns
        self._now_ns = t_ns
        if chunk.link != "data":
            self._turned(chunk)
        elif self._state != "closed" or chunk.data:
            if self._state == "closed":  # bytes of a port that never said that it was opened
                self._state = "listening"
                self.opened()
            if chunk.data:
                self.counters.bytes += len(chunk.data)
                self.decode(t_ns, chunk.data)
            if t_ns - self._heard_ns > self._silent_ns and not self._silent:
                self._silent = True
                self._events.append(Silent(t_ns))
        return self._events

    def _turned(self, chunk: Chunk) -> None:
        """The port was opened or lost."""
        text = chunk.data.decode(errors="replace")
        self._heard_ns, self._silent, self._booted = chunk.t_ns, False, False
        self._in_force.clear()
        self.opened()
        if chunk.link == "opened":
            self._opened += 1
            self.counters.reconnects = self._opened - 1
            self._state, self._to_start, self._to_calm = "listening", True, self._moved
            self._events.append(Opened(chunk.t_ns, text))
        else:
            self._state = "closed"
            self._events.append(Lost(chunk.t_ns, text))

    def send(self, t_ns: int, action: Action, hold_ns: int = 0, of_device_us: int | None = None) -> bytes:
        """See `Link.send`; empty, and counted, until the robot has spoken, while it is silent and after `stop`."""
        if self._stopped or self._silent or self._state != "running":
            self.counters.actions_held += 1
            return b""
        declared = self.actions.get(action.format)
        if declared is None:
            raise ActionError(f"robot.toml declares no action {action.format!r}{nearest(action.format, self.actions)}.")
        declared.form.pack(action.values)  # raises where its limits do not allow it
        data = self.encode(declared, action.values)
        self.counters.actions_sent += 1
        self._moved = True
        self._in_force[action.format] = action.values, t_ns, t_ns + max(ACTION_NS, hold_ns)
        return self._counted(self.release(t_ns, data))

    def outgoing(self) -> bytes:
        """See `Link.outgoing`: the start, polls, actions once more, and the safe output where the last one is old."""
        if self._stopped or self._state == "closed":
            return b""
        t_ns, out = self._now_ns, b""
        if self._to_start:
            self._to_start = False
            out += self._start
        for name, (values, written_ns, stale_ns) in list(self._in_force.items()):
            repeat_ns = self.actions[name].repeat_ns
            if t_ns >= stale_ns or self._silent:
                self._to_calm = True
            elif repeat_ns is not None and t_ns - written_ns >= repeat_ns:
                self._in_force[name] = values, t_ns, stale_ns
                self.counters.heartbeats += 1
                out += self.release(t_ns, self.encode(self.actions[name], values))  # its counter goes on
        if self._to_calm:
            self._to_calm = self._moved = False
            self._in_force.clear()
            self.counters.muted += 1
            out += self.release(t_ns, self.safe())
        return self._counted(out + self.poll(t_ns))

    def stop(self, t_ns: int) -> bytes:
        """See `Link.stop`: the safe output, where the robot has spoken or something was sent."""
        first, self._stopped = not self._stopped, True
        return self._counted(self.safe()) if first and self.actions and self.dictionary is not None else b""

    def explain(self, data: bytes) -> str:
        """What bytes that were written say, for people."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data.hex(" ")
        return shortened(text) if text.strip().isprintable() else data.hex(" ")

    def report(self) -> dict[str, Any]:
        """See `Link.report`."""
        return {"state": self.state, **asdict(self.counters)}

    def _counted(self, data: bytes) -> bytes:
        self.counters.bytes_sent += len(data)
        return data


def _start(table: Table) -> bytes:
    """What is written after each opening."""
    text, digits = table.take("start", str, None), table.take("start_hex", str, None)
    if text is not None and digits is not None:
        raise table.fail("start", "stands beside start_hex; give one of them")
    if digits is not None:
        try:
            return bytes.fromhex(digits)
        except ValueError:
            raise table.fail("start_hex", f'{digits!r} is not bytes in hexadecimal digits such as "AA 55"') from None
    return (text or "").encode()
