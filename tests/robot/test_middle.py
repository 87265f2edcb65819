"""Replays of rotated files and from a moment in the middle: the same bits as from the beginning on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from edge_lstm.core.storage import save
from edge_lstm.robot.controlled import brought, controlled
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.loop import run
from edge_lstm.robot.of_recording import robot_of
from edge_lstm.robot.replay import Chain, Comparison, Rows, replay
from edge_lstm.robot.several import replay_files
from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import Recording, open_recordings
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.robot.test_keyframes import CASES, FAULTS
from tests.support.robots import small_robot
from tests.support.robots.recorded import drive

CASE = "predict, keep"
SECONDS = 20.0


def recorded(folder: Path, case: str = CASE, rotate_s: float | None = 5.0, seconds: float = SECONDS) -> list[Recording]:
    """A run in simulated time, with faults and a keyframe every second."""
    controller = CASES[case][0]()
    limits = Limits(rotate_s=rotate_s)
    recorder = Recorder(folder / "run.mcap", {}, {}, wait=True, keyframe_s=1.0, limits=limits)
    port = SimulatedPort(Robot(4), seconds, Faults(5, FAULTS))
    run(port, controller.config.open_link(), controller, recorder, keyframes=recorder)
    recorder.close()
    assert not recorder.failed
    return open_recordings(folder)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return recorded(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    (recording,) = recorded(tmp_path_factory.mktemp("whole"), rotate_s=None)
    return recording


def again(recording: Recording, **more: Any) -> tuple[Comparison, list[str]]:
    controller: Decider = CASES[CASE][0]()
    summary, comparison, _ = replay(RecordingPort(recording), controller, derived=True, **more)
    return comparison, summary.notes


def test_each_file_replays_alone(parts: list[Recording]) -> None:
    """To the bit: what was sent, what was derived, and the keyframes on the way."""
    assert len(parts) >= 3
    for recording in parts:
        comparison, notes = again(recording)
        assert comparison.same, comparison.sentence()
        assert comparison.keyframes.compared >= 1
        assert comparison.beyond == 0
        assert bool([note for note in notes if "begun from the keyframe" in note]) is (recording.part > 0)
    assert [one.goes_on for one in parts] == [True] * (len(parts) - 1) + [False]


def test_what_a_file_ends_with_is_what_the_next_begins_with(parts: list[Recording]) -> None:
    """The state after the last chunk of one is the keyframe at the head of the next."""
    chain = Chain(wanted=True)
    for recording, after in pairwise(parts):
        again(recording, chain=chain)
        assert keyframe.encode(chain.end) == next(after.keyframes()).data


@pytest.mark.parametrize("case", CASES)
def test_a_recording_of_each_kind_begins_at_any_keyframe(case: str, tmp_path: Path) -> None:
    """Of each kind of controller: all keyframes are what a replay remembers there, and every other one begins a replay
    of the same bits."""
    if case == "two rates":
        pytest.skip("its robot is another one")
    (recording,) = recorded(tmp_path, case, None, 6.0)
    _, comparison, _ = replay(RecordingPort(recording), CASES[case][0](), derived=True)
    assert comparison.same, comparison.sentence()
    assert comparison.keyframes.compared >= 3
    for one in list(recording.keyframes())[::2]:
        _, comparison, _ = replay(RecordingPort(recording), CASES[case][0](), derived=True, start_ns=one.t_ns)
        assert comparison.writes_agree, comparison.sentence()
        assert comparison.derived.same, comparison.sentence()
        assert not comparison.keyframes.differing, comparison.sentence()


def rows_of(recording: Recording, **more: Any) -> Callable[[str], Any]:
    blocks: list[Rows] = []
    _, comparison, _ = replay(RecordingPort(recording), CASES[CASE][0](), rows=blocks.append, derived=True, **more)
    assert comparison.agrees, comparison.sentence()
    return lambda name: np.concatenate([np.asarray(getattr(block, name)) for block in blocks])


def test_a_span_of_time_has_the_rows_of_the_whole(whole: Recording) -> None:
    """From random moments to random moments: times, values, outputs and actions of these readings and no others, and
    what was sent and derived from the keyframe before them to their end agrees."""
    full, random = rows_of(whole), Random(3)
    times = full("t_ns")
    for _ in range(8):
        start, end = sorted(random.sample(range(len(times)), 2))
        some = rows_of(whole, start_ns=int(times[start]), until_ns=int(times[end]))
        rows = (times >= times[start]) & (times <= times[end])
        for name in ("t_ns", "t_device_us", "boot_id", "values", "output_values", "not_real", "action_values"):
            np.testing.assert_array_equal(some(name), full(name)[rows])


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A rotated drive with all that a replay needs in it, and a model of the same channels that did not drive."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "drive").mkdir()
    drive(folder / "drive" / "run.mcap", 8.0, keyframe_s=1.0, limits=Limits(rotate_s=2.5))
    outputs = tuple(replace(channel, scale=0.9) for channel in small_robot.OUTPUTS)
    save(small_robot.model(outputs=outputs), folder / "other.npz")
    return folder / "drive", folder / "other.npz"


def notes_of(files: list[Recording], model: Path) -> list[str]:
    config, loaded = robot_of(files[0], None, model)
    done, _ = replay_files(files, lambda one: controlled(loaded, config, brought(one)))
    return [note for one in done for note in one.summary.notes]


def test_a_folder_by_another_model_is_one_run(foreign: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What another model remembers is none of what the keyframes say, and no chunks are missing for that; where some
    are, at the end of a file, that is said."""
    folder, model = foreign
    files = open_recordings(folder)
    assert len(files) >= 3
    assert not [note for note in notes_of(files, model) if "does not go on" in note]
    wire, lossy = Recording.wire, files[1].path.name

    def cut(one: Recording, *between: Any) -> Any:
        return iter(list(wire(one, *between))[: -20 if one.path.name == lossy else None])

    monkeypatch.setattr(Recording, "wire", cut)
    (told,) = [note for note in notes_of(open_recordings(folder), model) if "does not go on" in note]
    assert told.startswith(f"{files[2].path.name} does not go on where {files[1].path.name} ends")


def damaging(monkeypatch: pytest.MonkeyPatch, numbers: set[int], damage: Callable[[Any], Any]) -> None:
    """The keyframes with these numbers are written otherwise."""
    encode, count = keyframe.encode, iter(range(10_000))

    def damaged(state: Any) -> bytes:
        if next(count) not in numbers:
            return encode(state)
        made = damage(state)
        return made if isinstance(made, bytes) else encode(made)

    monkeypatch.setattr("firmware_bridge.recordings.recorder.keyframe.encode", damaged)


def test_a_damaged_keyframe_is_passed_over(
    parts: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle it is a note, and from behind it the replay begins at the one before; at a head, the file begins
    with what the file before ended with, or alone with its next keyframe; and each of them is said."""
    head = sum(1 for _ in parts[0].keyframes())  # its number
    damaging(monkeypatch, {0, 1, head}, lambda state: b"damaged")
    parts = recorded(tmp_path)
    monkeypatch.undo()
    found = [list(recording.keyframes()) for recording in parts]

    def good(one: keyframe.Keyframe) -> bool:
        return one.data.startswith(b'{"keyframe"')

    comparison, _ = again(parts[0])
    assert comparison.same
    assert comparison.keyframes.damaged == 2
    assert "damaged and were passed over" in comparison.sentence()
    bad = next(one for one in found[0] if not good(one))
    comparison, notes = again(parts[0], start_ns=bad.t_ns)
    assert comparison.same, comparison.sentence()
    assert [note for note in notes if f"the keyframe at t_ns {bad.t_ns} was passed over" in note]
    headless = [k for k, recording in enumerate(parts) if k and not good(found[k][0])]
    assert headless
    for k in headless:
        comparison, notes = again(parts[k])
        assert comparison.writes_agree, comparison.sentence()
        assert comparison.keyframes.compared
        assert [note for note in notes if "s after the file does" in note]
        chain = Chain(wanted=True)
        for recording in parts[:k]:
            again(recording, chain=chain)
        comparison, notes = again(parts[k], chain=chain)
        assert comparison.same, comparison.sentence()
        assert [note for note in notes if "the end of the file before" in note]


def test_a_file_without_a_good_keyframe_is_refused_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of what was before it, and bits must not be made up."""
    damaging(monkeypatch, set(range(100)), lambda state: b"no keyframe")
    parts = recorded(tmp_path, seconds=8.0)
    monkeypatch.undo()
    assert again(parts[0])[0].same
    with pytest.raises(RecordingError, match="goes on from another run or file"):
        again(parts[1])


def test_a_keyframe_that_says_something_else_is_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number of the state: what it is then and now, and by how many bits the keyframes differ."""

    def altered(state: Any) -> Any:
        return {**state, "link": {**state["link"], "_heard_ns": state["link"]["_heard_ns"] + 1}}

    damaging(monkeypatch, {3}, altered)
    (recording,) = recorded(tmp_path, rotate_s=None, seconds=6.0)
    monkeypatch.undo()
    comparison, _ = again(recording)
    assert not comparison.same
    assert comparison.writes_agree
    assert comparison.keyframes.differing == 1
    assert comparison.keyframes.differing_bits > 0
    assert "link._heard_ns: then " in comparison.sentence()
