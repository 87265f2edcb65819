"""The robot behind a real pseudo-terminal, as a serial port sees it."""

from __future__ import annotations

import csv
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware_bridge.errors import PortError
from firmware_bridge.events import Event, Gap, Hello, Lost, Opened, Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.framing import READING, Deframer, Frame
from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.simulator import pty
from firmware_bridge.simulator.faults import Faults, LinkEvent
from firmware_bridge.simulator.pty import Served, Terminal, serve
from firmware_bridge.simulator.robot import ACTION, READING_FIELDS, Robot
from firmware_bridge.values import Action, Chunk


class Background:
    """`serve` in a thread; `result` after the block."""

    result: Served


@contextmanager
def served(robot: Robot, link: Path, **options: object) -> Iterator[Background]:
    background, ready, done = Background(), threading.Event(), threading.Event()

    def body() -> None:
        background.result = serve(robot, link, stop=done.is_set, ready=lambda _: ready.set(), **options)  # type: ignore[arg-type]

    thread = threading.Thread(target=body)
    thread.start()
    try:
        assert ready.wait(10)
        yield background
    finally:
        done.set()
        thread.join(10)
    assert not thread.is_alive()


def converse(port: SerialPort, enough: Callable[[Bridge], bool]) -> list[Event]:
    """Run a host on the port until it has seen enough (or 20 s have passed, then the caller's assertions fail)."""
    bridge, events = Bridge(), list[Event]()
    deadline = time.monotonic() + 20
    for chunk in port.chunks():
        for event in bridge.receive(chunk):
            events.append(event)
            if isinstance(event, Reading):
                port.write(bridge.send(chunk.t_ns, Action(ACTION, (0.6, 0.6))))
        port.write(bridge.outgoing())
        if enough(bridge) or time.monotonic() > deadline:
            port.write_last(bridge.stop(chunk.t_ns), b"\0")  # a full buffer must not swallow it
            break
    port.close()
    return events


def count(events: list[Event], kind: type[Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


@pytest.mark.parametrize("rate_hz", [200.0, 1000.0, 5000.0])
def test_a_serial_port_gets_every_reading(tmp_path: Path, rate_hz: float) -> None:
    """At any rate a host gets all that was not counted as dropped; after it the robot is safe and the link gone."""
    robot, link = Robot(1, rate_hz), tmp_path / "robot"
    with served(robot, link) as background:
        assert os.path.realpath(link).startswith("/dev/pts/")
        events = converse(SerialPort(str(link)), lambda bridge: bridge.counters.readings >= rate_hz)
        deadline = time.monotonic() + 5
        while robot.device.state != "idle" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert robot.device.state == "idle"
    assert count(events, Reading) >= rate_hz
    # On a machine that is too busy even the large buffer may overflow; nothing else may be missing.
    assert sum(event.count for event in events if isinstance(event, Gap)) <= background.result.dropped_frames
    assert robot.drive.torque_limits == (0.0, 0.0)
    assert background.result.readings == robot.drive.readings
    assert not link.is_symlink()
    assert list(tmp_path.iterdir()) == []


class UnplugOnce(Faults):
    """Unplugs for 0.3 s, once it is said `now`."""

    now = False

    def due(self, t_us: int) -> list[LinkEvent]:
        if not self.now:
            return []
        self.now = False
        return [LinkEvent("unplug", t_us, 300_000)]


def test_unplugging_takes_the_link_away_and_brings_it_back(tmp_path: Path) -> None:
    """A real serial port sees Lost, finds the new pseudo-terminal under the same name, and drives on."""
    link, faults, said = tmp_path / "robot", UnplugOnce(), list[int]()

    def enough(bridge: Bridge) -> bool:
        """Unplugged after 100 readings, and 100 more after that."""
        readings = bridge.counters.readings
        if readings > 100 and not said:
            said.append(readings)
            faults.now = True
        return bool(said) and bridge.counters.hellos == 2 and readings > said[0] + 100

    with served(Robot(1), link, faults=faults) as background:
        first = os.path.realpath(link)
        events = converse(SerialPort(str(link)), enough)
        assert link.is_symlink()
    assert count(events, Lost) >= 1
    assert count(events, Opened) == 2
    assert count(events, Hello) == 2
    assert isinstance(events[-1], Reading)
    assert background.result.unplugged == 1
    assert first.startswith("/dev/pts/")


def test_a_host_that_falls_silent_leaves_a_safe_robot(tmp_path: Path) -> None:
    """A host that dies without a farewell: the robot switches its motors off by itself and keeps its time."""
    robot, link = Robot(2), tmp_path / "robot"
    with served(robot, link):
        port = SerialPort(str(link))
        bridge = Bridge()
        deadline = time.monotonic() + 10
        for chunk in port.chunks():
            for event in bridge.receive(chunk):
                if isinstance(event, Reading):
                    port.write(bridge.send(chunk.t_ns, Action(ACTION, (0.5, 0.5))))
            port.write(bridge.outgoing())
            if bridge.counters.readings > 50 or time.monotonic() > deadline:
                break
        assert robot.drive.torque_limits == pytest.approx((0.5, 0.5))
        port.close()
        while robot.device.state == "running" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert robot.device.state == "safe"
        assert robot.drive.torque_limits == (0.0, 0.0)


def test_nobody_reads_and_only_whole_frames_are_dropped(tmp_path: Path) -> None:
    """A full buffer never blocks the robot; what arrives are intact frames, and the rest is counted."""
    robot, terminal = Robot(3, 5000.0), Terminal(tmp_path / "robot")
    terminal.plug()
    bridge = Bridge()
    while bridge.state != "running":  # the handshake, without the terminal
        bridge.receive(Chunk(robot.now_us * 1000, robot.advance(1000) + robot.outgoing()))
        robot.receive(bridge.outgoing())
        assert robot.now_us < 1_000_000
    host = os.open(tmp_path / "robot", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    frames = dropped = 0
    received, deframer = [], Deframer()
    try:
        for k in range(3000):
            data = robot.advance(1000)
            frames += data.count(0) - data.startswith(b"\0")
            dropped += terminal.write(data)[1]
            if k > 1500 and k % 7 == 0 and select.select([host], [], [], 0)[0]:
                received += deframer.feed(os.read(host, 1500))
        while select.select([host], [], [], 0.05)[0]:
            received += deframer.feed(os.read(host, 65536))
            terminal.write(b"")  # the rest of a frame that was begun
    finally:
        os.close(host)
        terminal.unplug()
    assert dropped > 1000
    assert all(isinstance(item, Frame) for item in received)
    assert abs(len(received) + dropped - frames) <= 2  # a HELLO begins with a delimiter of its own
    sequence = [item.seq for item in received if isinstance(item, Frame) and item.type == READING]
    assert sequence == sorted(sequence)


def test_the_truth_file_holds_every_reading(tmp_path: Path) -> None:
    """One row per reading with device time, truth, boot id and the readings under names with units."""
    robot, path = Robot(1, 500.0), tmp_path / "truth.csv"
    result = serve(robot, tmp_path / "robot", seconds=0.5, truth_path=path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert result.seconds == pytest.approx(0.5)
    assert len(rows) == result.readings == 250
    assert [int(row["t_device_us"]) for row in rows] == [2000 * (k + 1) for k in range(250)]
    assert {row["boot_id"] for row in rows} == {str(robot.device.boot_id)}
    assert list(rows[0])[:5] == ["t_device_us", "slip_left", "slip_right", "stall_left", "stall_right"]
    assert "wheel_speed_left (rad/s)" in rows[0]
    assert len(rows[0]) == 6 + len(READING_FIELDS)
    assert robot.on_reading is None


def test_a_stale_link_is_replaced_and_a_foreign_file_refused(tmp_path: Path) -> None:
    """A link to a pseudo-terminal of the past is taken over; a file, a folder or another link is left alone."""
    link = tmp_path / "robot"
    link.symlink_to("/dev/pts/987654")
    assert serve(Robot(0), link, seconds=0.02).readings == 4
    assert not link.is_symlink()
    link.write_text("precious")
    with pytest.raises(PortError, match="is no link of a simulator"):
        serve(Robot(0), link, seconds=0.02)
    assert link.read_text() == "precious"
    other = tmp_path / "other"
    other.symlink_to(link)
    with pytest.raises(PortError, match="is no pseudo-terminal"):
        serve(Robot(0), other, seconds=0.02)
    assert other.is_symlink()
    with pytest.raises(PortError, match="cannot be made"):
        serve(Robot(0), tmp_path / "missing" / "robot", seconds=0.02)


def test_whatever_ends_it_the_link_is_removed(tmp_path: Path) -> None:
    """An exception out of `stop`, as a signal handler would raise it, leaves no link and no open file behind."""
    link = tmp_path / "robot"
    before = len(list(Path("/proc/self/fd").iterdir()))

    def stop() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(Robot(0), link, stop=stop, truth_path=tmp_path / "truth.csv")
    assert not link.is_symlink()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nobody_is_told_of_the_past_by_a_robot_that_speaks_unasked(tmp_path: Path) -> None:
    """With patience: what nobody has read for so long is dropped, here and in the system; then the newest is sent."""
    terminal = Terminal(tmp_path / "robot", b"\n", patience_s=0.1)
    terminal.plug()
    host = os.open(tmp_path / "robot", os.O_RDWR | os.O_NOCTTY)
    try:
        line, dropped, begun = b"x" * 99 + b"\n", 0, time.monotonic()
        while time.monotonic() - begun < 0.5:
            dropped += terminal.write(line * 100)[1]
            time.sleep(0.01)
        time.sleep(0.15)
        dropped += terminal.write(line)[1]
        assert dropped > 100
        time.sleep(0.05)
        assert not select.select([host], [], [], 0)[0]
        assert terminal.write(b"new\n") == (4, 0)
        assert os.read(host, 65536) == b"new\n"
    finally:
        os.close(host)
        terminal.unplug()


def test_what_the_host_sends_arrives_when_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes 3 ms after a reading find the board's clock there: the age of an action is that of its answer."""
    clock_ns, heard_us = [0], list[int]()

    class Heard(Robot):
        def receive(self, data: bytes) -> None:
            heard_us.append(self.now_us)
            super().receive(data)

    class Answered(Terminal):
        plugged = True

        def plug(self) -> None: ...

        def unplug(self) -> None: ...

        def wait(self, seconds: float) -> bytes:
            step_ns = min(3_000_000, round(seconds * 1e9))
            clock_ns[0] += step_ns
            return b"\0" if step_ns == 3_000_000 else b""

        def write(self, data: bytes) -> tuple[int, int]:
            return len(data), 0

    monkeypatch.setattr(pty, "time", SimpleNamespace(monotonic_ns=lambda: clock_ns[0], monotonic=time.monotonic))
    pty.serve_board(Heard(1, 100.0), Answered(Path("robot")), seconds=0.05)
    assert heard_us[:6] == [3000, 6000, 9000, 13_000, 16_000, 19_000]
