"""Links of every kind in conversation with their robots over a line that damages, stalls, is unplugged and resets.

Its rule: from a seed; what a link is given is a list of turns, so that another link can be given the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from firmware_bridge.events import Event
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.simulator.dialects.robot_side import ROBOT_SIDES, robot_side
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import START_NS, SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Action, Chunk
from tests.support.robots import MS, stock

RATES = Rates(flip=3e-4, lose=1e-4, double=1e-4, cut=1e-4, silence=0.3, reset=0.3, unplug=0.3)

ASKED = {
    "dialect": "lines",
    "reading": {
        "imu": {"shape": "csv", "fields": ["gx rad/s", "gy rad/s"], "request": "i\n", "rate_hz": 100},
        "battery": {"shape": "pairs", "fields": ["volt V", "amp A"], "request": "b\n", "rate_hz": 5},
    },
    "action": {
        "motor": {
            "line": "m {left:.3f}\n",
            "fields": {"left": {"min": -1, "max": 1, "safe": 0}},
            "repeat_ms": 50,
            "watchdog_ms": 500,
        }
    },
}


class Turn(NamedTuple):
    """What a link is given in one turn of the loop. action: is sent, if there is one; taken: whether the port takes
    what is written."""

    chunk: Chunk
    action: Action | None
    taken: bool


class Said(NamedTuple):
    """What it makes of it."""

    events: list[Event]
    written: tuple[bytes, ...]
    due_ns: int | None
    state: str


def turned(link: Any, turn: Turn) -> Said:
    """One turn, in the order of the loop."""
    events, written = link.receive(turn.chunk), []
    if turn.action is not None:
        written.append(link.send(turn.chunk.t_ns, turn.action, 3 * MS))
    written.append(link.outgoing())
    for data in written:
        if data and not turn.taken:
            link.unsent()
    return Said(list(events), tuple(written), link.due_ns, link.state)


def _own() -> Any:
    return Bridge()


def kinds(*more: tuple[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """A new link of each kind."""
    found: dict[str, Callable[[], Any]] = {"own": _own}
    for kind in stock.KINDS:
        found[kind] = partial(stock.dialect, kind, 100)
    found["asked"] = lambda: LinkConfig(ASKED, "robot.toml", Path()).open()
    return found | dict(more)


def conversation(link: Any, seed: int, seconds: float) -> Iterator[tuple[Turn, Said]]:
    """Turns of this link with its robot; each is done when it is given."""
    return _with_own(link, seed, seconds) if isinstance(link, Bridge) else _with_other(link, seed, seconds)


def _with_own(link: Bridge, seed: int, seconds: float) -> Iterator[tuple[Turn, Said]]:
    random, port = Random(seed), SimulatedPort(Robot(seed), seconds, Faults(seed, RATES))
    for chunk in port.chunks():
        action = None
        if link.dictionary is not None and random.random() < 0.3:
            form = random.choice(link.dictionary.actions)
            action = Action(form.name, tuple(random.uniform(0, 1) for _ in form.fields))
        turn = Turn(chunk, action, random.random() > 0.05)
        said = turned(link, turn)
        for data in said.written:
            if data and turn.taken:
                port.write(data)
        yield turn, said


def _with_other(link: Dialect, seed: int, seconds: float) -> Iterator[tuple[Turn, Said]]:
    random, robot = Random(seed), _robot(link)
    faults = Faults(seed, RATES if robot.end else replace(RATES, cut=0.0), robot.end or b"\0")
    waiting, t_us, gone_us, quiet_us = b"", 0, -1, -1
    due_us = dict.fromkeys(link.readings, 0)  # when each is due

    def turn(data: bytes, kind: Literal["data", "opened", "lost"] = "data") -> tuple[Turn, Said]:
        action = None
        if kind == "data" and link.actions and random.random() < 0.2:
            item = random.choice([*link.actions.values()])
            spans = [(f.minimum or 0.0, f.maximum or 0.0) for f in item.form.fields]
            action = Action(item.name, tuple(random.uniform(*span) for span in spans))
        made = Turn(Chunk(START_NS + t_us * 1000, data, kind), action, random.random() > 0.05)
        said = turned(link, made)
        for written in said.written:
            if written and made.taken:
                robot.receive(written)
        return made, said

    yield turn(b"/dev/robot", "opened")
    while t_us < seconds * 1e6:
        t_us += random.choice((1000, 2000, 5000, 10_000))
        robot.tick(t_us)
        for name, item in link.readings.items():
            if t_us >= due_us[name]:
                due_us[name] = t_us - t_us % 1000 + int((item.period_ns or 1e7) / 1000)
                waiting += robot.reading(name, t_us, [random.uniform(-0.5, 0.5) for _ in item.form.fields])
        waiting += robot.answers()
        for event in faults.due(t_us):
            if event.kind == "reset":
                robot.restart()
            elif event.kind == "silence":
                quiet_us = t_us + event.duration_us
            elif gone_us < 0:
                gone_us = t_us + event.duration_us
                yield turn(b"unplugged", "lost")
        if 0 <= gone_us <= t_us:
            gone_us = -1
            yield turn(b"/dev/robot", "opened")
        elif gone_us >= 0 or t_us < quiet_us:
            waiting = b""
        size = random.choice((len(waiting), len(waiting), random.randint(0, len(waiting))))
        data, waiting = faults.to_host.pass_on(waiting[:size]), waiting[size:]
        if gone_us < 0:
            yield turn(data)


class _Lines:
    """A robot of nobody's: a line of numbers for each reading."""

    end = b"\n"

    def __init__(self, link: Dialect) -> None:
        self._link, self._number = link, 0

    def reading(self, name: str, t_us: int, values: list[float]) -> bytes:
        self._number += 1
        return b"%d %d %r\n" % (t_us // 1000, self._number % 256, values[0])

    def tick(self, t_us: int) -> None: ...

    def answers(self) -> bytes:
        return b""

    def receive(self, data: bytes) -> None: ...

    def restart(self) -> None:
        self._number = 0


def _robot(link: Dialect) -> Any:
    return robot_side(link) if link.name in ROBOT_SIDES else _Lines(link)
