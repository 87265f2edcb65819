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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_lstm.errors import ConfigError, UnfinishedError
from edge_lstm.robot.controller import Decision
from edge_lstm.robot.models import Decider, Models, Watched
from edge_lstm.robot.thresholds import TOPIC
from firmware_bridge.events import Event, Hello, Reading, Reset
from firmware_bridge.values import Chunk

if TYPE_CHECKING:
    from firmware_bridge.links.link import Link
    from firmware_bridge.ports.port import Port


class Sink(Protocol):
    """What is given all that happens: a `firmware_bridge.recordings.recorder.Recorder`, or a collector in replay."""

    def received(self, chunk: Chunk) -> None: ...

    def sent(self, t_ns: int, data: bytes) -> None: ...

    def unsent(self, t_ns: int, data: bytes) -> None: ...

    def event(self, event: Event) -> None: ...

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None: ...

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None: ...


@dataclass
class Summary:
    """What a run came to. `counts` and `link` hold every counter; the fields above them are what people ask first."""

    model: str
    digest: str
    device: str
    seconds: float
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
) -> Summary:
    """Run until the port ends, or for `seconds` of the port's time.

    unfit: called with a sentence where a robot does not fit the configuration, and with "" when one does again; until
    then nothing is obeyed and nothing sent. It must not wait. None: such a robot is a ConfigError.
    heard: called with each chunk until the robot is known.
    The port stays open (whoever opened it closes it), and so does the recorder.
    """
    receive, handle, send, outgoing, write = bridge.receive, controller.handle, bridge.send, bridge.outgoing, port.write
    silence = controller.silence
    done: list[tuple[Event, Decision | None]] = []  # of one chunk, for the recorder
    newest: Decision | None  # that makes an action
    superseded = 0
    notes: list[str] = []
    stranger = False  # the robot that is there does not fit
    first_ns = t_ns = 0
    latest: Decision | None = None
    lost_ns: int | None = None  # since when the link is lost
    end_ns: float | None = None
    try:
        # A float32 that overflows becomes infinity, and infinity a missing reading: counted there, no warning here.
        with np.errstate(all="ignore"):
            for chunk in port.chunks():
                if end_ns is None:
                    first_ns = chunk.t_ns
                    end_ns = float("inf") if seconds is None else first_ns + seconds * 1e9
                elif chunk.t_ns >= end_ns:
                    break  # this chunk is not recorded, so nothing may depend on it, the last frame's time included
                t_ns = chunk.t_ns
                if chunk.link != "data":
                    lost_ns = None if chunk.link == "opened" else t_ns if lost_ns is None else lost_ns
                if recorder is not None:
                    recorder.received(chunk)
                if heard is not None and bridge.dictionary is None:
                    heard(chunk)
                newest, made_at, obeyed = None, 0, False
                for event in receive(chunk):
                    try:
                        decision = handle(event)
                    except ConfigError as error:
                        if unfit is None or isinstance(error, UnfinishedError):
                            raise
                        decision, stranger = None, True
                        _add(notes, f"a robot that does not fit was waited past: {error}")
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
                    if recorder is not None:
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
                    for topic, values in _outputs(overdue, "/overdue"):
                        recorder.values(topic, t_ns, values)
                data = outgoing()
                if data:
                    taken = write(data)
                    if not taken:
                        bridge.unsent()
                    if recorder is not None:
                        (recorder.sent if taken else recorder.unsent)(t_ns, data)
                if (due_ns := bridge.due_ns) is not None:
                    port.wake_at(due_ns)
                if recorder is not None and done:
                    _record(recorder, done, made_at if obeyed else -1)
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


def _summary(
    port: Port, bridge: Link, controller: Decider, superseded: int, notes: list[str], first_ns: int, t_ns: int
) -> Summary:
    """What the books of port, bridge and controller say after a run, with the loop's own."""
    link, counts, latency = bridge.counters, controller.counts, port.stats.latency

    def milliseconds(percent: float) -> float | None:
        return latency.percentile_ns(percent) / 1e6 if latency.count else None

    inner = controller.inner if isinstance(controller, Watched) else controller
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
    )


def _add(notes: list[str], text: str) -> None:
    """Each sentence once, and no more than a person reads: a robot that comes and goes must not fill the memory."""
    if text not in notes and len(notes) < _NOTES:
        notes.append(text)


_NOTES = 20


def _gone(reading: Reading | None, lost_ns: int | None, first_ns: int, end_ns: int) -> str:
    """A sentence where the robot was not there at the end. reading: its latest; lost_ns: since when the link is
    lost."""
    since_ns, what = lost_ns, "the link was lost"
    if since_ns is None:
        since_ns, what = (first_ns if reading is None else reading.t_ns), "no reading has come"
        if end_ns - since_ns < _SILENT_NS:
            return ""
    return (
        f"the robot was gone at the end: {what} since {(since_ns - first_ns) / 1e9:.1f} s after the start, "
        f"for {(end_ns - since_ns) / 1e9:.1f} s"
    )


_SILENT_NS = 2_000_000_000  # without a reading: the robot is gone


def _record(recorder: Sink, done: list[tuple[Event, Decision | None]], sent: int) -> None:
    """Hand over what one chunk came to, after everything is written. sent: the number of the event whose action was
    sent, -1 where none was."""
    for at, (event, decision) in enumerate(done):
        recorder.event(event)
        if decision is None:
            continue
        if (row := decision.row) is not None and decision.binding.feed.joined:
            recorder.values("/ticks", event.t_ns, {name: row[k] for k, name, _ in decision.binding.feed.joined})
        for topic, values in _outputs(decision, "/outputs"):
            recorder.values(topic, event.t_ns, values)
        for occurrence in decision.happened:
            recorder.tell(TOPIC, event.t_ns, occurrence.recorded())
        if at == sent and (action := decision.action) is not None:
            form = decision.binding.action
            if form is None or form.name != action.format:  # an event's
                form = decision.binding.dictionary[action.format]
            names = (field.name for field in form.fields)
            recorder.values(f"/actions/{form.name}", event.t_ns, dict(zip(names, action.values, strict=True)))
    done.clear()


def _outputs(decision: Decision, topic: str) -> Iterator[tuple[str, dict[str, float]]]:
    """What "/outputs" holds of a reading, and "/overdue" of what stood in for late ones; of several models each has a
    topic of its own, and only what is new is there."""
    for one in decision.made:
        if one.new and one.outputs is not None:
            yield f"{topic}/{one.name}", dict(zip(one.names, one.outputs, strict=True)) | {"_not_real": one.not_real}
    if decision.outputs is not None and not decision.made:
        names = decision.binding.output_names
        yield topic, dict(zip(names, decision.outputs, strict=True)) | {"_not_real": decision.not_real}


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
