"""A port that is looked at while a run reads it: what happened to the link, whether the loop goes round, what was late.

Its rule: chunks and bytes pass as they are. What it costs a reading is two looks at a clock and a few comparisons; all
that is worth a line is put into a queue, which a side thread prints.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from edge_lstm.daemon.journal import INFO, NOTICE, WARNING
from edge_lstm.daemon.late import LateAnswers
from edge_lstm.daemon.lull import Lull
from edge_lstm.robot.requests import sentence

if TYPE_CHECKING:
    from edge_lstm.robot.decider import Decider
    from firmware_bridge.links.link import Link
    from firmware_bridge.ports.port import Port, PortStats
    from firmware_bridge.values import Chunk

SILENT_NS = 1_000_000_000  # without a reading, where some have come: worth a line
_HAPPENINGS = 1000  # that nobody has taken; more are forgotten, oldest first


class Happening(NamedTuple):
    """Something to be said at once. level: of `journal`."""

    t_ns: int
    level: int
    text: str


class ObservedPort:
    """`inner`, as the loop sees it. turns: how often the loop has come for a chunk; happened: what is to be said; lull:
    begins when it has done with one."""

    def __init__(
        self, inner: Port, controller: Decider, bridge: Link, late: LateAnswers, lull: Lull | None = None
    ) -> None:
        self.inner, self._controller, self._bridge, self.late = inner, controller, bridge, late
        self.lull = Lull() if lull is None else lull
        self.turns = 0
        self.happened: deque[Happening] = deque(maxlen=_HAPPENINGS)
        self._answered_ns = 0
        self._opened = False
        self._gone_ns: int | None = None  # since when the robot is gone: the link lost, or nothing comes
        self._last_ns: int | None = None  # when the latest reading came
        self._lost_then = 0  # readings that were lost, when the robot went

    @property
    def stats(self) -> PortStats:
        return self.inner.stats

    @property
    def gone(self) -> bool:
        """Whether no reading has come yet, or the robot is gone for now."""
        return self._last_ns is None or self._gone_ns is not None

    def chunks(self) -> Iterator[Chunk]:
        """As the inner port's."""
        clock, controller, late, lull = time.monotonic_ns, self._controller, self.late, self.lull
        readings, lost, resets = controller.counts.readings, controller.counts.lost, controller.counts.resets
        for chunk in self.inner.chunks():
            began_ns = clock()
            self.turns += 1
            self._answered_ns = 0
            if chunk.link in ("opened", "lost"):
                self._link(chunk)
            yield chunk
            if chunk.link == "control":
                self._say(chunk.t_ns, NOTICE, sentence(chunk.data))
            counts = controller.counts
            if counts.resets != resets:
                resets = counts.resets
                late.broken()
                self._say(chunk.t_ns, WARNING, "the board started again; " + self._after_reset())
            if counts.readings != readings:
                answered_ns = self._answered_ns or clock()
                if self._gone_ns is not None or self._last_ns is None:
                    self._back(chunk.t_ns)
                self._last_ns = chunk.t_ns
                latest = controller.latest
                period_ns = latest.binding.period_ns if latest is not None else 0
                late.turn(chunk.t_ns, began_ns, answered_ns, max(0, counts.lost - lost), period_ns)
                readings, lost = counts.readings, counts.lost
            elif self._gone_ns is None and self._last_ns is not None and chunk.t_ns - self._last_ns > SILENT_NS:
                self._went(self._last_ns)
                self._say(chunk.t_ns, WARNING, f"no reading has come for {SILENT_NS / 1e9:g} s; the port is open")
            lull.begins()

    def write(self, data: bytes) -> bool:
        """As the inner port's."""
        taken = self.inner.write(data)
        self._answered_ns = time.monotonic_ns()
        return taken

    def write_last(self, data: bytes, cut: bytes) -> bool:
        """As the inner port's."""
        return self.inner.write_last(data, cut)

    def wake_at(self, t_ns: int) -> None:
        """As the inner port's."""
        self.inner.wake_at(t_ns)

    def stop(self) -> None:
        """As the inner port's."""
        self.inner.stop()

    def close(self) -> None:
        """As the inner port's."""
        self.inner.close()

    def _link(self, chunk: Chunk) -> None:
        self.late.broken()
        if chunk.link == "opened":
            self._opened = True
            self._say(chunk.t_ns, INFO, f"the port is open: {chunk.data.decode(errors='replace')}")
        elif self._opened:
            self._opened = False
            if self._gone_ns is None:
                self._went(chunk.t_ns)
            self._say(chunk.t_ns, WARNING, f"the link was lost: {chunk.data.decode(errors='replace')}")

    def _went(self, t_ns: int) -> None:
        self._gone_ns, self._lost_then = t_ns, self._controller.counts.lost
        self.late.broken()

    def _back(self, t_ns: int) -> None:
        if self._gone_ns is None:
            self._say(t_ns, NOTICE, "the robot answers: the first reading has come")
            return
        seconds, self._gone_ns = (t_ns - self._gone_ns) / 1e9, None
        if self._controller.config.reading in self._bridge.promises.uncounted:
            lost = "an unknown number of readings"
        else:
            lost = f"{self._controller.counts.lost - self._lost_then}"
        self._say(t_ns, NOTICE, f"back after {seconds:.1f} s with {lost} lost")

    def _after_reset(self) -> str:
        reset = self._controller.config.on_reset == "reset"
        return "the model's memory was reset" if reset else "the model's memory was kept"

    def _say(self, t_ns: int, level: int, text: str) -> None:
        self.happened.append(Happening(t_ns, level, text))
