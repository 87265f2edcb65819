"""The one loop: chunk → events → decisions → bytes. A robot, a simulated robot and a recording all go through it.

Its rule: one thread, four calls on a reading's path: `bridge.receive`, `controller.handle`, `bridge.send`,
`port.write`. What the controller makes of an event is its `Decision`; nothing else of it is read or written while the
loop runs. The recorder hangs off it: it is given the received bytes before the first call and the sent bytes after the
last. Of the actions of one chunk only the newest is sent: a backlog must not be driven through again, oldest first. And
an action belongs to the robot it was made for: one whose robot says Hello or Reset in the same chunk is not sent.
Whatever ends the loop (the port, a signal, an error), the robot is made safe before this function is left.

Never: read a clock, wait, or let anything but these calls stand between bytes that arrived and the action written.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from edge_lstm.errors import ConfigError, UnfinishedError
from edge_lstm.robot.controlled import control_of
from edge_lstm.robot.controller import Decision, said, said_decision, taken
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.models import Models
from edge_lstm.robot.thresholds import TOPIC
from edge_lstm.robot.watched import Watched
from firmware_bridge.errors import SnapshotError
from firmware_bridge.events import Event, Hello, Reading, Request, Reset
from firmware_bridge.values import Chunk

if TYPE_CHECKING:
    from firmware_bridge.links.link import Link
    from firmware_bridge.ports.port import Port
    from firmware_bridge.recordings.recorder import Derived
    from firmware_bridge.remembered import Tree


class Sink(Protocol):
    """What is given all that happens: a `firmware_bridge.recordings.recorder.Recorder`, or a collector in replay. One
    with a thread of its own has a method `later`, too, which is given what follows from a chunk as one call to make."""

    def received(self, chunk: Chunk) -> None: ...

    def sent(self, t_ns: int, data: bytes) -> None: ...

    def unsent(self, t_ns: int, data: bytes) -> None: ...

    def event(self, event: Event) -> None: ...

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None: ...

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None: ...


class Tap(Protocol):
    """Who looks on: called after each chunk, before the recorder. It must not wait."""

    def __call__(self, chunk: Chunk, done: Sequence[tuple[Event, Decision | None]], sent: int) -> None:
        """What came of a chunk. sent: the number of the event whose action the port took, -1: none."""


class Keyframes(Protocol):
    """Who keeps keyframes: a Recorder, or what compares them in replay."""

    def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
        """Whether one is wanted now that all which came of a chunk of this time is done. idle: no byte had come."""

    def keyframe(self, t_ns: int, state: Tree) -> None:
        """All that link, controller and loop remember."""


class Begun(NamedTuple):
    """What the loop itself remembers."""

    first_ns: int
    t_ns: int
    lost_ns: int | None
    superseded: int
    stranger: bool
    notes: list[str]


def take_up(bridge: Link, controller: Decider, keyframe: Tree) -> Begun:
    """Let a link and a controller go on from a keyframe; `run` needs what this returns. SnapshotError where it is not
    of this configuration, these models and this version: nothing has changed."""
    try:
        begun: Begun = taken(keyframe["loop"], Begun)
        link, decider = keyframe["link"], keyframe["controller"]
    except (ValueError, TypeError, LookupError) as error:
        raise SnapshotError(f"it is no keyframe of a run: {error}") from None
    before = bridge.snapshot()
    bridge.restore(link)
    try:
        controller.restore(decider)
    except SnapshotError:
        bridge.restore(before)
        raise
    return begun


@dataclass
class Summary:
    """What a run came to. `counts` and `link` hold every counter; the fields above them are what people ask first."""

    model: str
    digest: str
    device: str
    seconds: float  # of the run, connecting included
    readings: int
    steps: int
    lost: int | None  # None: the link cannot know
    gaps: int
    damaged: dict[str, int]
    resets: int
    reconnects: int
    actions: int
    latency_p50_ms: float | None  # from the bytes' arrival to the action written; None in replay
    latency_p99_ms: float | None
    latency_max_ms: float | None
    counts: dict[str, int]
    link: dict[str, Any]
    writes_dropped: int = 0  # that the port did not take (link lost, or its buffer full)
    recording: str | None = None
    notes: list[str] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)  # of several: each one's counters
    events: dict[str, dict[str, Any]] = field(default_factory=dict)  # of [events]
    control: dict[str, Any] = field(default_factory=dict)  # swaps, shadow, requests; empty: nothing was asked
    late: dict[str, Any] = field(default_factory=dict)  # answers that left too late, by cause; a live run alone knows

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


class StopNow(KeyboardInterrupt):
    """Raised by a signal handler where `port.stop` was not enough: ends the run as the end of the port does, also in
    the middle of catching up with a long gap."""


def run(
    port: Port,
    bridge: Link,
    controller: Decider,
    recorder: Sink | None = None,
    *,
    seconds: float | None = None,
    unfit: Callable[[str], None] | None = None,
    heard: Callable[[Chunk], None] | None = None,
    keyframes: Keyframes | None = None,
    begun: Begun | None = None,
    tap: Tap | None = None,
) -> Summary:
    """Run until the port ends, or for `seconds` of the port's time.

    unfit: called with a sentence where a robot does not fit the configuration, and with "" when one does again; until
    then nothing is obeyed and nothing sent. It must not wait. None: such a robot is a ConfigError.
    heard: called with each chunk until the robot is known.
    keyframes: is given all that is remembered, between two chunks, when it wants it.
    begun: of `take_up`, where link and controller go on from a keyframe. tap: see `Tap`.
    The port stays open (whoever opened it closes it), and so does the recorder.
    """
    receive, handle, send, outgoing, write = bridge.receive, controller.handle, bridge.send, bridge.outgoing, port.write
    silence = controller.silence
    later: Callable[..., None] | None = getattr(recorder, "later", None)
    done: list[tuple[Event, Decision | None]] = []  # of one chunk, for the recorder and who looks on
    kept = recorder is not None or tap is not None
    newest: Decision | None  # that makes an action
    superseded = 0
    notes: list[str] = []
    stranger = False  # the robot that is there does not fit
    first_ns = t_ns = 0
    latest: Decision | None = None
    lost_ns: int | None = None  # since when the link is lost
    end_ns: float | None = None
    due: Due | None = None
    if keyframes is not None:
        due = keyframes.keyframe_due
        _make_ready(bridge, controller)
    if begun is not None:
        first_ns, t_ns, lost_ns, superseded, stranger, notes = begun
        latest = controller.latest
    try:
        # A float32 that overflows becomes infinity, and infinity a missing reading: counted there, no warning here.
        with np.errstate(all="ignore"):
            for chunk in port.chunks():
                if end_ns is None:
                    first_ns = first_ns if begun is not None else chunk.t_ns
                    end_ns = float("inf") if seconds is None else chunk.t_ns + seconds * 1e9
                elif chunk.t_ns >= end_ns:
                    break  # this chunk is not recorded, so nothing may depend on it, the last frame's time included
                t_ns = chunk.t_ns
                asked = chunk.link == "control"  # an input of the controller alone
                if chunk.link != "data" and not asked:
                    lost_ns = None if chunk.link == "opened" else t_ns if lost_ns is None else lost_ns
                if recorder is not None:
                    recorder.received(chunk)
                if heard is not None and bridge.dictionary is None and not asked:
                    heard(chunk)
                newest, made_at, obeyed = None, 0, False
                for event in (Request(t_ns, chunk.data),) if asked else receive(chunk):
                    try:
                        decision = handle(event)
                    except ConfigError as error:
                        if unfit is None or isinstance(error, UnfinishedError):
                            raise
                        decision, stranger = None, True
                        _add(notes, f"a robot that does not fit was waited past: {controller.config.here(error)}")
                        unfit(str(error))
                    if stranger and decision is not None and unfit is not None:
                        stranger = False
                        unfit("")
                    if decision is not None and decision.action is not None:
                        superseded += newest is not None
                        if newest is None or not newest.urgent:
                            newest, made_at = decision, len(done)
                    elif newest is not None and type(event) in (Hello, Reset):
                        superseded += 1
                        newest = None
                    if decision is not None:
                        latest = decision
                        for note in decision.notes:
                            _add(notes, note)
                    if kept:
                        done.append((event, decision))
                overdue = silence(t_ns)
                if overdue is not None and overdue.action is not None:
                    superseded += newest is not None
                    if newest is None or not newest.urgent:
                        newest, made_at = overdue, -1
                if newest is not None and newest.action is not None:
                    answered = newest.reading.t_device_us if made_at >= 0 and newest.reading else None
                    data = send(t_ns, newest.action, newest.binding.hold_ns, answered)
                    if data:  # nothing while the link is being made anew
                        taken = obeyed = write(data)
                        if not taken:
                            bridge.unsent()
                        if recorder is not None:
                            (recorder.sent if taken else recorder.unsent)(t_ns, data)
                if recorder is not None and overdue is not None:
                    for topic, names, numbers in _outputs(overdue, "/overdue"):
                        recorder.values(topic, t_ns, dict(zip(names, numbers, strict=True)))
                data = outgoing()
                if data:
                    taken = write(data)
                    if not taken:
                        bridge.unsent()
                    if recorder is not None:
                        (recorder.sent if taken else recorder.unsent)(t_ns, data)
                if (due_ns := bridge.due_ns) is not None:
                    port.wake_at(due_ns)
                if tap is not None:
                    tap(chunk, done, made_at if obeyed else -1)
                if done:
                    if later is not None:
                        later(_record, done, made_at if obeyed else -1)
                    elif recorder is not None:
                        _record(_Told(recorder), done, made_at if obeyed else -1)
                    done = []
                if due is not None and due(t_ns, not chunk.data):
                    own = Begun(first_ns, t_ns, lost_ns, superseded, stranger, notes)
                    due = _keep(keyframes, bridge, controller, own, due)
                if gc.get_count()[0] > (_GARBAGE if chunk.data else _GARBAGE_IN_SILENCE) and not gc.isenabled():
                    gc.collect()
    except StopNow:
        notes.append("the run was ended while it was still catching up")
    finally:
        data = bridge.stop(t_ns)
        if data:
            taken = port.write_last(data, bridge.cut)
            if recorder is not None:
                (recorder.sent if taken else recorder.unsent)(t_ns, data)
    if bridge.dictionary is not None and (gone := _gone(latest.reading if latest else None, lost_ns, first_ns, t_ns)):
        notes.append(gone)
    return _summary(port, bridge, controller, superseded, notes, first_ns, t_ns)


Due = Callable[[int, bool], bool]


def _make_ready(bridge: Link, controller: Decider) -> None:
    """What a type means for a keyframe is worked out once, some ms of work: before the robot is there."""
    said_decision(None)
    with suppress(SnapshotError):  # it is said when a keyframe is due
        said(Begun(0, 0, None, 0, False, []), Begun)
        bridge.snapshot()
        controller.snapshot()


def _keep(keyframes: Keyframes | None, bridge: Link, controller: Decider, own: Begun, due: Due) -> Due | None:
    """Give a keyframe away. None where there can be none: the reason is a note."""
    try:
        link, decider = bridge.snapshot(), controller.snapshot()
    except SnapshotError as error:
        _add(own.notes, f"no keyframes, so this recording cannot be begun in the middle, nor a crash survived: {error}")
        return None
    if keyframes is not None:
        keyframes.keyframe(own.t_ns, {"link": link, "controller": decider, "loop": said(own, Begun)})
    return due


def _summary(
    port: Port, bridge: Link, controller: Decider, superseded: int, notes: list[str], first_ns: int, t_ns: int
) -> Summary:
    """What the books of port, bridge and controller say after a run, with the loop's own."""
    link, counts, latency = bridge.counters, controller.counts, port.stats.latency

    def milliseconds(percent: float) -> float | None:
        return latency.percentile_ns(percent) / 1e6 if latency.count else None

    inner, control = controller.inner if isinstance(controller, Watched) else controller, control_of(controller)
    inner = inner if control is None else control.inner
    for sentence in bridge.promises.sentences():
        notes.append(sentence)
    return Summary(
        model=controller.name,
        digest=controller.digest,
        device=f"{bridge.dictionary.device} {bridge.dictionary.version}" if bridge.dictionary else "",
        seconds=(t_ns - first_ns) / 1e9,
        readings=counts.readings,
        steps=counts.steps,
        lost=None if controller.config.reading in bridge.promises.uncounted else counts.lost,
        gaps=counts.gaps,
        damaged=dict(link.faults),
        resets=counts.resets,
        reconnects=link.reconnects,
        actions=counts.actions,
        latency_p50_ms=milliseconds(50),
        latency_p99_ms=milliseconds(99),
        latency_max_ms=latency.max_ns / 1e6 if latency.count else None,
        writes_dropped=port.stats.writes_dropped,
        counts=asdict(counts) | {"superseded": superseded},
        link=bridge.report(),
        notes=notes,
        models=inner.report() if isinstance(inner, Models) else {},
        events=controller.watch.report(first_ns) if isinstance(controller, Watched) else {},
        control={} if control is None else control.report(),
    )


def _add(notes: list[str], text: str) -> None:
    """Each sentence once, and no more than a person reads: a robot that comes and goes must not fill the memory."""
    if text not in notes and len(notes) < _NOTES:
        notes.append(text)


_NOTES = 20


def _gone(reading: Reading | None, lost_ns: int | None, first_ns: int, end_ns: int) -> str:
    """A sentence where the robot was not there at the end. reading: its latest; lost_ns: since when the link is
    lost."""
    if lost_ns is not None:
        since_ns, what = lost_ns, "the link was lost"
    elif reading is None:
        return f"no reading has come in {(end_ns - first_ns) / 1e9:.1f} s" if end_ns - first_ns >= _SILENT_NS else ""
    else:
        since_ns, what = reading.t_ns, "no reading has come"
        if end_ns - since_ns < _SILENT_NS:
            return ""
    return (
        f"the robot was gone at the end: {what} since {(since_ns - first_ns) / 1e9:.1f} s after the start, "
        f"for {(end_ns - since_ns) / 1e9:.1f} s"
    )


_SILENT_NS = 2_000_000_000  # without a reading: the robot is gone


class _Told:
    """A sink that is told at once."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def event(self, event: Event) -> None:
        self._sink.event(event)

    def numbers(self, topic: str, t_ns: int, names: tuple[str, ...], numbers: Sequence[float]) -> None:
        self._sink.values(topic, t_ns, dict(zip(names, numbers, strict=True)))

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None:
        self._sink.tell(topic, t_ns, tree)


def _record(recorder: Derived, done: list[tuple[Event, Decision | None]], sent: int) -> None:
    """Hand over what one chunk came to, after everything is written. sent: the number of the event whose action was
    sent, -1 where none was."""
    for at, (event, decision) in enumerate(done):
        recorder.event(event)
        if decision is None:
            continue
        t_ns = event.t_ns
        if (row := decision.row) is not None and decision.binding.feed.joined:
            joined = decision.binding.feed.joined
            recorder.numbers("/ticks", t_ns, tuple([name for _, name, _ in joined]), [row[k] for k, _, _ in joined])
        if decision.outputs is not None or decision.made:
            for topic, names, numbers in _outputs(decision, "/outputs"):
                recorder.numbers(topic, t_ns, names, numbers)
        for occurrence in decision.happened:
            recorder.tell(TOPIC, t_ns, occurrence.recorded())
        if at == sent and (action := decision.action) is not None:
            form = decision.binding.action
            if form is None or form.name != action.format:  # an event's
                form = decision.binding.dictionary[action.format]
            names = tuple([field.name for field in form.fields])
            recorder.numbers(f"/actions/{form.name}", t_ns, names, action.values)


def _outputs(decision: Decision, topic: str) -> list[tuple[str, tuple[str, ...], list[float]]]:
    """What "/outputs" holds of a reading, and "/overdue" of what stood in for late ones; of several models each has a
    topic of its own, and only what is new is there."""
    if decision.made:
        return [
            (f"{topic}/{one.name}", (*one.names, "_not_real"), [*one.outputs, one.not_real])
            for one in decision.made
            if one.new and one.outputs is not None
        ]
    if decision.outputs is None:
        return []
    return [(topic, (*decision.binding.output_names, "_not_real"), [*decision.outputs, decision.not_real])]


# Objects made since the last collection, net, before the next one: about a millisecond of work, done between readings.
_GARBAGE, _GARBAGE_IN_SILENCE = 10_000, 500


@contextmanager
def steady() -> Iterator[None]:
    """For the time of a live run: no garbage collection in the middle of a reading (`run` collects between them), and
    a side thread (recorder, display) gives the interpreter back within 50 µs instead of 5 ms."""
    before = sys.getswitchinterval()
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(5e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()
        if enabled:
            gc.enable()
