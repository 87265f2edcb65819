"""What every dialect of a polled robot keeps: slots, withheld, late, damaged and doubled answers, safe output, replay.

In simulated time, with the robot's half of the dialect at the other end. What the packets are is proved in the folders
of the dialects, against the vendors' software.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.events import Fault, Gap, Hello, Lost, Reading
from firmware_bridge.simulator.dialects.robot_side import robot_side
from firmware_bridge.values import Action, Chunk
from tests.firmware_bridge.links import test_link as promises
from tests.support.robots import MS
from tests.support.robots.asked import WAY_NS, Conversation, Spoil, made, on_time

GOALS = {"goal_position_1": {"min": -90, "max": 90}, "goal_position_2": {"min": 0, "max": 90}}
JOINTS = {"registers": ["present_position"], "rate_hz": 100}
TABLES: dict[str, dict[str, Any]] = {
    "msp": {
        "dialect": "msp",
        "reading": {"sensor": {"message": "ATTITUDE", "fields": ["roll", "pitch"], "rate_hz": 100}},
        "action": {
            "act": {
                "message": "SET_RAW_RC",
                "fields": {
                    "rc_1": {"min": 1000, "max": 2000, "safe": 1500},
                    "rc_2": {"min": 1000, "max": 2000, "safe": 1000},
                },
                "watchdog_ms": 300,
            }
        },
    },
    "feetech": {
        "dialect": "feetech",
        "servos": [1, 2],
        "reading": {"sensor": JOINTS},
        "action": {"act": {"register": "goal_position", "safe": "torque off", "torque": True, "fields": GOALS}},
    },
    "feetech-scs": {
        "dialect": "feetech",
        "series": "scs",
        "servos": [1, 2],
        "reading": {"sensor": JOINTS},
        "action": {
            "act": {
                "register": "goal_position",
                "safe": "hold",
                "fields": GOALS | {"goal_position_1": {"min": 0, "max": 90}},
            }
        },
    },
    "dynamixel": {
        "dialect": "dynamixel",
        "servos": [1, 2],
        "reading": {"sensor": JOINTS},
        "action": {"act": {"register": "goal_position", "safe": "hold", "torque": True, "fields": GOALS}},
    },
}
ACTS = {"msp": (1200.0, 1300.0)}


def exact(dialect: str) -> tuple[float, float]:
    """Values that the robot's steps can say."""
    return (37.5, 75.0) if dialect == "feetech-scs" else (45.0, 22.5)


each_dialect = pytest.mark.parametrize("dialect", TABLES)


def talk(dialect: str, spoil: Spoil = on_time, **keys: Any) -> Conversation:
    """A conversation with a robot whose sensor says `exact`."""
    link = made(TABLES[dialect] | keys)
    robot = robot_side(link)
    robot.reading("sensor", 0, exact(dialect))
    return Conversation(link, robot, spoil)


def answers_to_model(dialect: str) -> int:
    """How many answers come before the first of a reading."""
    return {"msp": 0, "feetech-scs": 2}.get(dialect, 1)


def per_reading(dialect: str) -> int:
    """How many answers make a reading."""
    return 2 if dialect == "feetech-scs" else 1


@each_dialect
def test_it_is_a_link(dialect: str) -> None:
    """It has every member that the protocol of links says."""
    promises.test_a_link_has_what_the_protocol_says(lambda: made(TABLES[dialect]))


@each_dialect
def test_each_slot_is_a_reading(dialect: str) -> None:
    """100 Hz for 2 s: 200 readings with the robot's values, none lost, the requests at whole periods, the time of each
    the middle of request and answer."""
    talked = talk(dialect)
    talked.run(2000)
    readings = talked.of(Reading)
    assert len(readings) == 200
    assert {reading.values for reading in readings} == {exact(dialect)}
    assert talked.of(Gap) == talked.of(Fault) == []
    assert len(talked.of(Hello)) == 1
    asked = [t_ns for t_ns, _data in talked.written if t_ns % (10 * MS) == 0][1:]
    assert [b - a for a, b in pairwise(asked)] == [10 * MS] * 198
    ways = per_reading(dialect)
    assert readings[-1].t_device_us == 1_990_000 + ways * WAY_NS // 2000
    assert readings[-1].t_ns == 1990 * MS + ways * WAY_NS


@each_dialect
def test_a_withheld_answer_is_exactly_one_gap(dialect: str) -> None:
    """Every tenth answer never comes: as many gaps of one reading, everything else arrives, and the next request is on
    time where one request is a reading."""
    first = answers_to_model(dialect)
    withheld = set(range(first + 7, 1000, 10))
    talked = talk(dialect, lambda number, answer: [] if number in withheld else on_time(number, answer))
    talked.run(1000)
    count = len(withheld & set(range(talked.answers)))
    assert count >= 9
    assert [gap.count for gap in talked.of(Gap)] == [1] * count
    assert len(talked.of(Reading)) == 100 - count
    assert talked.link.counters.lost_readings == count
    assert talked.link.report()["unanswered"] == count
    asked = [t_ns for t_ns, _data in talked.written if t_ns % (10 * MS) == 0]
    assert len(asked) == 100 or per_reading(dialect) > 1


@each_dialect
def test_a_late_answer_is_counted_and_not_taken_for_the_next(dialect: str) -> None:
    """9 ms after its request: one gap, one fault; what is read afterwards is what the robot says then."""
    late = answers_to_model(dialect) + 4 * per_reading(dialect)

    def spoil(number: int, answer: bytes) -> list[tuple[int, bytes]]:
        return [(9 * MS if number == late else WAY_NS, answer)]

    talked = talk(dialect, spoil)
    talked.run(45)
    talked.robot.reading("sensor", 0, exact(dialect)[::-1])  # after the late answer was made
    talked.run(200)
    assert [gap.count for gap in talked.of(Gap)] == [1]
    faults = {fault.status for fault in talked.of(Fault)}
    assert faults == {"late"}
    assert [reading.values for reading in talked.of(Reading)] == [exact(dialect)] * 4 + [exact(dialect)[::-1]] * 15


@each_dialect
def test_a_damaged_answer_is_a_fault_and_a_gap(dialect: str) -> None:
    """One flipped bit anywhere in an answer: never a wrong value, one gap, and the next readings come."""
    index = answers_to_model(dialect) + 4 * per_reading(dialect)
    for bit in range(0, 8 * 30, 7):

        def spoil(number: int, answer: bytes, bit: int = bit) -> list[tuple[int, bytes]]:
            if number != index:
                return on_time(number, answer)
            at = bit // 8 % len(answer)
            return [(WAY_NS, answer[:at] + bytes([answer[at] ^ 1 << bit % 8]) + answer[at + 1 :])]

        talked = talk(dialect, spoil)
        talked.run(200)
        assert {reading.values for reading in talked.of(Reading)} == {exact(dialect)}
        assert [gap.count for gap in talked.of(Gap)] == [1]
        assert len(talked.of(Reading)) == 19


@each_dialect
def test_a_doubled_answer_is_one_reading(dialect: str) -> None:
    """The second one answers nothing: late, counted, no reading."""
    talked = talk(dialect, lambda number, answer: [(WAY_NS, answer), (2 * WAY_NS, answer)])
    talked.run(200)
    assert len(talked.of(Reading)) == 20
    assert talked.of(Gap) == []
    assert {fault.status for fault in talked.of(Fault)} == {"late"}


@each_dialect
def test_an_echo_of_what_is_written_is_nothing(dialect: str) -> None:
    """Adapters of half-duplex lines give back every byte that is sent."""
    talked = talk(dialect)
    write = talked.write

    def echoing(data: bytes) -> None:
        if data:
            talked.arrive(WAY_NS // 4, data)
        write(data)

    talked.write = echoing  # type: ignore[method-assign]
    talked.run(100)
    talked.act("act", *ACTS.get(dialect, (10.0, 20.0)))
    talked.run(200)
    assert len(talked.of(Reading)) == 20
    assert talked.of(Fault) == talked.of(Gap) == []


@each_dialect
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8), noise=st.binary(max_size=12))
def test_any_split_of_the_bytes_gives_the_same(dialect: str, cuts: list[int], noise: bytes) -> None:
    """The same chunks cut into pieces: the same events, the same bytes written."""

    def noisy(number: int, answer: bytes) -> list[tuple[int, bytes]]:
        return [(WAY_NS, noise + answer if number % 3 else answer + noise)]

    talked = talk(dialect, noisy)
    talked.run(120)
    again, events, written, turn = made(TABLES[dialect]), [], [], 0
    for chunk in talked.chunks:
        rest = chunk.data
        while chunk.link == "data" and len(rest) > cuts[turn % len(cuts)]:
            events += again.receive(Chunk(chunk.t_ns, rest[: cuts[turn % len(cuts)]]))
            rest = rest[cuts[turn % len(cuts)] :]
            turn += 1
        events += again.receive(Chunk(chunk.t_ns, rest, chunk.link))
        if data := again.outgoing():
            written.append((chunk.t_ns, data))
    assert events == talked.events
    assert written == talked.written
    assert again.report() == talked.link.report()


@each_dialect
@given(data=st.lists(st.binary(max_size=60), max_size=20))
def test_random_bytes_never_raise(dialect: str, data: list[bytes]) -> None:
    """Whatever arrives is counted; the schedule goes on, and the robot is read when it speaks again."""
    talked = talk(dialect, lambda number, answer: [])
    for piece in data:
        talked.arrive(3 * MS, piece)
        talked.run(talked.now_ns / MS + 7)
    talked.run(talked.now_ns / MS + 200)
    talked.spoil = on_time
    talked.run(talked.now_ns / MS + 100)
    assert talked.of(Reading)


@each_dialect
def test_actions_go_out_between_polls(dialect: str) -> None:
    """Never while an answer is awaited where the line is half-duplex; no later than the answer; the newest wins."""
    talked = talk(dialect)
    talked.run(100.1)  # a request is in the air
    first, second = ACTS.get(dialect, (10.0, 20.0)), ACTS.get(dialect, (22.5, 45.0))
    talked.act("act", *first)
    talked.act("act", *second)
    if dialect == "msp":
        assert len(talked.obeyed) == 2
    else:
        assert talked.obeyed == []
    talked.run(105)
    assert [values for _name, values in talked.obeyed][-1] == pytest.approx(second, abs=0.2)
    assert len(talked.obeyed) == (2 if dialect == "msp" else 1)
    assert talked.of(Gap) == []


@each_dialect
def test_it_replays_to_the_same_bits(dialect: str) -> None:
    """A new link, given the same chunks and actions, makes the same events and writes the same bytes."""
    talked = talk(dialect, lambda number, answer: [] if number % 9 == 8 else on_time(number, answer))
    again = made(TABLES[dialect])
    events, written = [], []
    for step in range(20):
        before = len(talked.chunks)
        talked.run(step * 25 + 13)
        for chunk in talked.chunks[before if step else 0 :]:
            events += again.receive(chunk)
            written.append(again.outgoing())
        values = ACTS.get(dialect, (float(step), 2.0 * step))
        mark = len(talked.written)
        talked.act("act", *values)
        written.append(again.send(talked.now_ns, Action("act", values)))
        assert written[-1] == b"".join(data for _t, data in talked.written[mark:])
    assert events == talked.events
    assert b"".join(written) == b"".join(data for _t, data in talked.written)
    assert again.stop(talked.now_ns) == talked.link.stop(talked.now_ns)
    assert again.report() == talked.link.report()


@each_dialect
def test_stop_makes_it_safe_also_while_an_answer_is_awaited(dialect: str) -> None:
    """The safe output is the last that is written; on a half-duplex line it is repeated past the answer's end."""
    talked = talk(dialect)
    talked.run(100)
    talked.act("act", *ACTS.get(dialect, (10.0, 20.0)))
    talked.run(110.1)
    alone = talk(dialect)
    alone.run(105)
    alone.act("act", *ACTS.get(dialect, (10.0, 20.0)))
    once, data = alone.link.stop(105 * MS), talked.link.stop(talked.now_ns)
    assert once
    assert data == once * (len(data) // len(once))
    if dialect == "msp":
        assert data == once
    else:
        assert len(data) > talked.link.answer_size(talked.link.polling.awaited.poll)
    assert talked.link.outgoing() == b""
    talked.robot.receive(data)
    if dialect in ("feetech", "dynamixel", "feetech-scs"):
        link = talked.link
        torque = [talked.robot.memory[id][link.known["torque_enable"].address] for id in (1, 2)]
        goal = link.known["goal_position"]
        goals = [goal.read(talked.robot.get(id, goal.address, goal.size), link.order) * goal.scale for id in (1, 2)]
        if dialect == "feetech":
            assert torque == [0, 0]
        else:
            assert goals == pytest.approx(exact(dialect), abs=0.3)


@each_dialect
def test_after_unplugging_it_asks_anew(dialect: str) -> None:
    """Half an answer and the request in the air are forgotten; nothing is due while the link is lost."""
    talked = talk(dialect)
    talked.run(50.1)
    talked.give(Chunk(talked.now_ns, b"unplugged", "lost"))
    assert talked.link.due_ns is None
    talked._coming.clear()
    talked.run(500)
    written = len(talked.written)
    talked.give(Chunk(talked.now_ns, b"/dev/robot", "opened"))
    talked.run(600)
    assert talked.written[written][0] == 500 * MS
    assert len(talked.of(Reading)) == 5 + 10
    assert talked.of(Fault) == talked.of(Gap) == []
    assert len(talked.of(Lost)) == 1


@each_dialect
def test_what_it_cannot_notice_is_said(dialect: str) -> None:
    """Damage and loss are known; time is between request and answer; a servo's last goal stays."""
    known = made(TABLES[dialect]).promises
    said = " ".join(known.sentences())
    assert known.damage
    assert known.uncounted == ()
    assert "middle of request and answer" in said
    assert ("last action stays" in said) == (dialect != "msp")


@each_dialect
def test_bytes_are_explained(dialect: str) -> None:
    """What was written, by the names of the configuration."""
    talked = talk(dialect)
    talked.run(100)
    talked.act("act", *ACTS.get(dialect, exact(dialect)))
    said = talked.link.explain(talked.written[-1][1])
    assert {
        "msp": "SET_RAW_RC 1200 1300",
        "feetech": "torque_enable: 1 = 1, 2 = 1; goal_position: 1 = 45, 2 = 22.5 deg",
        "feetech-scs": "goal_position: 1 = 37.5, 2 = 75 deg",
        "dynamixel": "torque_enable: 1 = 1, 2 = 1; goal_position: 1 = 45, 2 = 22.5 deg",
    }[dialect] == said
