"""A dialect of fifty lines in a package of somebody else: installed, checked, run, replayed to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.core.storage import save
from tests.support.robots import small_robot

pytestmark = pytest.mark.long
PACKAGE = Path(__file__).parents[1] / "additions" / "rover"
EDGE_LSTM = (sys.executable, "-m", "edge_lstm")

ROBOT = '''
"""The rover: 100 readings a second on a pseudo-terminal; what it is told is printed at the end."""
import os, select, struct, sys, time, tty
master, slave = os.openpty()
tty.setraw(slave)
os.symlink(os.ttyname(slave), sys.argv[1])
begin, number, told = time.monotonic(), 0, b""
while time.monotonic() - begin < float(sys.argv[2]):
    if select.select([master], [], [], max(0, begin + number / 100 - time.monotonic()))[0]:
        told += os.read(master, 4096)
    if time.monotonic() >= begin + number / 100:
        body = b"\\x06" + struct.pack(">Hhh", number & 0xFFFF, number % 200, -(number % 50))
        os.write(master, b"~" + body + bytes([sum(body) & 255]))
        number += 1
print(told.hex())
'''

CONFIG = """
[link]
dialect = "rover"
[link.reading.wheels]
fields = ["seq", "left mm/s", "right mm/s"]
counter = "seq"
counter_bits = 16
rate_hz = 100
[link.action.drive]
fields = { left = { min = -500, max = 500, safe = 0 }, right = { min = -500, max = 500, safe = 7 } }
watchdog_ms = 300
[model]
file = "model.npz"
[readings]
format = "wheels"
[action]
format = "drive"
[action.left]
unit = ""
gain = { a = 100.0 }
[action.right]
unit = ""
gain = { b = -100.0 }
"""


def test_a_package_of_its_own(tmp_path: Path) -> None:
    """pip installs it beside ours; its entry point is the dialect's name; what was recorded verifies, and the rover's
    last command is its safe one."""
    place = tmp_path / "installed"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", place)
    copy = tmp_path / "rover"
    copy.mkdir()
    for name in ("pyproject.toml", "rover_dialect.py"):
        (copy / name).write_bytes((PACKAGE / name).read_bytes())
    subprocess.run((*pip, copy), check=True, timeout=120)
    lines = [line for line in (place / "rover_dialect.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 50
    model = small_robot.model((Channel("left", "mm/s", scale=100.0), Channel("right", "mm/s", scale=100.0)),
                              (Channel("a"), Channel("b")))  # fmt: skip
    save(model, tmp_path / "model.npz")
    (tmp_path / "robot.toml").write_text(CONFIG)
    (tmp_path / "rover.py").write_text(ROBOT)
    port, env = tmp_path / "port", os.environ | {"PYTHONPATH": os.pathsep.join([str(place), *sys.path])}
    robot = subprocess.Popen(
        (sys.executable, tmp_path / "rover.py", port, "15"), stdout=subprocess.PIPE, text=True, env=env
    )
    while not port.is_symlink():
        assert robot.poll() is None
    run = (*EDGE_LSTM, "run", "robot.toml", "--port", port, "--seconds", "3", "--record", "run.mcap", "--json")
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["readings"] == summary["steps"] > 200
    assert (summary["lost"], summary["damaged"], summary["device"]) == (0, {}, "rover rover")
    replay = (*EDGE_LSTM, "replay", "run.mcap", "--verify", "--json")
    done = subprocess.run(replay, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["comparison"]["same"]
    assert not [note for note in again["notes"] if "another one" in note]
    (place / "rover_dialect.py").write_text((place / "rover_dialect.py").read_text() + "# another file\n")
    done = subprocess.run(replay, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert [note for note in json.loads(done.stdout)["notes"] if "is another one than when this was recorded" in note]
    robot.send_signal(signal.SIGCONT)
    told = bytes.fromhex(robot.communicate(timeout=60)[0].strip())
    assert told.endswith(b"~\x04\x00\x00\x00\x07" + bytes([0x0B]))
    outputs = np.frombuffer(told[2:6], ">i2")
    assert np.abs(outputs).max() <= 500
