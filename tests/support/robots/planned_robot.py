"""The simulated robot behind a pseudo-terminal, in a process of its own, to which things happen when they are planned.

    python -m tests.support.robots.planned_robot LINK BOOKS RATE PLAN

PLAN is JSON: [kind, at s, for s] of each reset, silence and unplug. Its rule: it keeps books of its own, outside of
whatever looks at it: a row of `BOOK` for each reading it sent, each that found no room, and each thing that happened.
SIGTERM ends it in good order.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from firmware_bridge.simulator.drive import Truth
from firmware_bridge.simulator.faults import Faults, LinkEvent
from firmware_bridge.simulator.pty import Terminal, serve_board
from firmware_bridge.simulator.robot import Robot

# t_ns: the wall clock's; boot and t_device_us: which reading it is; kind: which of KINDS.
BOOK = np.dtype([("t_ns", "<i8"), ("boot", "<u4"), ("t_device_us", "<i8"), ("kind", "u1")])
KINDS = ("reading", "no room", "unplug", "plug", "reset")  # no room: the reading before it was dropped, not sent


class Planned(Faults):
    """Faults of the link at their times, none of bytes."""

    def __init__(self, plan: Sequence[tuple[Any, float, float]]) -> None:
        super().__init__()
        self._plan = sorted((round(at_s * 1e6), kind, round(for_s * 1e6)) for kind, at_s, for_s in plan)

    def due(self, t_us: int) -> list[LinkEvent]:
        found = []
        while self._plan and self._plan[0][0] <= t_us:
            at_us, kind, for_us = self._plan.pop(0)
            found.append(LinkEvent(kind, at_us, for_us))
        return found


class Booked(Robot):
    """A robot that writes down what it sends."""

    def __init__(self, rate_hz: float, book: Callable[..., None]) -> None:
        super().__init__(7, rate_hz)
        self._book = book
        self.on_reading = self._sent

    def reset(self) -> None:
        super().reset()
        self._book("reset")

    def dropped(self, frames: int) -> None:
        super().dropped(frames)
        self._book("no room")

    def _sent(self, t_device_us: int, boot_id: int, values: tuple[float, ...], truth: Truth) -> None:
        self._book("reading", boot_id, t_device_us)


class BookedTerminal(Terminal):
    """A terminal that writes down when it comes and goes."""

    def __init__(self, link: Path, book: Callable[..., None]) -> None:
        super().__init__(link)
        self._book = book

    def plug(self) -> None:
        super().plug()
        self._book("plug")

    def unplug(self) -> None:
        if self.plugged:
            self._book("unplug")
        super().unplug()


def main(link: str, books: str, rate_hz: str, plan: str) -> None:
    """The program."""
    told = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True

    signal.signal(signal.SIGTERM, end)
    with Path(books).open("wb", buffering=1 << 16) as file:
        row = np.zeros((), BOOK)

        def book(kind: str, boot_id: int = 0, t_device_us: int = 0) -> None:
            row[()] = (time.time_ns(), boot_id, t_device_us, KINDS.index(kind))
            file.write(row.tobytes())

        terminal = BookedTerminal(Path(link), book)
        serve_board(Booked(float(rate_hz), book), terminal, faults=Planned(json.loads(plan)), stop=lambda: told)


if __name__ == "__main__":
    main(*sys.argv[1:])
