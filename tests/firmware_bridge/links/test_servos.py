"""What servos say is wrong with them, servos that are missing, torque, holding, and the Dynamixel's bus watchdog."""

from __future__ import annotations

from typing import Any

import pytest

from firmware_bridge.events import Fault, Gap, Reading
from firmware_bridge.links.dynamixel import packets
from firmware_bridge.links.dynamixel.tables import X
from firmware_bridge.links.registers import Register, Span
from firmware_bridge.simulator.dialects.robot_side import robot_side
from firmware_bridge.values import Chunk
from tests.firmware_bridge.links.test_polled import GOALS, TABLES, exact, talk
from tests.support.robots import MS
from tests.support.robots.asked import Conversation, made, on_time


def faults(talked: Conversation) -> list[tuple[str, str]]:
    return [(fault.status, fault.detail) for fault in talked.of(Fault)]


def test_what_a_feetech_servo_says_is_wrong_is_one_fault() -> None:
    """The error bits of its answers in words, once when they begin and again when they change; readings still come."""
    talked = talk("feetech")
    talked.run(100)
    talked.robot.errors[2] = 0b100100
    talked.run(200)
    assert talked.link.report()["wrong"] == {"2": "overheated, overload"}
    talked.robot.errors[2] = 0b000001
    talked.run(300)
    talked.robot.errors.clear()
    talked.run(400)
    assert faults(talked) == [("device", "servo 2: overheated, overload"), ("device", "servo 2: input voltage")]
    assert talked.link.report()["wrong"] == {}
    assert (len(talked.of(Reading)), talked.of(Gap)) == (40, [])


def test_a_dynamixel_that_raises_the_alert_is_asked_what_is_wrong() -> None:
    """Its hardware_error_status is read once, between two polls; readings still come."""
    talked = talk("dynamixel")
    talked.run(100)
    talked.robot.put(1, X["hardware_error_status"].address, b"\x24")
    talked.run(300)
    assert faults(talked) == [("device", "servo 1: overheated, overload")]
    assert sum(b"\x82\x46\x00\x01\x00\x01" in data for _t, data in talked.written) == 1
    talked.robot.put(1, X["hardware_error_status"].address, b"\0")
    talked.run(400)
    talked.robot.put(1, X["hardware_error_status"].address, b"\1")
    talked.run(500)
    assert faults(talked)[1:] == [("device", "servo 1: input voltage")]
    assert (len(talked.of(Reading)), talked.of(Gap)) == (50, [])


def test_a_request_that_a_dynamixel_refuses_is_a_fault() -> None:
    """Its error in words; a reading without all its servos is lost."""
    refusal = packets.encode(1, packets.STATUS, b"\x04")
    talked = talk("dynamixel", lambda number, answer: on_time(number, refusal if number == 3 else answer))
    talked.run(100)
    assert ("refused", "servo 1 says: data range") in faults(talked)
    assert len(talked.of(Gap)) == 1


@pytest.mark.parametrize("dialect", ["feetech", "feetech-scs", "dynamixel"])
def test_a_servo_that_is_missing_is_named(dialect: str) -> None:
    """At the start, and whenever the others answer without it; each reading is lost."""
    link = made(TABLES[dialect] | {"servos": {"shoulder": 1, "elbow": 2}, "action": {}})
    robot: Any = robot_side(link)
    del robot.memory[2]
    talked = Conversation(link, robot)
    talked.run(500)
    assert talked.of(Reading) == []
    assert talked.link.counters.lost_readings >= 48
    said = {detail for status, detail in faults(talked) if status == "unanswered"}
    assert said == {"model number: no answer from servo elbow", "sensor: no answer from servo elbow"}


def test_a_servo_of_another_series_is_named() -> None:
    """SCS servos answer with their bytes the other way round: the model number tells."""
    table = TABLES["feetech"] | {"servos": [1, 2]}
    link = made(table)
    robot: Any = robot_side(link)
    robot.reading("sensor", 0, (0.0, 0.0))
    robot.put(1, 3, (1284).to_bytes(2, "little"))
    talked = Conversation(link, robot)
    talked.run(50)
    assert faults(talked) == [("device", "servo 1 is a SCS0009, so [link] series should be 'scs'")]


def test_torque_is_switched_on_before_the_first_goal_and_after_torque_off() -> None:
    """Only where robot.toml says so, once; again after the safe output has switched it off, and after opening."""
    talked = talk("feetech")
    talked.run(105)
    torque = b"\xff\xff\xfe\x08\x83\x28\x01"

    def count() -> int:
        return sum(torque + b"\x01\x01\x02\x01" in data for _t, data in talked.written)

    talked.act("act", 10.0, 20.0)
    talked.run(205)
    talked.act("act", 11.0, 20.0)
    assert count() == 1
    talked.run(600)  # the last goal is old: safe
    assert torque + b"\x01\x00\x02\x00" in b"".join(data for _t, data in talked.written)
    assert [talked.robot.memory[id][40] for id in (1, 2)] == [0, 0]
    talked.run(605)
    talked.act("act", 12.0, 20.0)
    assert count() == 2
    assert [talked.robot.memory[id][40] for id in (1, 2)] == [1, 1]
    quiet = talk("feetech", action={"act": TABLES["feetech"]["action"]["act"] | {"torque": False}})
    quiet.run(105)
    quiet.act("act", 10.0, 20.0)
    quiet.run(200)
    assert torque not in b"".join(data for _t, data in quiet.written)


def test_nothing_is_written_that_is_not_asked_for() -> None:
    """Without an action only reads go out, however long; stopping writes nothing."""
    for dialect in ("feetech", "feetech-scs", "dynamixel"):
        talked = talk(dialect, action={})
        memory = {id: bytes(data) for id, data in talked.robot.memory.items()}
        talked.run(1000)
        assert talked.link.stop(talked.now_ns) == b""
        assert {id: bytes(data) for id, data in talked.robot.memory.items()} == memory


@pytest.mark.parametrize(("register", "stopped"), [("goal_velocity", 0.0), ("goal_position", 45.0)])
def test_hold_is_the_last_position_or_no_velocity(register: str, stopped: float) -> None:
    """A goal that is old: the servo holds what was read last, or turns no more."""
    act = {"register": register, "safe": "hold", "fields": {f"{register}_1": {"min": -50, "max": 50}}}
    talked = talk("feetech", action={"act": act})
    talked.run(100)
    talked.act("act", 33.0)
    talked.run(110)
    assert talked.obeyed[-1][1] == pytest.approx((33.0,), abs=0.1)
    talked.run(600)
    assert talked.obeyed[-1] == ("act", (stopped,))


def test_the_bus_watchdog_is_set_before_the_first_goal() -> None:
    """0 first, which clears a servo that it has stopped; then "the last action stays" is not said."""
    talked = talk("dynamixel", bus_watchdog_ms=200)
    talked.run(105)
    assert X["bus_watchdog"].address.to_bytes(2, "little") not in [data[8:10] for _t, data in talked.written]
    talked.act("act", 10.0, 20.0)
    assert [talked.robot.memory[id][98] for id in (1, 2)] == [10, 10]
    said = talked.link.explain(talked.written[-1][1])
    assert said.startswith("bus_watchdog: 1 = 0, 2 = 0 ms; bus_watchdog: 1 = 200, 2 = 200 ms; torque_enable: 1 = 1")
    assert "last action stays" not in " ".join(talked.link.promises.sentences())
    assert "last action stays" in " ".join(talk("dynamixel").link.promises.sentences())


def test_registers_by_number_and_servos_by_name() -> None:
    """The same bytes as by name: address, size, sign and scale; fields are named by register and servo."""
    numbered = {
        "position": [56, 2],
        "turn": {"address": 58, "size": 2, "sign": 15, "unit": "deg/s", "scale": 360 / 4096},
    }
    table: dict[str, Any] = {
        "dialect": "feetech",
        "servos": {"a": 1, "b": 2},
        "reading": {"sensor": {"registers": numbered, "rate_hz": 50}},
    }
    link = made(table)
    robot: Any = robot_side(link)
    robot.reading("sensor", 0, (100.0, 200.0, -90.0, 45.0))
    talked = Conversation(link, robot)
    talked.run(50)
    form = link.dictionary["sensor"]
    names = ["position_a", "position_b", "turn_a", "turn_b"]
    assert [(field.name, field.unit) for field in form.fields] == list(
        zip(names, ["", "", "deg/s", "deg/s"], strict=True)
    )
    assert talked.of(Reading)[0].values == (100.0, 200.0, -90.0, 45.0)
    assert robot.get(1, 58, 2) == b"\x00\x84"


def test_a_safe_output_waits_for_the_answer_too() -> None:
    """A goal that has become old while a request is in the air: the safe output goes out after the answer."""
    talked = talk("feetech")
    talked.run(100)
    talked.act("act", 10.0, 20.0)
    talked.run(350.1)
    data = [data for t_ns, data in talked.written if t_ns > 350 * MS and data[4:6] == b"\x83\x28"]
    assert data == []
    talked.run(351)
    assert [talked.robot.memory[id][40] for id in (1, 2)] == [0, 0]


def test_a_model_number_that_comes_late_does_not_stop_the_readings() -> None:
    """The request for it is given up, named, and the schedule begins."""
    talked = talk("feetech", lambda number, answer: [] if number == 0 else on_time(number, answer))
    talked.run(100)
    assert faults(talked) == [("unanswered", "model number: no answer from servo 1, 2")]
    assert {reading.values for reading in talked.of(Reading)} == {exact("feetech")}
    assert talked.link.report()["models"] == {}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    "register", [Register(0, 2), Register(0, 2, sign=10), Register(1, 4, sign="twos"), Register(9, 1)]
)
def test_a_register_writes_what_it_reads(register: Register, order: str) -> None:
    """At its ends and in between; past them it is held at the end."""
    least, most = register.limits
    for raw in {least, -1 if least < 0 else 0, 0, 1, most}:
        assert register.read(register.write(raw, order), order) == raw
    assert register.read(register.write(most + 5, order), order) == most
    assert register.read(register.write(least - 5, order), order) == least
    assert Span((register,)).read(register.write(most, order), order) == (most,)


def test_goals_are_for_those_servos_only_that_are_named() -> None:
    """Another servo's goal is not touched; silence between the link and the robot is not answered with anything."""
    act = {"register": "goal_position", "safe": "torque off", "fields": {"goal_position_2": GOALS["goal_position_2"]}}
    talked = talk("dynamixel", action={"act": act})
    talked.run(100)
    talked.act("act", 45.0)
    talked.give(Chunk(talked.now_ns + MS))
    goal = X["goal_position"]
    assert [goal.read(talked.robot.get(id, goal.address, 4)) * goal.scale for id in (1, 2)] == [0.0, 45.0]
