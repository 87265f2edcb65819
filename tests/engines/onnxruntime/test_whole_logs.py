"""Models that read a log from its end as well: whole logs at once, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.core.model import Model
from edge_lstm.core.storage import load, save
from edge_lstm.errors import ConfigError, ImportModelError, ReadingError
from edge_lstm.importers import import_onnx
from edge_lstm.logs import text_file
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from tests.support.drawing import generator
from tests.support.graphs.fallback_graphs import UNITS, both_directions, weights, window_of_12
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run
from tests.support.graphs.onnx_files import save as save_graph
from tests.support.robots import small_robot

CONFIG = """
[model]
file = "m.npz"
[readings]
format = "imu_wheels"
"""


def two_layers(path: Path) -> Path:
    """Two bidirectional layers, batch first; every reading's output, and the last state."""
    constants = {**weights(3, directions=2), **weights(3, width=2 * UNITS, directions=2, suffix="2")}
    constants |= {"wide": np.array([0, 0, -1])}
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("GRU", ["xt", "W", "R"], ["Y"], hidden_size=UNITS, direction="bidirectional"),
        node("Transpose", ["Y"], ["Yt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["Yt", "wide"], ["s"]),
        node("GRU", ["s", "W2", "R2"], ["Y2", "H"], hidden_size=UNITS, direction="bidirectional"),
        node("Transpose", ["Y2"], ["y"], perm=[2, 0, 1, 3]),
        node("Tanh", ["H"], ["last"]),
    ]
    shapes = {"y": ["B", "T", 2, UNITS], "last": [2, "B", UNITS]}
    return save_graph(path, nodes, constants, {"x": ["B", "T", 3]}, shapes)


def log_model(path: Path, **more: Any) -> Model:
    return import_onnx(path, mode="log", **more)


def expected(path: Path, rows: Array) -> Array:
    """(T, n): the first output of each reading, the second with the newest."""
    y, last = onnxruntime_run(path, {"x": rows[None]})
    late = np.full((len(rows), last.size), np.nan, np.float32)
    late[-1] = last.reshape(-1)
    return np.concatenate([y.reshape(len(rows), -1), late], axis=1)


@pytest.mark.parametrize("length", [1, 2, 37, 300])
def test_a_log_of_any_length_is_what_onnx_runtime_gives(length: int, tmp_path: Path) -> None:
    """The same bits as one call of ONNX Runtime; also after saving, loading and a reset."""
    path = two_layers(tmp_path / "m.onnx")
    model = log_model(path)
    assert "takes one reading at a time" in model.provenance["engine_reason"]
    save(model, tmp_path / "m.npz")
    stream = load(tmp_path / "m.npz").stream()
    for _ in range(2):
        rows = generator().normal(0, 1, (length, 3)).astype(np.float32)
        assert np.array_equal(stream.run(rows), expected(path, rows), equal_nan=True)
        stream.reset()


def test_single_readings_and_parts_of_logs_are_refused(tmp_path: Path) -> None:
    """`step`, a second `run` without a reset, streams side by side, NaN: each an error, and nothing has changed."""
    stream = log_model(two_layers(tmp_path / "m.onnx")).stream()
    rows = generator().normal(0, 1, (20, 3)).astype(np.float32)
    with pytest.raises(ReadingError, match="takes whole ones, with `run`"):
        stream.step(rows[0])
    holes = rows.copy()
    holes[7, 1] = np.nan
    with pytest.raises(ReadingError, match=r"row 7 holds nan in channel 'x\[1\]'"):
        stream.run(holes)
    assert stream.run(rows[:0]).shape == (0, 20)
    whole = stream.run(rows)
    with pytest.raises(ReadingError, match="reset it before the next"):
        stream.run(rows)
    with pytest.raises(ReadingError, match="use a Stream for each"):
        stream.model.streams(2)
    stream.reset()
    assert np.array_equal(stream.run(rows), whole, equal_nan=True)


def test_it_is_verified_like_any_model(tmp_path: Path) -> None:
    """`verify` with the model's own timing."""
    path = two_layers(tmp_path / "m.onnx")
    assert verify(log_model(path), path, short=True).ok
    newest = both_directions(tmp_path / "n.onnx")
    assert verify(log_model(newest), newest, short=True).ok


@pytest.mark.parametrize(
    ("make", "options", "pattern"),
    [
        (two_layers, {"engine": "native"}, "needs engine='onnxruntime'"),
        (two_layers, {"window": 4}, "contradicts mode 'log'"),
        (window_of_12, {}, "made for 12 readings, not for whole logs"),
    ],
)
def test_where_it_has_no_meaning(make: Any, options: dict[str, Any], pattern: str, tmp_path: Path) -> None:
    """The native engine, a window, a length baked in: refused by name."""
    with pytest.raises(ImportModelError, match=pattern):
        log_model(make(tmp_path / "m.onnx"), **options)


def test_auto_never_chooses_it(tmp_path: Path) -> None:
    """Without being asked, the refusal of a backward layer stays."""
    with pytest.raises(ImportModelError, match="direction = 'bidirectional'"):
        import_onnx(two_layers(tmp_path / "m.onnx"))


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """import --mode log; replay takes a table whole, though it is read in blocks; a robot is refused at the start."""
    path, model = two_layers(tmp_path / "m.onnx"), tmp_path / "m.npz"
    assert main(["import", str(path), "--mode", "log"]) == 0
    assert "log: whole logs at once" in capsys.readouterr().out
    rows = generator().normal(0, 1, (50, 3)).astype(np.float32)
    lines = [f"{t / 100:.2f}," + ",".join(map(repr, row.tolist())) for t, row in enumerate(rows)]
    (tmp_path / "log.csv").write_text("\n".join(["time (s),a,b,c", *lines]) + "\n")
    monkeypatch.setattr(text_file, "BLOCK", 256)
    assert main(["replay", str(tmp_path / "log.csv"), "--model", str(model), "-o", str(tmp_path / "y.csv")]) == 0
    y = np.genfromtxt(tmp_path / "y.csv", delimiter=",", skip_header=1, usecols=range(4, 24), dtype=np.float32)
    assert np.array_equal(y, expected(path, rows), equal_nan=True)
    capsys.readouterr()
    named = [f"--channels={','.join(f'{c.name} ({c.unit})' for c in small_robot.INPUTS[:3])}"]
    assert main(["import", str(path), "--mode", "log", "-o", str(model), *named]) == 0
    with pytest.raises(ConfigError, match="takes whole logs, no single readings"):
        Controller(load(model), parse_config(CONFIG, "robot.toml", Path()))


def behind(layer: dict[str, Any], path: Path, width: int = 3, recurrent: bool = True) -> Path:
    """A layer over time [1, channels, T], and a bidirectional LSTM behind it or nothing."""
    constants = {**weights(4, width=width, directions=2), "flat": np.array([0, -1, 2 * UNITS])}
    layer = dict(layer)
    given = ["xc"]
    if kernel := layer.pop("kernel", 0):
        constants["K"] = generator().normal(0, 0.5, (3, width, kernel)).astype(np.float32)
        given.append("K")
    nodes = [
        node("Transpose", ["x"], ["xc"], perm=[0, 2, 1]),
        node(layer.pop("op"), given, ["v"], **layer),
        *([] if recurrent else [node("Transpose", ["v"], ["y"], perm=[0, 2, 1])]),
    ]
    if recurrent:
        nodes += [
            node("Transpose", ["v"], ["s"], perm=[2, 0, 1]),
            node("LSTM", ["s", "W", "R"], ["Y"], hidden_size=UNITS, direction="bidirectional"),
            node("Transpose", ["Y"], ["Yt"], perm=[2, 0, 1, 3]),
            node("Reshape", ["Yt", "flat"], ["y"]),
        ]
    else:
        constants = {k: v for k, v in constants.items() if k == "K"}
    return save_graph(path, nodes, constants, {"x": [1, "T", 3]}, {"y": None})


# layer, the reading with the first row, readings from row to row
LAYERS: dict[str, tuple[dict[str, Any], int, int]] = {
    "strided convolution": ({"op": "Conv", "kernel": 3, "pads": [1, 1], "strides": [2]}, 1, 2),
    "pooling": ({"op": "MaxPool", "kernel_shape": [3], "strides": [3]}, 3, 3),
    "no padding": ({"op": "Conv", "kernel": 5}, 5, 1),
    "a long kernel": ({"op": "Conv", "kernel": 90, "strides": [7]}, 90, 7),
}


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_rows_in_a_rhythm(name: str, recurrent: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With strides and without padding each row of ONNX Runtime's comes with the reading that made it, for any length;
    a log that is too short is refused with the shortest; at `import` nothing differs."""
    layer, first, every = LAYERS[name]
    path = behind(layer, tmp_path / "m.onnx", recurrent=recurrent)
    axis = [] if recurrent else ["--time-axis", "1"]
    assert main(["import", str(path), "--mode", "log", *axis]) == 0, capsys.readouterr().err
    model = load(tmp_path / "m.npz")
    assert (model.timing.first_output, model.timing.stride) == (first, every)
    for length in (first, first + 1, first + every, 200, 1500):
        rows = generator().normal(0, 1, (length, 3)).astype(np.float32)
        y = model.stream().run(rows)
        (theirs,) = onnxruntime_run(path, {"x": rows[None]})
        assert np.array_equal(y[first - 1 :: every], theirs[0])
        assert np.isnan(np.delete(y, slice(first - 1, None, every), axis=0)).all()
    if first > 1:
        with pytest.raises(ReadingError, match=f"the log was not taken: .* logs of {first} readings or more, this one"):
            model.stream().run(generator().normal(0, 1, (first - 1, 3)).astype(np.float32))


@pytest.mark.parametrize(
    "layer",
    [
        {"op": "ConvTranspose", "kernel": 2, "strides": [2]},
        {"op": "Conv", "kernel": 2, "pads": [4, 4]},
    ],
)
def test_rows_of_no_reading_are_refused_at_import(
    layer: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice as many rows as readings, or rows before the first: the output is named with its shape, exit code 2."""
    path = behind(layer, tmp_path / "m.onnx")
    assert main(["import", str(path), "--mode", "log"]) == 2
    assert "output 'y' has the shape [1, " in capsys.readouterr().err
    with pytest.raises(ImportModelError, match=r"for a log of 1,024 readings: .* where its rows belong"):
        log_model(path)


def test_a_time_axis_that_no_layer_follows(tmp_path: Path) -> None:
    """The refusal of a recurrent layer that follows no axis does not advise what was given already."""
    constants = {**weights(1), "shape": np.array([1, 1, 3])}
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        node("Concat", ["m", "m"], ["s"], axis=0),
        node("RNN", ["s", "W", "R"], ["y"], hidden_size=UNITS),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, {k: constants[k] for k in "WR"}, {"x": [1, "T", 3]}, {"y": None})
    with pytest.raises(ImportModelError, match="no recurrent layer's sequence follows axis 1 of the inputs"):
        log_model(path, time_axis=1)


def test_a_model_says_that_it_takes_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """repr names whole logs, windows (of ONNX Runtime too) and strides; `inspect` of a log model names logs."""
    path = behind(LAYERS["pooling"][0], tmp_path / "m.onnx")
    model = log_model(path)
    assert repr(model).endswith("whole logs, an output every 3 readings>")
    assert repr(import_onnx(window_of_12(tmp_path / "w.onnx"), engine="onnxruntime")).endswith("window of 12>")
    save(model, tmp_path / "m.npz")
    assert main(["inspect", str(tmp_path / "m.npz")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "whole logs of 3 readings or more at once" in text
    assert "none: it takes whole logs" in text


def test_rows_in_the_other_direction_are_refused(tmp_path: Path) -> None:
    """An output whose first row is of the newest reading would be placed the wrong way round: refused by name."""
    constants = {**weights(4, directions=2), **{k: np.array([n]) for k, n in (("a", -1), ("b", -(1 << 40)), ("c", 0))}}
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=UNITS, direction="bidirectional"),
        node("Slice", ["Y", "a", "b", "c", "a"], ["y"]),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, constants, {"x": ["T", 1, 3]}, {"y": None})
    with pytest.raises(ImportModelError, match="output 'y' has its rows in the other direction"):
        log_model(path)
