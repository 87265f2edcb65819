"""Quantized layers: the machine against the exact twin, bit by bit, by every way of adding integers that runs here."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.errors import ProgramError, StateError
from edge_lstm.kernels import compile as compiler
from edge_lstm.kernels import door, layout, quantized
from edge_lstm.kernels.elementwise import copy
from edge_lstm.kernels.integers import FAMILIES
from edge_lstm.kernels.layout import OK, ROW
from edge_lstm.kernels.simd import arenas, floats, integers, kernel, read
from edge_lstm.kinds import MOST_INPUTS, most
from edge_lstm.memory import Memory
from edge_lstm.model import Model, channels_for
from edge_lstm.program import Builder
from edge_lstm.stream import Stream, Streams
from tests.kernels.exact import Exact, fma
from tests.nets import readings
from tests.quantized_nets import CELLS, SCHEMES, Integers, quantized_network


@kernel
def only_integers(V, V1, G, G1, Q, frame_address):
    """The part of `machine.run` that quantized layers need, for one copy: compiled in a quarter of the time."""
    frame = integers(frame_address)
    rows = read(frame, layout.STEP_ROWS) + read(frame, layout.COMMIT_ROWS) + read(frame, layout.OUTPUT_ROWS)
    table, weights = integers(read(frame, layout.TABLE)), floats(read(frame, layout.WEIGHTS))
    arena = arenas(read(frame, layout.ARENA), 0)
    for t in range(read(frame, layout.STEPS)):
        x = arenas(read(frame, layout.X) + 4 * t * read(frame, layout.X_STEP), 0)
        y = arenas(read(frame, layout.Y_OUT) + 4 * t * read(frame, layout.Y_STEP), 0)
        for number in range(rows):
            row = number * ROW
            kind, n = read(table, row + layout.KIND), read(table, row + layout.N)
            a, out = read(table, row + layout.A), read(table, row + layout.Y)
            if kind >= layout.QUANTIZE:
                status = quantized.execute(V, V1, Q, table, row, kind, weights, arena, t & 1)
                if status != OK:
                    return status
            elif kind == layout.INPUT:
                copy(V, V1, x, a, arena, out, n)
            elif kind == layout.OUTPUT:
                copy(V, V1, arena, a, y, out, n)
            elif kind != layout.CHECK:
                copy(V, V1, arena, a, arena, out, n)
    return OK


@functools.cache
def compiled(lanes: int, family: str) -> Any:
    """`only_integers` by the instructions of a family: the engine, and the function in it."""
    engine = door.load(compiler.compile_object(lanes, family, only_integers))
    return engine, ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(engine.get_function_address("edge_lstm_run"))


def run_with(model: Model, xs: Any, lanes: int, family: str) -> Any:
    """The outputs of a log, from instructions that this CPU has but would not choose."""
    memory = Memory(model, 1, lanes)
    ys = np.zeros((len(xs), model.program.output_size), np.float32)
    memory.point_at(np.ascontiguousarray(xs), ys, len(xs))
    assert compiled(lanes, family)[1](memory._frame.ctypes.data) == OK
    return ys


def runs_here(family: str) -> bool:
    """Whether this CPU has a family's instructions."""
    features, arm = llvm.get_host_cpu_features(), llvm.get_process_triple().startswith(("aarch64", "arm64"))
    needed = {"vnni512": "avx512vnni", "vnni256": "avx512vnni", "avx2": "avx2", "dotprod": "dotprod"}
    return arm if family == "neon" else family == "plain" or bool(features.get(needed[family]))


@settings(max_examples=60, deadline=None)
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
    """Each quantized cell in each scheme, of any size and stacked, with 4, 8 and 16 lanes, gives the twin's bits."""
    model = quantized_network(kind, scheme, inputs, units, outputs, layers, seed, activation=activation)
    xs = readings(6, inputs, seed, scale=2.0)  # some beyond what the scales hold
    expected = Exact(model).run(xs)
    for lanes in (4, 8, 16):
        assert Stream(model, lanes).run(xs).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("family", "lanes"), [("avx2", 8), ("vnni256", 16), ("plain", 4), ("neon", 4)])
def test_every_way_of_adding_integers_gives_the_same_bits(family, lanes):
    """Without the instructions that this CPU would choose, by those of lesser ones, every kind has the same bits."""
    if not runs_here(family):
        pytest.skip(f"this CPU has no {family}")
    assert family in FAMILIES
    for number, (kind, scheme) in enumerate((k, s) for k in CELLS for s in SCHEMES):
        for inputs, units in ((8, 16), (5, 33), (13, 70), (1, 1)):
            model = quantized_network(kind, scheme, inputs, units, 3, 2, number)
            xs = readings(5, inputs, number, scale=2.0)
            assert run_with(model, xs, lanes, family).tobytes() == Exact(model).run(xs).tobytes(), (kind, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", CELLS)
def test_step_run_streams_and_windows_give_the_same_bits(kind, scheme):
    """One by one, as a log, among other streams and in window meaning, a quantized model gives the same bits."""
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
    windowed = dataclasses.replace(model, window=4).stream().run(xs)
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
        got = Stream(model, lanes).step(value)
        assert got[:105].tobytes() == expected.tobytes()
        assert (got[105:] == 7).all()


def one_sum(scheme: str, inputs: int, sign: int) -> Model:
    """y = the largest sum of so many inputs, as an integer."""
    scale = {} if scheme == "int8-weights" else {"x_scale": np.ones(inputs, np.float32)}
    weights = {"W": np.full((1, inputs), 127 * sign, np.int8), "W_scale": np.ones(1), "b": np.zeros(1), **scale}
    b = Builder()
    b.output("y", b.quantized_dense(b.input("x", inputs), scheme=scheme, weights=weights))
    return Model(b.build(), channels_for(("x",), (inputs,)), channels_for(("y",), (1,)))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("scheme", "inputs"), [("int8", MOST_INPUTS), ("int16", MOST_INPUTS), ("int16", 517)])
def test_the_longest_sum_that_is_allowed_does_not_overflow(scheme, inputs, sign):
    """At the bound, with every weight and value as large as can be, the sum is right; one input more is refused."""
    model = one_sum(scheme, inputs, sign)
    for way in (-1e30, 1e30):
        exact = 127 * most(scheme, inputs) * inputs * sign * int(np.sign(way))
        assert abs(exact) < 2**31
        for lanes in (4, 8, 16):
            assert Stream(model, lanes).step(np.full(inputs, way, np.float32))[0] == np.float32(exact)
        for family, lanes in (("avx2", 8), ("plain", 4)):
            if runs_here(family):
                assert run_with(model, np.full((1, inputs), way, np.float32), lanes, family)[0, 0] == np.float32(exact)
    with pytest.raises(ProgramError, match="sums of integers take at most"):
        one_sum(scheme, MOST_INPUTS + 1, sign)


@pytest.mark.parametrize("scheme", ["int8", "int16"])
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
        stream = Stream(model, lanes)
        stream.step(np.ones(units))
        before = stream.snapshot()
        bad = np.zeros(units)
        bad[-1] = 3e38
        with pytest.raises(StateError):
            stream.step(bad)
        assert stream.snapshot() == before


def test_the_twin_rounds_once():
    """The twin's FMA is that of exact fractions, also where float64 would round the sum to a tie first."""
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
