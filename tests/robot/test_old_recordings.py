"""Recordings of earlier versions replay to the bits that were sent then."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.core.storage import load
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.replay import replay
from firmware_bridge.recordings.port import RecordingPort

RECORDINGS = sorted((Path(__file__).parents[1] / "vectors" / "recordings").glob("*.mcap"))


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
