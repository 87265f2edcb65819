"""Drives in several files, and files that begin in the middle of their run: the same answers as of one long file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import save
from edge_lstm.errors import LogError
from edge_lstm.moments.at import Seen, drive_at, look
from edge_lstm.moments.bisect import bisect
from edge_lstm.moments.drive import Drive, drive_of
from edge_lstm.moments.shrink import shrink, write
from edge_lstm.moments.storm import storms_over
from edge_lstm.moments.where import Where, first
from edge_lstm.robot.controlled import controlled
from edge_lstm.robot.models import ONLY
from edge_lstm.robot.replay import replay
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording, open_recordings
from tests.daemon.test_controlled import other
from tests.robot.test_models import MODELS, THREE
from tests.support.models import mutants
from tests.support.robots import recorded, small_robot
from tests.support.robots.requesting import asked, model_bytes, ran

NAME = "small-20261129T053000Z.mcap"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same drive of 8 s as one file, and as a folder of four."""
    folder = tmp_path_factory.mktemp("middle")
    (folder / "files").mkdir()
    whole = recorded.drive(folder / "whole.mcap", 8.0, keyframe_s=1.0)
    recorded.drive(folder / "files" / NAME, 8.0, keyframe_s=1.0, limits=Limits(rotate_s=2.0))
    assert len(open_recordings(folder / "files")) >= 3
    return whole, folder / "files"


def later(folder: Path) -> Path:
    """A file that begins with a keyframe."""
    return open_recordings(folder)[2].path


def test_a_moment_is_the_same_in_every_file_that_holds_it(both: tuple[Path, Path]):
    """In one long file, in the folder, in its own file alone, steps over a file's end among them; each from a keyframe
    that is there."""
    whole, folder = both
    drive = Drive(open_recording(whole))
    for second in (0.5, 2.7, 4.4, 5.9, 7.5):
        t_ns = drive.first_ns + round(second * 1e9)
        wanted = look(drive, t_ns, ahead_s=0.5)
        found, at_ns = drive_at(folder, str(second))
        assert at_ns == t_ns
        seen = look(found, at_ns, ahead_s=0.5)
        assert seen.truth == wanted.truth
        assert seen.moment.state
        assert seen.moment.gates
        if second > 2:
            assert seen.begun_s > 0
        assert not seen.notes
        holds = [one.path for one in open_recordings(folder) if (times := one.times()) and times[0] <= t_ns]
        alone = Drive(open_recording(holds[-1]), first_ns=drive.first_ns)
        assert look(alone, t_ns).moment == wanted.moment
    ends_ns = open_recordings(folder)[1].times()[1]
    there: Seen = look(drive_of(folder), ends_ns, step=20)
    assert there.moment == look(drive, ends_ns, step=20).moment


def test_two_models_part_in_a_folder_where_they_do_in_one_file(both: tuple[Path, Path], rng: np.random.Generator):
    """And in a file that begins in the middle both go on from what was remembered: the same model parts nowhere, a
    planted unit is named; one that remembers something else begins as the other does."""
    whole, folder = both
    own = small_robot.model()
    mutant = mutants.planted(own, rng, 1.0, biases=True)
    of_whole = bisect(Drive(open_recording(whole)), own, mutant.model)
    of_folder = bisect(drive_of(folder), own, mutant.model)
    assert of_folder.as_dict() == of_whole.as_dict()
    middle = drive_of(later(folder))
    same = bisect(middle, own, own)
    assert not same.parts
    assert same.readings > 300
    found = bisect(middle, own, mutant.model)
    assert (found.parting.name, found.parting.unit) == (of_whole.parting.name, of_whole.parting.unit)
    assert bisect(middle, own, mutants.stack(rng, ("lstm", "gru"))).readings == same.readings


@pytest.mark.parametrize("which", ["folder", "later"])
def test_a_storm_over_the_middle_is_kept_and_verifies(both: tuple[Path, Path], tmp_path: Path, which: str):
    """The worst one replays by itself, to the bit, from the keyframe that it begins with too."""
    log = both[1] if which == "folder" else later(both[1])
    report = storms_over(log, 16, 1, workers=1, keep=tmp_path / "worst.mcap")
    assert report.storms == 16
    assert report.readings > 300
    kept = open_recording(tmp_path / "worst.mcap")
    drive = Drive(kept)
    assert (drive.head is not None) == (which == "later")
    _, comparison, _ = replay(RecordingPort(kept), controlled(drive.loaded, drive.config), derived=True)
    assert comparison.same, comparison.sentence()


def test_a_storm_with_another_model_is_kept_with_it(both: tuple[Path, Path], tmp_path: Path, rng: np.random.Generator):
    """What is kept replays with the model that was given, and to the bit; so does a small recording that was shrunk."""
    mutant = mutants.planted(small_robot.model(), rng, 1.0, biases=True).model
    save(mutant, tmp_path / "other.npz")
    storms_over(both[0], 8, 1, workers=1, keep=tmp_path / "worst.mcap", model=tmp_path / "other.npz")
    drive = Drive(open_recording(both[0]), None, tmp_path / "other.npz")
    write(shrink(drive, Where("torque_limit_left < 0.6")), drive, tmp_path / "small.mcap", None)
    for name in ("worst.mcap", "small.mcap"):
        kept = Drive(open_recording(tmp_path / name))
        assert kept.model.digest == mutant.digest
        _, comparison, _ = replay(RecordingPort(tmp_path / name), kept.controller(), derived=True)
        assert comparison.same, comparison.sentence()


def test_a_moment_behind_a_swap_is_the_new_models(tmp_path: Path):
    """As `edge-lstm run` records it: from a keyframe behind the swap, and from one before it."""
    asking = {300: asked("swap", model_bytes(other(), tmp_path / "other.npz"))}
    path, own = tmp_path / "run.mcap", {ONLY: small_robot.model()}
    run = ran(small_robot.CONFIG, own, asking, path, seconds=4.0, keyframe_s=0.5)
    swapped_s = run.summary.control["swaps"][0]["t_ns"] / 1e9
    begun = []
    for back in (1, 250, 400):
        reading, decision = run.made[-back]
        drive = Drive(open_recording(path))
        seen = look(drive, reading.t_ns)
        assert [*seen.moment.outputs.values()] == decision.outputs
        assert len(seen.moment.state["h"]) == 6
        assert seen.moment.gates
        assert seen.begun_s > 0
        begun.append(seen.begun_s > swapped_s - drive.first_ns / 1e9)
    assert begun[0]
    assert not begun[-1]


def test_a_moment_of_several_models_shows_each(tmp_path: Path):
    """State and gates of every model, with its name before theirs."""
    path = tmp_path / "run.mcap"
    run = ran(THREE, MODELS, {}, path, keyframe_s=0.5)
    reading, decision = run.made[-20]
    seen = look(Drive(open_recording(path)), reading.t_ns)
    assert [*seen.moment.outputs.values()] == decision.outputs
    assert {name.partition(".")[0] for name in seen.moment.state} == {*MODELS}
    assert seen.begun_s > 0


def test_a_folder_is_shrunk_and_a_file_without_a_handshake_says_so(both: tuple[Path, Path]):
    """The handshake is in the first file; a later one cannot give a small recording that outlives this program."""
    whole, folder = both
    where = "torque_limit_left < 0.6"
    start = first(whole, where, from_s=5.0)
    assert start is not None
    assert first(folder, where, from_s=5.0) == start
    found = shrink(drive_of(folder), Where(where), from_s=5.0)
    assert found.minimal
    assert found.chunks == shrink(Drive(open_recording(whole)), Where(where), from_s=5.0).chunks
    with pytest.raises(LogError, match="in the middle of its run"):
        shrink(drive_of(later(folder)), Where(where))


def test_two_runs_in_a_folder_are_two_drives(
    both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """`at` finds the one that holds the time; the others ask for a file, with the names where each begins."""
    for path in both[1].glob("*.mcap"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "whole.mcap").write_bytes(both[0].read_bytes())
    save(small_robot.model(), tmp_path / "own.npz")
    own = str(tmp_path / "own.npz")
    assert main(["bisect", "--good", own, "--bad", own, str(tmp_path)]) == 2
    assert "2 drives that do not follow each other" in capsys.readouterr().err
    assert main(["at", str(tmp_path), "5.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["begun_s"] > 0
