"""Quantized layers: the native engine against an exact reference, bit by bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operations.functions import MOST_INPUTS, most
from edge_lstm.core.program import MAX_ARENA
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native.layout import lay_out
from edge_lstm.engines.native.session import Native
from edge_lstm.errors import ProgramError, StateError
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.nets import readings
from tests.support.models.quantized_nets import CELLS, SCHEMES, Integers, quantized_network
from tests.support.oracles import integer_bits
from tests.support.oracles.exact_twin import Exact, fma


@given(
    kind=st.sampled_from(CELLS),
    scheme=st.sampled_from(SCHEMES),
    inputs=st.integers(1, 70),
    units=st.integers(1, 70),
    outputs=st.integers(1, 40),
    layers=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
    activation=st.sampled_from(("tanh", "relu")),
)
def test_the_machine_has_the_bits_of_the_exact_twin(kind, scheme, inputs, units, outputs, layers, seed, activation):
    """Each quantized cell in each scheme, of any size and stacked, with 4, 8 and 16 lanes, has the reference's bits."""
    model = quantized_network(kind, scheme, inputs, units, outputs, layers, seed, activation=activation)
    xs = readings(6, inputs, seed, scale=2.0)  # some outside what the scales hold
    expected = Exact(model).run(xs)
    for lanes in (4, 8, 16):
        assert Stream(model, Native(lanes)).run(xs).tobytes() == expected.tobytes()


def test_other_instructions_give_the_same_bits():
    """Without the instructions that a CPU of today would choose, by those before them, every kind has the same bits."""
    family, lanes = ("avx2", 8) if "avx2" in integer_bits.families_here() else ("plain", 4)
    assert integer_bits.differences(family, lanes) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", CELLS)
def test_step_run_streams_and_windows_give_the_same_bits(kind, scheme):
    """One by one, as a log, among other streams and in window mode, a quantized model gives the same bits."""
    model = quantized_network(kind, scheme, 7, 21, 3)
    xs = readings(30, 7, 1)
    expected = Exact(model).run(xs)
    stream = model.stream()
    assert np.array([stream.step(x).copy() for x in xs]).tobytes() == expected.tobytes()
    logs = [readings(20, 7, k) for k in range(5)]
    together = Streams(model, 5).run(np.stack(logs))
    assert all(
        np.asarray(got).tobytes() == Exact(model).run(log).tobytes() for got, log in zip(together, logs, strict=True)
    )
    windowed = dataclasses.replace(model, timing=Timing.over_window(4)).stream().run(xs)
    assert np.isnan(windowed[:3]).all()
    for t in range(3, 30):
        assert windowed[t].tobytes() == Exact(model).run(xs[t - 3 : t + 1])[-1].tobytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantized_dense_layer_over_rows_is_the_layer_for_each_row(scheme):
    """With rows, each row has the bits that it has alone, and not one value behind the last row is touched."""
    w = Integers(scheme, 0, 10)
    weights = w(21, 10, None, "b")
    b = Builder()
    x = b.input("x", 50)
    y = b.quantized_dense(x, scheme=scheme, weights=weights, rows=5)
    behind = b.constant(np.full(16, 7.0))
    b.output("y", y)
    b.output("behind", behind)
    model = Model(b.build(), channels_for(("x",), (50,)), channels_for(("y", "behind"), (105, 16)))
    value = readings(1, 50)[0]
    (expected,) = [Exact(model).step(value)[:105]]
    for lanes in (4, 8, 16):
        got = Stream(model, Native(lanes)).step(value)
        assert got[:105].tobytes() == expected.tobytes()
        assert (got[105:] == 7).all()


@pytest.mark.parametrize(("scheme", "rows"), [("int8", 4), ("int16", 4), ("int16", 1000)])
def test_rows_of_integers_take_little_room(scheme, rows):
    """Many rows of one input lie close together in the arena and have the bits of the exact reference; where all that a
    model needs would be too much, the error has how much."""
    b, w = Builder(), Integers(scheme, 0, 1)
    x = b.input("x", rows)
    b.output("y", b.quantized_dense(x, scheme=scheme, weights=w(1, 1, None, "b"), rows=rows))
    behind = b.constant(np.full(16, 7.0))
    b.output("behind", behind)
    model = Model(b.build(), channels_for(("x",), (rows,)), channels_for(("y", "behind"), (rows, 16)))
    xs = readings(1, rows)
    for lanes in (4, 8, 16):
        assert Stream(model, Native(lanes)).run(xs).tobytes() == Exact(model).run(xs).tobytes()
        assert lay_out(model, lanes).arena.size <= model.program.arena_size + 5 * rows + 64
    windows = MAX_ARENA // model.program.arena_size
    with pytest.raises(ProgramError, match=rf"arena would need \d+ values; {MAX_ARENA} is the most"):
        lay_out(dataclasses.replace(model, timing=Timing.over_window(min(windows, 1 << 20))), 16)


def one_sum(scheme: str, inputs: int, sign: int) -> Model:
    """y = the largest sum of so many inputs, as an integer."""
    scale = {} if scheme == "int8-weights" else {"x_scale": np.ones(inputs, np.float32)}
    weights = {"W": np.full((1, inputs), 127 * sign, np.int8), "W_scale": np.ones(1), "b": np.zeros(1), **scale}
    b = Builder()
    b.output("y", b.quantized_dense(b.input("x", inputs), scheme=scheme, weights=weights))
    return Model(b.build(), channels_for(("x",), (inputs,)), channels_for(("y",), (1,)))


@pytest.mark.parametrize(
    ("scheme", "inputs", "sign"),
    [
        ("int8", MOST_INPUTS, 1),
        pytest.param("int8", MOST_INPUTS, -1, marks=pytest.mark.long),
        pytest.param("int16", MOST_INPUTS, 1, marks=pytest.mark.long),
        ("int16", 517, -1),
    ],
)
def test_the_longest_sum_that_is_allowed_does_not_overflow(scheme, inputs, sign):
    """At the bound, with every weight and value as large as can be, the sum is right; one input more is refused."""
    model = one_sum(scheme, inputs, sign)
    for way in (-1e30, 1e30):
        exact = 127 * most(scheme, inputs) * inputs * sign * int(np.sign(way))
        assert abs(exact) < 2**31
        for lanes in (4, 8, 16):
            assert Stream(model, Native(lanes)).step(np.full(inputs, way, np.float32))[0] == np.float32(exact)
        if "avx2" in integer_bits.families_here():
            assert integer_bits.run_with(model, np.full((1, inputs), way), 8, "avx2")[0, 0] == np.float32(exact)
    with pytest.raises(ProgramError, match="sums of integers take at most"):
        one_sum(scheme, MOST_INPUTS + 1, sign)


def test_a_scale_that_follows_the_step_loses_nothing_to_the_size_of_the_values():
    """int8-dynamic: readings a power of two larger or smaller give outputs that are exactly so much larger or smaller,
    up to the ends of float32; zeros, and what is far below 2^-100, give the bias."""
    inputs, w = 37, Integers("int8-dynamic", 5, 37)
    weights = w(21, inputs, None) | {"b": np.zeros(21, np.float32)}
    b = Builder()
    b.output("y", b.quantized_dense(b.input("x", inputs), scheme=w.scheme, weights=weights))
    model = Model(b.build(), channels_for(("x",), (inputs,)), channels_for(("y",), (21,)))
    xs = readings(1, inputs)
    for lanes in (4, 8, 16):
        stream = Stream(model, Native(lanes))
        expected = stream.step(xs[0]).copy()
        assert np.abs(expected).max() > 0.1
        for power in (-90, -40, -1, 1, 60, 120):
            np.testing.assert_array_equal(stream.step(np.ldexp(xs[0], power)), np.ldexp(expected, power))
        for nothing in (np.zeros(inputs), np.full(inputs, 2.0**-120), np.full(inputs, -(2.0**-149))):
            np.testing.assert_array_equal(stream.step(nothing), np.zeros(21))
        largest = np.full(inputs, np.finfo(np.float32).max)
        assert np.isfinite(stream.step(largest)).all()


def test_a_scale_by_which_a_value_could_become_infinite_is_refused():
    """int8-dynamic: x_scale gives proportions only, so none is below 1."""
    weights = Integers("int8-dynamic", 0, 4)(2, 4, None, "b")
    weights["x_scale"] = weights["x_scale"] / 2
    b = Builder()
    b.output("y", b.quantized_dense(b.input("x", 4), scheme="int8-dynamic", weights=weights))
    with pytest.raises(ProgramError, match="x_scale must lie between 1 and 2\\^126"):
        b.build()


@pytest.mark.parametrize("scheme", ["int8", "int16", "int8-dynamic"])
@pytest.mark.parametrize("units", [1, 16, 19])
def test_what_is_no_number_never_becomes_an_integer(scheme, units):
    """NaN or infinity that the network itself makes is refused before it is quantized, and the memory stays as it was,
    also where it stands in the last place of a vector that is not full."""
    b, w = Builder(), Integers(scheme, 0, units)
    x, h, c = b.input("x", units), b.state("lstm.h", units), b.state("lstm.c", units)
    ten = b.constant([10.0])
    overflowing = b.binary("sub", b.binary("mul", x, ten), b.binary("mul", x, ten))
    behind = b.constant([np.float32(3e38)])  # what stands behind the values is nobody's business
    h_next, c_next = b.quantized_lstm(overflowing, h, c, scheme=scheme, weights=w(4 * units, units, units, "b"))
    b.next(h, h_next)
    b.next(c, c_next)
    b.output("y", h_next)
    b.output("behind", behind)
    model = Model(b.build(), channels_for(("x",), (units,)), channels_for(("y", "behind"), (units, 1)))
    for lanes in (4, 8, 16):
        stream = Stream(model, Native(lanes))
        stream.step(np.ones(units))
        before = stream.snapshot()
        bad = np.zeros(units)
        bad[-1] = 3e38
        with pytest.raises(StateError, match="or a value that becomes an integer"):
            stream.step(bad)
        assert stream.snapshot() == before


def test_the_twin_rounds_once():
    """The reference's FMA is that of exact fractions, also where float64 would round the sum to a tie first."""
    from fractions import Fraction

    random = np.random.default_rng(0)
    a, b, c = (random.normal(size=2000) * 2.0 ** random.integers(-30, 30, 2000) for _ in range(3))
    a, b, c = (v.astype(np.float32) for v in (a, b, c))
    a[0], b[0], c[0] = 1 + 2.0**-12, 1 + 2.0**-12, 2.0**-60  # a tie, but for the last addend
    for got, *factors in zip(fma(a, b, c), a, b, c, strict=True):
        x, y, z = (Fraction(float(v)) for v in factors)
        exact = x * y + z
        around = (np.nextafter(got, np.float32(-np.inf)), got, np.nextafter(got, np.float32(np.inf)))
        distances = [abs(Fraction(float(v)) - exact) for v in around]
        assert distances[1] == min(distances)
        assert distances.count(distances[1]) == 1 or not int(got.view(np.int32)) & 1
