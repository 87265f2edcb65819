"""Any moment of a drive: what was read, remembered, let in and out, computed and done there, and what would have come
of another reading or another model.

    seen = look(drive, drive.first_ns + 42_317_000_000)
    seen.moment.gates["lstm.f"], seen.moment.outputs

Its rule: the loop goes on from the nearest intact keyframe before, or from the beginning, so each number is the one of
the drive, to the bit (`Model.stream(gates=True)` changes none). A fork is the same run once more, from the same
keyframe, with readings altered behind the link (`firmware_bridge.links.altered`) or another model from that moment on.

Never: show a number of the fork under the name of the truth.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lstm.errors import ConfigError, LogError, StateError, nearest
from edge_lstm.logs.stamps import stamp_ns
from edge_lstm.moments.drive import Drive, Through, drive_of, models_of
from edge_lstm.moments.where import Enough
from edge_lstm.robot.loop import Begun
from edge_lstm.streams.gates import GateStream
from firmware_bridge.errors import SnapshotError
from firmware_bridge.events import Hello, Reading, Request
from firmware_bridge.links.altered import Alteration, Altered, alterations_of
from firmware_bridge.recordings.reader import open_recordings
from firmware_bridge.recordings.series import series

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.robot.controller import Decision
    from edge_lstm.robot.decider import Decider
    from firmware_bridge.events import Event
    from firmware_bridge.links.link import Link
    from firmware_bridge.recordings.keyframe import Keyframe

LEAD_NS = 1_000_000_000  # before the moment, for each 50 readings that are shown before it
MOST_STEPS = 100_000
_OLD_S = 1.0  # a latest reading that is older than this is not what somebody looks for

Values = dict[str, float | None]


@dataclass(frozen=True)
class Moment:
    """One reading and what came of it. None: it was not made, or is no number. state, gates: after the reading, by
    name; empty where the model has none or ONNX Runtime runs it."""

    t_ns: int
    t_s: float
    seq: int
    reading: Values
    outputs: Values
    action: Values
    not_real: int
    state: Mapping[str, list[float]] = field(default_factory=dict)
    gates: Mapping[str, list[float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(self).items()}


@dataclass
class Seen:
    """truth: the readings that were asked for, `place` among them the moment; fork: the same readings of the other
    future, empty where none was asked for; units: of everything, by name; begun_s: where the run began."""

    truth: list[Moment]
    place: int
    units: dict[str, str]
    begun_s: float
    fork: list[Moment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def moment(self) -> Moment:
        """What was asked for."""
        return self.truth[self.place]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "moment": self.moment.as_dict(),
            "truth": [one.as_dict() for one in self.truth],
            "fork": [one.as_dict() for one in self.fork],
            "units": self.units,
            "begun_s": self.begun_s,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Fork:
    """Another future. settings: field of the reading → value; for_s: so long from the moment on, 0 for its reading
    alone; model: from the moment on."""

    settings: Mapping[str, float] = field(default_factory=dict)
    for_s: float = 0.0
    model: Model | None = None


_READ_OFF = re.compile(r"[0-9]+\.([0-9]+)")


def time_of(drive: Drive, text: str) -> int:
    """ "42.317", seconds from the start, or a time of day, "2026-11-27T03:12:05.2" (UTC where it does not say), in ns.
    Seconds with three digits and more behind the point are what somebody read off, where they were rounded: all that is
    written so is meant, up to half of the last digit. LogError where it is neither."""
    try:
        seconds = float(text)
    except ValueError:
        found = stamp_ns(text) or stamp_ns(f"{text}T00:00")
        if found is not None:
            return found[0]
    else:
        if isfinite(seconds):
            read_off = _READ_OFF.fullmatch(text)
            digits = len(read_off[1]) if read_off else 0
            return drive.first_ns + round(seconds * 1e9) + (5 * 10 ** (8 - digits) if 3 <= digits <= 8 else 0)
    why = "write seconds from the start, as 42.317, or a time, as 2026-11-27T03:12:05"
    raise LogError(f"{drive.recording.path}: {text!r} is no time; {why}")


def drive_at(log: Path, text: str, config: Path | None = None) -> tuple[Drive, int]:
    """The drive in a file or a folder that holds this time, and the time in ns; of a folder seconds count from its
    first file on. LogError as `time_of`."""
    found = series(open_recordings(log)) if log.is_dir() else []
    if len(found) < 2:
        drive = drive_of(log, config)
        return drive, time_of(drive, text)
    first = Drive(found[0], config)
    t_ns = time_of(first, text)
    begun = [one for one in found if (times := one.recordings[0].times()) is not None and times[0] <= t_ns]
    return Drive((begun or found)[-1 if begun else 0], config, first_ns=first.first_ns), t_ns


def look(
    drive: Drive,
    t_ns: int,
    *,
    step: int = 0,
    before: int = 0,
    ahead_s: float = 0.0,
    fork: Fork | None = None,
) -> Seen:
    """The latest reading at `t_ns`, or `step` readings further (back, below 0), with `before` readings before it and
    those of `ahead_s` after it. LogError: there is no such reading; ConfigError: a field that there is not."""
    back = before + max(0, -step) + 1
    if max(back, step) > MOST_STEPS:
        why = f"{max(back, step)} readings from a moment are too far; {MOST_STEPS} are the most"
        raise LogError(f"{drive.recording.path}: {why}")
    lead_ns, found = LEAD_NS * (1 + back // 50), None
    for keyframe in _starts(drive, t_ns - lead_ns):
        run = _Run(drive, keyframe, t_ns, back, step, ahead_s)
        try:
            found = run.go()
        except SnapshotError as error:
            run.notes.append(f"a keyframe was passed over: {error}")
            continue
        if found is not None:
            break
    if found is None:
        raise LogError(f"{drive.recording.path}: there are not so many readings around {drive.seconds(t_ns):.3f} s")
    older_s = (t_ns - found.moment.t_ns) / 1e9
    if step == 0 and older_s > _OLD_S:
        found.notes.append(f"that reading came {older_s:.1f} s before the time that was asked for")
    if fork is not None:
        other = _Run(drive, keyframe, t_ns, back, step, ahead_s, fork, found.moment)
        made = other.go()
        found.fork = made.truth[made.place :] if made is not None else []
        found.notes += other.notes
    return found


def _starts(drive: Drive, t_ns: int) -> Iterator[Keyframe | None]:
    """Where a run may begin: keyframes, the nearest first, and the beginning."""
    yield from drive.recording.keyframes_before(t_ns)
    yield None


class _Run(Through):
    """One run of the loop up to the end of what is to be seen."""

    def __init__(
        self,
        drive: Drive,
        keyframe: Keyframe | None,
        t_ns: int,
        back: int,
        step: int,
        ahead_s: float,
        fork: Fork | None = None,
        moment: Moment | None = None,
    ) -> None:
        self._drive, self._keyframe, self._fork, self._moment = drive, keyframe, fork, moment
        self._t_ns, self._back, self._step, self._ahead_ns = t_ns, back, step, round(ahead_s * 1e9)
        self._link: Link = drive.link()
        if fork is not None and moment is not None and fork.settings:
            end_ns = moment.t_ns + max(1, round(fork.for_s * 1e9))
            form = drive.config.reading
            settings = [Alteration("set", form, name, moment.t_ns, end_ns, v) for name, v in fork.settings.items()]
            self._link = Altered(drive.bare_link(), [*alterations_of(drive.recording.metadata), *settings])
        super().__init__(drive.controller())
        _show(self.inner)
        self._rows: deque[Moment] = deque(maxlen=back)  # up to the moment without its step
        self._after: list[Moment] = []
        self._hello: Hello | None = None
        self.units: dict[str, str] = {}
        self.notes: list[str] = []

    def go(self) -> Seen | None:
        """None where there are not so many readings. SnapshotError: the keyframe is damaged, or another version's."""
        begun: Begun | None = None
        if self._keyframe is not None:
            try:
                state = self._keyframe.state()
            except ValueError as error:
                raise SnapshotError(str(error)) from None
            begun = self._drive.take_up(self._link, self.inner, state)
            _show(self.inner)  # another one may have been swapped in before
        chunks = self._drive.recording.chunks(self._keyframe)
        with suppress(Enough):
            self._drive.run(chunks, self.decider, link=self._link, begun=begun)
        rows = [*self._rows, *self._after]
        place = len(self._rows) - 1 + self._step
        wanted = place - (self._back - 1 - max(0, -self._step))
        if not self._rows or not 0 <= place < len(rows):
            return None
        if wanted < 0 and self._keyframe is not None:
            return None  # a keyframe before has more
        first = max(0, wanted)
        kept = list(rows[first : place + 1])
        end_ns = rows[place].t_ns + self._ahead_ns
        kept += [one for one in rows[place + 1 :] if one.t_ns <= end_ns]
        begun_ns = self._drive.first_ns if self._keyframe is None else self._keyframe.t_ns
        return Seen(kept, place - first, self.units, self._drive.seconds(begun_ns), notes=self.notes)

    def handle(self, event: Event) -> Decision | None:
        """See `Decider`."""
        fork, moment = self._fork, self._moment
        if (
            fork is not None
            and fork.model is not None
            and moment is not None
            and type(event) is Reading
            and (event.t_ns, event.seq) == (moment.t_ns, moment.seq)
        ):
            self._swap(fork.model)
        if type(event) is Hello:
            self._hello = event
        decision = self.inner.handle(event)
        if type(event) is Request:
            _show(self.inner)  # another model may have been swapped in
        if type(event) is Reading and decision is not None and event.format == self._drive.config.reading:
            self._keep(event, decision)
        return decision

    def _keep(self, event: Reading, decision: Decision) -> None:
        if event.t_ns <= self._t_ns:
            self._rows.append(self._made(event, decision))
            return
        if not self._rows:  # the moment is before the first reading
            raise Enough
        self._after.append(self._made(event, decision))
        if len(self._after) > self._step:
            rows = [*self._rows, *self._after]
            place = len(self._rows) - 1 + self._step
            if place < 0 or event.t_ns > rows[place].t_ns + self._ahead_ns:
                raise Enough

    def _made(self, event: Reading, decision: Decision) -> Moment:
        binding = decision.binding
        fields, form = binding.feed.reading.fields, binding.action
        if not self.units:
            self.units = {one.name: one.unit for one in fields}
            self.units |= {one.name: one.unit for one in (form.fields if form is not None else ())}
            self.units |= dict(zip(binding.output_names, self.inner.output_units, strict=False))
        action = decision.action if decision.action and form and decision.action.format == form.name else None
        near = event.t_ns >= self._t_ns - LEAD_NS * (1 + self._back // 50)
        state, gates = _inside(self.inner) if near else ({}, {})
        return Moment(
            event.t_ns,
            self._drive.seconds(event.t_ns),
            event.seq,
            _named([one.name for one in fields], event.values),
            _named(binding.output_names, decision.outputs),
            _named([one.name for one in form.fields], action.values if action else None) if form else {},
            decision.not_real,
            state,
            gates,
        )

    def _swap(self, model: Model) -> None:
        """Another model takes over, with the memory of the one that was there where it fits."""
        (before,) = models_of(self.inner).values()
        link = self._link
        controller = self._drive.controller(model)
        _show(controller)
        assert link.dictionary is not None
        hello = self._hello or Hello(self._t_ns, link.dictionary.device, link.dictionary.version, 0, link.dictionary)
        controller.handle(hello)
        (after,) = models_of(controller).values()
        try:
            after.stream.resume(before.stream.state)
        except StateError as error:
            self.notes.append(f"the other model begins without a memory: {error}")
        self.inner = controller


def _named(names: Sequence[str], values: Sequence[float] | None) -> Values:
    if values is None:
        return dict.fromkeys(names)
    return {name: value if isfinite(value) else None for name, value in zip(names, values, strict=True)}


def _show(decider: Decider) -> None:
    """Let each model show its gates, where it has some: with what it remembers, and not a bit of it changes."""
    for one in models_of(decider).values():
        with suppress(StateError):
            one.show_gates()


def _inside(decider: Decider) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """State and gates of each model now; of several with its name before theirs."""
    state: dict[str, list[float]] = {}
    gates: dict[str, list[float]] = {}
    for model, one in models_of(decider).items():
        first = f"{model}." if model else ""
        state |= {first + name: value.tolist() for name, value in one.stream.state.items()}
        if isinstance(one.stream, GateStream):
            gates |= {first + name: value.tolist() for name, value in one.stream.gates.items()}
    return state, gates


def check_fork(drive: Drive, seen: Seen, settings: Mapping[str, float]) -> None:
    """ConfigError: a field that the reading does not have."""
    for name in settings:
        if name not in seen.moment.reading:
            near = nearest(name, list(seen.moment.reading))
            raise ConfigError(f"--set {name}=…: the reading {drive.config.reading!r} has no field {name!r}{near}")
