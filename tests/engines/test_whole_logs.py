"""Models that read a log from its end as well: whole logs at once, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.config import parse_config
from edge_lstm.controller import Controller
from edge_lstm.errors import ConfigError, ImportModelError, ReadingError
from edge_lstm.importers import import_onnx
from edge_lstm.logs import csv_log
from edge_lstm.model import Model
from edge_lstm.storage import load, save
from edge_lstm.verification import verify
from tests import small_robot
from tests.engines.graphs import UNITS, both_directions, weights, window_of_12
from tests.importers.onnx_files import Array, node, onnxruntime_run
from tests.importers.onnx_files import save as save_graph

CONFIG = """
[model]
file = "m.npz"
[readings]
format = "imu_wheels"
"""
RNG = np.random.default_rng(3)


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
        rows = RNG.normal(0, 1, (length, 3)).astype(np.float32)
        assert np.array_equal(stream.run(rows), expected(path, rows), equal_nan=True)
        stream.reset()


def test_single_readings_and_parts_of_logs_are_refused(tmp_path: Path) -> None:
    """`step`, a second `run` without a reset, streams side by side, NaN: each an error, and nothing has changed."""
    stream = log_model(two_layers(tmp_path / "m.onnx")).stream()
    rows = RNG.normal(0, 1, (20, 3)).astype(np.float32)
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
    """`verify` in the model's own meaning."""
    path = two_layers(tmp_path / "m.onnx")
    assert verify(log_model(path), path, short=True).ok
    newest = both_directions(tmp_path / "n.onnx")
    assert verify(log_model(newest), newest, short=True).ok


@pytest.mark.parametrize(
    ("make", "options", "pattern"),
    [
        (two_layers, {"engine": "machine"}, "needs engine='onnxruntime'"),
        (two_layers, {"window": 4}, "contradicts mode 'log'"),
        (window_of_12, {}, "made for 12 readings, not for whole logs"),
    ],
)
def test_where_it_has_no_meaning(make: Any, options: dict[str, Any], pattern: str, tmp_path: Path) -> None:
    """The machine, a window, a length baked in: refused by name."""
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
    rows = RNG.normal(0, 1, (50, 3)).astype(np.float32)
    lines = [f"{t / 100:.2f}," + ",".join(map(repr, row.tolist())) for t, row in enumerate(rows)]
    (tmp_path / "log.csv").write_text("\n".join(["time (s),a,b,c", *lines]) + "\n")
    monkeypatch.setattr(csv_log, "_BLOCK", 256)
    assert main(["replay", str(tmp_path / "log.csv"), "--model", str(model), "-o", str(tmp_path / "y.csv")]) == 0
    y = np.genfromtxt(tmp_path / "y.csv", delimiter=",", skip_header=1, usecols=range(4, 24), dtype=np.float32)
    assert np.array_equal(y, expected(path, rows), equal_nan=True)
    capsys.readouterr()
    named = [f"--channels={','.join(f'{c.name} ({c.unit})' for c in small_robot.INPUTS[:3])}"]
    assert main(["import", str(path), "--mode", "log", "-o", str(model), *named]) == 0
    with pytest.raises(ConfigError, match="takes whole logs, no single readings"):
        Controller(load(model), parse_config(CONFIG, "robot.toml", Path()))
