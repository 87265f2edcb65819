"""A model at another rate than it was made for: an error before the first action, unless it is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller, Decision
from edge_lstm.robot.models import Models
from edge_lstm.robot.rates import BY_CLOCK, Pace, Trained
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Gap, Hello, Reading
from firmware_bridge.simulator.robot import Robot
from tests.robot.test_models import MODELS, THREE
from tests.support.robots import small_robot

DECLARED = Robot(0, 200.0).device.dictionary
UNSAID = replace(DECLARED, formats=tuple(replace(form, rate_hz=None) for form in DECLARED.formats), json=b"")
READING = next(form for form in DECLARED.readings if form.name == "imu_wheels")


def controller(more: str = "", hz: float | None = 200.0) -> Controller:
    text = small_robot.CONFIG.replace("[model]", f"[model]\n{more}")
    return Controller(small_robot.model(rate_hz=hz), parse_config(text, "robot.toml", Path()))


def hello(dictionary: Dictionary) -> Hello:
    return Hello(0, "robot", "1", 1, dictionary)


def reading(k: int, hz: float, lost: int = 0) -> Reading:
    """The k-th of a robot that has made so many more before it; it arrives whenever it does."""
    made_us = round((k + lost) * 1e6 / hz)
    return Reading(10_000_000 * (k // 3), "imu_wheels", (k + lost) & 0xFFFF, made_us, (0.5,) * len(READING.fields))


def actions(of: Controller, hz: float, count: int = 40) -> list[bool]:
    """Whether each reading was answered."""
    found: list[Decision | None] = [of.handle(reading(k, hz)) for k in range(count)]
    return [one is not None and one.action is not None for one in found]


@pytest.mark.parametrize("dictionary", [DECLARED, UNSAID], ids=["declared", "unsaid"])
def test_no_action_before_the_rate_is_known(dictionary: Dictionary):
    """Ten readings by the robot's clock, however they arrive; then each is answered. The outputs are there from the
    first one on."""
    one = controller()
    one.handle(hello(dictionary))
    assert actions(one, 200.0) == [False] * BY_CLOCK + [True] * (40 - BY_CLOCK)
    assert one.counts.steps == 40


@pytest.mark.parametrize("dictionary", [DECLARED, UNSAID], ids=["declared", "unsaid"])
def test_readings_at_another_rate_are_an_error_before_the_first_action(dictionary: Dictionary):
    """The robot says 200 Hz, or nothing, and sends 50: one error with both rates and the way out, no action, nothing
    used; when it sends 200 after all, it is obeyed."""
    one = controller()
    one.handle(hello(dictionary))
    assert actions(one, 50.0, BY_CLOCK) == [False] * BY_CLOCK
    with pytest.raises(ConfigError, match=r"\[model\] any_rate: .* made for 200 Hz, but the robot sends at 50 Hz"):
        one.handle(reading(BY_CLOCK, 50.0))
    assert [one.handle(reading(k, 50.0)) for k in range(11, 100)] == [None] * 89
    assert sum(actions(one, 200.0, 60)) > 30


def test_what_is_meant_is_obeyed_at_once():
    """any_rate, or a model of which nobody knows a rate."""
    for one in (controller("any_rate = true"), controller(hz=None)):
        one.handle(hello(DECLARED))
        assert all(actions(one, 50.0))


def test_lost_readings_make_no_other_rate():
    """Half of them never arrive; their numbers count."""
    one = controller()
    one.handle(hello(UNSAID))
    for k in range(40):
        if k:
            one.handle(Gap(0, "imu_wheels", 2 * k - 1, 1))
        decision = one.handle(reading(k, 200.0, lost=k))
        assert decision is not None
    assert decision.action is not None


def test_by_arrival_what_had_waited_is_not_counted():
    """Without a clock of the robot's own: 300 readings at once out of a buffer, then 100 Hz in bursts of three, is
    100 Hz; of 40 Hz it is not."""
    for hz, fits in ((100.0, True), (40.0, False)):
        pace = Pace((Trained("model", "m", 100.0),), by_clock=False)
        known = [pace.look(0, k) for k in range(300)]
        for k in range(200):
            known.append(pace.look(round((k // 3 * 3) * 1e9 / hz), 300 + k))
        assert next(one for one in known if one is not None) is fits


def test_of_several_models_each_has_its_own():
    """One of them was made for another rate than it is due at: its table is named."""
    config = parse_config(THREE, "robot.toml", Path())
    dictionary = Robot(0, 1000.0).device.dictionary
    models = {**MODELS, "watchdog": replace(MODELS["watchdog"], rate_hz=25.0)}
    with pytest.raises(
        ConfigError, match=r'\[model "watchdog"\] any_rate: .*made for 25 Hz, but the robot declares 50'
    ):
        Models(models, config).handle(hello(dictionary))
    meant = parse_config(THREE.replace("rate_hz = 50\n", "rate_hz = 50\nany_rate = true\n"), "robot.toml", Path())
    assert Models(models, meant).handle(hello(dictionary)) is not None


def test_what_is_measured_goes_on_after_a_crash():
    """A controller taken up in the middle of measuring decides as the one that went on."""
    one, other = controller(), controller()
    one.handle(hello(UNSAID))
    for k in range(5):
        one.handle(reading(k, 200.0))
    other.restore(one.snapshot())
    assert other.snapshot() == one.snapshot()
    found = [
        [(d := of.handle(reading(k, 200.0))) is not None and d.action is not None for k in range(5, 20)]
        for of in (one, other)
    ]
    assert found[0] == found[1]
    assert found[0] == [False] * (BY_CLOCK - 5) + [True] * (20 - BY_CLOCK)
