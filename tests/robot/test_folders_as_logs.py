"""A folder of recordings as one log of readings: what forecast, explain, quantize, verify and bench take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import save
from edge_lstm.errors import LogError
from edge_lstm.logs.csv_out import CsvWriter
from edge_lstm.robot.recorded import read
from firmware_bridge.recordings.limits import Limits
from tests.support.robots import small_robot
from tests.support.robots.recorded import drive

SECONDS = 4.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, the first in several files; beside the folder the first in one, and the model."""
    path = tmp_path_factory.mktemp("folders")
    (path / "drives").mkdir()
    drive(path / "drives" / "a.mcap", SECONDS, seed=3, keyframe_s=1.0, limits=Limits(rotate_s=1.5))
    drive(path / "drives" / "b.mcap", SECONDS, seed=4)
    drive(path / "whole.mcap", SECONDS, seed=3)
    save(small_robot.model(), path / "model.npz")
    return path


def test_a_folder_is_all_its_recordings(folder: Path) -> None:
    """The files of a run are read as one recording, and runs one after the other, each with a new memory; seconds go
    on where both began at the same time."""
    model = small_robot.model()
    assert len(list((folder / "drives").glob("a*.mcap"))) >= 3
    found = read(folder / "drives", model)
    parts = [read(folder / "whole.mcap", model), read(folder / "drives" / "b.mcap", model)]
    first, second = found.parts()
    assert found.begins == (len(parts[0].xs),)
    assert np.array_equal(first.xs, parts[0].xs)
    assert np.array_equal(first.t_s, parts[0].t_s)
    assert np.array_equal(second.xs, parts[1].xs)
    assert (np.diff(found.t_s) > 0).all()
    wanted = np.concatenate([part.outputs(model) for part in parts])
    assert np.array_equal(found.outputs(model), wanted, equal_nan=True)
    assert any("holds 2 recordings one after the other" in note for note in found.notes)


def test_the_commands_take_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """quantize calibrates on each run by itself, verify compares the readings of all."""
    command = ["quantize", str(folder / "model.npz"), "--calibrate", str(folder / "drives"), "--json"]
    assert main([*command, "-o", str(tmp_path / "q.npz")]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"] == ["drives (1)", "drives (2)"]
    model = small_robot.model()
    ys = read(folder / "drives", model).outputs(model)
    with CsvWriter(tmp_path / "reference.csv", [channel.name for channel in model.outputs]) as out:
        out.rows([repr(float(y)) for y in row] for row in ys)
    command = ["verify", str(folder / "model.npz"), "--expect", str(tmp_path / "reference.csv")]
    assert main([*command, "--inputs", str(folder / "drives")]) == 0


def test_a_folder_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    """A mixed folder is no log, an empty one neither."""
    with pytest.raises(LogError, match="is a folder, and no log"):
        read(folder.parent, small_robot.model())
    with pytest.raises(LogError, match="is an empty folder"):
        read(tmp_path, small_robot.model())
