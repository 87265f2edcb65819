"""What was asked of a run is remembered by its keyframes: files that begin after a swap, replays from any moment."""

from __future__ import annotations

import gc
import io
from copy import deepcopy
from pathlib import Path

import pytest

from edge_lstm.core.model import Model
from edge_lstm.core.storage import load_file
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controlled import brought, control_of, controlled
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.loop import run
from edge_lstm.robot.models import Loaded
from edge_lstm.robot.replay import replay
from firmware_bridge.errors import SnapshotError
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import Recording, open_recordings
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.daemon.test_controlled import DRIVEN, ONE, other
from tests.robot.test_models import POLICY
from tests.support.robots.requesting import Requesting, asked, model_bytes

TEXT = DRIVEN + POLICY.format("hold", "reset") + '[events.slip]\nof = "slip_left"\nabove = 0.5\nfor_ms = 20\n'


def decider(recording: Recording | None = None) -> Decider:
    """A new one; of a recording with the models that it holds."""
    loaded, config = Loaded(ONE, {}, True), parse_config(TEXT, "robot.toml", Path())
    return controlled(loaded, config) if recording is None else controlled(loaded, config, brought(recording))


def recorded(folder: Path, rotate_s: float | None, scratch: Path) -> list[Recording]:
    """Six seconds with swaps, a shadow, undone swaps, commands and faults, a keyframe every half second."""
    first, second = (model_bytes(other(seed), scratch / f"{seed}.npz") for seed in (1, 2))
    requests = {
        150: asked("swap", first, file="first.npz"),
        300: asked("shadow", second, file="second.npz"),
        450: asked("command", name="drive", values={"vx": 1.0}),
        600: asked("swap", shadow=True, undo_if=["slip_left > 2"], within_s=0.5),
        850: asked("swap", first, undo_if=["abs(slip_left - before.slip_left) > 0.2"]),
        1000: asked("state", what="reset"),
        1100: asked("shadow", first),
    }
    made = decider()
    control = control_of(made)
    assert control is not None
    faults = Faults(5, Rates(flip=5e-5, reset=0.1, unplug=0.1))
    port = Requesting(SimulatedPort(Robot(4), 6.0, faults), requests, lambda data: None)
    limits = Limits(rotate_s=rotate_s)
    recorder = Recorder(folder / "run.mcap", {}, {}, wait=True, keyframe_s=0.5, limits=limits)
    control.answered, control.came, control.gone = port.answered, recorder.attach, recorder.detach
    run(port, made.config.open_link(), made, recorder, keyframes=recorder)
    recorder.close()
    assert sum(answer["ok"] for answer in port.answers) >= 5, port.answers
    return open_recordings(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """All of it in one file."""
    (recording,) = recorded(tmp_path_factory.mktemp("run"), None, tmp_path_factory.mktemp("models"))
    return recording


def test_each_file_of_a_run_with_swaps_replays_alone(tmp_path: Path) -> None:
    """The model that was swapped in is at the head of the files after it; shadow, undo and commands go on, too."""
    (tmp_path / "run").mkdir()
    parts = recorded(tmp_path / "run", 1.5, tmp_path)
    assert len(parts) >= 3
    for recording in parts:
        made = decider(recording)
        _, comparison, _ = replay(RecordingPort(recording), made, derived=True)
        assert comparison.same, comparison.sentence()
        assert not comparison.keyframes.differing
    assert any(name.startswith("swapped/") for name in parts[-1].attachments)


def test_a_replay_begins_at_any_keyframe(whole: Recording) -> None:
    """Also behind a swap of the same file, whose model is in the request before it."""
    frames = list(whole.keyframes())
    assert len(frames) > 8
    for one in frames[1::2]:
        _, comparison, _ = replay(RecordingPort(whole), decider(whole), derived=True, start_ns=one.t_ns)
        assert comparison.writes_agree, comparison.sentence()
        assert comparison.derived is not None
        assert comparison.derived.same, comparison.sentence()
        assert not comparison.keyframes.differing, comparison.sentence()


def test_a_model_that_is_nowhere_is_said_and_nothing_has_changed(whole: Recording) -> None:
    """A memory of a swapped model, and no file of it: one sentence, and it decides as before."""
    state = list(whole.keyframes())[-1].state()["controller"]
    made = decider()
    before = made.snapshot()
    with pytest.raises(SnapshotError, match="was swapped in"):
        made.restore(state)
    assert made.snapshot() == before


def test_a_damaged_memory_is_one_error_and_nothing_has_changed(whole: Recording) -> None:
    """Any part of it missing or of another type."""
    made, good = decider(whole), list(whole.keyframes())[-1].state()["controller"]
    before = made.snapshot()
    for key in ("models", "inner", "swaps", "requests", "refused", "beside"):
        for value in (None, 7, "x", [], {"a": 1}, [[1]]):
            state = deepcopy(good)
            if state["inner"][key] == value:
                continue
            state["inner"][key] = value
            try:
                made.restore(state)
            except SnapshotError:
                assert made.snapshot() == before
            else:  # empty counters are counters, too
                made.restore(before)


def test_models_that_nobody_needs_are_let_go(tmp_path: Path) -> None:
    """Fifty swaps, some of which may be undone for a while, and shadows: then two models live, the one that robot.toml
    names and the one that runs, and further files of the recording hold no others."""
    files = [model_bytes(other(seed), tmp_path / "one.npz") for seed in range(50)]
    requests = {20 + 10 * k: asked("swap", file, **({"undo_if": []} if k % 3 else {})) for k, file in enumerate(files)}
    requests |= {25: asked("shadow", files[7]), 26: asked("shadow", off=True), 500: asked("undo")}
    made = decider()
    control = control_of(made)
    assert control is not None
    port = Requesting(SimulatedPort(Robot(4), 4.0), requests, control.prepare)
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    control.answered, control.came, control.gone = port.answered, recorder.attach, recorder.detach
    living: list[int] = []

    def tap(chunk: Chunk, done: object, sent: int) -> None:
        if chunk.link == "control":
            control.let_go()
            living.append(len(control._known))

    run(port, made.config.open_link(), made, recorder, tap=tap)
    control.let_go()
    recorder.close()
    assert sum(answer["ok"] for answer in port.answers) >= 51, port.answers
    assert max(living) <= 3
    assert len(recorder._attachments) <= 2
    digests = {load_file(io.BytesIO(file), "one").digest for file in files}
    gc.collect()
    models = [one for one in gc.get_objects() if type(one) is Model and one.digest in digests]
    assert len(models) <= 2
