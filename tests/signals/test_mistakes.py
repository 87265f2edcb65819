"""Mistakes in [inputs] and [outputs]: each is an error that names file, table, key and reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.errors import ConfigError
from edge_lstm.signals.programs import inputs_of, outputs_of
from tests.support.models.signals import passing, tables

X = '[inputs.x]\nfrom = "a"\n'
Y = '[outputs.out]\nfrom = "y.x"\n'
UNITS = {"deg": "deg", "volt": "V", "odd": "furlong", "dps": "deg/s"}
# The file, and what its error must say behind "robot.toml: ".
MISTAKES = [
    # the file alone
    ('[inputs.x]\nform = "a"', "[inputs.x] form: unknown key; did you mean 'from'?"),
    ("[inputs.x]\ndo = [ { scale = 2 } ]", "[inputs.x] from: is missing: a part needs a source, one of from, gravity"),
    (X + "constant = 1", "[inputs.x] constant: is a second source beside 'from'"),
    (X + "[[inputs.x.part]]\nconstant = 1", "[inputs.x] from: stands beside parts"),
    ("[inputs.x]\npart = []", "[inputs.x] part: is an empty list"),
    ("[inputs.x]\nfrom = []", "[inputs.x] from: names nothing"),
    ("[inputs.x]\nfrom = 3", "[inputs.x] from: must be a name or a list of names, not 3"),
    ("[inputs.x]\nconstant = []", "[inputs.x] constant: is an empty list"),
    ("[inputs.x]\nconstant = 1e39", "[inputs.x] constant: 1e+39 is no float32"),
    (
        '[inputs.x]\ngravity = ["w", "x", "y"]',
        "[inputs.x] gravity: takes the four fields of a quaternion, w x y z, not 3",
    ),
    ('[inputs.x]\ngravity = ["w", "x", "y", "y"]', "[inputs.x] gravity: names a field twice"),
    ('[inputs.x]\ngravity = { roll = "r" }', "[inputs.x.gravity] pitch: is missing"),
    ('[inputs.x]\ngravity = ["w", "x", "y", "z"]\nunit = "rad"', "[inputs.x] unit: unknown key"),
    (
        '[inputs.x]\nmodel = "imu.a"\n[inputs.rad]\nfrom = "imu.a"',
        "[inputs.rad] from: 'imu.a' is another model's output in one place and a field in another",
    ),
    ('[inputs.x]\nmodel = "estimator"', "[inputs.x] model: takes MODEL.OUTPUT, not 'estimator'"),
    ('[inputs.x]\nprevious = ["a", "b"]', "[inputs.x] previous: takes one name, not 2"),
    (X + "default = [1, 2]", "[inputs.x] default: has 2 numbers for 1"),
    (X + "max_age_ms = 0", "[inputs.x] max_age_ms: must be above 0, not 0"),
    ("[inputs.x]\nconstant = 1\ndefault = 2", "[inputs.x] default: unknown key"),
    (X + "do = [ { scal = 2 } ]", "[inputs.x.do[0]] scal: unknown key; did you mean 'scale'?"),
    (
        X + "do = [ { scale = 2, offset = 1 } ]",
        "[inputs.x] do: a step is one key, as { scale = 0.5 }, not 'scale', 'offset'",
    ),
    (X + "do = [ { offset = 1 }, { scale = 0 } ]", "[inputs.x.do[1]] scale: is 0, so nothing would be left"),
    (X + 'do = [ { scale = "2" } ]', "[inputs.x.do[0]] scale: must be a number or a list of numbers, not '2'"),
    (X + "do = [ { clip = [1, -1] } ]", "[inputs.x.do[0]] clip: the least value, 1, is not below the most, -1"),
    (X + "do = [ { clip = 1 } ]", "[inputs.x.do[0]] clip: must be a list, not 1"),
    (X + "do = [ { clip = [1, 2, 3] } ]", "[inputs.x.do[0]] clip: takes [least, most], not 3 values"),
    (X + "do = [ { deadband = -0.1 } ]", "[inputs.x.do[0]] deadband: must be above 0, not -0.1"),
    (X + "do = [ { low_pass_hz = -5 } ]", "[inputs.x.do[0]] low_pass_hz: must be above 0, not -5"),
    (X + "do = [ { slew_per_s = 0 } ]", "[inputs.x.do[0]] slew_per_s: must be above 0, not 0"),
    (X + "do = [ { last = 0 } ]", "[inputs.x.do[0]] last: must be 1 to 4096 readings, not 0"),
    (X + "do = [ { last = 2.5 } ]", "[inputs.x.do[0]] last: must be a whole number, not 2.5"),
    (X + "do = [ { abs = false } ]", "[inputs.x.do[0]] abs: is false; leave the step out"),
    (X + 'do = [ { argmax = ["a", "b"] } ]', "[inputs.x.do[0]] argmax: makes a text of it, and an input is numbers"),
    (Y + 'do = [ { argmax = ["a"] } ]', "[outputs.out.do[0]] argmax: needs two choices or more"),
    (Y + 'do = [ { argmax = ["a", "a"] } ]', "[outputs.out.do[0]] argmax: names a choice twice"),
    (Y + 'do = [ { argmax = ["a", "b"] }, { scale = 2 } ]', "[outputs.out.do[1]] scale: comes after argmax"),
    ('[outputs.out]\ngravity = ["a"]', "[outputs.out] gravity: is no source of an output"),
    # with the model
    (
        '[inputs.z]\nfrom = "a"',
        "[inputs.z] from: the model 'passing' has no such input channel, and no other input takes",
    ),
    (X + '[inputs."x[0]"]\nfrom = "b"', "[inputs.x[0]] from: the model 'passing' has no such input channel"),
    ('[inputs.v]\nfrom="a"', "[inputs.v] from: makes 1 numbers, and the model 'passing' takes 2 as 'v'"),
    (
        '[inputs.v]\nfrom=["a", "b"]\n[inputs."v[0]"]\nfrom="b"',
        "[inputs.v[0]] from: channel 'v[0]' is fed by [inputs.v]",
    ),
    ('[inputs.mapped]\nfrom="a"', "[inputs.mapped] from: channel 'mapped' is fed by [readings.channels] already"),
    ('[inputs.x]\ninput="k"', "[inputs.x] input: there is no [inputs.k]"),
    ('[inputs.x]\ninput="k"\n[inputs.k]\ninput="x"', "[inputs.k] input: makes a circle: x → k → x"),
    ('[inputs.x]\nprevious="torque"', "[inputs.x] previous: neither the model 'passing' nor [outputs] has 'torque'"),
    (
        '[inputs.x]\nfrom="a"\ndefault=1\n[inputs.rad]\nfrom="a"',
        "[inputs.rad] default: is None for 'a' here and 1.0 elsewhere",
    ),
    ('[outputs.out]\nfrom="y.z"', "[outputs.out] from: the model 'passing' has no output 'y.z'; did you mean 'y.x'?"),
    ('[outputs."y.x"]\nfrom="y.x"', "[outputs.y.x] from: the model 'passing' has an output 'y.x' already"),
    # with widths, rates and units
    (X + "do = [ { scale = [1, 2] } ]", "[inputs.x.do[0]] scale: has 2 numbers for 1"),
    (X + "do = [ { last = 3 } ]", "[inputs.x] from: makes 3 numbers, and the model 'passing' takes 1 as 'x'"),
    (
        X + "do = [ { low_pass_hz = 50 } ]",
        "[inputs.x.do[0]] low_pass_hz: 50 Hz is not below half of the 100 readings per",
    ),
    (Y + "do = [ { high_pass_hz = 60 } ]", "[outputs.out.do[0]] high_pass_hz: 60 Hz is not below half of the 100"),
    (Y + "do = [ { argmax = [1, 2] } ]", "[outputs.out.do[0]] argmax: has 2 choices for 1 numbers"),
    ('[inputs.rad]\nfrom="volt"', "[inputs.rad] from: 'volt' does not convert: 'V' is a voltage, 'rad' an angle"),
    ('[inputs.rad]\nfrom="odd"', "[inputs.rad] from: 'odd' does not convert: 'furlong' is no unit that is known"),
    (
        '[inputs.x]\nfrom="volt"\ndo=[{sin=true}]',
        "[inputs.x] from: 'volt' does not convert: 'V' is a voltage, 'rad' an angle",
    ),
    ('[inputs.rad]\nfrom="a"\nunit="m"', "[inputs.rad] unit: 'a' does not convert: 'm' is a length, 'rad' an angle"),
    ('[inputs.x]\nfrom="deg"\nunit="V"', "[inputs.x] unit: 'deg' does not convert: 'deg' is an angle, 'V' a voltage"),
    ('[inputs.x]\ngravity={roll="deg",pitch="volt"}', "[inputs.x] gravity: 'volt' does not convert"),
    (
        '[outputs.out]\nfrom="y.rad"\nunit="V"',
        "[outputs.out] unit: 'y.rad' does not convert: 'rad' is an angle, 'V' a voltage",
    ),
]
NO_RATE = [
    (X + "do = [ { rate = true } ]", "[inputs.x.do[0]] rate: needs a rate, and neither the model nor the robot says"),
    (Y + "do = [ { slew_per_s = 2 } ]", "[outputs.out.do[0]] slew_per_s: needs a rate"),
]


def compiled(text: str, rate_hz: float | None = 100.0) -> None:
    """Everything that is checked of a file."""
    model = passing("x", "rad", "v[0]", "v[1]", "mapped", units={"rad": "rad"}, rate_hz=rate_hz)
    declared = tables(text)
    inputs_of(declared, model, {"mapped": "a"}, UNITS, rate_hz)
    outputs_of(declared, model, rate_hz)


@pytest.mark.parametrize(("text", "says"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named(text: str, says: str) -> None:
    """Table, key and reason, with the nearest name where one is near."""
    with pytest.raises(ConfigError) as error:
        compiled(text)
    assert str(error.value).startswith(f"robot.toml: {says}"), str(error.value)


@pytest.mark.parametrize(("text", "says"), NO_RATE)
def test_what_needs_a_rate_says_so(text: str, says: str) -> None:
    """Where nobody says how many readings come per second."""
    with pytest.raises(ConfigError) as error:
        compiled(text, None)
    assert str(error.value).startswith(f"robot.toml: {says}"), str(error.value)


def test_a_channel_s_field_of_another_unit_is_the_caller_s_error() -> None:
    """A channel without [inputs] whose field does not convert: the error is made by who knows [readings.channels]."""
    model = replace(passing("x", "b"), inputs=(Channel("x", "rad"), Channel("b")))
    with pytest.raises(KeyError, match="x the field 'f' does not convert: 'V' is a voltage, 'rad' an angle"):
        inputs_of(tables(""), model, {"x": "f"}, {"f": "V"}, None, lambda name, why: KeyError(f"{name} {why}"))
