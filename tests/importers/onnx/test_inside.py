"""Operators within one reading against ONNX Runtime, in the reference and in the native engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_lstm.importers import import_onnx
from tests.support.graphs.inside import INSIDE
from tests.support.graphs.onnx_files import node, onnxruntime_run, save
from tests.support.oracles.reference import run_model


def branches() -> dict[str, Any]:
    def graph(op: str) -> Any:
        value = helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)
        return helper.make_graph([node(op, ["x"], [f"{op}_out"])], op, [], [value])

    return {"then_branch": graph("Tanh"), "else_branch": graph("Neg")}


@pytest.mark.parametrize("name", INSIDE)
def test_an_operator_within_one_reading_equals_onnxruntime(tmp_path: Path, name: str) -> None:
    """Whatever stands inside a step gives ONNX Runtime's numbers, in the naive reference and in the native engine."""
    nodes, shape, constants, options = INSIDE[name]
    options = dict(options)
    if options.pop("branches", False):
        nodes = [*nodes[:-1], node("If", [nodes[-1].input[0]], ["y"], **branches())]
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": list(shape)}, {"y": None}, **options)
    model = import_onnx(path, mode="continuous", time_axis="none")
    xs = np.random.default_rng(3).normal(0, 1, (4, *shape)).astype(np.float32)
    expected = np.stack([onnxruntime_run(path, {"x": x})[0].reshape(-1) for x in xs])
    rows = xs.reshape(4, -1)
    scale = max(float(np.abs(expected).max()), 1e-3)
    for y in (run_model(model, rows), model.stream().run(rows)):
        assert y.shape == expected.shape
        assert np.abs(y - expected).max() <= 1e-5 * scale
