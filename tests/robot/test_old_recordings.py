"""Recordings of earlier versions replay to the bits that were sent then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import load
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.replay import replay
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording

VECTORS = Path(__file__).parents[1] / "vectors" / "recordings"
RECORDINGS = sorted(VECTORS.glob("*.mcap"))
FORMS = sorted((VECTORS / "forms").glob("*.mcap"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_an_old_recording_is_verified(path: Path, tmp_path: Path) -> None:
    """With the model file and the robot.toml that travel in it, every write is made again: 0 differing bits; and
    every reading, output, action and event."""
    port = RecordingPort(path)
    kept = port.recording.attachments
    (tmp_path / "model.npz").write_bytes(kept["model.npz"])
    config = parse_config(kept["robot.toml"].decode(), "robot.toml", path.parent)
    summary, comparison, _marks = replay(port, Controller(load(tmp_path / "model.npz"), config), derived=True)
    assert comparison.same, comparison.sentence()
    assert (comparison.writes, comparison.differing_bits, comparison.beyond) == (99, 0, 0)
    assert summary.actions == 94
    counts = {"/link": 8, "/device": 1, "/readings/imu_wheels": 94, "/outputs": 94, "/actions/motor_limits": 94}
    assert comparison.derived is not None
    assert comparison.derived.compared == counts


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_each_earlier_form_is_verified(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second of a robot with faults and a reset, and a program's own loop with NaN in it, as each form wrote them:
    what was sent and all that was derived, numbers in JSON too, 0 differing bits and messages."""
    assert main(["replay", str(path), "--verify", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["comparison"]
    assert (told["differing_bits"], told["derived"]["differing"], told["derived"]["missing"]) == (0, 0, 0)
    assert sum(told["derived"]["compared"].values()) > 100


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_what_was_null_is_read_as_no_number(path: Path) -> None:
    """So whoever reads values meets one convention, whatever the form."""
    recording = open_recording(path)
    for topic in recording.topics():
        if topic.startswith(("/readings", "/outputs", "/actions")):
            assert all(type(value) in (int, float) for _, row in recording.values(topic) for value in row.values())
