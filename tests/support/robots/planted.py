"""A robot at 500 Hz that runs until it is told to go slow: each cause of a late answer, planted on purpose.

    python -m tests.support.robots.planted CAUSE COUNT
Prints one JSON line: how many were planted, and what `LateAnswers` called each.

Its rule: the loop is the real one (port on a descriptor, link of lines, controller, recorder), pinned to one core. Each
planting lasts `LATE_MS`, long against what a busy machine does by itself, and they come `APART_S` apart.
"""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import pty
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_lstm.daemon import late as names
from edge_lstm.daemon.late import LateAnswers
from edge_lstm.daemon.observed import ObservedPort
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run, steady
from firmware_bridge.ports.serial_port import SerialPort
from tests.support.robots import small_robot

HZ, LATE_MS, APART_S = 200, 40.0, 0.15
CONFIG = f"""
[model]
file = "model.npz"
[readings]
format = "imu"
[readings.channels]
wheel_speed_left = "a"
wheel_speed_right = "b"
current_left = "c"
current_right = "d"
[link]
dialect = "lines"
[link.reading.imu]
shape = "csv"
fields = ["a", "b", "c", "d"]
rate_hz = {HZ}
[realtime]
deadline_ms = 10
"""
EXPECTED = {
    "busy": names.OTHERS,
    "wire": names.LINK,
    "faults": names.FAULTS,
    "garbage": names.COLLECTION,
    "own": names.OWN,
}


def send(fd: int, core: int, gaps: Any) -> None:
    """The robot: a line each period, and a gap of `LATE_MS` where one is asked for."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    due = time.monotonic()
    while True:
        due += 1 / HZ
        if gaps.poll():
            gaps.recv()
            due += LATE_MS / 1000
        time.sleep(max(0.0, due - time.monotonic()))
        os.write(fd, b"1.0,2.0,3.0,4.0\n")


def occupy(core: int, asked: Any) -> None:
    """Another process on the loop's core, of a higher priority."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(30))
    while asked.recv():
        until = time.monotonic() + LATE_MS / 1000
        while time.monotonic() < until:
            pass


class Plantings:
    """What the loop does beside its work, when it is told to."""

    def __init__(self) -> None:
        self.wanted = ""
        self.heap: list[list[int]] = []
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
            file.truncate(1 << 28)
            for _ in range(1 << 8):
                file.write(os.urandom(1 << 20))
            file.flush()
            os.fsync(file.fileno())
            self.fd = os.dup(file.fileno())
        self.pages = mmap.mmap(self.fd, 1 << 28, prot=mmap.PROT_READ)
        self.pages.madvise(mmap.MADV_RANDOM)
        self.page = 0

    def cold(self) -> None:
        """No page of the file is in memory."""
        self.pages.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def handle(self, inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def handle(event: Any) -> Any:
            wanted, self.wanted = self.wanted, ""
            until = time.monotonic() + LATE_MS / 1000
            if wanted == "faults":
                while time.monotonic() < until:
                    self.page = (self.page + 4096 * 17) % (1 << 28)
                    self.pages[self.page]
            elif wanted == "own":
                while time.monotonic() < until:
                    pass
            elif wanted == "garbage":
                import gc

                while time.monotonic() < until:
                    gc.collect()
            return inner(event)

        return handle


def measure(cause: str, count: int) -> dict[str, Any]:
    """So many plantings of one cause, and what each was called."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    tty.setraw(ours)
    context = multiprocessing.get_context("fork")
    gap, gaps = context.Pipe()
    ask, asked = context.Pipe()
    core, other = sorted(os.sched_getaffinity(0))[:2]
    helpers = [
        context.Process(target=send, args=(ours, other, gaps), daemon=True),
        context.Process(target=occupy, args=(core, asked), daemon=True),
    ]
    for helper in helpers:
        helper.start()
    name = os.ttyname(theirs)
    controller = Controller(small_robot.model(), parse_config(CONFIG, "robot.toml", Path()))
    late = LateAnswers(controller.config.deadline_ms)
    inner = SerialPort(name)
    bridge = controller.config.open_link()
    port, plantings = ObservedPort(inner, controller, bridge, late), Plantings()
    controller.handle = plantings.handle(controller.handle)  # type: ignore[method-assign, assignment]
    called: list[str] = []

    def plant() -> None:
        time.sleep(1.0)
        if cause == "garbage":
            plantings.heap = [[k] for k in range(300_000)]
        for _ in range(count):
            if cause == "faults":
                plantings.cold()
            time.sleep(APART_S)
            late.explain()
            late.latest.clear()
            if cause == "wire":
                gap.send(True)
            elif cause == "busy":
                ask.send(True)
            else:
                plantings.wanted = cause
            time.sleep(LATE_MS / 1000 + APART_S)
            late.explain()
            called.append(max(late.latest, key=lambda one: one[1])[2] if late.latest else "nothing")
        inner.stop()

    planter = threading.Thread(target=plant)
    os.sched_setaffinity(0, {core})
    with steady(), late.watching():
        planter.start()
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        summary = run(port, bridge, controller)
    planter.join()
    inner.close()
    for helper in helpers:
        helper.kill()
        helper.join()
    for fd in (ours, theirs, plantings.fd):
        os.close(fd)
    right = sum(one == EXPECTED[cause] for one in called)
    return {"cause": cause, "planted": count, "right": right, "called": called, "readings": summary.readings}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
