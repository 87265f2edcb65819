"""The base of every dialect whose robot speaks only when it is asked.

Its rule: that of every link, and that of `Polling`: a reading's `rate_hz` is a schedule, every slot of it is a reading
or is counted as missing, and a reading's time is the middle of request and answer. On a half-duplex line nothing is
written while an answer is awaited, except the safe output of `stop`, which is repeated until it has outlasted that
answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from firmware_bridge.events import Event
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.polling import Missed, Poll, Polling
from firmware_bridge.links.promises import Promises
from firmware_bridge.remembered import PART
from firmware_bridge.table import Table
from firmware_bridge.values import Chunk

# Where robot.toml says nothing: of the shortest period, and in ms at most. With the quiet after it (`polling.QUIET`) a
# whole period has passed, so the next request is on time though the one before was not answered.
TIMEOUT, TIMEOUT_MS = 0.8, 100
LONGEST_TIMEOUT_MS = 10_000
TURN_BYTES = 64  # what a servo may wait before it answers, in bytes at 1 Mbit/s: its return delay is 0.5 ms at most


class Polled(Dialect):
    """A subclass makes `self.polling` with `schedule` at the end of its `__init__`, and calls `self.polling.answered`
    for what arrives."""

    REMEMBERED: ClassVar = {"_asking": bool, "polling": PART}
    CONFIGURED: ClassVar = frozenset({"_timeout_ns"})
    half_duplex: ClassVar[bool] = True
    polling: Polling

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._asking = False
        timeout_ms = table.take("timeout_ms", float, None)
        if timeout_ms is not None and not 0.1 <= timeout_ms <= LONGEST_TIMEOUT_MS:
            raise table.fail("timeout_ms", f"must be from 0.1 to {LONGEST_TIMEOUT_MS} ms, not {timeout_ms:g}")
        self._timeout_ns = None if timeout_ms is None else int(timeout_ms * 1e6)

    def schedule(self, polls: list[Poll], also: Sequence[Poll] = ()) -> None:
        """What is asked, by the names of the readings; those without a period once after each opening. also: what may
        be asked beside them (`Polling.ask`)."""
        periods = [poll.period_ns for poll in polls if poll.period_ns is not None]
        timeout_ns = self._timeout_ns or min(int(TIMEOUT * min(periods)), TIMEOUT_MS * 1_000_000)
        self.polling = Polling(polls, timeout_ns, also)

    def period_ns(self, name: str) -> int:
        """Of a reading, which must declare its rate."""
        reading = self.readings[name]
        if reading.period_ns is None:
            raise reading.table.fail("rate_hz", "is missing: how often is this to be asked for?")
        return int(reading.period_ns)

    # ------------------------------------------------------------------------------ what a subclass brings

    def gave_up(self, t_ns: int, missed: Missed) -> None:
        """A request was given up: forget what has come of its answer."""

    def answer_size(self, poll: Poll) -> int:
        """How many bytes an answer to it has."""
        return 0

    def key(self, data: bytes) -> bytes:
        """What an action's bytes are about: newer ones about the same take the place of older ones."""
        return b""

    # ------------------------------------------------------------------------------ as Dialect

    def opened(self) -> None:
        self.polling.close()
        self._asking = False

    def receive(self, chunk: Chunk) -> list[Event]:
        """As `Link.receive`; and time alone is an event, where an answer has not come."""
        events = super().receive(chunk)
        for missed in self.polling.overdue(chunk.t_ns, not chunk.data):
            if missed.asked:
                self.gave_up(chunk.t_ns, missed)
            if missed.poll.period_ns is not None:
                self.missed(chunk.t_ns, missed.poll.name, missed.slots)
        return events

    def poll(self, t_ns: int) -> bytes:
        if not self._asking:
            self._asking = True
            self.polling.open(t_ns)
        return self.polling.take(t_ns)

    def poll_due_ns(self) -> int | None:
        return self.polling.due_ns

    def release(self, t_ns: int, data: bytes) -> bytes:
        if not self.half_duplex or self.polling.awaited is None:
            return data
        self.polling.write(data, self.key(data))
        return b""

    def stop(self, t_ns: int) -> bytes:
        data = super().stop(t_ns)
        if data and self.half_duplex and self.polling.awaited is not None:
            more = data * (1 + (self.answer_size(self.polling.awaited.poll) + TURN_BYTES) // len(data))
            self.counters.bytes_sent += len(more)
            data += more
        return data

    @property
    def promises(self) -> Promises:
        """Every unanswered request is known, and every answer lies between two times."""
        known = super().promises
        said = "the robot's clock is unknown: times are the middle of request and answer, and a restart is not noticed"
        undated = (said,) if known.undated else ()
        return replace(known, uncounted=(), undated=(), also=(*undated, *known.also))

    def report(self) -> dict[str, Any]:
        """With what was asked."""
        asked = self.polling
        return super().report() | {
            "asked": asked.asked,
            "unanswered": asked.unanswered,
            "not_asked": asked.passed_over,
            "slowest_answer_ms": asked.slowest_ns / 1e6,
        }
