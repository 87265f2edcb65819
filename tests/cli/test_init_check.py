"""`edge-lstm init PORT MODEL` and `edge-lstm check robot.toml`: from a board to a configuration without an editor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.storage import save
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.proposal import Source, _likeness, propose
from tests.cli.test_live import simulated
from tests.support.commands import heard
from tests.support.robots import small_robot
from tests.support.robots.talkers import TALKERS, on_a_terminal

PLANT = (Channel("speed"), Channel("pwm"), Channel("set_point"))
IMU = Source("imu", (("gx", "rad/s"), ("gy", "rad/s"), ("ax", "m/s^2"), ("speedLeft", ""), ("vbat", "mV")), 50.0)


def listened(tmp_path: Path, talker: str, *inputs: Channel) -> tuple[str, str]:
    """robot.toml in the folder for a talker and a model of these inputs; (its text, stderr)."""
    save(small_robot.model(inputs), tmp_path / "model.npz")
    with on_a_terminal(TALKERS[talker].say) as (port, got):
        done = heard(0.5, "init", port, tmp_path / "model.npz")
    assert got == b""
    (tmp_path / "robot.toml").write_text(done.stdout)
    return done.stdout, done.stderr


def uncommented(text: str, start: str) -> str:
    """The file with the proposal from this line on taken."""
    head, mark, rest = text.partition(start)
    return head + "\n".join(line.removeprefix("# ") for line in (mark + rest).split("\n"))


def test_a_board_that_prints_becomes_a_robot_toml(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Equal and near names feed the model's inputs, which is said; `check` finds nothing to mend and says what will be
    sent: nothing, for no action is in force."""
    text, err = listened(tmp_path, "pairs", *PLANT)
    assert parse_config(text, "robot.toml", tmp_path).channels == {
        "speed": "Speed",
        "pwm": "PWM",
        "set_point": "Setpoint",
    }
    assert "'pwm' is fed by 'PWM', the nearest name" in err
    assert "[action] is commented out" in err
    assert main(["check", str(tmp_path / "robot.toml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    marks = {line["what"]: line for line in found["checks"]}
    assert marks["fields"]["text"] == "speed ← Speed, pwm ← PWM, set_point ← Setpoint"
    assert marks["start"]["text"] == "nothing is sent"
    assert "nothing is driven" in marks["action"]["text"]
    assert "no checksum" in " ".join(line["text"] for line in found["checks"] if line["what"] == "promise")


def test_what_feeds_nothing_is_left_to_fill_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A struct has no names: each input is a comment and a note, and `check` names the first with exit code 2."""
    text, err = listened(tmp_path, "struct", Channel("gyro_x", "rad/s"), Channel("b"))
    assert '# gyro_x = ""  # which field? a, c' in text
    assert "nothing feeds the model's input 'gyro_x', rad/s" in err
    assert main(["check", str(tmp_path / "robot.toml")]) == 2
    out, err = capsys.readouterr()
    assert "[readings.channels] gyro_x" in out
    assert "one thing to mend: fields" in err


def test_a_proposed_action_is_checked_when_it_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Without its comment signs it is a configuration, and `check` shows the bytes that make the robot safe."""
    text, _ = listened(tmp_path, "pairs", *PLANT)
    (tmp_path / "robot.toml").write_text(uncommented(text, "# [link.action.motor]"))
    assert main(["check", str(tmp_path / "robot.toml")]) == 0
    assert r"sent to make the robot safe: 'm 0.000 0.000 0.000 0.000\n'" in capsys.readouterr().out


def test_a_board_of_ours_is_asked_for_what_it_declares(tmp_path: Path):
    """Its names fit the model's, and its action is proposed with its own units and limits."""
    save(small_robot.model(), tmp_path / "model.npz")
    with simulated(tmp_path / "port"):
        text = heard(1.2, "init", tmp_path / "port", tmp_path / "model.npz").stdout
    config = parse_config(text, "robot.toml", tmp_path)
    assert (config.reading, config.channels, config.action) == ("imu_wheels", {}, None)
    assert '# format = "motor_limits"' in text
    assert '# unit = "N m"' in text
    taken = parse_config(uncommented(text, "# [action]"), "robot.toml", tmp_path)
    assert taken.action is not None
    assert set(taken.action.fields) == {"torque_limit_left", "torque_limit_right"}


def test_channels_of_another_reading_are_its_latest_values() -> None:
    """What the tick does not have is taken from the robot's other readings, with an age of three of their periods; the
    file is whole, and each such channel is a note."""
    inputs = (Channel("gyro", "rad/s"), Channel("accel", "m/s2"), Channel("current", "A"))
    sources = [
        Source("imu", (("gyro", "rad/s"), ("accel", "m/s2")), 100.0),
        Source("motor", (("current", "A"), ("heat", "")), 40.0),
    ]
    made = propose(small_robot.model(inputs), "model.npz", "", sources, (), "own")
    config = parse_config(made.text, "robot.toml", Path())
    assert (config.reading, config.channels) == ("imu", {"current": "motor.current"})
    assert config.readings.max_age_ms == 75
    assert any("'current' is fed by 'motor.current', the latest of 'motor'" in note for note in made.notes)
    assert any("a value of another reading counts for 75 ms" in note for note in made.notes)


def test_nothing_is_written_where_nothing_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A silent port: exit code 3, an empty stdout."""
    save(small_robot.model(), tmp_path / "model.npz")
    with on_a_terminal(lambda k: b"") as (port, _):
        assert main(["init", port, str(tmp_path / "model.npz"), "--seconds", "0.2"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing has arrived" in err
    assert "by hand: firmware_bridge/links/README.md" in err


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("gyro_x", "gx", True),
        ("gyro_x", "gyro_y", False),
        ("wheel_speed_left", "speedWheel_L", True),
        ("wheel_speed_left", "wheel_speed_right", False),
        ("motor1", "motor2", False),
        ("accel_z", "acc.z", True),
        ("current", "temperature", False),
    ],
)
def test_near_names_say_the_same_of_axis_side_and_number(one: str, other: str, alike: bool) -> None:
    """Near is not enough where one letter makes another thing of it."""
    assert (_likeness(one, other) >= 0.6) is alike


def test_a_letter_that_listening_made_up_is_near_to_nothing() -> None:
    """A column without a name that became "l" or "r" is no left or right: it is asked for, not fed; a robot's own
    "L" is."""
    inputs = (Channel("duty_left"), Channel("duty_right"))
    for name, fed in (("l", {}), ("L", {"duty_left": "L"})):
        made = propose(
            small_robot.model(inputs), "m.npz", "", [Source("s", ((name, ""), ("x", "")), None)], (), "lines"
        )
        assert parse_config(made.text, "robot.toml", Path()).channels == fed


def test_another_unit_is_never_taken() -> None:
    """A field in another unit feeds nothing, and is named; rates that differ are said."""
    inputs = (Channel("gyro_x", "rad/s"), Channel("vbat", "V"), Channel("speed_left", "m/s"))
    made = propose(small_robot.model(inputs, rate_hz=100.0), "m.npz", "", [IMU], (), "lines")
    config = parse_config(made.text, "robot.toml", Path())
    assert config.channels == {"gyro_x": "gx", "speed_left": "speedLeft"}
    assert "# vbat = \"\"  # the robot's 'vbat' is in mV, the model expects V" in made.text
    assert any("100 Hz" in text and "50 Hz" in text for text in made.notes)


def test_check_collects_what_is_to_be_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A model that is not there, a port that has no such name and a recording place that is a file: all in one run."""
    (tmp_path / "taken").write_text("")
    text = '[port]\ndevice = "nonsense"\n[model]\nfile = "no.npz"\n[readings]\nformat = "imu"\n'
    (tmp_path / "robot.toml").write_text(text + '[recording]\ndirectory = "taken"\nrequired = true\n')
    assert main(["check", str(tmp_path / "robot.toml")]) == 2
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines() if line.startswith("error")] == ["port", "model", "record"]
    assert "3 things to mend: port, model, record" in err
    assert main(["check", str(tmp_path / "no.toml")]) == 2


def test_check_of_a_file_that_is_wrong_is_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What cannot be understood at all is a check like any other: --json prints it, and the exit code is 2."""
    (tmp_path / "robot.toml").write_text('[model]\nfil = "m.npz"\n')
    assert main(["check", str(tmp_path / "robot.toml"), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert [(one["what"], one["mark"]) for one in told["checks"]] == [("file", "error")]
    assert "is 'fil' meant as 'file'?" in told["checks"][0]["text"]


def test_realtime_is_tried_and_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A core that the machine does not have is an error of [realtime]."""
    config = small_robot.folder(tmp_path, small_robot.CONFIG + "[realtime]\ncpu = 4000\n")
    assert main(["check", str(config)]) == 2
    assert "realtime" in capsys.readouterr().err


def test_numbers_of_one_name_are_one_line_and_one_note() -> None:
    """48 observations that nothing feeds: one [inputs] to be filled in, not 48 lines; what has a field keeps it."""
    inputs = (Channel("gyro", "rad/s"), *(Channel(f"obs[{k}]") for k in range(48)), Channel("heat"))
    sources = [Source("imu", (("gyro", "rad/s"), ("a", ""), ("b", "")), 100.0)]
    made = propose(small_robot.model(inputs), "model.npz", "", sources, (), "own")
    assert made.text.count("obs") == 1
    assert (
        '# [inputs.obs]  # 48 numbers; edge_lstm/signals/README.md\n# from = [""]  # which fields? a, b\n' in made.text
    )
    assert "nothing feeds the model's inputs obs[0] … obs[47]; [inputs] may make them: which fields? a, b" in made.notes
    assert sum("nothing feeds" in note for note in made.notes) == 2
    parse_config(made.text, "robot.toml", Path())
