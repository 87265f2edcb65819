"""What is MSP's own: messages by number, versions, refusals, short answers, the controller's failsafe."""

from __future__ import annotations

import struct

import pytest

from firmware_bridge.errors import TableError
from firmware_bridge.events import Fault, Gap, Reading
from firmware_bridge.links.msp import framing
from firmware_bridge.simulator.dialects.msp import MspRobot
from tests.firmware_bridge.links.test_polled import TABLES, talk
from tests.support.robots.asked import Conversation, made

FLOW = {"message": 0x2001, "layout": "<Bhhf", "fields": ["quality", "x", "_", "speed m/s"], "rate_hz": 50}


def test_a_message_by_number_has_the_layout_that_is_declared() -> None:
    """It is asked for in version 2, which its number needs; numbers that are not used are passed over."""
    link = made({"dialect": "msp", "reading": {"flow": FLOW}})
    robot = MspRobot(link)
    robot.payloads[0x2001] = struct.pack("<Bhhf", 200, -3, 77, 0.5) + b"and what a newer firmware adds"
    talked = Conversation(link, robot)
    talked.run(100)
    assert talked.written[0][1] == framing.encode(0x2001, version=2)
    assert {reading.values for reading in talked.of(Reading)} == {(200.0, -3.0, 0.5)}
    assert [field.unit for field in link.dictionary["flow"].fields] == ["", "", "m/s"]


@pytest.mark.parametrize("version", [1, 2])
def test_the_version_can_be_fixed(version: int) -> None:
    """Every message in that version, requests and actions."""
    talked = talk("msp", version=version)
    talked.run(50)
    talked.act("act", 1200.0, 1300.0)
    talked.run(100)
    assert {data[:2] for _t, data in talked.written} == {b"$M" if version == 1 else b"$X"}
    assert talked.obeyed == [("act", (1200.0, 1300.0))]
    assert len(talked.of(Reading)) == 10


def test_a_message_that_does_not_fit_into_version_1_is_refused_by_the_configuration() -> None:
    """Numbers above 254 need version 2."""
    with pytest.raises(TableError, match="message: 8193 does not fit into version 1 of MSP"):
        made({"dialect": "msp", "version": 1, "reading": {"flow": FLOW}})


def test_a_message_that_the_controller_does_not_know_is_a_fault_and_a_gap() -> None:
    """Each time that it is asked for; the others are read."""
    reading = TABLES["msp"]["reading"] | {"gps": {"message": "RAW_GPS", "rate_hz": 10}}
    talked = talk("msp", reading=reading)
    talked.run(1000)
    faults = talked.of(Fault)
    assert {(fault.status, fault.detail) for fault in faults} == {
        ("refused", "gps: message 106 is not known to the robot")
    }
    assert len(faults) == len(talked.of(Gap)) == 10
    assert len(talked.of(Reading)) == 100


def test_an_answer_that_is_too_short_is_a_fault_and_a_gap() -> None:
    """Six bytes are needed for three angles; the first two fields need four."""
    link = made(TABLES["msp"])
    robot = MspRobot(link)
    robot.payloads[108] = b"\0\1\2"
    talked = Conversation(link, robot)
    talked.run(50)
    assert [fault.status for fault in talked.of(Fault)] == ["length"] * 5
    assert "message 108 has 3 bytes, 6 are needed" in talked.of(Fault)[0].detail
    assert len(talked.of(Gap)) == 5


def test_the_robot_that_is_played_is_safe_without_commands() -> None:
    """After the declared 300 ms, once."""
    talked = talk("msp")
    talked.run(50)
    talked.act("act", 1200.0, 1300.0)
    assert talked.robot.tick(299_000) == []
    assert talked.robot.tick(301_000) == [("act", (1500.0, 1000.0))]
    assert talked.robot.tick(900_000) == []


def test_two_messages_at_their_own_rates_share_the_line() -> None:
    """Neither keeps the other waiting for more than an answer."""
    reading = TABLES["msp"]["reading"] | {"battery": {"message": "ANALOG", "rate_hz": 7}}
    link = made(TABLES["msp"] | {"reading": reading})
    robot = MspRobot(link)
    robot.reading("sensor", 0, (45.0, 22.5))
    robot.reading("battery", 0, (12.5, 800.0, 1000.0, -2.5))
    talked = Conversation(link, robot)
    talked.run(2000)
    read = [reading.format for reading in talked.of(Reading)]
    battery = next(reading for reading in talked.of(Reading) if reading.format == "battery")
    assert (read.count("sensor"), read.count("battery")) == (200, 14)
    assert talked.of(Gap) == talked.of(Fault) == []
    assert battery.values == (12.5, 800.0, 1000.0, -2.5)
