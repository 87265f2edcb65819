"""A legged robot with a firmware of its own: two readings at two rates, twelve joints; robot.toml alone makes its
policy's observations and targets (`tools/bench/legged.py`), and the same by hand from what a recording holds.

    python -m tests.support.robots.legged --link LINK --truth TRUTH.jsonl

Its rule: the twin sees the recorded readings alone, in their order: the command's latest value counts for as long as
the file says, and before and after it the command is 0.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.robot.config import RobotConfig, link_of, parse_config
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.recordings.contents import OUTPUTS, READINGS
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.simulator.dialects.robot_side import robot_side
from firmware_bridge.simulator.played import Played, Row, Table
from firmware_bridge.simulator.pty import PATIENCE_S, Terminal, serve_board
from firmware_bridge.simulator.truth import PlayedTruth
from tools.bench.legged import FIELDS, JOINTS, POSE, TABLES, UNITS, ByHand, policy, readings

IMU_HZ, COMMAND_HZ, AGE_MS = 200, 20, 500
IMU = [name for name in FIELDS if not name.startswith("cmd.")]
_FIELDS = ["seq", "us", *(f"{name} {UNITS.get(name, '')}".strip() for name in IMU)]
_JOINTS = ", ".join(
    f'j{k} = {{ unit = "rad", min = {angle - 0.5:.2f}, max = {angle + 0.5:.2f}, safe = {angle} }}'
    for k, angle in enumerate(POSE)
)
LINK = f"""
[link]
dialect = "struct"
[link.reading.imu]
head = "AA 55"
layout = "<HI{len(IMU)}f"
fields = {_FIELDS}
counter = "seq"
time = "us"
checksum = "crc16-modbus"
rate_hz = {IMU_HZ}
[link.reading.cmd]
head = "AA 56"
layout = "<3f"
fields = ["vx m/s", "vy m/s", "yaw rad/s"]
checksum = "crc16-modbus"
[link.action.joints]
head = "A5 5A"
layout = "<{JOINTS}f"
fields = {{ {_JOINTS} }}
checksum = "xor"
repeat_ms = 100
watchdog_ms = 500
"""
CONFIG = f"""
[model]
any_rate = true  # an action of the first reading, too
file = "model.npz"
[readings]
format = "imu"
{TABLES}
[action]
format = "joints"
from = "targets"
{LINK}
"""


def folder(path: Path) -> Path:
    """model.npz and robot.toml; returns the path of robot.toml."""
    save(policy(), path / "model.npz")
    (path / "robot.toml").write_text(CONFIG)
    return path / "robot.toml"


def config() -> RobotConfig:
    """robot.toml as it is read."""
    return parse_config(CONFIG, "robot.toml", Path())


def rows() -> Iterator[Row]:
    """Without end: imu at 200 Hz; commands at 20 Hz from 0.3 s on, and none in the second half of every two seconds."""
    random, number = np.random.default_rng(8), 0
    command = [name.startswith("cmd.") for name in FIELDS]
    while True:
        for raw in readings(random, 512):
            t_us = (number + 1) * 1_000_000 // IMU_HZ
            if number % (IMU_HZ // COMMAND_HZ) == 0 and number >= 60 and t_us % 2_000_000 < 1_000_000:
                yield Row(t_us, "cmd", tuple(raw[command].tolist()))
            yield Row(t_us, "imu", tuple(raw[~np.array(command)].tolist()))
            number += 1


class Walker(Played):
    """The robot on its power switch, as a simulated port wants it, too."""

    seed = 8

    def __init__(self) -> None:
        link = link_of(LINK, "robot.toml", Path()).open()
        assert isinstance(link, Dialect)
        self.safe = {name: item.form.safe_action().values for name, item in link.actions.items()}
        super().__init__(robot_side(link), Table(rows), safe=self.safe, watchdog_us=500_000)


def outputs(recording: Path) -> npt.NDArray[np.float64]:
    """(readings, 12) targets that a run has recorded."""
    names = [f"targets[{k}]" for k in range(JOINTS)]
    return np.array([[tree[n] for n in names] for _, tree in open_recording(recording).values(OUTPUTS)])


class Twin:
    """What the policy makes of a recording's readings, in NumPy: for each of them its targets, and how often the
    command was 0 because none had come or it was too old."""

    def __init__(self, recording: Path, model: Model) -> None:
        hand, latest, then_ns = ByHand(model), np.zeros(3), None
        targets: list[npt.NDArray[np.float64]] = []
        self.without = 0
        for topic, t_ns, tree in open_recording(recording).trees({READINGS + "imu", READINGS + "cmd"}):
            if topic == READINGS + "cmd":
                latest, then_ns = np.array([tree[name] for name in ("vx", "vy", "yaw")]), t_ns
                continue
            known = then_ns is not None and t_ns - then_ns <= AGE_MS * 1_000_000
            self.without += not known
            imu, command = np.array([tree[name] for name in IMU]), latest if known else np.zeros(3)
            targets.append(hand.act(hand.observe(np.concatenate([imu[:7], command, imu[7:]]))))
        self.targets = np.array(targets)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--link", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    options = parser.parse_args()
    board = Walker()
    truth = PlayedTruth(options.truth, {"imu": IMU, "cmd": ["vx", "vy", "yaw"]}, {}, board.safe)
    board.on_event = truth.write
    told = False

    def stop(number: int, frame: object) -> None:
        nonlocal told
        told = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    serve_board(board, Terminal(options.link, board.side.end, PATIENCE_S), stop=lambda: told)
    truth.close()


if __name__ == "__main__":
    main()
