"""[inputs] and [outputs] of robot.toml in the controller: units, previous outputs, filters, what is missing, replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.recorded import read_recording
from edge_lstm.robot.replay import Rows, RowTexts, replay
from edge_lstm.signals.runtime import Signals
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Gap, Hello, Reading, Reset
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.robots import small_robot

IMU = Format("imu", 1, "reading", (Field("gyro", "f64", "deg/s"), Field("speed", "f64", "m/s")), rate_hz=100)
COMMAND = Format("command", 2, "reading", (Field("speed", "f64", "m/s"),))
DRIVE = Format(
    "drive",
    3,
    "action",
    (Field("a", "f64", "", minimum=-9, maximum=9, safe=0), Field("b", "f64", "", minimum=-9, maximum=0.3, safe=0)),
    max_age_ms=0,
)
ROBOT = Dictionary((IMU, COMMAND, DRIVE), "walker", "1", protocol=2)
CHANNELS = (
    Channel("gyro", "rad/s"),
    Channel("speed", "m/s"),
    Channel("wanted"),
    Channel("last[0]"),
    Channel("last[1]"),
)
OUTPUTS = (Channel("y[0]"), Channel("y[1]"))
CONFIG = """
[model]
file = "model.npz"
[readings]
format = "imu"
[inputs.speed]
from = "speed"
do = [ { low_pass_hz = 5 } ]
[inputs.wanted]
from = "command.speed"
default = 0.5
max_age_ms = 200
[inputs.last]
previous = "targets"
[outputs.targets]
from = "y"
do = [ { scale = 2 }, { offset = [-1, -1] }, { slew_per_s = 20 } ]
[action]
format = "drive"
from = "targets"
[policy]
missing = "POLICY"
longest_gap = 20
"""
MS = 1_000_000
RATES = Rates(flip=2e-4, lose=1e-4, double=1e-4, cut=1e-4, silence=0.2, reset=0.2, unplug=0.1)
FEEDBACK = (Feedback("slip_left", "wheel_speed_left"), Feedback("stall_right", "current_right"))


def model() -> Model:
    return small_robot.model(CHANNELS, OUTPUTS)


def controller(policy: str = "hold", text: str = CONFIG) -> Controller:
    return Controller(model(), parse_config(text.replace("POLICY", policy), "robot.toml", Path()))


def hello() -> Hello:
    return Hello(0, "walker", "1", 1, ROBOT)


def imu(k: int, gyro: float = 90.0, speed: float = 1.0) -> Reading:
    return Reading(k * 10 * MS, "imu", k, k * 10_000, (gyro, speed))


def command(k: int, speed: float) -> Reading:
    return Reading(k * 10 * MS, "command", k, k * 10_000, (speed,))


def test_a_tick_goes_through_inputs_model_and_outputs():
    """By hand, step by step: units converted and said, the command by its age, what was said before carried over, the
    action the targets within the robot's own limits."""
    made = controller()
    first = made.handle(hello())
    assert first is not None
    assert first.notes == ("'gyro' is fed by 'gyro', converted from deg/s to rad/s",)
    binding = first.binding
    assert binding.output_names == ("y[0]", "y[1]", "targets[0]", "targets[1]")
    assert binding.feed.names == ("speed", "command.speed", "gyro")
    stream = model().stream()
    assert binding.feed.inputs is not None
    signals = Signals(binding.feed.inputs, model(), binding.feed.outputs)
    random = np.random.default_rng(1)
    told = 0.5
    for k in range(60):
        if k == 20:
            made.handle(command(k, 1.5))
        told = 1.5 if 20 <= k <= 40 else 0.5
        gyro, speed = random.normal(0, 90, 2).tolist()
        decision = made.handle(imu(k, gyro, speed))
        channels = signals.channels([speed, told, gyro])
        assert channels[0] == np.float32(gyro) * np.float32(np.pi / 180)
        y = stream.step(channels)
        assert y is not None
        assert decision is not None
        assert decision.outputs == signals.outputs(y)
        assert decision.action is not None
        a, b = decision.outputs[2:]
        assert decision.action.values == (a, min(b, 0.3))
    assert (made.counts.steps, made.counts.patched) == (60, 0)


@pytest.mark.parametrize(("said", "silent"), [("a", "b"), ("b", "a")])
def test_what_stands_in_for_a_field_of_two_channels_is_said_for_both(said: str, silent: str):
    """Where a unit is converted both are made of one number: neither what is said nor the policy counts for both."""
    two = small_robot.model((Channel("a", "m/s"), Channel("b", "m/s"), Channel("gyro", "rad/s")), OUTPUTS)
    text = '[model]\nfile = "m.npz"\n[readings]\nformat = "imu"\n[readings.channels]\na = "speed"\nb = "speed"\n'
    text += f"[readings.missing]\n{said} = 7\n"
    with pytest.raises(ConfigError, match=rf"\[readings.missing\] {silent}: is missing: 'speed' feeds several"):
        Controller(two, parse_config(text, "robot.toml", Path())).handle(hello())
    both = Controller(two, parse_config(f"{text}{silent} = 7\n", "robot.toml", Path()))
    both.handle(hello())
    decision = both.handle(imu(0, speed=float("nan")))
    assert decision is not None
    assert sorted(decision.row or ()) == [7.0, 90.0]


def test_a_rate_that_only_the_model_says_is_said():
    """Filters and slew rates count on it; a robot that sends at another rate would make other numbers of them."""
    unsaid = Dictionary((replace(IMU, rate_hz=None), COMMAND, DRIVE), "walker", "1", protocol=2)
    timed = Controller(
        replace(model(), rate_hz=50), parse_config(CONFIG.replace("POLICY", "hold"), "robot.toml", Path())
    )
    decision = timed.handle(Hello(0, "walker", "1", 1, unsaid))
    assert decision is not None
    assert "'imu' comes: low_pass_hz, slew_per_s count on the 50 Hz that the model was made for" in decision.notes[1]


def test_a_unit_alone_is_converted_without_any_table():
    """A model in rad/s on a robot in deg/s needs nothing in the file; a unit of another kind is refused."""
    text = '[model]\nfile = "m"\n[readings]\nformat = "imu"'
    plain = Controller(small_robot.model(CHANNELS[:2], OUTPUTS), parse_config(text, "robot.toml", Path()))
    first = plain.handle(hello())
    assert first is not None
    assert "converted from deg/s to rad/s" in first.notes[0]
    decision = plain.handle(imu(0, 180.0, 2.0))
    y = (
        small_robot.model(CHANNELS[:2], OUTPUTS)
        .stream()
        .step(np.float32([np.float32(180) * np.float32(np.pi / 180), 2]))
    )
    assert decision is not None
    assert y is not None
    assert decision.outputs == y.tolist()
    wrong = small_robot.model((Channel("gyro", "V"), Channel("speed")), OUTPUTS)
    with pytest.raises(ConfigError, match=r"\[readings.channels\] gyro: the model expects 'V', but the robot's field"):
        Controller(wrong, parse_config(text, "robot.toml", Path())).handle(hello())


def outputs(made: Controller, *events: object) -> list[list[float] | None]:
    """Of each tick among the events."""
    decisions = [made.handle(event) for event in (hello(), *events)]  # type: ignore[arg-type]
    return [decision.outputs for decision in decisions if decision is not None and decision.row is not None]


NAN = float("nan")


def test_where_the_policy_holds_raw_numbers_are_held():
    """A missing number, and readings that are lost, are as if the held ones had come: filters and targets go on."""
    held = outputs(controller(), imu(0, 10, 1), imu(1, NAN, 2), Gap(0, "imu", 2, 2), imu(4, 30, 3))
    same = outputs(controller(), imu(0, 10, 1), imu(1, 10, 2), imu(2, 10, 2), imu(3, 10, 2), imu(4, 30, 3))
    assert held == [same[0], same[1], same[4]]


def test_where_it_skips_nothing_moves():
    """A reading with a hole, and lost ones, leave filters, outputs and what is carried over as they were."""
    skipped = outputs(controller("skip"), imu(0, 10, 1), imu(1, NAN, 2), Gap(0, "imu", 2, 2), imu(4, 30, 3))
    same = outputs(controller("skip"), imu(0, 10, 1), imu(1, 30, 3))
    assert skipped == [same[0], None, same[1]]


def test_what_stands_in_for_a_late_reading_is_taken_back():
    """Outputs while a reading is late move filters and targets; when it comes, it is as if it had been on time."""
    late, on_time = controller(), controller()
    outputs(late, imu(0), imu(1))
    outputs(on_time, imu(0), imu(1))
    acted = late.silence(70 * MS)
    assert acted is not None
    assert acted.action is not None
    assert outputs(late, imu(2, 50, 4), imu(3)) == outputs(on_time, imu(2, 50, 4), imu(3))


@pytest.mark.parametrize("on_reset", ["reset", "keep"])
def test_a_reset_is_of_inputs_and_outputs_too(on_reset: str):
    """`reset`: as new; `keep`: filters and what is carried over go on."""
    made = controller(text=CONFIG + f'on_reset = "{on_reset}"\n')
    first = outputs(made, imu(0, 10, 1), imu(1, 20, 2), Reset(0, 2), imu(2, 10, 1))
    assert (first[0] == first[2]) == (on_reset == "reset")


SIMULATED = """
[link]
ask_first = true
[model]
file = "model.npz"
[readings]
format = "imu_wheels"
[inputs.wheel_speed_left]
from = "wheel_speed_left"
do = [ { low_pass_hz = 20 } ]
[inputs.current_right]
previous = "stall_right"
[outputs.limits]
from = ["stall_left", "stall_right"]
do = [ { scale = -0.5 }, { offset = 1 }, { low_pass_hz = 10 }, { clip = [0.1, 1] } ]
unit = "N m"
[action]
format = "motor_limits"
from = "limits"
[policy]
missing = "POLICY"
longest_gap = 100
on_reset = "keep"
"""


@pytest.mark.parametrize("policy", ["skip", "hold", "predict"])
def test_a_run_with_faults_replays_to_the_same_bits(policy: str, tmp_path: Path):
    """Damage, silence, resets and unplugging: every write and every derived message again, numbers of [outputs] among
    them, in the table of the replay and with the recording as a series."""

    def made() -> Controller:
        text = SIMULATED.replace("POLICY", policy)
        feedback = small_robot.model() if policy != "predict" else small_robot.model(feedback=FEEDBACK)
        return Controller(feedback, parse_config(text, "robot.toml", Path()))

    held = {"robot.toml": SIMULATED.replace("POLICY", policy).encode()}
    recorder = Recorder(tmp_path / "run.mcap", {}, held, wait=True)
    run(SimulatedPort(Robot(4), 6.0, Faults(5, RATES)), Bridge(ask_first=True), made(), recorder)
    recorder.close()
    blocks: list[Rows] = []
    summary, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), made(), rows=blocks.append, derived=True)
    assert comparison.same, comparison.sentence()
    assert comparison.writes > 300
    assert summary.gaps > 0
    assert "limits[1]" in RowTexts(blocks[0]).header
    assert (summary.counts["filled"] > 0) == (policy != "skip")
    series = read_recording(tmp_path / "run.mcap", small_robot.model())
    assert series.xs.shape == (sum(len(block.t_ns) for block in blocks), 4)
    assert series.xs[1, 3] == np.float32(blocks[0].output_values[0, 3])


MISTAKES = [
    ('from = "targets"', 'from = "target"', "[action] from: neither the model 'small' nor [outputs] has 'target'; did"),
    ('from = "targets"', 'from = "y[0]"', "[action] from: 'y[0]' has 1 numbers, and 'drive' has 2 fields (a, b)"),
    (
        'from = "targets"',
        'from = "targets"\n[action.a]\nunit = ""\noffset = 1',
        "[action] from: makes all fields, and so",
    ),
    ('from = "targets"', "", "[action] format: 'drive' has no field; add a table [action.FIELD]"),
    ('from = "targets"', "from = 3", "[action] from: must be text in quotes, not 3"),
    (
        'from = "command.speed"',
        'from = "comand.speed"',
        "[inputs] comand.speed: the robot declares no reading 'comand'",
    ),
    (
        "default = 0.5\nmax_age_ms = 200",
        "default = 0.5",
        "[readings] max_age_ms: is missing: how old may the latest 'com",
    ),
    ('previous = "targets"', 'model = "estimator.slip"', "is another model's output, and there is only one [model]"),
    ("[policy]", "[readings.missing]\nspeed = 0\n[policy]", "[readings.missing] speed: is made by [inputs]; say there"),
    ("[policy]", '[readings.channels]\nspeed = "speed"\n[policy]', "[inputs.speed] from: channel 'speed' is fed by"),
    ("low_pass_hz = 5", "low_pass_hz = 80", "[inputs.speed.do[0]] low_pass_hz: 80 Hz is not below half"),
    (
        'from = "speed"',
        'from = "speed"\nmax_age_ms = 50',
        "[inputs.speed] max_age_ms: means nothing: 'imu' is the tick",
    ),
    ("longest_gap = 20", "longest_gap = 20\n[outputs.y]\n", "has an output 'y[0]' already"),
]


@pytest.mark.parametrize(("good", "wrong", "words"), MISTAKES)
def test_a_mistake_names_table_key_and_reason(good: str, wrong: str, words: str):
    """Each is a ConfigError, at the latest at the handshake."""
    assert good in CONFIG
    with pytest.raises(ConfigError) as error:
        controller(text=CONFIG.replace(good, wrong)).handle(hello())
    assert words in str(error.value)
