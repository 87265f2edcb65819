"""Two inputs over the same time: assignments of axes that do not fit must not speak for the one that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_lstm.importers import import_onnx
from tests.support.drawing import draw, generator
from tests.support.graphs.onnx_files import difference, onnxruntime_run
from tests.support.graphs.step_graphs import Draft

UNITS, WIDTH, READINGS = 5, 3, 30


def scanned(path: Path) -> Path:
    """A Scan over x [1, T, WIDTH] and flags [1, T, 1] that begin anew, both of an open length."""
    d = Draft(generator())
    first, one = d.weights(1, UNITS), d.weights_of(1.0)
    outside, d.nodes = d.nodes, []
    held = d.add("Mul", "h", d.add("Sub", one, "flag"))
    joined = d.add("Concat", "now", held, axis=1)
    d.add("Tanh", d.add("MatMul", joined, d.weights(WIDTH + UNITS, UNITS)), out="after")
    d.add("Identity", "after", out="shown")
    info = helper.make_tensor_value_info
    ins = [info(name, TensorProto.FLOAT, [1, n]) for name, n in (("h", UNITS), ("now", WIDTH), ("flag", 1))]
    outs = [info(name, TensorProto.FLOAT, [1, UNITS]) for name in ("after", "shown")]
    body, d.nodes = helper.make_graph(d.nodes, "body", ins, outs), outside
    more: dict[str, Any] = {"scan_input_axes": [1, 1], "scan_output_axes": [1]}
    d.outputs("Scan", [first, "x", "flags"], ["end", "y"], body=body, num_scan_inputs=2, **more)
    return d.save(path, {"x": [1, "T", WIDTH], "flags": [1, "T", 1]}, {"y": [1, "T", UNITS]})


def summed(path: Path) -> Path:
    """Sums over the features that leave out the last, which no stream could do over time, beside flags."""
    d = Draft(generator())
    d.constants["axis"] = np.array(2)
    joined = d.add("Concat", d.add("CumSum", "x", "axis", exclusive=1), "flags", axis=2)
    y, *_ = d.recurrent("GRU", d.add("Transpose", joined, perm=[1, 0, 2]), WIDTH + 1, UNITS, [])
    d.add("Transpose", d.add("Squeeze", y, d.whole(1)), perm=[1, 0, 2], out="y")
    shape = [1, READINGS, WIDTH]
    return d.save(path, {"x": shape, "flags": [1, READINGS, 1]}, {"y": [1, READINGS, UNITS]})


@pytest.mark.parametrize("build", [scanned, summed])
def test_what_fits_is_taken_whatever_else_does_not(tmp_path: Path, build: Any) -> None:
    """Both inputs are read along their second axis, equal to ONNX Runtime at each reading, though other assignments
    give them different lengths, or ask for what the native engine lacks."""
    path = build(tmp_path / "m.onnx")
    model = import_onnx(path, mode="continuous", engine="native")
    rows = np.concatenate([draw(READINGS, WIDTH), (draw(READINGS, 1) > 0.5).astype(np.float32)], axis=1)
    (expected,) = onnxruntime_run(path, {"x": rows[None, :, :WIDTH], "flags": rows[None, :, WIDTH:]})
    assert difference(np.asarray(model.stream().run(rows)), expected[0]) < 1e-5
