"""The robot's half of dialect "struct": firmware that sends its numbers packed, and obeys frames that are right.

Its rule: that of `robot_side.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.links.binary.frames import Found, FrameFinder
from firmware_bridge.links.binary.link import StructLink
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.layout import Layout
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide


class StructRobot(RobotSide):
    """Firmware with the frames that a link declares."""

    def __init__(self, link: Dialect) -> None:
        assert isinstance(link, StructLink)
        super().__init__(link)
        self._parts, self._commands = link.parts, link.commands
        self._finder = FrameFinder([item.kind for item in link.commands.values()]) if link.commands else None

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        """All frames of the reading, one behind the other."""
        raw, out = self.raw(name, t_us, values), b""
        for part in self._parts[name]:
            constants = dict(part.kind.constants)
            numbers = [constants.get(at, value) for at, value in enumerate(raw[: len(part.columns)])]
            out += part.kind.frame(fitting(part.kind.layout, numbers))
            raw = raw[len(part.columns) :]
        return out

    def receive(self, data: bytes) -> list[Obeyed]:
        """Whatever is whole, and right to the last byte."""
        if self._finder is None:
            return []
        obeyed: list[Obeyed] = []
        for item in self._finder.feed(data):
            if isinstance(item, Found) and item.kind is not None:
                name, command = list(self._commands.items())[item.kind]
                obeyed.append((name, command.numbers.values(command.kind.numbers(item.frame))))
        return obeyed

    def restart(self) -> None:
        """Half a frame is forgotten."""
        super().restart()
        if self._finder is not None:
            self._finder.reset()


def fitting(layout: Layout, numbers: Sequence[float]) -> list[float]:
    """Numbers as firmware keeps them: whole ones rounded, and held at the ends of their types."""
    found = []
    for at, number in enumerate(numbers):
        letter = layout.letter(at)
        held = max(letter.least, min(letter.greatest, number))
        found.append(held if layout.is_float(at) else round(held))
    return found
