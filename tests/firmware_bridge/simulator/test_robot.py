"""The robot on the wire: drives of a seed, the protocol, obedience, and the port in process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import BridgeError
from firmware_bridge.events import Event, Gap, Hello, Lost, Opened, Reading, Reset, Silent
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.simulator.drive import Drive, Truth
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import START_NS, SimulatedPort
from firmware_bridge.simulator.robot import ACTION, BOOT_US, READING, READING_FIELDS, Robot
from firmware_bridge.values import Action, Chunk

NAMES = [name for name, _ in READING_FIELDS]


class Host:
    """A host that answers each reading with one action, and remembers everything."""

    def __init__(self, port: SimulatedPort, limits: tuple[float, float] = (0.6, 0.6)) -> None:
        self.port, self.limits = port, limits
        self.bridge = Bridge()
        self.chunks: list[Chunk] = []
        self.events: list[Event] = []
        self.sent = hashlib.sha256()

    def run(self, chunks: Iterable[Chunk] | None = None) -> Host:
        for chunk in self.port.chunks() if chunks is None else chunks:
            self.chunks.append(chunk)
            for event in self.bridge.receive(chunk):
                self.events.append(event)
                if isinstance(event, Reading):
                    self.write(self.bridge.send(chunk.t_ns, Action(ACTION, self.limits)))
            self.write(self.bridge.outgoing())
        return self

    def write(self, data: bytes) -> None:
        self.sent.update(data)
        if data:
            self.port.write(data)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def readings(self) -> list[Reading]:
        return [event for event in self.events if isinstance(event, Reading)]


def test_a_seed_is_a_drive_and_another_seed_another_one() -> None:
    """The same seed gives the same bytes in both directions, another seed other ones."""

    def digest(seed: int) -> tuple[str, str]:
        host = Host(SimulatedPort(Robot(seed), 3.0, Faults(seed, Rates(flip=1e-4, reset=0.3)))).run()
        received = hashlib.sha256(repr(host.chunks).encode())
        return received.hexdigest(), host.sent.hexdigest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


@pytest.mark.parametrize("rate_hz", [50.0, 200.0, 300.0, 1000.0, 5000.0])
def test_every_rate_gives_every_reading_at_its_time(rate_hz: float) -> None:
    """Up to 5 kHz no reading is missing, device times are those of the rate to 1 µs, and the host counts no gap."""
    host = Host(SimulatedPort(Robot(3, rate_hz), 2.0)).run()
    readings = host.readings
    assert [b.seq - a.seq for a, b in pairwise(readings)] == [1] * (len(readings) - 1)
    assert len(readings) > 1.8 * rate_hz
    first = round(readings[0].t_device_us * rate_hz / 1e6)
    assert all(reading.t_device_us == round((first + k) * 1e6 / rate_hz) for k, reading in enumerate(readings))
    assert not host.of(Gap)
    assert host.bridge.counters.faults == {}


@pytest.mark.parametrize("rate_hz", [0.5, 5001.0, float("nan")])
def test_a_rate_that_the_robot_cannot_do_is_refused_by_value(rate_hz: float) -> None:
    """The sentence names the rate asked for and the range."""
    with pytest.raises(BridgeError, match=f"1 to 5000 Hz, not at {rate_hz:g} Hz"):
        Robot(0, rate_hz)


def test_the_plan_and_the_disturbances_of_a_seed_do_not_depend_on_rate_or_action() -> None:
    """At 200 Hz, at 1 kHz and with weak motors the same seed wants the same speeds at the same times."""

    def wishes(rate_hz: float, limit: float) -> list[tuple[float, float]]:
        drive = Drive(5, rate_hz)
        drive.torque_limits = (limit, limit)
        out = []
        for k in range(round(6 * rate_hz)):
            drive.advance()
            if (k + 1) % round(rate_hz / 2) == 0:
                out.append((round(drive._plan.speed, 6), round(drive._plan.turn, 6)))
        return out

    assert wishes(200.0, 1.0) == wishes(1000.0, 1.0) == wishes(200.0, 0.2)


def test_a_robot_without_a_host_stands_still_and_says_hello() -> None:
    """Before an action the motors are off: no torque, no way; what is sent is a HELLO per second, no reading."""
    robot = Robot(2)
    sent = robot.advance(5_000_000)
    assert robot.drive.torque_limits == (0.0, 0.0)
    assert abs(robot.drive.vehicle.left.torque) < 1e-6
    assert len(sent) < 500
    assert robot.drive.readings == 1000


def test_the_robot_obeys_its_torque_limit() -> None:
    """An action changes the motors within one reading, and no torque exceeds it afterwards."""
    host = Host(SimulatedPort(Robot(4), 8.0), limits=(0.15, 0.3)).run()
    robot = host.port.robot
    assert robot.drive.torque_limits == pytest.approx((0.15, 0.3))
    at = NAMES.index("duty_left")
    assert any(abs(reading.values[at]) > 0.05 for reading in host.readings)
    assert abs(robot.drive.vehicle.left.torque) <= 0.15 + 1e-3


def test_torque_limits_at_slip_reduce_slip() -> None:
    """Limiting a wheel's torque while it slips lets the robots of some seeds slide less far than without."""

    def slid(reacting: bool) -> float:
        total = 0.0
        for seed in range(4):
            drive = Drive(seed)
            for _ in range(4000):
                truth = drive.truth()
                drive.torque_limits = tuple(0.1 if reacting and slips else 0.6 for slips in truth[:2])  # type: ignore[assignment]
                drive.advance()
                total += abs(drive.vehicle.left.slip_speed) + abs(drive.vehicle.right.slip_speed)
        return total

    assert slid(True) < 0.85 * slid(False)


def test_silence_of_the_host_makes_the_robot_safe() -> None:
    """When heartbeats and actions stop for longer than the timeout, the torque limits are the safe ones: 0."""
    port = SimulatedPort(Robot(4), 2.0)
    Host(port).run()
    robot = port.robot
    assert robot.drive.torque_limits == pytest.approx((0.6, 0.6))
    robot.advance(200_000)
    assert robot.drive.torque_limits == pytest.approx((0.6, 0.6))
    robot.advance(100_000)
    assert robot.drive.torque_limits == (0.0, 0.0)
    assert robot.device.state == "safe"


def test_stop_makes_the_robot_safe_at_once() -> None:
    """The bridge's farewell switches the motors off without waiting for a timeout."""
    port = SimulatedPort(Robot(4), 2.0)
    host = Host(port).run()
    port.write(host.bridge.stop(host.chunks[-1].t_ns))
    assert port.robot.drive.torque_limits == (0.0, 0.0)


def test_a_reset_board_is_another_boot_of_the_same_robot() -> None:
    """After a reset the robot is deaf, then new: other boot id, clock from 0; the host says Reset and drives on."""
    robot = Robot(6)
    port = SimulatedPort(robot, 6.0)
    host = Host(port)
    before = robot.device.boot_id

    def chunks() -> Iterable[Chunk]:
        for k, chunk in enumerate(port.chunks()):
            if k == 400:
                robot.reset()
                assert robot.booting
                assert robot.outgoing() == b""
                assert robot.drive.torque_limits == (0.0, 0.0)
            yield chunk

    host.run(chunks())
    assert robot.device.boot_id != before
    assert len(host.of(Reset)) == 1
    last = host.readings[-1]
    assert last.t_device_us == 6_000_000 - robot._boot_us
    assert robot.drive.torque_limits == pytest.approx((0.6, 0.6))
    assert not host.of(Gap)
    assert BOOT_US > 0


def test_truth_is_observed_beside_the_wire() -> None:
    """The observer sees each reading with its truth and device time, and the wire carries exactly those readings."""
    robot = Robot(1)
    seen: dict[int, tuple[tuple[float, ...], Truth]] = {}
    robot.on_reading = lambda t, boot, values, truth: seen.update({t: (values, truth)})
    host = Host(SimulatedPort(robot, 20.0)).run()
    for reading in host.readings:
        assert reading.format == READING
        assert reading.values == pytest.approx(seen[reading.t_device_us][0], rel=1e-6)
    happened = [sum(truth[i] for _, truth in seen.values()) for i in range(4)]
    assert all(0 < happened[i] < 0.5 * len(seen) for i in range(2))


def test_the_sensors_tell_what_the_vehicle_does() -> None:
    """Averaged over a drive, readings follow the true quantities; one reading alone is off by up to an encoder tick."""
    drive = Drive(8)
    error, steps = 0.0, set()
    for _ in range(4000):
        values = drive.advance()
        error += values[0] - drive.vehicle.left.speed
        steps.add(round(values[0] / 5.133, 2))
    assert abs(error / 4000) < 0.2
    assert all(abs(step - round(step)) < 0.02 for step in steps)
    assert len(steps) > 5


def test_the_port_speaks_like_a_serial_port() -> None:
    """First "opened", then time never runs back and no silence is longer than 20 ms; the end comes on time."""
    host = Host(SimulatedPort(Robot(0, 10.0), 3.0)).run()
    times = [chunk.t_ns for chunk in host.chunks]
    assert host.chunks[0].link == "opened"
    assert isinstance(host.events[0], Opened)
    assert isinstance(host.events[1], Hello)
    assert max(b - a for a, b in pairwise(times)) <= 20_000_000
    assert min(b - a for a, b in pairwise(times)) >= 0
    assert times[-1] == START_NS + 3_000_000_000


def test_the_port_wakes_when_it_was_asked_to() -> None:
    """A chunk at the very µs that was asked for, once; a drive without wake-ups is as it was."""
    port = SimulatedPort(Robot(0, 10.0), 1.0)
    asked, times = START_NS + 7_345_000, []
    for chunk in port.chunks():
        times.append(chunk.t_ns)
        if len(times) < 100:
            port.wake_at(asked + 7_000_000 * (len(times) - 1))
    assert times[1:100] == [asked + 7_000_000 * number for number in range(99)]
    assert len(times) > 110


def test_unplugging_silence_and_resets_arrive_as_what_they_are() -> None:
    """Each fault of the link reaches the host as its event, as often as it was injected, and the drive goes on."""
    faults = Faults(11, Rates(unplug=0.15, reset=0.2))
    host = Host(SimulatedPort(Robot(1), 40.0, faults)).run()
    lost, reset = faults.counts["unplug"], faults.counts["reset"]
    assert lost > 2
    assert reset > 2
    assert len(host.of(Lost)) == lost
    assert 0 <= len(host.of(Opened)) - lost <= 1
    assert 0 < len(host.of(Reset)) <= reset  # two resets during one unplugging are one to the host
    silent = Faults(3, Rates(silence=0.2))
    quiet = Host(SimulatedPort(Robot(1), 20.0, silent)).run()
    assert silent.counts["silence"] > 1
    assert quiet.of(Gap)
    assert not quiet.of(Lost)
    assert len(quiet.of(Silent)) <= silent.counts["silence"]
    assert quiet.readings[-1].t_device_us == 20_000_000


@settings(max_examples=15)
@given(st.integers(0, 1000), st.lists(st.integers(1, 40_000), max_size=20))
def test_how_time_is_cut_does_not_matter(seed: int, pieces: list[int]) -> None:
    """Advancing in pieces of any length sends the same bytes as advancing at once."""
    whole, cut = Robot(seed), Robot(seed)
    assert b"".join([cut.advance(piece) for piece in pieces]) == whole.advance(sum(pieces))
    assert cut.drive.vehicle.left.angle == whole.drive.vehicle.left.angle
