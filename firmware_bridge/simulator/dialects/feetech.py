"""A bus of Feetech servos that is played: ping, read, write, and both of them for several servos at once.

Its rule: that of `servos.py`. Each status carries the servo's error bits, which a test may set.
"""

from __future__ import annotations

from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.feetech import packets
from firmware_bridge.links.feetech.packets import Packet
from firmware_bridge.links.feetech.tables import MODELS
from firmware_bridge.simulator.dialects.robot_side import Obeyed
from firmware_bridge.simulator.dialects.servos import ServoRobot


class FeetechRobot(ServoRobot):
    """The servos of a `FeetechLink`."""

    def __init__(self, link: Dialect) -> None:
        series = link.table.values.get("series", "sts")
        self.model_number = next(number for number, (_name, of) in MODELS.items() if of == series)
        self.errors: dict[int, int] = {}  # of each servo, its error bits
        self._finder = packets.finder()
        super().__init__(link)

    def receive(self, data: bytes) -> list[Obeyed]:
        obeyed: list[Obeyed] = []
        for item in self._finder.feed(data):
            if isinstance(item, Packet):
                obeyed += self._obey(item)
        return obeyed

    def _obey(self, packet: Packet) -> list[Obeyed]:
        parameters = packet.parameters
        if packet.id == packets.EVERY_SERVO and packet.code == packets.SYNC_READ and len(parameters) > 2:
            for id in parameters[2:]:
                self._answer(id, parameters[0], parameters[1])
        elif packet.id == packets.EVERY_SERVO and packet.code == packets.SYNC_WRITE and len(parameters) > 2:
            address, size = parameters[0], parameters[1]
            ids = parameters[2 :: size + 1]
            for k, id in enumerate(ids):
                at = 3 + k * (size + 1)
                if id in self.memory:
                    self.put(id, address, parameters[at : at + size])
            return self.written(address, ids)
        elif packet.id not in self.memory:
            pass
        elif packet.code == packets.PING:
            self._answer(packet.id)
        elif packet.code == packets.READ and len(parameters) == 2:
            self._answer(packet.id, *parameters)
        elif packet.code == packets.WRITE and len(parameters) > 1:
            self.put(packet.id, parameters[0], parameters[1:])
            self._answer(packet.id)
            return self.written(parameters[0], (packet.id,))
        return []

    def _answer(self, id: int, address: int = 0, size: int = 0) -> None:
        if id in self.memory:
            self._answers += packets.encode(id, self.errors.get(id, 0), self.get(id, address, size))
