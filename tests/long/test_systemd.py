"""A run as a service under a real systemd: installed, watched, started again where that helps, and taken away."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from edge_lstm.cli import codes
from firmware_bridge.recordings.reader import open_recording
from tests.support.robots import small_robot
from tests.support.system.real_systemd import SOURCE, RealSystemd, why_not

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

UNIT = "edge-lstm.service"
LINK = "/run/robot/port"
CONFIG = f"""{small_robot.CONFIG}
keyframe = "0.3 s"
resume = "30 s"
[port]
device = "{LINK}"
[realtime]
priority = 20
lock_memory = true
"""
# The same program with a loop that hangs while a file is there.
HANGING = """
import sys, time
from pathlib import Path
from edge_lstm.cli import main
from edge_lstm.robot.controller import Controller
handle = Controller.handle
def hangs_on_purpose(self, event):
    while Path("/run/robot/hang").exists():
        time.sleep(0.01)
    return handle(self, event)
Controller.handle = hangs_on_purpose
sys.exit(main(["run", "/var/lib/edge-lstm/robot.toml", "--wait"]))
"""


@pytest.fixture(scope="module")
def systemd() -> Iterator[RealSystemd]:
    with RealSystemd() as made:
        yield made


@pytest.fixture(scope="module")
def installed(systemd: RealSystemd, tmp_path_factory: pytest.TempPathFactory) -> RealSystemd:
    """`edge-lstm service install` of a robot.toml, as root in there."""
    given = small_robot.folder(tmp_path_factory.mktemp("given"), CONFIG)
    shutil.copytree(given.parent, systemd.root / "run/given")
    (systemd.root / "run/robot").mkdir(mode=0o755)
    program = (sys.executable, "-m", "edge_lstm")
    words = systemd.done(*program, "service", "install", "/run/given/robot.toml", PYTHONPATH=SOURCE)
    assert "installed; it starts with the machine" in words
    drop_in(systemd, "tree", f"[Service]\nEnvironment=PYTHONPATH={SOURCE}\nWatchdogSec=4\n")
    return systemd


def drop_in(systemd: RealSystemd, name: str, text: str) -> None:
    folder = systemd.root / f"etc/systemd/system/{UNIT}.d"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conf").write_text(text)
    systemd.done("systemctl", "daemon-reload")


@contextlib.contextmanager
def robot(systemd: RealSystemd) -> Iterator[None]:
    """A simulated robot in there, whose port the service's user may open as if it were a board's."""
    command = systemd.inside(sys.executable, "-m", "edge_lstm", "simulate", "--link", LINK, PYTHONPATH=SOURCE)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            systemd.until(lambda: systemd.run("chgrp", "dialout", LINK).returncode == 0, "the robot is there")
            systemd.done("chmod", "660", LINK)
            yield
        finally:
            systemd.run("pkill", "-TERM", "-f", f"simulate --link {LINK}")
            process.wait(60)
            systemd.run("rm", "-f", LINK)


def journal(systemd: RealSystemd) -> list[dict[str, str]]:
    lines = systemd.done("journalctl", "-u", UNIT, "-o", "json", "--no-pager").splitlines()
    return [json.loads(line) for line in lines]


def said(systemd: RealSystemd, text: str) -> list[int]:
    """The priorities of the lines in the journal that hold this."""
    return [int(one["PRIORITY"]) for one in journal(systemd) if text in str(one.get("MESSAGE"))]


def restarts(systemd: RealSystemd) -> int:
    return int(systemd.shows(UNIT, "NRestarts"))


def status(systemd: RealSystemd) -> str:
    return systemd.shows(UNIT, "StatusText")


def keyframes(systemd: RealSystemd) -> int:
    """Of the latest recording, as far as it is written."""
    files = (systemd.root / "var/lib/edge-lstm/recordings").glob("*.mcap")
    return len(list(open_recording(max(files, key=lambda path: path.stat().st_mtime_ns)).keyframes()))


def test_it_runs_says_how_it_is_and_waits_for_a_robot_that_is_gone(installed: RealSystemd):
    """READY and a status with a robot and without one; a robot that is unplugged for three times the watchdog's
    patience starts nothing again; what happens is in the journal with its priority; SIGTERM ends it with code 0."""
    systemd = installed
    with robot(systemd):
        systemd.done("systemctl", "start", UNIT)
        assert systemd.shows(UNIT, "ActiveState") == "active"
        systemd.until(lambda: status(systemd).startswith("running; "), "it runs")
        systemd.until(lambda: said(systemd, "small on /run/robot/port, recording to"), "the journal has it")
    systemd.until(lambda: "waiting for /run/robot/port" in status(systemd), "it waits")
    time.sleep(12)
    assert (restarts(systemd), systemd.shows(UNIT, "ActiveState")) == (0, "active")
    with robot(systemd):
        systemd.until(lambda: said(systemd, "  back after "), "it is back")
        systemd.done("systemctl", "stop", UNIT)
    assert said(systemd, "the link was lost: ") == [4]
    assert said(systemd, "  back after ") == [5]
    assert set(said(systemd, "latency from bytes arrived")) == {6}
    assert (systemd.shows(UNIT, "Result"), systemd.shows(UNIT, "ExecMainStatus")) == ("success", "0")
    owner = systemd.done("stat", "-c", "%U", *systemd.done("sh", "-c", "ls /var/lib/edge-lstm/recordings/*").split())
    assert set(owner.split()) == {"edge-lstm"}


def test_a_robot_that_is_not_there_at_the_start_is_waited_for(installed: RealSystemd):
    """READY without a robot, and no new start."""
    systemd = installed
    systemd.done("systemctl", "start", UNIT)
    systemd.until(lambda: "waiting for /run/robot/port" in status(systemd), "it waits")
    time.sleep(5)
    assert (restarts(systemd), systemd.shows(UNIT, "ActiveState")) == (0, "active")
    systemd.done("systemctl", "stop", UNIT)


def test_what_crashed_is_started_again(installed: RealSystemd):
    """kill -9: another process a second later, the robot is driven again, and the memory goes on from the recording."""
    systemd = installed
    with robot(systemd):
        systemd.done("systemctl", "start", UNIT)
        before = systemd.shows(UNIT, "MainPID")
        systemd.until(lambda: status(systemd).startswith("running; "), "it runs")
        systemd.until(lambda: keyframes(systemd) > 0, "the recording has a keyframe")
        resumed = len(said(systemd, "the memory goes on from "))
        systemd.done("systemctl", "kill", "-s", str(int(signal.SIGKILL)), UNIT)
        systemd.until(lambda: restarts(systemd) == 1 and status(systemd).startswith("running; "), "it runs again")
        assert systemd.shows(UNIT, "MainPID") != before
        assert len(said(systemd, "the memory goes on from ")) == resumed + 1
        systemd.done("systemctl", "stop", UNIT)


def test_a_loop_that_hangs_is_started_again_and_says_where_it_hung(installed: RealSystemd):
    """While the other threads go on, the watchdog is not fed: SIGABRT, the place in the journal, a new start."""
    systemd = installed
    (systemd.root / "run/robot/hanging.py").write_text(HANGING)
    drop_in(systemd, "hanging", f"[Service]\nExecStart=\nExecStart={sys.executable} /run/robot/hanging.py\n")
    hang = systemd.root / "run/robot/hang"
    with robot(systemd):
        systemd.done("systemctl", "start", UNIT)
        systemd.until(lambda: status(systemd).startswith("running; "), "it runs")
        hang.touch()
        systemd.until(lambda: restarts(systemd) == 1, "the watchdog bites")
        hang.unlink()
        systemd.until(lambda: status(systemd).startswith("running; "), "it runs again")
        assert said(systemd, "hangs_on_purpose")
        systemd.done("systemctl", "stop", UNIT)
    (systemd.root / f"etc/systemd/system/{UNIT}.d/hanging.conf").unlink()
    systemd.done("systemctl", "daemon-reload")


def test_what_a_person_must_mend_is_not_started_again(installed: RealSystemd):
    """A key that nobody knows: code 2, one error in the journal, and no second start; mended, it starts."""
    systemd = installed
    config = systemd.root / "var/lib/edge-lstm/robot.toml"
    text = config.read_text()
    config.write_text(text.replace("[port]", "[prot]"))
    assert systemd.run("systemctl", "start", UNIT).returncode != 0
    time.sleep(3)
    assert (systemd.shows(UNIT, "ActiveState"), restarts(systemd)) == ("failed", 0)
    assert systemd.shows(UNIT, "ExecMainStatus") == str(codes.MEND)
    assert said(systemd, "[prot]") == [3]
    config.write_text(text)
    systemd.done("systemctl", "start", UNIT)
    systemd.done("systemctl", "stop", UNIT)


def test_uninstalled_only_what_was_made_for_it_is_gone(installed: RealSystemd):
    """Unit and rule go; robot.toml and recordings stay."""
    systemd = installed
    systemd.done(sys.executable, "-m", "edge_lstm", "service", "uninstall", PYTHONPATH=SOURCE)
    assert systemd.run("systemctl", "cat", UNIT).returncode != 0
    assert "robot.toml" in systemd.done("ls", "/var/lib/edge-lstm")
    assert systemd.done("sh", "-c", "ls /var/lib/edge-lstm/recordings/*.mcap").split()
