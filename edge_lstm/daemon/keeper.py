"""The side thread of a service: it tells the service manager how the run is, and feeds the watchdog while it is well.

Its rule: the watchdog is fed only where the loop has come for another chunk since the last time, and where the recorder
has gone round in `RECORDER_S` (or writes nothing any more). A robot that is not there is well: the loop goes round
without it. So a loop that hangs is started again, and a robot that is unplugged over the weekend starts nothing.

Never: touch what the path of a reading uses.
"""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from edge_lstm.daemon.notify import Notifier
from edge_lstm.daemon.observed import ObservedPort

LOOK_S = 0.25
STATUS_S = 1.0
RECORDER_S = 30.0  # a slow card may take many seconds for one block; a disk that hangs longer is worth a new start


class Writing(Protocol):
    """A recorder, as far as it is looked at here."""

    @property
    def turns(self) -> int:
        """How often its thread has gone round."""

    @property
    def failed(self) -> str:
        """Why nothing more is written."""


class Keeper:
    """A context manager around a run."""

    def __init__(
        self,
        notifier: Notifier,
        port: ObservedPort,
        recorder: Callable[[], Writing | None],
        status: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """status: a line for people."""
        self._notifier, self._port, self._recorder, self._status, self._clock = notifier, port, recorder, status, clock
        self._ended = threading.Event()
        self._ready = False
        self._turns = 0  # of the loop, when it was last looked at
        self._written, self._written_s = -1, clock()
        self._status_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        if self._notifier.watchdog_s is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
                faulthandler.enable(sys.__stderr__ or 2)  # the watchdog's SIGABRT: where it hung goes to the journal
        with contextlib.suppress(RuntimeError):  # no thread to be had: the robot runs unwatched
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)
        self._notifier.stopping()

    def look(self) -> None:
        """Once: feed where all is well, say what there is to say."""
        now_s, turns = self._clock(), self._port.turns
        advanced, self._turns = turns != self._turns, turns
        if turns and not self._ready:
            self._ready = self._notifier.ready()
        if advanced and self._recorder_is_well(now_s):
            self._notifier.alive()
        with contextlib.suppress(Exception):  # a sentence that cannot be made must not starve the watchdog of a robot
            self._port.late.explain()
        if now_s - self._status_s >= STATUS_S:
            self._status_s = now_s
            with contextlib.suppress(Exception):
                self._notifier.status(self._status())

    def _recorder_is_well(self, now_s: float) -> bool:
        recorder = self._recorder()
        if recorder is None or recorder.failed:
            return True
        if recorder.turns != self._written:
            self._written, self._written_s = recorder.turns, now_s
        return now_s - self._written_s < RECORDER_S

    def _run(self) -> None:
        pause_s = LOOK_S
        if self._notifier.watchdog_s is not None:
            pause_s = min(pause_s, self._notifier.watchdog_s / 4)
        while not self._ended.wait(pause_s):
            self._port.lull.wait()
            self.look()
