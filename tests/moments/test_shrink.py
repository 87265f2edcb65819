"""Shrink: what is left still does it, does it alone, and not with one reading less; the test file proves a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.errors import ConditionError, LogError
from edge_lstm.moments.drive import Drive, Seen
from edge_lstm.moments.shrink import shrink, write
from edge_lstm.moments.where import Where, first
from edge_lstm.robot.replay import replay
from firmware_bridge.events import Reading
from firmware_bridge.links.altered import Alteration
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.values import Chunk
from tests.support.robots import recorded, small_robot


def mended(model: Model) -> Model:
    """Deaf to what is planted: the weights of the third channel are 0."""
    operations = list(model.program.operations)
    number = next(k for k, op in enumerate(operations) if op.kind == "lstm")
    weights = {name: w.copy() for name, w in operations[number].weights.items()}
    weights["W"][:, 2] = 0.0
    for w in weights.values():
        w.flags.writeable = False
    operations[number] = replace(operations[number], weights=weights)
    return replace(model, program=replace(model.program, operations=tuple(operations)), name="mended")


def planted(folder: Path, seconds: float, at_s: float) -> tuple[Path, str]:
    """A drive in which a current is 60 A for 0.3 s, and a condition that holds only there, the bytes being whole."""
    whole = recorded.drive(folder / "whole.mcap", seconds)
    drive = Drive(open_recording(whole))
    at_ns = drive.first_ns + round(at_s * 1e9)
    fault = Alteration("set", drive.config.reading, "current_left", at_ns, at_ns + 300_000_000, 60.0)
    values: list[list[list[float]]] = []
    times: list[int] = []
    for alterations in ([], [fault]):
        found: list[list[float]] = []
        times = []

        def look(event: object, decision: object, found: list[list[float]] = found, at: list[int] = times) -> None:
            if isinstance(event, Reading) and decision is not None and decision.outputs:  # type: ignore[attr-defined]
                found.append(decision.outputs)  # type: ignore[attr-defined]
                at.append(event.t_ns)

        link = recorded.altered_link(drive, alterations)
        drive.run(drive.chunks(), Seen(drive.controller(), look).decider, link=link)
        values.append(found)
    calm, wrong = (np.array(one, np.float64) for one in values)
    within = [k for k, t_ns in enumerate(times) if at_ns <= t_ns < at_ns + 300_000_000]
    far = [float(np.abs(calm - wrong[k]).max(1).min()) for k in within]  # to the nearest outputs of the calm drive
    k = int(np.argmax(far))
    assert far[k] > 1e-3
    names = [f"output.{one.name}" for one in small_robot.OUTPUTS]
    pairs = zip(names, wrong[within[k]].tolist(), strict=True)
    path = recorded.altered(drive, folder / "drive.mcap", [fault])
    return path, " and ".join(f"abs({name} - {value:.6f}) < {far[k] / 2:.6f}" for name, value in pairs)


@pytest.fixture(scope="module")
def fault(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """8 s with a fault of 0.3 s at 6 s."""
    return planted(tmp_path_factory.mktemp("shrink"), 8.0, 6.0)


def holds(drive: Drive, where: str, chunks: Sequence[Chunk]) -> bool:
    """Whether the condition holds at the last reading of these."""
    last: list[bool] = []
    bound = Where(where)

    def look(event: object, decision: object) -> None:
        if isinstance(event, Reading) and decision is not None:
            last.append(bound.holds(bound.values(event, decision)))  # type: ignore[arg-type]

    drive.run(chunks, Seen(drive.controller(), look).decider)
    return bool(last) and last[-1]


def test_a_planted_fault_is_found_and_none_of_its_readings_can_be_left_out(fault: tuple[Path, str], tmp_path: Path):
    """The moment lies in the fault; the small recording holds the same there, replays to 0 differing bits, and leaving
    out any one reading ends it."""
    path, where = fault
    drive = Drive(open_recording(path))
    shrunk = shrink(drive, Where(where))
    assert 6.0 <= shrunk.t_s <= 6.3
    assert shrunk.minimal
    assert 1 <= shrunk.readings < shrunk.of / 5
    assert shrunk.of > 1000
    write(shrunk, drive, tmp_path / "small.mcap", None)
    small = Drive(open_recording(tmp_path / "small.mcap"))
    chunks = list(small.chunks())
    assert holds(small, where, chunks)
    _, comparison, _ = replay(RecordingPort(tmp_path / "small.mcap"), small.controller(), derived=True)
    assert comparison.same, comparison.sentence()
    assert comparison.derived is not None
    assert comparison.derived.readings == shrunk.readings
    begin = len(chunks) - shrunk.readings
    for k in range(begin, len(chunks) - 1):
        assert not holds(small, where, chunks[:k] + chunks[k + 1 :])
    assert (tmp_path / "small.mcap").stat().st_size < path.stat().st_size / 5


def test_the_test_file_fails_with_the_old_model_and_passes_with_the_new(
    fault: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Made by the command, run by pytest in a process of its own; --json says where both files are."""
    path, where = fault
    monkeypatch.chdir(tmp_path)
    save(mended(small_robot.model()), tmp_path / "new.npz")
    assert main(["shrink", str(path), "--where", where, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["recording"], tree["test"]) == ("drive-shrunk.mcap", "test_drive_shrunk.py")
    assert tree["minimal"]
    root = str(Path(__file__).parents[2])
    for model, code in ((None, 1), ("new.npz", 0)):
        environment = {**os.environ, "PYTHONPATH": root} | ({"EDGE_LSTM_MODEL": model} if model else {})
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_drive_shrunk.py"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout
        assert ("output.slip_left = " in done.stdout) == (model is None)
    assert main(["shrink", str(path), "--where", where]) == 2
    assert "is not overwritten" in capsys.readouterr().err


def test_the_same_bits_can_be_asked_for(fault: tuple[Path, str]):
    """With `bits` outputs and action of the moment are those of the whole drive; the search may be ended any time."""
    path, where = fault
    drive = Drive(open_recording(path))
    tries = 0

    def enough(so_far: object) -> None:
        nonlocal tries
        tries += 1
        if tries > 15:
            raise KeyboardInterrupt

    shrunk = shrink(drive, Where(where), bits=True, progress=enough)
    loose = shrink(drive, Where(where))
    assert loose.readings < shrunk.readings < shrunk.of
    assert not shrunk.minimal
    assert "stopped before it was minimal" in shrunk.sentence()


def test_what_cannot_be_shrunk_is_a_sentence(fault: tuple[Path, str]):
    """Nowhere true, no such name, a name that is two things: each is said."""
    drive = Drive(open_recording(fault[0]))
    with pytest.raises(LogError, match="holds at no reading"):
        shrink(drive, Where("slip_left > 2"))
    with pytest.raises(LogError, match=r"from 7\.5 s on"):
        shrink(drive, Where(fault[1]), from_s=7.5)
    with pytest.raises(ConditionError, match="there is no 'slip_lft'"):
        shrink(drive, Where("slip_lft > 2"))


def test_the_first_moment_is_found_with_any_model(fault: tuple[Path, str], tmp_path: Path):
    """`first` is what test files use: where, when and which values, from a time on, with any model."""
    path, where = fault
    found = first(path, where)
    assert found is not None
    assert list(found.values) == [f"output.{one.name}" for one in small_robot.OUTPUTS]
    assert f"at {found.t_s:.3f} s: output.slip_left = " in found.sentence()
    save(small_robot.model(), tmp_path / "same.npz")
    assert first(path, where, model=tmp_path / "same.npz") == found
    assert first(path, where, from_s=found.t_s + 1.0) is None
