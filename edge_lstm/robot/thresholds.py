"""[events.NAME] of robot.toml: an output beyond a threshold for a while is an event, which begins and ends.

Its rule: deterministic. Only outputs that were made of a reading count, with the time of that reading (`t_ns`): what is
missing, no number, held by a model that was not due, or stands in for a late reading neither begins nor ends anything.
The threshold itself is not beyond it: `above = 0.8` begins above 0.8, and ends at `until` or below. Both are float32,
as outputs are, so an output that is clipped to 0.8 is not above it.

    [events.stall]
    of = "stall_left"       # an output; of several models MODEL.OUTPUT
    above = 0.8             # or below
    until = 0.6             # back to here before it ends; left out: as above or below
    for_ms = 200            # so long without a break before it begins; left out: 0
    text = "left wheel stalls"
    mark = true             # the recording in which it begins is kept
    action = { format = "motor_limits", values = { torque_limit_left = 0.0, torque_limit_right = 0.0 } }
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np

from edge_lstm.signals.declared import Choices, chosen
from firmware_bridge.errors import nearest
from firmware_bridge.remembered import PARTS, Remembers
from firmware_bridge.table import Table
from firmware_bridge.values import Action

if TYPE_CHECKING:
    from firmware_bridge.dictionary import Dictionary

TOPIC = "/events"  # of a recording
_LINES = 1000  # that wait to be shown to people; beyond that the oldest go

Limits = Mapping[str, tuple[float | None, float | None]]  # field → least and greatest of [action.FIELD]


@dataclass(frozen=True)
class EventConfig:
    """One of [events]. sign: 1 where it begins above `threshold`, -1 below; mark: the recording in which it begins is
    kept; action: format and values by field."""

    name: str
    of: str
    sign: int
    threshold: float
    until: float
    for_ns: int
    text: str
    table: Table
    mark: bool = False
    action: tuple[str, Mapping[str, float]] | None = None


class Occurrence(NamedTuple):
    """An event begins, or ends after `seconds`. value: of the output, then."""

    t_ns: int
    event: str
    begins: bool
    text: str
    of: str
    value: float
    seconds: float

    def sentence(self, texts: Mapping[str, Choices]) -> str:
        """For people. texts: of outputs that are numbers of one."""
        value = chosen(texts.get(self.of), self.value) or f"{self.value:.4g}"
        text = f": {self.text}" if self.text != self.event else ""
        after = "" if self.begins else f" after {self.seconds:.3f} s"
        return f"{self.event} {'begins' if self.begins else 'ends'}{after}{text} ({self.of} = {value})"

    def recorded(self) -> dict[str, Any]:
        """The message on `TOPIC`."""
        what = "begins" if self.begins else "ends"
        tree: dict[str, Any] = {"event": self.event, "what": what, "text": self.text, "of": self.of}
        return tree | {"value": self.value, "seconds": self.seconds}


@dataclass
class Happened:
    """What a run came to of one event. seconds: of all its times together; first_s, last_s: from the beginning of the
    run to when it first and last began; stands: it has not ended, and `seconds` counts up to the latest reading."""

    text: str
    count: int = 0
    seconds: float = 0.0
    first_s: float | None = None
    last_s: float | None = None
    stands: bool = False


def thresholds(root: Table, action: str | None, limits: Limits) -> tuple[EventConfig, ...]:
    """All of table `events`, in the order of the file; none where it is not there. action: the format of [action],
    limits: of its fields."""
    return tuple(_event(name, table, action, limits) for name, table in root.tables("events").items())


def _event(name: str, table: Table, sent: str | None, limits: Limits) -> EventConfig:
    of, text = table.take("of", str), table.take("text", str, name)
    above, below = table.take("above", float, None), table.take("below", float, None)
    if above is not None and below is not None:
        raise table.fail("below", f"stands beside above = {above:g}; one of them begins the event")
    if above is None and below is None:
        raise table.fail("above", "is missing, and so is below: one of them begins the event")
    threshold, sign = (above, 1) if above is not None else (cast(float, below), -1)
    until = table.take("until", float, threshold)
    for key, value in (("above" if sign > 0 else "below", threshold), ("until", until)):
        if not abs(value) < 3.4028235e38:
            raise table.fail(key, f"{value:g} is no float32, as outputs are")
    if sign * until > sign * threshold:
        key = "above" if sign > 0 else "below"
        why = f"{until:g} is beyond {key} = {threshold:g}, so the event would end at once; it must be on the other side"
        raise table.fail("until", why)
    for_ms = table.take("for_ms", float, 0.0)
    if for_ms < 0:
        raise table.fail("for_ms", f"must not be below 0, not {for_ms:g}")
    mark = table.take("mark", bool, False)
    action = table.table("action", required=False)
    made = None if action is None else _action(action, sent, limits)
    table.done()
    return EventConfig(name, of, sign, threshold, until, round(for_ms * 1e6), text, table, mark, made)


def marks(events: Sequence[EventConfig]) -> Callable[[str, Mapping[str, Any]], str]:
    """For a recorder: why a file is kept in which this message stands on this topic, "" where it is not."""
    names = {event.name for event in events if event.mark}

    def why(topic: str, tree: Mapping[str, Any]) -> str:
        begins = topic == TOPIC and tree["what"] == "begins" and tree["event"] in names
        return str(tree["text"]) if begins else ""

    return why


def _action(table: Table, sent: str | None, limits: Limits) -> tuple[str, Mapping[str, float]]:
    name, inner = cast(str, table.take("format", str)), cast(Table, table.table("values"))
    table.done()
    values = {key: cast(float, inner.take(key, float)) for key in inner.values}
    for key, value in values.items():
        least, most = limits.get(key, (None, None)) if name == sent else (None, None)
        if (least is not None and value < least) or (most is not None and value > most):
            low, high = "" if least is None else f" from {least:g}", "" if most is None else f" to {most:g}"
            raise inner.fail(key, f"{value:g} is outside what [action.{key}] allows:{low}{high}")
    return name, values


class Watch(Remembers):
    """All events of a run. outputs: the names that `of` may mean, in the order of the numbers that `look` is given."""

    REMEMBERED: ClassVar = {"_each": PARTS, "_latest_ns": int}

    def __init__(self, events: Sequence[EventConfig], outputs: Sequence[str]) -> None:
        """The file's error where an event is of an output that there is not."""
        self.lines: deque[Occurrence] = deque(maxlen=_LINES)  # taken away by whoever shows them
        self._each = [_Watched(event, outputs) for event in events]
        self._latest_ns = 0

    def bind(self, dictionary: Dictionary) -> None:
        """The robot that is there. The file's error where it does not take an event's action."""
        for watched in self._each:
            watched.bind(dictionary)

    def reset(self) -> None:
        """The memory was reset: what had not held long enough begins anew."""
        for watched in self._each:
            watched.since_ns = None

    def look(self, t_ns: int, outputs: Sequence[float]) -> tuple[tuple[Occurrence, ...], Action | None]:
        """What a reading's outputs begin or end, and the action of the first in the file's order that begins with one.
        outputs: NaN for each that was not made of this reading."""
        self._latest_ns = t_ns
        happened, action = [], None
        for watched in self._each:
            occurrence = watched.look(t_ns, outputs[watched.place])
            if occurrence is not None:
                happened.append(occurrence)
                if occurrence.begins and action is None:
                    action = watched.action
        self.lines += happened
        return tuple(happened), action

    def report(self, first_ns: int) -> dict[str, dict[str, Any]]:
        """Of each event what the run came to, for --json and the summary. first_ns: when the run began."""
        return {watched.event.name: asdict(watched.happened(first_ns, self._latest_ns)) for watched in self._each}


class _Watched(Remembers):
    """One event and where it stands. Its action follows from the robot that is there."""

    REMEMBERED: ClassVar = {
        **dict.fromkeys(("since_ns", "_begun_ns"), int | None),
        "_begins": list[int],
        **dict.fromkeys(("_count", "_ended_ns"), int),
    }

    def __init__(self, event: EventConfig, outputs: Sequence[str]) -> None:
        if event.of not in outputs:
            raise event.table.fail("of", f"there is no output {event.of!r}{nearest(event.of, outputs)}")
        self.event, self.place = event, outputs.index(event.of)
        self._threshold, self._until = (event.sign * float(np.float32(v)) for v in (event.threshold, event.until))
        self.action: Action | None = None
        self.since_ns: int | None = None  # beyond the threshold, and not begun yet
        self._begun_ns: int | None = None
        self._begins: list[int] = []  # the first and the latest
        self._count = self._ended_ns = 0

    def bind(self, dictionary: Dictionary) -> None:
        self.action = None if self.event.action is None else _sendable(self.event, self.event.action, dictionary)

    def look(self, t_ns: int, value: float) -> Occurrence | None:
        if not isfinite(value):
            return None
        event = self.event
        if self._begun_ns is not None:
            if event.sign * value > self._until:
                return None
            lasted_ns, self._begun_ns = t_ns - self._begun_ns, None
            self._ended_ns += lasted_ns
            return Occurrence(t_ns, event.name, False, event.text, event.of, value, lasted_ns / 1e9)
        if not event.sign * value > self._threshold:
            self.since_ns = None
            return None
        if self.since_ns is None:
            self.since_ns = t_ns
        if t_ns - self.since_ns < event.for_ns:
            return None
        self.since_ns, self._begun_ns = None, t_ns
        self._count += 1
        self._begins[1:] = [t_ns]
        return Occurrence(t_ns, event.name, True, event.text, event.of, value, 0.0)

    def happened(self, first_ns: int, latest_ns: int) -> Happened:
        stands = self._begun_ns is not None
        total_ns = self._ended_ns + (latest_ns - self._begun_ns if self._begun_ns is not None else 0)
        made = Happened(self.event.text, self._count, total_ns / 1e9, stands=stands)
        if self._begins:
            made.first_s, made.last_s = ((t_ns - first_ns) / 1e9 for t_ns in (self._begins[0], self._begins[-1]))
        return made


def _sendable(event: EventConfig, action: tuple[str, Mapping[str, float]], dictionary: Dictionary) -> Action:
    """The action that the robot takes. The file's error where it declares another one, or its limits are narrower."""
    name, values = action
    table = Table(event.table.source, f"{event.table.name}.action", {}, event.table.error)
    form = next((item for item in dictionary.actions if item.name == name), None)
    if form is None:
        names = [item.name for item in dictionary.actions]
        raise table.fail("format", f"the robot {dictionary.device!r} declares no action {name!r}{nearest(name, names)}")
    fields = {field.name: field for field in form.fields}
    for key, value in values.items():
        field = fields.get(key)
        if field is None:
            raise table.fail("values", f"the robot's {name!r} has no field {key!r}{nearest(key, fields)}")
        least, most = cast(float, field.minimum), cast(float, field.maximum)
        if not least <= value <= most:
            raise table.fail("values", f"{key} = {value:g} is outside the robot's own {least:g} to {most:g}")
    for key in fields:
        if key not in values:
            raise table.fail("values", f"{key!r} is missing, and {name!r} cannot be sent without it")
    return Action(name, tuple(values[key] for key in fields))


def lines(report: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """What `Watch.report` gives, for people: a line for each event that happened, one for all others."""
    for name, found in report.items():
        if found["count"]:
            times = "once" if found["count"] == 1 else f"{found['count']} times"
            text = f" ({found['text']})" if found["text"] != name else ""
            last = "" if found["count"] == 1 else f", last at {found['last_s']:.3f} s"
            stands = ", and it has not ended" if found["stands"] else ""
            yield (
                f"event {name}{text}: {times}, {found['seconds']:.3f} s together, "
                f"first at {found['first_s']:.3f} s{last}{stands}"
            )
    if never := [name for name, found in report.items() if not found["count"]]:
        yield f"never happened: {', '.join(never)}"
