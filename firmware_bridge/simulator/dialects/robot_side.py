"""What every robot's half of a dialect is: readings to bytes, bytes to actions, and answers where it is asked.

Its rule: sans-IO and deterministic, as the link that it talks to; time is the robot's own clock, in µs since it started
(it wraps in the bytes, as the real clocks do, never here). It is made of the link's own declarations, so that a
configuration says both halves; what it writes for a reading is what such firmware writes, with the declared scale and
offset undone. Nothing that arrives raises.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import ClassVar

from firmware_bridge.errors import BridgeError
from firmware_bridge.links.dialect import Dialect

Obeyed = tuple[str, tuple[float, ...]]  # an action's name and its values in the order of its fields, in physical units


class RobotSide:
    """One robot's firmware. A dialect's class derives from this, and is made with the link whose `readings` and
    `actions` declare the formats.

    end: the byte that ends every message; b"" where none does.
    """

    end: ClassVar[bytes] = b""

    def __init__(self, link: Dialect) -> None:
        self.readings, self.actions = link.readings, link.actions
        self.sent = dict.fromkeys(link.readings, 0)  # readings since the start, for their counters

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        """The message of a reading taken at `t_us`: physical values, one for each channel of the format in its order,
        without the time and the counter, which it writes itself. A polled robot keeps them until it is asked: b""."""
        raise NotImplementedError

    def receive(self, data: bytes) -> list[Obeyed]:
        """The actions that are obeyed because of these bytes, in order; what arrived damaged is none."""
        raise NotImplementedError

    def answers(self) -> bytes:
        """What it says without a reading: answers to requests, heartbeats that are due; each once."""
        return b""

    def tick(self, t_us: int) -> list[Obeyed]:
        """Time has come to `t_us`: what its own watchdog does. Called before what happens then; every 10 ms or more
        often."""
        return []

    def restart(self) -> None:
        """It starts again: half messages are forgotten, its clock and its counters begin at 0."""
        self.sent = dict.fromkeys(self.readings, 0)

    def raw(self, name: str, t_us: int, values: Sequence[float]) -> list[float]:
        """The numbers of the message, one for each column: clock, counter, and values with scale and offset undone;
        0 where a column is not used. Counts the reading."""
        declared = self.readings[name]
        numbers = [0.0] * len(declared.columns)
        scales = declared.scales or ((1.0, 0.0),) * len(values)
        for k, value, (scale, offset) in zip(declared.kept, values, scales, strict=True):
            numbers[k] = (value - offset) / scale
        if declared.time is not None and declared.clock is not None:
            ticks = int(t_us * 1000 // declared.clock.tick_ns) if declared.clock.tick_ns < 1e9 else t_us * 1e-6
            numbers[declared.time] = ticks % declared.clock.wrap if declared.clock.wrap else ticks
        if declared.counter is not None and declared.follow is not None:
            numbers[declared.counter] = self.sent[name] % declared.follow.wrap
        self.sent[name] += 1
        return numbers


# dialect → class
ROBOT_SIDES = {
    name: f"firmware_bridge.simulator.dialects.{module}:{kind}"
    for name, module, kind in (
        ("lines", "lines", "LinesRobot"),
        ("struct", "binary", "StructRobot"),
        ("mavlink", "mavlink", "MavlinkRobot"),
        ("msp", "msp", "MspRobot"),
        ("feetech", "feetech", "FeetechRobot"),
        ("dynamixel", "dynamixel", "DynamixelRobot"),
        ("slcan", "slcan", "SlcanRobot"),
    )
}


def robot_side(link: Dialect) -> RobotSide:
    """The robot that such a link talks to. BridgeError for a dialect that has none here."""
    place = ROBOT_SIDES.get(link.name)
    if place is None:
        raise BridgeError(f"there is no simulated robot of dialect {link.name!r}; there are {', '.join(ROBOT_SIDES)}")
    module, _, name = place.partition(":")
    made: RobotSide = getattr(importlib.import_module(module), name)(link)
    return made
