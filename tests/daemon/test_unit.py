"""A service on a machine: its unit, its udev rule and the steps, looked at before anything is done."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.cli import codes, main
from edge_lstm.cli.run import command as run_command
from edge_lstm.cli.service import take
from edge_lstm.daemon import unit
from edge_lstm.daemon.unit import Service, quoted, udev_rule
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import load_config
from tests.support.robots import small_robot

PAGE = Path(unit.__file__).with_name("SERVICE.md")
BY_ID = "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10K-if00-port0"
CONFIG = small_robot.CONFIG + f'[port]\ndevice = "{BY_ID}"\n[realtime]\npriority = 50\nlock_memory = true\n'


def service(folder: Path, text: str = CONFIG, **more: Any) -> Service:
    robot = load_config(small_robot.folder(folder, text))
    given: dict[str, Any] = {"name": "edge-lstm", "user": "robot", "program": ("/opt/edge-lstm/bin/edge-lstm",)}
    return Service(robot=robot, never=codes.NEVER, **given | more)


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path):
    """`systemd-analyze verify` (where it is) has nothing to say; the command line is one that `edge-lstm run` takes;
    limits are those that [realtime] asks for; only what a person must mend is not started again."""
    made = service(tmp_path)
    found = parsed(made.unit())
    program, verb, *arguments = shlex.split(found["Service"]["ExecStart"])
    with run_command.make_context(verb, arguments) as context:
        assert context.params["wait"] is True
    assert (program, verb) == ("/opt/edge-lstm/bin/edge-lstm", "run")
    assert found["Service"]["Type"] == "notify"
    assert int(found["Service"]["LimitRTPRIO"]) == 50
    assert found["Service"]["LimitMEMLOCK"] == "infinity"
    assert found["Service"]["RestartPreventExitStatus"].split() == [str(codes.MEND)]
    assert found["Unit"]["StartLimitIntervalSec"] == "0"
    if shutil.which("systemd-analyze"):
        path = tmp_path / "edge-lstm.service"
        path.write_text(made.unit().replace("/opt/edge-lstm/bin/edge-lstm", "/bin/true"))
        verify = ["systemd-analyze", "verify", "--man=no", str(path)]
        done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_robot_that_asks_for_nothing_gets_no_limit(tmp_path: Path):
    """No priority, no locked memory: no line for them."""
    text = service(tmp_path, small_robot.CONFIG).unit()
    assert "LimitRTPRIO" not in text
    assert "LimitMEMLOCK" not in text


def test_the_service_may_do_what_robot_toml_says(tmp_path: Path):
    """It is in the group that may operate it, else it could not hand the socket over; it opens a port of a kind that
    nobody has listed; the shadow's file comes with it."""
    (tmp_path / "shadow.npz").write_bytes(b"")
    text = small_robot.CONFIG + '[port]\ndevice = "/dev/ttyTHS1"\n[daemon]\ngroup = "users"\nshadow = "shadow.npz"\n'
    made = service(tmp_path, text)
    assert "SupplementaryGroups=dialout users\n" in made.unit()
    assert "DeviceAllow=/dev/ttyTHS1 rw\n" in made.unit()
    assert made.folder / "shadow.npz" in [to for _, to in made.files()]
    assert "SupplementaryGroups=dialout\n" in service(tmp_path).unit()


def test_words_are_quoted_as_systemd_reads_them():
    """Blanks, quotes, percent and dollar signs."""
    assert quoted("/a/b.toml") == "/a/b.toml"
    assert quoted("/a b/50%/$x") == '"/a b/50%%/$$x"'
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'


def test_where_it_may_write(tmp_path: Path):
    """Recordings outside its folder are allowed by their place; a program below /home is readable."""
    text = service(tmp_path, CONFIG.replace('directory = "recordings"', 'directory = "/data/robot"')).unit()
    assert "ReadWritePaths=/data/robot\n" in text
    text = service(tmp_path, program=("/home/pi/venv/bin/edge-lstm",)).unit()
    assert "ProtectHome=read-only\n" in text


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (BY_ID, ['ENV{ID_SERIAL}=="FTDI_FT232R_USB_UART_A10K"', '{ID_MM_PORT_IGNORE}="1"', '{latency_timer}="1"']),
        ("2341:0043", ['ENV{ID_VENDOR_ID}=="2341"', 'ATTR{idProduct}=="0043"', 'ENV{ID_MM_DEVICE_IGNORE}="1"']),
        ("2341:0043:85A", ['ENV{ID_SERIAL_SHORT}=="85A"', 'ATTR{serial}=="85A"']),
    ],
)
def test_udev_knows_the_port_again(device: str, words: list[str]):
    """By vendor, product and serial number, or by the name that udev itself gave."""
    rule = udev_rule(device)
    assert all(word in rule for word in words)
    assert all(line.startswith(("#", "SUBSYSTEM", "ACTION")) for line in rule.splitlines())


@pytest.mark.parametrize("device", ["/dev/ttyACM0", "tcp://10.0.0.2:5760", "udp://:14550", '2341:0043:"; RUN+="x'])
def test_udev_is_given_nothing_that_it_could_not_know(device: str):
    """A number of the day, a network port; and nothing of a name becomes a rule of its own."""
    rule = udev_rule(device)
    assert "RUN" not in "".join(line for line in rule.splitlines() if not line.startswith("#"))
    assert rule == "" or device.startswith("2341")


def test_a_dry_run_prints_every_step_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    """The unit, the rule, each command and each copy, in order; not one file is written, not one program started."""
    config = small_robot.folder(tmp_path, CONFIG)
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("started something"))
    assert main(["service", "install", str(config), "--dry-run"]) == codes.DONE
    said = capsys.readouterr().out
    order = ["useradd", "robot.toml → /var/lib", "model.npz → /var/lib", "70-edge-lstm.rules", "[Service]", "compile"]
    order += ["systemd-analyze verify", "daemon-reload", "systemctl enable"]
    places = [said.index(word) for word in order]
    assert places == sorted(places)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.npz", "robot.toml"]
    assert main(["service", "uninstall", "--dry-run"]) == codes.DONE
    assert "/var/lib/edge-lstm stays, with its recordings" in capsys.readouterr().out


def test_a_port_in_tmp_is_seen_by_no_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A simulated robot's link, as in the example: said before somebody waits for it."""
    config = small_robot.folder(tmp_path, re.sub('device = ".*"', 'device = "/tmp/robot"', CONFIG))
    assert main(["service", "install", str(config), "--dry-run"]) == codes.DONE
    assert "/tmp/robot is seen by no service" in capsys.readouterr().err


def test_installed_and_uninstalled_on_a_machine_of_the_test_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files where they belong; a robot.toml that was another one is kept; uninstalling takes unit and rule alone."""
    for name in ("UNITS", "RULES", "STATE"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(unit, name, tmp_path / name)
    ran: list[list[str]] = []

    def ran_well(command: Any, **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(list(command))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("subprocess.run", ran_well)
    monkeypatch.setattr("shutil.chown", lambda *a: None)
    (tmp_path / "given").mkdir()
    made = service(tmp_path / "given")
    made.folder.mkdir()
    made.config.write_text("# before")
    for step in made.install():
        if "compiled" in step.what or "folder of the compiled" in step.what:
            continue  # below /var/cache
        take(step)
    assert made.config.read_text() == CONFIG
    assert made.config.with_name("robot.toml.before").read_text() == "# before"
    assert (made.folder / "model.npz").is_file()
    assert made.unit_file.read_text() == made.unit()
    assert "ID_MM_PORT_IGNORE" in made.rule_file.read_text()
    assert ["systemctl", "enable", "edge-lstm.service"] in ran
    for step in made.uninstall():
        take(step)
    assert not made.unit_file.exists()
    assert not made.rule_file.exists()
    assert made.config.exists()


def test_what_cannot_be_copied_is_said(tmp_path: Path):
    """A model outside robot.toml's folder would not be found from its copy."""
    (tmp_path / "a").mkdir()
    made = service(tmp_path / "a", CONFIG.replace('"model.npz"', '"../a/model.npz"'))
    with pytest.raises(ConfigError, match="lies outside its folder"):
        list(made.install())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["install", "CONFIG", "--name", "../x"], "is edge-lstm, or edge-lstm-"),
        (["uninstall", "--name", "edge-lstm-none"], "there is no service edge-lstm-none"),
    ],
)
def test_mistakes(words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A sentence and code 2 before anything is done."""
    config = str(small_robot.folder(tmp_path, CONFIG))
    assert main(["service", *(config if word == "CONFIG" else word for word in words)]) == codes.MEND
    assert sentence in capsys.readouterr().err


def test_the_page_shows_the_unit_and_every_exit_code():
    """The page's list of directives is the unit's, and its table of codes is the program's."""
    text = PAGE.read_text()
    for key in re.findall(r"(?m)^([A-Z][A-Za-z]+)=", unit.UNIT):
        if key not in ("Description", "Documentation", "After", "WantedBy", "Group", "UMask"):
            assert f"`{key}" in text, key
    shown = {int(row[1]): (row[2], row[3]) for row in re.finditer(r"(?m)^\| (\d+) \| (.*?) \| (yes|no) \|$", text)}
    never = (codes.DONE, *codes.NEVER)
    assert shown == {code: (what, "no" if code in never else "yes") for code, what in codes.MEANINGS.items()}


def test_the_program_is_this_one():
    """The script beside this Python, or its module."""
    words = unit.program()
    assert words[0] == str(Path(sys.executable).with_name("edge-lstm")) or words == (sys.executable, "-m", "edge_lstm")


def test_a_program_in_a_closed_home_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pipx installs into a home that only its owner may enter: the service's user would be refused there."""
    home, python = Path("/home/pi"), Path("/home/pi/venv/bin/python")
    modes = {home: 0o40755}
    monkeypatch.setattr(Path, "stat", lambda path, **_: os.stat_result((modes.get(path, 0o40755), *[0] * 9)))
    monkeypatch.setattr(sys, "executable", str(python))
    assert unit.closed((str(python),)) is None
    modes[home] = 0o40700
    assert unit.closed((str(python),)) == home
    assert unit.closed(("/usr/bin/true",)) == home  # the interpreter counts, too
    monkeypatch.undo()
    monkeypatch.setattr(unit, "closed", lambda words: home)
    assert main(["service", "install", str(small_robot.folder(tmp_path, CONFIG)), "--dry-run"]) == codes.DONE
    assert "only its owner may enter /home/pi, where this program lies" in capsys.readouterr().err
