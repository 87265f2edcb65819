"""Every step against its float64 twin, over usual and extreme readings, and its bits however the readings are taken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.core.model import Model
from edge_lstm.engines.native.session import Native
from edge_lstm.signals.declared import Declared
from edge_lstm.signals.steps import FINE_ANGLE, STEPS
from edge_lstm.streams.stream import Stream
from tests.support.models.signals import inputs, tables

Floats = npt.NDArray[np.float32]
WIDTH, RATE = 3, 100.0
EPS, SMALLEST = float(np.finfo(np.float32).eps), 1e-44

# Each step as a file has it; `test_every_step_is_here` holds that none is left out.
WRITTEN = [
    "scale = 0.25",
    "scale = [2, -0.3, 1e-6]",
    "offset = 9.81",
    "offset = [0.1, -0.8, 1e6]",
    "subtract = [0.1, 0.8, -1.5]",
    "clip = [-1, 1]",
    "clip = [[-1, -2, -3], 0.5]",
    "deadband = 0.1",
    "deadband = [0.1, 1, 10]",
    "abs = true",
    "sin = true",
    "cos = true",
    "wrap = true",
    "difference = true",
    "rate = true",
    "low_pass_hz = 5",
    "low_pass_hz = 0.01",
    "low_pass_hz = 49.9",
    "high_pass_hz = 5",
    "high_pass_hz = 0.1",
    "last = 1",
    "last = 4",
    "slew_per_s = 5",
    "slew_per_s = [0.5, 50, 5000]",
    "argmax = [0.2, 0.5, -7]",
    "argmax = [0, 1, 2]",
]


def one_step(written: str) -> tuple[Declared, Model]:
    """A file with this step over three fields, and the program made of it."""
    width = (
        STEPS[written.split()[0]].width(WIDTH, [(float(written.split()[-1]),)]) if written.startswith("last") else WIDTH
    )
    width = 1 if written.startswith("argmax") else width
    text = f'[inputs.x]\nfrom = ["a", "b", "c"]\ndo = [ {{ {written} }} ]\n'
    names = ["x"] if width == 1 else [f"x[{k}]" for k in range(width)]
    return tables(text), inputs(text, *names, rate_hz=RATE).model


def log(random: np.random.Generator, angle: bool) -> Floats:
    """Readings (T, 3): usual, steps, standing still, tiny, huge, and angles at their turning points."""
    usual = random.normal(0, 3, (300, WIDTH))
    held = np.repeat(random.normal(0, 30, (10, WIDTH)), 20, axis=0)
    if angle:
        turns = np.pi / 2 * random.integers(-60, 60, (200, WIDTH)) + random.choice([0, 1e-6, -1e-4, 0.1], (200, WIDTH))
        wide = random.uniform(-FINE_ANGLE, FINE_ANGLE, (300, WIDTH))
        return np.concatenate([usual, turns, wide, usual]).astype(np.float32)
    parts = [usual, held, 1e-40 * usual, 0 * usual[:20], 1e6 * usual, usual, 1e30 * usual]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("written", WRITTEN)
def test_a_step_is_its_float64_twin(written: str, rng: np.random.Generator) -> None:
    """As many float32 ulps away from it as the record says, of the largest magnitude since the reset; so from the first
    reading after a reset on."""
    declared, model = one_step(written)
    (given,) = declared.inputs["x"].parts[0].steps
    xs = log(rng, given.step.angle)
    got = model.stream().run(xs).astype(np.float64)
    expected = given.twin(xs.astype(np.float64), RATE)
    assert got.shape == expected.shape
    magnitude = np.abs(expected).max(axis=1)
    if not given.step.angle:
        magnitude = np.maximum.accumulate(np.maximum(magnitude, np.abs(xs).max(axis=1)))
    else:
        magnitude = np.maximum.accumulate(magnitude)
    ulps = np.array([given.step.ulps(given.values, RATE, t + 1) for t in range(len(xs))])
    within = ulps * magnitude * EPS + SMALLEST
    error = np.abs(got - expected)
    if given.step.name == "wrap":  # half a turn and minus half a turn are one angle
        error = np.minimum(error, 2 * np.pi - error)
        assert np.abs(got).max() <= np.float32(np.pi)
    worst = (error.max(axis=1) / within).max()
    assert worst <= 1, f"{written}: {worst:.3g} times the tolerance"


@pytest.mark.parametrize("written", WRITTEN)
def test_lanes_step_and_run_have_the_same_bits(written: str, rng: np.random.Generator) -> None:
    """With 4, 8 and 16 lanes, one by one and as a log; and after a reset the same again."""
    _, model = one_step(written)
    xs = log(rng, False)
    expected = model.stream().run(xs)
    assert np.isfinite(expected).all()
    for lanes in (4, 8, 16):
        stream = Stream(model, Native(lanes))
        assert stream.run(xs).tobytes() == expected.tobytes()
        stream.reset()
        assert np.array([stream.step(x).copy() for x in xs[:400]]).tobytes() == expected[:400].tobytes()


def test_every_step_is_here() -> None:
    """The steps that are tested are those there are."""
    assert {written.split()[0] for written in WRITTEN} == set(STEPS)


def test_the_first_reading_after_a_reset(rng: np.random.Generator) -> None:
    """A difference, a rate and a high pass are 0 then; a low pass, a slew and each of the last values the value."""
    x = np.array([3.25, -1e20, 7e-12], np.float32)
    for written in WRITTEN:
        _, model = one_step(written)
        first = STEPS[written.split()[0]].first
        stream = model.stream()
        stream.run(log(rng, False)[:50])
        stream.reset()
        y = stream.step(x)
        if first:
            expected = np.zeros(WIDTH) if first == "0" else np.resize(x, y.size)
            assert y.tolist() == expected.tolist(), written


def test_an_angle_too_large_for_float32_stays_bounded() -> None:
    """sin and cos never leave ±1, wrap never ±pi, whatever finite number comes in."""
    extreme = np.array([[3e38, -3e38, 1e12], [1e7, -2e9, 1e-45]], np.float32)
    for name, most in (("sin", 1.0), ("cos", 1.0), ("wrap", np.pi)):
        _, model = one_step(f"{name} = true")
        assert np.abs(model.stream().run(extreme)).max() <= np.float32(most)
