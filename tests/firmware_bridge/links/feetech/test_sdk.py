"""Feetech's own software as the other side: the same packets byte for byte, the same registers, values and goals."""

from __future__ import annotations

from functools import partial

import pytest

from firmware_bridge.links.feetech import packets
from firmware_bridge.links.feetech.tables import SCS, STS
from firmware_bridge.simulator.dialects.feetech import FeetechRobot
from firmware_bridge.values import Action
from tests.support.robots.asked import made, on_terminal, patiently, read_on

sdk = pytest.importorskip("scservo_sdk", reason="the extra `test` installs feetech-servo-sdk")

IDS = (1, 2, 3)
REGISTERS = ["present_position", "present_velocity", "present_load", "present_voltage", "present_temperature"]
RAW = {  # of each servo, in the order of REGISTERS
    1: (0, -1, 0, 120, 25),
    2: (4095, 300, -1000, 74, 61),
    3: (2048, -3400, 513, 126, 40),
}
GOALS = {f"goal_position_{id}": {"min": -360, "max": 360} for id in IDS}
TABLE = {
    "dialect": "feetech",
    "servos": list(IDS),
    "reading": {"joints": {"registers": REGISTERS, "rate_hz": 100}},
    "action": {"goal": {"register": "goal_position", "safe": "hold", "fields": GOALS}},
}


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


def robot() -> FeetechRobot:
    """Three servos with those numbers in their memories."""
    made_robot = FeetechRobot(made(TABLE))
    for id, row in RAW.items():
        for name, raw in zip(REGISTERS, row, strict=True):
            made_robot.put(id, STS[name].address, STS[name].write(raw))
    return made_robot


def test_packets_are_the_sdks_byte_for_byte(rng) -> None:
    """Read, sync read, write, sync write, ping, of drawn servos and data."""
    for _ in range(50):
        handler, port = sdk.PacketHandler(0), Written()
        id, address, size = int(rng.integers(253)), int(rng.integers(256)), int(rng.integers(1, 20))
        ids = [int(item) for item in rng.permutation(253)[: rng.integers(1, 20)]]
        data = {item: rng.bytes(size) for item in ids}
        handler.readTx(port, id, address, size)
        port.is_using = False
        handler.writeTxOnly(port, id, address, size, list(data[ids[0]]))
        handler.syncReadTx(port, address, size, ids, len(ids))
        port.is_using = False
        flat = [byte for item, row in data.items() for byte in (item, *row)]
        if len(flat) + 8 <= 250:
            handler.syncWriteTxOnly(port, address, size, flat, len(flat))
        ours = packets.read(id, address, size) + packets.write(id, address, data[ids[0]])
        ours += packets.sync_read(ids, address, size)
        ours += packets.sync_write(address, data) if len(flat) + 8 <= 250 else b""
        assert ours == port.data


@pytest.mark.parametrize(("series", "end"), [(STS, 0), (SCS, 1)])
def test_signs_and_byte_orders_are_the_sdks(series, end: int) -> None:
    """Sign and magnitude, low or high byte first, as the SDK makes words of bytes."""
    sdk.PacketHandler(end)
    order = "big" if end else "little"
    try:
        for register in series.values():
            if register.size != 2:
                continue
            for raw in {*register.limits, 0, 1, 258, 1023}:
                data = register.write(raw, order)
                word = sdk.SCS_MAKEWORD(*data)
                assert register.read(data, order) == raw
                assert (sdk.SCS_TOHOST(word, register.sign) if isinstance(register.sign, int) else word) == raw
    finally:
        sdk.PacketHandler(0)


def test_the_sdk_and_our_link_read_the_same_registers_and_write_the_same_goals() -> None:
    """On one pseudo-terminal, one after the other: model numbers, five registers of three servos, and goals."""
    servos = robot()
    with on_terminal(servos) as path:
        port, handler = sdk.PortHandler(path), sdk.PacketHandler(0)
        assert port.openPort()
        try:
            models = {str(id): patiently(partial(handler.ping, port, id))[0] for id in IDS}
            start = STS["present_position"].address
            group = sdk.GroupSyncRead(port, handler, start, 8)
            for id in IDS:
                group.addParam(id)
            patiently(lambda: (None, group.txRxPacket()))
            theirs = {}
            for name in REGISTERS:
                register = STS[name]
                for id in IDS:
                    raw = group.getData(id, register.address, register.size)
                    raw = sdk.SCS_TOHOST(raw, register.sign) if isinstance(register.sign, int) else raw
                    theirs[f"{name}_{id}"] = raw * register.scale
            write = sdk.GroupSyncWrite(port, handler, STS["goal_position"].address, 2)
            for id, goal in zip(IDS, (0, 1024, 2048), strict=True):
                write.addParam(id, [sdk.SCS_LOBYTE(goal), sdk.SCS_HIBYTE(goal)])
            assert write.txPacket() == sdk.COMM_SUCCESS
            patiently(lambda: handler.ping(port, 1))  # the robot has seen the goals when it answers this
            goals = [servos.get(id, 42, 2) for id in IDS]
        finally:
            port.closePort()
        link = made(TABLE)
        readings = read_on(path, link, 5, Action("goal", (0.0, 90.0, 180.0)))
    names = [field.name for field in link.dictionary["joints"].fields]
    assert {tuple(zip(names, reading.values, strict=True)) for reading in readings} == {tuple(theirs.items())}
    assert [raw for row in zip(*RAW.values(), strict=True) for raw in row] == [
        round(value / STS[name.rsplit("_", 1)[0]].scale) for name, value in theirs.items()
    ]
    assert link.report()["models"] == models == {"1": 777, "2": 777, "3": 777}
    assert [servos.get(id, 42, 2) for id in IDS] == goals == [b"\0\0", b"\0\4", b"\0\10"]
