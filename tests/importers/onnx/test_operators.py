"""Operators against ONNX Runtime: recurrent ones with every attribute, and what stands before and after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.graphs.heads import HEADS, head_file
from tests.support.graphs.onnx_files import (
    ACTIVATIONS,
    FUNCTIONS,
    WITH_ALPHA,
    WITH_BETA,
    difference,
    node,
    onnxruntime_run,
    recurrent_file,
    save,
)
from tests.support.oracles.reference import run_model

TOLERANCE = 1e-5


def combinations() -> list[tuple[str, dict[str, Any]]]:
    """Named attribute combinations of the recurrent operators."""
    found: list[tuple[str, dict[str, Any]]] = []
    for op in FUNCTIONS:
        for bias in (True, False):
            for initial in (True, False):
                found.append((op, {"bias": bias, "initial": initial}))
        for clip in (0.3, 1.5):
            found.append((op, {"clip": clip, "initial": True}))
        for opset in (7, 11, 14, 21):
            found.append((op, {"opset": opset}))
        for name in ACTIVATIONS:
            for place in range(FUNCTIONS[op]):
                names = (["Sigmoid", "Tanh", "Tanh"] if op != "RNN" else ["Tanh"])[: FUNCTIONS[op]]
                names[place] = name
                options: dict[str, Any] = {"activations": names}
                if name in WITH_ALPHA:
                    options["activation_alpha"] = [0.4]
                if name in WITH_BETA:
                    options["activation_beta"] = [0.3]
                found.append((op, options))
    for linear in (0, 1):
        for clipped in ({}, {"clip": 0.4}):
            for bias in (True, False):
                found.append(("GRU", {"linear_before_reset": linear, "bias": bias, **clipped}))
    for peephole in (True, False):
        for coupled in (0, 1):
            for clipped in ({}, {"clip": 0.4}):
                found.append(("LSTM", {"peephole": peephole, "input_forget": coupled, "initial": True, **clipped}))
    return found


@pytest.mark.parametrize(("op", "options"), combinations(), ids=lambda v: str(v).replace(" ", ""))
def test_a_recurrent_operator_with_any_attribute_equals_onnxruntime(
    tmp_path: Path, op: str, options: dict[str, Any]
) -> None:
    """Peepholes, clip, coupled gates, every activation with its parameters, biases, initial states: all are equal."""
    rng = np.random.default_rng(sum(f"{op}{options}".encode()))
    path = recurrent_file(tmp_path / "m.onnx", rng, op, **dict(options))
    x = rng.normal(0, 1, (6, 1, 3)).astype(np.float32)
    expected = onnxruntime_run(path, {"x": x})[0][:, 0]
    assert difference(run_model(import_onnx(path), x[:, 0]), expected) < TOLERANCE


def test_there_are_more_than_a_hundred_combinations() -> None:
    """The combinations above are many and all different."""
    assert len({str(c) for c in combinations()}) > 100


@pytest.mark.parametrize("op", FUNCTIONS)
def test_the_axes_of_layout_1_are_the_same_network(tmp_path: Path, op: str) -> None:
    """layout = 1 (batch first; ONNX Runtime refuses it) gives what layout 0 gives on transposed axes."""
    plain = recurrent_file(tmp_path / "a.onnx", np.random.default_rng(5), op, initial=False)
    x = np.random.default_rng(6).normal(0, 1, (9, 3)).astype(np.float32)
    rng = np.random.default_rng(5)
    constants = {
        "W": rng.normal(0, 0.5, (1, 4 * {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 3)).astype(np.float32),
    }
    constants["R"] = rng.normal(0, 0.5, (1, constants["W"].shape[1], 4)).astype(np.float32)
    constants["B"] = rng.normal(0, 0.5, (1, 2 * constants["W"].shape[1])).astype(np.float32)
    constants["shape"] = np.array([1, -1, 4], np.int64)
    nodes = [node(op, ["x", "W", "R", "B"], ["Y"], hidden_size=4, layout=1), node("Reshape", ["Y", "shape"], ["y"])]
    path = save(tmp_path / "b.onnx", nodes, constants, {"x": [1, "T", 3]}, {"y": [1, "T", 4]})
    assert np.array_equal(run_model(import_onnx(path), x), run_model(import_onnx(plain), x))


@pytest.mark.parametrize("name", HEADS)
def test_what_stands_behind_a_recurrent_layer_equals_onnxruntime(tmp_path: Path, name: str) -> None:
    """Heads, activations, normalizations and data movement, each per reading."""
    nodes, constants, options = HEADS[name]
    options = dict(options)
    if options.pop("branches", False):
        from onnx import TensorProto, helper

        then, other = (
            helper.make_graph(
                [node(op, ["h"], [f"{op}_out"])],
                op,
                [],
                [helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)],
            )
            for op in ("Tanh", "Exp")
        )
        nodes = [*nodes, node("If", ["c"], ["y"], then_branch=then, else_branch=other)]
    path = head_file(tmp_path / "m.onnx", nodes, constants, **options)
    x = np.random.default_rng(3).normal(0, 1, (1, 9, 3)).astype(np.float32)
    expected = onnxruntime_run(path, {"x": x})[0][0]
    assert difference(run_model(import_onnx(path), x[0]), expected) < TOLERANCE


def test_softmax_before_operator_set_13_works_on_all_axes_behind(tmp_path: Path) -> None:
    """Before operator set 13 the axis of Softmax and all behind it were one row; over time it is refused."""
    path = head_file(tmp_path / "m.onnx", [node("Softmax", ["h"], ["y"])], {}, opset=11)
    with pytest.raises(ImportModelError, match=r"n_y.*Softmax.*different readings"):
        import_onnx(path)
    path = head_file(tmp_path / "m.onnx", [node("Softmax", ["h"], ["y"], axis=2)], {}, opset=11)
    x = np.random.default_rng(3).normal(0, 1, (1, 9, 3)).astype(np.float32)
    assert difference(run_model(import_onnx(path), x[0]), onnxruntime_run(path, {"x": x})[0][0]) < TOLERANCE
