"""Asking a robot for the rates of its messages: SET_MESSAGE_INTERVAL, one message after the other.

Its rule: an answer says which command it answers, not which message, so one is asked for at a time, `TRIES` times at
the most. A robot that answers nothing but sends at that rate has obeyed. Nothing is asked twice after that until the
robot has started again. Never writes: it says what is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from firmware_bridge.links.mavlink.definition import Message
from firmware_bridge.remembered import Remembers

SET_MESSAGE_INTERVAL = 511  # MAV_CMD
ASK_NS = 1_000_000_000  # how long a request waits for its answer
TRIES = 5
SEEN = 0.8  # of the asked rate: it is there, although nobody answered
ACCEPTED, REFUSED_FOR_NOW, IN_PROGRESS = 0, 1, 5  # MAV_RESULT
_RESULTS = ("accepted", "refused for now", "denied", "unsupported", "failed", "in progress", "cancelled")


class Request(NamedTuple):
    """A message and how often it is wanted."""

    message: Message
    rate_hz: float


class Rates(Remembers):
    """All requests to one robot."""

    REMEMBERED: ClassVar = dict.fromkeys(("_at", "_tries", "_asked_ns", "_seen"), int)

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = tuple(requests)
        self.restart()

    def restart(self) -> None:
        """The robot has started, or may have: it sends as it likes again."""
        self._at = 0  # which request is under way
        self._tries = 0
        self._asked_ns = 0
        self._seen = 0  # its messages since it was asked

    @property
    def due_ns(self) -> int | None:
        """When something is asked next; None: nothing is, or its last try waits for an answer."""
        if self._at >= len(self._requests) or self._tries >= TRIES:
            return None
        return self._asked_ns + ASK_NS if self._tries else 0

    def ask(self, t_ns: int) -> dict[str, int]:
        """The fields of the COMMAND_LONG to write now, but for its targets; empty if nothing is due."""
        if self.due_ns is None or t_ns < self.due_ns:
            return {}
        message, rate_hz = self._requests[self._at]
        self._tries, self._asked_ns, self._seen = self._tries + 1, t_ns, 0
        interval_us = round(1e6 / rate_hz)
        command = {"command": SET_MESSAGE_INTERVAL, "confirmation": self._tries - 1}
        return command | {"param1": message.id, "param2": interval_us}

    def came(self, number: int) -> None:
        """A message came, by number."""
        if self._at < len(self._requests) and self._requests[self._at].message.id == number:
            self._seen += 1

    def answered(self, result: int) -> str:
        """The answer to the request under way. What people should know of it, or empty."""
        if not self._tries or result in (REFUSED_FOR_NOW, IN_PROGRESS):  # it is asked again
            return ""
        if result == ACCEPTED:
            self._next()
            return ""
        return self._give_up(_RESULTS[result] if result < len(_RESULTS) else f"result {result}")

    def overdue(self, t_ns: int) -> str:
        """The answer did not come in time, if it did not. What people should know of it, or empty."""
        if not self._tries or t_ns - self._asked_ns < ASK_NS:
            return ""
        wanted = self._requests[self._at].rate_hz * (t_ns - self._asked_ns) / 1e9
        if self._seen > 1 and self._seen >= SEEN * wanted:
            self._next()
        elif self._tries >= TRIES:
            return self._give_up(f"no answer to {TRIES} requests")
        return ""

    def _give_up(self, why: str) -> str:
        message, rate_hz = self._requests[self._at]
        self._next()
        return f"{message.name} at {rate_hz:g} Hz: {why}; the robot sends it as it likes"

    def _next(self) -> None:
        self._at, self._tries, self._seen = self._at + 1, 0, 0
