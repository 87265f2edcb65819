"""A flight controller that is played: it keeps the newest reading of each message, and answers when it is asked.

Its rule: that of `robot_side.py`. Both versions of the protocol, each answered as it was asked. What it does not know
it refuses ("!"), and without commands for the declared `watchdog_ms` it takes the safe values by itself."""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.msp import framing
from firmware_bridge.links.msp.link import MspLink
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide


class MspRobot(RobotSide):
    """The robot of an `MspLink`."""

    def __init__(self, link: Dialect) -> None:
        super().__init__(link)
        assert isinstance(link, MspLink)
        self._reads = {name: link.read_of(name) for name in link.readings}
        self._writes = {write.number: (name, write) for name, write in link.writes.items()}
        self._reset()

    def _reset(self) -> None:
        self.payloads: dict[int, bytes] = {}  # by message number; a test may put others in
        self._finder = framing.finder()
        self._answers = b""
        self._now_us, self._obeyed_us = 0, dict.fromkeys(self.actions, 0)
        self._safe = set(self.actions)

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        read = self._reads[name]
        numbers = [0.0] * len(read.layout.letters)
        for (place, scale), raw in zip(read.chosen, self.raw(name, t_us, values), strict=True):
            numbers[place] = raw / scale
        whole = [value if read.layout.is_float(k) else round(value) for k, value in enumerate(numbers)]
        self.payloads[read.number] = read.layout.packer.pack(*whole)
        return b""

    def receive(self, data: bytes) -> list[Obeyed]:
        obeyed: list[Obeyed] = []
        for item in self._finder.feed(data):
            if not isinstance(item, framing.Message) or item.direction != framing.ASKED:
                continue
            direction, payload = framing.ANSWERED, b""
            if item.number in self._writes:
                obeyed += self._obey(item)
            elif item.number in self.payloads:
                payload = self.payloads[item.number]
            else:
                direction = framing.REFUSED
            self._answers += framing.encode(item.number, payload, item.version, direction)
        return obeyed

    def _obey(self, message: framing.Message) -> list[Obeyed]:
        name, write = self._writes[message.number]
        if len(message.payload) != write.packed.layout.size:
            return []
        self._obeyed_us[name] = self._now_us
        self._safe.discard(name)
        return [(name, write.packed.values(write.packed.layout.unpack(message.payload)))]

    def answers(self) -> bytes:
        answers, self._answers = self._answers, b""
        return answers

    def tick(self, t_us: int) -> list[Obeyed]:
        self._now_us = t_us
        late = [
            name
            for name, action in self.actions.items()
            if action.watchdog_ms and name not in self._safe
            if t_us - self._obeyed_us[name] >= action.watchdog_ms * 1000
        ]
        self._safe.update(late)
        return [(name, self.actions[name].form.safe_action().values) for name in late]

    def restart(self) -> None:
        super().restart()
        self._reset()
