"""What the robot's microcontroller knows of the vehicle: encoders, shunts, a voltage divider, an IMU; noise included.

Its rule: one `Sensors.sample` draws the same number of random values whatever it measures, so noise depends on the seed
and the count of readings only. Must never: pass a true quantity on unspoilt, or spoil one that the real part does not.
"""

from __future__ import annotations

from collections import deque
from math import floor, pi
from random import Random

from firmware_bridge.simulator.physics import GRAVITY, Vehicle, Wheel

TICKS_PER_TURN = 12 * 20.4  # a 12-count encoder on the rotor, as small gear motors have it: 245 per turn of the wheel
WINDOW = 0.005  # s over which ticks are counted (or one reading, where that is longer): one tick is 5 rad/s


class Encoder:
    """Speed of a wheel from whole ticks counted over a window of `length` samples, `period` s apart."""

    def __init__(self, length: int, period: float) -> None:
        self._counts: deque[int] = deque([0] * (length + 1), maxlen=length + 1)
        self._unit = 2.0 * pi / (TICKS_PER_TURN * length * period)  # rad/s per tick

    def sample(self, angle: float) -> float:
        """Speed in rad/s; angle in rad."""
        counts = self._counts
        counts.append(floor(angle * (TICKS_PER_TURN / (2.0 * pi))))
        return (counts[-1] - counts[0]) * self._unit


class Sensors:
    """All sensors of one robot; offsets differ from robot to robot (seed), noise from sample to sample."""

    def __init__(self, seed: int, rate_hz: float) -> None:
        self._random = random = Random(f"{seed} sensors")
        length = max(1, round(WINDOW * rate_hz))
        self._left = Encoder(length, 1.0 / rate_hz)
        self._right = Encoder(length, 1.0 / rate_hz)
        self._current_offsets = random.gauss(0.0, 0.03), random.gauss(0.0, 0.03)  # A
        self._gyro_offset = random.gauss(0.0, 0.01)  # rad/s
        self._accel_offsets = tuple(random.gauss(0.0, 0.08) for _ in range(3))  # m/s²
        self._mount = random.gauss(0.0, 0.01)  # rad of pitch between the IMU and the body

    def sample(self, vehicle: Vehicle) -> tuple[float, ...]:
        """Values in the order of `robot.READING_FIELDS`."""
        gauss = self._random.gauss
        left, right = vehicle.left, vehicle.right
        # Gears and tread shake the IMU the more, the faster they turn and the rougher they slide.
        shake = 0.12 + 0.02 * (abs(left.speed) + abs(right.speed))
        ax, ay, az = self._accel_offsets
        return (
            self._left.sample(left.angle),
            self._right.sample(right.angle),
            self._current(left, self._current_offsets[0]),
            self._current(right, self._current_offsets[1]),
            left.duty,
            right.duty,
            vehicle.voltage + gauss(0.0, 0.03),
            vehicle.yaw_rate + self._gyro_offset + gauss(0.0, 0.012),
            vehicle.acceleration + GRAVITY * (vehicle.slope + self._mount) + ax + gauss(0.0, shake),
            vehicle.velocity * vehicle.yaw_rate + ay + gauss(0.0, shake),
            GRAVITY + vehicle.lift_acceleration + az + gauss(0.0, 1.5 * shake),
        )

    def _current(self, wheel: Wheel, offset: float) -> float:
        """A from the shunt of one motor: brush noise grows with the current; the converter steps by 20 mA."""
        noise = self._random.gauss(0.0, 0.15 + 0.05 * abs(wheel.current))
        return 0.02 * round((wheel.current + offset + noise) * 50.0)
