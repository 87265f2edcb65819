"""A reading that is spread over several messages, the last of which completes it.

Its rule: numbers of two moments are never mixed. A reading is whole only if its messages came in their order, each
once, and nothing was damaged in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from firmware_bridge.remembered import Remembers


class Collector(Remembers):
    """Of one reading, whose messages are numbered from 0 to `count` - 1."""

    REMEMBERED: ClassVar = {"_numbers": list[float], "_next": int, "_begun": bool}

    def __init__(self, count: int) -> None:
        self._count = count
        self._numbers: list[float] = []
        self._next = 0
        self._begun = False  # its first message was seen since `reset`

    def reset(self) -> None:
        """The port was opened or lost; what comes next may be the rest of a reading."""
        self.interrupt()
        self._begun = False

    def interrupt(self) -> None:
        """Something was damaged or is missing: what comes next may be of another moment."""
        self._numbers, self._next = [], 0

    def add(self, number: int, numbers: Sequence[float]) -> tuple[list[float] | None, bool]:
        """Message `number` came: the numbers of the whole reading, if it is the last of it; and whether one has ended
        that is not whole."""
        if number == 0:
            self.interrupt()
            self._begun = True
        if number != self._next:
            self.interrupt()
            return None, self._begun and number == self._count - 1
        self._numbers += numbers
        self._next += 1
        if self._next < self._count:
            return None, False
        whole = self._numbers
        self.interrupt()
        return whole, False
