"""When a robot is asked: each slot of the schedule ends as one answer or one missed slot, whatever the robot does.

All of it in simulated time: a line with two ends, and a clock that jumps to what is due next.
"""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.polling import QUIET, Answer, Missed, Poll, Polling

MS = 1_000_000
IMU = Poll("imu", (b"imu?",), 10 * MS)
BATTERY = Poll("battery", (b"battery?",), 100 * MS)
LEGS = Poll("legs", (b"leg 1?", b"leg 2?"), 20 * MS)
MODEL = Poll("model", (b"model?",))


class Line:
    """A polling, and a robot that answers the n-th request after `delays[n]` (None: never; past the end: 1 ms)."""

    def __init__(self, polling: Polling, delays: list[int | None] = [], slack: list[int] = []) -> None:  # noqa: B006
        self.polling, self.delays, self.slack = polling, delays, slack
        self.sent: list[tuple[int, bytes]] = []
        self.found: list[tuple[int, Answer | Missed]] = []
        self.late = 0  # answers that came when nothing was awaited
        self._coming: list[int] = []
        self._wakes = 0

    def run(self, until_ns: int, t_ns: int = 0) -> None:
        self.polling.open(t_ns)
        self._take(t_ns)
        while True:
            due_ns = max(t_ns, self.polling.due_ns)
            if self.slack:  # the machine wakes later than asked
                due_ns += self.slack[self._wakes % len(self.slack)]
                self._wakes += 1
            arrives = bool(self._coming) and self._coming[0] <= due_ns
            t_ns = heapq.heappop(self._coming) if arrives else due_ns
            if t_ns >= until_ns:
                return
            if arrives and self.polling.awaited is None:
                self.late += 1
            elif arrives:
                self.found.append((t_ns, self.polling.answered(t_ns)))
            self.found += [(t_ns, missed) for missed in self.polling.overdue(t_ns, not arrives)]
            self._take(t_ns)

    def _take(self, t_ns: int) -> None:
        if data := self.polling.take(t_ns):
            number = len(self.sent)
            self.sent.append((t_ns, data))
            delay = self.delays[number] if number < len(self.delays) else MS
            if delay is not None:
                heapq.heappush(self._coming, t_ns + delay)

    def answers(self, poll: Poll) -> list[Answer]:
        return [item for _t, item in self.found if isinstance(item, Answer) and item.poll is poll and item.complete]

    def lost(self, poll: Poll) -> int:
        return sum(item.slots for _t, item in self.found if isinstance(item, Missed) and item.poll is poll)


def test_requests_go_out_at_whole_periods() -> None:
    """No delay adds up: the answer takes 3 ms, and the thousandth request still leaves at 999 periods."""
    line = Line(Polling([IMU], 10 * MS), [3 * MS] * 1000)
    line.run(10_000 * MS)
    assert [t_ns for t_ns, _data in line.sent] == [k * 10 * MS for k in range(1000)]
    assert line.lost(IMU) == line.late == 0
    assert [answer.middle_ns for answer in line.answers(IMU)][:2] == [1_500_000, 11_500_000]


def test_a_withheld_answer_is_one_missed_slot() -> None:
    """The request after it goes out a quarter of the time-out late, the one after that on time again."""
    line = Line(Polling([IMU], 10 * MS), [MS, None, MS, MS])
    line.run(50 * MS)
    assert line.lost(IMU) == 1
    assert [t_ns / MS for t_ns, _data in line.sent] == [0, 10, 20 + 10 * QUIET, 30, 40]
    assert (line.polling.asked, line.polling.unanswered, line.polling.passed_over) == (5, 1, 0)


def test_a_late_answer_is_not_taken_for_the_next() -> None:
    """It comes while the line is left quiet: late, one slot missed, and the next answer is the next request's."""
    line = Line(Polling([IMU], 10 * MS), [MS, 12 * MS, MS])
    line.run(40 * MS)
    assert (line.late, line.lost(IMU)) == (1, 1)
    assert [answer.answered_ns - answer.asked_ns for answer in line.answers(IMU)] == [MS] * 3


def test_an_answer_that_was_not_given_up_is_taken_however_old() -> None:
    """The machine slept 35 ms: what has arrived meanwhile answers the only request that was sent; two slots passed."""
    polling = Polling([IMU], 10 * MS)
    polling.open(0)
    assert polling.take(0) == b"imu?"
    assert polling.answered(35 * MS).middle_ns == 17_500_000
    assert polling.overdue(35 * MS, silent=False) == [Missed(IMU, 2, False)]  # 10 and 20 ms; 30 ms can still be asked
    assert polling.take(35 * MS) == b"imu?"
    assert polling.due_ns == 45 * MS


def test_noise_does_not_keep_a_request_in_the_air_for_ever() -> None:
    """Bytes at every instant, and never an answer: it is given up after twice the time-out."""
    polling = Polling([MODEL], 10 * MS)
    polling.open(0)
    polling.take(0)
    assert polling.overdue(19 * MS, silent=False) == []
    assert polling.overdue(20 * MS, silent=False) == [Missed(MODEL, 1, True)]


def test_a_slow_poll_does_not_keep_a_quick_one_waiting() -> None:
    """Two readings on one line, each at its own rate; what is asked once goes first."""
    line = Line(Polling([IMU, BATTERY, MODEL], 10 * MS), [])
    line.run(1000 * MS)
    assert (len(line.answers(IMU)), len(line.answers(BATTERY)), len(line.answers(MODEL))) == (100, 10, 1)
    assert [data for _t, data in line.sent[:3]] == [b"model?", b"imu?", b"battery?"]
    assert line.lost(IMU) == line.lost(BATTERY) == 0


def test_a_poll_of_several_requests_is_one_reading() -> None:
    """They go out one after another; time lies between the first request and the last answer; any missing misses it."""
    line = Line(Polling([LEGS], 10 * MS), [MS, 3 * MS, MS, None, MS, MS])
    line.run(60 * MS)
    assert [(answer.middle_ns / MS, answer.step) for answer in line.answers(LEGS)] == [(2, 1), (41, 1)]
    assert line.lost(LEGS) == 1
    assert [data for _t, data in line.sent] == [b"leg 1?", b"leg 2?"] * 3


def test_what_is_written_goes_out_between_polls() -> None:
    """Never while an answer is awaited, never later than the answer or its time-out, the newest instead of an older."""
    polling = Polling([IMU], 10 * MS)
    polling.open(0)
    assert polling.take(0) == b"imu?"
    polling.write(b"old")
    polling.write(b"new")
    assert polling.take(MS) == b""
    polling.answered(2 * MS)
    assert polling.due_ns == 0  # at once
    assert polling.take(2 * MS) == b"new"
    assert polling.take(10 * MS) == b"imu?"
    polling.write(b"newer")
    polling.overdue(20 * MS, silent=True)
    assert polling.take(20 * MS) == b"newer"  # the line is left quiet for requests only
    assert polling.due_ns == 20 * MS + 10 * MS * QUIET


def test_nothing_is_due_while_closed() -> None:
    """Before the first opening, and after the link is lost."""
    polling = Polling([IMU], 10 * MS)
    assert (polling.due_ns, polling.take(0)) == (None, b"")
    polling.open(5)
    assert polling.due_ns == 5
    polling.take(5)
    polling.close()
    assert (polling.due_ns, polling.take(99 * MS), polling.overdue(99 * MS, True)) == (None, b"", [])


@given(
    delays=st.lists(st.none() | st.integers(0, 40 * MS), max_size=60),
    slack=st.lists(st.integers(0, 25 * MS), min_size=1, max_size=20),
    timeout_ms=st.sampled_from([4, 10, 35]),
)
def test_every_slot_ends_as_an_answer_or_as_missed(delays: list, slack: list, timeout_ms: int) -> None:
    """Whatever the robot withholds or delays, however late the machine wakes: nothing is counted twice or forgotten."""
    line = Line(Polling([IMU, LEGS], timeout_ms * MS), delays, slack)
    line.run(800 * MS)
    awaited = line.polling.awaited
    for poll, slot_ns in zip((IMU, LEGS), line.polling._slots_ns, strict=True):
        open_slots = int(awaited is not None and awaited.poll is poll)
        open_slots += sum(waiting is poll for waiting, _step, _asked in line.polling._waiting)
        assert len(line.answers(poll)) + line.lost(poll) + open_slots == slot_ns // poll.period_ns
    times = [t_ns for t_ns, _data in line.sent]
    assert times == sorted(times)


@pytest.mark.parametrize("timeout_ms", [10, 50])
def test_a_robot_that_is_always_too_slow_is_seen_to_be(timeout_ms: int) -> None:
    """12 ms for each answer: with a time-out of 10 each is late; with one of 50 each is taken, other slots missed."""
    line = Line(Polling([IMU], timeout_ms * MS), [12 * MS] * 1000)
    line.run(1000 * MS)
    if timeout_ms == 10:
        assert (len(line.answers(IMU)), line.late) == (0, line.polling.unanswered)
    else:
        assert line.late == 0
        assert all(answer.answered_ns - answer.asked_ns == 12 * MS for answer in line.answers(IMU))
        assert line.polling.slowest_ns == 12 * MS
    assert len(line.answers(IMU)) + line.lost(IMU) in (99, 100)
