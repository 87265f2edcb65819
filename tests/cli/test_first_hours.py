"""What a new user met in the first hours: each of these was once silent, wrong or unreadable."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.cli.live import LiveView, _laid_out
from edge_lstm.core.channels import Channel, units_differ
from edge_lstm.core.timing import Timing
from edge_lstm.errors import LogError
from edge_lstm.logs.asked import Asked
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.jitter import irregularities
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import replay_table
from edge_lstm.logs.stamps import stamp_ns
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.replay import Comparison
from firmware_bridge.errors import PortError, PortMissing
from firmware_bridge.events import Hello, Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.ports import serial_names
from firmware_bridge.ports.port import PortStats
from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.toml_text import toml_key
from tests.support.robots import small_robot

EDGE_LSTM = [sys.executable, "-m", "edge_lstm"]


def log(folder: Path, text: str, **more: str) -> CsvLog:
    (folder / "log.csv").write_text(text)
    return CsvLog(folder / "log.csv", Asked(**more))


def times(table: CsvLog) -> list[float]:
    return np.concatenate([block.t_s for block in table.blocks(table.columns[1:])]).tolist()


@pytest.mark.parametrize("command", ["run", "replay", "compile"])
def test_compiling_is_announced(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """With nothing in the cache, a line on stderr says that the step is compiled, before it is."""
    monkeypatch.setattr("edge_lstm.engines.native.loader.is_warm", lambda: False)
    config = small_robot.folder(tmp_path)
    (tmp_path / "log.csv").write_text(
        "time (s),wheel_speed_left,wheel_speed_right,current_left,current_right\n0,1,1,1,1\n"
    )
    more = {
        "run": [str(config), "--port", "/dev/no-such-port"],
        "replay": [str(tmp_path / "log.csv"), "--model", str(tmp_path / "model.npz")],
        "compile": [],
    }
    main([command, *more[command]])
    assert capsys.readouterr().err.startswith("compiling the step for this machine once")


@pytest.mark.parametrize("width", [30, 80, 100, 140])
def test_the_live_table_never_hides_a_value_or_a_unit(width: int):
    """At every width each value is there with its unit, no line is wider, and left and right stay apart."""
    readings = [(f"wheel_speed_{side}", -12.345, "rad/s") for side in ("left", "right")]
    outputs = [(f"slip_{side}", 0.25, "") for side in ("left", "right")]
    actions = [(f"torque_limit_{side}", 0.6, "N m") for side in ("left", "right")]
    lines = _laid_out((readings, outputs, actions), width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert (text.count("-12.345 rad/s"), text.count("0.250"), text.count("0.600 N m")) == (2, 2, 2)
    assert "left" in text.replace("…", "") or width == 30
    assert len(set(lines)) == len(lines)


def test_only_a_missing_port_is_waited_for(tmp_path: Path):
    """wait: a port in use is an error as without it; one that is not there is named as not there yet."""
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    first = SerialPort(name)
    with pytest.raises(PortError, match="Another program is using"):
        SerialPort(name, wait=True)
    first.close()
    os.close(ours)
    os.close(theirs)
    port = SerialPort(str(tmp_path / "nope"), wait=True)
    assert port.waiting == f"waiting for {tmp_path / 'nope'}, which is not there yet"
    port.close()
    with pytest.raises(PortMissing):
        SerialPort(str(tmp_path / "nope"))


def test_no_wait_overrules_the_file(tmp_path: Path, capsys):
    """--no-wait with wait = true in robot.toml: a port that is not there ends the run at once with code 3."""
    config = small_robot.folder(tmp_path, small_robot.CONFIG + "[port]\nwait = true\n")
    assert main(["run", str(config), "--port", str(tmp_path / "nope"), "--no-wait"]) == 3
    assert "nope" in capsys.readouterr().err


def test_a_name_in_this_folder_is_a_port_and_the_way_to_write_one_is_shown(tmp_path: Path, monkeypatch):
    """tty2 works where a file of that name is in the folder; elsewhere ./tty2 is suggested."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PortError, match=r"\./tty2"):
        serial_names.check("tty2")
    (tmp_path / "tty2").touch()
    serial_names.check("tty2")


def inside_a_block(content: bytes, after: int) -> int:
    """A place inside the first chunk record that begins there or later (MCAP: magic, then opcode, length, content)."""
    place = 8
    while not (content[place] == 6 and place >= after):
        place += 9 + int.from_bytes(content[place + 1 : place + 9], "little")
    return place + 9 + int.from_bytes(content[place + 1 : place + 9], "little") // 2


def test_damage_in_the_middle_is_no_cut_off_end(tmp_path: Path, capsys):
    """A damaged block: code 1 and its own sentence, for a difference cannot be excluded; a lost end stays code 0."""
    from edge_lstm.robot.config import parse_config
    from edge_lstm.robot.controller import Controller
    from edge_lstm.robot.loop import run
    from firmware_bridge.links.own.bridge import Bridge

    small_robot.folder(tmp_path)
    path = tmp_path / "run.mcap"
    attachments = {"model.npz": (tmp_path / "model.npz").read_bytes(), "robot.toml": small_robot.CONFIG.encode()}
    recorder = Recorder(path, {}, attachments, wait=True)
    controller = Controller(small_robot.model(), parse_config(small_robot.CONFIG, "robot.toml", Path()))
    run(SimulatedPort(Robot(4), 20.0), Bridge(), controller, recorder)
    recorder.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert main(["replay", str(path), "--verify"]) == 0
    assert "cut off" in capsys.readouterr().out
    damaged = bytearray(whole)
    damaged[inside_a_block(whole, len(whole) * 2 // 3)] ^= 4
    path.write_bytes(damaged)
    assert main(["replay", str(path), "--verify", "--json"]) == 1
    out, err = capsys.readouterr()
    assert '"same": false' in out
    assert '"complete": false' in out
    assert "damaged, so a difference cannot be excluded" in err
    port = RecordingPort(path)
    list(port.chunks())
    assert port.recording.damaged
    found = Comparison(cut="a block", writes=3, damaged=True)
    assert "cannot be excluded" in found.sentence()
    assert not found.same


def test_a_hint_is_valid_toml():
    """A channel called x[5] is a key in quotes; a plain name is bare."""
    assert (toml_key("x[5]"), toml_key("gyro_z"), toml_key('a"b')) == ('"x[5]"', "gyro_z", '"a\\"b"')


@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [
        ("2024-05-06T12:00:00.123", "2024-05-06T12:00:01.124", 1.001),
        ("2024-05-06 12:00:00", "2024-05-06 12:00:00.5", 0.5),
        ("2024-05-06T12:00:00Z", "2024-05-06T14:00:01+02:00", 1.0),
        ("2024-12-31T23:59:59.999999999Z", "2025-01-01T00:00:00Z", 1e-9),
    ],
)
def test_dates_are_times(tmp_path: Path, one: str, other: str, seconds: float):
    """ISO 8601 stamps with T or a space, a fraction, Z or an offset are the time, exact to the nanosecond."""
    table = log(tmp_path, f"timestamp,a\n{one},1\n{other},2\n")
    assert (times(table), table.time_unit, table.notes) == ([0.0, pytest.approx(seconds)], "ISO 8601", [])
    assert stamp_ns("2024-13-06T12:00:00") is None


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ('time (s),a\n"0,5",1\n"0,6",1\n', {}, ["'0,5'", "is not a time", "2 of 2 lines"]),
        ("time (s),a\n0,1\n1,1\n", {"time_unit": "ms"}, ["is in s", "--time-unit says ms"]),
        ("t_s,gyro_z\n0,1\n1,-1\n2,1\n3,-2\n4,1\n5,-3\n", {"time": "gyro_z"}, ["gyro_z", "goes back 3 times"]),
        ("t_s,a\n1,1\n1,1\n1,1\n", {}, ["never increases"]),
        ("time,a\n2024-05-06T12:00:00Z,1\n2024-05-06T12:00:01,1\n", {}, ["line 3", "time zone"]),
        ("# made by X\n# t_s\n0,1\n", {}, ["line 3 holds the number", "--names t,a"]),
        ("time,time\n0,1\n", {}, ["several columns"]),
    ],
)
def test_what_a_table_cannot_be_is_said(tmp_path: Path, text: str, more: dict[str, str], words: list[str]):
    """A log that contradicts itself or the options is refused with what to do."""
    with pytest.raises(LogError) as error:
        times(log(tmp_path, text, **more))
    for word in words:
        assert word in str(error.value)


def test_two_columns_of_one_name_are_both_named(tmp_path: Path):
    """A name that stands twice in the header is an error that gives both places."""
    with pytest.raises(LogError, match="column 2 'a' and column 3 'a'"):
        log(tmp_path, "t_s,a,a\n0,1,2\n1,1,2\n").find("a")


def test_latin_1_is_refused_with_the_option_to_type(tmp_path: Path):
    """A file that is not UTF-8 is answered with the way out."""
    (tmp_path / "log.csv").write_bytes("t_s,größe\n0,1\n".encode("latin-1"))
    with pytest.raises(LogError, match="--encoding cp1252"):
        CsvLog(tmp_path / "log.csv")


def test_comments_before_the_header_are_skipped_and_told(tmp_path: Path):
    """Lines beginning with # before the header are no rows, and a note says how many."""
    table = log(tmp_path, "# by X\n# 2024\nt_s,a\n0,1\n0.5,2\n")
    assert times(table) == [0.0, 0.5]
    assert "2 lines before the header" in table.notes[0]


def test_a_column_that_has_its_channel_is_not_suggested(tmp_path: Path):
    """The nearest name to a missing column is looked for among the columns that nobody uses."""
    table = log(tmp_path, "t_s,wheel_speed_left,whl_r,current_left,current_right\n0,1,2,3,4\n1,1,2,3,4\n")
    with pytest.raises(LogError) as error:
        match(table, small_robot.model())
    assert "did you mean 'wheel_speed_left'" not in str(error.value)


def test_units_written_differently_are_one():
    """m/s2, m/s^2 and m/s² are the same unit, Nm and N m too; m/s is another."""
    assert not units_differ("m/s2", "m/s^2")
    assert not units_differ("m/s^2", "m/s²")
    assert not units_differ("Nm", "N m")
    assert units_differ("m/s", "m/s2")


def test_holes_steps_back_and_skipped_rows_are_noted(tmp_path: Path):
    """Each has a sentence with the line at which it is."""
    rows = [f"{t},{x},1,1,1" for t, x in ((0, 1), (1, ""), (2, 1), (3, 1), (13, 1), (12, 1), (13, 1))]
    names = ",".join(c.name for c in small_robot.INPUTS)
    table = log(tmp_path, f"t_s,{names}\n" + "\n".join(rows) + "\n")
    model = small_robot.model()
    summary, _ = replay_table(table, model, match(table, model)[0])
    notes = "; ".join(summary.notes)
    assert "goes back or stands still once, first at line 7" in notes
    assert "1 gap is longer than 5 × the usual 1 s, the longest 10 s before line 6" in notes
    assert "missing number: line 3" in notes
    assert irregularities(np.arange(5.0), np.arange(5)) == []


def test_a_log_shorter_than_the_window_is_told_why_nothing_came(tmp_path: Path):
    """No output at all has its reason: so many readings, so many are needed."""
    model = small_robot.model(inputs=(Channel("a"),), timing=Timing.over_window(20))
    table = log(tmp_path, "t_s,a\n" + "".join(f"{k},1\n" for k in range(9)))
    summary, _ = replay_table(table, model, match(table, model)[0])
    assert "no output: the log has 9 readings, the window needs 20" in summary.notes


def test_inspect_leaves_out_what_is_empty(tmp_path: Path, capsys):
    """Columns and entries that say nothing are not shown, and no Python value is."""
    from edge_lstm.core.storage import save

    provenance = {"producer": None, "nodes_folded": [], "states": {"h": {"output": "h2", "reason": "shape"}}}
    save(small_robot.model(inputs=(Channel("a"),), provenance=provenance), tmp_path / "m.npz")
    assert main(["inspect", str(tmp_path / "m.npz")]) == 0
    out = capsys.readouterr().out
    for word in ("unit", "physical", "producer", "nodes_folded", "None", "{"):
        assert word not in out
    assert "output: h2" in out


def test_a_reader_that_goes_away_is_not_a_difference(tmp_path: Path):
    """`edge-lstm inspect … | true` ends quietly with 4, for 1 means that a check found a difference."""
    small_robot.folder(tmp_path)
    command = f"set -o pipefail; {sys.executable} -m edge_lstm inspect {tmp_path / 'model.npz'} --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode in (0, 4), done.stderr) == (True, "")


def test_help_lists_every_exit_code(capsys):
    """The codes that scripts rely on, 70 and 130 among them."""
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.split("Exit codes")[1].splitlines()
    assert [line.split()[0] for line in lines if line.strip()] == ["0", "1", "2", "3", "4", "70", "75", "130"]


def test_a_robot_that_is_gone_at_the_end_is_a_note_with_its_time():
    """Link lost, or no reading for long: the summary's note says since when; a robot that is there has none."""
    from edge_lstm.robot.config import parse_config
    from edge_lstm.robot.controller import Controller
    from edge_lstm.robot.loop import _gone, run
    from firmware_bridge.links.own.bridge import Bridge

    controller = Controller(small_robot.model(), parse_config(small_robot.CONFIG, "robot.toml", Path()))
    summary = run(SimulatedPort(Robot(4), 2.0), Bridge(), controller)
    assert not [note for note in summary.notes if "gone" in note]
    assert controller.latest is not None
    last = controller.latest.reading
    assert last is not None
    assert "lost since 1.0 s after the start, for 4.0 s" in _gone(last, 1 * 10**9, 0, 5 * 10**9)
    assert "no reading has come since" in _gone(last, None, 0, last.t_ns + 3 * 10**9)


def test_the_legend_names_actions_that_come_later() -> None:
    """The rate is measured before the first action: the legend is printed by then, and must not lack its numbers."""
    robot = Robot(1)
    controller = Controller(small_robot.model(), parse_config(small_robot.CONFIG, "robot.toml", Path()))
    declared = robot.device.dictionary
    controller.handle(Hello(0, declared.device, declared.version, 1, declared))
    values = tuple(0.1 for _ in declared["imu_wheels"].fields)
    decision = controller.handle(Reading(5_000_000, "imu_wheels", 0, 5000, values))
    assert decision is not None
    controller.latest = decision._replace(action=None)
    view = LiveView(controller, Bridge(), SimpleNamespace(stats=PortStats()), "port", io.StringIO())  # type: ignore[arg-type]
    assert view.legend().splitlines()[-1].startswith("actions   torque_limit_left")
