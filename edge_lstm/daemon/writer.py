"""The mapped block's writer: what the loop tells of each chunk, in 3 µs per reading at most.

Its rule: the loop's side packs numbers into memory that is there and allocated, and counts on; it opens nothing, waits
for nothing and raises nothing. Only where another robot or model brings other names a new block is made, between two
readings. Everything slower (counters, latencies, notes) is written by another thread through `tell`.

Never: let a full or missing file system hurt the run. The block's memory is taken when it is made, or there is none.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lstm.daemon.layout import (
    EVENT_BYTES,
    EVENT_HEAD,
    EVENTS,
    EVENTS_OF_A_CHUNK,
    MADE,
    MAGIC,
    PULSE_AT,
    REAL,
    SCHEMA_AT,
    SENT,
    STATUS_BYTES,
    URGENT,
    VERSION,
    WORDS_AT,
    Pulse,
    Sizes,
    State,
    Word,
    slots,
)
from edge_lstm.daemon.process import began
from edge_lstm.robot.requests import told as told_of
from firmware_bridge.events import DeviceStatus, Event, Reading, Request
from firmware_bridge.recordings.contents import event_object

if TYPE_CHECKING:
    from edge_lstm.robot.binding import Binding
    from edge_lstm.robot.controller import Decision
    from firmware_bridge.values import Chunk

# Plain numbers: an enumeration's member costs a look-up each time.
_ALIVE, _LINK, _LINK_NS = Pulse.ALIVE_NS.value, Pulse.LINK.value, Pulse.LINK_NS.value
_READINGS_NS, _OUTPUTS_NS, _ACTIONS_NS = Pulse.READINGS_NS.value, Pulse.OUTPUTS_NS.value, Pulse.ACTIONS_NS.value
_ROWS, _EVENTS, _LATENCY_NS = Pulse.ROWS.value, Pulse.EVENTS.value, Pulse.LATENCY_NS.value
_NAN = float("nan")
_LEFT_OUT = ("dictionary", "data", "what")  # of an event that finds no room, and where they are long anyway


class _Mapped:
    """One block in memory and under its path."""

    def __init__(self, path: Path, sizes: Sizes, schema: bytes, before: _Mapped | None, group: int | None) -> None:
        """OSError where the memory is not to be had. before: the block in whose place it comes."""
        fresh = path.with_name(path.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            os.fchmod(fd, 0o640)
            if group is not None:
                os.fchown(fd, -1, group)
            os.posix_fallocate(fd, 0, sizes.total)  # a page that is not to be had later would be SIGBUS
            self.map = mmap.mmap(fd, sizes.total, mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        except BaseException:
            fresh.unlink()
            raise
        finally:
            os.close(fd)
        self.sizes = sizes
        self.generation: int = 1 if before is None else before.generation + 1
        view = memoryview(self.map)
        words = view[WORDS_AT:PULSE_AT].cast("q")
        self.pulse = pulse = view[PULSE_AT:SCHEMA_AT].cast("q")
        view[SCHEMA_AT : SCHEMA_AT + len(schema)] = schema
        pulse[Pulse.STATE], pulse[Pulse.PID], pulse[_LATENCY_NS] = State.RUNNING, os.getpid(), -1
        pulse[Pulse.BEGAN] = began(os.getpid())
        if before is not None:
            keep = slice(before.sizes.status_at, before.sizes.events_at + EVENTS * EVENT_BYTES)
            view[sizes.status_at : sizes.events_at + EVENTS * EVENT_BYTES] = memoryview(before.map)[keep]
            for k in range(1, len(pulse)):
                pulse[k] = before.pulse[k]
            pulse[Pulse.STATUS_VERSION] &= ~1
        values = {
            Word.VERSION: VERSION,
            Word.GENERATION: self.generation,
            Word.SCHEMA: len(schema),
            Word.STATUS_AT: sizes.status_at,
            Word.EVENTS_AT: sizes.events_at,
            Word.ROWS_AT: sizes.rows_at,
            Word.ROWS: sizes.rows,
            Word.READINGS: sizes.readings,
            Word.OUTPUTS: sizes.outputs,
            Word.ACTIONS: sizes.actions,
            Word.FIRST_ROW: pulse[_ROWS],
        }
        for word, value in values.items():
            words[word] = value
        words[Word.MAGIC] = MAGIC
        fresh.rename(path)
        if before is not None:
            before.pulse[Pulse.STATE] = State.REPLACED


class Block:
    """What the loop calls after each chunk (`robot.loop.Tap`). OSError where there is no memory or no file to be had;
    afterwards nothing raises."""

    def __init__(
        self,
        path: Path,
        about: Mapping[str, Any],
        latency_ns: Callable[[], int] = lambda: -1,
        *,
        clock_ns: int = 0,
        group: int | None = None,
        running: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """about: what its schema says of the run beside names and units, running: and of what runs now, asked again
        with each binding. latency_ns: of the latest write that answered
        a reading; clock_ns: the port's time less CLOCK_MONOTONIC."""
        self.failed = ""  # why nothing more is written
        self._path, self._about, self._latency_ns, self._group = path, dict(about), latency_ns, group
        self._running = running
        self._binding: Binding | None = None
        self._joined: tuple[int, ...] = ()
        self._form = ""
        sizes, schema = self._laid_out(None)
        self._mapped = _Mapped(path, sizes, schema, None, group)
        self._mapped.pulse[Pulse.CLOCK_NS] = clock_ns
        self._take(sizes)

    def __call__(self, chunk: Chunk, done: Sequence[tuple[Event, Decision | None]], sent: int) -> None:
        """What came of a chunk. sent: the number of the event whose action the port took, -1: none."""
        pulse = self._pulse
        pulse[_ALIVE] = t_ns = chunk.t_ns
        if chunk.link != "data" and chunk.link != "control":
            pulse[_LINK], pulse[_LINK_NS] = (1 if chunk.link == "opened" else 2), t_ns
        if not done:
            return
        told = 0
        for at, (event, decision) in enumerate(done):
            if type(event) is not Reading:
                told += 1
                if told <= EVENTS_OF_A_CHUNK and type(event) is not DeviceStatus:
                    if type(event) is Request:  # its bytes are in the recording
                        text, changes = told_of(event.data)
                        memory = {"memory": True} if changes else {}
                        self._event(event.t_ns, {"event": "request", "text": f"{text}.", **memory})
                    else:
                        self._event(event.t_ns, event_object(event))
                if decision is not None and decision.binding is not self._binding:
                    self._bind(decision.binding)
                    pulse = self._pulse
            elif decision is not None:
                if decision.binding is not self._binding:
                    self._bind(decision.binding)
                    pulse = self._pulse
                self._row(pulse, event, decision, at == sent)
                for occurrence in decision.happened:
                    self._event(event.t_ns, occurrence.recorded() | {"kind": "watched"})

    def say(self, t_ns: int, tree: Mapping[str, Any]) -> None:
        """An event of the run's own, from the loop's thread: "event" is its kind, "text" a sentence."""
        self._event(t_ns, tree)

    def tell(self, tree: Mapping[str, Any]) -> None:
        """The status, from whatever other thread: one at a time. What is too long for it loses its longest parts."""
        data = json.dumps(tree, separators=(",", ":"), default=str).encode()
        left = dict(tree)
        while len(data) > STATUS_BYTES and left:
            longest = max(left, key=lambda key: len(json.dumps(left[key], default=str)))
            del left[longest]
            data = json.dumps(left | {"left_out": longest}, separators=(",", ":"), default=str).encode()
        mapped = self._mapped
        pulse, at = mapped.pulse, mapped.sizes.status_at
        pulse[Pulse.STATUS_VERSION] += 1
        mapped.map[at : at + len(data)] = data
        pulse[Pulse.STATUS_SIZE] = len(data)
        pulse[Pulse.STATUS_VERSION] += 1

    def close(self) -> None:
        """The run has ended: readers are told, and the path is free again."""
        self._pulse[Pulse.STATE] = State.ENDED
        with contextlib.suppress(OSError):
            self._path.unlink()

    # ------------------------------------------------------------------------------------------ inside

    def _row(self, pulse: memoryview, reading: Reading, decision: Decision, sent: bool) -> None:
        number, t_ns = pulse[_ROWS], reading.t_ns
        pulse[_READINGS_NS] = t_ns
        outputs, action = decision.outputs, decision.action
        not_real = decision.not_real
        flags = 0 if not_real else REAL
        if outputs is None:
            outputs = self._no_outputs
        else:
            flags |= MADE
            pulse[_OUTPUTS_NS] = t_ns
        latency = -1
        if action is None:
            values = self._no_action
        else:
            values = action.values if action.format == self._form else self._no_action
            if decision.urgent:
                flags |= URGENT
            if sent:
                flags |= SENT
                pulse[_ACTIONS_NS] = t_ns
                pulse[_LATENCY_NS] = latency = self._latency_ns()
        row = decision.row
        joined = [row[k] for k in self._joined] if row is not None and self._joined else self._no_joined
        at = self._rows_at + number % self._slots * self._row_bytes
        try:
            self._pack(
                self._map, at, number, t_ns, *reading.values, *joined, *outputs, *values, latency, not_real, flags
            )
        except struct.error as error:  # of another width than its binding says
            self.failed = self.failed or f"a row was not written: {error}"
            return
        pulse[_ROWS] = number + 1

    def _event(self, t_ns: int, tree: Mapping[str, Any]) -> None:
        small = {key: value for key, value in tree.items() if key not in _LEFT_OUT or len(str(value)) < 64}
        at_row = self._pulse[_ROWS]  # before which it came
        data = json.dumps({"t_ns": t_ns, "row": at_row, **small}, separators=(",", ":"), default=str).encode()
        room = EVENT_BYTES - EVENT_HEAD
        if len(data) > room:
            kept: dict[str, Any] = {"t_ns": t_ns, "row": at_row, "event": str(tree.get("event", ""))[:40]}
            kept["text"] = str(tree.get("text", "")).encode(errors="replace")[:200].decode(errors="ignore")
            data = json.dumps(kept).encode(errors="replace")
            if len(data) > room:  # letters that JSON writes with six each
                data = json.dumps(kept | {"text": ""}).encode()[:room]
        pulse = self._pulse
        number = pulse[_EVENTS]
        at = self._events_at + number % EVENTS * EVENT_BYTES
        self._head(self._map, at, number, len(data))
        self._map[at + EVENT_HEAD : at + EVENT_HEAD + len(data)] = data
        pulse[_EVENTS] = number + 1

    def _bind(self, binding: Binding) -> None:
        """Another robot or model: rows have other names from now on."""
        self._binding = binding
        sizes, schema = self._laid_out(binding)
        try:
            self._mapped = _Mapped(self._path, sizes, schema, self._mapped, self._group)
        except OSError as error:  # the old one goes on, and its rows do where they are as wide
            self.failed = f"{self._path}: {error.strerror or error}"
            return
        self._take(sizes)

    def _laid_out(self, binding: Binding | None) -> tuple[Sizes, bytes]:
        """Sizes and schema of a block for this binding; sets what a row is made of."""
        tree: dict[str, Any] = {
            **self._about,
            **self._running(),
            "readings": [],
            "outputs": [],
            "actions": [],
            "format": "",
        }
        rate_hz = None
        if binding is not None:
            reading, feed, action = binding.reading, binding.feed, binding.action
            rate_hz = reading.rate_hz or (1e9 / binding.period_ns if binding.period_ns else None)
            self._joined = tuple(k for k, _, _ in feed.joined)
            self._form = action.name if action else ""
            names = [(field.name, field.unit) for field in reading.fields] + [(name, u) for _, name, u in feed.joined]
            outputs = zip(binding.output_names, binding.output_units, strict=True)
            tree |= {
                "device": binding.dictionary.device,
                "version": binding.dictionary.version,
                "format": reading.name,
                "rate_hz": rate_hz,
                "readings": [{"name": name, "unit": unit} for name, unit in names],
                "outputs": [{"name": name, "unit": unit} for name, unit in outputs],
                "action_format": self._form,
                "actions": [
                    {"name": f.name, "unit": f.unit, "min": f.minimum, "max": f.maximum}
                    for f in (action.fields if action else ())
                ],
            }
        schema = json.dumps(tree, default=str).encode()
        widths = [len(tree[key]) for key in ("readings", "outputs", "actions")]
        words = 5 + sum(widths)
        rows = slots(rate_hz, words) if binding else 64
        return Sizes(widths[0], widths[1], widths[2], rows, len(schema)), schema

    def _take(self, sizes: Sizes) -> None:
        mapped = self._mapped
        self._map, self._pulse = mapped.map, mapped.pulse
        self._rows_at, self._slots, self._events_at = sizes.rows_at, sizes.rows, sizes.events_at
        row = struct.Struct(f"@qq{sizes.readings + sizes.outputs + sizes.actions}dqqq")
        self._pack, self._row_bytes = row.pack_into, row.size
        self._head = struct.Struct("@qq").pack_into
        self._no_joined: Sequence[float] = [_NAN] * len(self._joined)
        self._no_outputs: list[float] = [_NAN] * sizes.outputs
        self._no_action: tuple[float, ...] = (_NAN,) * sizes.actions
