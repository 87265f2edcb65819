"""Rows of an output are never dropped in silence: those that no other output holds are given, the others are noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import node, onnxruntime_run, save

LENGTH = 12


def rows_file(path: Path, start: int, length: int | str = LENGTH, op: str = "LSTM") -> Path:
    """An LSTM over a sequence, a dense layer on its rows from `start` on."""
    rng, gates = np.random.default_rng(0), {"LSTM": 4, "GRU": 3}[op]
    shapes = {"W": (1, gates * 6, 2), "R": (1, gates * 6, 6), "D": (6, 1)}
    constants: dict[str, Any] = {k: rng.normal(0, 0.5, s).astype(np.float32) for k, s in shapes.items()}
    constants |= {"one": np.array([1]), "from": np.array([start]), "to": np.array([2**31 - 1])}
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node(op, ["xt", "W", "R"], ["Y"], hidden_size=6),
        node("Squeeze", ["Y", "one"], ["Ys"]),
        node("Transpose", ["Ys"], ["Yb"], perm=[1, 0, 2]),
        node("Slice", ["Yb", "from", "to", "one"], ["Yl"]),
        node("MatMul", ["Yl", "D"], ["y"]),
    ]
    return save(path, nodes, constants, {"x": [1, length, 2]}, {"y": [1, "rows", 1]}, opset=13)


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("count", [2, 3, 11])
def test_the_last_rows_of_a_window_are_all_given(tmp_path: Path, count: int, op: str) -> None:
    """The last 3 rows of a window of 12 are of readings 10, 11, 12 from its reset, so no earlier output holds them: the
    model gives 3 numbers at each reading, those of ONNX Runtime for the last 12 readings, and says what that costs."""
    path = rows_file(tmp_path / "m.onnx", -count, op=op)
    model = import_onnx(path)
    assert (model.timing.mode, model.timing.window, model.program.output_size) == ("whole window", LENGTH, count)
    assert f"output 'y' holds the last {count} readings" in model.provenance["cost"]
    assert verify(model, path, short=True).error < 1e-5
    rows = generator().normal(0, 1, (20, 2)).astype(np.float32)
    y = np.asarray(model.stream().run(rows))
    for t in range(LENGTH - 1, len(rows)):
        (expected,) = onnxruntime_run(path, {"x": rows[None, t + 1 - LENGTH : t + 1]})
        assert np.abs(y[t] - expected.reshape(-1)).max() < 1e-6


def test_a_row_for_each_reading_of_a_window_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the output has a row for each of the 12 readings the model gives the newest, as it always did, and says so
    where it is imported; the last row alone needs no word."""
    path = rows_file(tmp_path / "m.onnx", 0)
    model = import_onnx(path)
    assert (model.timing.mode, model.program.output_size) == ("window", 1)
    assert "has a row for each reading of the window; the model gives the newest" in model.provenance["notes"][0]
    assert main(["import", str(path), "-o", str(tmp_path / "m.npz")]) == 0
    assert "note: output 'y' has a row for each reading of the window" in capsys.readouterr().out
    assert not import_onnx(rows_file(tmp_path / "n.onnx", -1)).provenance["notes"]


def test_the_last_rows_of_an_open_sequence(tmp_path: Path) -> None:
    """In a continuous stream each of them comes with its own reading: refused, with the window as a way out, which
    works; a fixed number of readings left out at the start is the first output."""
    path = rows_file(tmp_path / "m.onnx", -3, "T")
    with pytest.raises(ImportModelError, match=r"'y' holds the last 3 readings.*mode='window', window=T"):
        import_onnx(path)
    with pytest.raises(ImportModelError, match="holds the last 3 readings"):
        import_onnx(rows_file(tmp_path / "f.onnx", -3), "continuous")
    model = import_onnx(path, "window", window=5)
    assert model.program.output_size == 3
    assert verify(model, path, short=True).error < 1e-5
    late = import_onnx(rows_file(tmp_path / "n.onnx", 4, "T"))
    assert (late.timing.first_output, late.program.output_size) == (5, 1)
