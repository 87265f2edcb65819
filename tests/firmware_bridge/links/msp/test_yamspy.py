"""YAMSPy as the other side: the same messages byte for byte, the same values, the same sticks."""

from __future__ import annotations

import warnings

import pytest

from firmware_bridge.links.msp import framing
from firmware_bridge.links.msp.tables import ACTIONS, READINGS
from firmware_bridge.simulator.dialects.msp import MspRobot
from firmware_bridge.values import Action
from tests.support.robots.asked import made, on_terminal, read_on

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)  # Python 3.14 about a `return` in a `finally`
    yamspy = pytest.importorskip("yamspy", reason="the extra `test` installs yamspy")

PAYLOADS = {
    "STATUS": (125, 3, 0x2B, 0x80000001, 2),
    "RAW_IMU": (-512, 100, 2048, -1999, 0, 1999, 32767, -32768, 1),
    "ATTITUDE": (-1799, 899, 359),
    "ALTITUDE": (-12345, -321),
    "RAW_GPS": (2, 11, 525000001, -133700000, 120, 512, 3599),
    "ANALOG": (126, 850, 1023, -250),
    "MOTOR": (1000, 1100, 1200, 1300, 0, 0, 0, 0),
    "RC": (1500, 1501, 1502, 988, 2012, 1000, 1000, 1000),
}
STICKS = {name: {"min": 1000, "max": 2000, "safe": 1000} for name in ("rc_1", "rc_2", "rc_3", "rc_4")}


def table(message: str) -> dict:
    layout = READINGS[message]
    count = len(PAYLOADS[message])
    names = [field.name for field in layout.fields][:count]
    return {
        "dialect": "msp",
        "reading": {"it": {"message": message, "fields": names, "rate_hz": 200}},
        "action": {"sticks": {"message": "SET_RAW_RC", "fields": STICKS, "watchdog_ms": 300}},
    }


def payload(message: str) -> bytes:
    return READINGS[message].packed(len(PAYLOADS[message])).packer.pack(*PAYLOADS[message])


class Kept:
    """YAMSPy without its port: what it writes is kept, what it reads is given."""

    def __init__(self, data: bytes = b"") -> None:
        self.board = yamspy.MSPy("none", logfilename=None, loglevel="ERROR")
        self.board.conn = self
        self.written, self.data = b"", data

    def write(self, data: bytes) -> int:
        self.written += bytes(data)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        return data


def test_messages_are_yamspys_byte_for_byte(rng) -> None:
    """Any number, any payload, both versions."""
    for number in [*range(1, 255, 7), 0x1F01, 0x2002, 0x4000]:
        data = rng.bytes(int(rng.integers(0, 200)))
        kept = Kept()
        kept.board.send_RAW_msg(number, list(data))
        assert framing.encode(number, data) == kept.written


@pytest.mark.parametrize("version", [1, 2])
def test_yamspy_reads_our_answers(rng, version: int) -> None:
    """Number and payload come through; a refusal is one."""
    for number in (1, 102, 254):
        data = rng.bytes(int(rng.integers(1, 200)))
        found = Kept(framing.encode(number, data, version, framing.ANSWERED)).board.receive_msg()
        assert (found["code"], bytes(found["dataView"]), found["crcError"]) == (number, data, False)
    assert Kept(framing.encode(9, b"", version, framing.REFUSED)).board.receive_msg()["unsupported"] == 1


def theirs(board, message: str) -> list[float]:  # type: ignore[no-untyped-def]
    """What YAMSPy makes of a message, in our fields' order and units."""
    gps, sensors, analog = board.GPS_DATA, board.SENSOR_DATA, board.ANALOG
    config = board.CONFIG
    return {
        "STATUS": lambda: [config[key] for key in ("cycleTime", "i2cError", "activeSensors", "mode", "profile")],
        "RAW_IMU": lambda: [*sensors["accelerometer"], *sensors["gyroscope"], *sensors["magnetometer"]],
        "ATTITUDE": lambda: list(sensors["kinematics"]),
        "ALTITUDE": lambda: [sensors["altitude"]],
        "RAW_GPS": lambda: [
            *(gps["fix"], gps["numSat"], gps["lat"] * 1e-7, gps["lon"] * 1e-7),
            *(gps["alt"], gps["speed"] * 0.01, gps["ground_course"] * 0.1),
        ],
        "ANALOG": lambda: [analog["voltage"], analog["mAhdrawn"], analog["rssi"], analog["amperage"]],
        "MOTOR": lambda: list(board.MOTOR_DATA),
        "RC": lambda: list(board.RC["channels"]),
    }[message]()


@pytest.mark.parametrize("message", PAYLOADS)
def test_yamspy_and_our_link_read_the_same_values(message: str) -> None:
    """On one pseudo-terminal, one after the other; and the sticks that both set are the same."""
    link = made(table(message))
    robot = MspRobot(link)
    robot.payloads[READINGS[message].number] = payload(message)
    seen = []
    obey = robot.receive
    robot.receive = lambda data: seen.extend(obey(data)) or []  # type: ignore[method-assign, func-returns-value]
    with on_terminal(robot) as path:
        board = yamspy.MSPy(path, logfilename=None, loglevel="ERROR")
        board.INAV = True  # else it expects the longer messages of Betaflight
        board.conn.timeout = 1
        board.conn.open()
        try:
            assert board.send_RAW_msg(READINGS[message].number)
            board.process_recv_data(board.receive_msg())
            expected = theirs(board, message)
            assert board.send_RAW_RC([1200, 1300, 1400, 1999])
            board.receive_msg()
        finally:
            board.conn.close()
        readings = read_on(path, link, 2, Action("sticks", (1200.0, 1300.0, 1400.0, 1999.0)))
    for reading in readings:
        assert list(reading.values)[: len(expected)] == pytest.approx(expected, rel=1e-12)
    assert set(seen) == {("sticks", (1200.0, 1300.0, 1400.0, 1999.0))}
    assert len(seen) == 2


def test_numbers_and_names_are_yamspys() -> None:
    """Every message that both know has one number."""
    known = yamspy.MSPy.MSPCodes
    both = [
        (layout.number, known[f"MSP_{name}"]) for name, layout in (READINGS | ACTIONS).items() if f"MSP_{name}" in known
    ]
    assert len(both) > 12
    assert all(one == other for one, other in both)
