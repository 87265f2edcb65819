"""A bus of Dynamixel servos (protocol 2) that is played: ping, read, write, and both of them for several at once.

Its rule: that of `servos.py`. A servo whose hardware_error_status is not 0 raises the alert in each status.
"""

from __future__ import annotations

from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dynamixel import packets
from firmware_bridge.links.dynamixel.packets import Packet
from firmware_bridge.links.dynamixel.tables import X
from firmware_bridge.simulator.dialects.robot_side import Obeyed
from firmware_bridge.simulator.dialects.servos import ServoRobot

FIRMWARE = 46


class DynamixelRobot(ServoRobot):
    """The servos of a `DynamixelLink`."""

    model_number = 1020  # XM430-W350

    def __init__(self, link: Dialect) -> None:
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
        address, size = (int.from_bytes(parameters[k : k + 2], "little") for k in (0, 2))
        if packet.instruction == packets.PING:
            ids = list(self.memory) if packet.id == packets.EVERY_SERVO else [packet.id]
            for id in ids:
                self._status(id, self.model_number.to_bytes(2, "little") + bytes((FIRMWARE,)))
        elif packet.instruction == packets.SYNC_READ and len(parameters) > 4:
            for id in parameters[4:]:
                self._status(id, self._read(id, address, size))
        elif packet.instruction == packets.SYNC_WRITE and len(parameters) > 4:
            ids = list(parameters[4 :: size + 1])
            for k, id in enumerate(ids):
                at = 5 + k * (size + 1)
                if id in self.memory:
                    self.put(id, address, parameters[at : at + size])
            return self.written(address, ids)
        elif packet.instruction == packets.READ and len(parameters) == 4:
            self._status(packet.id, self._read(packet.id, address, size))
        elif packet.instruction == packets.WRITE and len(parameters) > 2 and packet.id in self.memory:
            self.put(packet.id, address, parameters[2:])
            self._status(packet.id)
            return self.written(address, (packet.id,))
        return []

    def _read(self, id: int, address: int, size: int) -> bytes:
        return self.get(id, address, size) if id in self.memory else b""

    def _status(self, id: int, data: bytes = b"") -> None:
        if id in self.memory:
            alert = packets.ALERT if self.memory[id][X["hardware_error_status"].address] else 0
            self._answers += packets.encode(id, packets.STATUS, bytes((alert,)) + data)
