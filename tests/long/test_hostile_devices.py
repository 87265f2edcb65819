"""All hostile devices one after the other in one recorded run, and the replay of that recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import replay
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from tests.robot.test_hostile_devices import CONFIG, Line, controller
from tests.support.robots.hostile import DEVICES

pytestmark = pytest.mark.long


def test_a_run_past_all_of_them_replays_to_the_same_bytes(tmp_path: Path) -> None:
    """After each the right device is found again, nothing is missing from the recording, and 0 bits differ."""
    path = tmp_path / "hostile.mcap"
    line = Line(*(make() for make in DEVICES.values()))
    recorder = Recorder(path, {}, {"robot.toml": CONFIG.encode()}, wait=True)
    run(line, Bridge(), controller(), recorder, unfit=lambda why: None)
    recorder.close()
    assert (recorder.failed, recorder.dropped, recorder.odd) == ("", 0, "")
    assert dict(zip(DEVICES, line.found, strict=True)) == dict.fromkeys(DEVICES, True)
    rows: list[int] = []
    _summary, comparison, _marks = replay(
        RecordingPort(path), controller(), rows=lambda block: rows.append(len(block.t_ns)), derived=True
    )
    assert comparison.same, comparison.sentence()
    assert sum(rows) > 100 * len(DEVICES)
