"""A polled robot and its link in simulated time: time jumps to the next answer or to when the link is due.

Its rule: every chunk and every byte written is kept, so that a conversation can be held again with another link. What
happens to an answer is up to `spoil`: it is given the answer's number and bytes, and says what arrives after how many
ns.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from firmware_bridge.events import Event, Reading
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide
from firmware_bridge.values import Action, Chunk
from tests.support.robots import MS

Spoil = Callable[[int, bytes], list[tuple[int, bytes]]]
WAY_NS = 400_000  # from a request to its answer


def on_time(number: int, answer: bytes) -> list[tuple[int, bytes]]:
    """Nothing happens to it."""
    return [(WAY_NS, answer)]


def made(table: dict[str, Any]) -> Any:
    """The link of a table [link]."""
    return LinkConfig(table, "robot.toml", Path()).open()


class Conversation:
    """A link and a robot, half-duplex unless the link is not: an action never meets an answer."""

    def __init__(self, link: Any, robot: Any, spoil: Spoil = on_time) -> None:
        self.link, self.robot, self.spoil = link, robot, spoil
        self.chunks: list[Chunk] = []
        self.events: list[Event] = []
        self.written: list[tuple[int, bytes]] = []
        self.obeyed: list[Obeyed] = []
        self.answers = 0
        self.now_ns = 0
        self._coming: list[tuple[int, int, bytes]] = []
        self._number = 0
        self.give(Chunk(0, b"/dev/robot", "opened"))

    def give(self, chunk: Chunk) -> None:
        """One turn of the loop."""
        self.chunks.append(chunk)
        self.now_ns = chunk.t_ns
        self.events += self.link.receive(chunk)
        self.write(self.link.outgoing())

    def write(self, data: bytes) -> None:
        """To the robot, which answers."""
        if not data:
            return
        self.written.append((self.now_ns, data))
        self.obeyed += self.robot.receive(data)
        if answer := self.robot.answers():
            for delay_ns, spoiled in self.spoil(self.answers, answer):
                self.arrive(delay_ns, spoiled)
            self.answers += 1

    def arrive(self, delay_ns: int, data: bytes) -> None:
        """Bytes that will come, whoever sends them."""
        self._number += 1
        heapq.heappush(self._coming, (self.now_ns + delay_ns, self._number, data))

    def act(self, name: str, *values: float) -> None:
        """An action of the loop's."""
        self.write(self.link.send(self.now_ns, Action(name, values)))

    def run(self, until_ms: float) -> None:
        """Until then, woken as the link asks, and each 20 ms."""
        until_ns = int(until_ms * MS)
        while True:
            due_ns = self.link.due_ns
            quiet_ns = self.now_ns + 20 * MS
            wake_ns = quiet_ns if due_ns is None else min(quiet_ns, max(due_ns, self.now_ns + 1))
            if self._coming and self._coming[0][0] <= wake_ns:
                t_ns, _number, data = self._coming[0]
                if t_ns >= until_ns:
                    break
                heapq.heappop(self._coming)
                self.give(Chunk(t_ns, data))
            elif wake_ns >= until_ns:
                break
            else:
                self.give(Chunk(wake_ns))
        self.now_ns = until_ns

    def of(self, kind: type) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def patiently(call: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """What a vendor's call gives when it succeeds (0 in its second place): on a busy machine an answer may be late for
    it a few times."""
    for _ in range(50):
        found = call()
        if found[1] == 0:
            return found
    raise AssertionError(f"never answered: {found!r}")


@contextlib.contextmanager
def on_terminal(robot: RobotSide) -> Iterator[str]:
    """The robot behind a pseudo-terminal, answering at once; gives the terminal's path."""
    master, slave = os.openpty()
    tty.setraw(slave)
    wake_read, wake_write = os.pipe()

    def answer() -> None:
        while wake_read not in select.select([master, wake_read], [], [])[0]:
            robot.receive(os.read(master, 4096))
            if data := robot.answers():
                os.write(master, data)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        os.write(wake_write, b"\0")
        thread.join()
        for descriptor in (master, slave, wake_read, wake_write):
            os.close(descriptor)


def read_on(path: str, link: Any, count: int, action: Action) -> list[Reading]:
    """The first readings that a link gets from a terminal, in real time; the action is sent after the first."""
    port = SerialPort(path, 1_000_000)
    readings: list[Reading] = []
    acted = False
    try:
        for chunk in port.chunks():
            readings += [event for event in link.receive(chunk) if isinstance(event, Reading)]
            if readings and not acted:
                acted = port.write(link.send(chunk.t_ns, action))
            port.write(link.outgoing())
            port.wake_at(link.due_ns)
            if len(readings) >= count:
                break
    finally:
        port.close()
    return readings
