"""`edge-lstm gate`: the drives in which a defect shows, and no others, and what cannot be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.fleet.gate import Gate, gate
from edge_lstm.fleet.plan import logs_of
from edge_lstm.fleet.report import report
from edge_lstm.moments.at import drive_at, look
from edge_lstm.plots import figure
from tests.fleet import drives
from tests.support.robots import small_robot
from tests.support.robots.here import Here

COUNT, SHOWS = 6, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gate")
    (path / "drives").mkdir()
    drives.several(path / "drives", COUNT, 1.5)
    save(small_robot.model(), path / "old.npz")
    return path


@pytest.fixture(scope="module")
def defect(folder: Path) -> tuple[Path, set[str]]:
    """A model whose defect shows in three drives, and their names."""
    model, names = drives.planted((folder / "drives").glob("*.mcap"), SHOWS)
    save(model, folder / "new.npz")
    return folder / "new.npz", names


def judged(folder: Path, new: Path, old: Path | None = None, **more: float) -> Gate:
    return gate(logs_of([folder / "drives"]), new, old, Here(), **more)


def names(runs: list) -> list[str]:
    return [Path(one.log).name for one in runs]


def test_a_planted_defect_shows_in_its_drives_and_comes_first(folder: Path, defect: tuple[Path, set[str]]) -> None:
    """Exactly the three drives in which the defect shows differ; they come first, by the limit that is reached, and
    what is said of the worst moment is what both models make of that reading."""
    new, shows = defect
    found = judged(folder, new, folder / "old.npz")
    assert set(names(found.differing)) == shows
    assert set(names(found.runs[:SHOWS])) == shows
    assert len(found.compared) == COUNT
    assert not found.passes
    worst = found.runs[0].moments[0]
    assert (worst.kind, worst.new) == ("limit", 0.1)
    from firmware_bridge.recordings.reader import open_recording

    recording = open_recording(found.runs[0].log)
    first_ns, _ = recording.times()
    then = {round((t_ns - first_ns) / 1e9, 6): tree for t_ns, tree in recording.values("/actions/motor_limits")}
    assert then[round(worst.worst_s, 6)][worst.field] == pytest.approx(worst.old, abs=1e-7)
    # What is printed is the time that `edge-lstm at` takes.
    drive, t_ns = drive_at(Path(found.runs[0].log), f"{worst.worst_s:.3f}")
    assert look(drive, t_ns).moment.action[worst.field] == pytest.approx(worst.old, abs=1e-7)


def test_a_picture_and_at_count_alike(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time axis of a drive's picture begins where the recording does, and a span of it where the span does, so what
    is seen there is found by `edge-lstm at`."""
    drawn: list[figure.Drive] = []
    monkeypatch.setattr(figure, "plot", lambda drive, path, show=(): drawn.append(drive))
    log = folder / "drives" / "drive_000.mcap"
    assert main(["replay", str(log), "--plot", str(tmp_path / "a.png")]) == 0
    assert main(["replay", str(log), "--start", "1", "--plot", str(tmp_path / "b.png")]) == 0
    for one, begins_s in zip(drawn, (0.0, 1.0), strict=True):
        curve = one.readings[0]
        drive, t_ns = drive_at(log, f"{curve.t_s[0]:.6f}")
        moment = look(drive, t_ns).moment
        assert moment.reading[curve.name] == pytest.approx(curve.values[0])
        assert 0 <= drive.seconds(moment.t_ns) - begins_s < 0.2


def test_the_same_model_passes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing differs the exit code is 0; the old model is by default each recording's own."""
    assert main(["gate", str(folder / "old.npz"), str(folder / "drives" / "drive_000.mcap"), "--jobs", "1"]) == 0
    assert "no action would have differed in 1 drive\n" in capfd.readouterr().out
    assert judged(folder, folder / "old.npz").passes


def test_drives_that_waited_for_the_right_rate_are_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model that knows its rate acts only once the readings are known to come at it: the same model, given by its
    file, waits as long, and so does another one made for that rate. So such drives are comparable, and only what the
    models make differs; `replay --model --verify` finds no difference either."""
    drive = drives.record(tmp_path / "drive.mcap", 1.5, 0, rate_hz=200.0)
    save(small_robot.model(rate_hz=200.0), tmp_path / "old.npz")
    save(_shifted(0.01, rate_hz=200.0), tmp_path / "new.npz")
    old = ["--against", str(tmp_path / "old.npz"), str(drive), "--jobs", "1"]
    assert main(["gate", str(tmp_path / "old.npz"), *old]) == 0
    assert main(["replay", str(drive), "--model", str(tmp_path / "old.npz"), "--verify"]) == 0
    assert "0 differing bits" in capfd.readouterr().out
    (one,) = gate(logs_of([drive]), tmp_path / "new.npz", tmp_path / "old.npz", Here()).differing
    assert {kind for kind, count in one.differing.items() if count} == {"size"}


def test_an_old_model_that_did_not_drive_is_not_comparable(folder: Path, defect: tuple[Path, set[str]]) -> None:
    """Where --against is not what was recorded, nothing is said about the new model, and the gate does not pass."""
    new, shows = defect
    found = judged(folder, folder / "old.npz", new)
    assert set(names([one for one in found.runs if not one.comparable])) == shows
    assert all("does not make what was recorded" in one.why for one in found.runs if not one.comparable)
    assert not found.differing
    assert not found.passes


def test_tolerance_is_a_share_of_the_range(folder: Path) -> None:
    """A model that is off by a hundredth of an output differs everywhere by bits, and nowhere by a tenth of the range;
    without a limit or another sign it is called another number."""
    model = _shifted(0.01)
    save(model, folder / "near.npz")
    every = judged(folder, folder / "near.npz")
    assert len(every.differing) == COUNT
    assert {one.moments[0].kind for one in every.differing} == {"size"}
    assert judged(folder, folder / "near.npz", tolerance=0.1).passes


def test_a_model_without_an_action_leaves_the_robot_to_its_safe_output(folder: Path) -> None:
    """Outputs that are no number make no action: each is a "safe", with nothing in the place of the new number."""
    save(_shifted(np.inf), folder / "none.npz")
    found = judged(folder, folder / "none.npz")
    worst = found.runs[0].moments[0]
    assert (worst.kind, worst.new, worst.size) == ("safe", None, 1.0)
    assert found.totals()["safe"] == sum(one.actions for one in found.runs)


def test_files_that_cannot_be_compared_are_named(folder: Path, tmp_path: Path) -> None:
    """A table, a damaged file and one that is not there are told, each with its sentence; the others are judged."""
    drives.table(tmp_path / "table.csv", 10, 1)
    (tmp_path / "damaged.mcap").write_bytes(b"\x89MCAP0\r\n")
    logs = [*logs_of([folder / "drives" / "drive_000.mcap", tmp_path]), tmp_path / "gone.mcap"]
    found = gate(logs, folder / "old.npz", None, Here())
    why = {Path(one.log).name: one.why for one in found.runs if not one.comparable}
    assert set(why) == {"table.csv", "damaged.mcap", "gone.mcap"}
    assert "holds no actions" in why["table.csv"]
    assert "no such file" in why["gone.mcap"]
    assert names(found.compared) == ["drive_000.mcap"]
    assert not found.passes


def test_two_processes_give_the_same_bytes(folder: Path, defect: tuple[Path, set[str]], tmp_path: Path) -> None:
    """JSON and report of two processes are those of one worker, byte for byte; the exit code is 1."""
    command = ["gate", str(defect[0]), "--against", str(folder / "old.npz"), str(folder / "drives"), "--jobs", "2"]
    assert main([*command, "--report", str(tmp_path / "two.html"), "-o", str(tmp_path / "two.json")]) == 1
    found = judged(folder, defect[0], folder / "old.npz")
    assert (tmp_path / "two.html").read_text() == report(found)
    assert json.loads((tmp_path / "two.json").read_text()) == json.loads(json.dumps(found.as_dict()))


def test_the_report_is_one_file_and_escapes_what_files_say(folder: Path, defect: tuple[Path, set[str]]) -> None:
    """It fetches nothing, opens with the verdict, has a picture of each drive that differs, and a name from a file is
    text."""
    found = judged(folder, defect[0], folder / "old.npz")
    found.new["name"] = "<script>alert(1)</script>"
    page = report(found)
    assert "<script" not in page
    assert not re.search(r"(src|href)=|url\(|@import|https?:", page)
    assert page.index("<h1") < page.index("<section")
    assert page.count("<svg") == SHOWS
    assert "prefers-color-scheme:dark" in page


def _shifted(by: float, **more: float) -> Model:
    """The small model, all outputs larger by this."""
    return small_robot.model(made_of=lambda builder, _x, y: builder.map("affine", y, alpha=1.0, beta=float(by)), **more)


def test_the_report_of_two_models_of_one_name_says_which_is_which(folder: Path, tmp_path: Path) -> None:
    """A candidate is mostly called as its forerunner: then both have their digests beside the name. What was driven is
    said in a unit that does not come to nothing, and one drive is not "drives"."""
    found = judged(folder, folder / "old.npz", folder / "old.npz")
    digest = small_robot.model().digest[:8]
    assert f"small {digest}… against small {digest}…" in report(found)
    found.runs = found.runs[:1]
    page = report(found)
    assert "No action would have differed in 1 drive." in page
    assert "drive compared" in page
    assert re.search(r"<b>1\.\d s</b><span[^>]*>of driving", page)


def test_a_picture_holds_the_worst_reading(folder: Path, defect: tuple[Path, set[str]]) -> None:
    """The curve of the worst moment goes through the numbers that the table says, old and new."""
    for one in judged(folder, defect[0], folder / "old.npz").differing:
        worst, curve = one.moments[0], one.curve
        at = curve["t_s"].index(round(worst.worst_s, 6))
        assert (curve["old"][at], curve["new"][at]) == (worst.old, worst.new)
