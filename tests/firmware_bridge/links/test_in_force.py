"""Actions in force, whatever happens to robot and port between them: none goes to a robot that has restarted, each is
followed by a newer one or by the safe output."""

from __future__ import annotations

from typing import Any

import pytest

from firmware_bridge.values import Action, Chunk
from tests.firmware_bridge.links.test_dialect import IMU, MOTOR, Rows, feed, kinds, link
from tests.support.robots import MS

REPEATED: dict[str, Any] = {"action": {"motor": MOTOR | {"repeat_ms": 100}}}


def written(made: Rows, first_ms: int, last_ms: int, ms_of: int = 0) -> list[tuple[int, bytes]]:
    """With a reading every 10 ms, whose clock began at `ms_of` of ours: (ms, what is written of itself)."""
    out = []
    for ms in range(first_ms, last_ms, 10):
        feed(made, (ms, f"{ms - ms_of} {(ms - ms_of) // 10 % 256} 1"))
        if data := made.outgoing():
            out.append((ms, data))
    return out


def test_after_a_restart_an_old_action_is_not_repeated_and_still_followed_by_the_safe_output() -> None:
    """The board has restarted, the driver of its motor may not have: if no newer action comes, the safe output does
    when the old one would have been stale."""
    made = link(**REPEATED)
    written(made, 1000, 1050)
    made.send(1050 * MS, Action("motor", (1.0,)))
    assert kinds(feed(made, (1055, "boot"), (1060, "0 0 1"))) == ["Reset", "Reading"]
    assert written(made, 1070, 1500, 1060) == [(1300, b"0.5\n")]


def test_after_a_restart_the_start_goes_before_the_first_action() -> None:
    """A robot that must be switched on would not obey what comes before."""
    made = link(start="go\n", **REPEATED)
    made.receive(Chunk(0, b"/dev/x", "opened"))
    assert made.outgoing() == b"go\n"
    written(made, 1000, 1050)
    feed(made, (1055, "boot"), (1060, "0 0 1"))
    assert made.send(1060 * MS, Action("motor", (1.0,))) == b"go\n1.0\n"
    assert made.outgoing() == b""


def test_a_newer_action_in_the_chunk_in_which_the_last_one_is_stale_takes_its_place() -> None:
    """Nothing is written twice, nothing safe in between."""
    made = link(**REPEATED)
    written(made, 0, 20)
    made.send(20 * MS, Action("motor", (1.0,)))
    feed(made, (600, "600 60 1"))
    assert made.send(600 * MS, Action("motor", (0.7,))) == b"0.7\n"
    assert made.outgoing() == b""


@pytest.mark.parametrize("silent_ms", [0, 5000])
def test_a_restart_while_unplugged_or_silent_is_calmed_and_not_driven_on(silent_ms: int) -> None:
    """The port is lost in the middle of an action; what comes back gets start and safe output before anything else,
    and no action before it has spoken."""
    made = link(start="go\n", **REPEATED)
    made.receive(Chunk(0, b"/dev/x", "opened"))
    made.outgoing()
    written(made, 1000, 1050)
    made.send(1050 * MS, Action("motor", (1.0,)))
    made.receive(Chunk(1051 * MS, b"gone", "lost"))
    assert made.due_ns is None
    assert made.send(1052 * MS, Action("motor", (1.0,))) == b""
    back = 1100 + silent_ms
    made.receive(Chunk(back * MS, b"/dev/x", "opened"))
    assert made.send(back * MS, Action("motor", (1.0,))) == b""
    assert made.outgoing() == b"go\n0.5\n"
    events = feed(made, (back + 10, "0 0 1"), (back + 20, "10 1 1"))
    assert kinds(events) == ["Hello", "Fault", "Reset", "Reading"]
    assert made.send((back + 20) * MS, Action("motor", (0.7,))) == b"go\n0.7\n"


def test_a_robot_that_sends_one_reading_an_hour_holds_its_action_that_long() -> None:
    """hold_ns is three hours then; silence is five of them."""
    hour_ms = 3_600_000
    made = link(reading={"imu": IMU | {"rate_hz": 1 / 3600}})
    feed(made, (0, "0 0 1"))
    made.send(0, Action("motor", (1.0,)), hold_ns=3 * hour_ms * MS)
    assert (kinds(made.receive(Chunk(2 * hour_ms * MS))), made.outgoing()) == ([], b"")
    assert made.due_ns == 3 * hour_ms * MS
    made.receive(Chunk(3 * hour_ms * MS))
    assert made.outgoing() == b"0.5\n"
    assert kinds(made.receive(Chunk(5 * hour_ms * MS + 1))) == ["Silent"]
