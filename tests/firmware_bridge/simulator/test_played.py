"""Tables played as robots in every dialect, against the dialect's own link, in simulated time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.robot.config import link_of
from firmware_bridge.dictionary import Field, Format
from firmware_bridge.errors import BridgeError
from firmware_bridge.events import Event, Gap, Reading, Reset
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.servos import Servos
from firmware_bridge.simulator.dialects.blocks import FREE, block
from firmware_bridge.simulator.dialects.own import OwnRobot
from firmware_bridge.simulator.dialects.robot_side import robot_side
from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.played import BOOT_US, Driven, Happened, Played, Row, Table
from firmware_bridge.simulator.robot import ACTION, READING, READING_FIELDS, Robot
from firmware_bridge.values import Action, Chunk
from tests.support.robots import of, stock

RATE_HZ = 100.0
MS = 1_000_000  # ns


class Room:
    """A played robot and its link, a millisecond at a time; the host answers each reading with an action."""

    def __init__(self, kind: str, seconds: float) -> None:
        self.kind, self.link = kind, stock.dialect(kind, RATE_HZ)
        (self.form,) = (item.form for item in self.link.readings.values())
        (self.action,) = self.link.actions.values()
        count = round(seconds * RATE_HZ)
        rows = [Row(10_000 * k, self.form.name, self.values(k)) for k in range(count)]
        safe = {self.action.name: self.action.form.safe_action().values}
        watchdog_us = self.action.watchdog_ms * 1000 or None
        side = robot_side(stock.dialect(kind, RATE_HZ))
        self.board = Played(side, Table(lambda: rows), safe=safe, watchdog_us=watchdog_us)
        self.happened: list[Happened] = []
        self.board.on_event = self.happened.append
        self.events: list[Event] = []
        self.sent: list[tuple[float, ...]] = []
        self.awake = True
        self.board.advance(1000)  # so that it has measured before it is asked
        self.give(b"/dev/robot", "opened")

    def values(self, number: int) -> tuple[float, ...]:
        """Of a reading."""
        return stock.values(self.kind, number, RATE_HZ, len(self.form.fields))

    def give(self, data: bytes, link: Any = "data") -> None:
        """A chunk to the host, and what it writes to the robot."""
        t_ns = self.board.now_us * 1000
        found, out = self.link.receive(Chunk(t_ns, data, link)), b""
        self.events += found
        for _ in of(Reading, found) if self.awake else ():
            share = len(self.sent) % 50 / 50
            ends = [(f.minimum or 0, f.maximum or 0) for f in self.action.form.fields]
            wanted = tuple(least + share * (most - least) for least, most in ends)
            self.sent.append(wanted)
            out += self.link.send(t_ns, Action(self.action.name, wanted))
        out += self.link.outgoing() if self.awake else b""
        if out:
            self.board.receive(out)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        for _ in range(round(seconds * 1000)):
            answers = self.board.outgoing()
            self.give(answers + self.board.advance(1000))

    def of(self, kind: str) -> list[Happened]:
        """What happened at the robot, of one kind."""
        return [event for event in self.happened if event.kind == kind]

    def keys(self) -> list[tuple[int, ...]]:
        """The readings that came, in steps."""
        return [stock.key(self.kind, reading.values) for reading in of(Reading, self.events)]


@pytest.mark.parametrize("kind", stock.KINDS)
def test_what_is_played_arrives_and_what_is_sent_is_obeyed(kind: str) -> None:
    """Every row comes as a reading with its values, once and in order (of a polled robot those that were asked for);
    each action is obeyed with its values; `stop` leaves the safe ones."""
    room = Room(kind, 2)
    room.run(2.2)
    sent = [stock.key(kind, event.values) for event in room.of("reading")]
    assert len(sent) == 200
    came = room.keys()
    if stock.polled(kind):
        assert len(came) > 150
        assert [key for key in sent if key in set(came)] == list(dict.fromkeys(came))
    else:
        assert came == sent[-len(came) :]
        assert len(came) >= 98  # MAVLink waits for the first heartbeat, text for the end of the line that was cut
    assert not of(Gap, room.events)
    obeyed = [event.values for event in room.of("action")]
    wanted = [tuple(values) for values in room.sent]
    assert len(obeyed) >= len(wanted) - 1
    step = 360 / 4096 if stock.polled(kind) else 1e-4
    for values in wanted[:100]:
        assert any(values == pytest.approx(found, abs=step) for found in obeyed)
    room.board.receive(room.link.stop(room.board.now_us * 1000))
    if not isinstance(room.link, Servos):  # there the safe output is no goal
        assert room.of("action")[-1].values == pytest.approx(room.action.form.safe_action().values, abs=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in stock.KINDS if not stock.polled(kind)])
def test_the_watchdog_of_the_robot_is_played(kind: str) -> None:
    """A host that writes nothing any more: the robot is safe after its own time, once."""
    room = Room(kind, 3)
    room.run(1)
    room.awake = False
    room.run(1.5)
    last = room.of("action")[-1].t_us
    safe = room.of("safe")
    assert [event.why for event in safe] == ["watchdog"] * len(safe)
    assert len({event.t_us for event in safe}) == 1
    assert 500_000 <= safe[0].t_us - last <= 520_000
    assert room.board.timeouts == 1


@pytest.mark.parametrize("kind", ["csv", "json", "mavlink", "nmea", "pairs", "slcan", "struct"])
def test_a_reset_is_noticed_and_the_clock_begins_again(kind: str) -> None:
    """The reset button: nothing for a while, outputs safe, then readings whose clock begins at 0. The link says so
    once, and the robot is driven again."""
    room = Room(kind, 4)
    room.run(1.5)
    room.board.reset()
    room.run(BOOT_US * 1e-6 + 1.5)
    resets = of(Reset, room.events)
    if kind != "slcan":  # the adapter's clock, which did not start again, is another matter than the robot's
        assert len(resets) == 1
    times = [event.t_device_us for event in room.of("reading")]
    assert sum(later < earlier for earlier, later in pairwise(times)) == 1
    after = [event for event in room.of("action") if event.t_us > 2_200_000]
    assert len(after) > 20


@pytest.mark.parametrize("dialect", FREE)
def test_the_block_that_is_printed_declares_what_was_played(dialect: str) -> None:
    """Any numbers: the text reads back as a link with the same names, units, limits and rates, and has a robot."""
    fields = tuple(Field(f"v_{k}", "f64", unit) for k, unit in enumerate(("", "m/s²", "°C", "rad/s")))
    many = tuple(Field(f"n{k}", "f64", "") for k in range(40))
    drive = tuple(Field(n, "f64", "N m", minimum=-2.5, maximum=1e-7 + 3, safe=0.25) for n in ("left", "right"))
    readings = Format("a reading", 1, "reading", fields, 50.0), Format("many", 2, "reading", many)
    actions = (Format("drive", 3, "action", drive),)
    text = block(dialect, 'it is "mine"', readings, actions)
    link = link_of(text, "block", Path()).open()
    assert isinstance(link, Dialect)
    for item in readings:
        found = link.readings[item.name].form
        assert [(f.name, f.unit) for f in found.fields] == [(f.name, f.unit) for f in item.fields]
        assert found.rate_hz == item.rate_hz
    limits = [(f.name, f.unit, f.minimum, f.maximum, f.safe) for f in link.actions["drive"].form.fields]
    assert limits == [(f.name, f.unit, f.minimum, f.maximum, f.safe) for f in actions[0].fields]
    assert robot_side(link).reading("many", 1000, [0.5] * 40)


def test_a_dialect_whose_messages_mean_something_needs_a_configuration() -> None:
    """Nobody can guess which message carries which column."""
    with pytest.raises(BridgeError, match="say in --config which of them carries which column"):
        block("mavlink", "x", (), ())


def test_a_table_is_looped_one_period_after_its_last_row() -> None:
    """Rows at 0, 10, 30 ms: the second round begins at 50 ms, as far from the last as that was from the one before."""
    rows = [Row(0, "a", (1.0,)), Row(10_000, "a", (2.0,)), Row(30_000, "a", (3.0,))]
    looped = Table(lambda: rows, loop=True).rows()
    assert [next(looped).t_us for _ in range(7)] == [0, 10_000, 30_000, 50_000, 60_000, 80_000, 100_000]
    assert len(list(Table(lambda: rows).rows())) == 3


def test_actions_move_the_two_wheeled_robot_whatever_their_range() -> None:
    """Nothing at the safe value, everything at either end: torque limits of the drive from sticks of 1000 to 2000."""
    limits = tuple(Field(name, "f64", "µs", minimum=1000, maximum=2000, safe=1500) for name in ("left", "right"))
    driven = Driven(Drive(1, 100.0), "imu", Format("sticks", 1, "action", limits), [0, 7])
    assert driven.drive.torque_limits == (0, 0)
    driven.obey("sticks", (2000, 1250))
    assert driven.drive.torque_limits == (1, 0.5)
    driven.obey("another", (1500, 1500))
    assert driven.drive.torque_limits == (1, 0.5)
    assert len(next(driven.rows()).values) == 2


def test_what_arrives_finds_the_clock_of_its_own_time() -> None:
    """An action that comes 3 ms after the reading that it answers is 3 ms old, by our own firmware's clock."""
    drive = Robot(0, RATE_HZ)
    side = OwnRobot(drive.device.dictionary)
    values = (0.0,) * len(READING_FIELDS)
    board = Played(side, Table(lambda: [Row(10_000 * k, READING, values) for k in range(1, 400)]))
    bridge, t_ns = Bridge(), 0
    for _ in range(2000):
        readings = [e for e in bridge.receive(Chunk(t_ns, board.advance(1000))) if isinstance(e, Reading)]
        if readings:
            t_ns += 3 * MS
            assert not board.advance(3000)
            board.receive(bridge.send(t_ns, Action(ACTION, (0.5, 0.5)), 0, readings[-1].t_device_us))
        board.receive(bridge.outgoing())
        t_ns += MS
    assert side._device.age_us == 3000
