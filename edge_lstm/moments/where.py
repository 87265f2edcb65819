"""Conditions at the readings of a drive: `torque_limit_left < 0.15` of what was read, computed and decided there.

    found = first("drive.mcap", "torque_limit_left < 0.15", model="new.npz")     # None: nowhere

Its rule: a name is a field of the reading, an output, or a field of the action that was made of this reading; where
several are called the same, `reading.NAME`, `output.NAME` and `action.NAME` say which. What was not made is missing.

Never: say that a name is nowhere before a robot is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from edge_lstm.errors import ConditionError, nearest
from edge_lstm.moments.drive import Drive, Seen, drive_of
from edge_lstm.robot.condition import Condition, parse
from firmware_bridge.events import Reading

if TYPE_CHECKING:
    from edge_lstm.robot.binding import Binding
    from edge_lstm.robot.controller import Decision
    from edge_lstm.robot.decider import Decider
    from firmware_bridge.events import Event
    from firmware_bridge.values import Chunk

KINDS = ("reading", "output", "action")


@dataclass(frozen=True)
class Found:
    """Where a condition holds. values: of the names that it asks for."""

    t_ns: int
    t_s: float
    values: dict[str, float]

    def sentence(self) -> str:
        """For people."""
        return f"at {self.t_s:.3f} s: {', '.join(f'{name} = {value:.6g}' for name, value in self.values.items())}"


class Where:
    """A condition, bound to whatever robot is there."""

    def __init__(self, text: str) -> None:
        """ConditionError: it is none."""
        self.condition: Condition = parse(text)
        self._binding: Binding | None = None
        self._places: list[tuple[str, int]] = []

    def values(self, reading: Reading, decision: Decision) -> list[float]:
        """Of the names that it asks for, NaN where one is missing. ConditionError: there is no such name."""
        if decision.binding is not self._binding:
            self._bind(decision.binding)
        action = decision.action if decision.action and decision.action.format == self._action else None
        sources = {"reading": reading.values, "output": decision.outputs, "action": action.values if action else None}
        found = []
        for kind, place in self._places:
            source = sources[kind]
            found.append(nan if source is None else source[place])
        return found

    def holds(self, values: list[float]) -> bool:
        """Whether it does, of what `values` gave."""
        return self.condition(values)

    def _bind(self, binding: Binding) -> None:
        form = binding.action
        self._action = form.name if form is not None else ""
        names = {
            "reading": [one.name for one in binding.feed.reading.fields],
            "output": list(binding.output_names),
            "action": [one.name for one in form.fields] if form is not None else [],
        }
        self._places = [self._place(name, names) for name in self.condition.names]
        self._binding = binding

    def _place(self, name: str, names: dict[str, list[str]]) -> tuple[str, int]:
        kind, _, rest = name.partition(".")
        if kind in KINDS and rest in names[kind]:
            return kind, names[kind].index(rest)
        found = [(kind, known.index(name)) for kind, known in names.items() if name in known]
        if len(found) == 1:
            return found[0]
        if found:
            several = " or ".join(f"{kind}.{name}" for kind, _ in found)
            raise ConditionError(f"{self.condition.text!r}: {name!r} is several things; write {several}")
        every = [one for known in names.values() for one in known]
        shown = f"; there are {', '.join(every)}" if len(every) <= 30 else ""
        raise ConditionError(f"{self.condition.text!r}: there is no {name!r}{nearest(name, every)}{shown}")


class Enough(Exception):
    """Raised out of a run that need not go on."""


def moments(
    drive: Drive, where: Where, chunks: Iterable[Chunk], controller: Decider, from_ns: int = 0
) -> Iterator[tuple[Reading, Decision, list[float]]]:
    """The first reading from `from_ns` on at which it holds, with what came of it; nothing where there is none."""
    found: list[tuple[Reading, Decision, list[float]]] = []

    def look(event: Event, decision: Decision | None) -> None:
        if type(event) is not Reading or decision is None or event.format != drive.config.reading:
            return
        values = where.values(event, decision)
        if event.t_ns >= from_ns and where.holds(values):
            found.append((event, decision, values))
            raise Enough

    try:
        drive.run(chunks, Seen(controller, look).decider)
    except Enough:
        yield from found


def first(recording: str | Path, where: str, *, model: str | Path | None = None, from_s: float = 0.0) -> Found | None:
    """The first moment of a recording at which the condition holds; None where it never does. model: in place of the
    recording's own; from_s: seconds from the recording's start, from where on it counts. Raises the errors of
    `edge_lstm.errors`."""
    drive = drive_of(Path(recording), None, None if model is None else Path(model))
    condition = Where(where)
    from_ns = drive.first_ns + round(from_s * 1e9)
    for reading, _, values in moments(drive, condition, drive.chunks(), drive.controller(), from_ns):
        named = dict(zip(condition.condition.names, values, strict=True))
        return Found(reading.t_ns, drive.seconds(reading.t_ns), named)
    return None
