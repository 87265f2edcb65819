"""The tutorial's log, edge_lstm/tutorial/imu.csv: what an IMU on the simulated robot measures, and how fast its wheels
really turn.

    python -m tools.train.tutorial

Then `python train.py` in that folder, with PyTorch, makes the files that the tutorial goes on with.
Its rule: seed, rate and length stand here, and give the same file each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.robot import READING_FIELDS

LOG = Path(__file__).resolve().parents[2] / "edge_lstm" / "tutorial" / "imu.csv"
SEED, RATE_HZ, SECONDS = 3, 100.0, 60
SENSORS = ("gyro_z", "accel_x", "accel_y", "accel_z")


def rows(seconds: float = SECONDS) -> Iterator[str]:
    """The lines of the file: a title, then the time in s, what the IMU measures, and the mean speed of both treads."""
    names = [name for name, _ in READING_FIELDS]
    places = [names.index(name) for name in SENSORS]
    titles = [f"{name} ({unit})" for name, unit in READING_FIELDS if name in SENSORS]
    yield ",".join(["time (s)", *titles, "wheel_speed (rad/s)"])
    drive = Drive(SEED, RATE_HZ)
    for k in range(round(seconds * RATE_HZ)):
        values = drive.advance()
        speed = (abs(drive.vehicle.left.speed) + abs(drive.vehicle.right.speed)) / 2
        measured = [f"{values[place]:.3f}" for place in places]
        yield ",".join([f"{k / RATE_HZ:.2f}", *measured, f"{speed:.2f}"])


if __name__ == "__main__":
    LOG.write_text("".join(f"{row}\n" for row in rows()), encoding="utf-8")
