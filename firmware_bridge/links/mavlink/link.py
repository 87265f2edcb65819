"""The dialect "mavlink": readings out of an autopilot's messages, actions as messages of their own (README.md).

Its rule: only the chosen system's frames are readings, and only it is written to: the one that [link] names, or the
first autopilot whose heartbeat is heard. Our heartbeat says that this program lives, nothing more. The numbers of
frames say that something was lost, never what; so readings are counted by their own time, and frames apart from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.mavlink.definition import Message
from firmware_bridge.links.mavlink.framing import Damaged, Deframer, Frame, encode, renumbered
from firmware_bridge.links.mavlink.messages import COMMAND_ACK, COMMAND_LONG, HEARTBEAT
from firmware_bridge.links.mavlink.rates import SET_MESSAGE_INTERVAL, Rates, Request
from firmware_bridge.links.mavlink.wanted import Vocabulary, WantedReading, number
from firmware_bridge.remembered import PART
from firmware_bridge.table import Table

HEARTBEAT_NS = 1_000_000_000
MOST_LOST = 127  # frames in a row; more look as if one came late
BACK_NS = 1_000_000_000  # by which the robot's clock goes back when it has started again
WRAP_NS, WRAP_SLACK_NS = (1 << 32) * 1_000_000, 600_000_000_000  # of time_boot_ms: after 49.7 days it begins at 0

OWN_TYPES = {"gcs": 6, "onboard": 18}  # MAV_TYPE
NO_AUTOPILOT = 8  # MAV_AUTOPILOT_INVALID
ACTIVE = 4  # MAV_STATE
ARMED = 128  # MAV_MODE_FLAG


class MavlinkLink(Dialect):
    """A link to an autopilot, or to anything that speaks MAVLink."""

    REMEMBERED: ClassVar = {
        **dict.fromkeys(("_deframer", "_rates"), PART),
        **dict.fromkeys(("_seq", "_lost", "_others", "_signed", "_beat_ns", "_missing"), int),
        "robot": tuple[int, int] | None,
        "_mode": tuple[bool, int] | None,
        "_last": int | None,
        "_latest": dict[int, tuple[int, tuple[float | bytes, ...]]],
        "_times_ns": dict[int, int],
    }
    name: ClassVar[str] = "mavlink"
    checked = True

    def __init__(self, table: Table) -> None:
        self.version: Literal[1, 2] = 1 if number(table, "version", 1, 2, 2) == 1 else 2
        self.vocabulary = Vocabulary(table, self.version)
        self.system, self.component = number(table, "system", 0, 255, 0), number(table, "component", 0, 255, 0)
        self._own = number(table, "own_system", 1, 255, 255), number(table, "own_component", 1, 255, 190)
        self._own_type = OWN_TYPES[table.choice("own_type", tuple(OWN_TYPES), "gcs")]
        super().__init__(table)
        by_id = self.vocabulary.by_id
        self._deframer = Deframer(by_id)
        self.wanted_readings: dict[int, list[WantedReading]] = {}  # by the message that makes them
        self._parts: set[int] = set()  # messages that bring other parts of a reading
        rates: dict[int, float] = {}
        for item in self.readings.values():
            wanted = self.vocabulary.reading(item)
            self.wanted_readings.setdefault(wanted.on, []).append(wanted)
            self._parts.update(wanted.others)
            for part in (wanted.on, *wanted.others) if item.rate_hz is not None else ():
                rates[part] = max(rates.get(part, 0.0), cast(float, item.rate_hz))
        self._rates = Rates([Request(by_id[part], rate_hz) for part, rate_hz in rates.items()])
        self.wanted_actions = {item.name: self.vocabulary.action(item) for item in self.actions.values()}
        self._clocks = {item.id: clock for item in by_id.values() if (clock := _clock(item)) is not None}
        # A parser that waits for the rest of a message that was cut off would take the next one for it.
        self.cut = bytes(12 + max((item.message.size for item in self.wanted_actions.values()), default=-12))
        self._seq = 0  # of our next frame
        self._lost = self._others = self._signed = 0  # frames: of the robot's, as their numbers say; of others; signed
        self.opened()

    def columns(self, table: Table) -> list[Column]:
        """See `Dialect.columns`."""
        return self.vocabulary.columns(table)

    def types(self, table: Table) -> Mapping[str, str]:
        """See `Dialect.types`."""
        return self.vocabulary.types(table)

    # ------------------------------------------------------------------------------------------ in

    def opened(self) -> None:
        """Half a frame is forgotten, and who the robot is, unless [link] says it."""
        before = self._deframer.skipped
        self._deframer.reset()
        self.skipped(self._deframer.skipped - before)
        known = self.system and self.component
        self.robot: tuple[int, int] | None = (self.system, self.component) if known else None
        self._mode: tuple[bool, int] | None = None  # armed, custom mode: as its last heartbeat said
        self._beat_ns = 0  # when our next heartbeat is due
        self._forget()

    def _forget(self) -> None:
        """The robot has started, or may have."""
        self._last: int | None = None  # number of its last frame
        self._missing = 0  # frames, so its numbers say, if it has not started again
        self._latest: dict[int, tuple[int, tuple[Any, ...]]] = {}  # message → when it came, its numbers
        self._times_ns: dict[int, int] = {}  # message → the robot's time in the last one
        self._rates.restart()

    def restarted(self, t_ns: int) -> None:
        """The robot has started again: it is asked for its rates once more."""
        super().restarted(t_ns)
        self._forget()

    def decode(self, t_ns: int, data: bytes) -> None:
        """See `Dialect.decode`."""
        before = self._deframer.skipped
        for item in self._deframer.feed(data):
            if isinstance(item, Damaged):
                self.fault(t_ns, item.status, item.data)
            else:
                self._frame(t_ns, item)
        self.skipped(self._deframer.skipped - before)
        self._note(t_ns, self._rates.overdue(t_ns))

    def _frame(self, t_ns: int, frame: Frame) -> None:
        message = frame.message
        if self.robot is None and frame.id == HEARTBEAT.id and message is not None and self._may_be_robot(frame):
            self.robot = frame.system, frame.component
        if self.robot != (frame.system, frame.component):
            if self.robot is None and frame.id in self.wanted_readings:
                self.counters.early_readings += 1
            else:
                self._others += 1
            return
        self._signed += frame.signed
        numbers = None if message is None else message.unpack(frame.payload)
        clock = None if numbers is None else self._clocks.get(frame.id)
        if numbers is not None and clock is not None:
            self._follow_clock(t_ns, frame.id, cast(int, numbers[clock[0]]) * clock[1])
        self._count(t_ns, frame.seq, clock is not None)
        if numbers is None or not self._read(t_ns, frame.id, numbers):
            self.intact(t_ns)

    def _read(self, t_ns: int, kind: int, numbers: tuple[Any, ...]) -> bool:
        """A message of the robot's. Whether a reading was made of it."""
        self._rates.came(kind)
        if kind == HEARTBEAT.id:
            base_mode, custom_mode = (numbers[HEARTBEAT.columns[name].at] for name in ("base_mode", "custom_mode"))
            self._mode = bool(base_mode & ARMED), custom_mode
        elif kind == COMMAND_ACK.id:
            command, result, system = (
                numbers[COMMAND_ACK.columns[name].at] for name in ("command", "result", "target_system")
            )
            if command == SET_MESSAGE_INTERVAL and system in (
                0,
                self._own[0],
            ):  # MAVLink 1 does not say whom it answers
                self._note(t_ns, self._rates.answered(result))
        if kind in self._parts:
            self._latest[kind] = t_ns, numbers
        made = False
        for wanted in self.wanted_readings.get(kind, ()):
            raw = self._raw(t_ns, wanted, numbers)
            if raw is not None:
                self.deliver(t_ns, wanted.name, raw)
                made = True
        return made

    def _raw(self, t_ns: int, wanted: WantedReading, numbers: tuple[Any, ...]) -> list[float] | None:
        """The numbers of a reading's columns, if all its parts are there."""
        for at, value in wanted.where:
            here = numbers[at]
            if (here.rstrip(b"\0") if isinstance(here, bytes) else here) != value:
                return None
        if wanted.numbers is not None:
            return [numbers[at] for at in wanted.numbers]
        parts = {wanted.on: numbers}
        for kind in wanted.others:
            came_ns, parts[kind] = self._latest.get(kind, (None, ()))
            if came_ns is None:
                return None
            if t_ns - came_ns > wanted.stale_ns:
                name, age_s = self.vocabulary.by_id[kind].name, (t_ns - came_ns) / 1e9
                self.fault(t_ns, "stale", b"", f"{wanted.name}: the last {name} is {age_s:.1f} s old")
                return None
        return [parts[kind][at] for kind, at in wanted.places]

    def _may_be_robot(self, frame: Frame) -> bool:
        """Whether a heartbeat is that of an autopilot, and of the one that [link] names, if it does."""
        autopilot = HEARTBEAT.unpack(frame.payload)[HEARTBEAT.columns["autopilot"].at]
        named = self.system in (0, frame.system) and self.component in (0, frame.component)
        return named and autopilot != NO_AUTOPILOT

    def _count(self, t_ns: int, seq: int, dated: bool) -> None:
        """What the numbers of the robot's frames say. A robot that has started again counts from 0: so a hole is one
        when a message with a time has shown that it has not. dated: this one has a time."""
        missing = 0 if self._last is None else (seq - self._last - 1) % 256
        self._last = seq
        if missing <= MOST_LOST:  # more: one came late or twice
            self._missing += missing
        if self._missing and (dated or not self._times_ns):
            lost, self._missing = self._missing, 0
            self._lost += lost
            self.fault(t_ns, "sequence", b"", f"{lost} frames of the robot's never arrived; what they held is unknown")

    def _follow_clock(self, t_ns: int, kind: int, now_ns: int) -> None:
        """Notice a restart: the robot's time goes back from one message to the next of the same kind."""
        last_ns = self._times_ns.get(kind, 0)
        wrapped = WRAP_NS - WRAP_SLACK_NS < last_ns < WRAP_NS and now_ns < WRAP_SLACK_NS
        if last_ns - now_ns > BACK_NS and not wrapped:
            self.restarted(t_ns)
        self._times_ns[kind] = now_ns

    def _note(self, t_ns: int, what: str) -> None:
        """What people should know of the rates that were asked for."""
        if what:
            self.fault(t_ns, "rate", b"", what)

    # ------------------------------------------------------------------------------------------ out

    def poll(self, t_ns: int) -> bytes:
        """Our heartbeat, and a request for a rate, where they are due."""
        out = b""
        if t_ns >= self._beat_ns:
            self._beat_ns = t_ns + HEARTBEAT_NS
            self.counters.heartbeats += 1
            out += self._framed(
                HEARTBEAT,
                {"type": self._own_type, "autopilot": NO_AUTOPILOT, "system_status": ACTIVE, "mavlink_version": 3},
            )
        if self.robot is not None and self.dictionary is not None and (command := self._rates.ask(t_ns)):
            system, component = self.robot
            out += self._framed(COMMAND_LONG, command | {"target_system": system, "target_component": component})
        return self.release(t_ns, out)

    def poll_due_ns(self) -> int | None:
        """See `Dialect.poll_due_ns`."""
        asked = None if self.robot is None or self.dictionary is None else self._rates.due_ns
        return self._beat_ns if asked is None else min(self._beat_ns, asked)

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        """See `Dialect.encode`."""
        wanted = self.wanted_actions[action.name]
        numbers = list(wanted.template)
        for at, which in wanted.targets:
            numbers[at] = 0 if self.robot is None else self.robot[which]
        for (at, field), value in zip(wanted.places, values, strict=True):
            numbers[at] = field.number(value)
        return encode(self.version, 0, *self._own, wanted.message, wanted.message.pack_numbers(numbers))

    def _framed(self, message: Message, values: Mapping[str, float]) -> bytes:
        return encode(self.version, 0, *self._own, message, message.pack(values))

    def release(self, t_ns: int, data: bytes) -> bytes:
        """Every frame gets its number when it is written, an action that is written again, too."""
        data, self._seq = renumbered(data, self._seq, self.vocabulary.by_id)
        return data

    def stop(self, t_ns: int) -> bytes:
        """See `Link.stop`."""
        return self.release(t_ns, super().stop(t_ns))

    # ------------------------------------------------------------------------------------------ for people

    def also(self) -> tuple[str, ...]:
        """See `Dialect.also`."""
        return (
            f"frames that never arrived are counted by their numbers, up to {MOST_LOST} in a row; what they held is "
            "unknown",
            "signed frames are read, their signatures are not verified",
        )

    def explain(self, data: bytes) -> str:
        """See `Link.explain`: messages and their fields, extension fields where they are not 0."""
        said = []
        for item in Deframer(self.vocabulary.by_id).feed(data):
            if isinstance(item, Frame) and item.message is not None:
                numbers, base = item.message.unpack(item.payload), item.message.fields[: item.message.base]
                named = [(name, numbers[at], field in base) for name, (at, field) in item.message.columns.items()]
                texts = [f"{name}={value!r}" for name, value, always in named if value or always]
                said.append(" ".join([item.message.name, *texts]))
        return "; ".join(said) or super().explain(data)

    def report(self) -> dict[str, Any]:
        """See `Link.report`; who the robot is, what its heartbeat says, and frames."""
        armed, mode = self._mode or (None, None)
        return super().report() | {
            "robot": None if self.robot is None else f"system {self.robot[0]}, component {self.robot[1]}",
            "armed": armed,
            "mode": mode,
            "lost_frames": self._lost,
            "other_frames": self._others,
            "signed_frames": self._signed,
        }


def _clock(message: Message) -> tuple[int, int] | None:
    """Where a message says how long the robot has been running, and what one unit of it is in ns. A time of 32 bits in
    µs is none: it begins again after 71 minutes."""
    for name, kind, unit_ns in (("time_boot_ms", "u32", 1_000_000), ("time_usec", "u64", 1_000)):
        column = message.columns.get(name)
        if column is not None and column.field.type == kind:
            return column.at, unit_ns
    return None
