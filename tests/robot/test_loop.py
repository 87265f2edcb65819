"""The one loop, with a real bridge and a simulated robot: what is sent, what is recorded, how it ends."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run, steady
from firmware_bridge.events import Event, Gap, Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.support.robots import small_robot


def controller(text: str = small_robot.CONFIG) -> Controller:
    return Controller(small_robot.model(), parse_config(text, "robot.toml", Path()))


class Notes:
    """A sink that writes down what it is given, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def received(self, chunk: Chunk) -> None:
        self.seen.append(("received", chunk))

    def sent(self, t_ns: int, data: bytes) -> None:
        self.seen.append(("sent", (t_ns, data)))

    def unsent(self, t_ns: int, data: bytes) -> None:
        self.seen.append(("unsent", (t_ns, data)))

    def event(self, event: Event) -> None:
        self.seen.append(("event", event))

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None:
        self.seen.append((topic, (t_ns, dict(values))))

    def all(self, kind: str) -> list:
        return [what for name, what in self.seen if name == kind]


def test_every_reading_is_stepped_and_answered():
    """Two seconds of a robot at 500 Hz: each reading gives one step and one action that reaches the robot."""
    port = SimulatedPort(Robot(1, 500.0), 2.0)
    summary = run(port, Bridge(), controller())
    assert summary.readings == summary.steps == summary.actions > 980
    assert (summary.lost, summary.damaged, summary.resets, summary.reconnects) == (0, {}, 0, 0)
    assert port.robot.device.counters.actions == summary.actions
    assert summary.digest == small_robot.model().digest


def test_the_robot_is_safe_when_the_loop_has_ended():
    """However the loop ends, the last thing sent is STOP, and the motors are off."""
    port = SimulatedPort(Robot(1), None)
    driving = []

    class Stopping(Notes):
        def sent(self, t_ns: int, data: bytes) -> None:
            super().sent(t_ns, data)
            if len(self.seen) > 500:
                driving.append(port.robot.drive.torque_limits)
                port.stop()

    run(port, Bridge(), controller(), Stopping())
    assert driving[0] != (0.0, 0.0)
    assert port.robot.drive.torque_limits == (0.0, 0.0)


def test_an_error_in_the_loop_stops_the_robot_first():
    """A configuration that does not fit the robot raises, and STOP has been sent and recorded before."""
    port, notes = SimulatedPort(Robot(1), 2.0), Notes()
    with pytest.raises(ConfigError, match="imu_wheel'"):
        run(port, Bridge(), controller(small_robot.CONFIG.replace("imu_wheels", "imu_wheel")), notes)
    written = port.stats.bytes_written
    assert written == sum(len(data) for _, data in notes.all("sent"))
    assert port.robot.drive.torque_limits == (0.0, 0.0)


def test_the_sink_sees_bytes_before_and_after_and_what_they_meant():
    """Received chunks come first, then what was sent because of them at the same time, then events and values."""
    notes = Notes()
    summary = run(SimulatedPort(Robot(1), 1.0), Bridge(), controller(), notes)
    readings = [event for event in notes.all("event") if isinstance(event, Reading)]
    outputs, actions = notes.all("/outputs"), notes.all("/actions/motor_limits")
    assert len(readings) == len(outputs) == len(actions) == summary.readings
    assert [t for t, _ in outputs] == [reading.t_ns for reading in readings]
    assert list(outputs[0][1]) == ["slip_left", "slip_right", "stall_left", "stall_right", "_not_real"]
    assert list(actions[0][1]) == ["torque_limit_left", "torque_limit_right"]
    now = None
    for kind, what in notes.seen:
        if kind == "received":
            now = what.t_ns
        elif kind == "sent":
            assert what[0] == now
            assert what[1]


def test_seconds_are_those_of_the_port_and_nothing_of_the_next_chunk_is_used():
    """The loop ends with the first chunk that is too late, and that chunk is neither recorded nor stepped."""
    notes = Notes()
    summary = run(SimulatedPort(Robot(1), 5.0), Bridge(), controller(), notes, seconds=1.5)
    chunks = notes.all("received")
    assert 1.48 <= summary.seconds < 1.5
    assert chunks[-1].t_ns - chunks[0].t_ns < 1.5e9
    assert notes.all("sent")[-1][0] == chunks[-1].t_ns


def test_nothing_is_lost_in_silence():
    """With damage, resets and unplugging: each reading is stepped or counted, and the summary has every counter."""
    port = SimulatedPort(Robot(2), 40.0, Faults(3, Rates(flip=2e-4, lose=1e-4, cut=1e-4, reset=0.2, unplug=0.1)))
    notes = Notes()
    summary = run(port, Bridge(), controller(), notes)
    gaps = [event for event in notes.all("event") if isinstance(event, Gap)]
    assert summary.lost == sum(gap.count for gap in gaps) > 0
    assert summary.gaps == len(gaps)
    assert summary.resets > 0
    assert summary.reconnects > 0
    assert sum(summary.damaged.values()) > 0
    assert summary.readings == summary.steps + summary.counts["missing"] + summary.counts["refused"]


def test_a_port_without_a_single_chunk_is_a_summary_of_nothing():
    """A port that ends at once gives zeros, not an error."""

    class Empty(SimulatedPort):
        def chunks(self) -> Iterator[Chunk]:
            return iter(())

    summary = run(Empty(Robot(1)), Bridge(), controller())
    assert (summary.readings, summary.seconds, summary.device, summary.latency_p99_ms) == (0, 0.0, "", None)


def test_steady_leaves_the_interpreter_as_it_was():
    """Garbage collection and switch interval are back after a run, also after an error."""
    before = sys.getswitchinterval()

    def fails() -> None:
        with steady():
            assert not gc.isenabled()
            assert sys.getswitchinterval() < before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert gc.isenabled()
    assert sys.getswitchinterval() == before


def test_the_loop_collects_garbage_itself_while_the_collector_is_off():
    """In a steady run, cycles that were left behind do not pile up without end."""
    left = []

    class Littering(Notes):
        def received(self, chunk: Chunk) -> None:
            for _ in range(50):
                cycle: list[object] = []
                cycle.append(cycle)
            left.append(gc.get_count()[0])

    with steady():
        run(SimulatedPort(Robot(1, 500.0), 2.0), Bridge(), controller(), Littering())
    assert len(left) * 50 > 40_000
    assert max(left) < 20_000
