"""A bus of Dynamixel servos by protocol 2.

Its rule: that of `Servos`. What the X series calls things stands in its table; servos of other series are read by
numbers. Its servos have a watchdog of their own, the bus watchdog, which is off unless robot.toml sets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from firmware_bridge.links.dynamixel import packets
from firmware_bridge.links.dynamixel.packets import Packet
from firmware_bridge.links.dynamixel.tables import HARDWARE_ERRORS, X
from firmware_bridge.links.polling import Poll
from firmware_bridge.links.promises import Promises
from firmware_bridge.links.registers import Span
from firmware_bridge.links.servos import Servos
from firmware_bridge.table import Table

TICK_MS = 20  # of the bus watchdog
_STATUS = X["hardware_error_status"]


class DynamixelLink(Servos[Packet]):
    """Dialect "dynamixel"."""

    REMEMBERED: ClassVar = {"_alerted": frozenset[int]}
    name = "dynamixel"
    watchdog = "is that of the servos themselves here: [link] bus_watchdog_ms"
    last_id = packets.LAST_ID
    known = X

    def __init__(self, table: Table) -> None:
        self.finder = packets.finder()
        self._alerted: frozenset[int] = frozenset()
        super().__init__(table)
        watchdog_ms = table.take("bus_watchdog_ms", int, None)
        if watchdog_ms is not None and (watchdog_ms % TICK_MS or not TICK_MS <= watchdog_ms <= 127 * TICK_MS):
            why = f"must be a multiple of {TICK_MS} from {TICK_MS} to {127 * TICK_MS}, not {watchdog_ms}"
            raise table.fail("bus_watchdog_ms", why)
        self._watchdog = (watchdog_ms or 0) // TICK_MS

    def requests(self, ids: Sequence[int], address: int, size: int) -> tuple[bytes, ...]:
        return (packets.sync_read(ids, address, size),)

    def sync_write(self, address: int, values: Mapping[int, bytes]) -> bytes:
        return packets.sync_write(address, values)

    def before_first(self, goals: Sequence[int], torque: Sequence[int]) -> bytes:
        """The bus watchdog begins to watch; 0 first, which clears it where it has stopped a servo."""
        watchdog = X["bus_watchdog"]
        ticks = (0, self._watchdog) if self._watchdog else ()
        begun = (self.sync_write(watchdog.address, dict.fromkeys(goals, watchdog.write(count))) for count in ticks)
        return b"".join(begun) + super().before_first(goals, torque)

    def packet(self, t_ns: int, packet: Packet) -> None:
        if packet.instruction != packets.STATUS:
            return  # the line's echo of our own
        alert, number = bool(packet.error & packets.ALERT), packet.error & ~packets.ALERT
        if not alert:
            self.wrong(t_ns, packet.id, "")
        elif packet.id not in self._alerted:
            self.also_ask(self._errors[packet.id])
        self._alerted = (self._alerted | {packet.id}) if alert else self._alerted - {packet.id}
        whole = packets.encode(packet.id, packets.STATUS, bytes((packet.error,)) + packet.parameters)
        if number:
            self.intact(t_ns)
            why = packets.ERRORS[number] if number < len(packets.ERRORS) else f"error {number}"
            self.fault(t_ns, "refused", whole, f"servo {self.servos.get(packet.id, packet.id)} says: {why}")
            return
        self.status(t_ns, packet.id, packet.parameters, whole)

    def also_asked(self) -> list[Poll]:
        """What is wrong, of whichever servo raises an alert."""
        span = Span((_STATUS,))
        self._errors = [self._poll(f"hardware error {id}", span, None, (id,)) for id in range(0x100)]
        return self._errors

    def told(self, t_ns: int, numbers: Mapping[int, tuple[int, ...]]) -> None:
        """What a servo that raised an alert says is wrong."""
        for id, (bits,) in numbers.items():
            words = [HARDWARE_ERRORS.get(bit, f"bit {bit}") for bit in range(8) if bits >> bit & 1]
            self.wrong(t_ns, id, ", ".join(words))

    @property
    def promises(self) -> Promises:
        known = super().promises
        return replace(known, unguarded=()) if self._watchdog else known

    def key(self, data: bytes) -> bytes:
        return data[8:12]  # address and size of a sync write

    def explain(self, data: bytes) -> str:
        """What is written to which servo."""
        said = []
        for item in packets.finder().feed(data):
            if isinstance(item, Packet) and item.instruction == packets.SYNC_WRITE:
                address, size = (int.from_bytes(item.parameters[k : k + 2], "little") for k in (0, 2))
                rest = item.parameters[4:]
                values = {rest[k]: rest[k + 1 : k + 1 + size] for k in range(0, len(rest), size + 1)}
                said.append(self.said(address, values))
            elif isinstance(item, Packet) and item.instruction == packets.SYNC_READ:
                address, size = (int.from_bytes(item.parameters[k : k + 2], "little") for k in (0, 2))
                said.append(f"read {size} bytes from {address}")
        return "; ".join(said) if said and all(said) else super().explain(data)
