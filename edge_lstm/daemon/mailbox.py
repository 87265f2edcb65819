"""What is asked of a run, given to its loop as chunks of its port, between two of the robot's.

Its rule: the loop knows of one source of inputs, its port, and that is one thread's. Whoever asks (the control socket,
in its own thread) leaves a request here and waits for what came of it; the loop waits for nobody. Behind each chunk of
the robot's there is one request at most: however many ask, and however fast, the robot is read in between.

Never: hold more than `WAITING` requests, or give one a time of its own: it has that of the chunk before it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from edge_lstm.errors import DaemonError
from firmware_bridge.ports.port import Port, PortStats
from firmware_bridge.values import Chunk

WAITING = 32
ANSWER_S = 5.0  # a loop gives a chunk every 20 ms; one that is swapping without preparation takes longer


class _Asked:
    """A request on its way."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answer: dict[str, Any] | None = None
        self.done = threading.Event()


class ControlledPort:
    """A port with a mailbox; see `Port`. `ask` is for any thread, all else for the loop's."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._asked: deque[_Asked] = deque()  # not yet given to the loop
        self._given: deque[_Asked] = deque()  # and not yet answered
        self.write, self.write_last, self.wake_at = port.write, port.write_last, port.wake_at
        self.stop, self.close = port.stop, port.close

    @property
    def stats(self) -> PortStats:
        return self._port.stats

    def chunks(self) -> Iterator[Chunk]:
        """The port's, and between them what is asked."""
        asked = self._asked
        for chunk in self._port.chunks():
            yield chunk
            if asked:
                one = asked.popleft()
                self._given.append(one)
                yield Chunk(chunk.t_ns, one.data, "control")

    def answered(self, answer: dict[str, Any]) -> None:
        """From the loop's thread: what came of the request that was given longest ago."""
        if self._given:
            one = self._given.popleft()
            one.answer = answer
            one.done.set()

    def ask(self, data: bytes, wait_s: float = ANSWER_S) -> dict[str, Any]:
        """What came of it. DaemonError: the loop has not answered in time, or too many wait already."""
        if len(self._asked) >= WAITING:
            raise DaemonError("too many requests are waiting for the loop")
        one = _Asked(data)
        self._asked.append(one)
        if not one.done.wait(wait_s) or one.answer is None:
            raise DaemonError(f"the loop has not answered within {wait_s:g} s; it may still do what was asked")
        return one.answer
