"""Replay: the same bits again; where they differ, where and what; a cut recording up to its cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.core.feedback import Feedback
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.keyframes import differing_bits
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import Rows, RowTexts, replay
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.robots import small_robot

RATES = Rates(flip=2e-4, lose=1e-4, double=1e-4, cut=1e-4, silence=0.05, reset=0.05, unplug=0.05)

FEEDBACK = (Feedback("slip_left", "wheel_speed_left"), Feedback("stall_right", "current_right"))


def controller(text: str = small_robot.CONFIG, **more: object) -> Controller:
    return Controller(small_robot.model(**more), parse_config(text, "robot.toml", Path()))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s of a robot with faults of every kind."""
    path = tmp_path_factory.mktemp("recording") / "run.mcap"
    recorder = Recorder(path, {}, {}, wait=True)
    run(SimulatedPort(Robot(4), 20.0, Faults(5, RATES)), Bridge(), controller(), recorder)
    recorder.close()
    return path


def test_a_recording_replays_to_the_same_bits(recording: Path):
    """With damage, resets and unplugging inside, every byte sent then is sent again, and the counters are the same."""
    summary, comparison, marks = replay(RecordingPort(recording), controller(), rows=lambda rows: None)
    assert comparison.same
    assert (comparison.differing_bits, comparison.beyond, comparison.cut) == (0, 0, "")
    assert comparison.writes > 2000
    assert {"reset", "link lost", "gap"} <= {what for _, what in marks}
    assert summary.resets > 0
    again, _, _ = replay(RecordingPort(recording), controller())
    assert again == summary


POLICY = '[policy]\nmissing = "{}"\nlongest_gap = {}\n'


@pytest.mark.parametrize("on_reset", ["reset", "keep"])
@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
def test_readings_that_are_missing_replay_to_the_same_bits(tmp_path: Path, missing: str, on_reset: str):
    """Gaps, silence, unplugging, resets: each policy sends the same bits in replay, and counts the same."""
    text = small_robot.CONFIG + POLICY.format(missing, 60) + f'on_reset = "{on_reset}"\n'
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    faults = Faults(7, Rates(flip=5e-5, lose=1e-4, silence=0.3, reset=0.05, unplug=0.1))
    live = run(SimulatedPort(Robot(6), 20.0, faults), Bridge(), controller(text, feedback=FEEDBACK), recorder)
    recorder.close()
    blocks: list[Rows] = []
    summary, comparison, _ = replay(
        RecordingPort(tmp_path / "run.mcap"), controller(text, feedback=FEEDBACK), rows=blocks.append
    )
    assert comparison.same, comparison.sentence()
    assert summary.counts == live.counts
    assert live.lost > 100
    assert live.counts["forgotten"] > 0
    overdue = list(RecordingPort(tmp_path / "run.mcap").recording.values("/overdue"))
    assert bool(overdue) is (missing != "skip")
    assert all(row["_not_real"] > 0 for _, row in overdue)
    if missing != "skip":
        assert live.counts["filled"] > 100
        assert live.counts["overdue"] > 0
    assert max(block.not_real.max() for block in blocks) > 10


def test_another_model_differs_and_the_first_difference_is_named(recording: Path):
    """Other gains: the verdict names time, action and the values of then and now, and counts the bits."""
    other = small_robot.CONFIG.replace("slip_left = -0.5", "slip_left = -0.4")
    _, comparison, _ = replay(RecordingPort(recording), controller(other))
    assert not comparison.same
    assert comparison.differing_bits > 0
    assert comparison.first.startswith("at ")
    assert comparison.first.count("motor_limits torque_limit_left = ") == 2
    assert "N m" in comparison.first
    assert comparison.sentence().startswith(f"{comparison.differing_bits} differing bits")


def test_a_replay_that_says_less_or_more_differs(recording: Path):
    """Without an action mapping the recorded actions are missing; and the other way round they are too many."""
    silent = small_robot.CONFIG.split("[action]")[0]
    _, comparison, _ = replay(RecordingPort(recording), controller(silent))
    assert not comparison.same
    assert comparison.differing_writes > 1000


def test_a_replay_beyond_a_whole_recording_is_a_difference(tmp_path: Path):
    """Writes that a whole recording does not hold are not forgiven as a cut."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, {}, {}, wait=True)
    silent = controller(small_robot.CONFIG.split("[action]")[0])
    run(SimulatedPort(Robot(4), 2.0), Bridge(heartbeat_ns=10**15), silent, recorder)
    recorder.close()
    _, comparison, _ = replay(RecordingPort(path), controller())
    assert comparison.beyond > 0
    assert not comparison.same
    assert comparison.first


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_recording_verifies_up_to_the_cut(recording: Path, tmp_path: Path, share: float):
    """A file that ends in the middle is compared as far as it goes; the verdict says that it was cut."""
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(recording.read_bytes()[: int(recording.stat().st_size * share)])
    _, comparison, _ = replay(RecordingPort(cut), controller())
    assert comparison.same
    assert comparison.writes > 500
    assert comparison.cut
    assert "cut off" in comparison.sentence()


def test_nothing_compared_is_not_called_equal(recording: Path, tmp_path: Path):
    """A recording cut off before its first write proves nothing, and the verdict does not claim it."""
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(recording.read_bytes()[:600])
    _, comparison, _ = replay(RecordingPort(cut), controller())
    assert not comparison.same
    assert comparison.sentence().startswith("nothing could be compared")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_differing_bits_are_counted_one_by_one(one: bytes, other: bytes):
    """The same as counting bit by bit; what only one of them has counts 8 per byte."""
    expected = sum(bin(a ^ b).count("1") for a, b in zip(one, other, strict=False)) + 8 * abs(len(one) - len(other))
    assert differing_bits(one, other) == expected
    assert (differing_bits(one, other) == 0) == (one == other)


def test_rows_of_a_recording_hold_what_was_recorded(recording: Path):
    """Readings, outputs and actions of the replay are those in the recording's own channels."""
    blocks: list[Rows] = []
    replay(RecordingPort(recording), controller(), rows=blocks.append)
    source = RecordingPort(recording).recording
    readings = list(source.values("/readings/imu_wheels"))
    outputs = list(source.values("/outputs"))
    assert [t for block in blocks for t in block.t_ns] == [t for t, _ in readings]
    values = np.concatenate([block.values for block in blocks])
    names = [field.name for field in blocks[0].reading.fields]
    assert values.tolist() == [[row[name] for name in names] for _, row in readings]
    found = np.concatenate([np.column_stack([block.output_values, block.not_real]) for block in blocks])
    assert found.tolist() == [list(row.values()) for _, row in outputs]
    texts = RowTexts(blocks[0])
    row = next(texts(blocks[0]))
    assert len(row) == len(texts.header)
    where = texts.header.index("slip_left")
    assert np.float32(row[where]) == np.float32(found[0, 0])
    assert "wheel_speed_left (rad/s)" in texts.header
