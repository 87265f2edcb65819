"""Physics of a two-wheeled robot: two geared DC motors, a battery, tyres that slip, a body, a floor below it.

Its rule: `Vehicle.step` is a deterministic function of the state, the duties and the time step; no randomness, no
clock. Must never: read a sensor (noise belongs to `sensors`) or decide what to drive (that belongs to `plan`).

Signs: forward, left and up are positive, so a left turn has a positive yaw rate. SI units, angles in rad. Torques,
speeds and inertias are those of the wheel's side of the gearbox unless a name says rotor.
Integration: one fixed step of 1 ms or less. The winding current follows its exact exponential, tyre force is implicit
in the wheel's speed (so the stiff tyre is stable), dry friction can stop a mass but never turn it round.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, sin, tanh
from typing import Protocol

GRAVITY = 9.81  # m/s²


@dataclass(frozen=True)
class Parameters:
    """One robot: about what a 25 mm, 20:1, 12 V gear motor, 90 mm wheels and a 3-cell pack give."""

    resistance: float = 2.1  # Ω, winding and driver
    inductance: float = 1.2e-3  # H
    motor_constant: float = 0.0112  # V s/rad and N m/A at the rotor: one number, so energy is conserved
    gear: float = 20.4  # rotor turns per wheel turn
    rotor_inertia: float = 1.2e-6  # kg m², at the rotor
    wheel_inertia: float = 1.5e-4  # kg m²
    viscous: float = 4e-4  # N m s/rad, gearbox
    coulomb: float = 0.03  # N m, gearbox: dry friction
    radius: float = 0.045  # m
    half_track: float = 0.09  # m, wheel to the middle
    mass: float = 2.5  # kg, without payload
    yaw_inertia: float = 0.02  # kg m², without payload
    yaw_damping: float = 0.01  # N m s/rad, the castor scrubs
    drive_share: float = 0.8  # of the weight on the two wheels; the castor carries the rest
    creep: float = 0.03  # m/s of slip at which the tyre gives tanh(1) = 76 % of its grip
    suspension_hz: float = 15.0
    suspension_damping: float = 0.25  # of critical
    battery_resistance: float = 0.15  # Ω
    battery_capacity: float = 5400.0  # C (1.5 Ah)
    battery_full: float = 12.5  # V open-circuit, full
    battery_empty: float = 10.5  # V open-circuit, empty
    electronics: float = 0.4  # A, the computer on board

    @property
    def ratio(self) -> float:
        """V s/rad and N m/A at the wheel: back EMF per wheel speed, wheel torque per current."""
        return self.motor_constant * self.gear

    @property
    def inertia(self) -> float:
        """kg m² of one drive at the wheel."""
        return self.wheel_inertia + self.rotor_inertia * self.gear**2


# What the truth means. A robot must be able to say both of one wheel: a locked wheel dragged over the floor does both.
SLIP_SPEED = 0.08  # m/s of the contact point over the floor …
SLIP_RATIO = 0.25  # … and this part of the faster of tread and floor …
SLIP_TIME = 0.020  # … for at least so many s.
STALL_SPEED = 0.5  # rad/s: the wheel turns slower than this …
STALL_TORQUE = 0.06  # … though its motor gives more than this many N m (twice the gearbox's dry friction) …
STALL_TIME = 0.100  # … for at least so many s: every start from rest looks like a stall for less.


class Floor(Protocol):
    """What lies below a point (m, m) of the plane."""

    def surface(self, x: float, y: float) -> tuple[float, float]:
        """Coefficients (grip, rolling resistance), both without unit."""
        ...

    def gradient(self, x: float, y: float) -> tuple[float, float]:
        """Rise per metre along x and along y."""
        ...


@dataclass(frozen=True)
class EvenFloor:
    """The same everywhere: for tests and calculations by hand."""

    grip: float = 0.8
    rolling: float = 0.0
    rise: float = 0.0  # per metre along x

    def surface(self, x: float, y: float) -> tuple[float, float]:
        return self.grip, self.rolling

    def gradient(self, x: float, y: float) -> tuple[float, float]:
        return self.rise, 0.0


class Wheel:
    """One motor, gearbox, wheel and tyre; all public numbers are state or its last consequences."""

    __slots__ = (
        "angle",
        "current",
        "drag",
        "duty",
        "force",
        "grip",
        "jam",
        "rolling",
        "slip_speed",
        "slip_time",
        "speed",
        "stall_time",
        "torque",
        "torque_limit",
    )

    def __init__(self) -> None:
        self.speed = 0.0  # rad/s
        self.angle = 0.0  # rad
        self.current = 0.0  # A
        self.duty = 0.0  # -1 … 1 as the driver applied it, after limiting the current
        self.torque = 0.0  # N m from the motor
        self.torque_limit = 10.0  # N m
        self.force = 0.0  # N of the tyre on the body
        self.slip_speed = 0.0  # m/s: tread speed minus floor speed
        self.slip_time = 0.0  # s for which the conditions of slip have held
        self.stall_time = 0.0  # s for which those of stall have
        self.jam = 0.0  # N m of additional dry friction: something holds the wheel
        self.grip = 0.8
        self.rolling = 0.0
        self.drag = 0.0  # N of rolling resistance

    @property
    def slips(self) -> bool:
        return self.slip_time >= SLIP_TIME

    @property
    def stalls(self) -> bool:
        return self.stall_time >= STALL_TIME


class Vehicle:
    """The robot's body and two wheels. Disturbances are plain numbers that `plan.Disturbances` sets."""

    def __init__(self, floor: Floor, parameters: Parameters | None = None, charge: float = 1.0) -> None:
        self.parameters = p = parameters or Parameters()
        self.floor = floor
        self.left, self.right = Wheel(), Wheel()
        self.x = self.y = self.heading = 0.0
        self.velocity = 0.0  # m/s of the middle of the axle
        self.yaw_rate = 0.0  # rad/s
        self.acceleration = 0.0  # m/s² along the body, gravity excluded
        self.lift = self.lift_rate = self.lift_acceleration = 0.0  # m, m/s, m/s² of the body over its springs
        self.slope = 0.0  # rise per metre in the direction of the heading
        self.charge = charge  # 0 … 1
        self.battery_current = p.electronics  # A
        self.voltage = self.open_circuit - p.battery_resistance * p.electronics  # V at the terminals
        self.energy = 0.0  # J taken from the terminals by the motors
        self.payload = 0.0  # kg
        self.pull = 0.0  # N against the motion: something is towed or pushed
        self.bump_force = 0.0  # N backwards
        self.bump_acceleration = 0.0  # m/s² upwards
        self.wall_side = 0  # +1: an obstacle ahead, -1: behind, 0: none
        self.wall_gap = 0.0  # m still to go
        self._inertia, self._ratio = p.inertia, p.ratio  # read at every step
        self._decays: dict[float, float] = {}  # time step → decay of the winding current within it

    @property
    def open_circuit(self) -> float:
        """V of the battery without load."""
        p = self.parameters
        return p.battery_empty + (p.battery_full - p.battery_empty) * self.charge

    def sense_floor(self) -> None:
        """Look the floor up below both wheels and the body. Patches are decimetres wide: once per 5 ms is enough."""
        c, s = cos(self.heading), sin(self.heading)
        b = self.parameters.half_track
        self.left.grip, self.left.rolling = self.floor.surface(self.x - b * s, self.y + b * c)
        self.right.grip, self.right.rolling = self.floor.surface(self.x + b * s, self.y - b * c)
        rise_x, rise_y = self.floor.gradient(self.x, self.y)
        self.slope = rise_x * c + rise_y * s

    def step(self, dt: float, duty_left: float, duty_right: float) -> None:
        """One step of dt s (at most 1 ms) with the duties -1 … 1 that the controller asks for."""
        p = self.parameters
        mass = p.mass + self.payload
        load = 0.5 * p.drive_share * mass * min(3.0, max(0.15, 1.0 + self.lift_acceleration / GRAVITY)) * GRAVITY
        turn = self.yaw_rate * p.half_track
        decay = self._decays.get(dt)
        if decay is None:
            decay = self._decays[dt] = exp(-p.resistance * dt / p.inductance)
        left, right = self.left, self.right
        self._drive(left, duty_left, self.velocity - turn, load, decay, dt)
        self._drive(right, duty_right, self.velocity + turn, load, decay, dt)
        self._move(dt, mass, left.force + right.force, right.force - left.force, left.drag + right.drag)
        self._discharge(dt)

    def _drive(self, wheel: Wheel, duty: float, floor_speed: float, load: float, decay: float, dt: float) -> None:
        """Motor, gearbox and tyre of one wheel, with floor_speed in m/s below it and load in N on it."""
        p = self.parameters
        ratio, resistance, radius, speed = self._ratio, p.resistance, p.radius, wheel.speed
        # The driver limits the current by limiting the voltage across the resistance of the winding.
        emf = ratio * speed
        swing = wheel.torque_limit / ratio * resistance
        applied = min(emf + swing, max(emf - swing, duty * self.voltage))
        applied = min(self.voltage, max(-self.voltage, applied))
        wheel.duty = applied / self.voltage
        steady = (applied - emf) / resistance
        wheel.current = steady + (wheel.current - steady) * decay
        wheel.torque = torque = ratio * wheel.current

        # Tyre: a curve of the slip speed that saturates at the grip and falls by a quarter where the tyre slides.
        slip = speed * radius - floor_speed
        sliding = slip * slip
        peak = wheel.grip * load * (1.0 - 0.25 * sliding / (sliding + 0.25))
        bend = tanh(slip / p.creep)
        stiffness = peak / p.creep * (1.0 - bend * bend)  # N s/m
        turning = torque - p.viscous * speed
        change = dt * (turning - radius * peak * bend) / (self._inertia + dt * radius * radius * stiffness)
        wheel.force = force = peak * bend + stiffness * radius * change
        if not -peak <= force <= peak:  # the tangent left the curve
            wheel.force = force = peak if force > 0.0 else -peak
            change = dt * (turning - radius * force) / self._inertia
        speed += change
        dry = dt * (p.coulomb + wheel.jam) / self._inertia
        wheel.speed = speed = 0.0 if -dry <= speed <= dry else speed - dry if speed > 0.0 else speed + dry
        wheel.angle += speed * dt
        wheel.drag = wheel.rolling * load

        tread = speed * radius
        wheel.slip_speed = slip = tread - floor_speed
        slips = abs(slip) > SLIP_SPEED and abs(slip) > SLIP_RATIO * max(abs(tread), abs(floor_speed))
        wheel.slip_time = wheel.slip_time + dt if slips else 0.0
        stalls = -STALL_SPEED < speed < STALL_SPEED and abs(torque) > STALL_TORQUE
        wheel.stall_time = wheel.stall_time + dt if stalls else 0.0

    def _move(self, dt: float, mass: float, force: float, couple: float, drag: float) -> None:
        """The body under the tyres' force and couple (N: right minus left) and what resists it (N)."""
        p = self.parameters
        before = velocity = self.velocity
        push = force - mass * GRAVITY * self.slope
        if self.wall_side:
            self.wall_gap -= self.wall_side * velocity * dt
            if self.wall_gap < 0.0:  # a stiff spring with a damper that only pushes
                push -= self.wall_side * max(0.0, -4000.0 * self.wall_gap + 60.0 * self.wall_side * velocity)
        velocity += dt * push / mass
        resisted = dt * (drag + self.pull + self.bump_force) / mass
        velocity = 0.0 if -resisted <= velocity <= resisted else velocity - (resisted if velocity > 0.0 else -resisted)
        self.velocity = velocity
        self.acceleration = (velocity - before) / dt
        yaw_inertia = p.yaw_inertia * mass / p.mass
        self.yaw_rate += dt * (p.half_track * couple - p.yaw_damping * self.yaw_rate) / yaw_inertia
        self.heading += self.yaw_rate * dt
        self.x += velocity * dt * cos(self.heading)
        self.y += velocity * dt * sin(self.heading)
        natural = 6.283185307179586 * p.suspension_hz
        self.lift_acceleration = (
            self.bump_acceleration - natural * (natural * self.lift + 2.0 * p.suspension_damping * self.lift_rate)
        )  # fmt: skip
        self.lift_rate += dt * self.lift_acceleration
        self.lift += dt * self.lift_rate

    def _discharge(self, dt: float) -> None:
        """Battery: what the motors draw through their drivers, the charge it costs and the sag it causes."""
        p = self.parameters
        drawn = self.left.duty * self.left.current + self.right.duty * self.right.current
        self.energy += self.voltage * drawn * dt
        self.battery_current = drawn + p.electronics
        self.charge = min(1.0, max(0.0, self.charge - self.battery_current * dt / p.battery_capacity))
        self.voltage = self.open_circuit - p.battery_resistance * self.battery_current
