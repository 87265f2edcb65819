"""A link whose robot is another one than it was: sensors that stick, drift or say something else, boards that restart.

    link = Altered(link, [Alteration("stuck", "imu", "gyro_z", t_ns, t_ns + 2_000_000_000)])

Its rule: what cannot be done to recorded bytes, because checksums guard them and a recording cannot answer questions,
is done to the events behind the link; everything else is the inner link's. A function of the events alone, so a
recording that says its alterations (`texts`, metadata `ALTERED`) replays to the same bits.

Never: alter what was not asked for; without alterations every event is the inner link's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from firmware_bridge.errors import RecordingError
from firmware_bridge.events import Gap, Hello, Reading, Reset
from firmware_bridge.remembered import PART, Remembers

if TYPE_CHECKING:
    from firmware_bridge.dictionary import Dictionary
    from firmware_bridge.events import Event
    from firmware_bridge.links.counters import Counters
    from firmware_bridge.links.link import Link
    from firmware_bridge.links.promises import Promises
    from firmware_bridge.values import Chunk

ALTERED = "altered"  # in the metadata of a recording: JSON, a list of alterations
MOST = 1000  # alterations of one recording

Kind = Literal["stuck", "drift", "set", "reset"]
KINDS = ("stuck", "drift", "set", "reset")


@dataclass(frozen=True)
class Alteration:
    """From `from_ns` to before `to_ns`, of the chunks' time: a field keeps the value that it had ("stuck"), is off by
    `value` more each second ("drift"), or is `value` ("set"). "reset": the board restarts with the first event from
    `from_ns` on; what it lost meanwhile nobody can count."""

    kind: Kind
    format: str = ""
    field: str = ""
    from_ns: int = 0
    to_ns: int = 0
    value: float = 0.0

    def __post_init__(self) -> None:
        texts = (self.kind, self.format, self.field)
        if self.kind not in KINDS or not all(type(text) is str for text in texts):
            raise ValueError(f"{self.kind!r} is no alteration; {', '.join(KINDS)} are")
        if type(self.from_ns) is not int or type(self.to_ns) is not int:
            raise ValueError("its times are whole ns")
        if not isinstance(self.value, int | float) or not isfinite(self.value):
            raise ValueError(f"its value {self.value!r:.60} is no number")


def texts(alterations: Sequence[Alteration]) -> dict[str, str]:
    """For a recording's metadata."""
    return {ALTERED: json.dumps([asdict(one) for one in alterations])} if alterations else {}


def alterations_of(metadata: Mapping[str, str]) -> list[Alteration]:
    """Of a recording with this metadata. RecordingError where the metadata is damaged."""
    text = metadata.get(ALTERED)
    if text is None:
        return []
    try:
        trees = json.loads(text)
        if not isinstance(trees, list) or len(trees) > MOST:
            raise ValueError(f"a list of at most {MOST} is meant")
        return [Alteration(**tree) for tree in trees]
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordingError(f"The recording is damaged: its alterations are none ({error}).") from None


def altered(link: Link, metadata: Mapping[str, str]) -> Link:
    """The link as a recording with this metadata had it. RecordingError where the metadata is damaged."""
    found = alterations_of(metadata)
    return Altered(link, found) if found else link


class Altered(Remembers):
    """See `Link`: the inner one's, but for the events."""

    REMEMBERED: ClassVar[Mapping[str, Any]] = {
        "inner": PART,
        "_resets": list[int],
        "_kept": dict[str, float],
        "_restarted": int,
        "_open": set[str],
    }

    def __init__(self, inner: Link, alterations: Iterable[Alteration]) -> None:
        alterations = list(alterations)
        self.inner = inner
        self.alters = bool(alterations)
        self._resets = sorted((one.from_ns for one in alterations if one.kind == "reset"), reverse=True)
        self._fields: dict[str, list[tuple[str, Alteration]]] = {}
        for number, one in enumerate(alterations):
            if one.kind != "reset":
                self._fields.setdefault(one.format, []).append((str(number), one))
        self._kept: dict[str, float] = {}  # by the number of an alteration: what its field was when it stuck
        self._restarted = 0  # boots so far
        self._open: set[str] = set()  # formats whose next gap is the restart's
        self._places: dict[tuple[str, str], int | None] = {}  # of fields, in the dictionary that holds
        self.send, self.outgoing, self.unsent, self.stop = inner.send, inner.outgoing, inner.unsent, inner.stop
        self.explain = inner.explain

    @property
    def dictionary(self) -> Dictionary | None:
        return self.inner.dictionary

    @property
    def counters(self) -> Counters:
        return self.inner.counters

    @property
    def state(self) -> str:
        return self.inner.state

    @property
    def due_ns(self) -> int | None:
        return self.inner.due_ns

    @property
    def promises(self) -> Promises:
        return self.inner.promises

    @property
    def cut(self) -> bytes:
        return self.inner.cut

    def report(self) -> dict[str, Any]:
        """See `Link.report`."""
        return self.inner.report()

    def receive(self, chunk: Chunk) -> list[Event]:
        """The inner link's events, altered."""
        events = self.inner.receive(chunk)
        if not events:
            return events
        if any(type(event) is Hello for event in events):
            self._places.clear()
        if self._resets and self._resets[-1] <= chunk.t_ns:
            events = self._restart(events, chunk.t_ns)
        if self._open:
            events = self._after_restart(events)
        if not self._fields:
            return events
        return [self._altered(event) if type(event) is Reading else event for event in events]

    def _restart(self, events: list[Event], t_ns: int) -> list[Event]:
        while self._resets and self._resets[-1] <= t_ns:
            self._resets.pop()
        self._restarted += 1
        self.inner.counters.resets += 1
        if self.inner.dictionary is not None:
            self._open = {form.name for form in self.inner.dictionary.readings}
        return [Reset(t_ns, self._restarted), *events]

    def _after_restart(self, events: list[Event]) -> list[Event]:
        """Without the gaps that a restart leaves: its numbers begin anew, so nobody sees them."""
        kept: list[Event] = []
        for event in events:
            if type(event) is Gap and event.format in self._open:
                continue
            if type(event) is Reading:
                self._open.discard(event.format)
            elif type(event) is Hello:
                self._open.clear()
            kept.append(event)
        return kept

    def _altered(self, event: Event) -> Event:
        reading = cast(Reading, event)
        for number, one in self._fields.get(reading.format, ()):
            if not one.from_ns <= reading.t_ns < one.to_ns:
                continue
            place = self._place(reading, one.field)
            if place is None:
                continue
            values = list(reading.values)
            if one.kind == "stuck":
                values[place] = self._kept.setdefault(number, values[place])
            elif one.kind == "drift":
                values[place] += one.value * (reading.t_ns - one.from_ns) / 1e9
            else:
                values[place] = one.value
            reading = Reading(reading.t_ns, reading.format, reading.seq, reading.t_device_us, tuple(values))
        return reading

    def _place(self, reading: Reading, field: str) -> int | None:
        """Where the field is in the reading; None where this robot does not have it."""
        key = (reading.format, field)
        if key not in self._places and self.inner.dictionary is not None:
            names = [one.name for one in self.inner.dictionary[reading.format].fields]
            self._places[key] = names.index(field) if field in names else None
        return self._places.get(key)
