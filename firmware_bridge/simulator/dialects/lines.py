"""A robot that prints lines: the other half of the dialect "lines".

Its rule: that of every robot's half (`robot_side.py`). It prints the shapes and obeys the lines that the link's
configuration declares, so one file says both halves. A line that it does not know is passed over, as boards do; one
that needs no line end is known only where it arrives in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from firmware_bridge.errors import BridgeError
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.lines.link import LinesLink
from firmware_bridge.links.lines.shapes.regex import Regex
from firmware_bridge.links.lines.splitter import LONGEST
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide

_ENDS = (b"\n", b"\r")


class LinesRobot(RobotSide):
    """One robot's firmware. BridgeError where a reading is declared by a pattern, which says only how it is read."""

    end = b"\n"

    def __init__(self, link: Dialect) -> None:
        super().__init__(link)
        lines = cast(LinesLink, link)
        self._kinds, self._templates = lines.kinds, lines.templates
        for kind in self._kinds.values():
            if isinstance(kind.shape, Regex):
                why = "is declared by a pattern, which says how it is read, not how it is printed; take another shape"
                raise BridgeError(f"a robot with the reading {kind.name!r} cannot be simulated: it {why}")
        requests = [(kind.request, kind.name) for kind in self._kinds.values() if kind.request is not None]
        self._requests = sorted(requests, key=lambda item: -len(item[0]))  # the longest first: "e\r" before "e"
        known = [request for request, _name in requests] + [item.safe() for item in self._templates.values()]
        self._ended = all(line.endswith(_ENDS) for line in known)
        self._heard = self._answers = b""
        self._latest: dict[str, bytes] = {}  # of polled readings

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        lines = self._kinds[name].write(self.raw(name, t_us, values))
        if self._kinds[name].request is None:
            return lines
        self._latest[name] = lines
        return b""

    def receive(self, data: bytes) -> list[Obeyed]:
        self._heard += data
        obeyed: list[Obeyed] = []
        while taken := self._first(obeyed):
            self._heard = self._heard[taken:]
        return obeyed

    def answers(self) -> bytes:
        out, self._answers = self._answers, b""
        return out

    def restart(self) -> None:
        super().restart()
        self._heard = self._answers = b""
        self._latest.clear()

    def _first(self, obeyed: list[Obeyed]) -> int:
        """Do what the first of the bytes heard say; how many they are, 0 where they are not whole."""
        for name, template in self._templates.items():
            if found := template.read(self._heard):
                obeyed.append((name, found[0]))
                return found[1]
        for request, name in self._requests:
            if self._heard.startswith(request):
                self._answers += self._latest.get(name, b"")
                return len(request)
        ends = [at for end in _ENDS if (at := self._heard.find(end)) >= 0]
        if ends:
            return min(ends) + 1
        return 0 if self._ended and len(self._heard) <= LONGEST else len(self._heard)
