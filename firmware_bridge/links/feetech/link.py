"""A bus of Feetech servos (STS, SMS, SCS).

Its rule: that of `Servos`. STS and SMS answer one request all together (sync read); SCS are asked one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from firmware_bridge.links.feetech import packets
from firmware_bridge.links.feetech.packets import Packet
from firmware_bridge.links.feetech.tables import MODELS, SERIES
from firmware_bridge.links.servos import Servos
from firmware_bridge.table import Table


class FeetechLink(Servos[Packet]):
    """Dialect "feetech"."""

    REMEMBERED: ClassVar[dict[str, Any]] = {}
    name = "feetech"
    last_id = packets.LAST_ID

    def __init__(self, table: Table) -> None:
        self._series = table.choice("series", list(SERIES), "sts")
        self.known, self.order, self._together = SERIES[self._series]
        self.finder = packets.finder()
        super().__init__(table)

    def requests(self, ids: Sequence[int], address: int, size: int) -> tuple[bytes, ...]:
        if self._together:
            return (packets.sync_read(ids, address, size),)
        return tuple(packets.read(id, address, size) for id in ids)

    def sync_write(self, address: int, values: Mapping[int, bytes]) -> bytes:
        return packets.sync_write(address, values)

    def packet(self, t_ns: int, packet: Packet) -> None:
        whole = packets.encode(*packet)
        awaited = self.polling.awaited
        if packet.id == packets.EVERY_SERVO or (awaited is not None and whole == awaited.poll.requests[awaited.step]):
            return  # the line's echo of our own
        words = [word for bit, word in enumerate(packets.ERRORS) if packet.code >> bit & 1]
        self.wrong(t_ns, packet.id, ", ".join(words))
        self.status(t_ns, packet.id, packet.parameters, whole)

    def models(self, t_ns: int, models: Mapping[int, int]) -> None:
        for id, number in models.items():
            model, series = MODELS.get(number, ("", self._series))
            if series != self._series:
                why = f"servo {self.servos[id]} is a {model}, so [link] series should be {series!r}"
                self.fault(t_ns, "device", b"", why)

    def key(self, data: bytes) -> bytes:
        return data[5:7]  # address and size of a sync write

    def explain(self, data: bytes) -> str:
        """What is written to which servo."""
        said = []
        for item in packets.finder().feed(data):
            if isinstance(item, Packet) and item.code == packets.SYNC_WRITE:
                address, size, *rest = item.parameters
                values = {rest[k]: bytes(rest[k + 1 : k + 1 + size]) for k in range(0, len(rest), size + 1)}
                said.append(self.said(address, values))
            elif isinstance(item, Packet) and item.code in (packets.SYNC_READ, packets.READ):
                said.append(f"read {item.parameters[1]} bytes from {item.parameters[0]}")
        return "; ".join(said) if said and all(said) else super().explain(data)
