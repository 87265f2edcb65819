"""Inputs with a fixed value (`--set`): one number fills the input's own shape, open dimensions too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, load, save_model

from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import node, onnxruntime_run, save


def retyped(path: Path, name: str, dtype: int, dims: list[Any]) -> Path:
    """The file with an input of another type."""
    proto = load(path)
    value = next(v for v in proto.graph.input if v.name == name)
    value.CopyFrom(helper.make_tensor_value_info(name, dtype, dims))
    save_model(proto, path)
    return path


def with_spans(path: Path) -> Path:
    """A continuous-time cell whose second input [1, 1] is the time between two readings."""
    rng = np.random.default_rng(0)
    constants = {name: rng.normal(0, 0.5, shape) for name, shape in {"A": (7, 4), "G": (7, 4), "D": (4, 1)}.items()}
    nodes = [
        node("Concat", ["x", "hx"], ["u"], axis=1),
        node("MatMul", ["u", "A"], ["a"]),
        node("Tanh", ["a"], ["c"]),
        node("MatMul", ["u", "G"], ["g"]),
        node("Mul", ["g", "spans"], ["gt"]),
        node("Sigmoid", ["gt"], ["t"]),
        node("Sub", ["c", "hx"], ["d"]),
        node("Mul", ["t", "d"], ["td"]),
        node("Add", ["hx", "td"], ["hx_new"]),
        node("MatMul", ["hx_new", "D"], ["y"]),
    ]
    floats = {k: v.astype(np.float32) for k, v in constants.items()}
    ins, outs = {"x": [1, 3], "hx": [1, 4], "spans": [1, 1]}, {"y": [1, 1], "hx_new": [1, 4]}
    return save(path, nodes, floats, ins, outs, opset=13)


def test_one_number_fills_a_fixed_shape(tmp_path: Path) -> None:
    """timespans [1, 1] = 0.5 is fed in its own shape, to the stream and to ONNX Runtime; the import is checked."""
    path = with_spans(tmp_path / "m.onnx")
    model = import_onnx(path, states={"hx": "hx_new"}, constants={"spans": 0.5})
    assert verify(model, path, short=True).error < 1e-5
    h, rows = np.zeros((1, 4), np.float32), generator().normal(0, 1, (20, 3)).astype(np.float32)
    for x, y in zip(rows, np.asarray(model.stream().run(rows)), strict=True):
        expected, h = onnxruntime_run(path, {"x": x[None], "hx": h, "spans": np.full((1, 1), 0.5, np.float32)})
        assert np.abs(y - expected[0]).max() < 1e-6
    command = ["import", str(path), "-o", str(tmp_path / "m.npz"), "--state", "hx=hx_new", "--set", "spans=0.5"]
    assert main(command) == 0


def with_lengths(path: Path) -> Path:
    """A sequence of open length, with its length [b] as an input."""
    rng = np.random.default_rng(0)
    constants = {
        "W": rng.normal(0, 0.5, (1, 16, 3)),
        "R": rng.normal(0, 0.5, (1, 16, 4)),
        "D": rng.normal(0, 0.5, (4, 1)),
    }
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("Cast", ["lengths"], ["n32"], to=TensorProto.INT32),
        node("LSTM", ["xt", "W", "R", "", "n32"], ["Y", "Yh"], hidden_size=4),
        node("Squeeze", ["Yh", "zero"], ["hs"]),
        node("MatMul", ["hs", "D"], ["y"]),
    ]
    floats = {k: v.astype(np.float32) for k, v in constants.items()} | {"zero": np.array([0])}
    path = save(path, nodes, floats, {"x": ["b", "t", 3], "lengths": ["b"]}, {"y": ["b", 1]}, opset=13)
    return retyped(path, "lengths", TensorProto.INT64, ["b"])


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_one_number_fills_an_open_shape(tmp_path: Path, engine: str) -> None:
    """lengths [b] = 10 is the length of every stream, in either engine: the window equals ONNX Runtime."""
    path = with_lengths(tmp_path / "m.onnx")
    options: dict[str, Any] = {"window": 10, "constants": {"lengths": 10}, "engine": engine}
    model = import_onnx(path, "window", **options)
    assert model.timing.window == 10
    assert verify(model, path, short=True).error < 1e-5
    rows = generator().normal(0, 1, (14, 3)).astype(np.float32)
    y = np.asarray(model.stream().run(rows))
    for t in range(9, 14):
        (expected,) = onnxruntime_run(path, {"x": rows[None, t - 9 : t + 1], "lengths": np.array([10])})
        assert np.abs(y[t] - expected[0]).max() < 1e-6


def test_a_mask_over_time_is_filled_as_long_as_the_sequence(tmp_path: Path) -> None:
    """mask [b, t] = 1 has as many ones as there are readings."""
    rng = np.random.default_rng(0)
    constants = {"W": rng.normal(0, 0.5, (1, 12, 3)), "R": rng.normal(0, 0.5, (1, 12, 4))}
    nodes = [
        node("Unsqueeze", ["mask", "two"], ["m"]),
        node("Mul", ["x", "m"], ["kept"]),
        node("Transpose", ["kept"], ["xt"], perm=[1, 0, 2]),
        node("GRU", ["xt", "W", "R"], ["Y", "Yh"], hidden_size=4, linear_before_reset=1),
        node("Squeeze", ["Yh", "zero"], ["y"]),
    ]
    floats = {k: v.astype(np.float32) for k, v in constants.items()} | {"zero": np.array([0]), "two": np.array([2])}
    path = save(tmp_path / "m.onnx", nodes, floats, {"x": ["b", "t", 3], "mask": ["b", "t"]}, {"y": ["b", 4]}, opset=13)
    model = import_onnx(path, constants={"mask": 1})
    assert (model.timing.mode, model.program.input_size) == ("continuous", 3)
    assert verify(model, path, short=True).error < 1e-5


def test_a_value_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Several numbers must have the input's shape."""
    path = with_spans(tmp_path / "m.onnx")
    with pytest.raises(ImportModelError, match=r"'spans' has shape \[2\], the input is 'spans' \[1, 1\]"):
        import_onnx(path, states={"hx": "hx_new"}, constants={"spans": [1, 2]})
