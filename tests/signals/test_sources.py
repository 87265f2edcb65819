"""Where an input's numbers come from: each source, their units, and what becomes of numbers that are missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError, ReadingError, StateError
from edge_lstm.signals.declared import chosen
from edge_lstm.signals.programs import Raw, inputs_of, output_numbers, outputs_of, raw_names
from edge_lstm.signals.runtime import Signals
from tests.support.models.signals import inputs, passing, tables

Doubles = npt.NDArray[np.float64]
EPS = float(np.finfo(np.float32).eps)


def rotation(q: Doubles) -> Doubles:
    """Body to world, (3, 3), of a quaternion w x y z."""
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_gravity_of_a_quaternion(rng: np.random.Generator) -> None:
    """The world's (0, 0, -1) seen from the body, to 3 ulps of 1, for any length of quaternion; level it is exact."""
    model = inputs('[inputs.g]\ngravity = ["qw", "qx", "qy", "qz"]', "g[0]", "g[1]", "g[2]").model
    stream = model.stream()
    for scale in (1, 1e-30, 1e30):
        for q in (scale * rng.normal(size=(300, 4))).astype(np.float32):
            expected = rotation(q.astype(np.float64)).T @ [0, 0, -1]
            assert np.abs(stream.step(q) - expected).max() <= 3 * EPS
    for q, level in (([1, 0, 0, 0], [0, 0, -1]), ([0, 1, 0, 0], [0, 0, 1]), ([0, 0, 0, -5], [0, 0, -1])):
        assert stream.step(q).tolist() == level  # type: ignore[union-attr]


def test_gravity_of_roll_and_pitch(rng: np.random.Generator) -> None:
    """From degrees, the same as from the quaternion of these angles, to 4 ulps of 1, whatever the heading."""
    text = '[inputs.g]\ngravity = { roll = "r", pitch = "p" }'
    stream = inputs(text, "g[0]", "g[1]", "g[2]", units={"r": "deg", "p": "rad"}).model.stream()
    for roll, pitch, yaw in rng.uniform(-180, 180, (300, 3)).astype(np.float32).astype(np.float64):
        pitch = float(np.float32(np.radians(pitch)))
        (sr, sp, sy), (cr, cp, cy) = (f([np.radians(roll), pitch, np.radians(yaw)]) for f in (np.sin, np.cos))
        turned = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ [[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]
        expected = (turned @ [[1, 0, 0], [0, cr, -sr], [0, sr, cr]]).T @ [0, 0, -1]
        assert np.abs(stream.step([roll, pitch]) - expected).max() <= 4 * EPS


@pytest.mark.parametrize("source", ['["w", "x", "y", "z"]', '{ roll = "w", pitch = "x" }'])
def test_gravity_is_of_length_1_unless_it_is_scaled(source: str) -> None:
    """A channel in another unit than g needs the factor, and gets what it says."""
    text, names = f"[inputs.g]\ngravity = {source}", ("g[0]", "g[1]", "g[2]")
    with pytest.raises(ConfigError, match=r"length 1, and the channel is in 'm/s²': add { scale = 9.80665 }"):
        inputs(text, *names, channel_units=dict.fromkeys(names, "m/s²"))
    scaled = inputs(f"{text}\ndo = [ {{ scale = 9.80665 }} ]", *names, channel_units=dict.fromkeys(names, "m/s²"))
    level = scaled.model.stream().step([1, 0, 0, 0] if "y" in source else [0, 0])
    assert level == pytest.approx([0, 0, -9.80665])
    for unit in ("g", "1", ""):
        inputs(text, *names, channel_units=dict.fromkeys(names, unit))


def test_a_quaternion_of_zeros_is_no_direction() -> None:
    """A sensor that is not ready gives zeros: no number comes of it, so the model refuses the reading."""
    made = inputs('[inputs.g]\ngravity = ["qw", "qx", "qy", "qz"]', "g[0]", "g[1]", "g[2]")
    signals = Signals(made, passing("g[0]", "g[1]", "g[2]"), None)
    with pytest.raises(ReadingError):
        passing("g[0]", "g[1]", "g[2]").stream().step(signals.channels((0.0, 0.0, 0.0, 0.0)))


def test_fields_become_what_the_channel_is_in() -> None:
    """Each number in the unit of its channel; without one, in the part's; a field without a unit is in the part's; a
    channel without a table likewise."""
    units = {"gyro": "deg/s", "acc": "g", "temp": "°F", "plain": "rpm"}
    channel_units = {"x[0]": "rad/s", "x[1]": "m/s²", "plain": "rad/s"}
    text = """
        [inputs.x]
        from = ["gyro", "acc"]
        [inputs.t]
        from = "temp"
        unit = "°C"
        [inputs.bare]
        from = "bare"
        unit = "deg"
        do = [ { sin = true } ]
        """
    made = inputs(text, "x[0]", "x[1]", "t", "bare", "plain", units=units, channel_units=channel_units)
    assert [r.name for r in made.raw] == ["gyro", "acc", "temp", "bare", "plain"]
    assert [r.unit for r in made.raw] == ["deg/s", "g", "°F", "", "rpm"]
    y = made.model.stream().step([180, 2, 212, 30, 60])
    assert y == pytest.approx([np.pi, 19.6133, 100, 0.5, 2 * np.pi], rel=2 * EPS)


def test_a_rate_makes_the_channel_s_unit() -> None:
    """A field in degrees with the step `rate` for a channel in rad/s is converted to rad before it."""
    made = inputs('[inputs.w]\nfrom = "a"\ndo=[{rate=true}]', "w", units={"a": "deg"}, channel_units={"w": "rad/s"})
    assert made.model.stream().run([[0], [9], [9]])[:, 0] == pytest.approx([0, np.radians(900), 0], rel=2 * EPS)


@pytest.mark.parametrize(
    ("field", "steps", "channel", "factor"),
    [
        ("km/h", "{rate=true}", "m/s²", 100 / 3.6),
        ("deg/s", "{rate=true}", "rad/s/s", 100 * np.pi / 180),
        ("deg", "{rate=true}", "rad·s^-1", 100 * np.pi / 180),
        ("rad", "{rate=true}", "dps", 100 * 180 / np.pi),
        ("deg", "{rate=true}, {rate=true}", "rad/s²", 1e4 * np.pi / 180),
        ("deg", "{wrap=true}, {rate=true}", "rad/s", 100 * np.pi / 180),
        ("deg", "{wrap=true}, {scale=57.29578}", "deg", 1),
        ("rad", "{rate=true}, {scale=9.549297}", "rpm", 100 * 60 / (2 * np.pi)),
    ],
)
def test_what_steps_make_another_quantity_of_is_in_the_channel_s_unit(
    field: str, steps: str, channel: str, factor: float
) -> None:
    """A speed's change per second is an acceleration, however it is spelt; an angle's steps take and give rad."""
    made = inputs(f'[inputs.w]\nfrom = "a"\ndo=[{steps}]', "w", units={"a": field}, channel_units={"w": channel})
    assert made.model.stream().run([[0], [2]])[1] == pytest.approx(2 * factor, rel=4 * EPS)


@pytest.mark.parametrize(
    ("field", "steps", "channel", "why"),
    [
        ("rad", "{rate=true}", "rpm", r"make 'rad/s' of it, and the channel is in 'rpm': add { scale = 9.549"),
        ("deg", "{wrap=true}", "deg", r"make 'rad' of it, and the channel is in 'deg': add { scale = 57.29"),
        ("deg", "{wrap=true}, {rate=true}", "deg/s", "make 'rad/s' of it, and the channel is in 'deg/s'"),
        ("m", "{rate=true}", "V", "make 'm/s' of it, and the channel is in 'V'"),
    ],
)
def test_steps_that_make_another_unit_than_the_channel_s_are_refused(
    field: str, steps: str, channel: str, why: str
) -> None:
    """What comes out in a unit that is known, and not the channel's, is no number for it."""
    with pytest.raises(ConfigError, match=why):
        inputs(f'[inputs.w]\nfrom = "a"\ndo=[{steps}]', "w", units={"a": field}, channel_units={"w": channel})


@pytest.mark.parametrize(
    ("unit", "table", "expected", "known"),
    [
        ("deg", "do = [ { sin = true } ]", 1.0, ""),
        ("", 'unit = "deg"\ndo = [ { sin = true } ]', 1.0, ""),
        ("deg", 'unit = "rad"\ndo = [ { rate = true } ]', 50 * np.pi, "rad/s"),
        ("deg", "do = [ { wrap = true }, { rate = true } ]", 50 * np.pi, "rad/s"),
        ("", "do = [ { rate = true } ]", 9000.0, ""),
    ],
)
def test_outputs_enter_their_steps_in_their_unit(unit: str, table: str, expected: float, known: str) -> None:
    """In the table's unit, or rad before sin, cos and wrap, also where a step makes another quantity of it."""
    model = passing("x", units={"x": unit})
    made = outputs_of(tables(f'[outputs.o]\nfrom = "y.x"\n{table}'), model, 100.0)
    assert made is not None
    assert made.model.stream().run([[0], [90]])[1] == pytest.approx(expected, rel=4 * EPS)
    assert made.model.outputs[0].unit == known


@pytest.mark.parametrize(
    "table", ['unit = "deg"\ndo = [ { wrap = true } ]', 'unit = "rad/s"\ndo = [ { rate = true } ]']
)
def test_an_output_s_unit_that_means_nothing_is_refused(table: str) -> None:
    """`unit` is that in which an output enters its steps: not what comes of them."""
    with pytest.raises(ConfigError, match=r"\[outputs.o\] unit"):
        outputs_of(tables(f'[outputs.o]\nfrom = "y.x"\n{table}'), passing("x", units={"x": "deg"}), 100.0)


def test_parts_constants_and_other_inputs_in_order() -> None:
    """Parts stand one after the other, each with its steps, then those over all; another input is taken with its steps;
    one that is no channel serves others."""
    text = """
        [inputs.x]
        do = [ { clip = [-9, 9] } ]
        [[inputs.x.part]]
        from = ["b", "a"]
        do = [ { scale = 2 } ]
        [[inputs.x.part]]
        constant = [7, -70]
        [[inputs.x.part]]
        input = "half"
        do = [ { offset = 1 } ]
        [[inputs.x.part]]
        model = "estimator.slip"
        [inputs.half]
        from = "a"
        do = [ { scale = 0.5 } ]
        """
    made = inputs(text, *(f"x[{k}]" for k in range(6)))
    assert made.raw == (Raw("b"), Raw("a"), Raw("estimator.slip", model=True))
    y = made.model.stream().step([3, 1, 0.25])
    assert y is not None
    assert y.tolist() == [6, 2, 7, -9, 1.5, 0.25]


def test_what_a_tick_must_hold_is_known_before_units_are() -> None:
    """`raw_names` from the file and the model alone gives the same names, defaults and ages, in the same order."""
    text = '[inputs.x]\nfrom = ["b.c", "a"]\ndefault = [1, 2]\nmax_age_ms = 50'
    names = raw_names(tables(text), passing("x[0]", "x[1]", "plain"), {"plain": "field"})
    assert names == (Raw("b.c", default=1.0, max_age_ms=50.0), Raw("a", default=2.0, max_age_ms=50.0), Raw("field"))


TEXT = """
    [inputs.x]
    [[inputs.x.part]]
    from = "a"
    do = [ { low_pass_hz = 5 } ]
    [[inputs.x.part]]
    previous = "y.x[1]"
    [[inputs.x.part]]
    previous = "double"
    [[inputs.x.part]]
    from = "cmd"
    default = -3
    [outputs.double]
    from = "y.x[0]"
    do = [ { scale = 2 }, { slew_per_s = 100 } ]
    """


def at_work() -> tuple[Signals, Model]:
    """x[0] a low pass, x[1] its own value before, x[2] twice x[0] before, x[3] a command."""
    declared, model = tables(TEXT), passing("x[0]", "x[1]", "x[2]", "x[3]")
    made = inputs_of(declared, model, {}, {}, 100.0)
    return Signals(made, model, outputs_of(declared, model, 100.0)), model


def test_what_was_before_is_0_and_then_the_output() -> None:
    """Nothing is carried over into the first reading, also after a reset; then the outputs of the step before, the
    model's and the derived one."""
    signals, model = at_work()
    assert output_numbers(tables(TEXT), model)[0][-1] == "double"
    for _ in range(2):
        signals.reset()
        assert signals.channels((4.0, 1.0)).tolist() == [4, 0, 0, 1]
        assert signals.outputs(np.array([4, 9, 0, 0], np.float32)) == [4, 9, 0, 0, 8]
        assert signals.channels((4.0, 1.0)).tolist() == [4, 9, 8, 1]
        assert signals.outputs(np.array([5, 0, 0, 0], np.float32)) == [5, 0, 0, 0, 9]  # no more than 1 per reading


def test_a_missing_number_is_the_default_or_a_reading_that_is_not_taken() -> None:
    """The command's default stands for NaN; without a default the reading is refused by name, and filters, what is
    carried over and the next reading's bits are as if it had never come."""
    nan = float("nan")
    signals, _ = at_work()
    other, _ = at_work()
    for one in (signals, other):
        one.channels((1.0, 2.0))
        one.outputs(np.array([1, 2, 3, 4], np.float32))
    for bad in ((nan, 1.0), (float("inf"), 1.0), (1e39, 0.0), (-1e300, nan)):
        with pytest.raises(ReadingError, match="'a' is missing"):
            signals.channels(bad)
    assert signals.channels((2.0, nan)).tolist() == other.channels((2.0, -3.0)).tolist()
    with pytest.raises(ReadingError, match="expected 2 raw numbers, got 1"):
        signals.channels((1.0,))


def test_an_output_that_is_not_finite_is_not_carried_over() -> None:
    """Such an output is refused by [outputs]; what was carried over before stays, so the next reading is taken."""
    signals, model = at_work()
    signals.channels((1.0, 1.0))
    signals.outputs(np.array([1, 5, 0, 0], np.float32))
    with pytest.raises(ReadingError):
        signals.outputs(np.array([np.inf, 6, 0, 0], np.float32))
    assert signals.channels((1.0, 1.0)).tolist() == [1, 5, 2, 1]
    plain = inputs_of(tables('[inputs.x]\nprevious = "y.x"\n'), passing("x", "b"), {}, {}, None)
    alone = Signals(plain, passing("x", "b"), None)
    alone.channels((1.0,))
    alone.outputs(np.array([3, 0], np.float32))
    assert alone.channels((1.0,)).tolist() == [3, 1]
    alone.outputs(np.array([np.nan, 0], np.float32))
    assert alone.channels((1.0,)).tolist() == [3, 1]
    assert model.name == "passing"


def test_a_snapshot_goes_on_with_the_same_bits(rng: np.random.Generator) -> None:
    """Filters, slew and what is carried over, restored into others; those of other declarations are refused."""
    signals, _ = at_work()
    ys, raws = rng.normal(size=(40, 4)).astype(np.float32), rng.normal(size=(40, 2)).tolist()
    for raw, y in zip(raws[:20], ys[:20], strict=True):
        signals.channels(raw)
        signals.outputs(y)
    other, _ = at_work()
    other.restore(signals.snapshot())
    for raw, y in zip(raws[20:], ys[20:], strict=True):
        assert signals.channels(raw).tolist() == other.channels(raw).tolist()
        assert signals.outputs(y) == other.outputs(y)
    declared, model = tables('[inputs.x]\nfrom = "a"'), passing("x")
    with pytest.raises(StateError, match="other inputs and outputs"):
        Signals(inputs_of(declared, model, {}, {}, None), model, None).restore(signals.snapshot())


def test_what_was_before_a_number_that_is_none_is_in_a_snapshot() -> None:
    """An output that was not finite is taken back with what it did not replace, into the same signals and others."""
    model = passing("x", "b")
    made = inputs_of(tables('[inputs.x]\nprevious = "y.x"\n'), model, {}, {}, None)
    signals, other = Signals(made, model, None), Signals(made, model, None)
    for y in (3, np.nan):
        signals.channels((1.0,))
        signals.outputs(np.array([y, 0], np.float32))
    moment = signals.snapshot()
    for y in (7, 8):  # what stands in for readings that come after all
        signals.channels((1.0,))
        signals.outputs(np.array([y, 0], np.float32))
    for one in (signals, other):
        one.restore(moment)
        assert one.channels((1.0,)).tolist() == [3, 1]


def test_a_channel_of_words_takes_its_index_as_it_is() -> None:
    """Beside declared inputs, the field of a channel with a vocabulary passes unchanged, one number for it."""
    b = Builder()
    b.output("y", b.map("identity", b.input("x", 4)))
    words = Channel("mode", vocabulary=("stop", "go", "back"))
    outputs = tuple(Channel(f"y[{k}]") for k in range(4))
    model = Model(b.build(), (words, Channel("v")), outputs, name="words")
    declared = tables('[inputs.v]\nfrom = "v"\ndo = [ { scale = 3 } ]')
    made = inputs_of(declared, model, {}, {}, None)
    values = Signals(made, model, None).channels((5.0, 2.0))
    assert values.tolist() == [2, 15]
    with pytest.raises(ConfigError, match="takes words"):
        inputs_of(tables('[inputs.mode]\nfrom = "m"'), model, {}, {}, None)


def test_words_are_numbers_by_the_channel_s_name() -> None:
    """`from` an output of words takes all their numbers, in their order."""
    b = Builder()
    b.output("y", b.softmax(b.input("x", 3)))
    model = Model(b.build(), tuple(map(Channel, "abc")), (Channel("gait", vocabulary=("stand", "trot", "walk")),))
    made = outputs_of(tables('[outputs.cmd]\nfrom = "gait"\ndo = [ { argmax = [0, 2.5, 1.5] } ]'), model, None)
    assert made is not None
    assert made.model.stream().step(model.stream().step([0, 2, 1])).tolist() == [2.5]  # type: ignore[union-attr]


def test_an_input_keeps_its_unit_for_another() -> None:
    """What takes another input gets it in its own unit; what a step has made another quantity of, as that."""
    text = """
        [inputs.turn]
        from = "a"
        unit = "rad"
        do = [ { rate = true } ]
        [inputs.x]
        input = "turn"
        """
    made = inputs(text, "x", units={"a": "rad"}, channel_units={"x": "deg/s"})
    assert made.model.stream().run([[0], [1]])[1] == pytest.approx(np.degrees(100), rel=2 * EPS)


def test_what_needs_no_operation_passes() -> None:
    """A field that is a channel, and an output that is the model's own, unchanged."""
    declared, model = tables('[inputs.x]\nfrom = "a"\n[outputs.out]\nfrom = "y.x"'), passing("x")
    signals = Signals(inputs_of(declared, model, {}, {}, None), model, outputs_of(declared, model, None))
    assert signals.channels((0.5,)).tolist() == [0.5]
    assert signals.outputs(np.array([3], np.float32)) == [3, 3]
    with pytest.raises(ReadingError, match="'a' is missing"):
        signals.channels((float("nan"),))


def test_argmax_is_a_number_or_says_a_text() -> None:
    """Among outputs the largest, of equals the first: its number, or its place with the text for it."""
    model = passing("a", "b", "c")
    text = '[outputs.mode]\ndo=[{argmax=["stop","go","back"]}]\n[outputs.speed]\ndo=[{argmax=[0,0.5,-0.2]}]'
    declared = tables(text)
    made = outputs_of(declared, model, None)
    assert made is not None
    assert declared.texts() == {"mode": ("stop", "go", "back")}
    for y, says in (([1, 3, 2], ("go", 0.5)), ([4, 4, 0], ("stop", 0.0)), ([-1, -1, 0], ("back", -0.2))):
        place, speed = made.model.stream().step(y).tolist()  # type: ignore[union-attr]
        assert (chosen(declared.texts()["mode"], place), speed) == (says[0], pytest.approx(says[1]))
    assert [chosen(("stop", "go"), value) for value in (-1.0, 2.0, float("nan"))] == [None] * 3
