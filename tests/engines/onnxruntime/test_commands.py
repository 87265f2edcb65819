"""The commands with a model that ONNX Runtime runs, and the page that shows them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import load
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.graphs.fallback_graphs import CASES, lstm_sine, readings, robot_graph, window_of_12
from tests.support.robots import small_robot

PAGE = Path(__file__).parents[3] / "edge_lstm" / "engines" / "README.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With net.onnx, and log.csv whose columns are its inputs."""
    lstm_sine(tmp_path / "net.onnx")
    rows = [f"{0.01 * t:.2f}," + ",".join(map(repr, row.tolist())) for t, row in enumerate(readings_of(30))]
    (tmp_path / "log.csv").write_text("\n".join(["time (s),x[0],x[1],x[2]", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def readings_of(count: int) -> np.ndarray:
    return readings(CASES["LSTM and Sin"], count)


def test_every_command_of_the_page_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of engines/README.md, in their order."""
    commands = re.findall(r"^    edge-lstm (.*?)(?:\s+#.*)?$", PAGE.read_text(), re.MULTILINE)
    assert [c.split()[0] for c in commands] == ["import", "inspect", "verify", "replay"]
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    printed = capsys.readouterr().out
    assert "because node 'n_z' (Sin): the operator Sin is not supported" in printed
    assert len((folder / "out.csv").read_text().splitlines()) == 31
    y = np.loadtxt(folder / "out.csv", delimiter=",", skiprows=1, usecols=range(4, 9), dtype=np.float32)
    assert np.array_equal(y, load("net.npz").stream().run(readings_of(30)))


def test_the_price_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`import` and `inspect` show which engine, which node forced it, and what a reading costs."""
    for command in (["import", "net.onnx"], ["inspect", "net.npz"]):
        assert main(command) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "ONNX Runtime" in printed
        assert "node 'n_z' (Sin)" in printed
        assert re.search(r"about [\d,]+ µs per reading", printed)
    assert main(["inspect", "net.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["engine"], found["operations"], found["weights"]) == ("onnxruntime", [], 160)
    assert found["provenance"]["engine_forced_by"] == ["node 'n_z' (Sin)"]


def test_a_window_says_that_it_is_computed_anew(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The price of a window is named."""
    window_of_12(folder / "w.onnx")
    assert main(["import", "w.onnx", "--before-window", "zeros"]) == 0
    assert "the whole window of 12 readings anew" in capsys.readouterr().out


def test_the_machine_may_be_insisted_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--engine machine (native's old name) refuses by node with exit code 2, and writes nothing; weights take none."""
    assert main(["import", "net.onnx", "--engine", "machine"]) == 2
    assert "(Sin): the operator Sin is not supported" in capsys.readouterr().err
    assert not (folder / "net.npz").exists()
    np.savez(folder / "weights.npz", **{"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)})
    assert main(["import", "weights.npz", "-o", "w.npz", "--engine", "machine"]) == 2
    assert "--engine has no meaning" in capsys.readouterr().err


def test_what_needs_the_machine_is_refused_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`explain` and `firmware` refuse with the reason and exit code 2."""
    pytest.importorskip("matplotlib")
    assert main(["import", "net.onnx"]) == 0
    assert main(["explain", "log.csv", "--model", "net.npz", "-o", "gates"]) == 2
    assert "runs with ONNX Runtime, which does not show the gates" in capsys.readouterr().err
    assert main(["firmware", "net.npz"]) == 2
    assert "cannot go on a microcontroller: ONNX Runtime runs it as a whole" in capsys.readouterr().err


def test_a_forecast_rolls_it_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With feedback declared, ONNX Runtime's outputs are its next readings."""
    words = ["--feedback", "y[0]=x[0]", "--feedback", "y[1]=x[1]", "--feedback", "y[2]=x[2]"]
    assert main(["import", "net.onnx", *words]) == 0
    assert main(["forecast", "log.csv", "--model", "net.npz", "--at", "0.2", "--steps", "3", "--json"]) == 0
    stream, other = (load("net.npz").stream() for _ in range(2))
    y = stream.run(readings_of(21))[-1]
    other.run(readings_of(21))
    forecast = other.forecast(3)
    for k in range(3):
        stepped = stream.step(y[:3])
        assert stepped is not None
        y = stepped.copy()
        assert np.array_equal(forecast.outputs[k], y)


def test_a_robot_is_run_and_its_recording_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A simulated robot with faults, driven through the same loop, and `replay --verify`: every byte is sent again."""
    robot_graph(tmp_path / "model.onnx")
    channels = ",".join(f"{c.name} ({c.unit})" for c in small_robot.INPUTS)
    outputs = ",".join(c.name for c in small_robot.OUTPUTS)
    source, model = str(tmp_path / "model.onnx"), tmp_path / "model.npz"
    assert main(["import", source, "-o", str(model), "--channels", channels, "--outputs", outputs]) == 0
    attachments = {"model.npz": model.read_bytes(), "robot.toml": small_robot.CONFIG.encode()}
    recorder = Recorder(tmp_path / "run.mcap", {}, attachments, wait=True)
    controller = Controller(load(model), parse_config(small_robot.CONFIG, "robot.toml", Path()))
    faults = Faults(5, Rates(flip=2e-4, lose=1e-4, reset=0.2, unplug=0.1))
    summary = run(SimulatedPort(Robot(4), 5.0, faults), Bridge(), controller, recorder)
    recorder.close()
    assert summary.steps > 400
    assert summary.resets > 0
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "run.mcap"), "--verify", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["digest"] == load(model).digest
