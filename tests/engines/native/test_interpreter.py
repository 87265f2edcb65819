"""Kernels against a naive float64 step, and the promise that lanes do not change a bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.engines.native.session import Native
from edge_lstm.errors import ReadingError, StateError
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.nets import CELLS, Weights, network, readings


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def naive(model, xs):
    """A network of nets.network, in float64, straight from the formulas."""
    states = {s.name: s.reset.astype(np.float64) for s in model.program.states}
    outputs = []
    for x in xs.astype(np.float64):
        y = x
        for op in model.program.operations:
            w = {key: value.astype(np.float64) for key, value in op.weights.items()}
            if op.kind == "dense":
                y = w["W"] @ y + w["b"]
                continue
            h = states[f"{op.name}.h"]
            if op.kind == "lstm":
                i, f, g, o = np.split(w["W"] @ y + w["R"] @ h + w["b"], 4)
                c = states[f"{op.name}.c"] = sigmoid(f) * states[f"{op.name}.c"] + sigmoid(i) * np.tanh(g)
                y = sigmoid(o) * np.tanh(c)
            elif op.kind == "gru":
                (rx, zx, nx), (rh, zh, nh) = np.split(w["W"] @ y + w["b_W"], 3), np.split(w["R"] @ h + w["b_R"], 3)
                z, n = sigmoid(zx + zh), np.tanh(nx + sigmoid(rx + rh) * nh)
                y = (1 - z) * n + z * h
            else:
                y = np.tanh(w["W"] @ y + w["R"] @ h + w["b"])
            states[f"{op.name}.h"] = y
        outputs.append(y)
    return np.array(outputs)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("units", [1, 4, 7, 16, 33, 64])
def test_cells_compute_the_textbook_formulas(kind, units):
    """Each recurrent cell, also stacked and of sizes that no vector divides, agrees with float64 over 200 steps."""
    model = network(kind, inputs=5, units=units, outputs=3, layers=2, seed=units)
    xs = readings(200, 5, seed=1)
    assert np.abs(model.stream().run(xs) - naive(model, xs)).max() < 2e-6


@given(
    kind=st.sampled_from(CELLS),
    inputs=st.integers(1, 40),
    units=st.integers(1, 70),
    outputs=st.integers(1, 20),
    layers=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_lanes_do_not_change_a_bit(kind, inputs, units, outputs, layers, seed):
    """With 4, 8 and 16 lanes any network gives the same bits, outputs and memory."""
    model = network(kind, inputs, units, outputs, layers, seed)
    xs = readings(20, inputs, seed, scale=3.0)
    results = []
    for lanes in (4, 8, 16):
        stream = Stream(model, Native(lanes))
        results.append((stream.run(xs).tobytes(), stream.snapshot()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_a_group_of_streams_has_the_bits_of_each_alone(lanes):
    """Any number of streams, whether they fill whole groups or not, in cells of every kind and of sizes that no vector
    divides, by run and by step: the bits of a stream that takes its readings alone and one by one."""
    for kind, (inputs, units) in itertools.product(CELLS, ((3, 5), (17, 33), (5, 50))):
        model = network(kind, inputs, units, outputs=3, layers=2, seed=units)
        for count in (1, 2, 3, 4, 5, 7, 8, 19):
            logs = [readings(9, inputs, seed=k) for k in range(count)]
            together = Streams(model, count, Native(lanes))
            got = together.run([log[:6] for log in logs])
            stepped = [together.step(np.stack([log[t] for log in logs])).copy() for t in range(6, 9)]
            for number, log in enumerate(logs):
                alone = Stream(model, Native(lanes))
                expected = np.array([alone.step(x).copy() for x in log])
                found = np.concatenate([got[number], *(ys[number : number + 1] for ys in stepped)])
                assert found.tobytes() == expected.tobytes(), (kind, units, count, number)


def test_a_forgotten_memory_becomes_zero_and_never_denormal():
    """A memory that decays passes from 2^-64 to zero: no denormal is ever stored."""
    units = 5
    b = Builder()
    x = b.input("x", 1)
    h, c = b.state("lstm.h", units), b.state("lstm.c", units, np.ones(units))
    forget = np.repeat([0.0, -3.0, 0.0, 0.0], units)  # f about 0.05, g = 0: nothing new comes in
    weights = {"W": np.zeros((4 * units, 1)), "R": np.zeros((4 * units, units)), "b": forget}
    h_next, c_next = b.lstm(x, h, c, **weights)
    b.next(h, h_next)
    b.next(c, c_next)
    b.output("c", c_next)
    model = Model(b.build(), channels_for(("x",), (1,)), channels_for(("c",), (units,)))
    memory = model.stream().run(np.zeros((40, 1)))[:, 0]
    assert memory[0] > 0.04
    assert memory[-1] == 0
    remembered = memory[memory != 0]
    assert remembered.min() >= 2.0**-64


def test_the_tanh_of_what_is_forgotten_is_forgotten():
    """Of numbers below 2^-64, where a cell's memory becomes zero, tanh too is below it: so h' may be made of the memory
    before that. tanh never falls, so the largest of them stands for all; with it some at every scale."""
    b = Builder()
    b.output("y", b.map("tanh", b.input("x", 64)))
    stream = Model(b.build(), channels_for(("x",), (64,)), channels_for(("y",), (64,))).stream()
    largest = np.nextafter(np.float32(2.0**-64), np.float32(0))
    for x in (largest * np.float32(2.0) ** -np.arange(64), -np.random.default_rng(0).uniform(0, largest, 64)):
        assert (np.abs(stream.step(x.astype(np.float32))) < 2.0**-64).all()


def test_shape_operations_move_and_combine_what_they_say():
    """take, binary with one value, softmax, reduce and parts of slots give NumPy's results."""
    b = Builder()
    x = b.input("x", 12)
    ten = b.constant([10.0])
    moved = b.take(x.elements.reshape(3, 4).T.ravel())
    parts = {
        "moved": moved,
        "scaled": b.binary("mul", ten, x.part(3, 5)),
        "rest": b.binary("sub", x.part(1, 6), x.part(5, 6)),
        "softmax": b.softmax(x, rows=3),
        "log_softmax": b.softmax(x, rows=3, log=True),
        **{f: b.reduce(f, moved, rows=4) for f in ("sum", "mean", "max", "min")},
    }
    for name, slot in parts.items():
        b.output(name, slot)
    program = b.build()
    sizes = tuple(s.size for s in parts.values())
    model = Model(program, channels_for(("x",), (12,)), channels_for(tuple(parts), sizes))
    value = readings(1, 12, seed=3)[0]
    got = dict(zip(parts, np.split(model.stream().step(value), np.cumsum(sizes)[:-1]), strict=True))
    v = value.astype(np.float64)
    rows = np.exp(v.reshape(3, 4)) / np.exp(v.reshape(3, 4)).sum(1, keepdims=True)
    np.testing.assert_array_equal(got["moved"], value.reshape(3, 4).T.ravel())
    np.testing.assert_array_equal(got["scaled"], np.float32(10) * value[3:8])
    np.testing.assert_array_equal(got["rest"], value[1:7] - value[5:11])
    np.testing.assert_allclose(got["softmax"], rows.ravel(), rtol=1e-6)
    np.testing.assert_allclose(got["log_softmax"], np.log(rows).ravel(), rtol=1e-6)
    for f in ("sum", "mean", "max", "min"):
        np.testing.assert_allclose(got[f], getattr(np, f)(v.reshape(3, 4), axis=0), rtol=1e-6, atol=1e-6)


@given(rows=st.integers(1, 9), inputs=st.integers(1, 9), outputs=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_dense_layer_over_rows_is_the_layer_for_each_row(rows, inputs, outputs, seed):
    """With rows, each row has the bits that it has alone, and not one value behind the last row is touched."""
    w = Weights(seed, inputs)
    matrix, bias = w(outputs, inputs), w(outputs)
    b = Builder()
    x = b.input("x", rows * inputs)
    y = b.dense(x, W=matrix, b=bias, rows=rows)
    behind = b.constant(np.full(16, 7.0))
    alone = [b.dense(x.part(k * inputs, inputs), W=matrix, b=bias) for k in range(rows)]
    b.output("y", y)
    b.output("alone", b.take(np.concatenate([slot.elements for slot in alone])))
    b.output("behind", behind)
    sizes = (rows * outputs, rows * outputs, 16)
    model = Model(b.build(), channels_for(("x",), (x.size,)), channels_for(("y", "alone", "behind"), sizes))
    for lanes in (4, 8, 16):
        got = Stream(model, Native(lanes)).step(readings(1, x.size, seed)[0])
        together, one_by_one, rest = np.split(got, np.cumsum(sizes)[:-1])
        assert together.tobytes() == one_by_one.tobytes()
        assert (rest == 7).all()


def test_truths_choices_and_places_are_onnx_s():
    """Comparisons, and, or, not, where, argmax, argmin and prod give NumPy's results, of equals the first."""
    b = Builder()
    x, y = b.input("x", 20), b.input("y", 20)
    parts = {
        "less": (b.binary("less", x, y), lambda x, y: x < y),
        "less_or_equal": (b.binary("less_or_equal", x, y), lambda x, y: x <= y),
        "equal": (b.binary("equal", x, y), lambda x, y: x == y),
        "and": (b.binary("and", x, y), lambda x, y: (x != 0) & (y != 0)),
        "or": (b.binary("or", x, y), lambda x, y: (x != 0) | (y != 0)),
        "not": (b.map("not", x), lambda x, y: x == 0),
        "where": (b.where(x, y, b.map("neg", y)), lambda x, y: np.where(x != 0, y, -y)),
        "argmax": (b.reduce("argmax", x, rows=4), lambda x, y: x.reshape(4, 5).argmax(1)),
        "argmin": (b.reduce("argmin", x, rows=4), lambda x, y: x.reshape(4, 5).argmin(1)),
        "prod": (b.reduce("prod", x, rows=4), lambda x, y: x.reshape(4, 5).prod(1)),
        **{
            f: (b.map(f, b.map("affine", x, alpha=0.5)), g)
            for f, g in (
                ("floor", lambda x, y: np.floor(x / 2)),
                ("ceil", lambda x, y: np.ceil(x / 2)),
                ("round", lambda x, y: np.round(x / 2)),
                ("trunc", lambda x, y: np.trunc(x / 2)),
                ("sign", lambda x, y: np.sign(x)),
            )
        },
    }
    for name, (slot, _) in parts.items():
        b.output(name, slot)
    sizes = tuple(slot.size for slot, _ in parts.values())
    model = Model(b.build(), channels_for(("x", "y"), (20, 20)), channels_for(tuple(parts), sizes))
    pairs = np.random.default_rng(0).integers(-3, 4, (50, 2, 20)).astype(np.float32)
    for (x_value, y_value), got in zip(pairs, model.stream().run(pairs.reshape(50, 40)), strict=True):
        for (name, (_, numpy)), values in zip(parts.items(), np.split(got, np.cumsum(sizes)[:-1]), strict=True):
            np.testing.assert_array_equal(values, numpy(x_value, y_value), err_msg=name)


def test_an_index_beyond_the_vocabulary_is_refused():
    """lookup gives the rows of its table; an index that is no number of a row is a ReadingError and changes nothing."""
    table = np.arange(12.0).reshape(4, 3)
    b = Builder()
    x, total = b.input("word", 2), b.state("total", 6)
    b.next(total, b.binary("add", total, b.lookup(x, table)))
    b.output("total", total)
    stream = Model(b.build(), channels_for(("word",), (2,)), channels_for(("total",), (6,))).stream()
    stream.run([[0, 3], [2, 1]])
    expected = np.concatenate([table[0] + table[2], table[3] + table[1]])
    for bad in (4, -1, 1e9):
        with pytest.raises(ReadingError, match="vocabulary"):
            stream.step([0, bad])
        np.testing.assert_array_equal(stream.state["total"], expected)


def test_a_number_that_is_none_never_enters_the_memory():
    """Finite readings from which the network makes inf - inf are refused, and the memory stays as it was."""
    b = Builder()
    x, h, c = b.input("x", 2), b.state("lstm.h", 1), b.state("lstm.c", 1)
    ten = b.constant([10.0])
    difference = b.binary("sub", b.binary("mul", x.part(0, 1), ten), b.binary("mul", x.part(1, 1), ten))
    h_next, c_next = b.lstm(difference, h, c, W=np.ones((4, 1)), R=np.zeros((4, 1)), b=np.zeros(4))
    b.next(h, h_next)
    b.next(c, c_next)
    b.output("y", h_next)
    stream = Model(b.build(), channels_for(("x",), (2,)), channels_for(("y",), (1,))).stream()
    stream.step([1.0, 0.5])
    before = stream.snapshot()
    with pytest.raises(StateError):
        stream.step([3e38, 3e38])
    assert stream.snapshot() == before


def test_states_change_together_after_the_step():
    """A shift register of states, each taking its neighbour's old value, shifts by one per step, whatever the order."""
    b = Builder()
    x = b.input("x", 1)
    stages = [b.state(f"s{k}", 1) for k in range(4)]
    b.next(stages[0], x)
    for before, after in itertools.pairwise(stages):
        b.next(after, before)
    for k, stage in enumerate(stages):
        b.output(f"s{k}", stage)
    names = tuple(f"s{k}" for k in range(4))
    model = Model(b.build(), channels_for(("x",), (1,)), channels_for(names, (1, 1, 1, 1)))
    got = model.stream().run(np.arange(1, 8)[:, None])
    expected = [[max(t - k, 0) for k in range(4)] for t in range(7)]
    np.testing.assert_array_equal(got, expected)
