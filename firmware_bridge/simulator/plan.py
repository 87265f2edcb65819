"""What a drive is made of: the floor, the speeds the robot wants, the controller on board, what gets in its way.

Its rule: everything is drawn from the seed alone, in an order that neither the reading rate nor any action changes: two
robots of one seed meet the same floor, the same wishes and the same disturbances at the same times.
Must never: look at the truth; the controller sees only what its own sensors measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, inf, pi
from random import Random

from firmware_bridge.simulator.physics import Vehicle

CONTROL_PERIOD = 0.005  # s between two runs of the plan, the controller and the disturbances


class PatchedFloor:
    """A floor that repeats every 16 m: cells of 0.5 m with their own grip and rolling resistance, on gentle hills."""

    SIDE = 32
    CELL = 0.5  # m

    def __init__(self, seed: int) -> None:
        random = Random(f"{seed} floor")
        self._cells = [self._cell(random) for _ in range(self.SIDE * self.SIDE)]
        # Hills: two waves that fit the repeating square, each 0.03 … 0.07 steep at most (2° … 4°).
        wave = 2.0 * pi / (self.SIDE * self.CELL)
        self._waves = []  # kx, ky (rad/m), phase (rad), height (m)
        for _ in range(2):
            kx, ky = random.choice((-2, -1, 1, 2)) * wave, random.choice((-2, -1, 1, 2)) * wave
            self._waves.append((kx, ky, random.uniform(0.0, 2.0 * pi), random.uniform(0.03, 0.07) / hypot(kx, ky)))

    @staticmethod
    def _cell(random: Random) -> tuple[float, float]:
        kind = random.random()
        if kind < 0.27:  # wet, dusty or polished
            return random.uniform(0.06, 0.28), random.uniform(0.01, 0.03)
        if kind < 0.42:  # carpet, grass: heavy going that is neither slip nor stall
            return random.uniform(0.7, 1.0), random.uniform(0.06, 0.16)
        return random.uniform(0.6, 1.0), random.uniform(0.01, 0.03)

    def surface(self, x: float, y: float) -> tuple[float, float]:
        return self._cells[int(x // self.CELL) % self.SIDE * self.SIDE + int(y // self.CELL) % self.SIDE]

    def gradient(self, x: float, y: float) -> tuple[float, float]:
        along_x = along_y = 0.0
        for kx, ky, phase, height in self._waves:
            rise = height * cos(kx * x + ky * y + phase)
            along_x += kx * rise
            along_y += ky * rise
        return along_x, along_y


class Plan:
    """Set-points of speed (m/s) and turn rate (rad/s), reached with the limited acceleration of each leg."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"{seed} plan")
        self._until = 0.0
        self._target = (0.0, 0.0)
        self._acceleration = 1.0
        self.speed = 0.0
        self.turn = 0.0

    def advance(self, t: float) -> None:
        """Move the set-points on to t s, one control period after the last call."""
        while t >= self._until:
            self._next_leg()
        self.speed = self._toward(self.speed, self._target[0], self._acceleration * CONTROL_PERIOD)
        self.turn = self._toward(self.turn, self._target[1], 5.0 * self._acceleration * CONTROL_PERIOD)

    def _next_leg(self) -> None:
        random = self._random
        kind = random.random()
        forward = 1.0 if random.random() < 0.7 else -1.0
        if kind < 0.2:  # inching: docking, inspecting
            self._target = (forward * random.uniform(0.02, 0.2), random.uniform(-0.3, 0.3))
        elif kind < 0.5:  # straight on
            self._target = (forward * random.uniform(0.2, 1.6), 0.0)
        elif kind < 0.75:  # a bend
            self._target = (forward * random.uniform(0.3, 1.2), random.uniform(-2.5, 2.5))
        elif kind < 0.88:  # on the spot
            self._target = (0.0, random.choice((-1.0, 1.0)) * random.uniform(1.5, 5.0))
        else:
            self._target = (0.0, 0.0)
        self._acceleration = 0.8 * 12.0 ** random.random()  # m/s²: from gentle to more than most floors hold
        self._until += random.uniform(0.5, 3.0)

    @staticmethod
    def _toward(value: float, target: float, most: float) -> float:
        return min(target, value + most) if target > value else max(target, value - most)


class SpeedController:
    """PI control of one wheel with feed-forward, on the speed that the encoder gives (filtered over about 15 ms)."""

    GAIN = 0.02  # per rad/s
    INTEGRAL = 0.25  # per rad
    FEED_FORWARD = 0.0195  # per rad/s: the back EMF over 11.7 V

    def __init__(self) -> None:
        self._speed = 0.0  # rad/s
        self._integral = 0.0

    def duty(self, wanted: float, measured: float, applied: float) -> float:
        """Duty for a wanted and a measured speed (rad/s); applied is the last duty that the driver let through."""
        self._speed += 0.3 * (measured - self._speed)
        if abs(wanted) < 0.05 and abs(self._speed) < 1.0:
            self._integral = 0.0
            return 0.0
        error = wanted - self._speed
        duty = self.FEED_FORWARD * wanted + self.GAIN * error + self._integral
        # While the driver limits, the integral only moves back towards what is possible.
        if abs(duty) <= 1.0 and (abs(duty - applied) < 0.05 or (duty > applied) != (error > 0.0)):
            self._integral += self.INTEGRAL * error * CONTROL_PERIOD
        return min(1.0, max(-1.0, duty))


@dataclass
class _Event:
    """A kind of disturbance: when the present one ends and when the next begins (s)."""

    mean_wait: float
    shortest: float
    longest: float
    begins: float = 0.0
    ends: float = inf


class Disturbances:
    """Jammed wheels, obstacles, things in tow, bumps and payload, at times drawn from the seed."""

    def __init__(self, seed: int) -> None:
        self._events = {
            "jam": _Event(5.0, 0.3, 2.0),
            "wall": _Event(11.0, 0.5, 2.0),
            "tow": _Event(7.0, 0.2, 2.5),
            "bump": _Event(1.6, 0.02, 0.04),
            "payload": _Event(12.0, 3.0, 15.0),
        }
        # A generator for each kind, so that the draws of one never shift those of another.
        self._random = {kind: Random(f"{seed} {kind}") for kind in self._events}
        for kind, event in self._events.items():
            event.begins = self._random[kind].expovariate(1.0 / event.mean_wait)

    def apply(self, t: float, vehicle: Vehicle) -> None:
        """Begin and end what is due at t s."""
        for kind, event in self._events.items():
            random = self._random[kind]
            if t >= event.ends:
                event.ends = inf
                event.begins = t + random.expovariate(1.0 / event.mean_wait)
                self._end(kind, vehicle)
            elif event.ends == inf and t >= event.begins:
                event.ends = t + random.uniform(event.shortest, event.longest)
                self._begin(kind, random, vehicle)

    @staticmethod
    def _begin(kind: str, random: Random, vehicle: Vehicle) -> None:
        strength, side = random.random(), random.random()
        if kind == "jam":  # from a rubbing branch to a stone between wheel and body
            wheel = vehicle.left if side < 0.5 else vehicle.right
            wheel.jam = 0.2 * 15.0**strength
        elif kind == "wall":
            vehicle.wall_side = 1 if vehicle.velocity >= 0.0 else -1
            vehicle.wall_gap = 0.3 * strength
        elif kind == "tow":
            vehicle.pull = 1.0 + 9.0 * strength
        elif kind == "bump":
            going = min(1.0, abs(vehicle.velocity))  # m/s: a bump does nothing to a vehicle that stands still
            vehicle.bump_acceleration = going * (4.0 + 16.0 * strength)
            vehicle.bump_force = going * (4.0 + 20.0 * side)
        else:
            vehicle.payload = 2.0 * strength

    @staticmethod
    def _end(kind: str, vehicle: Vehicle) -> None:
        if kind == "jam":
            vehicle.left.jam = vehicle.right.jam = 0.0
        elif kind == "wall":
            vehicle.wall_side = 0
        elif kind == "tow":
            vehicle.pull = 0.0
        elif kind == "bump":
            vehicle.bump_acceleration = vehicle.bump_force = 0.0
        else:
            vehicle.payload = 0.0


def wheel_targets(plan: Plan, half_track: float, radius: float) -> tuple[float, float]:
    """Wheel speeds (rad/s) left and right for the plan's set-points."""
    return (plan.speed - plan.turn * half_track) / radius, (plan.speed + plan.turn * half_track) / radius
