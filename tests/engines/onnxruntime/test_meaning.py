"""Where the timing or the states found for a graph could be wrong unnoticed: each is right, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_lstm import import_onnx
from edge_lstm.core.channels import Channel
from edge_lstm.errors import ImportModelError, ReadingError, StateError
from tests.support.graphs.fallback_graphs import UNITS, in_steps, over_sequence, weights, zeros
from tests.support.graphs.onnx_files import Array, difference, node, onnxruntime_run, save

pytestmark = pytest.mark.filterwarnings("ignore:.*runs with ONNX Runtime")
LSTM = [
    node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=UNITS),
    node("Squeeze", ["Y", "one"], ["s"]),
    node("Sin", ["s"], ["z"]),
]
CONSTANTS: dict[str, Array] = {
    "one": np.array([1]),
    "zero": np.array(0),
    "pads": np.array([1, 0, 0, 0, 0, 0]),
    "first": np.array([0]),
    "axis": np.array([0]),
    "last": np.array([-1]),
    "end": np.array([-(2**31) + 1]),
    "million": np.array(1e6, np.float32),
    "tiny": np.array(1e-12, np.float32),
    "hundred": np.array(100, np.float32),
}


def graph(path: Path, tail: list[onnx.NodeProto], dims: list[Any] | None = None, width: int = UNITS) -> Path:
    """An LSTM and Sin (z), what is behind it (y), over a sequence of open length."""
    nodes, dims = [*LSTM, *tail], dims or ["T", 1, 3]
    used = {n for item in nodes for n in item.input}
    constants = {**weights(4), **{k: v for k, v in CONSTANTS.items() if k in used}}
    return save(path, nodes, constants, {"x": dims}, {"y": [*dims[:2], width]})


def of_whole_numbers(path: Path, *names: str) -> Path:
    """The file with these inputs and outputs declared int64."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        if value.name in names:
            value.type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(model, path)
    return path


def normal(count: int) -> Array:
    return np.random.default_rng(3).normal(0, 1, (count, 3)).astype(np.float32)


def test_names_do_not_overrule_the_dataflow(tmp_path: Path) -> None:
    """Names that would hand an LSTM its h as c and its c as h are refused; the right pairs, given by hand, run."""
    nodes = [
        node("LSTM", ["x", "W", "R", "", "", "s0_in", "s1_in"], ["Y", "s1_out", "s0_out"], hidden_size=UNITS),
        node("Sin", ["Y"], ["y"]),
    ]
    state = [1, 1, UNITS]
    ports = {"x": [1, 1, 3], "s0_in": state, "s1_in": state}, {"y": [1, 1, 1, UNITS], "s1_out": state, "s0_out": state}
    path = save(tmp_path / "m.onnx", nodes, weights(4), *ports)
    for states in (None, {"s0_in": "s0_out", "s1_in": "s1_out"}):
        with pytest.raises(ImportModelError, match=r"'s0_out' is not the next value of input 's0_in'.*'s1_out'"):
            import_onnx(path, states=states)
    rows, begin = normal(30), zeros(1, 1, UNITS)
    expected = in_steps({"s0_in": ("s1_out", begin), "s1_in": ("s0_out", begin)}, (1, 1, 3))(path, rows)
    y = import_onnx(path, states={"s0_in": "s1_out", "s1_in": "s0_out"}).stream().run(rows)
    assert np.array_equal(y, expected)


BEFORE = [node("Pad", ["z", "pads"], ["p"]), node("Slice", ["p", "first", "last", "axis"], ["d"])]
HIDDEN = {
    "beside a number a million times as large": (
        [*BEFORE, node("Mul", ["z", "million"], ["m"]), node("Concat", ["m", "d"], ["y"], axis=2)],
        2 * UNITS,
    ),
    "in a number that is small itself": ([*BEFORE, node("Mul", ["d", "tiny"], ["y"])], UNITS),
    "until readings are large": (
        [
            node("Pad", ["x", "pads"], ["p"]),
            node("Slice", ["p", "first", "last", "axis"], ["d"]),
            node("Sub", ["d", "hundred"], ["e"]),
            node("Relu", ["e"], ["r"]),
            node("Slice", ["r", "first", "one", "two"], ["q"]),
            node("Add", ["z", "q"], ["y"]),
        ],
        UNITS,
    ),
}


@pytest.mark.parametrize("where", HIDDEN)
def test_no_memory_hides(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory outside of the layers is found beside large numbers, in small ones, and where only large readings show
    it."""
    monkeypatch.setitem(CONSTANTS, "two", np.array([2]))
    tail, width = HIDDEN[where]
    with pytest.raises(ImportModelError, match="differs from the whole sequence at reading"):
        import_onnx(graph(tmp_path / "m.onnx", tail, width=width))


MIXED = {
    "the largest": node("ReduceMax", ["a"], ["m"], axes=[0, 2], keepdims=1),
    "the largest of all": node("ReduceMax", ["a"], ["m"], keepdims=1),
}


@pytest.mark.parametrize("what", MIXED)
def test_what_may_choose_among_readings_is_refused(what: str, tmp_path: Path) -> None:
    """An operator over time that only readings of a million would show is refused by its node, with the way out."""
    tail = [
        node("Abs", ["x"], ["a"]),
        MIXED[what],
        node("Max", ["m", "million"], ["n"]),
        node("Div", ["z", "n"], ["y"]),
    ]
    with pytest.raises(ImportModelError, match=r"'n_m' \(ReduceMax\) may take several readings.*mode='window'"):
        import_onnx(graph(tmp_path / "m.onnx", tail))


def test_a_norm_of_each_reading_stays(tmp_path: Path) -> None:
    """Sums over the features of each reading are no memory: they run, and equal the whole sequence."""
    tail = [node("ReduceMean", ["z"], ["m"], axes=[-1], keepdims=1), node("Sub", ["z", "m"], ["y"])]
    path, rows = graph(tmp_path / "m.onnx", tail), normal(60)
    assert difference(import_onnx(path).stream().run(rows), over_sequence(0)(path, rows)) < 1e-5


def test_a_window_in_reverse_order_shows_all(tmp_path: Path) -> None:
    """Where the newest reading's output stands first, the last place is not taken for it: all places are shown."""
    tail = [node("Slice", ["z", "last", "end", "axis", "last"], ["y"])]
    path, rows = graph(tmp_path / "m.onnx", tail), normal(20)
    y = import_onnx(path, mode="window", window=6).stream().run(rows)
    assert np.array_equal(y[-1], onnxruntime_run(path, {"x": rows[-6:, None]})[0].reshape(-1))


def test_a_window_read_from_both_ends_shows_the_newest(tmp_path: Path) -> None:
    """Where each reading changes every place of an open length, its own the most, the last place is the newest's."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=UNITS, direction="bidirectional"),
        node("Sin", ["Y"], ["y"]),
    ]
    ports = {"x": ["T", 1, 3]}, {"y": ["T", 2, 1, UNITS]}
    path, rows = save(tmp_path / "m.onnx", nodes, weights(4, directions=2), *ports), normal(20)
    y = import_onnx(path, mode="window", window=6).stream().run(rows)
    assert np.array_equal(y[-1], onnxruntime_run(path, {"x": rows[-6:, None]})[0][-1].reshape(-1))


def test_whole_numbers_survive_a_scale(tmp_path: Path) -> None:
    """What scaling makes of a whole number is that number, not the one below it; other numbers are refused."""
    table = np.random.default_rng(5).normal(0, 1, (300, 3)).astype(np.float32)
    nodes = [node("Gather", ["table", "w"], ["x"]), *LSTM[:2], node("Sin", ["s"], ["y"])]
    constants = {**weights(4), "table": table, "one": CONSTANTS["one"]}
    path = save(tmp_path / "m.onnx", nodes, constants, {"w": ["T", 1]}, {"y": ["T", 1, UNITS]})
    of_whole_numbers(path, "w")
    model = import_onnx(path, inputs=[Channel("w", scale=0.3, offset=1.1)])
    numbers = np.arange(300)[:, None]
    expected = onnxruntime_run(path, {"w": numbers})[0].reshape(300, -1)
    assert difference(model.stream().run((numbers * 0.3 + 1.1).astype(np.float32)), expected) < 1e-5
    with pytest.raises(ReadingError, match="'w' takes whole numbers"):
        model.stream().step([1.1 + 0.3 * 2.5])


def test_a_counter_that_float32_does_not_hold(tmp_path: Path) -> None:
    """A whole-numbered state is exact, or the step is refused and changes nothing."""
    nodes = [
        node("Add", ["t_in", "x"], ["t_out"]),
        node("Cast", ["t_out"], ["d"], to=onnx.TensorProto.DOUBLE),
        node("Sin", ["d"], ["e"]),
        node("Cast", ["e"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    path = save(tmp_path / "m.onnx", nodes, {}, {"x": [1], "t_in": [1]}, {"y": [1], "t_out": [1]})
    of_whole_numbers(path, "x", "t_in", "t_out")
    stream = import_onnx(path, states={"t_in": "t_out"}).stream()
    for k in range(1, 17):
        total = np.array([(k - 1) * 1_000_001])
        expected = onnxruntime_run(path, {"x": np.array([1_000_001]), "t_in": total})[0]
        assert np.array_equal(stream.step([1_000_001.0]), expected)
    before = stream.snapshot()
    with pytest.raises(StateError, match="state 't_in' a whole number that float32 does not hold"):
        stream.step([1_000_001.0])
    assert stream.snapshot() == before


def test_a_fixed_batch_is_not_guessed(tmp_path: Path) -> None:
    """Two streams, or one reading of two parts: where nothing proves which, it is refused."""
    tail = [node("Neg", ["z"], ["y"])]
    with pytest.raises(ImportModelError, match="2 streams, or one reading of 2 parts"):
        import_onnx(graph(tmp_path / "m.onnx", tail, [12, 2, 3]))
