"""Loops written out that no stream can follow, and sequences that may be empty: right as a window, asked about, or
refused; never the features taken for time, and never the end of the process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.core.model import Model
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import draw
from tests.support.graphs.heads import i64
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run, save

UNITS = 5


def loop(name: str, order: range, features: int, constants: dict[str, Array]) -> list[Any]:
    """A network h' = tanh(x W + h R) written out over axis 1 of x, as exporters do: nodes to "<name><reading>"."""
    constants |= {f"{name}W": draw(features, UNITS), f"{name}R": draw(UNITS, UNITS)}
    nodes, before = [], "zero"
    for t in order:
        constants[f"t{t}"] = i64(t)
        nodes += [
            node("Gather", ["x", f"t{t}"], [f"{name}x{t}"], axis=1),
            node("MatMul", [f"{name}x{t}", f"{name}W"], [f"{name}i{t}"]),
            node("MatMul", [before, f"{name}R"], [f"{name}r{t}"]),
            node("Add", [f"{name}i{t}", f"{name}r{t}"], [f"{name}s{t}"]),
            node("Tanh", [f"{name}s{t}"], [f"{name}{t}"]),
        ]
        before = f"{name}{t}"
    return nodes


def written_out(path: Path, shape: tuple[int, int], head: str) -> Path:
    """x [1, T, F] and a loop over T, whose head no continuous stream can follow."""
    readings, features = shape
    constants: dict[str, Array] = {"zero": np.zeros((1, 1, UNITS), np.float32)}
    nodes = loop("f", range(readings), features, constants)
    last = readings - 1
    ends = {
        "first and last": ["f0", f"f{last}"],
        "flattened": [f"f{t}" for t in range(readings)],
        "both ways": [f"f{last}", f"b{last}"],
        "backwards": ["b0"],
    }[head]
    if "b0" in ends or f"b{last}" in ends:
        nodes = [*nodes, *loop("b", range(last, -1, -1), features, constants)]
    nodes += [node("Concat", ends, ["h"], axis=2), node("MatMul", ["h", "D"], ["y"])]
    constants["D"] = draw(UNITS * len(ends), 2)
    return save(path, nodes, constants, {"x": [1, readings, features]}, {"y": [1, 1, 2]})


class UnclearHere(Exception):
    """It asks which axis is time."""


def unless_asked(path: Path) -> Model:
    """The import without a word about time."""
    try:
        return import_onnx(path)
    except ImportModelError as error:
        if "time_axis=1 or 2" in str(error):
            raise UnclearHere from None
        raise


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)])
@pytest.mark.parametrize("head", ["both ways", "backwards", "first and last", "flattened"])
def test_a_loop_written_out_that_no_stream_can_follow(tmp_path: Path, shape: tuple[int, int], head: str) -> None:
    """Without a word about time it is right or asked about; told the axis, it is ONNX Runtime's over the window."""
    path = written_out(tmp_path / "m.onnx", shape, head)
    x = draw(*shape)
    expected = onnxruntime_run(path, {"x": x[None]})[0].reshape(-1)
    models = [import_onnx(path, time_axis=1)]
    with contextlib.suppress(UnclearHere):
        models.append(unless_asked(path))
    for model in models:
        assert model.timing.axes.inputs["x"].time == 1
        assert np.allclose(model.stream().run(x)[-1], expected, atol=2e-6)


# --- an empty sequence ------------------------------------------------------------------------------------------------


def neighbours(path: Path, kind: str, end: str) -> Path:
    """x[1:] * x[:-1] in front of a recurrent layer: one reading leaves nothing."""
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    constants = {"W": draw(1, gates * UNITS, 3), "R": draw(1, gates * UNITS, UNITS)}
    constants |= {"zero": i64(0), "one": i64(1), "end": i64(2**31 - 1), "less": i64(-1)}
    nodes = [
        node("Slice", ["x", "one", "end", "zero"], ["newer"]),
        node("Slice", ["x", "zero", "less", "zero"], ["older"]),
        node("Mul", ["newer", "older"], ["d"]),
        node("Abs", ["d"], ["a"]),
        node(kind, ["a", "W", "R"], ["Y", "H"], hidden_size=UNITS),
        node(end, ["H"], ["y"]),
    ]
    return save(path, nodes, constants, {"x": ["T", 1, 3]}, {"y": [1, 1, UNITS]})


@pytest.mark.parametrize("kind", ["GRU", "RNN", "LSTM"])
def test_a_layer_that_gets_nothing_of_one_reading(tmp_path: Path, kind: str) -> None:
    """ONNX Runtime ends the process where a GRU gets an empty sequence: refused in words, in a process that lives; and
    a whole log of one reading is refused, one of more is ONNX Runtime's."""
    path = neighbours(tmp_path / "m.onnx", kind, "Sin")
    code = (
        "import sys, numpy as np\n"
        "from edge_lstm import import_onnx\n"
        "from edge_lstm.errors import EdgeLstmError\n"
        "for mode in ('auto', 'continuous'):\n"
        "    try:\n"
        "        import_onnx(sys.argv[1], mode)\n"
        "        print('taken')\n"
        "    except EdgeLstmError as error:\n"
        "        print('refused')\n"
        "model = import_onnx(sys.argv[1], 'log')\n"
        "try:\n"
        "    model.stream().run(np.zeros((1, 3), np.float32))\n"
        "except EdgeLstmError as error:\n"
        "    print('refused')\n"
        "rows = np.sin(np.arange(60, dtype=np.float32)).reshape(20, 3)\n"
        "print(repr(model.stream().run(rows)[-1].tolist()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *said, numbers = done.stdout.splitlines()
    assert said == ["refused"] * 3
    rows = np.sin(np.arange(60, dtype=np.float32)).reshape(20, 1, 3)
    assert np.allclose(eval(numbers), onnxruntime_run(path, {"x": rows})[0].reshape(-1), atol=1e-6)


def test_the_guard_changes_nothing_else(tmp_path: Path) -> None:
    """In a window, where the sequence is never empty, the guarded graph gives ONNX Runtime's own bits."""
    path = neighbours(tmp_path / "m.onnx", "GRU", "Sin")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = import_onnx(path, "window", window=7)
    rows = draw(12, 3)
    y = model.stream().run(rows)
    for t in range(6, 12):
        expected = onnxruntime_run(path, {"x": rows[t - 6 : t + 1, None]})[0].reshape(-1)
        assert np.array_equal(y[t], expected)


def test_a_log_too_short_to_be_compared(tmp_path: Path) -> None:
    """The native engine runs the same graph from its second reading on; a log of one is no log to compare."""
    path = neighbours(tmp_path / "m.onnx", "GRU", "Tanh")
    model = import_onnx(path)
    assert model.timing.first_output == 2
    assert verify(model, path, log=draw(30, 3), short=True).ok
    with pytest.raises(ImportModelError, match="of 1 readings is too short"):
        verify(model, path, log=draw(1, 3), short=True)
