"""Storms: the same report for the same seed, the worst one kept so that it replays, doses that mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.errors import ConfigError, LogError
from edge_lstm.moments import storm, storms
from edge_lstm.moments.drive import Drive
from edge_lstm.moments.storm import Calm, storms_over
from edge_lstm.robot.replay import replay
from firmware_bridge.events import Gap, Reading, Reset
from firmware_bridge.links.altered import Alteration, Altered, alterations_of, texts
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.simulator.faults import Faults, Rates
from tests.support.robots import recorded, small_robot

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s, 800 readings."""
    return recorded.drive(tmp_path_factory.mktemp("storm") / "drive.mcap", 4.0)


@pytest.fixture(scope="module")
def calm(log: Path) -> Calm:
    return Calm(Drive(open_recording(log)))


@pytest.mark.parametrize("count", [16, pytest.param(48, marks=pytest.mark.long)])
def test_the_same_seed_is_the_same_report_whatever_the_number_of_workers(log: Path, count: int):
    """One process and two, number by number; another seed is another report."""
    alone = storms_over(log, count, 5, workers=1)
    assert storms_over(log, count, 5, workers=2) == alone
    assert storms_over(log, count, 6, workers=1).worst != alone.worst
    assert {one.kind for one in alone.envelopes} == {kind.name for kind in storms.KINDS}
    assert sum(one.storms for one in alone.envelopes) == alone.storms == count


def test_the_worst_storm_is_a_recording_that_replays_and_verifies(log: Path, tmp_path: Path):
    """0 differing bits, alterations included; it holds the model and robot.toml, and says what it is."""
    report = storms_over(log, 24, 2, workers=1, keep=tmp_path / "worst.mcap")
    recording = open_recording(tmp_path / "worst.mcap")
    assert report.worst is not None
    assert f"storm {report.worst.number} of seed 2 over drive.mcap" in recording.metadata["storm"]
    again = Drive(recording)
    _, comparison, _ = replay(RecordingPort(recording.path), again.controller(), derived=True)
    assert comparison.same, comparison.sentence()
    with pytest.raises(Exception, match="exists"):
        storms_over(log, 1, workers=1, keep=tmp_path / "worst.mcap")


@pytest.mark.parametrize("kind", ["restarts", "stuck", "drift", "everything"])
def test_every_kind_replays_with_what_stands_behind_the_link(calm: Calm, log: Path, tmp_path: Path, kind: str):
    """What is done to events is in the file, so its replay has the same readings, outputs and actions."""
    number = next(k for k in range(8, 24) if storms.KINDS[k % 8].name == kind)
    drawn = storms.draw(1, number, calm.weather)
    assert drawn.alterations
    recorder = Drive(open_recording(log)).recorder(tmp_path / "kept.mcap", texts(drawn.alterations))
    calm.storm(1, number, recorder)
    recorder.close()
    kept = Drive(open_recording(tmp_path / "kept.mcap"))
    assert alterations_of(kept.recording.metadata) == drawn.alterations
    _, comparison, _ = replay(RecordingPort(kept.recording.path), kept.controller(), derived=True)
    assert comparison.same, comparison.sentence()


def test_loss_is_counted_in_readings_and_the_calm_drive_is_off_by_nothing(calm: Calm):
    """The dose of a storm of losses is the share of the readings that did not arrive; no storm, no difference."""
    assert calm._compared(calm._times, calm._values)[0] == (0.0, 0.0)
    for number in (0, 8, 16):
        outcome, _ = calm.storm(3, number)
        assert outcome.kind == "loss"
        assert outcome.dose == 100 * (1 - outcome.readings / calm.readings)
        assert outcome.readings < calm.readings


def test_time_and_bytes_are_those_of_the_drive(calm: Calm):
    """Whatever the storm: as many chunks at the same times, none before the first reading touched; delay and restarts
    lose no order."""
    for number in range(32):
        drawn = storms.draw(9, number, calm.weather)
        chunks = calm.weather.chunks
        assert [chunk.t_ns for chunk in drawn.chunks] == [chunk.t_ns for chunk in chunks]
        assert drawn.chunks[: calm.weather.first] == list(chunks[: calm.weather.first])
        if drawn.kind.name == "delay":
            assert b"".join(chunk.data for chunk in drawn.chunks) == b"".join(chunk.data for chunk in chunks)
        if drawn.kind.name == "duplication":
            pairs = zip(drawn.chunks, chunks, strict=True)
            assert all(one.data in (other.data, 2 * other.data) for one, other in pairs)


def test_handshakes_pass_unharmed(tmp_path: Path):
    """A drive with unplugging in the middle is answered again in each storm: what asks is spared."""
    faults = Faults(3, Rates(unplug=0.8))
    path = recorded.drive(tmp_path / "drive.mcap", 6.0, faults=faults)
    calm = Calm(Drive(open_recording(path)))
    assert faults.counts["unplug"] > 1
    assert len(calm.weather.spared) > 20
    for number in range(16):
        assert calm.storm(1, number)[0].readings > 0.2 * calm.readings


def test_alterations_do_what_they_say(calm: Calm, log: Path):
    """Stuck keeps the value, drift adds with time, set sets, between their times and nowhere else; a restart is a
    Reset, without the gap that nobody could see."""
    drive = Drive(open_recording(log))
    at = calm.weather.from_ns + SECOND

    def readings(*alterations: Alteration) -> dict[int, Reading]:
        link = Altered(drive.bare_link(), alterations)
        events = [event for chunk in drive.chunks() for event in link.receive(chunk)]
        return {event.seq: event for event in events if isinstance(event, Reading)}

    field, form = "gyro_z", drive.config.reading
    plain = readings()
    link = drive.bare_link()
    for chunk in drive.chunks():
        link.receive(chunk)
    assert link.dictionary is not None
    place = [one.name for one in link.dictionary[form].fields].index(field)
    for kind, value in (("stuck", 0.0), ("drift", 2.0), ("set", -7.0)):
        changed = readings(Alteration(kind, form, field, at, at + SECOND, value))  # type: ignore[arg-type]
        first = next(one.values[place] for one in plain.values() if one.t_ns >= at)
        for seq, one in plain.items():
            wanted = list(one.values)
            if at <= one.t_ns < at + SECOND:
                since = 2.0 * (one.t_ns - at) / 1e9
                wanted[place] = {"stuck": first, "drift": wanted[place] + since, "set": -7.0}[kind]
            assert list(changed[seq].values) == wanted
    chunks = [
        chunk if chunk.t_ns < at or chunk.t_ns > at + SECOND else chunk._replace(data=b"") for chunk in drive.chunks()
    ]
    again = Altered(drive.bare_link(), [Alteration("reset", from_ns=at + SECOND)])
    events = [event for chunk in chunks for event in again.receive(chunk)]
    assert sum(isinstance(event, Reset) for event in events) == 1
    assert not any(isinstance(event, Gap) for event in events)


def test_outputs_are_compared_where_there_is_no_action(tmp_path: Path):
    """A model that only observes has an envelope of its outputs."""
    config = small_robot.AT_ONCE.split("[action]")[0] + "[link]\nask_first = true\n"
    path = recorded.drive(tmp_path / "drive.mcap", 3.0, config=config)
    report = storms_over(path, 16, workers=1)
    assert report.what == "outputs"
    assert [one.name for one in report.fields] == ["slip_left", "slip_right", "stall_left", "stall_right"]
    assert any("outputs stay within" in one or "outputs leave" in one for one in report.sentences())


def test_the_command_prints_the_envelope_and_keeps_the_worst(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Sentences with amounts, units and doses; --json is the same report; nothing is overwritten."""
    monkeypatch.chdir(tmp_path)
    arguments = ["storm", str(log), "--runs", "24", "--workers", "1", "--within", "0.2"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "24 storms over " in said
    assert "duplication: actions stay within 0.2 N m in all 3 storms, up to" in said
    assert "kept as drive-storm.mcap" in said
    assert main(["replay", "--verify", "drive-storm.mcap"]) == 0
    assert main(arguments) == 2
    assert "is not overwritten" in capsys.readouterr().err
    assert main([*arguments, "--json", "--keep", "other.mcap"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["storms"], tree["kept"]) == (24, "other.mcap")


def test_ctrl_c_keeps_the_storms_that_are_done(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """The report is of the storms from the first on that are done, the worst of them is kept, exit code 130."""
    whole = Calm.storm

    def interrupted(self: Calm, seed: int, number: int, *more: object):  # type: ignore[no-untyped-def]
        if number == 17 and not more:
            raise KeyboardInterrupt
        return whole(self, seed, number, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(storm.Calm, "storm", interrupted)
    keep = tmp_path / "worst.mcap"
    assert main(["storm", str(log), "--runs", "40", "--workers", "1", "--keep", str(keep)]) == 130
    said = capsys.readouterr()
    assert said.out.startswith("16 storms over")
    assert "stopped after 16 of 40 storms" in said.err
    assert keep.exists()
    monkeypatch.undo()
    assert storms_over(log, 16, workers=1).worst.done in said.out  # type: ignore[union-attr]


def test_what_cannot_be_stormed_is_a_sentence(log: Path, tmp_path: Path):
    """No readings, no such field, no amount: each names what is wrong."""
    with pytest.raises(ConfigError, match="there is no 'torque'"):
        storms_over(log, 1, within={"torque": "0.1"}, workers=1)
    with pytest.raises(ConfigError, match="write an amount above 0"):
        storms_over(log, 1, within={"": "-1"}, workers=1)
    short = recorded.drive(tmp_path / "short.mcap", 0.001)
    with pytest.raises(LogError, match="no actions come of it"):
        storms_over(short, 1, workers=1)
