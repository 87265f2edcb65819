"""Sketches of ours on an emulated Arduino, as tests find them: what is missing is a skip that names the packages.

Its rule: the sketches in arduino/ know nothing of this project; they write and read text as sketches do.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.core.storage import save
from tests.support.robots import stock
from tests.support.robots.toolchain import SOURCES
from tools.arduino.board import Arduino, build, missing

SKETCHES = Path(__file__).with_name("arduino")
MOTOR = """
[model]
file = "model.npz"
[readings]
format = "state"
[action]
format = "motor"
[action.drive]
unit = ""
gain = { y0 = -0.9 }
offset = 0.05
[link]
dialect = "lines"
device = "motor"
[link.reading.state]
shape = "csv"
fields = ["ms", "angle rad", "speed rad/s", "drive", "timeouts"]
time = "ms"
rate_hz = 100
[link.action.motor]
line = "m {drive:.3f}\\n"
fields = { drive = { min = -1, max = 1, safe = 0 } }
repeat_ms = 100
watchdog_ms = 500
"""
IMU = """
[model]
file = "model.npz"
[readings]
format = "imu"
[link]
dialect = "lines"
device = "imu"
[link.reading.imu]
shape = "pairs"
fields = ["us", "pitch rad", "gyro_y rad/s", "accel_z m/s^2"]
time = "us"
rate_hz = 100
"""
CART = """
[model]
file = "model.npz"
[readings]
format = "wheels"
[action]
format = "motor_limits"
[action.torque_limit_left]
unit = "N m"
offset = 0.5
gain = { y0 = 0.3 }
[action.torque_limit_right]
unit = "N m"
offset = 0.5
"""


def motor(folder: Path) -> Path:
    """model.npz and robot.toml for motor_csv: a controller of the angle that overshoots, so the drive never rests.
    Returns the path of robot.toml."""
    inputs = (Channel("angle", "rad", scale=0.3), Channel("speed", "rad/s", scale=12.0))
    return _files(folder, MOTOR, inputs)


def imu(folder: Path) -> Path:
    """The same for imu_pairs, which takes no actions."""
    return _files(folder, IMU, (Channel("pitch", "rad"), Channel("gyro_y", "rad/s"), Channel("accel_z", "m/s^2")))


def _files(folder: Path, config: str, inputs: tuple[Channel, ...]) -> Path:
    save(stock.model(inputs, 1), folder / "model.npz")
    (folder / "robot.toml").write_text(config)
    return folder / "robot.toml"


@contextmanager
def uno(folder: Path, sketch: str) -> Iterator[Arduino]:
    """A board with a sketch, running for the time of the block behind folder/port."""
    with Arduino(_built(sketch), folder / "port") as board:
        yield board


@cache
def _built(sketch: str) -> Path:
    """The image of one of our sketches, built once for each process, in a folder that goes with it."""
    folder = tempfile.TemporaryDirectory(prefix="sketch-")
    atexit.register(folder.cleanup)
    return build(_workshop(Path(folder.name)), SKETCHES / f"{sketch}.ino")


@contextmanager
def cart(folder: Path) -> Iterator[Arduino]:
    """The example sketch of our own C library on a Mega, running for the time of the block behind folder/port; with
    model.npz and robot.toml that drive it."""
    inputs = (Channel("speed_left", "rad/s"), Channel("speed_right", "rad/s"), Channel("battery", "V"))
    _files(folder, CART, inputs)
    image = build(_workshop(folder), SOURCES / "examples" / "robot" / "robot.ino", "mega", [SOURCES / "bridge.c"])
    with Arduino(image, folder / "port", "mega") as board:
        yield board


def _workshop(folder: Path) -> Path:
    if packages := missing():
        pytest.skip(f"no emulated Arduino (Debian: apt install {' '.join(packages)})")
    work = folder / "build"
    work.mkdir(exist_ok=True)
    return work
