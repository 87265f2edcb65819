"""The vehicle against what can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import hypot

import pytest

from firmware_bridge.simulator.physics import GRAVITY, SLIP_SPEED, EvenFloor, Parameters, Vehicle

P = Parameters()
DT = 0.001


def run(vehicle: Vehicle, seconds: float, left: float, right: float, dt: float = DT) -> Vehicle:
    for _ in range(round(seconds / dt)):
        vehicle.step(dt, left, right)
    return vehicle


def on(**floor: float) -> Vehicle:
    vehicle = Vehicle(EvenFloor(**floor))
    vehicle.sense_floor()
    return vehicle


def kinetic(vehicle: Vehicle) -> float:
    """J of the body and the drives."""
    turning = 0.5 * P.inertia * (vehicle.left.speed**2 + vehicle.right.speed**2)
    return 0.5 * P.mass * vehicle.velocity**2 + 0.5 * P.yaw_inertia * vehicle.yaw_rate**2 + turning


def test_a_free_run_ends_at_the_speed_where_back_emf_and_friction_balance_the_battery() -> None:
    """V = K ω + R (Coulomb + viscous ω) / K, solved for ω, is the speed that a steady drive reaches."""
    vehicle = run(on(), 6.0, 0.5, 0.5)
    volts = 0.5 * vehicle.voltage
    expected = (volts - P.resistance * P.coulomb / P.ratio) / (P.ratio + P.resistance * P.viscous / P.ratio)
    assert vehicle.left.speed == pytest.approx(expected, rel=1e-3)
    assert vehicle.right.speed == vehicle.left.speed
    assert vehicle.velocity == pytest.approx(expected * P.radius, rel=1e-2)
    assert vehicle.yaw_rate == 0.0


def test_a_held_wheel_draws_the_stall_current() -> None:
    """I = U / R in a wheel that cannot turn, with the battery sagging under just that current."""
    vehicle = on()
    vehicle.left.jam = 100.0
    run(vehicle, 0.5, 0.8, 0.0)
    assert vehicle.left.speed == 0.0
    assert vehicle.left.current == pytest.approx(0.8 * vehicle.voltage / P.resistance, rel=1e-6)
    assert vehicle.left.stalls
    assert not vehicle.right.stalls
    drawn = 0.8 * vehicle.left.current + vehicle.right.duty * vehicle.right.current + P.electronics
    assert vehicle.voltage == pytest.approx(vehicle.open_circuit - P.battery_resistance * drawn, rel=1e-6)


def test_the_current_rises_with_the_winding_s_time_constant() -> None:
    """After L / R of full voltage on a held wheel, 1 - 1/e of the stall current flows."""
    vehicle = on()
    vehicle.left.jam = 100.0
    run(vehicle, P.inductance / P.resistance, 1.0, 0.0, dt=P.inductance / P.resistance / 50)
    assert vehicle.left.current == pytest.approx(0.632 * vehicle.voltage / P.resistance, rel=0.02)


def test_energy_is_never_made() -> None:
    """What the battery gave covers kinetic energy throughout a drive with braking; charge only falls."""
    vehicle = on(grip=0.5)
    for duty in (0.8, -0.3, 0.6, 0.0, -0.9):
        before = vehicle.charge
        run(vehicle, 0.7, duty, 0.5 * duty)
        assert vehicle.energy > kinetic(vehicle)
        assert vehicle.charge < before


def test_a_slope_is_climbed_slower_and_rolls_down_when_switched_off() -> None:
    """Gravity has the sign of the slope, and the gearboxes' dry friction holds a robot on a gentle one."""
    assert 0 < run(on(rise=0.15), 3.0, 0.5, 0.5).velocity < run(on(), 3.0, 0.5, 0.5).velocity
    coasting = on(rise=0.4)
    coasting.left.torque_limit = coasting.right.torque_limit = 0.0
    assert run(coasting, 1.0, 0.0, 0.0).velocity < -0.5
    # m g rise, shared by two wheels, stays below the dry friction of the gearbox.
    gentle = 0.5 * 2 * P.coulomb / (P.mass * GRAVITY * P.radius)
    held = on(rise=gentle)
    held.left.torque_limit = held.right.torque_limit = 0.0
    assert abs(run(held, 1.0, 0.0, 0.0).velocity) < 0.01


def test_a_robot_never_accelerates_faster_than_its_tyres_hold() -> None:
    """Grip times the weight on the wheels bounds the acceleration; beyond it the wheels slip."""
    vehicle = on(grip=0.15)
    bound = 0.15 * P.drive_share * GRAVITY
    for _ in range(300):
        vehicle.step(DT, 0.9, 0.9)
        assert vehicle.acceleration <= bound * 1.001
    assert vehicle.left.slips
    assert vehicle.right.slips
    assert vehicle.left.slip_speed > SLIP_SPEED
    firm = run(on(grip=0.9), 0.3, 0.3, 0.3)
    assert not firm.left.slips


def test_a_torque_limit_reduces_slip() -> None:
    """Limited to what the tyre can carry, a wheel on ice turns with the floor instead of spinning."""

    def slid(limit: float) -> float:
        vehicle = on(grip=0.15)
        vehicle.left.torque_limit = vehicle.right.torque_limit = limit
        total = 0.0
        for _ in range(500):
            vehicle.step(DT, 0.9, 0.9)
            total += abs(vehicle.left.slip_speed) * DT
        assert abs(vehicle.left.torque) <= limit + 1e-3
        return total

    assert slid(0.08) < 0.1 * slid(0.6)


def test_turning_follows_the_difference_of_the_wheels() -> None:
    """Without slip, yaw rate = (right - left) * radius / track, left turns positive."""
    vehicle = run(on(), 2.0, 0.2, 0.4)
    difference = (vehicle.right.speed - vehicle.left.speed) * P.radius
    assert vehicle.yaw_rate == pytest.approx(difference / (2 * P.half_track), rel=0.05)
    assert vehicle.yaw_rate > 0


def test_a_wall_stops_the_robot_and_the_wheels_slip_or_stall_against_it() -> None:
    """Against an obstacle strong motors spin on a smooth floor, weak ones stall on a firm one."""

    def push(grip: float, duty: float) -> Vehicle:
        vehicle = on(grip=grip)
        vehicle.wall_side, vehicle.wall_gap = 1, 0.1
        return run(vehicle, 2.0, duty, duty)

    spinning, stalled = push(0.2, 0.9), push(0.9, 0.12)
    for vehicle in (spinning, stalled):
        assert abs(vehicle.velocity) < 0.02
        assert vehicle.x < 0.13
    assert spinning.left.slips
    assert not spinning.left.stalls
    assert stalled.left.stalls
    assert not stalled.left.slips


def test_a_locked_wheel_dragged_along_slips_and_stalls_at_once() -> None:
    """Slip and stall are two questions: a jammed wheel of a robot that moves on answers yes to both."""
    vehicle = run(on(grip=0.4), 1.0, 0.5, 0.5)
    vehicle.left.jam = 5.0
    run(vehicle, 0.15, 0.5, 0.5)
    assert vehicle.left.slips
    assert vehicle.left.stalls
    assert vehicle.left.slip_speed < 0


def bumped(vehicle: Vehicle) -> None:
    vehicle.bump_acceleration = 15.0


def towing(vehicle: Vehicle) -> None:
    vehicle.pull = 6.0


def loaded(vehicle: Vehicle) -> None:
    vehicle.payload = 2.0


@pytest.mark.parametrize(("disturb", "quantity", "sign"), [
    (bumped, lambda v: v.lift_acceleration, 1),
    (towing, lambda v: v.left.current, 1),
    (towing, lambda v: v.velocity, -1),
    (towing, lambda v: v.voltage, -1),
    (loaded, lambda v: v.velocity, -1),
])  # fmt: skip
def test_disturbances_have_their_sign(
    disturb: Callable[[Vehicle], None], quantity: Callable[[Vehicle], float], sign: int
) -> None:
    """A bump lifts, a load in tow costs current, speed and voltage, payload costs acceleration."""
    plain, disturbed = on(), on()
    disturb(disturbed)
    for vehicle in (plain, disturbed):
        run(vehicle, 0.05, 0.4, 0.4)
    assert sign * (quantity(disturbed) - quantity(plain)) > 0


@pytest.mark.parametrize("duty", [0.3, 0.9])
def test_the_step_is_short_enough(duty: float) -> None:
    """Four times shorter steps change a second of driving over a smooth and a firm floor by less than 2 %."""
    for grip in (0.15, 0.9):
        coarse = run(on(grip=grip), 1.0, duty, 0.8 * duty)
        fine = run(on(grip=grip), 1.0, duty, 0.8 * duty, dt=DT / 4)
        assert hypot(coarse.x - fine.x, coarse.y - fine.y) < 0.02 * hypot(fine.x, fine.y)
        assert coarse.left.speed == pytest.approx(fine.left.speed, rel=0.02)
