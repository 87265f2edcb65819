"""One drive of the robot without a wire: plan, controller, vehicle and sensors advanced together, reading by reading.

Its rule: a drive is a deterministic function of its seed, its rate and the torque limits set between readings. Same
machine or not, as long as tanh, sin, cos and exp of the C library give the same bits. Must never: pack, frame or send
(that is `robot`).
"""

from __future__ import annotations

from math import ceil
from random import Random
from typing import NamedTuple

from firmware_bridge.errors import BridgeError
from firmware_bridge.simulator.physics import Parameters, Vehicle
from firmware_bridge.simulator.plan import (
    CONTROL_PERIOD,
    Disturbances,
    PatchedFloor,
    Plan,
    SpeedController,
    wheel_targets,
)
from firmware_bridge.simulator.sensors import Encoder, Sensors

LONGEST_STEP = 0.001  # s: the physics are stable and converged at this step and below
SLOWEST_HZ, FASTEST_HZ = 1.0, 5000.0


class Truth(NamedTuple):
    """What really happens at a reading, 0 or 1 each; `physics` defines slip and stall."""

    slip_left: int
    slip_right: int
    stall_left: int
    stall_right: int


class Drive:
    """A robot driving its plan; `torque_limits` (N m, left and right) is what an action may change."""

    def __init__(self, seed: int, rate_hz: float = 200.0, parameters: Parameters | None = None) -> None:
        if not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
            raise BridgeError(
                f"The simulated robot reads at {SLOWEST_HZ:g} to {FASTEST_HZ:g} Hz, not at {rate_hz:g} Hz."
            )
        self.seed, self.rate_hz = seed, rate_hz
        self.vehicle = Vehicle(PatchedFloor(seed), parameters, charge=Random(f"{seed} battery").uniform(0.25, 1.0))
        self.torque_limits = (1.0, 1.0)
        self.readings = 0  # readings so far
        self._steps = ceil(1.0 / (rate_hz * LONGEST_STEP) - 1e-9)  # physics steps per reading
        self._dt = 1.0 / (rate_hz * self._steps)
        self._per_control = max(1, round(CONTROL_PERIOD / self._dt))
        self._count = 0  # physics steps so far
        self._plan = Plan(seed)
        self._disturbances = Disturbances(seed)
        self._controllers = SpeedController(), SpeedController()
        self._encoders = Encoder(1, self._per_control * self._dt), Encoder(1, self._per_control * self._dt)
        self._duties = (0.0, 0.0)
        self._sensors = Sensors(seed, rate_hz)

    def advance(self) -> tuple[float, ...]:
        """Drive on for one reading and take it: values in the order of `robot.READING_FIELDS`."""
        vehicle = self.vehicle
        vehicle.left.torque_limit, vehicle.right.torque_limit = self.torque_limits
        for _ in range(self._steps):
            if self._count % self._per_control == 0:
                self._control()
            vehicle.step(self._dt, *self._duties)
            self._count += 1
        self.readings += 1
        return self._sensors.sample(vehicle)

    def truth(self) -> Truth:
        """The truth at the last reading."""
        left, right = self.vehicle.left, self.vehicle.right
        return Truth(int(left.slips), int(right.slips), int(left.stalls), int(right.stalls))

    def _control(self) -> None:
        """What happens every 5 ms: floor, disturbances, plan and the controllers of both wheels."""
        vehicle = self.vehicle
        t = self._count * self._dt
        vehicle.sense_floor()
        self._disturbances.apply(t, vehicle)
        self._plan.advance(t)
        wanted = wheel_targets(self._plan, vehicle.parameters.half_track, vehicle.parameters.radius)
        left, right = self._controllers
        self._duties = (
            left.duty(wanted[0], self._encoders[0].sample(vehicle.left.angle), vehicle.left.duty),
            right.duty(wanted[1], self._encoders[1].sample(vehicle.right.angle), vehicle.right.duty),
        )
