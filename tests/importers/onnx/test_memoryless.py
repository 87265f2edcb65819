"""A network without memory: its vector stays a vector, and is never taken for a row of readings."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx


@pytest.mark.parametrize("shape", [(1, 21), (1, "T", 21), ("T", 1, 21), (7, 1, 21)])
def test_a_perceptron_keeps_its_inputs(shape, tmp_path):
    """Linear and Softmax over 21 values are 21 inputs and no memory, wherever an axis is open; only when asked for."""
    weights = np.random.default_rng(0).normal(size=(21, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "W"], ["v"]), helper.make_node("Softmax", ["v"], ["y"], axis=-1)]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (*shape[:-1], size))
        for name, size in (("x", 21), ("y", 3))
    )
    graph = helper.make_graph(nodes, "perceptron", [x], [y], [numpy_helper.from_array(weights, "W")])
    path = tmp_path / "perceptron.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(ImportModelError, match="no memory"):
        import_onnx(path)
    model = import_onnx(path, mode="continuous")
    assert (len(model.inputs), len(model.outputs), model.program.state_size) == (21, 3, 0)
    value = np.random.default_rng(1).normal(size=21).astype(np.float32)
    votes = np.exp(value @ weights)
    np.testing.assert_allclose(model.stream().step(value), votes / votes.sum(), rtol=1e-5)
