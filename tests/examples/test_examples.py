"""The example that ships: its files belong together, fit the robot, and do what its page says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_lstm
from edge_lstm.core.model import Model
from edge_lstm.robot.config import load_config
from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.robot import ACTION, READING, robot_dictionary

FOLDER = Path(edge_lstm.__file__).parent / "examples"
OUTPUTS = ["slip_left", "slip_right", "stall_left", "stall_right"]


@pytest.fixture(scope="module")
def model() -> Model:
    return edge_lstm.load(FOLDER / "slip_stall.npz")


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "scores.json").read_text(encoding="utf-8")))


def test_the_files_are_of_one_training(model: Model, scores: dict[str, Any]) -> None:
    """The scores were measured with this very model and this very ONNX file."""
    assert scores["model_digest"] == model.digest
    assert scores["onnx_sha256"] == hashlib.sha256((FOLDER / "slip_stall.onnx").read_bytes()).hexdigest()
    assert all(path.stat().st_size < 100_000 for path in FOLDER.iterdir() if path.is_file())


def test_importing_the_onnx_file_gives_the_model(model: Model) -> None:
    """The shipped model is what the importer makes of the shipped ONNX file, to the last bit of its outputs."""
    imported = edge_lstm.import_onnx(FOLDER / "slip_stall.onnx")
    xs = np.random.default_rng(0).normal(0, 3, (200, 11)).astype(np.float32)
    assert imported.stream().run(xs).tobytes() == model.stream().run(xs).tobytes()


def test_the_channels_are_the_robot_s(model: Model) -> None:
    """Names, units and rate are those that the simulated robot declares."""
    reading = robot_dictionary(200.0)[READING]
    assert [(c.name, c.unit) for c in model.inputs] == [(f.name, f.unit) for f in reading.fields]
    assert [c.name for c in model.outputs] == OUTPUTS
    assert model.rate_hz == reading.rate_hz
    assert model.timing.window is None


def test_the_configuration_fits_model_and_robot(model: Model) -> None:
    """robot.toml names outputs that exist and stays within the limits that the robot declares."""
    config = load_config(FOLDER / "robot.toml")
    config.check_model(model)
    action = robot_dictionary()[ACTION]
    assert config.model_path == FOLDER / "slip_stall.npz"
    assert config.reading == READING
    assert config.action is not None
    assert config.action.format == ACTION
    assert list(config.action.fields) == [f.name for f in action.fields]
    for rule, declared in zip(config.action.fields.values(), action.fields, strict=True):
        assert rule.unit == declared.unit
        assert declared.minimum <= rule.minimum < rule.maximum <= declared.maximum  # type: ignore[operator]


def test_memory_is_worth_something(scores: dict[str, Any]) -> None:
    """On drives never seen the LSTM is better at every output than the best memoryless network of its size."""
    lstm, plain = scores["lstm"], scores["memoryless"]
    assert plain["parameters"] >= lstm["parameters"]
    for name in OUTPUTS:
        assert lstm["scores"][name]["f1"] > plain["scores"][name]["f1"]
        assert lstm["scores"][name]["auc"] > plain["scores"][name]["auc"]
    assert scores["closed_loop"]["with"]["slid_m"] < scores["closed_loop"]["without"]["slid_m"]


def test_the_model_finds_slip_and_stall_on_another_drive(model: Model) -> None:
    """On drives of seeds outside the training, at a threshold of 0.5, it is right as often as its scores promise."""
    hits = np.zeros(4)
    predicted = np.zeros(4)
    true = np.zeros(4)
    for seed in range(5000, 5004):
        drive = Drive(seed)
        drive.torque_limits = (0.6, 0.6)
        readings, truth = zip(*[(drive.advance(), drive.truth()) for _ in range(4000)], strict=True)
        p = model.stream().run(np.array(readings, np.float32)) > 0.5
        y = np.array(truth) == 1
        hits, predicted, true = hits + (p & y).sum(0), predicted + p.sum(0), true + y.sum(0)
    f1 = 2 * hits / (predicted + true)
    assert f1[:2].min() > 0.65
    assert f1[2:].min() > 0.75
