"""Graphs that the machine refuses, each with its options, and what ONNX Runtime itself gives for a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.drawing import generator
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run, save

UNITS, WIDTH = 5, 3


def weights(
    gates: int, units: int = UNITS, width: int = WIDTH, directions: int = 1, suffix: str = ""
) -> dict[str, Any]:
    """W and R of a recurrent layer."""
    shapes = {"W": (directions, gates * units, width), "R": (directions, gates * units, units)}
    return {f"{k}{suffix}": generator().normal(0, 0.6, shape).astype(np.float32) for k, shape in shapes.items()}


@dataclass(frozen=True)
class Case:
    """make(path) writes the file; expected(path, rows) is (T, n_out), NaN where there is no output yet."""

    make: Callable[[Path], Path]
    expected: Callable[[Path, Array], Array]
    forced_by: str
    options: dict[str, Any] = field(default_factory=dict)
    exact: bool = True  # a sequence in one call need not have the bits of single readings
    whole_numbers: bool = False


def over_sequence(time: int, rank: int = 3) -> Callable[[Path, Array], Array]:
    """The graph over the whole log at once."""

    def run(path: Path, rows: Array) -> Array:
        x = np.expand_dims(rows, tuple(k for k in range(rank - 1) if k != time))
        y = onnxruntime_run(path, {"x": x})[0]
        return y.reshape(len(rows), -1)

    return run


def in_steps(states: dict[str, tuple[str, Array]], shape: tuple[int, ...]) -> Callable[[Path, Array], Array]:
    """The graph reading by reading, its states handed on here."""

    def run(path: Path, rows: Array) -> Array:
        names = [o.name for o in onnx.load(path).graph.output]
        held, found = {i: value for i, (_, value) in states.items()}, []
        kept = {o for o, _ in states.values()}
        for row in rows:
            dtype = next(iter(held.values())).dtype
            values = onnxruntime_run(path, {"x": row.reshape(shape).astype(dtype), **held})
            results = dict(zip(names, values, strict=True))
            held = {i: results[o] for i, (o, _) in states.items()}
            found.append(np.concatenate([v.reshape(-1) for n, v in results.items() if n not in kept]))
        return np.array(found)

    return run


def in_windows(length: int, time: int, newest: bool) -> Callable[[Path, Array], Array]:
    """The graph anew on the last `length` readings at each of them; `newest`: the last place of its output, or all."""

    def run(path: Path, rows: Array) -> Array:
        found = []
        for t in range(length, len(rows) + 1):
            x = np.expand_dims(rows[t - length : t], tuple(k for k in range(2) if k != time))
            y = onnxruntime_run(path, {"x": x})[0]
            found.append(y.reshape(length, -1)[-1] if newest else y.reshape(-1))
        before = np.full((length - 1, found[0].size), np.nan)
        return np.concatenate([before, np.array(found)])

    return run


def lstm_sine(path: Path) -> Path:
    """Open length, batch first, two outputs of one sequence; the states inside."""
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "W", "R"], ["Y"], hidden_size=UNITS),
        node("Squeeze", ["Y", "one"], ["s"]),
        node("Sin", ["s"], ["z"]),
        node("Transpose", ["z"], ["y"], perm=[1, 0, 2]),
    ]
    return save(path, nodes, {**weights(4), "one": np.array([1])}, {"x": ["B", "T", 3]}, {"y": ["B", "T", UNITS]})


def two_grus(path: Path) -> Path:
    """Open length, time first, a learned initial state, an operator of ONNX Runtime's own."""
    constants = {**weights(3), **weights(3, width=UNITS, suffix="2"), "one": np.array([1])}
    constants["h0"] = generator().normal(0, 1, (1, 1, UNITS)).astype(np.float32)
    nodes = [
        node("GRU", ["x", "W", "R", "", "", "h0"], ["Y"], hidden_size=UNITS, linear_before_reset=1),
        node("Squeeze", ["Y", "one"], ["s"]),
        node("GRU", ["s", "W2", "R2"], ["Y2"], hidden_size=UNITS),
        node("Squeeze", ["Y2", "one"], ["s2"]),
        node("Gelu", ["s2"], ["y"], domain="com.microsoft"),
    ]
    path = save(path, nodes, constants, {"x": ["T", 1, 3]}, {"y": ["T", 1, UNITS]})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    return path


def lstm_step(path: Path) -> Path:
    """One step with its states as inputs and outputs, and the three largest of its outputs."""
    nodes = [
        node("LSTM", ["x", "W", "R", "", "", "h_in", "c_in"], ["Y", "h_out", "c_out"], hidden_size=UNITS),
        node("TopK", ["Y", "three"], ["y", "which"], axis=-1),
    ]
    state = [1, 1, UNITS]
    path = save(
        path,
        nodes,
        {**weights(4), "three": np.array([3])},
        {"x": [1, 1, 3], "h_in": state, "c_in": state},
        {"y": [1, 1, 1, 3], "h_out": state, "c_out": state},
    )
    model = onnx.load(path)
    model.graph.output.insert(1, helper.make_tensor_value_info("which", TensorProto.INT64, [1, 1, 1, 3]))
    onnx.save(model, path)
    return path


def window_of_12(path: Path) -> Path:
    """A length baked in, an output at each of its readings."""
    nodes = [node("RNN", ["x", "W", "R"], ["Y"], hidden_size=UNITS), node("Cos", ["Y"], ["y"])]
    return save(path, nodes, weights(1), {"x": [12, 1, 3]}, {"y": [12, 1, 1, UNITS]})


def both_directions(path: Path) -> Path:
    """An open length, which a layer reads from both ends."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y", "H"], hidden_size=UNITS, direction="bidirectional"),
        node("Sin", ["H"], ["y"]),
    ]
    return save(path, nodes, weights(4, directions=2), {"x": ["T", 1, 3]}, {"y": [2, 1, UNITS]})


def robot_graph(path: Path) -> Path:
    """Four readings to four outputs, for `tests.support.robots.small_robot`."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=4),
        node("Squeeze", ["Y", "one"], ["s"]),
        node("Sin", ["s"], ["y"]),
    ]
    return save(path, nodes, {**weights(4, 4, 4), "one": np.array([1])}, {"x": ["T", 1, 4]}, {"y": ["T", 1, 4]})


def attention(path: Path) -> Path:
    """No recurrent layer: every reading of a window with every other."""
    nodes = [
        node("MatMul", ["x", "Q"], ["q"]),
        node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
        node("MatMul", ["q", "k"], ["s"]),
        node("Sin", ["s"], ["z"]),
        node("Softmax", ["z"], ["a"], axis=-1),
        node("MatMul", ["a", "x"], ["v"]),
        node("ReduceMean", ["v"], ["y"], axes=[1], keepdims=0),
    ]
    return save(
        path, nodes, {"Q": generator().normal(0, 1, (3, 4)).astype(np.float32)}, {"x": [1, 8, 3]}, {"y": [1, 3]}
    )


def double_cell(path: Path) -> Path:
    """A step in float64, written out in primitives."""
    constants = {k: generator().normal(0, 0.5, shape) for k, shape in (("A", (3, UNITS)), ("R", (UNITS, UNITS)))}
    nodes = [
        node("MatMul", ["x", "A"], ["a"]),
        node("MatMul", ["h_in", "R"], ["r"]),
        node("Add", ["a", "r"], ["s"]),
        node("Tanh", ["s"], ["h_out"]),
        node("Mul", ["h_out", "h_out"], ["y"]),
    ]
    ports = {"x": [1, 3], "h_in": [1, UNITS]}, {"y": [1, UNITS], "h_out": [1, UNITS]}
    return save(path, nodes, constants, *ports, dtype=TensorProto.DOUBLE)


def words(path: Path) -> Path:
    """An embedding of whole numbers in front, of a table whose size the machine cannot see."""
    table = generator().normal(0, 1, (6, WIDTH)).astype(np.float32)
    nodes = [
        node("Gather", ["table", "x"], ["e"]),
        node("LSTM", ["e", "W", "R"], ["Y"], hidden_size=UNITS),
        node("Sin", ["Y"], ["y"]),
    ]
    path = save(path, nodes, {**weights(4), "table": table}, {"x": ["T", 1]}, {"y": ["T", 1, 1, UNITS]})
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    return path


def quantized_step(path: Path) -> Path:
    """An export of PyTorch after ONNX Runtime's dynamic quantization."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = Path(__file__).parents[2] / "vectors" / "onnx" / "lstm_step_legacy17_packed.onnx"
    quantize_dynamic(str(source), str(path), weight_type=QuantType.QInt8)
    return path


def words_over_sequence(path: Path, rows: Array) -> Array:
    return onnxruntime_run(path, {"x": rows.astype(np.int64)})[0].reshape(len(rows), -1)


def zeros(*shape: int, dtype: Any = np.float32) -> Array:
    return np.zeros(shape, dtype)


H, C = ("h_out", zeros(1, 1, UNITS)), ("c_out", zeros(1, 1, UNITS))
CASES = {
    "LSTM and Sin": Case(lstm_sine, over_sequence(1), "Sin", exact=False),
    "2 GRU and com.microsoft.Gelu": Case(two_grus, over_sequence(0), "com.microsoft.Gelu", exact=False),
    "LSTM step and TopK": Case(lstm_step, in_steps({"h_in": H, "c_in": C}, (1, 1, 3)), "TopK"),
    "window of 12": Case(window_of_12, in_windows(12, 0, True), "Cos"),
    "both directions": Case(both_directions, in_windows(9, 0, False), "Sin", {"mode": "window", "window": 9}),
    "attention": Case(attention, in_windows(8, 1, False), "Sin", {"time_axis": 1}),
    "float64 step": Case(
        double_cell, in_steps({"h_in": ("h_out", zeros(1, UNITS, dtype=np.float64))}, (1, 3)), "float64", exact=False
    ),
    "words": Case(words, words_over_sequence, "Sin", exact=False, whole_numbers=True),
    "quantized step": Case(
        quantized_step, in_steps({"h_in": ("h_out", zeros(2, 1, 8))}, (1, 1, 3)), "DynamicQuantizeLSTM"
    ),
}


def readings(case: Case, count: int, seed: int = 0) -> Array:
    """Readings (T, n) that the case takes."""
    rng = np.random.default_rng(seed)
    if case.whole_numbers:
        return rng.integers(0, 6, (count, 1)).astype(np.float32)
    return rng.normal(0, 1, (count, WIDTH)).astype(np.float32)
