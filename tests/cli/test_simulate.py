"""`edge-lstm simulate` with a log, with a dialect, with a configuration: robots that are not ours, to try against."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.robot.played import play
from tests.cli.test_live import EDGE_LSTM, for_seconds, simulated
from tests.support.robots import small_robot

LOG = "time (s),gx (deg/s),battery (V),note\n" + "".join(f"{k / 100},{k / 8},{12 + k / 1024},\n" for k in range(30))
CONFIG = """
[link]
dialect = "lines"
[link.reading.imu]
shape = "pairs"
fields = ["ms", "gx deg/s", "battery V"]
time = "ms"
[link.action.motor]
line = "m {left:.2f}\\n"
fields = { left = { min = -1, max = 1, safe = 0 } }
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """30 rows at 100 Hz, one column of which is no number."""
    path = tmp_path / "drive.csv"
    path.write_text(LOG)
    return path


def test_a_log_is_played_to_its_end_and_the_truth_is_the_log(log: Path, tmp_path: Path) -> None:
    """The columns that a configuration names, at their own times, then it ends by itself; the truth has every row, and
    the outputs beside it."""
    (tmp_path / "robot.toml").write_text(CONFIG)
    arguments = ["--link", str(tmp_path / "port"), "--from", str(log), "--config", str(tmp_path / "robot.toml")]
    command = [*EDGE_LSTM, "simulate", *arguments, "--truth", str(tmp_path / "truth.csv"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert (found["readings"], found["actions"], found["left_out"], found["dropped_frames"]) == (30, 0, 0, 0)
    assert "[link]" not in done.stderr
    with (tmp_path / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["gx"]) for row in rows] == [k / 8 for k in range(30)]
    assert [int(row["t_device_us"]) for row in rows] == [10_000 * k for k in range(30)]
    assert {row["motor.left"] for row in rows} == {"0"}
    assert not (tmp_path / "port").is_symlink()


def test_the_printed_link_is_what_the_robot_speaks(tmp_path: Path) -> None:
    """The two-wheeled robot in dialect struct: `run` with the [link] that it printed gets its readings, moves it, and
    the truth shows the actions."""
    truth = tmp_path / "truth.jsonl"
    config = small_robot.folder(tmp_path, small_robot.CONFIG + play(dialect="struct").block)
    with simulated(tmp_path / "port", "--dialect", "struct", "--truth", str(truth)):
        command = [*EDGE_LSTM, "run", str(config), "--port", str(tmp_path / "port"), "--json", "--no-record"]
        done = for_seconds(1.2, command, lambda done: done.stdout and json.loads(done.stdout)["actions"] > 100)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["readings"] == found["steps"] > 100
    assert (found["lost"], found["damaged"]) == (0, {})
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    obeyed = [line["values"] for line in lines if "action" in line]
    assert len(obeyed) > 100
    assert obeyed[-1] == [0, 0]
    assert max(line["values"][0] for line in lines if "reading" in line) > 1  # rad/s: it drives


def test_what_does_not_fit_is_said(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that contradict each other, a dialect that needs a configuration, a column that is missing, times that go
    back, a fault that the dialect cannot have: each its sentence, and no link is left."""
    config, back = tmp_path / "robot.toml", tmp_path / "back.csv"
    config.write_text(CONFIG)
    back.write_text("time (s),gx,battery\n0,1,1\n1,1,1\n0.5,1,1\n")
    (tmp_path / "little.csv").write_text("time (s),gx\n0,1\n")
    log.write_text(LOG.replace(",note", ",temperature"))
    port = ["simulate", "--link", str(tmp_path / "port")]
    for more, code, sentence in (
        (["--loop"], 2, "--loop is for --from"),
        (["--from", str(log), "--dialect", "mavlink"], 2, "say in --config which of them carries which column"),
        (["--dialect", "line"], 2, "did you mean 'lines'?"),
        (["--config", str(config), "--dialect", "struct"], 2, "[link] dialect is 'lines', but --dialect says 'struct'"),
        (["--config", str(config)], 2, "the two-wheeled robot measures no 'gx'"),
        (["--config", str(config), "--from", str(tmp_path / "little.csv")], 2, "has no column 'battery'"),
        (["--config", str(config), "--from", str(back)], 2, "line 4: time goes back by 0.5 s"),
        (["--dialect", "struct", "--faults", "cut=1e-3"], 2, "these messages have no byte that ends them"),
        (["--from", str(log), "--truth", str(log)], 2, "would be overwritten"),
        (["--from", str(tmp_path / "none.csv")], 2, "there is no such file"),
    ):
        found = main([*port, *more]), capsys.readouterr().err
        assert (found[0], sentence in found[1]) == (code, True), (more, found)
        assert not (tmp_path / "port").is_symlink()


def test_a_link_that_another_simulator_has_is_taken_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one goes on, and nobody finds it: what was a robot a moment ago is another one."""
    port = tmp_path / "port"
    with simulated(port):
        there = port.readlink()
        assert main(["simulate", "--link", str(port), "--seconds", "0.1"]) == 0
    assert f"note: {port} led to {there}; if another simulator still runs there" in capsys.readouterr().err
    assert main(["simulate", "--link", str(port), "--seconds", "0.1"]) == 0
    assert not capsys.readouterr().err
