"""Quantization: what the new model keeps of the old one, what the integers are, and what the report shows of them."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_lstm
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.errors import QuantizeError
from edge_lstm.logs.series import Series
from edge_lstm.plots.quantize import plot_quantize
from edge_lstm.quantization import quantize, report
from edge_lstm.quantization.compare import Speed
from edge_lstm.quantization.layers import layers, mixed
from edge_lstm.quantization.observe import Log, Observer, Seen, logs_of, observe
from edge_lstm.quantization.rounding import SCALINGS, compensated
from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.robot import READING, robot_dictionary
from tests.support.models.half_nets import widened
from tests.support.models.nets import CELLS, Weights, network, readings
from tests.support.oracles.reference import Reference

SCHEMES = tuple(SCALINGS)
EXAMPLES = Path(edge_lstm.__file__).parent / "examples"
# Of an output's range, root mean square. int8 keeps seven bits of each value, so half a per cent is what to expect.
BOUNDS = {"int8": 0.02, "int16": 0.005, "int8-weights": 0.005, "int8-dynamic": 0.005, "float16": 0.0005}
OF_INTEGERS = tuple(scheme for scheme in SCHEMES if scheme != "float16")


def kinds(model: Model) -> list[str]:
    return [op.kind for op in model.program.operations]


def relative(model: Model, other: Model, xs: np.ndarray) -> float:
    """The worst output's root mean square error, as a part of its range, counted here once more."""
    expected, got = model.stream().run(xs), other.stream().run(xs)
    there = ~np.isnan(expected).any(axis=1)
    assert (np.isnan(got) == np.isnan(expected)).all()
    error = np.sqrt(((got - expected)[there].astype(np.float64) ** 2).mean(axis=0))
    return float((error / np.ptp(expected[there], axis=0)).max())


# --- the new model


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("window", [None, 3])
def test_outputs_stay_near_in_every_scheme_cell_and_meaning(scheme: Any, kind: str, window: int | None):
    """Two layers and a head, continuous or a window: on readings that calibrated nothing, no output is further off than
    the scheme's bits let expect, and every layer is quantized."""
    model = network(kind, inputs=6, units=12, layers=2, window=window)
    quantized = quantize(model, readings(1000, 6, 1), scheme)
    assert kinds(quantized) == [k if scheme == "float16" else f"quantized_{k}" for k in kinds(model)]
    assert quantized.program.rounded
    assert 0 < relative(model, quantized, readings(300, 6, 2)) < BOUNDS[scheme]


def test_everything_but_weights_and_provenance_stays(tmp_path: Path):
    """Channels, rate, timing, feedback, policy and name are the old model's; the digest is not; the file gives
    the same model back, and its provenance names what it was made from."""
    names = [Channel("a", "m", 2.0, 1.0), Channel("b", "m/s")]
    model = replace(
        network("lstm", inputs=2, units=8, outputs=2, channels=tuple(names)),
        outputs=(Channel("next a", "m", 0.5, 3.0), Channel("y")),
        feedback=(Feedback("next a", "a"),),
        policy=Policy("predict", 3),
        rate_hz=50.0,
        timing=Timing(first_output=3, stride=2),
        provenance={"source": "somewhere"},
    )
    xs = readings(300, 2, 3)
    quantized = quantize(model, xs, keep=["dense"])
    for field in ("inputs", "outputs", "rate_hz", "timing", "name", "feedback", "policy"):
        assert getattr(quantized, field) == getattr(model, field)
    assert quantized.program.states == model.program.states
    source = quantized.provenance["quantized"]
    assert quantized.provenance["source"] == "somewhere"
    assert (source["scheme"], source["source_digest"], source["readings"]) == ("int8", model.digest, 300)
    assert (source["layers"], source["kept"]) == (["lstm0"], ["head"])
    assert quantized.digest != model.digest
    edge_lstm.save(quantized, tmp_path / "q.npz")
    again = edge_lstm.load(tmp_path / "q.npz")
    assert again.digest == quantized.digest
    assert again.provenance == quantized.provenance
    assert again.stream().run(xs).tobytes() == quantized.stream().run(xs).tobytes()


def test_the_same_readings_give_the_same_model_from_an_array_and_a_log():
    """Quantizing is a function of model and readings: twice the same bits; a log's rows with a hole count for nothing,
    and its name stands in the provenance."""
    model, xs = network(inputs=3), readings(200, 3)
    holed = np.insert(xs, 50, [1.0, np.nan, 1.0], axis=0)
    log = Series("drive.csv", np.arange(201) / 100, holed)
    one, two = quantize(model, xs), quantize(model, log)
    assert one.digest == two.digest == quantize(model, xs).digest
    source = two.provenance["quantized"]
    assert (source["calibration"], source["readings"]) == (["drive.csv"], 200)
    assert source["calibration_sha256"] == one.provenance["quantized"]["calibration_sha256"]


def test_kept_layers_keep_their_bits():
    """--keep by name or by kind: these layers are the same objects, the others are quantized."""
    model, xs = network("gru", inputs=3, units=8, layers=2), readings(200, 3)
    for keep, left in (("gru1", [False, True, False]), ("gru", [True, True, False]), ("dense", [False, False, True])):
        quantized = quantize(model, xs, keep=[keep])
        assert [a is b for a, b in zip(quantized.program.operations, model.program.operations, strict=True)] == left


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_head_over_several_rows_has_one_scale_for_each_input(scheme: Any):
    """dense with rows = 3: the rows are readings of the same inputs."""
    b, w = Builder(), Weights(0, 8)
    b.output("y", b.dense(b.input("x", 12), W=w(2, 4), b=w(2), rows=3))
    model = Model(b.build(), channels_for(("x",), (12,)), channels_for(("y",), (6,)))
    xs = readings(400, 12) * np.tile(np.float32([1, 2, 3, 4]), 3)
    quantized = quantize(model, xs, scheme)
    assert relative(model, quantized, xs) < BOUNDS[scheme]
    if scheme == "int8":
        largest = np.abs(xs.reshape(-1, 4)).max(axis=0)
        assert (quantized.program.operations[0].weights["x_scale"] * 127.001 >= 0.5 * largest).all()


def test_a_memory_that_nothing_bounds_is_as_large_as_it_was_seen():
    """A relu RNN's h has its own largest value as the reach of its integers."""
    b, w = Builder(), Weights(0, 8)
    h = b.state("h", 8)
    after = b.rnn(b.input("x", 3), h, W=10 * w(8, 3), R=0.5 * w(8, 8), b=w(8), activation="relu", name="rnn")
    b.next(h, after)
    b.output("y", after)
    model = Model(b.build(), channels_for(("x",), (3,)), channels_for(("y",), (8,)))
    xs = readings(500, 3)
    largest = model.stream().run(xs)[:-1].max()
    quantized = quantize(model, xs, "int16")
    assert largest > 1
    assert quantized.program.operations[0].weights["h_scale"][0] * 32767 == pytest.approx(largest, rel=1e-4)
    assert relative(model, quantized, xs) < BOUNDS["int16"]


def test_shared_weights_stay_shared():
    """Two operations with one weight (a network unrolled over a window) are one layer, calibrated on what both read."""
    b, w = Builder(), Weights(0, 8)
    W = w(4, 3)
    one, two = b.input("one", 3), b.input("two", 3)
    b.output("y", b.binary("add", b.dense(one, W=W), b.dense(two, W=W)))
    model = Model(b.build(), channels_for(("x",), (6,)), channels_for(("y",), (4,)))
    xs = readings(200, 6)
    xs[:, 3:] *= 10
    found = layers(model.program)
    assert [layer.numbers for layer in found] == [(0, 1)]
    quantized = quantize(model, xs, "int16")
    first, second = (op.weights for op in quantized.program.operations[:2])
    assert all(first[key] is second[key] for key in ("W", "W_scale", "x_scale"))
    assert first["x_scale"].max() * 32767 >= np.abs(xs).max() * 0.999
    assert relative(model, quantized, xs) < 0.01


# --- what is observed


@pytest.mark.parametrize("window", [None, 4])
def test_the_observer_sees_what_every_layer_reads(window: int | None):
    """Each layer's x and h are those of the naive reference, step by step; in window mode from the reset state on."""
    model = network("lstm", inputs=3, units=5, layers=2, window=window)
    found, xs = layers(model.program), readings(21, 3)
    log = Log("log", np.arange(21), np.arange(21.0), xs)
    seen = [values for _, values in Observer(model, found)([log])]
    reference, expected = Reference(model.program), {layer.name: ([], []) for layer in found}
    for t, x in enumerate(xs):
        if window and t % window == 0:
            reference.reset()
        memory = [reference.read(slot) for layer in found for slot in layer.operation.inputs[1:2]]
        reference.step(x)
        for k, layer in enumerate(found):
            expected[layer.name][0].append(reference.read(layer.operation.inputs[0]))
            if layer.recurrent:
                expected[layer.name][1].append(memory[k])
    for layer in found:
        for part, values in enumerate(expected[layer.name]):
            if values:
                got = np.concatenate([chunk[layer.name][part] for chunk in seen])
                np.testing.assert_allclose(got, np.array(values), atol=2e-6)


@given(st.integers(100, 3000), st.sampled_from([0.0, 0.0001, 0.0005]), st.integers(0, 5))
def test_no_more_is_clipped_than_clip_allows(count: int, clip: float, seed: int):
    """Of every input at most the part `clip` of all its values lies outside the reach, and with 0 none."""
    model = network("rnn", inputs=2, units=4)
    xs = np.random.default_rng(seed).standard_cauchy((count, 2)).astype(np.float32)
    seen = observe(model, layers(model.program), logs_of(model, xs))["rnn0"]
    beyond = (np.abs(xs) > seen.reach(clip)).sum(axis=0)
    assert (beyond <= clip * count).all()


def test_what_was_never_seen_gets_room():
    """A word that never occurred has the scale of the others, so it is not lost when it comes."""
    words = Channel("word", vocabulary=("a", "b", "c"))
    model = network("lstm", inputs=3, units=8, channels=(words,))
    xs = np.eye(3, dtype=np.float32)[np.arange(300) % 2]
    quantized = quantize(model, xs)
    scale = quantized.program.operations[0].weights["x_scale"]
    np.testing.assert_array_equal(scale, np.float32(1 / 127))


# --- the integers


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 50))
def test_where_inputs_have_nothing_in_common_weights_are_the_nearest(rows: int, inputs: int, seed: int):
    """Readings without correlation leave nothing to make good: each weight is rounded, to -127 … 127."""
    signs = np.array([[(-1.0) ** bin(i & j).count("1") for j in range(1, inputs + 1)] for i in range(16)])
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 1, (rows, inputs))
    step = np.repeat(np.abs(target).max(axis=1, keepdims=True) / 127, inputs, axis=1)
    found = compensated(target, step, signs * rng.uniform(0.1, 100, inputs))
    np.testing.assert_array_equal(found, np.rint(target / step))
    assert np.abs(found).max() == 127


def test_compensation_follows_what_the_inputs_have_in_common():
    """Inputs that move together carry each other's rounding: the error falls to less than a third."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (2000, 1)) + rng.normal(0, 0.05, (2000, 16))
    target = rng.normal(0, 1, (32, 16))
    step = np.full((32, 16), np.abs(target).max() / 20)
    integers = {"nearest": np.rint(target / step), "compensated": compensated(target, step, values)}
    left = {name: ((q * step - target) @ values.T).var() for name, q in integers.items()}
    assert left["compensated"] < left["nearest"] / 3


@pytest.mark.parametrize("scheme", OF_INTEGERS)
def test_what_rounding_leaves_on_average_goes_into_the_bias(scheme: Any):
    """Of a layer alone, over its calibration readings, the mean error is a thousandth of the root mean square one."""
    b, w = Builder(), Weights(0, 8)
    b.output("y", b.dense(b.input("x", 6), W=w(4, 6), b=w(4)))
    model = Model(b.build(), channels_for(("x",), (6,)), channels_for(("y",), (4,)))
    xs = readings(3000, 6) + 5
    error = (quantize(model, xs, scheme).stream().run(xs) - model.stream().run(xs)).astype(np.float64)
    assert (np.abs(error.mean(axis=0)) < 1e-3 * np.sqrt((error**2).mean(axis=0))).all()


def test_the_program_takes_what_quantization_makes_of_extreme_readings():
    """Readings of 1e30 and of 1e-30 side by side: every scale is a number the program takes."""
    model, xs = network("lstm", inputs=4, units=8), readings(200, 4)
    xs *= np.array([1e30, 1e-30, 1.0, 1e4], np.float32)
    for scheme in SCHEMES:
        quantize(model, xs, scheme)  # type: ignore[arg-type]  # Program checks itself


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_scaling_that_is_nearest_on_the_log_is_taken(scheme: Any, monkeypatch: pytest.MonkeyPatch):
    """Of those that are tried, end to end; a log with rare outliers is one where int8 clips, and reports it."""
    model, xs = network("lstm", inputs=4, units=12), readings(4000, 4)
    xs[::1500] *= 60
    chosen, tried = quantize(model, xs, scheme), SCALINGS[scheme]
    errors = []
    for scaling in tried:
        monkeypatch.setitem(SCALINGS, scheme, (scaling,))
        errors.append(relative(model, quantize(model, xs, scheme), xs))
    assert relative(model, chosen, xs) == min(errors)
    clips = tried[int(np.argmin(errors))].clip > 0
    assert clips == (scheme == "int8") == ("are clipped" in chosen.provenance["quantized"]["scaling"])


# --- float16


def test_float16_is_each_weight_to_nearest_and_nothing_else(tmp_path: Path):
    """Ties to even, as Python's struct rounds it; biases, and layers that are kept, are the old ones, and the file
    gives all of it back, in half the bytes. The outputs are those of float32 with these weights, bit by bit."""
    model, xs = network("lstm", inputs=6, units=64, layers=2), readings(300, 6)
    made = quantize(model, xs, "float16", keep="lstm1")
    edge_lstm.save(made, tmp_path / "half.npz")
    again = edge_lstm.load(tmp_path / "half.npz")
    assert (again.digest, again.provenance) == (made.digest, made.provenance)
    for before, after in zip(model.program.operations, again.program.operations, strict=True):
        assert (before.kind, dict(before.attributes)) == (after.kind, dict(after.attributes))
        for key, w in before.weights.items():
            if key == "b" or before.name == "lstm1":
                assert after.weights[key].tobytes() == w.tobytes()
            else:
                assert after.weights[key].tobytes() == struct.pack(f"<{w.size}e", *w.ravel().tolist())
    assert made.stream().run(xs).tobytes() == widened(again).stream().run(xs).tobytes()
    told = report(model, quantize(model, xs, "float16"), xs, xs)
    assert told.scheme == "float16"
    assert 0.5 < told.weight_bytes[1] / told.weight_bytes[0] < 0.52
    assert (told.keep, [part.clipped for part in told.layers]) == ((), [0.0, 0.0, 0.0])


def test_a_weight_beyond_float16_is_refused_by_layer():
    """From 65,520 on, which would be rounded to infinity; below that it is the largest."""
    b = Builder()
    x = b.input("x", 3)
    b.output("y", b.dense(x, W=[[1.0, -65519.0, 2.0]], b=[0.0], name="fits"))
    b.output("z", b.dense(x, W=[[1.0, -65520.0, 2.0]], b=[0.0], name="large"))
    model = Model(b.build(), channels_for(("x",), (3,)), channels_for(("y", "z"), (1, 1)))
    xs = readings(200, 3)
    with pytest.raises(QuantizeError, match="'large' has a weight of 65520 in W, and float16 ends at 65504: keep"):
        quantize(model, xs, "float16")
    fits, large = quantize(model, xs, "float16", keep="large").program.operations
    assert fits.weights["W"].tolist() == [[1.0, -65504.0, 2.0]]
    assert large is model.program.operations[1]


# --- refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scheme": "int4"}, "scheme 'int4' is unknown; known are int8, int16, int8-weights"),
        ({"keep": ["lsmt0"]}, "keep 'lsmt0': there is no such layer; there are lstm0 (lstm), head (dense)"),
        ({"keep": ["lstm", "dense"]}, "every layer stays float32"),
        ({"calibration": readings(99, 3)}, "99 complete readings are too few for calibration; 100 are the least"),
        ({"calibration": readings(200, 4)}, "must have the shape (readings, 3: x[0], x[1], x[2]), not (200, 4)"),
        ({"calibration": "log.csv"}, "a log must be numbers"),
        ({"calibration": []}, "a log must have the shape"),
        ({"calibration": np.full((200, 3), np.nan)}, "row 0 holds nan in channel 'x[0]'"),
        ({"calibration": readings(200, 3) * [1, 0, 1]}, "channel 'x[1]' is 0 in all 200 readings"),
        (
            {"calibration": Series("log", np.arange(200.0), np.full((200, 3), np.nan, np.float32))},
            "log: channel 'x[0]' has no number in any row",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(change: dict[str, Any], words: str):
    """Unknown scheme or layer, too few readings, another width, NaN, a channel without a range."""
    with pytest.raises(QuantizeError) as error:
        quantize(network(inputs=3), **({"calibration": readings(200, 3)} | change))
    assert words in str(error.value)


def test_a_path_is_a_model_and_one_name_is_one_layer(tmp_path: Path):
    """`quantize` and `report` take the path of a file as `verify` does, `keep` takes one name; another thing is refused
    in a sentence."""
    model, xs, path = network(inputs=3), readings(200, 3), tmp_path / "m.npz"
    edge_lstm.save(model, path)
    made = quantize(path, [xs], keep="head")
    assert made.digest == quantize(str(path), xs, keep=["head"]).digest == quantize(model, xs, keep=("head",)).digest
    edge_lstm.save(made, tmp_path / "q.npz")
    assert report(path, tmp_path / "q.npz", xs, xs).keep == report(model, made, xs, xs).keep
    for call in (lambda: quantize(7, xs), lambda: report(model, None, xs, xs)):  # type: ignore[arg-type]
        with pytest.raises(QuantizeError, match=r"expected a model or the path of its file, got (int|NoneType)"):
            call()


def test_a_report_that_proves_little_says_so():
    """Held-out readings that hardly move, a channel that stands still and one absurd value are doubts that name them,
    the value with its row; logs that are alike raise none."""
    model, xs = network(inputs=3), readings(2000, 3)
    held, quiet = readings(500, 3, 5), readings(500, 3, 5) * np.float32([1e-3, 1, 1])
    standing, absurd = xs.copy(), xs.copy()
    standing[:, 1], absurd[77, 2] = 0.7, 1e30

    def told(calibration: np.ndarray, held_out: np.ndarray, scheme: Any = "int8") -> tuple[str, ...]:
        return report(model, quantize(model, calibration, scheme), calibration, held_out).doubts

    assert told(xs, held) == ()
    (doubt,) = told(xs, quiet)
    assert "input 'x[0]': the held-out readings move over less than 10%" in doubt
    still = told(xs, np.full((500, 3), 0.1, np.float32))
    assert [doubt.split(":")[0].split("'y[")[0] for doubt in still] == ["input 'x[0]', 'x[1]', 'x[2]'", "output "]
    (doubt,) = told(standing, held)
    assert doubt.startswith("channel 'x[1]' is 0.7 in all 2,000 calibration readings")
    assert any("row 77 holds 1e+30 in channel 'x[2]', of which 99.9% are within ±" in d for d in told(absurd, held))
    assert told(standing, held, "int8-weights") == ()


def test_channels_beyond_their_calibrated_range_are_named():
    """The range, how far beyond it a channel went and in how many readings; the farthest first; none with float32
    activations, which clip nothing."""
    model, xs = network(inputs=3), np.clip(readings(1000, 3), -1, 1)
    held = np.clip(readings(400, 3, 7), -1, 1)
    held[:100, 2], held[:4, 0] = 3, -2
    far, near = report(model, quantize(model, xs), xs, held).beyond
    assert (far.channel, far.lowest, far.highest, far.reached, far.part) == ("x[2]", -1, 1, 3, 0.25)
    assert (near.channel, near.reached, near.part) == ("x[0]", -2, 0.01)
    assert "was calibrated over -1 … 1 and reached 3 in the held-out readings, outside in 25.00%" in str(far)
    assert report(model, quantize(model, xs, "int8-weights"), xs, held).beyond == ()


def test_what_is_quantized_is_not_quantized_again():
    """Nor is a model without weights."""
    model, xs = network(inputs=3), readings(200, 3)
    for before, scheme in (("int8", "int8"), ("float16", "int8"), ("float16", "float16")):
        with pytest.raises(QuantizeError, match="quantized already"):
            quantize(quantize(model, xs, before), xs, scheme)  # type: ignore[arg-type]
    b = Builder()
    b.output("y", b.map("tanh", b.input("x", 3)))
    bare = Model(b.build(), channels_for(("x",), (3,)), channels_for(("y",), (3,)))
    with pytest.raises(QuantizeError, match="none of its operations has weights"):
        quantize(bare, xs)


def _logarithm(kind: str = "log") -> Model:
    """y = log(x0 - x1 + 0.001), or of exp: a little error in the dense layer is NaN behind it."""
    b = Builder()
    W, bias = np.float32([[1, -1]]), np.float32([1e-3])
    if kind == "exp":
        b.output("y", b.map("tanh", b.dense(b.map("exp", b.input("x", 2)), W=W, b=bias)))
    else:
        b.output("y", b.map("log", b.dense(b.input("x", 2), W=W, b=bias)))
    return Model(b.build(), channels_for(("x",), (2,)), channels_for(("y",), (1,)))


def _apart(least: float, most: float, count: int = 1000) -> np.ndarray:
    """Readings whose first channel is larger than the second by least … most."""
    rng = np.random.default_rng(0)
    base = rng.uniform(-1, 1, (count, 1))
    return np.concatenate([base + rng.uniform(least, most, (count, 1)), base], axis=1).astype(np.float32)


def test_a_scheme_that_makes_nan_of_numbers_is_refused_by_layer_and_reading():
    """int8 leaves log() a negative value on the calibration log itself; int8-weights does not, and is taken."""
    model, xs = _logarithm(), _apart(0, 0.01)
    with pytest.raises(QuantizeError, match=r"its output is NaN .* in calibration, row \d+, because of dense: keep"):
        quantize(model, xs)
    got = quantize(model, xs, "int8-weights").stream().run(xs)
    assert np.isfinite(got).all()


def test_a_scaling_that_makes_nan_of_numbers_is_not_taken(monkeypatch: pytest.MonkeyPatch):
    """Of the two of int16 one fails on this log by itself; whichever comes first, the other one is taken."""
    model, xs = _logarithm(), _apart(0, 0.01)
    several, refused = SCALINGS["int16"], 0
    for scaling in several:
        monkeypatch.setitem(SCALINGS, "int16", (scaling,))
        try:
            quantize(model, xs, "int16")
        except QuantizeError:
            refused += 1
    assert refused == 1
    for order in (several, several[::-1]):
        monkeypatch.setitem(SCALINGS, "int16", order)
        assert np.isfinite(quantize(model, xs, "int16").stream().run(xs)).all()


def test_a_log_on_which_the_float32_model_says_nothing_is_refused():
    """Its outputs are all NaN, so there is nothing to be near to."""
    with pytest.raises(QuantizeError, match="calibration: the float32 model has no finite output at any reading"):
        quantize(_logarithm(), _apart(-0.3, -0.1), "int8-weights")


@pytest.mark.parametrize("scheme", OF_INTEGERS)
def test_a_layer_that_reads_infinity_is_named_with_its_reading(scheme: Any):
    """exp(100) is no float32; the float32 model goes on, as tanh of it is 1 (and so does float16). The row is the log's
    own."""
    xs = readings(300, 2)
    xs[157, 0] = 100
    log = Series("drive.csv", np.arange(300.0), np.where(np.arange(300)[:, None] == 9, np.nan, xs))
    for logs, what in (
        ([xs[:150], xs[150:]], "calibration 1: layer 'dense' reads inf at row 7"),
        (log, "drive.csv: layer 'dense' reads inf at row 157"),
    ):
        with pytest.raises(QuantizeError) as error:
            quantize(_logarithm("exp"), logs, scheme)
        assert what in str(error.value)


def test_readings_before_the_first_output_do_not_count():
    """Of a window of 30 readings: logs of 25 give no output, however many they are; logs of 79 give 50 each."""
    model = network(inputs=2, window=30)
    for scheme in SCHEMES:
        with pytest.raises(QuantizeError, match=r"200 complete readings are too .* the first 29 of each log have no"):
            quantize(model, [readings(25, 2, seed) for seed in range(8)], scheme)  # type: ignore[arg-type]
    logs = [readings(79, 2, 1), readings(79, 2, 2), readings(25, 2, 3)]
    told = report(model, quantize(model, logs), logs, logs)
    assert told.outputs[0].held_out.readings == 100
    with pytest.raises(QuantizeError, match="too few"):
        quantize(model, [readings(79, 2, 1), readings(78, 2, 2)])


# --- the report


@pytest.mark.parametrize("deeper", [False, True])
def test_what_only_the_quantized_model_cannot_say_is_the_worst_reading(deeper: bool, tmp_path: Path):
    """NaN at some held-out readings: they are counted, errors and drift are infinite, the worst reading is one of them,
    the layer suffers, and JSON has null. Deeper: a quantized layer behind it refuses to go on, so no reading counts,
    and the picture is of the float32 model alone."""
    b = Builder()
    y = b.map("log", b.dense(b.input("x", 2), W=np.float32([[1, -1]]), b=np.float32([1e-3]), name="first"))
    b.output("y", b.dense(y, W=np.float32([[0.5]]), b=np.zeros(1, np.float32), name="second") if deeper else y)
    model = Model(b.build(), channels_for(("x",), (2,)), channels_for(("y",), (1,)))
    xs, held = _apart(0.05, 0.3), _apart(0, 0.3)
    quantized = quantize(model, xs)
    told = report(model, quantized, xs, held, lambda: 0.0)
    expected = model.stream().run(held)
    alone = mixed(model, quantized, layers(model.program)[:1]).stream().run(held)
    failed = int(np.isnan(alone).sum())
    assert np.isfinite(expected).all()
    assert 0 < failed < 20
    assert told.outputs[0].held_out.readings == 1000
    assert told.failed == (1000 if deeper else failed)
    assert told.layers[0].failed == failed
    assert told.keep == ("first",)
    assert told.error == max(told.outputs[0].drift) == np.inf
    worst = told.worst[0]
    assert np.isnan(worst.got)
    assert worst.expected == expected[worst.row, 0]
    assert (told.step is None) == deeper
    if deeper:
        plot_quantize(model, quantized, logs_of(model, held)[0], "int8", tmp_path / "error.svg")
        assert (tmp_path / "error.svg").stat().st_size > 10_000
    found = json.loads(json.dumps(told.as_dict(), allow_nan=False))
    assert (found["error"], found["worst"][0]["got"], found["failed"]) == (None, None, told.failed)


def test_what_the_float32_model_cannot_say_is_no_error():
    """Readings at which its output is NaN are left out, whatever the quantized one gives there."""
    model, xs = _logarithm(), _apart(0.05, 0.3)
    held = np.concatenate([_apart(0.05, 0.3, 400), _apart(-0.3, -0.05, 100)])
    told = report(model, quantize(model, xs), xs, held)
    assert (told.outputs[0].held_out.readings, told.failed) == (400, 0)
    assert np.isfinite(told.outputs[0].drift).all()
    assert all(worst.row < 400 for worst in told.worst)


def test_the_report_tells_what_can_be_counted():
    """Errors, the worst reading, sizes and digests are those of the two models, counted here once more."""
    model, xs, held = network("lstm", inputs=3), readings(500, 3, 1), readings(400, 3, 2)
    quantized = quantize(model, xs)
    told = report(model, quantized, xs, held)
    expected, got = model.stream().run(held), quantized.stream().run(held)
    error, extent = np.abs(got - expected), np.ptp(expected, axis=0)
    for k, output in enumerate(told.outputs):
        assert output.held_out.largest == pytest.approx(error[:, k].max())
        assert output.held_out.rms == pytest.approx(np.sqrt((error[:, k] ** 2).mean()), rel=1e-5)
        assert output.held_out.rms_of_range == pytest.approx(output.held_out.rms / extent[k], rel=1e-5)
        assert output.change == pytest.approx(np.sqrt((np.diff(expected[:, k]) ** 2).mean()), rel=1e-5)
    row, k = np.unravel_index((error / extent).argmax(), error.shape)
    worst = told.worst[0]
    assert (worst.row, worst.output) == (row, f"y[{k}]")
    assert (worst.expected, worst.got) == pytest.approx((expected[row, k], got[row, k]))
    assert len(told.worst) == 5
    assert np.diff(sorted(w.row for w in told.worst)).min() > 4  # a hundredth of the log
    assert told.error == pytest.approx(relative(model, quantized, held), rel=1e-5)
    floats = sum(w.nbytes for op in model.program.operations for w in op.weights.values())
    assert told.weight_bytes[0] == floats
    assert told.weight_bytes[1] < 0.5 * floats
    assert (told.source_digest, told.digest) == (model.digest, quantized.digest)
    assert told.step is told.log is None
    json.dumps(told.as_dict(), allow_nan=False)


def test_a_layer_s_part_is_that_of_it_alone():
    """Its error is that of the model in which only it is quantized; a layer that stays float32 has none."""
    model, xs = network("gru", inputs=3, units=8, layers=2), readings(400, 3)
    quantized = quantize(model, xs, keep=["gru0"])
    found = layers(model.program)
    told = report(model, quantized, xs, xs)
    assert [part.quantized for part in told.layers] == [False, True, True]
    assert told.layers[0].error == 0
    expected = model.stream().run(xs)
    for layer, part in zip(found[1:], told.layers[1:], strict=True):
        k = [c.name for c in model.outputs].index(part.output)
        error = mixed(model, quantized, [layer]).stream().run(xs)[:, k] - expected[:, k]
        assert part.error == pytest.approx(np.sqrt((error**2).mean()) / np.ptp(expected[:, k]), rel=1e-5)


def test_a_layer_that_suffers_is_found_and_keeping_it_helps():
    """A head whose inputs were calibrated to a tenth of what they are suffers; the advice is to keep it, and what then
    remains is told and is less."""
    b, w = Builder(), Weights(0, 8)
    x = b.input("x", 3)
    hidden = b.dense(x, W=w(8, 3), name="first")
    b.output("y", b.dense(hidden, W=w(2, 8), name="second"))
    model = Model(b.build(), channels_for(("x",), (3,)), channels_for(("y",), (2,)))
    steady = np.cumsum(readings(1000, 3), axis=0).astype(np.float32) / 50  # moves little from reading to reading
    quantized = quantize(model, steady)
    second = quantized.program.operations[1]
    small = {key: _frozen(w / 10 if key == "x_scale" else w) for key, w in second.weights.items()}
    broken = replace(
        quantized,
        program=replace(
            quantized.program, operations=(quantized.program.operations[0], replace(second, weights=small))
        ),
    )
    told = report(model, broken, steady, steady)
    assert [part.suffers for part in told.layers] == [False, True]
    assert told.keep == ("second",)
    assert told.layers[1].clipped > 0.1
    assert told.error_with_keep is not None
    assert told.error_with_keep < told.error / 3
    assert report(model, quantized, steady, steady).keep == ()


def _frozen(values: np.ndarray) -> np.ndarray:
    array = values.copy()
    array.flags.writeable = False
    return array


def test_drift_is_what_time_alone_does():
    """Passes over the same readings without a reset: a network without memory has the same error in each."""
    b, w = Builder(), Weights(0, 8)
    b.output("y", b.dense(b.input("x", 3), W=w(2, 3)))
    model = Model(b.build(), channels_for(("x",), (3,)), channels_for(("y",), (2,)))
    xs = readings(400, 3)
    told = report(model, quantize(model, xs), xs, xs)
    for output in told.outputs:
        assert len(output.drift) == 25
        assert output.drift == pytest.approx([output.held_out.rms] * 25, rel=1e-5)


def test_a_clock_gives_speed_and_nothing_else_asks_for_one():
    """With a clock that goes a second at each look both models take the same time."""
    model, xs = network(inputs=3), readings(200, 3)
    ticks = iter(range(10_000))
    told = report(model, quantize(model, xs), xs, xs, lambda: float(next(ticks)))
    assert told.step == told.log == Speed(5000.0, 5000.0, 1.0)


def test_models_of_different_networks_are_not_compared():
    """The report is of a model and what was made from it."""
    one, other, xs = network("lstm", inputs=3), network("gru", inputs=3), readings(200, 3)
    with pytest.raises(QuantizeError, match="is not a quantized"):
        report(one, quantize(other, xs), xs, xs)
    with pytest.raises(QuantizeError, match="has no quantized layer"):
        report(one, one, xs, xs)


# --- the robot's own model


def _drive(seed: int, count: int) -> np.ndarray:
    robot, form = Drive(seed, 200.0), robot_dictionary(200.0)[READING]
    robot.torque_limits = (0.6, 0.6)
    return np.array([form.unpack(form.pack(robot.advance())) for _ in range(count)], np.float32)


def test_the_robot_s_model_says_the_same_on_another_drive():
    """Calibrated on 20 s of one drive, over 15 s of another: errors below 5 % of the range, and fewer than one decision
    at 0.5 in a hundred is another one."""
    model = edge_lstm.load(EXAMPLES / "slip_stall.npz")
    quantized, other = quantize(model, _drive(31, 4000)), _drive(32, 3000)
    assert relative(model, quantized, other) < 0.05
    decisions = (model.stream().run(other) > 0.5) != (quantized.stream().run(other) > 0.5)
    assert decisions.any(axis=1).mean() < 0.01


def test_the_page_s_scores_are_those_of_the_file():
    """Two committed files: the page shows the numbers of the file of scores, in which F1 of every scheme measured is
    at most 0.005 from that of float32 and the digest is that of the shipped model. Nothing is measured here."""
    found = json.loads((EXAMPLES / "scores/quantize.json").read_text())
    page = (EXAMPLES.parent / "quantization" / "README.md").read_text()
    assert found["model_digest"] == edge_lstm.load(EXAMPLES / "slip_stall.npz").digest
    assert {"float32", "int8", "int16", "int8-weights"} <= set(found["f1"]) <= {"float32", *SCHEMES}
    for scheme, score in found["f1"].items():
        assert all(abs(value - found["f1"]["float32"][name]) <= 0.005 for name, value in score.items())
        assert all(f"{value:.4f}" in page for value in score.values()), scheme
    for row in (*found["rows"], *found["others"]):
        assert f"| {row['model']} | {row['scheme']} | `{row['output']}` | {row['rms_of_range']:.2%} |" in page


def test_seen_is_of_all_readings_not_of_a_sample():
    """The one largest reading of 30,000 sets the range, wherever it stands."""
    model = network("rnn", inputs=1, units=4)
    for place in (0, 12_345, 29_999):
        xs = readings(30_000, 1)
        xs[place] = 1000
        seen: Seen = observe(model, layers(model.program), logs_of(model, xs))["rnn0"]
        assert seen.reach(0) == 1000
        assert len(seen.x) < 10_000
