"""The commands and the Python that README.md and the pages of importers, streams and robot show, run as they stand
there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.robot.config import load_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.cli.test_live import simulated
from tests.support.commands import run_long_enough

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "edge_lstm" / "examples"


def commands_of(page: str) -> list[str]:
    """What follows `edge-lstm` on the lines of a page that are commands, without the remarks behind."""
    return re.findall(r"(?m)^    edge-lstm (.*?)(?:\s+#.*)?$", (ROOT / page).read_text())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """README.md, top to bottom: a robot is run and recorded, replayed to the same bits and drawn, a table is run
    through a model, a graph is brought in and measured, and its Python runs."""
    pytest.importorskip("matplotlib")
    for source, target in (
        ("slip_stall.npz", "slip_stall.npz"),
        ("slip_stall.npz", "gait.npz"),
        ("slip_stall.onnx", "policy.onnx"),
    ):
        shutil.copy(EXAMPLES / source, target)
    config = (EXAMPLES / "robot.toml").read_text()
    Path("robot.toml").write_text(config.replace('"/tmp/robot"', f'"{place / "robot"}"'))
    model = edge_lstm.load("gait.npz")
    xs = np.random.default_rng(1).normal(size=(30, len(model.inputs))).astype(np.float32)
    names = ",".join(f"{c.name} ({c.unit})" if c.unit else c.name for c in model.inputs)
    rows = [f"{k / 200}," + ",".join(map(repr, row.tolist())) for k, row in enumerate(xs)]
    Path("imu.csv").write_text("\n".join([f"time (s),{names}", *rows]) + "\n")
    more = {"run": ["--seconds", "2"], "bench": ["--seconds", "0.2"]}  # so that they end soon
    found = commands_of("README.md")
    assert [c.split()[0] for c in found] == ["run", "replay", "replay", "import", "inspect", "bench"]
    with simulated(place / "robot"):
        for command in found:
            words = shlex.split(command)
            code = run_long_enough(words, more.get(words[0], []), capsys.readouterr)
            assert code == 0, (command, capsys.readouterr().err)
    assert {p.name for p in place.iterdir()} >= {"drive.mcap", "drive.png", "outputs.csv", "policy.npz"}
    assert len(Path("outputs.csv").read_text().splitlines()) == 31
    (code,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text())
    names_of_code = {"x": xs[0], "xs": xs}
    exec(code, names_of_code)
    assert names_of_code["ys"].shape == (30, len(model.outputs))


def test_importers_readme(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """importers/README.md: a graph, weights saved with NumPy, and the comparison with ONNX Runtime."""
    shutil.copy(EXAMPLES / "slip_stall.onnx", "policy.onnx")
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    np.savez("weights.npz", **{f"lstm.{k}": np.full(s, 0.1, np.float32) for k, s in shapes.items()})  # type: ignore[arg-type]
    found = commands_of("edge_lstm/importers/README.md")
    assert [c.split()[0] for c in found] == ["import", "import", "verify"]
    for command in found:
        assert main(shlex.split(command)) == 0, (command, capsys.readouterr().err)


def test_missing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MISSING.md: a forecast over a recording of the robot, and its gates drawn."""
    pytest.importorskip("matplotlib")
    shutil.copy(EXAMPLES / "robot_dropout.npz", "gait.npz")
    config = load_config(EXAMPLES / "robot.toml")
    text = (EXAMPLES / "robot.toml").read_bytes()
    recorder = Recorder(place / "run.mcap", {}, {"robot.toml": text}, wait=True)
    run(
        SimulatedPort(Robot(4), 10.0),
        Bridge(),
        Controller(edge_lstm.load(EXAMPLES / "slip_stall.npz"), config),
        recorder,
    )
    recorder.close()
    found = commands_of("edge_lstm/streams/MISSING.md")
    assert [c.split()[0] for c in found] == ["forecast", "explain"]
    for command in found:
        assert main(shlex.split(command)) == 0, (command, capsys.readouterr().err)
    assert Path("ahead.png").stat().st_size > 10_000


def test_your_own_controller(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """robot/README.md: a loop of 15 lines is recorded and proven; a controller of one's own drives the simulated robot
    through a serial port and a link, and its recording replays to the same bits."""
    loop, drive, again = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "edge_lstm/robot/README.md").read_text())
    assert len([line for line in loop.splitlines() if line]) == 15
    shutil.copy(EXAMPLES / "slip_stall.npz", "slip_stall.npz")
    shutil.copy(EXAMPLES / "robot.toml", "robot.toml")
    exec(loop, {})
    found = commands_of("edge_lstm/robot/README.md")
    assert [c.split()[0] for c in found] == ["replay", "replay"]
    for command in found:
        assert main(shlex.split(command)) == 0, (command, capsys.readouterr().err)
    out = capsys.readouterr().out
    assert "0 differing bits, 200 outputs (3200 bytes) of 200 calls compared" in out
    assert "as the program gave them, not recomputed: 200 of /actions" in out
    assert len(Path("loop.csv").read_text().splitlines()) == 201
    names: dict[str, Any] = {}
    with simulated(place / "robot"):
        exec(drive.replace("/tmp/robot", str(place / "robot")).replace("seconds=10", "seconds=2"), names)
    assert names["summary"].actions > 20
    exec(again, names)
    assert names["comparison"].same, names["comparison"].sentence()
    assert names["comparison"].writes > 100
