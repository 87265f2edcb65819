"""What every dialect shares: the handshake that is none, limits, gaps, restarts, fresh and stale actions, promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ActionError, TableError
from firmware_bridge.events import Event, Fault, Gap, Hello, Lost, Opened, Reading, Reset, Silent
from firmware_bridge.links.declarations import ActionDeclaration
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.values import Action, Chunk
from tests.support.robots import MS


class Rows(Dialect):
    """Numbers a line, "boot" when it starts; an action is a line of numbers."""

    name = "rows"
    cut = b"\n"

    def opened(self) -> None:
        self._line = b""

    def decode(self, t_ns: int, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line == b"boot":
                self.booted()
                continue
            try:
                self.deliver(t_ns, "imu", [float(text) for text in line.split()])
            except ValueError:
                self.fault(t_ns, "shape", line)

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        return " ".join(map(repr, values)).encode() + b"\n"


IMU = {"fields": ["ms", "n", "gx deg/s"], "time": "ms", "counter": "n", "counter_bits": 8, "rate_hz": 100}
MOTOR = {"fields": {"left": {"min": -1, "max": 1, "safe": 0.5}}}
TABLE = {"dialect": f"{__name__}:Rows", "reading": {"imu": IMU}, "action": {"motor": MOTOR}}


def link(**changes: Any) -> Rows:
    made = LinkConfig(TABLE | changes, "robot.toml", Path()).open()
    assert isinstance(made, Rows)
    return made


def imu(**changes: Any) -> dict[str, Any]:
    return {"reading": {"imu": {k: v for k, v in (IMU | changes).items() if v is not None}}}


def feed(made: Rows, *lines: tuple[int, str]) -> list[Event]:
    return [event for ms, line in lines for event in made.receive(Chunk(ms * MS, line.encode() + b"\n"))]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_hello_comes_with_the_first_message_and_nothing_is_known_before() -> None:
    """Opened, then Hello with the first whole message; the dictionary is the configuration's, without time and
    counter; bytes that are no message are no robot."""
    made = link()
    (opened,) = made.receive(Chunk(0, b"/dev/x", "opened"))
    assert isinstance(opened, Opened)
    assert (made.state, made.dictionary) == ("listening", None)
    assert kinds(feed(made, (1, "noise"))) == ["Fault"]
    hello, reading = feed(made, (10, "1000 7 2.5"))
    assert isinstance(hello, Hello)
    assert [field.name for field in hello.dictionary["imu"].fields] == ["gx"]
    assert reading == Reading(10 * MS, "imu", 1, 1_000_000, (2.5,))
    assert made.state == "running"
    assert kinds(made.receive(Chunk(20 * MS, b"gone", "lost"))) == ["Lost"]
    assert made.state == "closed"


def test_missing_readings_are_known_by_the_counter() -> None:
    """A hole in the counter is a gap of just so many, across its wrap, too; a number that stands twice is a fault."""
    events = feed(link(), (0, "0 254 1"), (10, "10 255 1"), (40, "40 2 1"), (50, "50 2 1"), (60, "60 3 1"))
    assert kinds(events) == ["Hello", "Reading", "Reading", "Gap", "Reading", "Fault", "Reading"]
    assert events[3] == Gap(40 * MS, "imu", 3, 2)
    assert isinstance(events[5], Fault)
    assert events[5].status == "counter"


def test_missing_readings_are_known_by_time_and_rate() -> None:
    """Without a counter the robot's own clock and the declared rate say how many are missing, however late."""
    made = link(**imu(counter=None, counter_bits=None))
    events = feed(made, (0, "0 0 1"), (10, "11 0 1"), (55, "50 0 1"), (56, "59 0 1"))
    assert [event.count for event in events if isinstance(event, Gap)] == [3]
    assert made.promises.uncounted == ()


def test_what_cannot_be_known_is_unknown() -> None:
    """Neither counter nor clock: no gap is ever made up, and the promises say so; with all of them they say less."""
    made = link(**imu(counter=None, counter_bits=None, time=None))
    assert not [event for event in feed(made, (0, "0 0 1"), (5000, "9 9 1")) if isinstance(event, Gap)]
    said = " ".join(made.promises.sentences())
    for words in ("no checksum", "lost readings are unknown (imu", "clock is unknown (imu", "last action stays (motor"):
        assert words in said
    assert "unknown" not in " ".join(link().promises.sentences())


def test_one_damaged_digit_of_the_clock_is_a_fault_and_no_gap() -> None:
    """A time far ahead or behind is not believed; the next one, which goes on from before, is."""
    made = link(**imu(counter=None, counter_bits=None))
    events = feed(made, (0, "1000 0 1"), (10, "9010 0 1"), (20, "1020 0 1"), (30, "30 0 1"), (40, "1040 0 1"))
    assert kinds(events) == ["Hello", "Reading", "Fault", "Gap", "Reading", "Fault", "Gap", "Reading"]
    assert made.counters.resets == 0
    assert made.counters.lost_readings == 2


def test_a_restart_is_noticed_at_once_where_the_robot_says_so_and_else_by_the_second_reading() -> None:
    """A clock that goes back after a boot message is a Reset; without one it takes two readings that agree."""
    made = link(start="go\n")
    made.receive(Chunk(0, b"/dev/x", "opened"))
    assert made.outgoing() == b"go\n"
    feed(made, (0, "90000 9 1"))
    assert made.outgoing() == b""
    assert kinds(feed(made, (10, "boot"), (500, "20 0 1"))) == ["Reset", "Reading"]
    assert made.outgoing() == b"go\n"
    assert kinds(feed(made, (510, "30 1 1"), (900, "15 0 1"), (910, "25 1 1"))) == [
        "Reading",
        "Fault",
        "Reset",
        "Reading",
    ]


def test_the_clock_wraps_after_32_bits_without_a_reset() -> None:
    """millis() after 49.7 days."""
    made = link(**imu(counter=None, counter_bits=None))
    events = feed(made, (0, f"{2**32 - 10} 0 1"), (10, "0 0 1"), (20, "10 0 1"))
    assert kinds(events) == ["Hello", "Reading", "Reading", "Reading"]
    assert isinstance(events[-1], Reading)
    assert events[-1].t_device_us == (2**32 + 10) * 1000


def test_limits_refuse_and_count_and_a_missing_value_is_none_of_them() -> None:
    """Outside its limits a reading is a fault that names field and limits, and the next one shows the gap; nan passes
    as a missing value; limits are of physical values, after the scale."""
    made = link(**imu(limits={"gx": [-1, 1]}, scale={"gx": 0.1}))
    events = feed(made, (0, "0 0 10"), (10, "10 1 10.5"), (20, "20 2 nan"))
    assert kinds(events) == ["Hello", "Reading", "Fault", "Gap", "Reading"]
    assert isinstance(events[2], Fault)
    assert events[2].detail == "imu: gx = 1.05 deg/s is outside -1 to 1"
    assert made.counters.faults == {"limits": 1}


def test_a_message_of_another_length_is_a_fault() -> None:
    """Whatever a dialect of somebody else's gives: too few and too many numbers are no reading."""
    made = link()
    assert kinds(feed(made, (0, ""), (0, "1 2"), (0, "1 2 3 4"))) == ["Fault"] * 3
    assert made.counters.faults == {"length": 3}


def running(**changes: Any) -> Rows:
    made = link(**changes)
    feed(made, (0, "0 0 1"))
    return made


def test_an_action_is_repeated_while_it_is_fresh_and_then_the_safe_output_is_sent() -> None:
    """repeat_ms keeps the robot's own watchdog fed as long as the decision holds, and no longer."""
    made = running(action={"motor": MOTOR | {"repeat_ms": 100, "watchdog_ms": 500}})
    assert made.send(0, Action("motor", (1.0,)), hold_ns=300 * MS) == b"1.0\n"
    sent = []
    for ms in range(20, 1000, 20):
        made.receive(Chunk(ms * MS))
        sent += [(ms, data) for data in [made.outgoing()] if data]
    assert sent == [(100, b"1.0\n"), (200, b"1.0\n"), (300, b"0.5\n")]
    assert made.promises.unguarded == ()


def test_it_asks_to_be_woken_for_the_next_repetition_and_when_the_action_is_too_old() -> None:
    """due_ns is the earlier of both, None where nothing is in force."""
    made = running(action={"motor": MOTOR | {"repeat_ms": 100}})
    assert made.due_ns is None
    made.send(0, Action("motor", (1.0,)))
    assert made.due_ns == 100 * MS
    made.receive(Chunk(200 * MS))
    made.outgoing()
    assert made.due_ns == 250 * MS


def test_a_safe_output_that_the_port_did_not_take_is_given_again() -> None:
    """Until it is taken, and not once the robot has been moved again; so is the start."""
    made = running(start="go\n")
    made.send(0, Action("motor", (1.0,)))
    made.receive(Chunk(300 * MS))
    assert made.outgoing() == b"0.5\n"
    for ms in (320, 340):
        made.unsent()
        made.receive(Chunk(ms * MS))
        assert made.outgoing() == b"0.5\n"
    made.receive(Chunk(360 * MS))
    assert made.outgoing() == b""
    made.unsent()
    made.send(370 * MS, Action("motor", (1.0,)))
    made.unsent()
    made.receive(Chunk(380 * MS))
    assert made.outgoing() == b""
    made.receive(Chunk(390 * MS, b"back", "opened"))
    assert made.outgoing() == b"go\n0.5\n"
    made.unsent()
    assert made.outgoing() == b"go\n0.5\n"


def test_silence_makes_safe_and_holds_actions() -> None:
    """Silent comes once; then the safe output, and no action until the robot speaks again."""
    made = running()
    made.send(0, Action("motor", (1.0,)), hold_ns=10**12)
    assert kinds(made.receive(Chunk(1600 * MS))) == ["Silent"]
    assert made.outgoing() == b"0.5\n"
    assert made.receive(Chunk(1700 * MS)) == []
    assert made.send(1700 * MS, Action("motor", (1.0,))) == b""
    assert made.counters.actions_held == 1
    feed(made, (1800, "1800 180 1"))
    assert made.send(1800 * MS, Action("motor", (1.0,))) == b"1.0\n"


def test_stop_is_the_safe_output_once_and_a_robot_that_never_spoke_gets_nothing() -> None:
    """The declared safe values; afterwards nothing, whatever is asked."""
    made = running()
    assert made.stop(0) == b"0.5\n"
    assert made.stop(0) == made.outgoing() == made.send(0, Action("motor", (1.0,))) == b""
    assert link().stop(0) == b""


def test_a_robot_that_somebody_else_drives_is_not_stopped() -> None:
    """Where nothing of the file drives it, the link says nothing at the end, and of no watchdog either."""
    made = LinkConfig(TABLE, "robot.toml", Path()).open(drives=False)
    made.receive(Chunk(0, b"0 0 1\n"))
    assert made.dictionary is not None
    assert made.stop(MS) == b""
    assert made.promises.unguarded == ()


def test_a_rate_below_the_robot_s_own_makes_losses_unknown() -> None:
    """At 100 readings a second and rate_hz = 50 a lost one leaves no hole: that is said, and lost is unknown."""
    slow, right = (link(**imu(counter=None, counter_bits=None, rate_hz=rate)) for rate in (50, 100))
    for made in (slow, right):
        feed(made, *((10 * k, f"{10 * k} 0 1") for k in range(400) if k % 40))
    assert (slow.promises.uncounted, right.promises.uncounted) == (("imu",), ())
    assert "imu comes 9" in " ".join(slow.promises.sentences())
    assert "mend rate_hz" in " ".join(slow.promises.sentences())
    assert right.counters.lost_readings == 9


def test_a_port_that_comes_back_is_made_safe_where_an_action_was_in_force() -> None:
    """A robot without a watchdog holds the last action while it is unplugged."""
    made = running()
    made.send(0, Action("motor", (1.0,)))
    assert kinds(made.receive(Chunk(10 * MS, b"gone", "lost"))) == [Lost.__name__]
    assert made.outgoing() == b""
    made.receive(Chunk(20 * MS, b"back", "opened"))
    assert made.outgoing() == b"0.5\n"


def test_an_action_outside_its_limits_or_of_no_name_is_an_error() -> None:
    """As of every link."""
    made = running()
    with pytest.raises(ActionError, match=r"left = 1\.5 is outside"):
        made.send(0, Action("motor", (1.5,)))
    with pytest.raises(ActionError, match="did you mean 'motor'"):
        made.send(0, Action("motr", (0.5,)))


@given(st.lists(st.integers(1, 40)))
def test_any_split_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    """At one time; the base keeps nothing of a chunk."""
    data = b"0 0 1\nboot\n10 1 nan\nxx\n30 3 2\n9999999 4 1\n50 5 2\n"
    whole, cut = link(), link()
    expected = whole.receive(Chunk(0, data))
    got, at = [], 0
    for size in [*cuts, len(data)]:
        if at < len(data):
            got += cut.receive(Chunk(0, data[at : at + size]))
            at += size
    assert repr(got) == repr(expected)  # nan is not equal to itself
    assert cut.report() == whole.report()


@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=60)), max_size=30))
def test_nothing_that_arrives_raises(chunks: list[tuple[int, bytes]]) -> None:
    """Random bytes at random times; what is delivered is counted."""
    made, t_ns, delivered = link(), 0, 0
    for passed, data in chunks:
        t_ns += passed * 1000
        delivered += sum(isinstance(event, Reading) for event in made.receive(Chunk(t_ns, data)))
        made.outgoing()
    assert made.counters.readings == delivered


MISTAKES = [
    ({"reading": {}}, "[link] reading: is missing"),
    ({"reading": {}, "readings": {"imu": IMU}}, "[link] readings: unknown key; did you mean 'reading'?"),
    ({"reading": {"imu": IMU | {"fields": []}}}, "fields: is empty"),
    (imu(fields=["ms", "n", "ms"]), "fields: names 'ms' twice"),
    (imu(fields=["ms", "n", 3]), "fields: must be a list, each of it text in quotes; 3 is not"),
    (imu(fields=["ms", "n", "_"]), "leaves no number for a model"),
    (imu(time="mss"), "time: there is no field 'mss'; did you mean 'ms'?"),
    (imu(fields=["clock", "n", "gx"], time="clock"), 'add time_unit = "s", "ms", "us", "ns", one of them'),
    (imu(time=None, time_unit="ms"), "time_unit: is given, but no field is the robot's clock"),
    (imu(time_unit="min"), "time_unit: 'min' is unknown"),
    (imu(counter_bits=None), "counter_bits: is missing"),
    (imu(counter_bits=64), "counter_bits: must be a number of bits from 1 to 32"),
    (imu(counter=None), "counter_bits: is given, but no field is a counter"),
    (imu(limits={"gx": [2, 1]}), "limits: of 'gx' are reversed: 2 is above 1"),
    (imu(limits={"gx": [float("nan"), 1]}), "limits] gx: must be finite, not nan"),
    (imu(limits={"gx": [0, 10**400]}), "limits] gx: must be finite, not a number of more than 300 digits"),
    (imu(scale={"ms": 2}), "scale: 'ms' is a time or a counter, which has no scale"),
    (imu(offset={"n": 2}), "offset: 'n' is a time or a counter, which has no offset"),
    (imu(scale={"gy": 2}), "scale: 'gy' is no field; did you mean 'gx'?"),
    (imu(counter="ms"), "counter: is 'ms', which is the time already"),
    (imu(limits={"gx": [1]}), "limits: of 'gx' must be [least, greatest]"),
    (imu(limits={"gy": [1, 2]}), "limits: 'gy' is no field; did you mean 'gx'?"),
    (imu(limits={"ms": [1, 2]}), "limits: 'ms' is a time or a counter"),
    (imu(scale={"gx": 0}), "scale: of 'gx' is 0"),
    (imu(rate_hz=0), "rate_hz"),
    (imu(ratehz=5), "ratehz: unknown key; did you mean 'rate_hz'?"),
    ({"dialect": "line"}, "dialect: 'line' is unknown; did you mean 'lines'?"),
    ({"dialect": "no_such_package:X"}, "there is no module 'no_such_package'"),
    ({"dialect": f"{__name__}:Columns"}, "has no class 'Columns'"),
    ({"dialect": "pathlib:Path"}, "is no class derived from"),
    ({"dialect": "missing.py:X"}, "there is no file"),
    ({"start": "a", "start_hex": "41"}, "start: stands beside start_hex"),
    ({"start_hex": "4"}, "start_hex: '4' is not bytes"),
    ({"action": {"motor": {"fields": {"left": {"min": 1, "max": -1, "safe": 0}}}}}, "min: 1 is above max = -1"),
    ({"action": {"motor": {"fields": {"left": {"min": -1, "max": 1, "safe": 2}}}}}, "safe: 2 is outside -1 to 1"),
    ({"action": {"motor": {"fields": {"left": {"min": -1, "max": 1}}}}}, "safe: is missing"),
    (
        {"action": {"motor": {"fields": {"left": {"choices": ["S", "F"], "safe": "S"}}}}},
        '[link.action.motor.fields.left] choices: are texts, and this dialect sends numbers; dialect "lines" sends',
    ),
    ({"action": {"motor": MOTOR | {"repeat_ms": 0}}}, "repeat_ms: must be a number of milliseconds from 1"),
    (
        {"action": {"motor": MOTOR | {"repeat_ms": 500, "watchdog_ms": 500}}},
        "repeat_ms: 500 is too late for",
    ),
    ({"reading": {f"r{n}": {"fields": ["x"]} for n in range(300)}}, "reading: declares more than 120 kinds"),
    ({"action": {f"a{n}": MOTOR for n in range(300)}}, "action: declares more than 120 kinds"),
    ({"\x1b]52;c;\x07": 1}, "[link] \ufffd]52;c;\ufffd: unknown key"),
    ({"action": {"imu": MOTOR}}, "action: 'imu' is a reading already"),
]


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES, ids=[sentence[:40] for _, sentence in MISTAKES])
def test_a_mistake_names_table_key_reason_and_the_way_on(changes: dict[str, Any], sentence: str) -> None:
    """Each is found when the file is read."""
    with pytest.raises(TableError) as error:
        LinkConfig(TABLE | changes, "robot.toml", Path()).open()
    assert str(error.value).startswith("robot.toml: [link")
    assert sentence in str(error.value)


def test_our_own_link_is_what_no_table_and_its_name_mean() -> None:
    """`own` takes one key; its promises have nothing to say."""
    for values in ({}, {"dialect": "own"}, {"dialect": "own", "ask_first": True}):
        made = LinkConfig(values, "robot.toml", Path()).open()
        assert isinstance(made, Bridge)
        assert made.promises.sentences() == ()
    with pytest.raises(TableError, match="unknown key"):
        LinkConfig({"dialect": "own", "reading": {}}, "robot.toml", Path()).open()


def test_a_dialect_of_a_file_beside_robot_toml_and_its_digest(tmp_path: Path) -> None:
    """ "my_robot.py:MyRobot" is loaded from the folder of robot.toml; the digest is its file's."""
    text = "from tests.firmware_bridge.links.test_dialect import Rows\nclass Mine(Rows):\n    name = 'mine'\n"
    (tmp_path / "my_robot.py").write_text(text)
    config = LinkConfig(TABLE | {"dialect": "my_robot.py:Mine"}, "robot.toml", tmp_path)
    assert config.open().report()["state"] == "closed"
    assert len(config.source_digest()) == 64
    assert LinkConfig({}, "robot.toml", tmp_path).source_digest() == ""


def test_reset_and_silent_are_events_like_any_other() -> None:
    """For readers: the names that a recording uses."""
    assert (Reset.__name__.lower(), Silent.__name__.lower()) == ("reset", "silent")
