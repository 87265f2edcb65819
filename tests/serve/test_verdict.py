"""The verdict: the worst that holds now, in a level, a sentence and four truths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge_lstm.daemon.status import Status, Truth
from edge_lstm.serve.verdict import Judge, span

S = 1_000_000_000
GOOD = Truth(True, 95 * S, 0.01)
NEVER = Truth(False, 0, None)


def old(seconds: float) -> Truth:
    return Truth(False, 50 * S, seconds)


STATUS = Status(
    name="cart",
    pid=1,
    lives=True,
    now_ns=100 * S,
    alive=GOOD,
    link=Truth(True, 40 * S, 60.0),
    readings=GOOD,
    outputs=GOOD,
    rows=9,
    events=0,
    started_ns=10 * S,
    counts={"readings": 18000, "lost": 3, "resets": 0, "actions": 18000},
    link_report={"faults": {"crc": 2}, "reconnects": 0},
    latency={"count": 5, "p99_us": 210.0},
    rates={"readings_hz": 200.2},
)
CASES: list[tuple[dict[str, Any], str, str, list[str]]] = [
    ({}, "ok", "All is well", ["ok", "ok", "ok", "ok"]),
    ({"lives": False, "alive": old(3)}, "bad", "The run has ended", ["bad", "ok", "ok", "ok"]),
    ({"alive": old(3)}, "bad", "The loop hangs", ["bad", "ok", "ok", "ok"]),
    (
        {"link": old(3.2), "readings": old(3.3), "outputs": old(3.3)},
        "bad",
        "Link lost for 3.2 s",
        ["ok", "bad", "also", "also"],
    ),
    ({"link": NEVER, "readings": NEVER, "outputs": NEVER}, "wait", "Waiting for the robot", ["ok"] + ["wait"] * 3),
    ({"readings": NEVER, "outputs": NEVER}, "wait", "Waiting for the robot", ["ok", "ok", "wait", "wait"]),
    ({"readings": old(1.5), "outputs": old(1.5)}, "bad", "No readings for 1.5 s", ["ok", "ok", "bad", "also"]),
    ({"outputs": NEVER}, "wait", "The model is waiting", ["ok", "ok", "ok", "wait"]),
    ({"outputs": old(7300)}, "bad", "No outputs for 2 h 1 min", ["ok", "ok", "ok", "bad"]),
    ({"trouble": "the disk is full"}, "warn", "Running, with a problem", ["ok"] * 4),
    ({"watched": {"stall": {"stands": True, "text": "a wheel stalls"}}}, "warn", "Running, with an event", ["ok"] * 4),
]


@pytest.mark.parametrize(("changed", "level", "title", "truths"), CASES, ids=lambda value: str(value)[:30])
def test_verdicts(changed: dict[str, Any], level: str, title: str, truths: list[str]) -> None:
    """Each way in which a run can stand; the first truth that fails is the cause, and those after it fail with it."""
    verdict = Judge().of(replace(STATUS, **changed))
    assert (verdict.level, verdict.title, [one.level for one in verdict.truths]) == (level, title, truths)
    assert verdict.detail.endswith((".", "!", "?"))


def test_a_minute_is_remembered() -> None:
    """What was lost, damaged or late makes a warning for a minute, with its number, and then no longer; what had
    happened before anybody looked makes none."""
    judge = Judge()
    assert judge.of(STATUS).level == "ok"
    worse = replace(
        STATUS,
        now_ns=110 * S,
        counts={**STATUS.counts, "lost": 15, "resets": 1},
        late={"another process": 2, "the link": 1},
    )
    verdict = judge.of(worse)
    assert verdict.level == "warn"
    assert verdict.detail == "In the last minute: 12 readings lost, 1 reset of the board, 3 late answers."
    counts = {one.name: (one.value, one.level, one.more) for one in verdict.counts}
    assert counts["Readings lost"] == ("15", "warn", "")
    assert counts["Damaged frames"] == ("2", "ok", "crc 2")
    assert counts["Late answers"] == ("3", "warn", "2 another process, 1 the link")
    for second in range(111, 172):
        verdict = judge.of(replace(worse, now_ns=second * S))
    assert verdict.level == "ok"


def test_another_run_begins_with_a_clean_slate() -> None:
    """Counters that go back to 0 are no trouble, and those of the new run are counted from its own beginning."""
    judge = Judge()
    judge.of(STATUS)
    again = replace(STATUS, started_ns=200 * S, now_ns=201 * S, counts={**STATUS.counts, "lost": 0})
    assert judge.of(again).level == "ok"


def test_what_nobody_can_count_is_unknown() -> None:
    """A link that cannot know what was lost says so, and not 0."""
    verdict = Judge().of(replace(STATUS, counts={**STATUS.counts, "lost": None}))
    assert {one.name: one.value for one in verdict.counts}["Readings lost"] == "unknown"


def test_no_run() -> None:
    """Nothing runs: bad, and nothing is said of what cannot be known."""
    verdict = Judge().nobody("it has ended")
    assert (verdict.level, verdict.title, verdict.detail) == ("bad", "No run", "It has ended.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (600, "10 min"), (11280, "3 h 8 min"), (4e5, "4 days")],
)
def test_spans(seconds: float, text: str) -> None:
    """Durations as people say them."""
    assert span(seconds) == text
