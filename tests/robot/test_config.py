"""robot.toml: every key known, typed and used; every error names file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import load_config, parse_config

GOOD = """
[port]
device = "/dev/ttyACM0"
baud = 921600
[model]
file = "m.npz"
[readings]
format = "imu_wheels"
[readings.channels]
speed = "wheel_speed_left"
[action]
format = "motor_limits"
[action.torque_limit_left]
unit = "N m"
offset = 1
gain = { slip_left = -0.7 }
min = 0.2
max = 1.0
[recording]
directory = "out"
[policy]
on_reset = "keep"
"""


def parse(text: str):
    return parse_config(text, "robot.toml", Path("/somewhere"))


def test_a_full_file_is_read_as_written():
    """Every key arrives, whole numbers are fine where numbers are wanted, paths are relative to the file."""
    config = parse(GOOD)
    assert (config.port.device, config.port.baud, config.port.wait) == ("/dev/ttyACM0", 921600, False)
    assert config.model_path == Path("/somewhere/m.npz")
    assert config.channels == {"speed": "wheel_speed_left"}
    assert config.action is not None
    field = config.action.fields["torque_limit_left"]
    assert (field.offset, field.gain, field.minimum, field.maximum) == (1.0, {"slip_left": -0.7}, 0.2, 1.0)
    assert (config.recording.directory, config.recording.file, config.on_reset) == ("out", None, "keep")


def test_model_and_readings_are_enough():
    """A file with only a model and a reading format is complete: nothing is sent, nothing is recorded."""
    config = parse('[model]\nfile = "m.npz"\n[readings]\nformat = "r"')
    assert config.action is None
    assert config.recording.directory is None
    assert config.on_reset == "reset"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("baud = 921600", "bauds = 921600", ["[port] bauds", "unknown key", "'baud'"]),
        ("baud = 921600", 'baud = "fast"', ["[port] baud", "whole number", "'fast'"]),
        ("baud = 921600", "baud = true", ["[port] baud", "whole number", "true"]),
        ("baud = 921600", "baud = 0", ["[port] baud", "above zero"]),
        ("[policy]", "[polices]", ["[polices]", "unknown table", "'policy'"]),
        ('file = "m.npz"', 'path = "m.npz"', ["[model] file", "missing"]),
        ('on_reset = "keep"', 'on_reset = "keeep"', ["[policy] on_reset", "'keeep'", "'keep'"]),
        ("gain = { slip_left = -0.7 }", "gains = { slip_left = -0.7 }", ["[action.torque_limit_left] gains", "'gain'"]),
        ("gain = { slip_left = -0.7 }", 'gain = { slip_left = "x" }', ["[action.torque_limit_left.gain] slip_left"]),
        ("gain = { slip_left = -0.7 }", "gain = { slip_left = nan }", ["slip_left", "finite"]),
        ('unit = "N m"', "", ["[action.torque_limit_left] unit", "missing"]),
        ("min = 0.2", "min = 2.0", ["[action.torque_limit_left] min", "above max"]),
        ('format = "motor_limits"', 'format = "motor_limits"\nformt = "x"', ["[action] formt", "'format'"]),
        ('directory = "out"', 'directory = "out"\nfile = "x"', ["[recording]", "either directory or file"]),
        ('directory = "out"', "", ["[recording]", "either directory or file"]),
        ("[model]", "[model", ["not valid TOML", "line"]),
    ],
)
def test_a_mistake_is_named(old: str, new: str, words: list[str]):
    """One wrong line gives one sentence with the file, the table, the key and the way out."""
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new))
    for word in ["robot.toml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('device = "tcp://rover:5760"\nbaud = 115200', ["[port] baud", "means nothing for tcp://rover:5760"]),
        ('device = "udp://:14550"\ndtr = "on"', ["[port] dtr", "means nothing for udp://:14550"]),
        ('device = "udp://rover:1"\nexclusive = true', ["[port] exclusive", "leave it out"]),
        ('device = "tcp://rover:0"', ["[port] device", "ports are 1 to 65535"]),
        ('device = "can://rover:1"', ["[port] device", "there are no ports can://", "tcp://HOST:PORT"]),
    ],
)
def test_a_network_port_has_no_serial_line(keys: str, words: list[str]):
    """A key that means nothing there, or a name that is none, is an error: nothing looks obeyed that is not."""
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace('device = "/dev/ttyACM0"\nbaud = 921600', keys))
    for word in ["robot.toml", *words]:
        assert word in str(caught.value)


def test_a_network_port_is_a_port():
    """Both kinds, with the keys that they have."""
    for keys in ('device = "tcp://rover.local:5760"\nwait = true', 'device = "udp://:14550"\nexclusive = false'):
        assert parse(GOOD.replace('device = "/dev/ttyACM0"\nbaud = 921600', keys)).port.device in keys


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    """Missing, a folder, binary: a sentence with the path, not an exception of the system."""
    junk = tmp_path / "junk.toml"
    junk.write_bytes(bytes(range(256)))
    for path, word in ((tmp_path / "no.toml", "No such file"), (tmp_path, "directory"), (junk, "UTF-8")):
        with pytest.raises(ConfigError, match=word) as caught:
            load_config(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('"motor_limits"', "{}", "[action] format"),
        ("speed =", "{} =", "[readings.channels] 'nnn"),
        ('"wheel_speed_left"', "[{}]", "[readings.channels] speed"),
    ],
)
def test_a_name_as_long_as_the_file_is_told_in_a_sentence(old: str, new: str, where: str) -> None:
    """However long a key or a text is, the error is a sentence that names table and key."""
    with pytest.raises(ConfigError) as told:
        parse(GOOD.replace(old, new.format('"' + "n" * 500_000 + '"')))
    assert str(told.value).startswith(f"robot.toml: {where}")
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize("digest", ["9F2C64D01B7E5A38", "9f2c", "the one", ""])
def test_a_digest_that_no_robot_can_have_is_named(digest: str):
    """[robot] dictionary is 16 hexadecimal digits: anything else would be waited for in vain."""
    with pytest.raises(ConfigError, match=r"\[robot\] dictionary: must be 16 hexadecimal digits"):
        parse_config(f'{GOOD}\n[robot]\ndictionary = "{digest}"\n', "robot.toml", Path())


def test_a_configuration_without_end_is_refused(tmp_path: Path) -> None:
    """A file of megabytes is no robot.toml, wherever it comes from: refused by its size, also where it ends within a
    letter."""
    (tmp_path / "robot.toml").write_bytes(b"#" + "ä".encode() * (1 << 21))
    with pytest.raises(ConfigError, match="is longer than 1048576 characters"):
        load_config(tmp_path / "robot.toml")
    with pytest.raises(ConfigError, match="is longer than 1048576 characters"):
        parse_config("#" * (1 << 21), "robot.toml", tmp_path)
