"""How much a recorded drive takes before its actions change: many seeded storms over its bytes, and their envelope.

    report = storms_over(Path("drive.mcap"), 2000)
    print(*report.sentences(), sep="\\n")   # loss: actions stay within 0.08 N m up to 12 % of the readings lost …

Its rule: an action counts at every moment at which the calm drive made one: the one that stood then (the latest that
was made) beside the calm ones of the time for which an action holds, up to that moment. So an action that is one
reading late is not off, and one that came too late, or not at all, counts as what stood instead. Storms are computed in
several processes and put together by their numbers: the same seed is the same report, whatever the number of workers.

Never: say more than what was tried: an envelope is of so many storms, over this drive.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.errors import ConfigError, LogError, nearest
from edge_lstm.moments.drive import Seen, drive_of
from edge_lstm.moments.storms import KINDS, Sensor, Storm, Weather, draw
from firmware_bridge.events import Hello, Lost, Opened, Reading, Reset
from firmware_bridge.links.altered import Alteration, Altered, alterations_of, texts
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.moments.drive import Drive
    from edge_lstm.robot.controller import Decision
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.loop import Sink
    from firmware_bridge.dictionary import Dictionary
    from firmware_bridge.events import Event
    from firmware_bridge.links.link import Link
    from firmware_bridge.values import Action, Chunk

SHARE = 0.1  # of an action's range over the calm drive: what it may be off, where nobody says otherwise
BATCH = 8  # storms that a worker takes at a time

Numbers = Any  # float64 (moments, actions or outputs)


@dataclass(frozen=True)
class Field:
    """A number of the action, or an output where there is no action. within: what it may be off, in its unit."""

    name: str
    unit: str
    low: float
    high: float
    within: float


@dataclass(frozen=True)
class Outcome:
    """What one storm came to. off: of each field the most that it was off, at_s: and when, in s from the start;
    idle_s: the longest time without a new action."""

    number: int
    kind: str
    dose: float
    readings: int
    off: tuple[float, ...]
    at_s: tuple[float, ...]
    idle_s: float
    done: str


@dataclass(frozen=True)
class Envelope:
    """All storms of one kind. stays: how many have no larger dose than `up_to`, the largest up to which every storm
    stayed within; None: the smallest dose was too much. beyond: the first storm that did not; worst: the one that was
    off most, as parts of what is allowed."""

    kind: str
    dose: str
    storms: int
    most: float
    stays: int
    up_to: float | None
    beyond: Outcome | None
    worst: Outcome | None


@dataclass
class Report:
    """What all storms came to. stopped: by hand, before all were done; kept: where the worst one is recorded."""

    log: str
    seed: int
    seconds: float
    readings: int
    what: str  # "actions" or "outputs"
    hold_ms: float  # for so long an action holds
    fields: tuple[Field, ...]
    storms: int = 0
    envelopes: list[Envelope] = field(default_factory=list)
    worst: Outcome | None = None
    stopped: bool = False
    kept: str | None = None

    def sentences(self) -> Iterator[str]:
        """For people."""
        stopped = " (stopped before all were done)" if self.stopped else ""
        of = f"{counted(self.storms, 'storm')} over {counted(self.readings, 'reading')}"
        yield f"{of}, {self.seconds:.1f} s, seed {self.seed}{stopped}"
        yield f"off: from what the calm drive's {self.what} were in the {self.hold_ms:g} ms before (so long one holds)"
        for one in self.fields:
            between = f"{one.low:.4g} to {one.high:.4g} {one.unit}".rstrip()
            yield f"{one.name}: {between} in the calm drive, may be off by {_of(one)}"
        for envelope in self.envelopes:
            yield self._sentence(envelope)
        if self.worst is not None:
            kept = f"; kept as {self.kept}" if self.kept else ""
            yield f"the worst is storm {self.worst.number} ({self.worst.done}): {self._off(self.worst)}{kept}"

    def _sentence(self, found: Envelope) -> str:
        alike = {_of(one) for one in self.fields}
        amount = _of(self.fields[0]) if len(alike) == 1 else "what they may be off"
        storms = f"{found.storms} storms"
        if found.beyond is None:
            return (
                f"{found.kind}: {self.what} stay within {amount} in all {storms}, up to {found.most:.3g} {found.dose}"
            )
        beyond = f"storm {found.beyond.number}, {found.beyond.dose:.3g} {found.dose}: {self._off(found.beyond)}"
        if found.up_to is None:
            return f"{found.kind}: {self.what} leave {amount} with the least that was tried ({beyond})"
        return (
            f"{found.kind}: {self.what} stay within {amount} up to {found.up_to:.3g} {found.dose} "
            f"({found.stays} of {storms}; the first beyond is {beyond})"
        )

    def _off(self, outcome: Outcome) -> str:
        k = _worst_field(outcome, self.fields)
        off = f"{outcome.off[k]:.3g} {self.fields[k].unit}".rstrip()
        return f"{self.fields[k].name} {off} off at {outcome.at_s[k]:.3f} s"

    def as_dict(self) -> dict[str, Any]:
        """For --json; None stands for an action that never came."""
        tree: dict[str, Any] = _finite(asdict(self))
        return tree


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _of(one: Field) -> str:
    return f"{one.within:.3g} {one.unit}".rstrip()


def _parts(outcome: Outcome, fields: Sequence[Field]) -> list[float]:
    """How far each field was off, as parts of what is allowed."""
    pairs = zip(outcome.off, fields, strict=True)
    return [off / one.within if one.within else (inf if off else 0.0) for off, one in pairs]


def _worst_field(outcome: Outcome, fields: Sequence[Field]) -> int:
    parts = _parts(outcome, fields)
    return parts.index(max(parts))


def _severity(outcome: Outcome, fields: Sequence[Field]) -> float:
    return max(_parts(outcome, fields))


# ------------------------------------------------------------------------------------------------------- one drive


class _Ear(Altered):
    """A link that remembers which actions were sent."""

    def __init__(self, inner: Link, alterations: Sequence[Alteration], action: str) -> None:
        super().__init__(inner, alterations)
        self.times: list[int] = []
        self.actions: list[tuple[float, ...]] = []
        self.readings = 0
        self._action, self._send = action, inner.send
        self.send = self._heard

    def _heard(self, t_ns: int, action: Action, hold_ns: int = 0, of_device_us: int | None = None) -> bytes:
        if action.format == self._action:
            self.times.append(t_ns)
            self.actions.append(action.values)
        return self._send(t_ns, action, hold_ns, of_device_us)


class _Scout(_Ear):
    """One that also learns where handshakes are, and where the fields of readings lie."""

    def __init__(self, inner: Link, alterations: Sequence[Alteration], action: str) -> None:
        super().__init__(inner, alterations, action)
        self.spared: set[int] = set()
        self.first: int | None = None  # the first chunk behind the first reading
        self.ranges: dict[str, tuple[list[float], list[float]]] = {}  # of each format the least and the greatest
        self.heard: Dictionary | None = None
        self._chunk, self._shaking = 0, True

    def receive(self, chunk: Chunk) -> list[Event]:
        """See `Link.receive`."""
        events = super().receive(chunk)
        shaking = self._shaking
        for event in events:
            if type(event) is Reading:
                self._shaking = False
                self._range(event)
            elif type(event) in (Hello, Opened, Lost, Reset):
                shaking = self._shaking = True
        self.heard = self.dictionary or self.heard
        if shaking:
            self.spared.add(self._chunk)
        elif self.first is None:
            self.first = self._chunk
        self._chunk += 1
        return events

    def _range(self, reading: Reading) -> None:
        values = [value if isfinite(value) else 0.0 for value in reading.values]
        low, high = self.ranges.setdefault(reading.format, (values, values))
        if len(low) == len(values):
            self.ranges[reading.format] = list(map(min, low, values)), list(map(max, high, values))


class Calm:
    """The drive as it was, and whatever is compared with it."""

    def __init__(self, drive: Drive, within: Mapping[str, str] | None = None) -> None:
        """within: as `--within` says it, by field, "" for all. LogError: there is nothing to compare; ConfigError: a
        field that there is not."""
        self._drive, self._recorded = drive, alterations_of(drive.recording.metadata)
        self._chunks = list(drive.chunks())
        action = drive.config.action
        self.what, self._action = ("actions", action.format) if action is not None else ("outputs", "")
        scout = _Scout(drive.bare_link(), self._recorded, self._action)
        controller = drive.controller()
        self._times, self._values, self.readings = self._run(scout, controller, self._chunks)
        if scout.first is None or not len(self._times):
            raise LogError(f"{drive.recording.path}: no {self.what} come of it, so no storm can change them")
        sensors = tuple(_sensors(controller, scout))
        self.weather = Weather(self._chunks, scout.first, frozenset(scout.spared), sensors)
        self.seconds = drive.seconds(self._chunks[-1].t_ns)
        latest = controller.latest
        self.hold_ns = latest.binding.hold_ns if latest is not None else 0
        self._least, self._most = _between(self._times, self._values, self.hold_ns)
        self.fields = tuple(_fields(self._names(controller, scout), self._values, within or {}))

    def storm(self, seed: int, number: int, sink: Sink | None = None) -> tuple[Outcome, Storm]:
        """One storm. sink: is given what happens in it, as a recorder."""
        storm = draw(seed, number, self.weather)
        link = _Ear(self._drive.bare_link(), self.alterations(storm), self._action)
        times, values, readings = self._run(link, self._drive.controller(), storm.chunks, sink)
        dose = storm.dose
        if storm.kind.name == "loss":  # what an engineer counts
            dose = 100 * max(0.0, 1 - readings / self.readings)
        off, at_s, idle_s = self._compared(times, values)
        done = ", ".join(storm.done)
        return Outcome(number, storm.kind.name, dose, readings, off, at_s, idle_s, done), storm

    def alterations(self, storm: Storm) -> list[Alteration]:
        """What stands behind the link in this storm."""
        return [*self._recorded, *storm.alterations]

    def _run(
        self, link: _Ear, controller: Decider, chunks: Sequence[Chunk], sink: Sink | None = None
    ) -> tuple[Numbers, Numbers, int]:
        """Times and values of the actions, and how many readings came."""
        times, values = link.times, link.actions
        if not self._action:
            times, values = [], []

            def look(event: Event, decision: Decision | None) -> None:
                if type(event) is Reading and decision is not None and decision.outputs is not None:
                    times.append(event.t_ns)
                    values.append(tuple(decision.outputs))

            controller = Seen(controller, look).decider
        self._drive.run(chunks, controller, link=link, sink=sink)
        width = len(values[0]) if values else 0
        return (
            np.array(times, np.int64),
            np.array(values, np.float64).reshape(len(values), width),
            controller.counts.readings,
        )

    def _compared(self, times: Numbers, values: Numbers) -> tuple[tuple[float, ...], tuple[float, ...], float]:
        """How far each field was off at most, when, and the longest time without a new action."""
        ends = np.concatenate([times, self._times[-1:]])
        idle_s = float(np.diff(ends, prepend=self._times[0]).max()) / 1e9
        stands = np.searchsorted(times, self._times, "right") - 1
        there = stands >= 0
        if not there.any():
            return (inf,) * len(self.fields), (0.0,) * len(self.fields), idle_s
        stood = values[stands[there]]
        off = np.maximum(np.maximum(self._least[there] - stood, stood - self._most[there]), 0.0)
        off = np.where(np.isnan(off), 0.0, off)  # of several models one may have made none
        most = off.argmax(axis=0)
        at_s = (self._times[there][most] - self._drive.first_ns) / 1e9
        return tuple(off.max(axis=0).tolist()), tuple(at_s.tolist()), idle_s

    def _names(self, controller: Decider, scout: _Scout) -> list[tuple[str, str, float]]:
        """Name, unit and declared width of each field."""
        if not self._action:
            return [
                (name, unit, 0.0) for name, unit in zip(controller.output_names, controller.output_units, strict=True)
            ]
        assert scout.heard is not None
        form = scout.heard[self._action]
        return [(one.name, one.unit, (one.maximum or 0.0) - (one.minimum or 0.0)) for one in form.fields]


def _between(times: Numbers, values: Numbers, before_ns: int) -> tuple[Numbers, Numbers]:
    """The least and the greatest of each field from `before_ns` before each moment up to it."""
    least, most = values.copy(), values.copy()
    starts = np.searchsorted(times, times - before_ns)
    moments = np.arange(len(times))
    for back in range(1, int((moments - starts).max()) + 1):
        reach = moments - back >= starts
        earlier = values[moments[reach] - back]
        least[reach], most[reach] = np.fmin(least[reach], earlier), np.fmax(most[reach], earlier)
    return least, most


def _sensors(controller: Decider, scout: _Scout) -> Iterator[Sensor]:
    """The fields that feed a model; all, where that cannot be told."""
    latest = controller.latest
    reading = controller.config.reading
    feeds = {source for _, _, sources in controller.fed() for source in sources.values()}
    if latest is not None:
        feeds |= set(latest.binding.feed.names)
    found = []
    for name, (low, high) in scout.ranges.items():
        assert scout.heard is not None
        for k, one in enumerate(scout.heard[name].fields):
            fits = f"{name}.{one.name}" in feeds or (name == reading and one.name in feeds)
            found.append((fits, Sensor(name, one.name, low[k], high[k])))
    chosen = [sensor for fits, sensor in found if fits]
    yield from chosen or [sensor for _, sensor in found]


def _fields(names: Sequence[tuple[str, str, float]], values: Numbers, within: Mapping[str, str]) -> Iterator[Field]:
    for name in within:
        if name and name not in [one for one, _, _ in names]:
            known = [one for one, _, _ in names]
            raise ConfigError(f"--within {name}=…: there is no {name!r}{nearest(name, known)}")
    for k, (name, unit, width) in enumerate(names):
        low, high = float(np.nanmin(values[:, k])), float(np.nanmax(values[:, k]))
        span = high - low or (width if isfinite(width) else 0.0)
        text = within.get(name, within.get("", f"{100 * SHARE:g}%"))
        yield Field(name, unit, low, high, _amount(text, span))


def _amount(text: str, span: float) -> float:
    """ "0.08", or "10%" of the range."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 < number < inf:
        raise ConfigError(f"--within {text}: write an amount above 0, as 0.08, or a part of the range, as 10%")
    return span * number / 100 if text.endswith("%") else number


# ---------------------------------------------------------------------------------------------------- many of them


def storms_over(
    log: Path,
    count: int,
    seed: int = 0,
    *,
    config: Path | None = None,
    model: Path | None = None,
    within: Mapping[str, str] | None = None,
    workers: int | None = None,
    keep: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """`count` storms over a recording. config, model: instead of its own; within: of a field, or "" for all, what it
    may be off, "0.08" or "10%"; workers: processes, one for each core that is free by default; keep: a new file for the
    worst storm; progress: called with how many are done. Ctrl-C ends it: the report is of those that are done, from
    the first on."""
    calm = Calm(drive_of(log, config, model), within)
    report = Report(str(log), seed, calm.seconds, calm.readings, calm.what, calm.hold_ns / 1e6, calm.fields)
    outcomes: list[Outcome] = []
    number = len(os.sched_getaffinity(0)) if workers is None else workers
    try:
        with _outcomes(calm, (log, config, model, seed), count, min(number, -(-count // BATCH))) as batches:
            for batch in batches:
                outcomes += batch
                progress(len(outcomes))
    except KeyboardInterrupt:
        report.stopped = True
    report.storms = len(outcomes)
    report.envelopes = [found for kind in KINDS if (found := _envelope(kind.name, outcomes, calm.fields)) is not None]
    if outcomes:
        report.worst = max(outcomes, key=lambda one: (_severity(one, calm.fields), -one.number))
        if keep is not None:
            report.kept = str(_kept(calm, log, (config, model), seed, report.worst, keep))
    return report


def _envelope(kind: str, outcomes: Sequence[Outcome], fields: Sequence[Field]) -> Envelope | None:
    found = sorted((one for one in outcomes if one.kind == kind), key=lambda one: (one.dose, one.number))
    if not found:
        return None
    stays = next((k for k, one in enumerate(found) if _severity(one, fields) > 1), len(found))
    dose = next(one.dose for one in KINDS if one.name == kind)
    return Envelope(
        kind,
        dose,
        len(found),
        found[-1].dose,
        stays,
        found[stays - 1].dose if stays else None,
        found[stays] if stays < len(found) else None,
        max(found, key=lambda one: (_severity(one, fields), -one.number)),
    )


def _kept(calm: Calm, log: Path, given: tuple[Path | None, Path | None], seed: int, worst: Outcome, keep: Path) -> Path:
    """The worst storm as a recording that replays alone."""
    drive = drive_of(log, *given)
    alterations = calm.alterations(draw(seed, worst.number, calm.weather))
    said = {"storm": f"storm {worst.number} of seed {seed} over {log.name}: {worst.done}"}
    recorder = drive.recorder(keep, texts(alterations) | said)
    try:
        again, _ = calm.storm(seed, worst.number, recorder)
    finally:
        recorder.close()
    if recorder.failed:
        raise LogError(recorder.failed)
    assert again == worst
    return keep


Given = tuple[Path, Path | None, Path | None, int]


@contextmanager
def _outcomes(calm: Calm, given: Given, count: int, workers: int) -> Iterator[Iterator[list[Outcome]]]:
    """The storms in batches, in their order."""
    batches = [range(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
    if workers <= 1:
        yield ([calm.storm(given[3], number)[0] for number in batch] for batch in batches)
        return
    context = multiprocessing.get_context("spawn")  # a process that is forked while others compute may hang
    with context.Pool(workers, _begin, given) as pool:
        yield pool.imap(_batch, batches)


_WORKER: dict[str, Any] = {}  # what a worker's process computes with


def _begin(log: Path, config: Path | None, model: Path | None, seed: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to see
    _WORKER["calm"], _WORKER["seed"] = Calm(drive_of(log, config, model)), seed


def _batch(numbers: range) -> list[Outcome]:
    calm: Calm = _WORKER["calm"]
    return [calm.storm(_WORKER["seed"], number)[0] for number in numbers]
