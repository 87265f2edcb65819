"""A mistake in [link] ends `run` and `check` with exit code 2 and a sentence, before a byte is sent."""

from __future__ import annotations

import os
import select
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_lstm.cli import main
from tests.support.robots import small_robot

LINES = """
[link]
dialect = "lines"
[link.reading.imu]
shape = "csv"
fields = ["ms", "wheel_speed_left rad/s"]
time = "ms"
[link.action.motor]
fields = { left = { min = -1, max = 1 } }
line = "m {left:.3f}\\n"
safe = "m 0\\n"
"""
STRUCT = """
[link]
dialect = "struct"
[link.reading.imu]
head = "AA 55"
layout = "<BI2f"
fields = ["seq", "ms", "gx rad/s", "gy rad/s"]
checksum = "xor"
counter = "seq"
time = "ms"
"""
POLLED = """
[link]
dialect = "feetech"
servos = [1, 2]
[link.reading.joints]
registers = ["present_position"]
rate_hz = 50
"""
MAVLINK = """
[link]
dialect = "mavlink"
[link.reading.imu]
message = "HIGHRES_IMU"
fields = ["xacc"]
rate_hz = 100
"""
# file, what stands in it, what stands there instead, what the sentence says: table, key, reason, the nearest name
MISTAKES = [
    (LINES, '"lines"', '"line"', "[link] dialect: 'line' is unknown; did you mean 'lines'?"),
    (LINES, 'dialect = "lines"', 'dialekt = "lines"', "[link] dialekt: unknown key; did you mean 'dialect'?"),
    (LINES, '"csv"', '"cvs"', "[link.reading.imu] shape: 'cvs' is unknown; did you mean 'csv'?"),
    (LINES, 'shape = "csv"', "", "[link.reading.imu] shape: is missing"),
    (LINES, '"ms", "wheel', '"ms", "ms", "wheel', "[link.reading.imu] fields: names 'ms' twice"),
    (LINES, 'time = "ms"', 'time = "msec"', "[link.reading.imu] time: there is no field 'msec'; did you mean 'ms'?"),
    (LINES, 'time = "ms"', 'time = "wheel_speed_left"', "[link.reading.imu] time: nothing says in which unit"),
    (LINES, "[link.action", "limits = { wheel_speed_left = [5, -5] }\n[link.action", "are reversed: 5 is above -5"),
    (LINES, "[link.action", "limits = { ms = [5, 6] }\n[link.action", "[link.reading.imu] limits: 'ms'"),
    (LINES, "[link.action", "rate_hz = -1\n[link.action", "[link.reading.imu] rate_hz"),
    (LINES, "[link.action", 'checksum = "nema"\n[link.action', "did you mean 'nmea'?"),
    (LINES, 'safe = "m 0\\n"', "", "safe"),
    (LINES, "{left:.3f}", "{lft:.3f}", "did you mean 'left'?"),
    (LINES, "m {left:.3f}\\n", "m\\n", "[link.action.motor] line"),
    (LINES, "{left:.3f}\\n", "{left:.3f}", "[link.action.motor] line"),
    (LINES, "min = -1, max = 1", "min = 1, max = -1", "min: 1 is above max = -1"),
    (LINES, "min = -1, ", "", "[link.action.motor.fields.left] min: is missing"),
    (LINES, 'safe = "m', 'watchdog_ms = -1\nsafe = "m', "[link.action.motor] watchdog_ms: must be"),
    (LINES, 'safe = "m', 'repeat_ms = 900\nwatchdog_ms = 500\nsafe = "m', "[link.action.motor] repeat_ms"),
    (LINES, "[link.reading.imu]", "[link.readings.imu]", "[link] readings: unknown"),
    (STRUCT, '"xor"', '"xorr"', "[link.reading.imu] checksum: 'xorr' is unknown; did you mean 'xor'?"),
    (STRUCT, '"<BI2f"', '"<BIf"', "[link.reading.imu] fields"),
    (STRUCT, '"<BI2f"', '"BI2f"', "[link.reading.imu] layout"),
    (STRUCT, '"<BI2f"', '"<BI2w"', "[link.reading.imu] layout"),
    (STRUCT, '"AA 55"', '"AA 5"', "[link.reading.imu] head"),
    (STRUCT, 'head = "AA 55"', "", "[link.reading.imu] head"),
    (STRUCT, 'counter = "seq"', 'counter = "sek"', "there is no field 'sek'; did you mean 'seq'?"),
    (STRUCT, 'counter = "seq"', 'counter = "gx"', "[link.reading.imu] counter"),
    (STRUCT, 'time = "ms"', 'time = "seq"', "[link.reading.imu] time"),
    (STRUCT, "[link.reading.imu]", "[link.reading.imu]\nwhere = { len = 4 }", "[link.reading.imu] where"),
    (STRUCT, "[link.reading.imu]", "[link.reading.imu]\nscale = { gx = 0 }", "[link.reading.imu] scale: of 'gx' is 0"),
    (STRUCT, "[link.reading.imu]", '[link.reading.imu]\nlimits = { gx = ["a", "b"] }', "[link.reading.imu.limits] gx"),
    (POLLED, "rate_hz = 50", "", "[link.reading.joints] rate_hz"),
    (POLLED, "[1, 2]", "[1, 1]", "[link] servos"),
    (POLLED, "[1, 2]", "[1, 900]", "[link] servos"),
    (POLLED, '"present_position"', '"present_positon"', "did you mean 'present_position'?"),
    (POLLED, '"feetech"', '"fetech"', "[link] dialect: 'fetech' is unknown; did you mean 'feetech'?"),
    (MAVLINK, "HIGHRES_IMU", "HIGHRES_IMUU", "did you mean 'HIGHRES_IMU'?"),
    (MAVLINK, '"xacc"', '"xac"', "did you mean 'xacc'?"),
    (MAVLINK, "rate_hz = 100", "rate_hz = 100\nsystem = 1", "[link.reading.imu] system: unknown key"),
    (MAVLINK, '"mavlink"', '"mavlink"\nsystem = 900', "[link] system"),
]


@pytest.fixture
def port() -> Iterator[tuple[int, str]]:
    """The robot's end of a pseudo-terminal, and the name of the other end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("file", "right", "wrong", "sentence"),
    MISTAKES,
    ids=[f"{n}-{wrong}" for n, (_, _, wrong, _) in enumerate(MISTAKES)],
)
def test_a_mistake_is_a_sentence_and_nothing_is_sent(
    file: str, right: str, wrong: str, sentence: str, tmp_path: Path, port: tuple[int, str], capsys
) -> None:
    """Forty of them: table, key, reason and nearest name, on one line that names the file; exit code 2 of both
    commands; the robot's end of the port has seen no byte."""
    small_robot.folder(tmp_path)
    assert right in file
    config = tmp_path / "robot.toml"
    rest = '[model]\nfile = "model.npz"\n[readings]\nformat = "imu"\n'
    config.write_text(file.replace(right, wrong, 1) + rest)
    master, name = port
    for command in (["run", str(config), "--port", name, "--no-record"], ["check", str(config)]):
        assert main(command) == 2
        said = capsys.readouterr()
        (line,) = [line for line in (said.out + said.err).splitlines() if "[link" in line][:1]
        assert f"{config}: [link" in line
        assert sentence in said.out + said.err
    assert not select.select([master], [], [], 0)[0]
