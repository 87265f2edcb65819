"""ROBOTIS' own software as the other side: the same packets byte for byte, the same registers, values and goals."""

from __future__ import annotations

from functools import partial

import pytest

from firmware_bridge.links.dynamixel import packets
from firmware_bridge.links.dynamixel.packets import Packet
from firmware_bridge.links.dynamixel.tables import X
from firmware_bridge.simulator.dialects.dynamixel import DynamixelRobot
from firmware_bridge.values import Action
from tests.support.robots.asked import made, on_terminal, patiently, read_on

sdk = pytest.importorskip("dynamixel_sdk", reason="the extra `test` installs dynamixel-sdk")

IDS = (1, 2, 3)
REGISTERS = ["present_current", "present_velocity", "present_position", "present_input_voltage", "present_temperature"]
RAW = {  # of each servo, in the order of REGISTERS; the second's bytes hold FF FF FD, which is stuffed
    1: (0, -1, 0, 120, 25),
    2: (-1, -0x0203, 0x00FDFFFF, 74, 61),
    3: (-1193, 260, -1_044_479, 126, 40),
}
GOALS = {f"goal_position_{id}": {"min": -360, "max": 360} for id in IDS}
TABLE = {
    "dialect": "dynamixel",
    "servos": list(IDS),
    "reading": {"joints": {"registers": REGISTERS, "rate_hz": 100}},
    "action": {"goal": {"register": "goal_position", "safe": "hold", "fields": GOALS}},
}
STUFFED = [b"\xff\xff\xfd", b"\xff\xff\xfd\xfd", b"\xff\xff\xff\xfd\x00", b"\xff\xff\xfd\x00\xff\xff\xfd"]


class Written:
    """A port of the SDK's that keeps what is written."""

    is_using = False

    def __init__(self) -> None:
        self.data = b""

    def clearPort(self) -> None: ...

    def setPacketTimeout(self, length: int) -> None: ...

    def writePort(self, data: list[int]) -> int:
        self.data += bytes(data)
        return len(data)


class Coming:
    """A port of the SDK's that reads these bytes."""

    is_using = False

    def __init__(self, data: bytes) -> None:
        self.data = data

    def readPort(self, length: int) -> bytes:
        data, self.data = self.data[:length], self.data[length:]
        return data

    def isPacketTimeout(self) -> bool:
        return not self.data


def test_packets_are_the_sdks_byte_for_byte(rng) -> None:
    """Read, sync read, write, sync write, of drawn servos and data."""
    handler = sdk.PacketHandler(2.0)
    for _ in range(60):
        port = Written()
        id, address, size = int(rng.integers(253)), int(rng.integers(1000)), int(rng.integers(1, 20))
        ids = [int(item) for item in rng.permutation(253)[: rng.integers(1, 20)]]
        data = {item: rng.bytes(size) for item in ids}
        handler.readTx(port, id, address, size)
        port.is_using = False
        handler.writeTxOnly(port, id, address, size, list(data[ids[0]]))
        handler.syncReadTx(port, address, size, ids, len(ids), False)
        port.is_using = False
        flat = [byte for item, row in data.items() for byte in (item, *row)]
        handler.syncWriteTxOnly(port, address, size, flat, len(flat))
        ours = packets.read(id, address, size) + packets.write(id, address, data[ids[0]])
        assert ours + packets.sync_read(ids, address, size) + packets.sync_write(address, data) == port.data


@pytest.mark.parametrize("data", STUFFED)
def test_what_looks_like_a_head_is_stuffed_as_the_sdk_does(data: bytes) -> None:
    """By its `addStuffing` and `updateCRC` themselves: version 4.1 writes the packet that it had before them."""
    handler = sdk.PacketHandler(2.0)
    plain = [*packets.HEAD, 7, len(data) + 5, 0, packets.WRITE, 116, 0, *data, 0, 0]
    stuffed = handler.addStuffing(plain)[:-2]
    crc = handler.updateCRC(0, stuffed, len(stuffed))
    assert packets.write(7, 116, data) == bytes(stuffed) + crc.to_bytes(2, "little")


def test_the_sdk_reads_our_packets_and_we_read_the_same(rng) -> None:
    """A status with any parameters, stuffed or not, is the same to both."""
    handler = sdk.PacketHandler(2.0)
    for data in [*STUFFED, *(rng.bytes(int(rng.integers(1, 40))) for _ in range(40))]:
        wire = packets.encode(7, packets.STATUS, b"\0" + data)
        theirs, result = handler.rxPacket(Coming(wire), False)
        assert result == sdk.COMM_SUCCESS
        length = theirs[5] | theirs[6] << 8
        assert packets.finder().feed(wire) == [Packet(7, packets.STATUS, 0, bytes(theirs[9 : 9 + length - 4]))]


def test_the_sdk_and_our_link_read_the_same_registers_and_write_the_same_goals() -> None:
    """On one pseudo-terminal, one after the other: model numbers, five registers of three servos, and goals."""
    servos = DynamixelRobot(made(TABLE))
    for id, row in RAW.items():
        for name, raw in zip(REGISTERS, row, strict=True):
            servos.put(id, X[name].address, X[name].write(raw))
    goal = X["goal_position"]
    with on_terminal(servos) as path:
        port, handler = sdk.PortHandler(path), sdk.PacketHandler(2.0)
        assert port.openPort()
        try:
            models = {str(id): patiently(partial(handler.ping, port, id))[0] for id in IDS}
            start, end = X["present_current"].address, X["present_temperature"].address
            group = sdk.GroupSyncRead(port, handler, start, end + 1 - start)
            for id in IDS:
                group.addParam(id)
            patiently(lambda: (None, group.txRxPacket()))
            theirs = {}
            for name in REGISTERS:
                register = X[name]
                for id in IDS:
                    raw = group.getData(id, register.address, register.size)
                    if register.sign and raw >> 8 * register.size - 1:
                        raw -= 1 << 8 * register.size
                    theirs[f"{name}_{id}"] = raw * register.scale
            write = sdk.GroupSyncWrite(port, handler, goal.address, goal.size)
            for id, raw in zip(IDS, (0, -1024, 2048), strict=True):
                write.addParam(id, list(raw.to_bytes(4, "little", signed=True)))
            assert write.txPacket() == sdk.COMM_SUCCESS
            patiently(lambda: handler.ping(port, 1))  # the robot has seen the goals when it answers this
            goals = [servos.get(id, goal.address, goal.size) for id in IDS]
        finally:
            port.closePort()
        link = made(TABLE)
        readings = read_on(path, link, 5, Action("goal", (0.0, -90.0, 180.0)))
    names = [field.name for field in link.dictionary["joints"].fields]
    assert {tuple(zip(names, reading.values, strict=True)) for reading in readings} == {tuple(theirs.items())}
    assert [raw for row in zip(*RAW.values(), strict=True) for raw in row] == [
        round(value / X[name.rsplit("_", 1)[0]].scale) for name, value in theirs.items()
    ]
    assert link.report()["models"] == models == {"1": 1020, "2": 1020, "3": 1020}
    assert [servos.get(id, goal.address, goal.size) for id in IDS] == goals
    assert goals[1] == b"\x00\xfc\xff\xff"
