"""What the live page is told: rows thinned to what a screen shows, events, the verdict, as server-sent events.

Its rule: made once, given to every reader. Of the many rows of a moment the least and the greatest are shown, in their
order, so that no spike is lost; a gap stays a gap. A reader that does not keep up is let go and comes back by itself.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.serve.feed import Batch, Run
from edge_lstm.serve.gates import Shown
from edge_lstm.serve.grouping import grouped
from edge_lstm.serve.sentences import sentence_of
from edge_lstm.serve.verdict import Judge, Level, Verdict, span

BUCKET_NS = 50_000_000  # two points of each line in it
LATE_NS = 300_000_000  # after it no row comes any more, however busy the machine
GAP_NS = 150_000_000  # without a row: the line is cut
KEPT_S = 32.0  # of points, for a page that is opened now
STEP_S, STEPS = 2.0, 150  # of the strip of the past: five minutes
EVENTS = 100
WAITING = 64  # messages that a slow reader may be behind
BEAT_S = 1.0
_RANK: Mapping[str, int] = {"": -1, "ok": 0, "wait": 1, "warn": 2, "bad": 3}
_INF = float("inf")
_EVER = 1 << 62

Times = npt.NDArray[np.int64]  # ns
Values = npt.NDArray[np.float64]  # (rows, channels)


class Thinned:
    """Rows → points: times (m,) in ns and values (m, channels)."""

    def __init__(self, channels: int) -> None:
        self._times: list[Times] = []
        self._values: list[Values] = []
        self._channels = channels
        self._last_ns: int | None = None
        self.nothing: tuple[Times, Values] = np.empty(0, np.int64), np.empty((0, channels))

    def add(self, t_ns: Times, values: Values, now_ns: int = 0) -> tuple[Times, Values]:
        """The points of all buckets that are over: later rows have come, or at now_ns none can come any more."""
        t_ns, values = np.concatenate([*self._times, t_ns]), np.concatenate([*self._values, values])
        bucket = t_ns // BUCKET_NS
        over = int(np.searchsorted(bucket, bucket[-1])) if len(t_ns) else 0
        if len(t_ns) and now_ns - t_ns[-1] > LATE_NS:
            over = len(t_ns)
        self._times, self._values = [t_ns[over:]], [values[over:]]
        return self._points(t_ns[:over], values[:over], bucket[:over])

    def _points(self, t_ns: Times, values: Values, bucket: Times) -> tuple[Times, Values]:
        times: list[int] = []
        rows: list[Values] = []
        edges = [0, *(np.flatnonzero(np.diff(bucket)) + 1).tolist(), len(bucket)] if len(bucket) else [0]
        for begin, end in pairwise(edges):
            first, last = int(t_ns[begin]), int(t_ns[end - 1])
            if self._last_ns is not None and first - self._last_ns > GAP_NS:
                times.append((self._last_ns + first) // 2)
                rows.append(np.full(self._channels, np.nan))
            self._last_ns = last
            some = values[begin:end]
            if len(some) <= 2:
                times += t_ns[begin:end].tolist()
                rows += list(some)
                continue
            known = ~np.isnan(some)
            low, high = np.where(known, some, np.inf), np.where(known, some, -np.inf)
            least, most = low.min(0), high.max(0)
            rising, none = low.argmin(0) <= high.argmax(0), ~known.any(0)
            least[none] = most[none] = np.nan
            times += [first, last]
            rows += [np.where(rising, least, most), np.where(rising, most, least)]
        return np.array(times, np.int64), np.array(rows, np.float64).reshape(len(times), self._channels)


class LivePage:
    """Takes batches, and gives each reader of /live its messages."""

    def __init__(self, *, commands: bool) -> None:
        self._commands = commands
        self._lock = threading.Condition()
        self._readers: list[deque[bytes]] = []
        self._judge = Judge()
        self._run: Run | None = None
        self._thinned = Thinned(0)
        self._points: deque[tuple[int, bytes]] = deque()  # last t_ns, message
        self._columns: deque[tuple[int, bytes]] = deque()  # of gates, likewise
        self._gates = Shown((), "")
        self._status = b""
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self._past: deque[str] = deque([""] * STEPS, maxlen=STEPS)
        self._step: tuple[int, str] = (0, "")  # its number, the worst in it
        self._idle: deque[list[float | None]] = deque(maxlen=100)  # [from, to] in s: the model did not drive
        self.verdict: Verdict = self._judge.nobody("")
        self._closed = False

    @property
    def looked_at(self) -> bool:
        """Whether a page is open."""
        return bool(self._readers)

    @property
    def _most(self) -> int:
        """Messages that a reader may be behind: all that it is greeted with, and some."""
        return WAITING + len(self._points) + len(self._columns)

    def take(self, batch: Batch, now_ns: int, gates: Shown | None = None) -> None:
        """What is new. now_ns: on the run's clock where there is one; gates: None, they are not shown here."""
        begun = batch.began and batch.run is not None and batch.run != self._run
        with self._lock:
            if begun:
                assert batch.run is not None
                self._run, self._thinned = batch.run, Thinned(len(batch.run.channels))
                self._points.clear()
                self._columns.clear()
                self._gates = Shown((), "")
            messages = [*self._rows(batch, now_ns), *self._happened(batch, now_ns), *self._remembered(gates)]
            for kept in (self._points, self._columns):
                while kept and now_ns - kept[0][0] > KEPT_S * 1e9:
                    kept.popleft()
            self.verdict = self._judge.nobody(batch.why) if batch.status is None else self._judge.of(batch.status)
            self._driven(now_ns / 1e9, self.verdict.level != "bad")
            self._status = _message("status", self._status_tree(now_ns))
            messages.append(self._status)
            for reader in self._readers:
                if begun:
                    reader.clear()
                if len(reader) <= self._most:  # of one that does not read no more is kept: it is let go at its turn
                    reader.extend(self._hello() if begun else messages)
            self._lock.notify_all()

    def close(self) -> None:
        """Let all readers go."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def live(self) -> Iterator[bytes]:
        """The messages of one new reader, until it has fallen behind too far."""
        with self._lock:
            mine = deque(self._hello())
            self._readers.append(mine)
        try:
            while True:
                with self._lock:
                    if not mine and not self._closed:
                        self._lock.wait(BEAT_S)
                    if self._closed or len(mine) > self._most:
                        return
                    message = b"".join(mine)
                    mine.clear()
                yield message or b": \n\n"
        finally:
            with self._lock:
                self._readers[:] = [reader for reader in self._readers if reader is not mine]

    def _rows(self, batch: Batch, now_ns: int) -> Iterator[bytes]:
        """The new points; the last ones of a run that is gone, or of a robot that is silent, too."""
        if self._run is None:
            return
        new_t_ns, new = self._thinned.nothing
        if batch.run is not None and len(batch.rows):
            new_t_ns, new = batch.rows["t_ns"], batch.values()
        t_ns, values = self._thinned.add(new_t_ns, new, now_ns if batch.run is not None else _EVER)
        if len(t_ns):
            message = _message("rows", _rows_tree(t_ns, values))
            self._points.append((int(t_ns[-1]), message))
            yield message

    def _remembered(self, gates: Shown | None) -> Iterator[bytes]:
        """What is to be seen of the gates; their layers stay where they are not known for a while."""
        if gates is None:
            return
        now = Shown(gates.layers or self._gates.layers, gates.why)
        if now != self._gates:
            if now.layers != self._gates.layers:
                self._columns.clear()
            self._gates = now
            yield self._layers()
        if gates.columns:
            columns = [base64.b64encode(column.tobytes()).decode() for _, column in gates.columns]
            message = _message("columns", {"t": [round(t_ns / 1e9, 4) for t_ns, _ in gates.columns], "v": columns})
            self._columns.append((gates.columns[-1][0], message))
            yield message

    def _layers(self) -> bytes:
        return _message("gates", {"layers": [one.as_dict() for one in self._gates.layers], "why": self._gates.why})

    def _happened(self, batch: Batch, now_ns: int) -> Iterator[bytes]:
        for event in batch.events:
            text, level = sentence_of(event)
            one = {"t": event.get("t_ns", now_ns) / 1e9, "text": text, "level": level}
            self._events.append(one)
            yield _message("happened", one)

    def _hello(self) -> list[bytes]:
        run = self._run
        tree = {
            "name": run.name if run else "",
            "says": " · ".join(filter(None, (run.model, run.device))) if run else "",
            "channels": len(run.channels) if run else 0,
            "kinds": grouped(run.channels) if run else [],
            "commands": self._commands,
            "happened": list(self._events),
            "past": list(self._past),
            "idle": list(self._idle),
        }
        kept = (message for _, message in (*self._points, *self._columns))
        return [b"retry: 1000\n" + _message("hello", tree), self._layers(), *kept, self._status]

    def _status_tree(self, now_ns: int) -> dict[str, Any]:
        tree = self.verdict.as_dict()
        number, worst = int(now_ns / (STEP_S * 1e9)), self._step[1]
        level: Level = self.verdict.level
        past = None
        if number != self._step[0]:
            if self._step[0]:
                past = worst or level
                self._past.append(past)
            worst = ""
        self._step = number, max(worst, level, key=lambda one: _RANK[one])
        tree["t"] = now_ns / 1e9
        tree["verdict"] = {key: tree.pop(key) for key in ("level", "title", "detail")}
        idle_s = sum(one == "bad" for one in self._past) * STEP_S
        tree |= {
            "past": past,
            "past_length": STEPS,
            "past_from": f"{span(STEPS * STEP_S)} ago",
            "past_says": f"not driven for {span(idle_s)}" if idle_s else "",
        }
        return tree

    def _driven(self, t: float, yes: bool) -> None:
        stands = bool(self._idle) and self._idle[-1][1] is None
        if not yes and not stands:
            self._idle.append([t, None])
        elif yes and stands:
            self._idle[-1][1] = t


def _rows_tree(t_ns: Times, values: Values) -> dict[str, Any]:
    """Times in s, and for each channel its values; five digits are more than a screen shows, null is none."""
    columns = [[float(f"{v:.5g}") if abs(v) < _INF else None for v in one] for one in values.T.tolist()]
    return {"t": [round(t / 1e9, 4) for t in t_ns.tolist()], "v": columns}


def _message(kind: str, tree: Mapping[str, Any]) -> bytes:
    """A server-sent event; JSON has no line ends of its own."""
    return f"event: {kind}\ndata: {json.dumps(tree, separators=(',', ':'), allow_nan=False)}\n\n".encode()
