"""The whole run over TCP and UDP: a robot on the network drives like one on a cable, and its recording replays to the
bits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import replay
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.ports.open_port import open_port
from firmware_bridge.ports.port import Port
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.robot import Robot
from tests.cli.test_live import until
from tests.firmware_bridge.ports.test_sockets import Server
from tests.support.free_port import free_port
from tests.support.robots import small_robot


class Networked(threading.Thread):
    """A robot behind a TCP server, in its own real time; it drops the connection once, after half a second."""

    def __init__(self) -> None:
        super().__init__()
        self.robot, self.server, self.connections = Robot(3), Server(), 0
        self.obeyed = 0  # actions, by when it was connected again

    def has_obeyed_again(self) -> bool:
        """Whether some actions came since it was connected again."""
        return self.connections > 1 and self.robot.device.counters.actions > self.obeyed + 20

    def run(self) -> None:
        begun = time.monotonic()
        for seconds in (0.5, 1e9):
            peer = self.server.accept()
            self.connections += 1
            self.obeyed = self.robot.device.counters.actions
            peer.settimeout(0.002)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    data = peer.recv(4096)
                except TimeoutError:
                    pass
                else:
                    if not data:
                        break  # the host has said goodbye
                    self.robot.receive(data)
                us = int((time.monotonic() - begun) * 1e6) - self.robot.now_us
                peer.sendall(self.robot.outgoing() + self.robot.advance(us))
            peer.close()
        self.server.hang_up()


def controller() -> Controller:
    return Controller(small_robot.model(), parse_config(small_robot.CONFIG, "robot.toml", Path()))


@contextmanager
def ended_when(port: Port, condition: Callable[[], bool]) -> Iterator[None]:
    """Around a run, which ends when it has come so far, however busy the machine is."""

    def end() -> None:
        with suppress(AssertionError):  # never: what the test looks at says so
            until(condition)
        port.stop()

    thread = threading.Thread(target=end)
    thread.start()
    yield
    thread.join()


def test_a_drive_over_tcp_replays_to_the_same_bits(tmp_path: Path) -> None:
    """Connected, lost and connected again: every reading is answered, the robot obeys and is safe at the end, and the
    recording sends the same bytes again."""
    robot = Networked()
    robot.start()
    port, recorder = open_port(robot.server.name), Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    try:
        with ended_when(port, robot.has_obeyed_again):
            summary = run(port, Bridge(), controller(), recorder)
    finally:
        port.close()
        recorder.close()
        robot.join(60)
    assert not robot.is_alive()
    assert (robot.connections, summary.reconnects) == (2, 1)
    assert summary.damaged == {}
    assert summary.readings == summary.steps > 20
    assert robot.robot.device.counters.actions > 20
    assert robot.robot.drive.torque_limits == (0.0, 0.0)
    again, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), controller())
    assert comparison.same, comparison.sentence()
    assert again.counts == summary.counts


def test_a_drive_over_udp_replays_to_the_same_bits(tmp_path: Path) -> None:
    """A robot that sends datagrams to where we listen: heard, answered, obeyed, safe at the end, the same again."""
    robot, number, ended = Robot(3), free_port(socket.SOCK_DGRAM), threading.Event()

    def live() -> None:
        begun = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
            board.settimeout(0.002)
            while not ended.is_set():
                us = int((time.monotonic() - begun) * 1e6) - robot.now_us
                board.sendto(robot.outgoing() + robot.advance(us), ("127.0.0.1", number))
                try:
                    robot.receive(board.recv(4096))
                except (TimeoutError, ConnectionRefusedError):
                    continue

    port, recorder = open_port(f"udp://:{number}"), Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with ended_when(port, lambda: robot.device.counters.actions > 20):
            summary = run(port, Bridge(), controller(), recorder)
        until(lambda: robot.drive.torque_limits == (0.0, 0.0))
    finally:
        ended.set()
        thread.join(60)
        port.close()
        recorder.close()
    assert robot.drive.torque_limits == (0.0, 0.0)
    assert summary.damaged == {}
    assert summary.readings == summary.steps > 20
    assert robot.device.counters.actions > 20
    again, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), controller())
    assert comparison.same, comparison.sentence()
    assert again.counts == summary.counts
