"""Robots that print only what they are asked for: one request in the air, times between request and answer, gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from firmware_bridge.events import Event, Fault, Gap, Reading
from firmware_bridge.links.lines.link import LinesLink
from firmware_bridge.simulator.dialects.lines import LinesRobot
from firmware_bridge.values import Chunk
from tests.support.robots import MS
from tests.support.robots.text_robots import link_of, values

ENCODER = """
[link.reading.enc]
shape = "csv"
separator = " "
fields = ["left", "right"]
request = "e\\r"
rate_hz = 50
"""
RANGE = """
[link.reading.range]
shape = "csv"
fields = ["front"]
request = "r\\r"
rate_hz = 10
"""


@dataclass
class Conversation:
    """A link that is woken when it is due, and a robot that answers `delay_ns` after it is asked."""

    link: LinesLink
    answer: Callable[[int, bytes], bytes]  # number of the request and its bytes → what the robot says
    delay_ns: int = 2 * MS
    t_ns: int = 0
    asked: list[tuple[int, bytes]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    most_in_air: int = 0

    def run(self, until_ns: int) -> None:
        coming: list[tuple[int, bytes]] = []
        chunk = Chunk(self.t_ns, b"/dev/robot", "opened")
        while self.t_ns < until_ns:
            self.events += self.link.receive(chunk)
            if request := self.link.outgoing():
                self.asked.append((self.t_ns, request))
                coming.append((self.t_ns + self.delay_ns, self.answer(len(self.asked) - 1, request)))
            due = [at for at, _ in coming[:1]] + [at for at in [self.link.due_ns] if at is not None]
            self.t_ns = max(self.t_ns, min([*due, self.t_ns + 20 * MS]))
            data = b""
            if coming and coming[0][0] <= self.t_ns:
                data = coming.pop(0)[1]
            chunk = Chunk(self.t_ns, data)


def counted(number: int, request: bytes) -> bytes:
    return b"%d %d\r\n" % (number, -number) if request == b"e\r" else b"7\r\n"


def one_missing(instead: bytes, number: int, request: bytes) -> bytes:
    return instead if number == 10 else counted(number, request)


def test_it_is_asked_at_its_rate_and_dated_between_request_and_answer() -> None:
    """50 times a second to the millisecond; the first line is whole, since the robot says nothing unasked."""
    talk = Conversation(link_of(ENCODER), counted)
    talk.run(1000 * MS)
    assert talk.asked == [(k * 20 * MS, b"e\r") for k in range(50)]
    readings = [event for event in talk.events if isinstance(event, Reading)]
    assert [reading.values for reading in readings] == [(k, -k) for k in range(50)]
    assert [reading.t_device_us for reading in readings] == [20_000 * k + 1000 for k in range(50)]
    assert talk.link.counters.faults == {}


def test_an_answer_that_never_comes_is_exactly_one_gap() -> None:
    """Whether nothing comes, or a damaged line; the next request goes out at its own time."""
    for silence in (b"", b"5x2 -498\r\n"):
        talk = Conversation(link_of(ENCODER), partial(one_missing, silence))
        talk.run(600 * MS)
        assert [event.count for event in talk.events if isinstance(event, Gap)] == [1]
        assert values(talk.events) == [["enc", k, -k] for k in range(30) if k != 10]
        assert [at for at, _ in talk.asked] == [k * 20 * MS for k in range(30)]
        assert talk.link.counters.faults == ({"shape": 1} if silence else {})


def test_a_robot_that_is_not_there_yet_has_no_gaps() -> None:
    """What nobody has answered since the port was opened was never a reading; from the first answer on it is."""
    talk = Conversation(link_of(ENCODER), lambda n, request: b"" if n < 5 or n == 7 else counted(n, request))
    talk.run(300 * MS)
    assert (talk.link.counters.lost_readings, talk.link.counters.readings) == (1, 9)


def test_a_late_answer_is_a_fault_and_not_the_next_ones() -> None:
    """It comes after it was given up, while nothing is in the air."""
    talk = Conversation(link_of(ENCODER + "\n[link]\ntimeout_ms = 10\n"), counted, delay_ns=11 * MS)
    talk.run(100 * MS)
    assert values(talk.events) == []
    assert talk.link.counters.faults == {"late": 5}


def test_two_that_are_asked_never_wait_at_once() -> None:
    """One after the other, each answered by its own line; debug lines and an echo in between do no harm."""
    said = {b"e\r": b"e\rI (12) wifi: up\r\n1 2\r\n", b"r\r": b"r\r\n7\r\n"}
    talk = Conversation(link_of(ENCODER + RANGE), lambda n, request: said[request])
    talk.run(1000 * MS)
    at_once = [at for at, _ in talk.asked]
    assert all(later - earlier >= 2 * MS for earlier, later in pairwise(at_once))
    assert values(talk.events).count(["enc", 1, 2]) == 50
    assert values(talk.events).count(["range", 7]) == 10
    assert talk.link.counters.faults == {"shape": 50}
    assert talk.link.counters.lost_readings == 0


def test_answers_that_look_the_same_belong_to_what_was_asked() -> None:
    """Two numbers are the encoders' or the currents', as the request says."""
    currents = ENCODER.replace("enc", "amps").replace("e\\r", "c\\r").replace("50", "25")
    talk = Conversation(link_of(ENCODER + currents), lambda n, request: b"1 2\r" if request == b"e\r" else b"3 4\r")
    talk.run(1000 * MS)
    assert values(talk.events).count(["enc", 1, 2]) == 50
    assert values(talk.events).count(["amps", 3, 4]) == 25
    assert talk.link.counters.faults == {}


def test_an_answer_to_nothing_is_a_fault() -> None:
    talk = Conversation(link_of(ENCODER + RANGE), lambda n, request: b"1 2\r\n" * 2 if request == b"e\r" else b"7\r\n")
    talk.run(100 * MS)
    late = [event for event in talk.events if isinstance(event, Fault)]
    assert {(event.status, event.data) for event in late} == {("late", b"1 2")}
    assert values(talk.events).count(["enc", 1, 2]) == 5


def test_the_robots_side_answers_with_its_latest_reading() -> None:
    """And says nothing before it has one."""
    link = link_of(ENCODER)
    robot = LinesRobot(link)
    assert robot.receive(b"e\r") == []
    assert robot.answers() == b""
    assert robot.reading("enc", 0, (1.0, 2.0)) == b""
    robot.reading("enc", 10, (512.0, -498.0))
    robot.receive(b"e")
    assert robot.answers() == b""
    robot.receive(b"\rx\r")
    assert (robot.answers(), robot.answers()) == (b"512 -498\r\n", b"")
