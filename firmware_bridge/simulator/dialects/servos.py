"""A bus of servos that is played: each has a memory, which readings are written into and packets read and write.

Its rule: that of `robot_side.py`. A servo does what its registers say and nothing else: it has no watchdog, and a goal
stays for ever. Servos answer one after another, in the order in which they were asked.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.servos import Servos
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide

MEMORY = 1024  # bytes of each servo


class ServoRobot(RobotSide):
    """The servos of a link of `Servos`. A subclass knows packets."""

    model_number: int  # of all of them

    def __init__(self, link: Dialect) -> None:
        super().__init__(link)
        assert isinstance(link, Servos)
        self.link = link
        self._reset()

    def _reset(self) -> None:
        registers, order = self.link.known, self.link.order
        self.memory = {id: bytearray(MEMORY) for id in self.link.servos}
        self._answers = b""
        for id in self.memory:
            self.put(id, registers["model_number"].address, registers["model_number"].write(self.model_number, order))
            self.put(id, registers["id"].address, bytes((id,)))

    def put(self, id: int, address: int, data: bytes) -> None:
        """Bytes of one servo's memory."""
        self.memory[id][address : address + len(data)] = data

    def get(self, id: int, address: int, size: int) -> bytes:
        """Bytes of one servo's memory."""
        return bytes(self.memory[id][address : address + size])

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        raw = iter(self.raw(name, t_us, values))
        for register in self.link.span_of(name).registers:
            for id in self.memory:
                number = round(next(raw) / register.scale)
                self.put(id, register.address, register.write(number, self.link.order))
        return b""

    def written(self, address: int, ids: Sequence[int]) -> list[Obeyed]:
        """What of the actions has been obeyed with a write to these servos. Torque that is switched off is the safe
        output of an action which says so."""
        obeyed: list[Obeyed] = []
        torque, order = self.link.known["torque_enable"], self.link.order
        for name, goals in self.link.goals.items():
            if not set(ids) & set(goals.ids):
                continue
            register = goals.register
            if address == register.address:
                stored = (self.get(id, register.address, register.size) for id in goals.ids)
                raw = [register.read(data, order) for data in stored]
                obeyed.append((name, tuple(number * register.scale for number in raw)))
            elif address == torque.address and goals.safe == "torque off" and not self._under_torque(goals.ids):
                obeyed.append((name, self.actions[name].form.safe_action().values))
        return obeyed

    def _under_torque(self, ids: Sequence[int]) -> bool:
        return any(self.get(id, self.link.known["torque_enable"].address, 1)[0] for id in ids)

    @abstractmethod
    def receive(self, data: bytes) -> list[Obeyed]:
        """As `RobotSide`."""

    def answers(self) -> bytes:
        answers, self._answers = self._answers, b""
        return answers

    def restart(self) -> None:
        super().restart()
        self._reset()
