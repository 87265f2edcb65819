"""Our own firmware as a robot that is played: any dictionary, the real `Device`.

Its rule: that of `robot_side.py`. It sends nothing before a host has started it, and its watchdog is the protocol's.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import SafeOutput
from firmware_bridge.links.own.device import Device
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide
from firmware_bridge.values import Action


class OwnRobot(RobotSide):
    """A board with this dictionary; each start has a boot id drawn from the seed."""

    end: ClassVar[bytes] = b"\0"

    def __init__(self, dictionary: Dictionary, seed: int = 0) -> None:
        self._dictionary, self._random = dictionary, Random(f"{seed} boots")
        self.restart()

    def restart(self) -> None:
        """A new boot: a new id, not started."""
        self._device = Device(self._dictionary, self._random.randrange(1, 2**32))
        self._now_us = 0

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        """Empty until the host has asked for it."""
        return self._device.reading(t_us, name, values)

    def receive(self, data: bytes) -> list[Obeyed]:
        """Actions, and the safe ones where the host said stop."""
        return _obeyed(self._device.receive(self._now_us, data))

    def tick(self, t_us: int) -> list[Obeyed]:
        """The heartbeat's time-out."""
        self._now_us = t_us
        return _obeyed(self._device.tick(t_us))

    def answers(self) -> bytes:
        """HELLO, STATUS, the dictionary."""
        return self._device.outgoing()


def _obeyed(effects: Sequence[Action | SafeOutput]) -> list[Obeyed]:
    actions = [a for effect in effects for a in (effect.actions if isinstance(effect, SafeOutput) else (effect,))]
    return [(action.format, action.values) for action in actions]
