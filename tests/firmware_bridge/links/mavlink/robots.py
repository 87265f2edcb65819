"""Autopilots made by pymavlink, and links to them: what the tests of the dialect talk through."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.events import Event
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.mavlink.link import MavlinkLink
from firmware_bridge.values import Chunk

IMU = {
    "message": "HIGHRES_IMU",
    "fields": ["xacc", "yacc", "zacc", "xgyro", "ygyro", "zgyro"],
    "time": "time_usec",
    "rate_hz": 100,
}
DRIVE = {
    "message": "MANUAL_CONTROL",
    "fields": {name: {"min": -1000, "max": 1000, "safe": 0} for name in ("x", "y")},
    "constant": {"z": 500, "r": 0, "buttons": 0},
    "repeat_ms": 100,
    "watchdog_ms": 500,
}
TABLE = {"dialect": "mavlink", "reading": {"imu": IMU}, "action": {"drive": DRIVE}}
STEP_NS = 10_000_000  # from one reading to the next


def link(**changes: Any) -> MavlinkLink:
    """A link made of TABLE with some keys of [link] changed; None: without that key."""
    values = {key: value for key, value in (TABLE | changes).items() if value is not None}
    made = LinkConfig(values, "robot.toml", Path()).open()
    assert isinstance(made, MavlinkLink)
    return made


def opened(**changes: Any) -> MavlinkLink:
    """The same on an open port."""
    made = link(**changes)
    made.receive(Chunk(0, b"port", "opened"))
    return made


class Autopilot:
    """System 1, component 1: HIGHRES_IMU at 100 Hz, ATTITUDE at 50 Hz, a heartbeat each second."""

    def __init__(self, system: int = 1, component: int = 1) -> None:
        self.dialect: Any = pytest.importorskip(
            "pymavlink.dialects.v20.ardupilotmega", reason="the other side of these tests is pymavlink"
        )
        self.mav = self.dialect.MAVLink(None, system, component)
        self.host = self.dialect.MAVLink(None, 0, 0)  # reads what the link writes
        self.host.robust_parsing = True

    def pack(self, message: Any, version: int = 2) -> bytes:
        """A frame, numbered."""
        data = message.pack(self.mav, force_mavlink1=version == 1)
        self.mav.seq = (self.mav.seq + 1) % 256
        return data

    def values(self, n: int) -> tuple[float, ...]:
        """The reading's numbers as a float32 holds them, never twice the same."""
        t = n / 100
        wanted = (math.sin(t), -math.cos(t), 9.8 + t, math.sin(2 * t), math.cos(3 * t), 0.1 * math.sin(7 * t))
        return struct.unpack("<6f", struct.pack("<6f", *wanted))

    def imu(self, n: int, version: int = 2) -> bytes:
        message = self.dialect.MAVLink_highres_imu_message(n * 10_000, *self.values(n), 0, 0, 0, 1013, 0, 10, 25, 63)
        return self.pack(message, version)

    def attitude(self, n: int, roll: float = 0.5) -> bytes:
        return self.pack(self.dialect.MAVLink_attitude_message(n * 10, roll, 0, 0, 0, 0, 0))

    def heartbeat(self, autopilot: int = 3, kind: int = 10) -> bytes:
        return self.pack(self.dialect.MAVLink_heartbeat_message(kind, autopilot, 128, 7, 4, 3))

    def acknowledge(self, result: int, command: int = 511) -> bytes:
        return self.pack(self.dialect.MAVLink_command_ack_message(command, result))

    def stream(self, count: int) -> list[bytes]:
        """What it sends in each step."""
        return [
            (self.heartbeat() if n % 100 == 0 else b"") + (self.attitude(n) if n % 2 == 0 else b"") + self.imu(n)
            for n in range(count)
        ]

    def read(self, data: bytes) -> list[Any]:
        """The messages that a host's bytes hold, all of them intact."""
        found = self.host.parse_buffer(data) or []
        assert all(item.get_type() != "BAD_DATA" for item in found)
        return found


def run(made: MavlinkLink, steps: Iterable[bytes], first_ns: int = 0) -> tuple[list[Event], bytes]:
    """All events of the steps' bytes, 10 ms apart, and all bytes that the link wrote."""
    events: list[Event] = []
    out = b""
    for n, data in enumerate(steps):
        events += made.receive(Chunk(first_ns + n * STEP_NS, data))
        out += made.outgoing()
    return events, out
