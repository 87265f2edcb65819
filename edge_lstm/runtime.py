"""The one loop: chunk → events → action → bytes. A robot, a simulated robot and a recording all go through it.

Rule: one thread, four calls on a reading's path: `bridge.receive`, `controller.handle`, `bridge.send`, `port.write`.
The recorder hangs off it: it is given the received bytes before the first call and the sent bytes after the last.
Whatever ends the loop (the port, a signal, an error), the robot is told to be safe before this function is left.

Never: read a clock, wait, or let anything but these calls stand between bytes that arrived and the action written.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_lstm.controller import Controller
from firmware_bridge.bridge import Bridge
from firmware_bridge.messages import Action, Chunk, Event, Reading

if TYPE_CHECKING:
    from firmware_bridge.ports import Port


class Sink(Protocol):
    """What is told of everything that happens: a `firmware_bridge.recording.Recorder`, or a collector in replay."""

    def received(self, chunk: Chunk) -> None: ...

    def sent(self, t_ns: int, data: bytes) -> None: ...

    def event(self, event: Event) -> None: ...

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None: ...


@dataclass
class Summary:
    """What a run came to. `counts` and `link` hold every counter; the fields above them are what people ask first."""

    model: str
    digest: str
    device: str
    seconds: float
    readings: int
    steps: int
    lost: int
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
    recording: str | None = None
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def run(
    port: Port,
    bridge: Bridge,
    controller: Controller,
    recorder: Sink | None = None,
    *,
    seconds: float | None = None,
) -> Summary:
    """Run until the port ends, or for `seconds` of the port's time. ConfigError: robot and configuration do not fit.

    The port stays open (whoever opened it closes it), and so does the recorder.
    """
    receive, handle, send, outgoing, write = bridge.receive, controller.handle, bridge.send, bridge.outgoing, port.write
    done: list[tuple[Event, Action | None, list[float] | None]] = []
    first_ns = t_ns = 0
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
                if recorder is not None:
                    recorder.received(chunk)
                for event in receive(chunk):
                    action = handle(event)
                    if action is not None:
                        data = send(t_ns, action)
                        if data:  # nothing while the link is being made anew
                            write(data)
                            if recorder is not None:
                                recorder.sent(t_ns, data)
                    if recorder is not None:
                        done.append((event, action, controller.outputs))
                data = outgoing()
                if data:
                    write(data)
                    if recorder is not None:
                        recorder.sent(t_ns, data)
                if recorder is not None and done:
                    _record(recorder, controller, done)
                if gc.get_count()[0] > (_GARBAGE if chunk.data else _GARBAGE_IN_SILENCE) and not gc.isenabled():
                    gc.collect()
    finally:
        data = bridge.stop(t_ns)
        if data:
            write(data)
            if recorder is not None:
                recorder.sent(t_ns, data)
    return summarize(port, bridge, controller, (t_ns - first_ns) / 1e9)


def summarize(port: Port, bridge: Bridge, controller: Controller, seconds: float) -> Summary:
    """The state of affairs, at any time."""
    link, counts, latency = bridge.counters, controller.counts, port.stats.latency

    def milliseconds(percent: float) -> float | None:
        return latency.percentile_ns(percent) / 1e6 if latency.count else None

    return Summary(
        model=controller.model.name,
        digest=controller.model.digest,
        device=f"{bridge.dictionary.device} {bridge.dictionary.version}" if bridge.dictionary else "",
        seconds=seconds,
        readings=counts.readings,
        steps=counts.steps,
        lost=counts.lost,
        gaps=counts.gaps,
        damaged=dict(link.faults),
        resets=counts.resets,
        reconnects=link.reconnects,
        actions=counts.actions,
        latency_p50_ms=milliseconds(50),
        latency_p99_ms=milliseconds(99),
        latency_max_ms=latency.max_ns / 1e6 if latency.count else None,
        counts=asdict(counts),
        link=bridge.report(),
        notes=list(controller.notes),
    )


def _record(
    recorder: Sink, controller: Controller, done: list[tuple[Event, Action | None, list[float] | None]]
) -> None:
    """Hand over what one chunk came to, after everything is written."""
    for event, action, outputs in done:
        recorder.event(event)
        if type(event) is Reading and outputs is not None and event.format == controller.config.reading:
            recorder.values("/outputs", event.t_ns, dict(zip(controller.output_names, outputs, strict=True)))
        if action is not None and controller.dictionary is not None:
            names = (field.name for field in controller.dictionary[action.format].fields)
            values = dict(zip(names, action.values, strict=True))
            recorder.values(f"/actions/{action.format}", event.t_ns, values)
    done.clear()


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
