"""The robot's half of dialect "slcan": a robot on a CAN bus, and the adapter between it and the serial port.

Its rule: that of `robot_side.py`. The adapter answers every command as LAWICEL's does, and carries frames only while
its channel is open.
"""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.slcan.declarations import LayoutFrame
from firmware_bridge.links.slcan.link import BITRATES, SlcanLink
from firmware_bridge.links.slcan.messages import BEL, CR, STAMP_WRAP, CanFrame, Splitter, encode, parse
from firmware_bridge.simulator.dialects.binary import fitting
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide

_SETUP = (*BITRATES.values(), b"Z0", b"Z1")  # what a closed channel can be told


class SlcanRobot(RobotSide):
    """A robot whose frames a link declares, behind its adapter."""

    end = CR

    def __init__(self, link: Dialect) -> None:
        assert isinstance(link, SlcanLink)
        super().__init__(link)
        self._frames, self._commands = link.frames, link.commands
        self._splitter = Splitter()
        self._answers = b""
        self._open = self._stamped = self._set = False

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        """All frames of the reading; none while the channel is closed."""
        raw, out = self.raw(name, t_us, values), b""
        if not self._open:
            return b""
        stamp = t_us // 1000 % STAMP_WRAP if self._stamped else None
        for frame in self._frames[name]:
            numbers, raw = raw[: len(frame.columns)], raw[len(frame.columns) :]
            if isinstance(frame, LayoutFrame):
                numbers = [frame.numbers.constants.get(at, value) for at, value in enumerate(numbers)]
                data = frame.numbers.layout.packer.pack(*fitting(frame.numbers.layout, numbers))
            else:
                signals = {signal.name: 0.0 for signal in frame.message.definition.signals}
                data = frame.message.encode(signals | dict(zip(frame.message.signals, numbers, strict=True)))
            out += encode(CanFrame(*frame.id, data, stamp))
        return out

    def receive(self, data: bytes) -> list[Obeyed]:
        """Commands to the adapter are answered, frames to the robot obeyed."""
        obeyed = []
        for line in self._splitter.feed(data):
            frame = parse(line.data)
            if isinstance(frame, CanFrame) and self._open:
                self._answers += (b"Z" if frame.extended else b"z") + CR
                obeyed += self._obey(frame)
            else:
                self._answers += CR if self._told(line.data) else BEL
        return obeyed

    def answers(self) -> bytes:
        """Of the adapter."""
        answers, self._answers = self._answers, b""
        return answers

    def _told(self, command: bytes) -> bool:
        """Whether the adapter does it."""
        if command == b"C" and self._open:
            self._open = False
        elif command == b"O" and self._set and not self._open:
            self._open = True
        elif command in _SETUP and not self._open:
            self._set = True
            self._stamped = command == b"Z1" or (self._stamped and command != b"Z0")
        else:
            return command == b""
        return True

    def _obey(self, frame: CanFrame) -> list[Obeyed]:
        for name, command in self._commands.items():
            if command.id == (frame.id, frame.extended) and (values := command.values(frame.data)) is not None:
                return [(name, values)]
        return []
