"""The base of every link to a robot that has a firmware of its own: all that does not depend on what it speaks.

Its rule: that of every link (`links/link.py`): a function of the chunks and calls given. A dialect says how bytes
become numbers and how an action becomes bytes; what is missing, late, outside its limits, repeated or safe is decided
here, so it is the same for all of them. The robot declares nothing: the dictionary is made of its configuration, and a
`Hello` comes with the first message that arrives whole. A mistake in a dialect's own code is a fault like one on the
line: it is counted and said, and the robot is made safe.

A sensor that sends "12.5;3" a line:

    class Scale(Dialect):
        name = "scale"
        cut = b"\\n"

        def opened(self) -> None:
            self.__line = b""

        def decode(self, t_ns: int, data: bytes) -> None:
            *lines, self.__line = (self.__line + data).split(b"\\n")
            for line in lines:
                try:
                    self.deliver(t_ns, "weight", [float(text) for text in line.split(b";")])
                except ValueError:
                    self.fault(t_ns, "shape", line)

In robot.toml `dialect = "my_package:Scale"`, and [link.reading.weight] with its fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from firmware_bridge.declared import plain, shortened
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import ActionError, DictionaryError, nearest
from firmware_bridge.events import Event, Fault, Gap, Hello, Lost, Opened, Reading, Reset, Silent
from firmware_bridge.links import declarations
from firmware_bridge.links.counters import Counters
from firmware_bridge.links.declarations import ActionDeclaration, Column, ReadingDeclaration
from firmware_bridge.links.in_force import InForce
from firmware_bridge.links.promises import Promises
from firmware_bridge.remembered import PART, PARTS, Kept, Remembers, Tree, check
from firmware_bridge.table import Table
from firmware_bridge.values import Action, Chunk

SILENT_NS = 1_500_000_000  # without a whole message: the robot is silent
HURRY = 1.2  # so much above the declared rate, the declared one is wrong
LONGEST_FAULT = 256  # bytes of what was of no use that a `Fault` keeps
MOST_KINDS = 120  # of readings, and of actions
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")  # "<Frame object at 0x7f21…>"


class Dialect(Remembers):
    """A `Link` made of the table [link]. The subclass reads its own keys after `super().__init__`.

    What it keeps for itself has two underscores, so a subclass may call its own whatever it likes.

    What a subclass remembers is in every keyframe of a recording: its plain attributes (numbers, texts, bytes, and
    lists, tuples, sets and dicts of them) by themselves, or what its REMEMBERED declares (`firmware_bridge/
    remembered.py`). An attribute that is neither, nor configuration as a compiled pattern is, is said: then the
    recordings of this robot have no keyframes.
    """

    REMEMBERED: ClassVar = {
        "counters": Counters,
        "readings": PARTS,
        "_Dialect__state": str,
        **dict.fromkeys(("_Dialect__now_ns", "_Dialect__heard_ns", "_Dialect__opened"), int),
        **dict.fromkeys(("_Dialect__stopped", "_Dialect__silent", "_Dialect__begun", "_Dialect__to_start"), bool),
        **dict.fromkeys(("_Dialect__to_calm", "_Dialect__start_given", "_Dialect__calm_given"), bool),
        **dict.fromkeys(("_Dialect__hurried", "_Dialect__mistakes"), dict[str, str]),
        "_Dialect__in_force": PART,
        "_Dialect__between": list[Event],
    }
    # Beside these, attributes of the bases that a class derives from, which are no state of its own.
    CONFIGURED: ClassVar = frozenset({"table", "readings", "actions", "dictionary", "counters", "drives"})
    name: ClassVar[str] = ""  # what [link] dialect says
    checked: bool = False  # whether every message carries a check; a dialect may say so of itself
    sends_texts: ClassVar[bool] = False  # an action's field may have `choices`, see `ActionDeclaration`
    drives: bool = True  # actions are sent; False: nobody here drives the robot, so nobody stops it either
    cut: bytes = b""  # what ends a message that was cut off in the middle; sent before the last one

    def __init__(self, table: Table) -> None:
        self.table = table
        table.take("dialect", str, "")
        spoken = self.name or type(self).__name__.lower()
        device = table.take("device", str, spoken)
        self.start = _start(table)  # written after each opening; a dialect may add to it
        self.counters = Counters()
        self.dictionary: Dictionary | None = None  # of the configuration, since the robot has been heard
        self.readings: dict[str, ReadingDeclaration] = {}
        self.actions: dict[str, ActionDeclaration] = {}
        readings, actions = table.tables("reading"), table.tables("action")
        if not readings:
            if "readings" in table.values:  # the word of the table beside [link]
                raise table.fail("readings", "unknown key; did you mean 'reading'?")
            raise table.fail("reading", "is missing: add a table [link.reading.NAME] with its fields")
        for key, found in (("reading", readings), ("action", actions)):
            if len(found) > MOST_KINDS:
                raise table.fail(key, f"declares more than {MOST_KINDS} kinds of messages")
        if twins := set(readings) & set(actions):
            raise table.fail("action", f"{min(twins)!r} is a reading already; take another name")
        for name, inner in readings.items():
            number = len(self.readings) + 1
            self.readings[name] = declarations.reading(name, number, inner, self.columns(inner))
        for name, inner in actions.items():
            number = len(self.readings) + len(self.actions) + 1
            types, safe_needed = self.types(inner), self.needs_safe(inner)
            self.actions[name] = declarations.action(name, number, inner, types, safe_needed, self.sends_texts)
        forms = [item.form for item in self.readings.values()] + [item.form for item in self.actions.values()]
        try:
            self.__declared = Dictionary(tuple(forms), device, spoken)
        except DictionaryError as error:
            raise table.fail("device" if "device" in str(error) else "reading", str(error)) from None
        self.__state = "closed"
        self.__stopped = self.__silent = False
        self.__events: list[Event] = []
        self.__now_ns = self.__heard_ns = 0
        self.__begun = False
        self.__opened = 0
        self.__to_start = self.__to_calm = False  # bytes that are due: the start, the safe output
        self.__hurried: dict[str, str] = {}  # readings that come more often than declared, and a sentence
        self.__start_given = self.__calm_given = False  # they were given last, and since the robot moved last
        self.__in_force = InForce({name: item.repeat_ns for name, item in self.actions.items()})
        self.__mistakes: dict[str, str] = {}  # of the dialect's code: method → the first of them
        self.__between: list[Event] = []  # what was found between two chunks
        periods = [item.period_ns or 0.0 for item in self.readings.values()]
        self.__silent_ns = max(SILENT_NS, int(5 * min(periods)))

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
        self.__heard_ns, self.__silent = t_ns, False
        self.counters.frames += 1
        if self.dictionary is None or self.__state == "listening":
            self.dictionary, self.__state = self.__declared, "running"
            self.counters.hellos += 1
            declared = self.__declared
            self.__events.append(Hello(t_ns, declared.device, declared.version, self.counters.resets, declared))

    def deliver(self, t_ns: int, name: str, raw: Sequence[float], at_ns: int | None = None) -> None:
        """A message of reading `name` arrived whole, with these numbers, one for each of its columns (else it
        is a fault). at_ns: when it
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
        missing, device_us = self.__follow(t_ns, reading, raw, t_ns if at_ns is None else at_ns)
        if missing < 0:
            return
        self.__gap(t_ns, reading, missing)
        reading.number += 1
        self.__look_at_rate(reading, device_us)
        self.counters.readings += 1
        self.__events.append(Reading(t_ns, name, reading.number & 0xFFFF, device_us, values))

    def missed(self, t_ns: int, name: str, count: int = 1) -> None:
        """So many readings were asked for and never came."""
        self.__gap(t_ns, self.readings[name], count)
        self.readings[name].told += count

    def booted(self) -> None:
        """The robot has printed something that it prints when it starts: if its clock goes back now, or its counter
        where it has no clock, it has."""
        for reading in self.readings.values():
            reading.booted = True

    def restarted(self, t_ns: int) -> None:
        """The robot has started again: its clocks and counters begin afresh, and it must be told again to start."""
        self.counters.resets += 1
        for reading in self.readings.values():
            for follower in (reading.clock, reading.follow):
                if follower is not None:
                    follower.restart()
            reading.told, reading.booted = 0, False
            reading.since = (0, 0)
        self.__in_force.restarted()
        self.__to_start = True
        self.__events.append(Reset(t_ns, self.counters.resets))

    def fault(self, t_ns: int, status: str, data: bytes = b"", detail: str = "") -> None:
        """Bytes of no use. status: one word (shape, check, length, limits, time …); detail: a sentence or empty."""
        self.counters.faults[status] = self.counters.faults.get(status, 0) + 1
        self.__events.append(Fault(t_ns, status, data[:LONGEST_FAULT], plain(detail[:LONGEST_FAULT])))

    def skipped(self, count: int) -> None:
        """Bytes that were passed over, as the rest of a message that began before the port was opened."""
        self.counters.skipped_bytes += count

    def __gap(self, t_ns: int, reading: ReadingDeclaration, missing: int) -> None:
        if missing > 0:
            self.counters.gaps += 1
            self.counters.lost_readings += missing
            self.__events.append(Gap(t_ns, reading.name, reading.number + 1 & 0xFFFF, missing))
            reading.number += missing

    def __follow(self, t_ns: int, reading: ReadingDeclaration, raw: Sequence[float], at_ns: int) -> tuple[int, int]:
        """How many readings are missing before this one (-1: it is not believed), and its time on the robot in µs."""
        missing, device_us = 0, at_ns // 1000
        clock, follow, forward_ns = reading.clock, reading.follow, None
        if clock is not None and reading.time is not None:
            step = clock.accept(t_ns, raw[reading.time], reading.booted, reading.period_ns)
            if step.refused:
                self.fault(t_ns, "time", b"", f"{reading.name}: {step.refused}")
                return -1, 0
            if step.restarted:
                self.restarted(t_ns)
                clock.accept(t_ns, raw[reading.time], False)
            missing, device_us, forward_ns = step.missing, step.time_us, step.forward_ns
        if follow is not None and reading.counter is not None:
            if clock is None and reading.booted and follow.goes_back(raw[reading.counter]):
                self.restarted(t_ns)
            missing, refused = follow.accept(t_ns, raw[reading.counter], forward_ns)
            if refused:
                self.fault(t_ns, "counter", b"", f"{reading.name}: {refused}")
                return -1, 0
        missing -= min(missing, reading.told)
        reading.told, reading.booted = 0, False
        return missing, device_us

    def __look_at_rate(self, reading: ReadingDeclaration, device_us: int) -> None:
        """A robot that sends more often than rate_hz says may lose a reading without a hole in its times."""
        if reading.clock is None or reading.rate_hz is None or reading.follow is not None:
            return
        if reading.since == (0, 0):
            reading.since = reading.number, device_us
        if reading.number & 0x7F or reading.name in self.__hurried:
            return
        observed_hz = reading.observed_hz(device_us)
        if observed_hz is not None and observed_hz > HURRY * reading.rate_hz:
            self.__hurried[reading.name] = (
                f"{reading.name} comes {observed_hz:.4g} times a second by the robot's own clock, and rate_hz says "
                f"{reading.rate_hz:g}: lost readings are unknown; mend rate_hz"
            )

    # ------------------------------------------------------------------------------ what is remembered

    def snapshot(self) -> Tree:
        """See `Link.snapshot`."""
        said = super().snapshot() | {"heard": self.dictionary is not None}
        return said if (own := self.__own()) is None else said | {"own": own.snapshot()}

    def taken(self, tree: Tree) -> list[Callable[[], None]]:
        """See `Remembers.taken`."""
        check(type(tree) is dict, "it remembers something else")
        rest = dict(tree)
        heard, own = rest.pop("heard"), self.__own()
        check(type(heard) is bool, "it does not say whether the robot was heard")
        changes = [] if own is None else own.taken(rest.pop("own"))
        changes += super().taken(rest)
        check(all(self.actions.keys() >= {name} for name in rest["_Dialect__in_force"]["_last"]), "its actions differ")

        def made() -> None:
            self.dictionary = self.__declared if heard else None
            self.__events = []

        return [*changes, made]

    def __own(self) -> Kept | None:
        """The attributes of a class that does not declare what it remembers."""
        if "REMEMBERED" in type(self).__dict__:
            return None
        but = set().union(*({*one.__dict__.get("REMEMBERED", ())} for one in type(self).__mro__))
        but = but.union(*(one.__dict__.get("CONFIGURED", ()) for one in type(self).__mro__))
        return Kept(self, lambda name: name in but or name.startswith("_Dialect__"))

    # ------------------------------------------------------------------------------ what every link has

    @property
    def state(self) -> str:
        """closed, listening, running; silent while nothing whole arrives; stopped after `stop`."""
        return (
            "stopped" if self.__stopped else "silent" if self.__silent and self.__state == "running" else self.__state
        )

    @property
    def declared(self) -> Dictionary:
        """What the configuration declares; `dictionary` is that once the robot has been heard."""
        return self.__declared

    @property
    def promises(self) -> Promises:
        """What this link cannot notice."""
        return Promises(
            damage=self.checked,
            uncounted=tuple(name for name, item in self.readings.items() if not item.counted or name in self.__hurried),
            undated=tuple(item.name for item in self.readings.values() if item.clock is None),
            unguarded=tuple(item.name for item in self.actions.values() if self.drives and not item.watchdog_ms),
            also=(*self.also(), *self.__hurried.values(), *self.__mistakes.values()),
        )

    @property
    def due_ns(self) -> int | None:
        """See `Link.due_ns`: the next poll, the next repetition of an action, or when the last one is too old."""
        if self.__stopped or self.__state == "closed":
            return None
        try:
            poll_ns = self.poll_due_ns()
        except Exception as error:
            self.__between.append(self.__mistake("poll_due_ns", error))
            poll_ns = None
        stale_ns = self.__in_force.due_ns
        if poll_ns is None or stale_ns is None:
            return stale_ns if poll_ns is None else poll_ns
        return min(poll_ns, stale_ns)

    def receive(self, chunk: Chunk) -> list[Event]:
        """See `Link.receive`."""
        t_ns, self.__events = chunk.t_ns, self.__between
        self.__between = []
        if not self.__begun:
            self.__begun, self.__heard_ns = True, t_ns
        self.__now_ns = t_ns
        if chunk.link != "data":
            self.__turned(chunk)
        elif self.__state != "closed" or chunk.data:
            if self.__state == "closed":  # bytes of a port that never said that it was opened
                self.__state = "listening"
                self.__forget()
            if chunk.data:
                self.counters.bytes += len(chunk.data)
                try:
                    self.decode(t_ns, chunk.data)
                except Exception as error:
                    self.__events.append(self.__mistake("decode", error, chunk.data))
                    self.__forget()
            if t_ns - self.__heard_ns > self.__silent_ns and not self.__silent:
                self.__silent = True
                self.__events.append(Silent(t_ns))
        return self.__events

    def __turned(self, chunk: Chunk) -> None:
        """The port was opened or lost."""
        text = chunk.data.decode(errors="replace")
        self.__heard_ns, self.__silent = chunk.t_ns, False
        for reading in self.readings.values():
            reading.booted = False
        self.__in_force.lost()
        self.__forget()
        if chunk.link == "opened":
            self.__opened += 1
            self.counters.reconnects = self.__opened - 1
            self.__state, self.__to_start, self.__to_calm = "listening", True, self.__in_force.moved
            self.__events.append(Opened(chunk.t_ns, text))
        else:
            self.__state = "closed"
            self.__events.append(Lost(chunk.t_ns, text))

    def send(self, t_ns: int, action: Action, hold_ns: int = 0, of_device_us: int | None = None) -> bytes:
        """See `Link.send`; empty, and counted, until the robot has spoken, while it is silent and after `stop`."""
        if self.__stopped or self.__silent or self.__state != "running":
            self.counters.actions_held += 1
            return b""
        declared = self.actions.get(action.format)
        if declared is None:
            raise ActionError(f"robot.toml declares no action {action.format!r}{nearest(action.format, self.actions)}.")
        declared.form.pack(action.values)  # raises where its limits do not allow it
        data = self.__bytes("encode", declared, action.values)
        if data is None:
            self.counters.actions_held += 1
            return b""
        self.counters.actions_sent += 1
        self.__in_force.wrote(t_ns, action, hold_ns)
        self.__to_calm = False
        return self.__counted(self.__started() + self.__released(t_ns, data))

    def outgoing(self) -> bytes:
        """See `Link.outgoing`: the start, polls, actions once more, and the safe output where the last one is old."""
        if self.__stopped or self.__state == "closed":
            return b""
        t_ns, out = self.__now_ns, self.__started()
        if self.__to_calm or self.__in_force.stale(t_ns) or (self.__silent and self.__in_force.moved):
            data, whole = self.__safe()
            self.__to_calm = not whole  # a dialect that could not say it is asked again
            self.__in_force.made_safe()
            self.__calm_given = True
            self.counters.muted += 1
            out += self.__released(t_ns, data)
        for action in self.__in_force.again(t_ns):
            again = self.__bytes("encode", self.actions[action.format], action.values)  # its counter goes on
            if again is not None:
                self.counters.heartbeats += 1
                out += self.__released(t_ns, again)
        return self.__counted(out + (self.__bytes("poll", t_ns) or b""))

    def unsent(self) -> None:
        """See `Link.unsent`: the start, and the safe output as long as the robot has not moved since."""
        self.__to_start |= self.__start_given
        self.__to_calm |= self.__calm_given and not self.__in_force.moved

    def stop(self, t_ns: int) -> bytes:
        """See `Link.stop`: the safe output, where the robot has ever spoken and is driven by us."""
        first, self.__stopped = not self.__stopped, True
        calm = first and self.actions and self.drives and self.dictionary is not None
        return self.__counted(self.__safe()[0]) if calm else b""

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

    def __counted(self, data: bytes) -> bytes:
        self.counters.bytes_sent += len(data)
        return data

    def __started(self) -> bytes:
        """The start, where it is due: before anything else."""
        due, self.__to_start = self.__to_start, False
        self.__start_given = due
        return self.start if due else b""

    # ------------------------------------------------------------------------------ a dialect's code is a stranger's

    def __bytes(self, method: str, *arguments: Any) -> bytes | None:
        """The bytes that a method of the dialect gives; None, and a fault, where it raises or gives something else."""
        self.__events = self.__between  # what it says now comes with the next chunk
        try:
            data = getattr(self, method)(*arguments)
            if type(data) is bytes:
                return data
            raise TypeError(f"it gives {shortened(data)}, which is not bytes")
        except Exception as error:
            self.__between.append(self.__mistake(method, error))
            return None

    def __released(self, t_ns: int, data: bytes) -> bytes:
        released = self.__bytes("release", t_ns, data)
        return data if released is None else released

    def __safe(self) -> tuple[bytes, bool]:
        """The safe output, and whether it is whole; where the dialect cannot make it, what it makes of the declared
        safe values."""
        data = self.__bytes("safe")
        if data is not None:
            return data, True
        found = [self.__bytes("encode", item, item.form.safe_action().values) for item in self.actions.values()]
        return b"".join(data for data in found if data is not None), None not in found

    def __forget(self) -> None:
        try:
            self.opened()
        except Exception as error:
            self.__events.append(self.__mistake("opened", error))

    def __mistake(self, method: str, error: Exception, data: bytes = b"") -> Fault:
        """The fault of a dialect's own code; the summary says the first of each method. It is recorded and remembered,
        so the address of an object, another in each process, is not in it."""
        self.counters.faults["dialect"] = self.counters.faults.get("dialect", 0) + 1
        said = _ADDRESS.sub("", f"{type(self).__name__}.{method}: {type(error).__name__}: {error}")
        why = plain(said[:LONGEST_FAULT])
        self.__mistakes.setdefault(method, f"the dialect {self.name!r} has a mistake of its own: {why}")
        return Fault(self.__now_ns, "dialect", data[:LONGEST_FAULT], why)


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
