"""The simulated robot as its host sees it: bytes in, bytes out, in the protocol of PROTOCOL.md. The truth stays behind.

Its rule: a deterministic function of the seed, the rate, the bytes received and the device times they came at. Motors
are off (torque limit 0) until a host has started the board and sent an action, and again when the host sends STOP or
falls silent. Must never: look at a clock, touch a port, or put the truth on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from random import Random

from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import SafeOutput
from firmware_bridge.links.own.device import Device
from firmware_bridge.simulator.drive import Drive, Truth
from firmware_bridge.values import Action

READING, ACTION = "imu_wheels", "motor_limits"
READING_FIELDS: tuple[tuple[str, str], ...] = (
    ("wheel_speed_left", "rad/s"),
    ("wheel_speed_right", "rad/s"),
    ("current_left", "A"),
    ("current_right", "A"),
    ("duty_left", ""),
    ("duty_right", ""),
    ("battery_voltage", "V"),
    ("gyro_z", "rad/s"),
    ("accel_x", "m/s²"),
    ("accel_y", "m/s²"),
    ("accel_z", "m/s²"),
)
LARGEST_TORQUE = 1.0  # N m at the wheel; about 4.4 A
VERSION = "1.0"
BOOT_US = 400_000  # from a reset until the firmware listens
TICK_US = 10_000
LEAST_AGE_MS = 250  # of an action that is too late; longer where readings are rare

Observer = Callable[[int, int, "tuple[float, ...]", Truth], None]


def robot_dictionary(rate_hz: float = 200.0) -> Dictionary:
    """What the simulated robot declares. Readings are float32 in SI units; a limit of torque is safe at 0 N m, and
    obeyed until it is three readings old."""
    reading = tuple(Field(name, "f32", unit) for name, unit in READING_FIELDS)
    limits = tuple(
        Field(name, "f32", "N m", minimum=0.0, maximum=LARGEST_TORQUE, safe=0.0)
        for name in ("torque_limit_left", "torque_limit_right")
    )
    max_age_ms = max(LEAST_AGE_MS, ceil(3000 / rate_hz))
    formats = Format(READING, 1, "reading", reading, rate_hz), Format(ACTION, 2, "action", limits, None, max_age_ms)
    return Dictionary(formats, "simulated-robot", VERSION, protocol=2)


class Robot:
    """One robot on its power switch; `now_us` is the time since then, the device's clock the time since its last
    boot."""

    def __init__(self, seed: int = 0, rate_hz: float = 200.0, heartbeat_timeout_us: int = 250_000) -> None:
        self.seed, self.rate_hz = seed, rate_hz
        self.drive = Drive(seed, rate_hz)
        self.dictionary = robot_dictionary(rate_hz)
        self.now_us = 0
        self.resets = 0
        self.on_reading: Observer | None = None  # called with (t_device_us, boot_id, values, truth) at every reading
        self._heartbeat_timeout_us = heartbeat_timeout_us
        self._boot_us = 0  # now_us at which the firmware began to run
        self.device = self._boot()

    def _boot(self) -> Device:
        self.drive.torque_limits = (0.0, 0.0)
        boot_id = Random(f"{self.seed} boot {self.resets}").randrange(1, 2**32)
        return Device(self.dictionary, boot_id, self._heartbeat_timeout_us)

    @property
    def next_us(self) -> int:
        """`now_us` of the next reading. From the count of readings, so that no rounding adds up."""
        return round((self.drive.readings + 1) * 1e6 / self.rate_hz)

    @property
    def taken(self) -> int:
        """Readings so far, sent or not."""
        return self.drive.readings

    @property
    def truth(self) -> Truth:
        """Slip and stall at the last reading, as `physics` defines them."""
        return self.drive.truth()

    @property
    def booting(self) -> bool:
        """After a reset the board neither receives nor sends for a while; the robot rolls on."""
        return self.now_us < self._boot_us

    def receive(self, data: bytes) -> None:
        """Bytes from the host, arrived now."""
        if not self.booting:
            self._apply(self.device.receive(self.now_us - self._boot_us, data))

    def outgoing(self) -> bytes:
        """Answers that wait to be sent; `advance` takes them along as well."""
        return b"" if self.booting else self.device.outgoing()

    def advance(self, dt_us: int) -> bytes:
        """Let dt_us µs pass: drive, read, and return what the board sends meanwhile, in whole frames."""
        end = self.now_us + dt_us
        sent = []
        while self.now_us < end:
            due, tick = self.next_us, self.now_us - self.now_us % TICK_US + TICK_US
            self.now_us = min(end, due, tick)
            t_device_us = self.now_us - self._boot_us
            # Only at times of its own does the board act, so it does not matter how the caller cuts time.
            if not self.booting and self.now_us in (due, tick):
                self._apply(self.device.tick(t_device_us))
                sent.append(self.device.outgoing())
            if self.now_us == due:
                values = self.drive.advance()
                if not self.booting:
                    sent.append(self.device.reading(t_device_us, READING, values))
                    if self.on_reading is not None:
                        self.on_reading(t_device_us, self.device.boot_id, values, self.drive.truth())
        return b"".join(sent)

    def reset(self) -> None:
        """The board starts again with a new boot id; what it had not yet sent is lost, its motors are off."""
        self.resets += 1
        self._boot_us = self.now_us + BOOT_US
        self.device = self._boot()

    def dropped(self, frames: int) -> None:
        """The port reports how many frames did not fit into its buffer."""
        self.device.counters.dropped_readings += frames

    def _apply(self, effects: list[Action | SafeOutput] | list[SafeOutput]) -> None:
        for effect in effects:
            for action in effect.actions if isinstance(effect, SafeOutput) else (effect,):
                if action.format == ACTION:
                    left, right = action.values
                    self.drive.torque_limits = (left, right)
