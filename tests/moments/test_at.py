"""Any moment: the bits of the drive wherever it is begun, and another future that leaves the real one as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import save
from edge_lstm.errors import ConfigError, LogError
from edge_lstm.moments.at import Fork, Seen, check_fork, look, time_of
from edge_lstm.moments.drive import Drive
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.reader import Recording, open_recording
from firmware_bridge.simulator.faults import Faults, Rates
from tests.support.models import mutants
from tests.support.robots import recorded, small_robot

RATES = Rates(flip=5e-5, lose=5e-5, silence=0.1, reset=0.1)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """12 s with damage, silence and resets, a keyframe each second."""
    path = tmp_path_factory.mktemp("at") / "drive.mcap"
    return Drive(open_recording(recorded.drive(path, 12.0, faults=Faults(2, RATES), keyframe_s=1.0)))


def from_the_beginning(drive: Drive, monkeypatch: pytest.MonkeyPatch, t_ns: int, **more: int) -> Seen:
    """The same look without a keyframe."""
    with monkeypatch.context() as patch:
        patch.setattr(Recording, "keyframes_before", lambda self, t_ns: iter(()))
        return look(drive, t_ns, **more)


def test_random_moments_are_the_same_from_the_nearest_keyframe_and_from_the_beginning(
    drive: Drive, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
):
    """8 of them (1,000 in tests/long): reading, memory, gates, outputs, action to the bit; no keyframe is far."""
    for t_s in rng.uniform(0.5, 11.9, 8):
        t_ns = drive.first_ns + round(t_s * 1e9)
        near, far = look(drive, t_ns), from_the_beginning(drive, monkeypatch, t_ns)
        assert near.moment == far.moment
        assert far.begun_s == 0.0
        assert t_s - near.begun_s < 4.0
        assert near.moment.t_ns <= t_ns
        assert set(near.moment.gates) == {f"lstm.{gate}" for gate in "ifgoch"}
        assert near.moment.gates["lstm.h"] == near.moment.state["lstm.h"]


def test_a_destroyed_keyframe_is_passed_over(drive: Drive, monkeypatch: pytest.MonkeyPatch):
    """The run begins at the one before, with the same bits."""
    t_ns = drive.first_ns + 9_000_000_000
    whole = look(drive, t_ns)
    real = Recording.keyframes_before

    def damaged(self: Recording, t_ns: int) -> Iterator[Keyframe]:
        for number, one in enumerate(real(self, t_ns)):
            yield one._replace(data=one.data[:-9] + b"x" + one.data[-8:]) if number < 2 else one

    monkeypatch.setattr(Recording, "keyframes_before", damaged)
    found = look(drive, t_ns)
    assert found.moment == whole.moment
    assert 0.0 < found.begun_s < whole.begun_s - 1.5


def test_steps_go_forward_and_back(drive: Drive):
    """`step` is so many readings from the latest one at the time, and `before` those before it."""
    t_ns = drive.first_ns + 6_000_000_000
    row = look(drive, t_ns, before=5, ahead_s=0.02)
    for step in (-5, -1, 0, 1, 3):
        assert look(drive, t_ns, step=step).moment == row.truth[row.place + step]
    with pytest.raises(LogError, match="not so many readings"):
        look(drive, drive.first_ns, step=-5)


def test_another_reading_is_another_future_and_the_truth_stays(drive: Drive):
    """From the reading on that is set, not before; the truth beside it is that of a look without a fork."""
    t_ns = drive.first_ns + 6_000_000_000
    alone = look(drive, t_ns, before=3, ahead_s=0.3)
    seen = look(drive, t_ns, before=3, ahead_s=0.3, fork=Fork({"current_left": 30.0}))
    assert seen.truth == alone.truth
    assert [one.t_ns for one in seen.fork] == [one.t_ns for one in seen.truth[seen.place :]]
    changed = [one.reading["current_left"] for one in seen.fork]
    assert changed[0] == 30.0
    assert changed[1:] == [one.reading["current_left"] for one in seen.truth[seen.place + 1 :]]
    assert seen.fork[0].outputs != seen.moment.outputs
    assert seen.fork[1].state != seen.truth[seen.place + 1].state
    longer = look(drive, t_ns, ahead_s=0.3, fork=Fork({"current_left": 30.0}, 0.1))
    assert [one.reading["current_left"] == 30.0 for one in longer.fork].count(True) in (20, 21)


def test_another_model_goes_on_with_the_memory_of_the_first(drive: Drive, rng: np.random.Generator):
    """The same model gives the same future, one with another bias another one from the moment on; one that remembers
    something else begins anew, and that is said."""
    t_ns = drive.first_ns + 6_000_000_000
    same = look(drive, t_ns, ahead_s=0.2, fork=Fork(model=small_robot.model()))
    assert [one.outputs for one in same.fork] == [one.outputs for one in same.truth]
    planted = mutants.planted(small_robot.model(), rng, 1.0, biases=True).model
    other = look(drive, t_ns, ahead_s=0.2, fork=Fork(model=planted))
    assert other.fork[0].outputs != other.truth[0].outputs
    assert not other.notes
    strange = look(drive, t_ns, ahead_s=0.2, fork=Fork(model=mutants.stack(rng, ("lstm", "gru"))))
    assert "begins without a memory" in strange.notes[0]


def test_times_are_seconds_or_those_of_a_day(drive: Drive):
    """Both name the same moment; anything else is a sentence."""
    assert time_of(drive, "4.5") - drive.first_ns == 4_500_000_000
    assert drive.first_ns == 1_700_000_000_000_000_000  # 2023-11-14T22:13:20Z
    assert time_of(drive, "2023-11-14T22:13:24.5") == time_of(drive, "4.5")
    assert time_of(drive, "2023-11-14T23:13:24.5+01:00") == time_of(drive, "4.5")
    assert time_of(drive, "2023-11-14 22:13:24.123456789Z") == drive.first_ns + 4_123_456_789
    assert time_of(drive, "2023-11-15") - time_of(drive, "2023-11-14T23:59") == 60_000_000_000
    with pytest.raises(LogError, match="is no time"):
        time_of(drive, "noon")


def test_a_time_that_was_read_off_is_its_reading_s(drive: Drive):
    """Everything here prints milliseconds, rounded: typed back they mean the reading that they were printed of, also
    where it came a little after. A time of fewer digits is that time, and a microsecond is not widened to one."""
    for k in range(6):
        moment = look(drive, drive.first_ns + 4_000_000_000 + 1_371_300_000 * k).moment
        assert look(drive, time_of(drive, f"{drive.seconds(moment.t_ns):.3f}")).moment.seq == moment.seq
    drive.first_ns -= 400_000  # then each reading comes 0.4 ms after the time that is printed of it
    assert look(drive, time_of(drive, f"{drive.seconds(moment.t_ns):.3f}")).moment.seq == moment.seq
    drive.first_ns += 400_000
    assert time_of(drive, "4.5") - drive.first_ns == 4_500_000_000
    assert time_of(drive, "4.500") - drive.first_ns == 4_500_500_000
    assert time_of(drive, "4.500000") - drive.first_ns == 4_500_000_500


def test_a_reading_long_before_the_time_is_said_to_be_old(drive: Drive):
    """Beyond the end of a recording there is its last reading, and a note how much earlier it came."""
    last = look(drive, drive.first_ns + 1_000_000_000_000)
    (note,) = last.notes
    assert "s before the time that was asked for" in note
    assert not look(drive, last.moment.t_ns).notes


def test_a_field_that_there_is_not_is_a_sentence(drive: Drive):
    """With the nearest name."""
    seen = look(drive, drive.first_ns + 6_000_000_000)
    with pytest.raises(ConfigError, match=r"has no field 'gyro'.*gyro_z"):
        check_fork(drive, seen, {"gyro": 1.0})


def test_the_command_shows_both_futures(drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A table for people, everything as JSON, a picture; what is wrong is exit code 2."""
    log = str(drive.recording.path)
    picture = tmp_path / "moment.png"
    arguments = ["at", log, "6", "--set", "current_left=30", "--ahead", "0.1", "--plot", str(picture)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "reading " in said
    assert "  gate     lstm.f                   8 units" in said
    assert "what was → what would have been, each" in said
    assert picture.stat().st_size > 10_000
    assert main([*arguments[:-2], "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["fork"][0]["reading"]["current_left"] == 30.0
    assert len(tree["moment"]["gates"]["lstm.f"]) == 8
    save(replace(small_robot.model(), name="other"), tmp_path / "other.npz")
    assert main(["at", log, "6", "--step", "-2", "--model", str(tmp_path / "other.npz")]) == 0
    assert main(["at", log, "6", "--set", "current=30"]) == 2
    assert "has no field 'current'" in capsys.readouterr().err
    assert main(["at", log, "6", "--set", "current_left"]) == 2
    assert main(["at", log, "now"]) == 2
