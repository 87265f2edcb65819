"""A robot that is not the one robot.toml means: it is obeyed in nothing, said once, and waited past."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from edge_lstm.cli.report import run_lines
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Hello, Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.remembered import Tree
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.robots import small_robot


def controller(more: str = "") -> Controller:
    return Controller(small_robot.model(), parse_config(small_robot.CONFIG + more, "robot.toml", Path()))


def dictionary(rate_hz: float = 200.0) -> Dictionary:
    return Robot(0, rate_hz).device.dictionary


def reading(k: int) -> Reading:
    fields = dictionary()["imu_wheels"].fields
    return Reading(k * 5_000_000, "imu_wheels", k, k * 5000, tuple(0.1 * n for n in range(len(fields))))


SOMEBODY_ELSES = {"action_age_us": 1000, "action_age_max_us": 1000, "late_at_device": 0}  # obeyed before this run
HOLD = '[policy]\nmissing = "hold"\nlongest_gap = 1000\n'


def test_between_two_meetings_with_the_right_robot_nothing_is_decided():
    """After another robot's Hello its readings and its silence come to nothing; the right one is bound anew."""
    mine, other = dictionary(), dictionary(100.0)
    one = controller(f'[robot]\ndictionary = "{mine.digest.hex()}"\n{HOLD}')
    one.handle(Hello(0, mine.device, mine.version, 1, mine))
    decision = one.handle(reading(1))
    assert decision is not None
    assert decision.action is not None
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"\[robot\] dictionary: is .*, but the robot at the port says"):
            one.handle(Hello(6_000_000, other.device, other.version, 2, other))
        assert one.handle(reading(2)) is None
        assert one.silence(10_000_000_000) is None
    steps = one.counts.steps
    assert one.handle(Hello(11_000_000_000, mine.device, mine.version, 3, mine)) is not None
    assert one.silence(11_100_000_000) is None  # nothing has come from it yet, so nothing is overdue
    again = one.handle(reading(3000))
    assert again is not None
    assert again.action is not None
    assert one.counts.steps == steps + 1


@pytest.mark.parametrize(("key", "value"), [("device", "other"), ("version", "9"), ("dictionary", "0" * 16)])
def test_a_robot_of_another_identity_gets_no_action(key: str, value: str):
    """Each key of [robot] alone keeps the loop from another robot: said once, noted once, no action, motors off."""
    port, said = SimulatedPort(Robot(1), 2.5), list[str]()
    one = controller(f'[robot]\n{key} = "{value}"\n')
    summary = run(port, Bridge(), one, unfit=said.append)
    assert len(said) == 1
    assert f"[robot] {key}: is {value!r}" in said[0]
    assert sum("does not fit" in note for note in summary.notes) == 1
    assert (summary.steps, summary.actions, port.robot.device.counters.actions) == (0, 0, 0)
    assert port.robot.drive.torque_limits == (0.0, 0.0)
    # Nothing was obeyed, so there are no times of it; and who never was there is not gone.
    others = replace(summary, link=summary.link | SOMEBODY_ELSES, latency_p99_ms=1.0)  # of a handshake
    lines = "\n".join(run_lines(others, one.model))
    assert "no reading has come in 2." in lines
    for word in ("latency", "age of obeyed", "was gone"):
        assert word not in lines


@pytest.mark.parametrize("wrong", ['[robot]\nversion = "9"\n', '[readings.channels]\ncurrent_left = "nowhere"\n'])
def test_what_is_remembered_of_it_does_not_depend_on_where_the_file_lies(wrong: str):
    """Why a robot does not fit, in [robot] and in a mapping that does not bind, is the same in each keyframe wherever
    robot.toml lies, as in a replay."""
    kept: list[list[Tree]] = []
    for folder in (Path("there"), Path("here")):
        config = parse_config(small_robot.CONFIG + wrong, str(folder / "robot.toml"), folder)
        keyframes, said = Keeper(), list[str]()
        run(
            SimulatedPort(Robot(1), 2.5),
            Bridge(),
            Controller(small_robot.model(), config),
            unfit=said.append,
            keyframes=keyframes,
        )
        assert said
        assert str(folder) in said[0]
        kept.append(keyframes.states)
    assert "does not fit" in str(kept[0][-1]["loop"])
    assert kept[0] == kept[1]


class Keeper:
    """Takes a keyframe of each chunk."""

    def __init__(self) -> None:
        self.states: list[Tree] = []

    def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
        return True

    def keyframe(self, t_ns: int, state: Tree) -> None:
        self.states.append(deepcopy(state))


def test_a_robot_of_the_right_identity_is_driven():
    """All three keys as the robot declares them."""
    mine = dictionary()
    pinned = f'[robot]\ndevice = "{mine.device}"\nversion = "{mine.version}"\ndictionary = "{mine.digest.hex()}"\n'
    said: list[str] = []
    assert run(SimulatedPort(Robot(1), 1.0), Bridge(), controller(pinned), unfit=said.append).actions > 50
    assert not said


def test_without_anybody_to_tell_it_is_an_error():
    """A program that does not say what is to become of such a robot gets the ConfigError, as before."""
    with pytest.raises(ConfigError, match=r"\[robot\] version"):
        run(SimulatedPort(Robot(1), 1.0), Bridge(), controller('[robot]\nversion = "9"\n'))
