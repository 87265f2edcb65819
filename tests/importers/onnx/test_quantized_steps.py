"""Cells written out in operators that only ONNX Runtime has, as one step: asked about in words that can be typed, and
answers that an experiment contradicts are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.core.model import Model
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import difference, node, onnxruntime_run, save

UNITS = 6


def quantized_cell(path: Path, names: tuple[str, str, str, str], width: int = UNITS) -> Path:
    """An LSTM cell whose products are DynamicQuantizeLinear and MatMulInteger; h, c and what they become are named."""
    h, c, h_next, c_next = names
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {"bias": rng.normal(0, 0.5, 4 * UNITS).astype(np.float32)}
    nodes = []
    for x, size in (("x", width), (h, UNITS)):
        key = "x" if x == "x" else "h"
        weights = rng.normal(0, 0.5, (size, 4 * UNITS))
        constants[f"{key}_q"] = np.clip(np.rint(weights / 0.02), -127, 127).astype(np.int8)
        constants[f"{key}_scale"] = np.float32(0.02)
        nodes += [
            node("DynamicQuantizeLinear", [x], [f"{key}_u", f"{key}_s", f"{key}_z"]),
            node("MatMulInteger", [f"{key}_u", f"{key}_q", f"{key}_z"], [f"{key}_i"]),
            node("Cast", [f"{key}_i"], [f"{key}_f"], to=1),
            node("Mul", [f"{key}_s", f"{key}_scale"], [f"{key}_w"]),
            node("Mul", [f"{key}_f", f"{key}_w"], [f"{key}_p"]),
        ]
    nodes += [
        node("Add", ["x_p", "h_p"], ["sum"]),
        node("Add", ["sum", "bias"], ["total"]),
        node("Split", ["total"], ["i", "f", "g", "o"], axis=1),
        *(node("Sigmoid", [k], [f"s_{k}"]) for k in "ifo"),
        node("Tanh", ["g"], ["t_g"]),
        node("Mul", ["s_f", c], ["kept"]),
        node("Mul", ["s_i", "t_g"], ["new"]),
        node("Add", ["kept", "new"], [c_next]),
        node("Tanh", [c_next], ["t_c"]),
        node("Mul", ["s_o", "t_c"], [h_next]),
        node("Neg", [h_next], ["y"]),
    ]
    shape = [1, UNITS]
    ins, outs = {"x": [1, width], h: shape, c: shape}, {"y": shape, h_next: shape, c_next: shape}
    return save(path, nodes, constants, ins, outs, opset=12)


def quietly(path: Path, **options: Any) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_onnx(path, **options)


@pytest.mark.parametrize("width", [3, UNITS])
def test_a_quantized_cell_is_asked_for_its_states(tmp_path: Path, width: int) -> None:
    """The refusal names --state with the candidates; no axis of the states is taken for time, though it is said; the
    right answer equals ONNX Runtime with the states handed on, a swapped one is refused."""
    path = quantized_cell(tmp_path / "m.onnx", ("44", "45", "61", "59"), width)
    with pytest.raises(ImportModelError, match=r"--state 44=61 or --state 44=59 or --state 45=") as asked:
        import_onnx(path)
    assert "--time-axis" in str(asked.value)
    with pytest.raises(ImportModelError, match=r"say which: .*--state 44=61"):
        import_onnx(path, time_axis=1)
    with pytest.raises(ImportModelError, match=r"'59' is not the next value of input '44': a gate makes it of '45'"):
        import_onnx(path, states={"44": "59", "45": "61"})
    model = quietly(path, states={"44": "61", "45": "59"})
    assert (model.timing.mode, model.program.input_size) == ("continuous", width)
    rows, h = generator().normal(0, 1, (40, width)).astype(np.float32), np.zeros((1, UNITS), np.float32)
    c, expected = h, []
    for row in rows:
        y, h, c = onnxruntime_run(path, {"x": row[None], "44": h, "45": c})
        expected.append(y[0])
    assert difference(np.asarray(model.stream().run(rows)), np.array(expected)) < 1e-6


def test_names_that_contradict_the_gates_are_refused(tmp_path: Path) -> None:
    """h and c named crosswise on one side only would be carried crosswise: refused, with the pair that is right."""
    right = quantized_cell(tmp_path / "m.onnx", ("h_in", "c_in", "h_out", "c_out"), 3)
    assert set(quietly(right).provenance["states"]) == {"h_in", "c_in"}
    wrong = quantized_cell(tmp_path / "w.onnx", ("h_in", "c_in", "c_out", "h_out"), 3)
    with pytest.raises(ImportModelError, match=r"a gate makes it of 'c_in' \(--state c_in=h_out\)"):
        import_onnx(wrong)
