"""The controller: events become decisions, readings become actions, nothing unusual goes uncounted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.core.channels import Channel, Encoder, flat_names, units_differ
from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.core.timing import Timing
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Event, Gap, Hello, Reading, Reset
from firmware_bridge.simulator.robot import READING_FIELDS, robot_dictionary
from firmware_bridge.values import Action
from tests.support.robots import small_robot

NAMES = [name for name, _ in READING_FIELDS]


def make(text: str = small_robot.CONFIG, **more: object) -> Controller:
    return Controller(small_robot.model(**more), parse_config(text, "robot.toml", Path()))


def hello(dictionary: Dictionary | None = None) -> Hello:
    return Hello(0, "robot", "1", 1, dictionary or robot_dictionary(200.0))


def reading(seq: int = 0, **values: float) -> Reading:
    return Reading(seq, "imu_wheels", seq, seq * 5000, tuple(values.get(name, 0.1 * k) for k, name in enumerate(NAMES)))


def act(controller: Controller, event: Event) -> Action | None:
    """The action that this event makes, if any."""
    decision = controller.handle(event)
    return None if decision is None else decision.action


def test_an_action_is_the_clipped_sum_of_the_outputs():
    """offset + gain * output, held within min and the robot's own maximum, for the reading's values by channel name."""
    controller = make()
    controller.handle(hello())
    decision = controller.handle(reading(wheel_speed_left=3.0, current_left=1.5))
    assert decision is not None
    x = np.array([3.0, 0.1, 1.5, 0.1 * 3], np.float32)
    y = small_robot.model().stream().step(x)
    assert y is not None
    slip_left, slip_right, stall_left, stall_right = y.tolist()
    expected = (0.9 - 0.5 * slip_left - 0.2 * stall_left, 0.9 - 0.5 * slip_right - 0.2 * stall_right)
    assert decision.action == Action("motor_limits", pytest.approx(expected, abs=1e-12))
    assert decision.outputs == y.tolist()
    assert controller.latest is decision
    assert controller.counts.steps == controller.counts.actions == 1


@pytest.mark.parametrize(("offset", "value"), [("-5", 0.1), ("5", 1.0)])
def test_limits_hold(offset: str, value: float):
    """Below min the file's limit is sent, above it the robot's own where the file has none."""
    controller = make(small_robot.CONFIG.replace("offset = 0.9", f"offset = {offset}"))
    controller.handle(hello())
    assert act(controller, reading()) == Action("motor_limits", (value, value))


def test_a_reading_without_a_number_is_missing_and_the_state_waits():
    """NaN or infinity in a used channel: no action, counted, and the next gives what it would have given alone."""
    with_hole, without = make(), make()
    for controller in (with_hole, without):
        controller.handle(hello())
    for number in (float("nan"), float("inf")):
        decision = with_hole.handle(reading(0, current_left=number))
        assert decision is not None
        assert (decision.action, decision.outputs) == (None, None)
    assert act(with_hole, reading(2)) == act(without, reading(2)) is not None
    assert (with_hole.counts.readings, with_hole.counts.missing, with_hole.counts.steps) == (3, 2, 1)


def test_a_channel_that_is_not_used_may_hold_anything():
    """NaN in a field that feeds no channel does not make a reading missing."""
    controller = make()
    controller.handle(hello())
    assert act(controller, reading(gyro_z=float("nan"))) is not None


def test_a_step_that_would_be_infinite_is_counted_and_not_taken():
    """StateError of an unstable network costs that reading only; the state stays finite."""
    text = '[model]\nfile = "m"\n[readings]\nformat = "imu_wheels"'
    controller = Controller(small_robot.unstable(), parse_config(text, "robot.toml", Path()))
    controller.handle(hello())
    for seq in range(4):
        controller.handle(reading(seq, wheel_speed_left=3e38))
    assert controller.counts.refused > 0
    assert controller.counts.readings == controller.counts.steps + controller.counts.refused
    assert all(np.isfinite(values).all() for values in controller.stream.state.values())


def test_a_window_gives_no_action_until_it_is_full():
    """A model with a window of 3 acts from the third reading on; the two before are steps without action."""
    controller = make(timing=Timing.over_window(3))
    controller.handle(hello())
    assert [act(controller, reading(k)) is None for k in range(4)] == [True, True, False, False]
    assert (controller.counts.steps, controller.counts.actions) == (4, 2)


@pytest.mark.parametrize("policy", ["reset", "keep"])
def test_a_reset_board_resets_the_memory_unless_it_is_to_be_kept(policy: str):
    """on_reset decides: "reset" starts as new, "keep" goes on."""
    controller = make(f'{small_robot.CONFIG}\n[policy]\non_reset = "{policy}"')
    controller.handle(hello())
    first = act(controller, reading(0))
    second = act(controller, reading(0))
    controller.handle(Reset(0, 2))
    controller.handle(hello())
    again = act(controller, reading(0))
    assert first != second
    assert (again == first) is (policy == "reset")
    assert controller.counts.resets == 1


def test_lost_readings_are_counted_for_the_configured_format_only():
    """A gap of the format in use counts; one of another format is not ours."""
    controller = make()
    controller.handle(Gap(0, "imu_wheels", 5, 3))
    controller.handle(Gap(0, "other", 5, 3))
    assert (controller.counts.gaps, controller.counts.lost) == (1, 3)


def test_readings_before_the_handshake_or_of_another_format_are_not_ours():
    """Without a dictionary nothing is decoded, and another format is left alone."""
    controller = make()
    assert controller.handle(reading()) is None
    controller.handle(hello())
    assert controller.handle(replace(reading(), format="other")) is None
    assert controller.counts.readings == 0


def test_a_handshake_is_decided_on_once_for_each_robot():
    """The Hello of a new robot gives a decision without action, with what people should know of it; the same robot
    again gives none, and another one a new binding."""
    text = small_robot.CONFIG.replace("[model]", "[model]\nany_rate = true")
    controller = Controller(small_robot.model(rate_hz=200.0), parse_config(text, "robot.toml", Path()))
    first = controller.handle(hello(robot_dictionary(1000.0)))
    assert first is not None
    assert (first.action, first.outputs, len(first.notes)) == (None, None, 1)
    assert controller.handle(hello(robot_dictionary(1000.0))) is None
    decision = controller.handle(reading())
    assert decision is not None
    assert decision.binding is first.binding
    other = controller.handle(hello(robot_dictionary(200.0)))
    assert other is not None
    assert other.binding is not first.binding
    assert (other.reading, other.action, other.notes) == (decision.reading, None, ())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{ slip_left", "{ slop_left", ["[action.torque_limit_left] gain", "no output 'slop_left'", "'slip_left'"]),
        ("[action]", '[readings.channels]\nspeed = "gyro_z"\n[action]', ["[readings.channels] speed", "no such input"]),
    ],
)
def test_what_does_not_fit_the_model_is_named_before_there_is_a_robot(old: str, new: str, words: list[str]):
    """An output or channel that the model does not have is an error when the controller is made."""
    with pytest.raises(ConfigError) as caught:
        make(small_robot.CONFIG.replace(old, new, 1))
    for word in words:
        assert word in str(caught.value)


values = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(values, values, values, values), min_size=1, max_size=5))
def test_one_reading_and_a_block_are_encoded_to_the_same_bits(rows: list[tuple[float, ...]]):
    """Order and rounding give the same float32 for a single reading and for many."""
    encoder = Encoder(small_robot.INPUTS)
    block = encoder.rows(np.array(rows, np.float64))
    assert block.tobytes() == b"".join(encoder.one(row).tobytes() for row in rows)


def test_a_vocabulary_is_one_hot_and_what_is_outside_it_is_missing():
    """Index 1 of three words is 0 1 0; 3, -1, 0.5 and NaN are NaN, so the reading counts as missing."""
    encoder = Encoder((Channel("day", vocabulary=("mo", "tu", "we")), Channel("t", "K")))
    assert encoder.one((1.0, 4.0)).tolist() == [0, 1, 0, 4]
    for index in (3.0, -1.0, 0.5, float("nan")):
        assert np.isnan(encoder.one((index, 4.0))[:3]).all()
    assert flat_names((Channel("day", vocabulary=("mo", "tu")), Channel("t"))) == ("day=mo", "day=tu", "t")


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("N m", "Nm", False),
        ("N·m", "N m", False),
        ("°/s", "deg/s", False),
        ("", "A", False),
        ("A", "mA", True),
        ("rad/s", "deg/s", True),
    ],
)
def test_units_are_compared_as_text_but_for_typography(one: str, other: str, differ: bool):
    """Spaces, dots and the degree sign do not make another unit; anything else does. No unit claims nothing."""
    assert units_differ(one, other) is differ


PREDICT = '\n[policy]\nmissing = "predict"\nlongest_gap = 5\n'
FEEDBACK = (Feedback("slip_left", "wheel_speed_left"), Feedback("stall_right", "current_right"))
PERIOD_NS = 5_000_000  # robot_dictionary(200.0)


def at(seq: int, t_ns: int) -> Reading:
    return replace(reading(seq), t_ns=t_ns)


def test_what_is_overdue_is_predicted_and_taken_back_when_it_comes():
    """Two periods late, predicted outputs make actions; when the reading comes after all, all is as if it had been in
    time; when it is lost, the memory is what the sequence gap alone would have made it."""
    late, punctual = make(small_robot.CONFIG + PREDICT, feedback=FEEDBACK), make(feedback=FEEDBACK)
    for controller in (late, punctual):
        controller.handle(hello())
        controller.handle(at(0, 0))
    assert late.silence(2 * PERIOD_NS) is None
    decision = late.silence(3 * PERIOD_NS)
    assert decision is not None
    assert decision.action is not None
    assert decision.not_real == 1
    assert late.silence(3 * PERIOD_NS) is None
    assert (late.not_real, late.counts.overdue) == (1, 1)
    now = 4 * PERIOD_NS
    assert act(late, at(1, now)) == act(punctual, at(1, now)) is not None
    assert (late.not_real, late.stream.snapshot()) == (0, punctual.stream.snapshot())
    patient = make(small_robot.CONFIG + PREDICT, feedback=FEEDBACK)
    patient.handle(hello())
    for seq in (0, 1):
        patient.handle(at(seq, now))
    assert late.silence(now + 3 * PERIOD_NS) is not None
    late.silence(now + 6 * PERIOD_NS)
    assert late.counts.overdue == 1 + 4
    decisions = []
    for controller in (late, patient):
        controller.handle(Gap(now, "imu_wheels", 2, 2))
        decisions.append(controller.handle(at(4, 2 * now)))
    assert decisions[0] is not None
    assert decisions[1] is not None
    assert late.stream.snapshot() == patient.stream.snapshot()
    assert (late.counts.filled, decisions[0][1:]) == (2, decisions[1][1:])
    assert decisions[0].not_real == 2


def test_silence_beyond_the_longest_gap_ends_the_predictions():
    """After five readings that nobody sent there are no more actions, and the memory starts anew."""
    controller = make(small_robot.CONFIG + PREDICT, feedback=FEEDBACK)
    controller.handle(hello())
    controller.handle(at(0, 0))
    decisions = [controller.silence(k * PERIOD_NS) for k in range(3, 12)]
    acted = [decision is not None and decision.action is not None for decision in decisions]
    assert acted == [True] * 5 + [False] * 4
    controller.handle(Gap(0, "imu_wheels", 1, 9))
    fresh = make(feedback=FEEDBACK)
    fresh.handle(hello())
    assert act(controller, at(10, 60 * PERIOD_NS)) == act(fresh, at(10, 60 * PERIOD_NS)) is not None
    assert controller.counts.forgotten == 1


def test_a_hole_in_a_reading_is_filled_by_the_policy():
    """NaN in one channel: with hold the action is that of the last value in its place, and the reading is a step."""
    text = small_robot.CONFIG + '\n[policy]\nmissing = "hold"\nlongest_gap = 5\n'
    holed, whole = make(text), make()
    for controller in (holed, whole):
        controller.handle(hello())
        controller.handle(reading(0, current_left=2.0))
    assert act(holed, reading(1, current_left=float("nan"))) == act(whole, reading(1, current_left=2.0)) is not None
    assert (holed.counts.steps, holed.counts.patched, holed.counts.missing, holed.not_real) == (2, 1, 0, 1)


def test_what_stands_in_is_of_the_robot_that_is_there():
    """One robot's numbers are held, those of the next are not: nothing of the first one's stays; and what is the same
    for both keeps what is remembered."""
    controller = make()
    controller.handle(hello())
    feed = controller.latest.binding.feed
    for each in (("hold", None, None, None), (None,) * 4, ("hold", None, "skip", None)):
        controller._feed_by(replace(feed, each=each))
        assert controller.filler.each == each or not any((*controller.filler.each, *each))
        same = controller.filler
        controller._feed_by(replace(feed, each=each))
        assert controller.filler is same


def test_policies_that_cannot_be_are_named():
    """Predict without feedback, no longest gap, an unknown policy: file, table, key."""
    for text, words in (
        (PREDICT, r"robot.toml: \[policy\] missing: 'predict' needs a model that declares feedback"),
        ('[policy]\nmissing = "hold"', r"\[policy\] longest_gap: is missing"),
        ('[policy]\nmissing = "hold"\nlongest_gap = -1', r"longest_gap: must be a number of readings, not -1"),
        ('[policy]\nmissing = "prdict"\nlongest_gap = 1', r"missing: 'prdict' is unknown; did you mean 'predict'"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(f"{small_robot.CONFIG}\n{text}")


def test_the_models_own_policy_holds_where_the_file_says_nothing():
    """A model that says hold is held; robot.toml may say otherwise."""
    own = Policy("hold", 7)
    assert make(policy=own).filler.policy == own
    assert make(f'{small_robot.CONFIG}\n[policy]\nmissing = "skip"', policy=own).filler.policy == Policy("skip", 7)
    assert make(f"{small_robot.CONFIG}\n[policy]\nlongest_gap = 3", policy=own).filler.policy == Policy("hold", 3)
