"""The binding: names become indices at the handshake, and whatever does not fit is named there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.errors import ConfigError
from edge_lstm.logs.ticks import Ticks, Wanted
from edge_lstm.robot.binding import Binding, bind
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.mismatch import mismatch_report
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.simulator.robot import READING_FIELDS, robot_dictionary
from tests.support.robots import small_robot


def bound(text: str = small_robot.CONFIG, dictionary: Dictionary | None = None, /, **more: object) -> Binding:
    """The small model, with this robot.toml, on the simulated robot."""
    config = parse_config(text, "robot.toml", Path())
    return bind(config, small_robot.model(**more), dictionary or robot_dictionary(200.0))


def test_names_become_places():
    """The picked values are the fields of the model's channels in its order; a rule holds offset, gains by output
    number, and the narrower of the file's and the robot's limits."""
    made = bound(
        small_robot.CONFIG.replace("[action]", '[readings.channels]\ncurrent_left = "current_right"\n[action]')
    )
    names = [name for name, _ in READING_FIELDS]
    fields = ("wheel_speed_left", "wheel_speed_right", "current_right", "current_right")
    assert made.feed.wanted == tuple(Wanted(0, names.index(name)) for name in fields)
    assert made.rules == ((0.9, ((0, -0.5), (2, -0.2)), 0.1, 1.0), (0.9, ((1, -0.5), (3, -0.2)), 0.1, 1.0))
    assert (made.period_ns, made.hold_ns, made.notes) == (5_000_000, 15_000_000, ())


def test_a_single_channel_is_picked_as_a_tuple_too():
    """One input channel gives a tuple of one value, not the value."""
    made = bound(inputs=small_robot.INPUTS[1:2])
    values = tuple(map(float, range(len(READING_FIELDS))))
    assert Ticks(made.feed.wanted).row(0, values) == (
        values[[name for name, _ in READING_FIELDS].index("wheel_speed_right")],
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('format = "imu_wheels"', 'format = "imu_wheel"', ["[readings] format", "'imu_wheel'", "'imu_wheels'"]),
        (
            'format = "motor_limits"',
            'format = "imu_wheels"',
            ["[action] format", "no action 'imu_wheels'", "motor_limits"],
        ),
        (
            "[action.torque_limit_left]",
            "[action.torque_limit_lef]",
            ["[action] torque_limit_lef", "'torque_limit_left'"],
        ),
        ('unit = "N m"', 'unit = "mN m"', ["[action.torque_limit_left] unit", "'mN m'", "'N m'"]),
        ('unit = "N m"', 'unit = ""', ["[action.torque_limit_left] unit", "''", "the robot's field is in 'N m'"]),
        ("min = 0.1", "min = -3.0", ["[action.torque_limit_left] min", "-3", "0 to 1"]),
    ],
)
def test_what_does_not_fit_the_robot_is_named_at_the_handshake(old: str, new: str, words: list[str]):
    """An unknown format or field, another unit, a limit outside the robot's own: file, table, key, nearest name."""
    assert old in small_robot.CONFIG
    with pytest.raises(ConfigError) as caught:
        bound(small_robot.CONFIG.replace(old, new))
    for word in ["robot.toml", *words]:
        assert word in str(caught.value)


def test_a_field_of_the_action_that_nothing_makes_is_named():
    """Every field of the message must be mapped; the one left out is named."""
    text = small_robot.CONFIG.split("[action.torque_limit_right]")[0]
    with pytest.raises(ConfigError, match=r"\[action\] torque_limit_right: is missing"):
        bound(text)


def test_a_channel_without_a_field_and_a_wrong_unit_are_named():
    """The model's inputs must each have a field of the robot in the same unit."""
    odd = (Channel("wheel_sped_left"), *small_robot.INPUTS[1:])
    with pytest.raises(ConfigError, match=r"readings.channels\] wheel_sped_left: .*'wheel_speed_left'"):
        bound(inputs=odd)
    mapped = small_robot.CONFIG.replace("[action]", '[readings.channels]\nwheel_sped_left = "gyro_z"\n[action]')
    bound(mapped, inputs=odd)
    wrong = (Channel("wheel_speed_left", "V"), *small_robot.INPUTS[1:])
    with pytest.raises(ConfigError, match=r"_left: .*'V'.*'rad/s': 'rad/s' is an angular speed, 'V' a voltage"):
        bound(inputs=wrong)
    misspelt = (Channel("wheel_speed_left", "rads"), *small_robot.INPUTS[1:])
    with pytest.raises(ConfigError, match=r"'rads' is no unit that is known; did you mean 'rad/s'\?"):
        bound(inputs=misspelt)


def test_a_refusal_shows_what_is_needed_beside_what_is_declared():
    """Below the sentence stand what is needed and what the robot declares, field by field with units: what is missing
    on either side, another unit, limits, and the robot's other messages."""
    odd = (Channel("wheel_speed_left", "V"), Channel("ghost", "K"), *small_robot.INPUTS[2:])
    text = small_robot.CONFIG.split("[action.torque_limit_right]")[0]
    with pytest.raises(ConfigError) as caught:
        bound(text, inputs=odd)
    sentence, *table = str(caught.value).splitlines()
    assert "wheel_speed_left: the model expects 'V'" in sentence
    rows = [[cell.strip() for cell in line.split("|")] for line in table]
    assert ["reading imu_wheels", "reading imu_wheels"] in rows
    assert ["wheel_speed_left [V]", "wheel_speed_left [rad/s] (ANOTHER UNIT)"] in rows
    assert ["ghost [K]", "MISSING"] in rows
    assert ["torque_limit_left [N m]", "torque_limit_left [N m], 0 to 1"] in rows
    assert ["MISSING", "torque_limit_right [N m], 0 to 1"] in rows
    declared = " ".join(row[1] for row in rows)
    assert all(field.name in declared for form in robot_dictionary().formats for field in form.fields)
    with pytest.raises(ConfigError, match=r"reading imu_wheel +\| MISSING\n(.*\n)*.*\| +reading imu_wheels: "):
        bound(small_robot.CONFIG.replace('"imu_wheels"', '"imu_wheel"'))


def test_another_rate_is_an_error_unless_it_is_meant():
    """A model made for 200 Hz does not fit a robot of 1 kHz, whose error names the way out; with any_rate it runs, and
    a note says so; within 5 % there is nothing to say."""
    for rate in (200.0, 205.0):
        assert bound(small_robot.CONFIG, robot_dictionary(rate), rate_hz=200.0).notes == ()
    with pytest.raises(ConfigError, match=r"\[model\] any_rate: .*made for 200 Hz, but the robot declares 1000 Hz"):
        bound(small_robot.CONFIG, robot_dictionary(1000.0), rate_hz=200.0)
    meant = small_robot.CONFIG.replace("[model]", "[model]\nany_rate = true")
    (note,) = bound(meant, robot_dictionary(1000.0), rate_hz=200.0).notes
    assert "made for 200 Hz, the robot sends 1000 Hz" in note


def test_one_long_name_does_not_widen_every_line():
    """A name of 3,000 letters makes its own line of the comparison long, and no other."""
    config = parse_config(small_robot.CONFIG.replace('"motor_limits"', f'"{"m" * 3000}"'), "robot.toml", Path())
    lines = mismatch_report(config, small_robot.model(), robot_dictionary(200.0)).splitlines()
    assert [line.strip()[:8] for line in lines if len(line) > 1000] == ["action m"]
