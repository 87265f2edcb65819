"""A rover's own protocol: "~", a length, big-endian 16-bit integers, and the sum of all of them modulo 256.

[link]
dialect = "rover"
[link.reading.wheels]          # ~ 06 seq left right sum
fields = ["seq", "left mm/s", "right mm/s"]
counter = "seq"
counter_bits = 16
"""

import struct

from firmware_bridge.links.declarations import ActionDeclaration
from firmware_bridge.links.dialect import Dialect

HEAD = b"~"


class Rover(Dialect):
    name = "rover"
    checked = True

    def opened(self) -> None:
        self._rest = b""

    def decode(self, t_ns: int, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 2:
            size = self._rest[1]
            end = 3 + size
            if self._rest[:1] != HEAD or size != 6:
                self.fault(t_ns, "head", self._rest[:1])
                self._rest = self._rest[1:]
            elif len(self._rest) < end:
                return
            elif sum(self._rest[1 : end - 1]) & 0xFF != self._rest[end - 1]:
                self.fault(t_ns, "check", self._rest[:end])
                self._rest = self._rest[1:]
            else:
                self.deliver(t_ns, "wheels", struct.unpack(">Hhh", self._rest[2 : end - 1]))
                self._rest = self._rest[end:]

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        body = struct.pack(f">{len(values)}h", *(round(value) for value in values))
        body = bytes([len(body)]) + body
        return HEAD + body + bytes([sum(body) & 0xFF])
