"""Where two models part on a recorded drive: the first reading, layer, gate and unit, and how it became an action.

    found = bisect(drive, good, bad)
    found.parting.name, found.parting.unit      # "lstm.f", 5

Its rule: both models take the same readings, in the same loop, with every value that they compute shown
(`streams.gates.with_values`: not a bit of an output changes by it). Up to where they part both remember the same, so
the first value that differs, in the order in which a step computes them, is where the difference comes from. Of gates
that are computed side by side it is the one that differs most.

Two numbers differ where their bits do. With a tolerance t they differ where |good - bad| > t max(1, |good|): gates and
outputs of a layer lie between -1 and 1, so for them t is the difference itself.

Never: compare values of two models that are not the same one by name and size without saying which were left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.core.channels import flat_names, flat_units
from edge_lstm.errors import LogError
from edge_lstm.moments.drive import Drive, Through, models_of
from edge_lstm.streams.gates import WORDS, GateStream, cell, in_words, layers
from edge_lstm.streams.missing import MissingReadings
from firmware_bridge.events import Reading

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats
    from edge_lstm.robot.controller import Decision
    from edge_lstm.robot.decider import Decider
    from firmware_bridge.events import Event

# Where one model holds integers and the other does not, no bit is the same: this is what is taken for rounding, unless
# somebody says otherwise. It is no bound of what integers cost: in 30 s of the simulated robot gates of the example
# slip_stall were off by up to 1.1 with int8 and 0.4 with int16, as differences build up in its memory (those of the
# tests' small model by up to 0.2 and 0.04). So that two such models part need not be a fault; where is what helps.
OF_INTEGERS = 0.05
# What is computed side by side from the same numbers, before what is computed from it.
_ORDER: Mapping[str, Mapping[str, int]] = {
    "lstm": {"i": 0, "f": 0, "g": 0, "o": 0, "c": 1, "h": 2},
    "gru": {"r": 0, "z": 0, "n": 1, "h": 2},
    "rnn": {"h": 0},
}


@dataclass(frozen=True)
class Parting:
    """The first value that differs. reading: its number, from 0 on, counting readings that were stood in for, too;
    name: of the value, "lstm.f", "head"; gate: "f", "" where it is none's; differing: how many numbers of each value of
    the same layer differ with this reading."""

    reading: int
    t_s: float
    name: str
    layer: str
    gate: str
    in_words: str
    unit: int
    good: float
    bad: float
    differing: Mapping[str, int]

    def sentence(self) -> str:
        """For people."""
        gate = f", gate {self.gate} ({self.in_words})" if self.gate else ""
        others = ", ".join(f"{name} in {count}" for name, count in self.differing.items())
        return (
            f"the models part at reading {self.reading} ({self.t_s:.3f} s): layer {self.layer}{gate}, "
            f"unit {self.unit}: {self.good:.7g} good, {self.bad:.7g} bad (of this layer differ: {others})"
        )


@dataclass(frozen=True)
class Difference:
    """One number that two models make otherwise. None: one of them made none."""

    reading: int
    t_s: float
    name: str
    unit: str
    good: float | None
    bad: float | None

    @property
    def size(self) -> float:
        """Infinite where only one of them made a number."""
        return float("inf") if self.good is None or self.bad is None else abs(self.good - self.bad)

    def sentence(self, what: str) -> str:
        """what: "the first output that differs"."""
        good, bad = (_shown(value, self.unit) for value in (self.good, self.bad))
        return f"{what}: {self.name} at reading {self.reading} ({self.t_s:.3f} s): {good} good, {bad} bad"


def _shown(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.6g} {unit}".rstrip()


@dataclass
class Bisected:
    """What came of it. largest: of each field of the action, where the two are farthest apart; compared: how many
    numbers of each reading; until_s: so far the drive was looked at."""

    good: str
    bad: str
    tolerance: float | None
    readings: int = 0
    until_s: float = 0.0
    compared: int = 0
    left_out: list[str] = field(default_factory=list)
    parting: Parting | None = None
    output: Difference | None = None
    action: Difference | None = None
    largest: dict[str, Difference] = field(default_factory=dict)

    def sentences(self) -> Iterator[str]:
        """For people."""
        apart = "bits" if self.tolerance is None else f"more than {self.tolerance:g} (of 1, or of a value above 1)"
        yield f"{self.readings} readings, {self.compared} numbers of each compared; a difference is one of {apart}"
        if self.left_out:
            yield f"not compared, for only one of the models has them: {', '.join(self.left_out)}"
        if self.parting is None:
            yield f"the models do not part, up to {self.until_s:.3f} s"
        else:
            yield self.parting.sentence()
        for what, found in (("output", self.output), ("action", self.action)):
            if found is not None:
                yield found.sentence(f"the first {what} that differs")
            elif self.parting is not None:
                yield f"no {what} differs"
        for found in self.largest.values():
            yield found.sentence(f"farthest apart (by {found.size:.3g})")

    @property
    def parts(self) -> bool:
        """Whether anything differs."""
        return self.parting is not None or self.output is not None or self.action is not None

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"parts": self.parts}


def default_tolerance(good: Model, bad: Model) -> float | None:
    """None, bit by bit; where only one of the models has rounded weights, `OF_INTEGERS`."""
    rounded = [model.program.rounded for model in (good, bad)]
    return OF_INTEGERS if rounded[0] != rounded[1] else None


def bisect(
    drive: Drive,
    good: Model,
    bad: Model,
    tolerance: float | None = None,
    *,
    found: Bisected | None = None,
    progress: Callable[[int], None] | None = None,
) -> Bisected:
    """Run both. found: is filled as it goes, for whoever is interrupted. LogError: the recording is of several models;
    ConfigError: its robot.toml does not fit one of these; StateError: ONNX Runtime runs one of them."""
    if drive.config.models:
        raise LogError(
            f"{drive.recording.path}: is of several models; bisect compares two in the place of a single one"
        )
    result = Bisected(good.name, bad.name, tolerance) if found is None else found
    both, link = _Both(drive, good, bad, result), drive.link()
    begun = drive.begin(link, *both.controllers)
    drive.run(drive.chunks(), both.decider, link=link, taken=drive.taken(), progress=progress, begun=begun)
    return result


class _Traced(GateStream):
    """A stream that keeps what its steps computed until somebody looks."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, values=True)
        self.steps: list[Floats | None] = []

    def step(self, x: Any) -> Floats | None:
        """As `Stream.step`."""
        y = super().step(x)
        everything = self.everything
        self.steps.append(None if everything is None else everything.copy())
        return y


class _Both(Through):
    """Two controllers in one loop: what comes of each event is the good one's, and is compared with the bad one's."""

    def __init__(self, drive: Drive, good: Model, bad: Model, found: Bisected) -> None:
        self._drive, self._found = drive, found
        self._good, self._bad = drive.controller(good), drive.controller(bad)
        self.controllers = self._good, self._bad
        super().__init__(self._good)
        self._streams = _traced(self._good, good), _traced(self._bad, bad)
        self._values = _Values(good, bad, self._streams, found.tolerance)
        found.compared, found.left_out = self._values.count, self._values.left_out
        self._reading = -1  # number of the latest step
        names = zip(flat_names(good.outputs), flat_units(good.outputs), strict=True)
        self._units = dict(zip(self._good.output_names, self._good.output_units, strict=True)) | dict(names)

    def handle(self, event: Event) -> Decision | None:
        """See `Decider`."""
        decision = self._good.handle(event)
        self._look(event.t_ns, decision, self._bad.handle(event))
        self._found.readings += type(event) is Reading and event.format == self._drive.config.reading
        return decision

    def silence(self, t_ns: int) -> Decision | None:
        """See `Decider`."""
        decision, other = self._good.silence(t_ns), self._bad.silence(t_ns)
        if decision is not None or other is not None:
            self._look(t_ns, decision, other)
        return decision

    def _look(self, t_ns: int, good: Decision | None, bad: Decision | None) -> None:
        t_s = self._found.until_s = self._drive.seconds(t_ns)
        self._steps(t_s)
        if good is not None or bad is not None:
            self._outcome(good, bad, t_s)

    def _steps(self, t_s: float) -> None:
        """What the steps of this event computed."""
        mine, theirs = (stream.steps for stream in self._streams)
        for k in range(max(len(mine), len(theirs))):
            self._reading += 1
            if self._found.parting is None and k < len(mine) and k < len(theirs):
                self._found.parting = self._values.parting(mine[k], theirs[k], self._reading, t_s)
        mine.clear()
        theirs.clear()

    def _outcome(self, good: Decision | None, bad: Decision | None, t_s: float) -> None:
        found = self._found
        if found.output is None:
            outputs = good.outputs if good else None, bad.outputs if bad else None
            found.output = next(self._apart(self._good.output_names, self._units, outputs, t_s), None)
        one = good or bad
        form = None if one is None else one.binding.action
        if form is None:
            return
        actions = [made.action if made is not None else None for made in (good, bad)]
        if any(action is not None and action.format != form.name for action in actions):
            return  # an event's
        fields = {one.name: one.unit for one in form.fields}
        mine, theirs = (None if action is None else action.values for action in actions)
        for difference in self._apart(list(fields), fields, (mine, theirs), t_s):
            found.action = found.action or difference
            known = found.largest.get(difference.name)
            if known is None or known.size < difference.size:
                found.largest[difference.name] = difference

    def _apart(
        self,
        names: Sequence[str],
        units: Mapping[str, str],
        both: tuple[Sequence[float] | None, Sequence[float] | None],
        t_s: float,
    ) -> Iterator[Difference]:
        if both == (None, None):
            return
        for k, name in enumerate(names):
            a, b = (None if of is None or isnan(of[k]) else of[k] for of in both)
            if a != b and (a is None or b is None or _differ(a, b, self._found.tolerance)):
                yield Difference(self._reading, t_s, name, units.get(name, ""), a, b)


def _differ(good: float, bad: float, tolerance: float | None) -> bool:
    return tolerance is None or abs(good - bad) > tolerance * max(1.0, abs(good))


def _traced(decider: Decider, model: Model) -> _Traced:
    """Let a new controller run on a stream that shows everything."""
    (controller,) = models_of(decider).values()
    stream = _Traced(model)
    controller.stream = stream
    controller.filler = MissingReadings(stream, controller.filler.policy)
    return stream


class _Values:
    """The values that both models compute, by name, in the order of a step of the good one."""

    def __init__(self, good: Model, bad: Model, streams: tuple[_Traced, _Traced], tolerance: float | None) -> None:
        self._good, self._tolerance = good, tolerance
        mine, theirs = (stream.places for stream in streams)
        common = [name for name in mine if name in theirs and _size(mine[name]) == _size(theirs[name])]
        self.left_out = sorted({*mine, *theirs} - {*common})
        self._names = common
        self._places = [(mine[name], theirs[name]) for name in common]
        self.count = sum(_size(mine[name]) for name in common)
        self._gates = {name: cell(op) for name, op in layers(good).items()}
        self._same = dict(mine) == dict(theirs)
        self._begin = good.program.output_size

    def parting(self, good: Floats | None, bad: Floats | None, reading: int, t_s: float) -> Parting | None:
        """Where this step differs, None where it does not."""
        if good is None or bad is None:  # of neither is there anything to see
            return None
        if self._same and self._tolerance is None and good.tobytes() == bad.tobytes():
            return None
        found = {}
        for name, (mine, theirs) in zip(self._names, self._places, strict=True):
            one, other = good[mine], bad[theirs]
            if (apart := self._apart(one, other)).any():
                found[name] = apart
        if not found:
            return None
        first = next(iter(found))
        layer, _, gate = first.rpartition(".")
        if layer not in self._gates or gate not in WORDS[self._gates[layer]]:
            return self._of(first, first, "", {first: found[first]}, good, bad, reading, t_s)
        of_layer = {name: apart for name, apart in found.items() if name.rpartition(".")[0] == layer}
        order = _ORDER[self._gates[layer]]
        rank = min(order[name.rpartition(".")[2]] for name in of_layer)
        side = [name for name in of_layer if order[name.rpartition(".")[2]] == rank]
        name = max(side, key=lambda one: self._sizes(one, good, bad).max())
        return self._of(name, layer, name.rpartition(".")[2], of_layer, good, bad, reading, t_s)

    def _of(
        self,
        name: str,
        layer: str,
        gate: str,
        found: Mapping[str, Any],
        good: Floats,
        bad: Floats,
        reading: int,
        t_s: float,
    ) -> Parting:
        sizes = np.where(found[name], self._sizes(name, good, bad), -1.0)
        unit = int(sizes.argmax())
        mine, theirs = self._places[self._names.index(name)]
        words = in_words(self._good, name) if gate else ""
        differing = {one: int(apart.sum()) for one, apart in found.items()}
        values = float(good[mine][unit]), float(bad[theirs][unit])
        return Parting(reading, t_s, name, layer, gate, words, unit, *values, differing)

    def _sizes(self, name: str, good: Floats, bad: Floats) -> Any:
        """How far the numbers of a value are apart."""
        mine, theirs = self._places[self._names.index(name)]
        with np.errstate(all="ignore"):
            return np.nan_to_num(np.abs(good[mine].astype(np.float64) - bad[theirs]), nan=np.inf)

    def _apart(self, good: Floats, bad: Floats) -> Any:
        if self._tolerance is None:
            return np.ascontiguousarray(good).view(np.uint32) != np.ascontiguousarray(bad).view(np.uint32)
        with np.errstate(all="ignore"):
            near = np.abs(good - bad) <= self._tolerance * np.maximum(1.0, np.abs(good))
        return ~(near | (good == bad))


def _size(place: slice) -> int:
    return int(place.stop - place.start)
