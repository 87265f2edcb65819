"""A run that is tended: its port observed, its late answers explained, its service manager informed.

Its rule: it stands around `edge_lstm.robot.loop.run` and takes nothing out of it: a run without it is the same run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from edge_lstm.cli.live import clock_of
from edge_lstm.daemon.journal import ERROR, WARNING
from edge_lstm.daemon.keeper import Keeper
from edge_lstm.daemon.late import LateAnswers, sentence, since
from edge_lstm.daemon.lull import Lull
from edge_lstm.daemon.observed import Happening, ObservedPort
from firmware_bridge.words import counted, plural

if TYPE_CHECKING:
    from edge_lstm.cli.recording import Recording
    from edge_lstm.daemon.notify import Notifier
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.decider import Decider
    from firmware_bridge.links.link import Link
    from firmware_bridge.ports.port import Port


class Tended:
    """`port` is what the loop is given; `late` are its late answers."""

    def __init__(
        self,
        robot: RobotConfig,
        port: Port,
        controller: Decider,
        bridge: Link,
        recording: Recording,
        notifier: Notifier,
        trouble: Callable[[], str],
        others: deque[Happening],
        lull: Lull,
    ) -> None:
        """trouble: what people should know (the robot is not there, it does not fit), "" where all is well. others: who
        else has something to be said at once. lull: in which the keeper works."""
        self.late = LateAnswers(robot.deadline_ms)
        self.port = ObservedPort(port, controller, bridge, self.late, lull)
        self._controller, self._bridge, self._recording, self._trouble = controller, bridge, recording, trouble
        self._others = others
        self._every_s = robot.daemon.status_every_s
        self._said_s, self._said = time.monotonic(), self.late.report()
        self._failed, self._keyframeless = recording.trouble, ""
        self._keeper = Keeper(notifier, self.port, lambda: recording.recorder, self.status)

    def kept(self) -> AbstractContextManager[Keeper]:
        """Around the run: the side thread."""
        return self._keeper

    def watched(self) -> AbstractContextManager[None]:
        """Around the loop, in its thread."""
        return self.late.watching()

    def happened(self) -> Iterator[tuple[int, str]]:
        """(level, line) of all that happened since the last call; to be asked by one thread."""
        for happened in (self.port.happened, self._others):
            while happened:
                one = happened.popleft()
                yield one.level, f"{clock_of(one.t_ns)}  {one.text}"
        if (failed := self._recording.trouble) != self._failed:
            self._failed = failed
            if failed:
                yield ERROR, f"{clock_of(time.time_ns())}  {failed} The robot runs on."
        if not self._keyframeless and (why := self._recording.keyframeless):
            self._keyframeless = why
            yield WARNING, f"{clock_of(time.time_ns())}  {why}"
        if time.monotonic() - self._said_s >= self._every_s:
            now, seconds = self.late.report(), time.monotonic() - self._said_s
            if text := sentence(since(self._said, now, self.late.worst_since())):
                yield WARNING, f"{clock_of(time.time_ns())}  answers of the last {seconds:.0f} s: {text}"
            self._said_s, self._said = time.monotonic(), now

    def status(self) -> str:
        """One line, for `systemctl status`."""
        if trouble := self._trouble():
            state = trouble
        elif self.port.gone:
            state = "waiting for the robot"
        else:
            state = "running"
        counts, link = self._controller.counts, self._bridge.counters
        known = self._controller.config.reading not in self._bridge.promises.uncounted
        parts = [
            f"{counts.readings:,} {plural(counts.readings, 'reading')}",
            f"{counts.lost if known else 'unknown'} lost",
            counted(link.reconnects, "reconnect"),
            f"{self.late.count} late",
        ]
        return f"{state}; {', '.join(parts)}" if counts.readings else state
