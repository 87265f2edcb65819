"""A line to the robot on which what is sent waits, in simulated time: the board takes a reading each 5 ms, the host
answers each with an action that names it.

Rule: it knows when each reading was taken, so the age of an obeyed action is not the device's own word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Event, Reading, SafeOutput
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.values import Action, Chunk
from tests.support.robots import BUTTON, LIMITS, MS, WHEELS

DATED = Dictionary((WHEELS, BUTTON, replace(LIMITS, max_age_ms=250)), "test robot", "1.2.3", protocol=2)
MAX_AGE_MS = 250
PERIOD_MS = 5
NAMES = 8192  # readings that an action can name; 40 s of them

Lag = Callable[[int], int]  # ms of the run → ms that what is sent now will wait


def python_device(dictionary: Dictionary = DATED) -> Device:
    return Device(dictionary, 0xB007)


class Lagging:
    """A board, a host, and between them a line; to the host it takes no time."""

    def __init__(self, device: Any, lag: Lag) -> None:
        self.device, self.lag, self.bridge = device, lag, Bridge()
        self.now_ms = self.number = 0
        self.line: deque[tuple[int, bytes]] = deque()  # arrival in ms, bytes
        self.events: list[Event] = []
        self.obeyed: list[tuple[int, int]] = []  # ms, age in ms
        self.safe: list[int] = []  # ms at which the outputs became safe

    def run(self, turns: int, host: bool = True) -> None:
        """Let that many ms pass, with or without a host at the other end."""
        for _ in range(turns):
            self.now_ms += 1
            arrived = b""
            while self.line and self.line[0][0] <= self.now_ms:
                arrived += self.line.popleft()[1]
            us = self.now_ms * 1000
            self.note(self.device.receive(us, arrived))
            self.note(self.device.tick(us))
            data = self.device.outgoing()
            if self.now_ms % PERIOD_MS == 0:
                data += self.device.reading(us, "wheels", (float(self.now_ms // PERIOD_MS % NAMES), 0.0, 0.0))
            if host:
                self.send(self.answers(Chunk(self.now_ms * MS, data)))

    def answers(self, chunk: Chunk) -> bytes:
        events, out = self.bridge.receive(chunk), b""
        self.events += events
        for event in events:
            if isinstance(event, Reading) and event.format == "wheels":
                action = Action("limits", (event.values[0] / (2 * NAMES), 0.5))
                out += self.bridge.send(chunk.t_ns, action, 0, event.t_device_us)
        return out + self.bridge.outgoing()

    def send(self, data: bytes) -> None:
        if data:
            arrival = self.now_ms + self.lag(self.now_ms)
            self.line.append((max(arrival, self.line[-1][0] if self.line else 0), data))

    def note(self, effects: list[Action | SafeOutput]) -> None:
        for effect in effects:
            if isinstance(effect, Action):
                number = round(effect.values[0] * 2 * NAMES)
                self.obeyed.append((self.now_ms, (self.now_ms // PERIOD_MS - number) % NAMES * PERIOD_MS))
            else:
                self.safe.append(self.now_ms)
