"""The tutorial: every command that it shows is run, in a folder that was empty, from the files that `edge-lstm example
copy` gives; troubleshooting quotes what the program says."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
import firmware_bridge
from edge_lstm.cli import codes, main
from firmware_bridge.recordings.reader import open_recording
from tests.support.reader import FOLDER, Terminal, page, third_step
from tools.train.tutorial import rows


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tutorial(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the copied files to the service: import, comparison with PyTorch, replay, int8, a robot made of the log,
    robot.toml by `init`, a run with the page's [action], its replay to the same bits. What the page shows is said."""
    pytest.importorskip("matplotlib")
    terminal = Terminal(capsys, {"run": ["--seconds", "2"], "init": ["--seconds", "1.5"]})
    terminal.read("README.md")
    assert terminal.ran == [
        *("example", "channels", "import", "inspect", "verify", "replay", "quantize"),
        *("simulate", "describe", "init", "check", "check", "run", "replay", "doctor", "service"),
    ]
    assert Path.cwd() == empty / "my-robot" / "tutorial"
    made = ("wheels.npz", "wheels-int8.npz", "outputs.csv", "outputs.png", "robot.toml", "drive.mcap", "drive.png")
    assert {name for name in made if Path(name).is_file()} == set(made)
    assert len(Path("outputs.csv").read_text().splitlines()) == 6001
    actions = [values["left"] for _, values in open_recording(Path("drive.mcap")).values("/actions/motor")]
    assert actions  # how many come in two seconds is the machine's business
    assert 0.2 <= min(actions) <= max(actions) <= 1.0


def test_without_the_normalization_every_row_is_off(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the page says: the import runs, and `verify` finds it."""
    names = ["--channels", "gyro_z,accel_x,accel_y,accel_z"]
    assert main(["import", str(FOLDER / "wheels.onnx"), "-o", "raw.npz", *names]) == codes.DONE
    assert "normalized" in capsys.readouterr().out
    words = ["verify", "raw.npz", "--expect", str(FOLDER / "expected.csv"), "--inputs", str(FOLDER / "imu.csv")]
    assert main(words) == codes.DIFFERENT


def test_the_files_are_what_they_are_said_to_be() -> None:
    """The log is the simulated robot's, and stats.json has the means and deviations of its first four fifths."""
    shipped = (FOLDER / "imu.csv").read_text(encoding="utf-8").splitlines()
    made = list(rows(2.0))
    assert made[0] == shipped[0]
    a, b = (np.array(list(csv.reader(lines[1 : len(made)])), float) for lines in (made, shipped))
    assert np.abs(a - b).max() <= 0.0101  # the last digit may differ with the C library
    table = np.array(list(csv.reader(shipped[1:])), float)
    learnt = table[: len(table) * 4 // 5, 1:]
    stats = json.loads((FOLDER / "stats.json").read_text())
    assert list(stats) == [title.split(" ")[0] for title in shipped[0].split(",")[1:]]
    found = np.array([[one["mean"], one["std"]] for one in stats.values()])
    assert np.abs(found - np.stack([learnt.mean(0), learnt.std(0)], axis=1)).max() < 1e-4


def test_a_copy_overwrites_nothing(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second copy finds all there; where one file was changed, it is named, and no other is written."""
    words = ["example", "copy", "here", "--json"]
    assert main(words) == codes.DONE
    first = json.loads(capsys.readouterr().out)
    assert first["new"] == first["files"]
    assert all(Path(file).is_file() for file in first["files"])
    assert main(words) == codes.DONE
    assert json.loads(capsys.readouterr().out)["new"] == []
    Path("here/robot/robot.toml").write_text("mine")
    Path("here/tutorial/train.py").unlink()
    assert main(words) == codes.MEND
    assert "here/robot/robot.toml is there already" in capsys.readouterr().err
    assert Path("here/robot/robot.toml").read_text() == "mine"
    assert not Path("here/tutorial/train.py").exists()


def test_troubleshooting(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands run, and what it quotes is in the source of the program, … for what is filled in."""
    third_step(capsys)
    shutil.copy("../robot/robot.toml", "robot.toml")
    Terminal(capsys, {}).read("TROUBLESHOOTING.md")
    column = [row for row in re.findall(r"(?m)^\| (.*?) \|", page("TROUBLESHOOTING.md")) if "(pip)" not in row]
    said = [quoted for row in column for quoted in re.findall('"(.*?)"', row)]
    assert len(said) > 25
    packages = (Path(edge_lstm.__file__).parent, Path(firmware_bridge.__file__).parent)
    sources = "\n".join(path.read_text(encoding="utf-8") for package in packages for path in package.rglob("*.py"))
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)  # a sentence that stands in several lines
    pieces = [piece.strip() for quoted in said for piece in quoted.split("…")]
    assert not [piece for piece in pieces if piece not in sources]
