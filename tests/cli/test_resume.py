"""`edge-lstm run` that is killed and started again, and `edge-lstm replay` of the folder that it leaves."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edge_lstm.cli.recording import Recording
from firmware_bridge.recordings.reader import open_recordings
from firmware_bridge.recordings.recorder import Recorder
from tests.cli.test_live import EDGE_LSTM, robot, until  # noqa: F401  a fixture
from tests.support.commands import called
from tests.support.robots import small_robot

RECORDING = 'directory = "recordings"\nrotate = "1 s"\nkeyframe = "0.3 s"\nresume = "5 min"\n'
CONFIG = small_robot.AT_ONCE.replace('directory = "recordings"\n', RECORDING) + '[policy]\non_reset = "keep"\n'


def said(*words: str | Path) -> tuple[int, str]:
    """Exit code of a command, and all that it prints."""
    done = called(*words)
    return done.returncode, done.stdout + done.stderr


def started(config: Path, link: Path, *more: str) -> subprocess.Popen[str]:
    command = [*EDGE_LSTM, "run", str(config), "--port", str(link), "--json", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def killed(robot: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, str]:  # noqa: F811
    """The folder of a run that was killed in its third file, and of one that went on; what the second one said."""
    folder = tmp_path_factory.mktemp("killed")
    config, recordings = small_robot.folder(folder, CONFIG), folder / "recordings"
    with started(config, robot) as first:
        until(lambda: len(list(recordings.glob("*.mcap"))) >= 3)
        first.send_signal(signal.SIGKILL)
    before = len(list(recordings.glob("*.mcap")))
    with started(config, robot) as second:
        until(lambda: len(list(recordings.glob("*.mcap"))) >= before + 2)
        second.send_signal(signal.SIGTERM)
        out, err = second.communicate(timeout=60)
    return recordings, json.loads(out), err


def test_a_killed_run_goes_on(killed: tuple[Path, dict, str]) -> None:
    """It says from which file and how old that is; readings are counted on, the lost ones among them, and the board is
    not taken for one that has started again."""
    _, summary, err = killed
    assert "the memory goes on from small-" in err, err
    assert summary["notes"][0].startswith("the memory goes on from small-")
    assert summary["reconnects"] == 1
    assert summary["resets"] == 0
    assert summary["lost"] > 0
    assert summary["readings"] > 0


def test_each_file_and_the_folder_verify(killed: tuple[Path, dict, str]) -> None:
    """Each alone, all together, the end of each as the beginning of the next; the folder's table is that of the files,
    one after the other."""
    folder, _, _ = killed
    recordings = [one for one in open_recordings(folder) if one.times()]
    runs = {one.run for one in recordings}
    assert len(recordings) >= 4
    assert len(runs) == 2
    tables = []
    for one in recordings:
        table = folder / f"{one.path.stem}.csv"
        code, text = said("replay", one.path, "--verify", "-o", table)
        assert code == 0, text
        assert "0 differing bits" in text
        tables.append(table.read_text().splitlines())
    code, text = said("replay", folder, "--verify", "-o", folder / "all.csv")
    assert code == 0, text
    assert text.count("0 differing bits") == len(recordings) + 1
    assert "does not go on where" not in text
    assert (folder / "all.csv").read_text().splitlines() == tables[0] + [row for one in tables[1:] for row in one[1:]]
    code, text = said("replay", folder, "--json", "--verify")
    found, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    assert len(found["files"]) == len(recordings)


def test_a_span_of_time(killed: tuple[Path, dict, str], tmp_path: Path) -> None:
    """--start and --end in s since the first record, as a time after the start, and as date and time of day."""
    folder, _, _ = killed
    first_ns = open_recordings(folder)[0].times()[0]
    for number, (start, end) in enumerate((("1.5", "+0.5"), ("1.5", "2.0"), ("1.5s", "+0.5s"))):
        code, text = said(
            "replay", folder, "--start", start, "--end", end, "--verify", "-o", tmp_path / f"{number}.csv"
        )
        assert code == 0, text
    rows = (tmp_path / "0.csv").read_text().splitlines()
    code, text = said("replay", folder, "-o", tmp_path / "all.csv")
    assert code == 0, text
    title, *every = (tmp_path / "all.csv").read_text().splitlines()
    within = [row for row in every if 1.5e9 <= int(row.split(",")[0]) - first_ns <= 2.0e9]
    assert rows == [title, *within]
    assert within
    assert all((tmp_path / f"{number}.csv").read_text().splitlines() == rows for number in (1, 2))
    code, text = said("replay", folder, "--start", "soon")
    assert code == 2
    assert "neither s since the start, nor a date and time" in text
    code, text = said("replay", folder, "--start", "99999")
    assert code == 2
    assert "nothing is recorded then" in text


def test_a_run_that_ended_by_itself_is_over(robot: Path, tmp_path: Path) -> None:  # noqa: F811
    """The next one says that its memory begins reset, and why."""
    config = small_robot.folder(tmp_path, CONFIG)
    for why in ("there is no recording of an earlier run", "ended by itself"):
        with started(config, robot, "--seconds", "0.5") as process:
            out, err = process.communicate(timeout=60)
        assert "the memory begins reset: " in err
        assert why in json.loads(out)["notes"][0]


def test_a_recording_without_keyframes_is_a_note(tmp_path: Path) -> None:
    """What is remembered is more than a keyframe holds: the summary says it, and the run's end is not that of a
    recording that failed."""
    recorder = Recorder(tmp_path / "run.mcap", keyframe_s=1.0)
    recorder.keyframe(0, {"window": "x" * (4 << 20)})
    recording = Recording(tmp_path / "run.mcap", required=True)
    recording.recorder = recorder
    recording.close()
    notes: list[str] = []
    assert recording.verdict(notes) == ""
    assert len(notes) == 1
    assert "longer than 4 MiB" in notes[0]


def test_the_status_names_the_file_that_is_written_now() -> None:
    """A run begins a new file now and then; the summary names the first one."""
    recording = Recording(None, False)
    recording.path = Path("a.mcap")
    recording.recorder = cast(Recorder, SimpleNamespace(path=Path("b.mcap"), failed="", dropped=0))
    assert recording.status()["path"] == str(Path("b.mcap").resolve())
