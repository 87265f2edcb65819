"""Whole numbers and booleans keep their kind through every operator, over features and over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run, save

SUMS: dict[str, tuple[list[Any], dict[str, Array]]] = {
    "ReduceSum": ([node("ReduceSum", ["i", "a1"], ["s"], keepdims=1)], {"a1": np.array([1])}),
    "ReduceMax": ([node("ReduceMax", ["i"], ["s"], axes=[1], keepdims=1)], {}),
    "MatMul": ([node("MatMul", ["i", "ones"], ["s"])], {"ones": np.ones((3, 1), np.int64)}),
    "MatMul of readings": ([node("Transpose", ["i"], ["j"], perm=[1, 0]), node("MatMul", ["i", "j"], ["s"])], {}),
    "Einsum": (
        [node("Einsum", ["i"], ["es"], equation="bk->b"), node("Unsqueeze", ["es", "a1"], ["s"])],
        {"a1": np.array([1])},
    ),
    "Einsum of readings": (
        [node("Einsum", ["i", "i"], ["es"], equation="bk,bk->b"), node("Unsqueeze", ["es", "a1"], ["s"])],
        {"a1": np.array([1])},
    ),
    "CumSum": (
        [node("CumSum", ["i", "one"], ["k3"]), node("Gather", ["k3", "last"], ["s"], axis=1)],
        {"one": np.array(1), "last": np.array([2])},
    ),
}


def any_file(path: Path, nodes: list[Any], constants: dict[str, Array]) -> Path:
    """A step whose state waits while the whole reading is -1: any(x != -1), as exporters write it."""
    rng = np.random.default_rng(0)
    known = {name: rng.normal(0, 0.5, shape) for name, shape in {"W": (1, 12, 3), "R": (1, 12, 4), "D": (4, 1)}.items()}
    floats = {k: v.astype(np.float32) for k, v in known.items()} | {"m1": np.array(-1, np.float32)}
    before = [
        node("Equal", ["x", "m1"], ["e"]),
        node("Not", ["e"], ["n"]),
        node("Cast", ["n"], ["i"], to=TensorProto.INT64),
    ]
    after = [
        node("Greater", ["s", "zero"], ["k"]),
        node("Unsqueeze", ["x", "a0"], ["xt"]),
        node("Unsqueeze", ["h_in", "a0"], ["ht"]),
        node("GRU", ["xt", "W", "R", "", "", "ht"], ["Y", "Yh"], hidden_size=4, linear_before_reset=1),
        node("Squeeze", ["Yh", "a0"], ["hn"]),
        node("Where", ["k", "hn", "h_in"], ["h_out"]),
        node("MatMul", ["h_out", "D"], ["y"]),
    ]
    whole = floats | {"a0": np.array([0]), "zero": np.array(0)} | constants
    ins, outs = {"x": [1, 3], "h_in": [1, 4]}, {"y": [1, 1], "h_out": [1, 4]}
    return save(path, [*before, *nodes, *after], whole, ins, outs, opset=13)


@pytest.mark.parametrize("name", SUMS)
def test_whole_numbers_stay_whole_numbers(name: str, tmp_path: Path) -> None:
    """Cast of a truth, a sum of whole numbers however it is written, Greater: exact, so the native engine runs it, and
    equals ONNX Runtime with the state handed on."""
    path = any_file(tmp_path / "m.onnx", *SUMS[name])
    model = import_onnx(path, engine="native")
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (40, 3)).astype(np.float32)
    rows[rng.random(40) < 0.4] = -1
    h = np.zeros((1, 4), np.float32)
    for x, y in zip(rows, np.asarray(model.stream().run(rows)), strict=True):
        expected, h = onnxruntime_run(path, {"x": x[None], "h_in": h})
        assert np.abs(y - expected[0]).max() < 1e-6


def test_a_sum_of_whole_numbers_that_may_be_large(tmp_path: Path) -> None:
    """A product of matrices of whole numbers that nothing bounds is left to ONNX Runtime, as any product of them is."""
    nodes = [
        node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        node("MatMul", ["i", "M"], ["m"]),
        node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
        node("Add", ["f", "h_in"], ["h_out"]),
        node("Tanh", ["h_out"], ["y"]),
    ]
    ins, outs = {"x": [1, 3], "h_in": [1, 3]}, {"y": [1, 3], "h_out": [1, 3]}
    path = save(tmp_path / "m.onnx", nodes, {"M": np.full((3, 3), 1000)}, ins, outs)
    with pytest.raises(ImportModelError, match=r"'n_m' \(MatMul\).*2\^24"):
        import_onnx(path, engine="native")
