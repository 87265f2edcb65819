"""Robots with a firmware of their own, of every kind, behind a real pseudo-terminal, and the real `edge-lstm run`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware_bridge.links.servos import Servos
from tests.support.robots import stock
from tests.support.robots.stock.runs import Outcome, grown, host, robot, run, truth_of, until

pytestmark = pytest.mark.long
SECONDS = 10
RATE_HZ = 100.0
DAMAGED = 0.01  # of the messages
# Of the damaged messages, those that may become a wrong value where no message has a check; the shape catches the rest.
WRONG = 0.5


def same_bits(found: Outcome) -> bool:
    """Whether the replay is the run."""
    comparison = found.replayed["comparison"]
    return (comparison["differing_bits"], comparison["same"], comparison["cut"]) == (0, True, "")


def obeyed(found: Outcome, kind: str) -> None:
    """The robot obeyed what was sent, and the last of it was the safe output."""
    link = stock.dialect(kind, RATE_HZ)
    (action,) = (item.form for item in link.actions.values())
    actions = [tuple(command["values"]) for command in found.truth.commands if "action" in command]
    assert len(actions) > 0.98 * found.summary["link"]["actions_sent"]
    assert len(set(actions)) > 10
    if isinstance(link, Servos):  # what is safe is no goal
        assert "torque_enable" in found.last_words
    else:
        assert actions[-1] == pytest.approx(action.safe_action().values, abs=1e-6)


@pytest.mark.parametrize("kind", stock.KINDS)
def test_every_reading_arrives_and_ctrl_c_leaves_the_safe_output(
    tmp_path: Path, kind: str, volume: Callable[[float], int]
) -> None:
    """A clean line: each reading delivered was sent, none is lost, actions are obeyed, the last one is the safe one,
    and the recording replays to the same bits."""
    found = run(tmp_path, kind, RATE_HZ, max(2, volume(SECONDS)))
    assert len(found.delivered) > RATE_HZ
    assert not found.wrong
    if not stock.polled(kind):  # a busy machine asks or answers late, and says so
        assert found.missing == found.known_lost == 0
        assert found.summary["damaged"] == {}
    assert found.summary["lost"] in (found.known_lost, None)
    obeyed(found, kind)
    assert same_bits(found)


@pytest.mark.parametrize("kind", stock.KINDS)
def test_damage_is_noticed_as_far_as_the_link_can(tmp_path: Path, kind: str, volume: Callable[[float], int]) -> None:
    """One message in a hundred cut short, glued, flipped or with text in between: a link with checks delivers nothing
    that was not sent, one without at most what its shape lets through; what is lost is counted where that is known."""
    found = run(tmp_path, kind, RATE_HZ, max(5, volume(SECONDS)), DAMAGED)
    promises = stock.dialect(kind, RATE_HZ).promises
    damages = found.truth.damages
    assert damages
    assert len(found.delivered) > RATE_HZ
    if promises.damage:
        assert not found.wrong
    assert len(found.wrong) <= max(1, WRONG * len(damages))
    if not promises.uncounted and not stock.polled(kind):
        assert found.known_lost == pytest.approx(found.missing - len(found.wrong), abs=1 + 0.1 * len(damages))
        assert found.missing <= 3 * len(damages)
    assert same_bits(found)


@pytest.mark.parametrize("kind", stock.KINDS)
def test_a_host_that_is_killed_leaves_it_to_the_robots_watchdog(tmp_path: Path, kind: str) -> None:
    """kill -9 in the middle: a robot with a watchdog makes itself safe in its time; without one, `run` had said so."""
    stock.folder(tmp_path, kind, RATE_HZ)
    unguarded = stock.dialect(kind, RATE_HZ).promises.unguarded
    with robot(tmp_path, kind, RATE_HZ) as truth:
        with host(tmp_path) as process:
            until(lambda: grown(tmp_path / "run.mcap") or process.poll() is not None)
            time.sleep(1)
            process.send_signal(signal.SIGKILL)
            _, err = process.communicate(timeout=20)
        assert ("if this program dies" in err) == bool(unguarded), err
        time.sleep(stock.WATCHDOG_MS * 2 / 1000)
    commands = truth_of(truth).commands
    actions = [command for command in commands if "action" in command]
    assert actions
    if unguarded:
        assert "action" in commands[-1]
    else:
        assert commands[-1]["why"] == "watchdog"
        waited_us = commands[-1]["t_us"] - actions[-1]["t_us"]
        assert stock.WATCHDOG_MS * 1000 <= waited_us < stock.WATCHDOG_MS * 1000 + 100_000
