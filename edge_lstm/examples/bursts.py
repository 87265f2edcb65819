"""Drives of the simulated robot and the bursts in which its readings get lost.

Its rule: everything follows from a seed. A loss is a burst: readings in a row, as with a loose plug or a busy radio.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel
from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.robot import READING_FIELDS

RATE_HZ = 200.0
SHARE_LOST = 0.3
MEAN_BURST = 8  # readings: 40 ms
TORQUE_LIMIT = 0.6  # N m
# What shows how the robot moves; the accelerometer is mostly shaking, which nothing predicts.
NAMES = ("wheel_speed_left", "wheel_speed_right", "current_left", "current_right", "duty_left", "duty_right", "gyro_z")
CHANNELS = tuple(Channel(name, unit) for name, unit in READING_FIELDS if name in NAMES)
_PLACES = [k for k, (name, _) in enumerate(READING_FIELDS) if name in NAMES]


def drive(seed: int, seconds: float) -> npt.NDArray[np.float32]:
    """(T, 7) readings of one drive, in the order of CHANNELS."""

    robot = Drive(seed, RATE_HZ)
    robot.torque_limits = (TORQUE_LIMIT, TORQUE_LIMIT)
    readings = np.array([robot.advance() for _ in range(round(seconds * RATE_HZ))], np.float32)
    return readings[:, _PLACES]


def bursts(count: int, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(count,) True where a reading is lost: bursts of geometric length, MEAN_BURST on average, SHARE_LOST in all."""
    stop = 1 / MEAN_BURST
    start = stop * SHARE_LOST / (1 - SHARE_LOST)
    draws = random.random(count)
    lost = np.zeros(count, np.bool_)
    now = False
    for k, draw in enumerate(draws):
        now = draw >= stop if now else draw < start
        lost[k] = now
    return lost
