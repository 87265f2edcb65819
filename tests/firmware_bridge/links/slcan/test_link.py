"""Dialect slcan from robot.toml to readings and actions, against lines written by hand, python-can and cantools."""

from __future__ import annotations

import struct
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import firmware_bridge.links.slcan
from firmware_bridge.errors import TableError
from firmware_bridge.events import Fault, Gap, Hello, Reading
from firmware_bridge.links.slcan.messages import CanFrame, encode
from firmware_bridge.simulator.dialects.robot_side import robot_side
from firmware_bridge.values import Action, Chunk
from tests.support.robots import MS, of
from tests.support.robots.dialects import dialect, examples, heard, opened, pieces

PAGE = Path(firmware_bridge.links.slcan.__file__).with_name("README.md")
LAYOUTS, NAMES = examples(PAGE)
HERE = Path(__file__).parent


def imu(n: int, stamp: str | None = None) -> bytes:
    """Both frames of the first example for reading n, written by hand."""
    digits = f"{n * 10 % 60_000:04X}" if stamp is None else stamp
    gyro, accel = struct.pack("<3hH", n, -n, 2 * n, 7), struct.pack("<3hH", 5, -5, 981, n % 65536)
    return f"t1018{gyro.hex().upper()}{digits}\rt1028{accel.hex()}{digits}\r".encode()


@cache
def by_names() -> Any:
    """The second example with its file, which takes a while to be read."""
    pytest.importorskip("cantools")
    return opened(dialect(NAMES, folder=HERE))


@cache
def database() -> Any:
    cantools = pytest.importorskip("cantools")
    return cantools.database.load_file(HERE / "rover.dbc")


# ---------------------------------------------------------------------------------------------- layouts


def test_the_channel_is_opened_at_each_opening() -> None:
    """A line that was cut off ends, then close, time stamps, bit rate, open; again when the port comes back."""
    link = dialect(LAYOUTS)
    link.receive(Chunk(0, b"/dev/ttyACM0", "opened"))
    assert link.outgoing() == b"\rC\rZ1\rS6\rO\r"
    assert link.outgoing() == b""
    link.receive(Chunk(1, b"gone", "lost"))
    link.receive(Chunk(2, b"/dev/ttyACM0", "opened"))
    assert link.outgoing() == b"\rC\rZ1\rS6\rO\r"
    assert dialect(LAYOUTS, {"timestamps": None, "reading.imu.time": None, "bitrate": 1_000_000}).cut == b"\r"


def test_two_frames_make_a_reading_with_the_adapters_time() -> None:
    """Scaled values, the adapter's clock across its end at 60 s, and a gap where readings are missing."""
    link = opened(dialect(LAYOUTS))
    events = heard(link, [(n * 10 * MS, imu(n)) for n in (5997, 5998, 5999, 6000, 6001, 6005)])
    readings = of(Reading, events)
    assert readings[0].values == (5997 * 0.001, -5997 * 0.001, 2 * 5997 * 0.001, 0.05, -0.05, 9.81, 5997)
    assert [item.t_device_us // 10_000 for item in readings] == [5997, 5998, 5999, 6000, 6001, 6005]
    assert [item.count for item in of(Gap, events)] == [3]
    assert not link.counters.faults
    assert not link.promises.damage
    assert link.promises.undated == link.promises.uncounted == ()


def test_the_adapters_answers_are_no_robot() -> None:
    """CR and BEL after opening: the state stays listening, nothing is sent; the first frame shows the robot."""
    link = opened(dialect(LAYOUTS))
    assert heard(link, [(0, b"\r\a\r\r\r")]) == []
    assert link.state == "listening"
    assert link.send(0, Action("motor", (0, 0))) == b""
    assert link.stop(0) == b""
    link = opened(dialect(LAYOUTS))
    (hello,) = heard(link, [(0, b"t7FF0\r")])
    assert isinstance(hello, Hello)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (b"\r\a\r\r\r", []),
        (b"\a\a\r\r\r", []),
        (b"\r\r\a\r\r", ["the adapter refuses Z1"]),
        (b"\r\r\r\a\r", ["the adapter refuses S6"]),
        (b"\r\r\r\r\a", ["the adapter refuses O"]),
        (b"\r\r\r\r\r\a", ["the adapter refuses something that was sent, perhaps because the bus is off"]),
    ],
)
def test_what_the_adapter_refuses_is_a_fault_by_its_name(answers: bytes, said: list[str]) -> None:
    """But for closing what was not open, and for what was cut off."""
    link = opened(dialect(LAYOUTS))
    faults = of(Fault, heard(link, [(0, answers)]))
    assert [item.detail for item in faults] == said
    assert all(item.status == "refused" for item in faults)


def test_actions_are_frames_and_stop_leaves_the_channel_open() -> None:
    """Constant, counter, scaled numbers; the last thing sent is the safe frame, and no C follows it."""
    link = opened(dialect(LAYOUTS))
    heard(link, [(0, imu(0))])
    data = struct.pack("<BBhh", 2, 0, 500, -1000)
    assert link.send(0, Action("motor", (0.5, -1.0))) == b"t2016" + data.hex().upper().encode() + b"\r"
    data = struct.pack("<BBhh", 2, 1, 0, 0)
    assert link.stop(0) == b"t2016" + data.hex().upper().encode() + b"\r"


def test_what_was_written_is_explained_by_its_fields() -> None:
    """An action by its values, the opening by its lines."""
    link = opened(dialect(LAYOUTS))
    heard(link, [(0, imu(0))])
    sent = link.send(0, Action("motor", (0.5, -1.0)))
    assert link.explain(sent) == "motor left=0.5 right=-1"
    assert link.explain(b"\rC\rS6\r" + sent[:-1] + b"\r") == "(empty line), 'C', 'S6', motor left=0.5 right=-1"
    assert link.explain(sent[:-1]) == repr(sent[:-1].decode())


def test_damage_is_counted_and_no_reading_mixes_two_moments() -> None:
    """A damaged line, a frame of another length, a lost frame: no reading, a fault with its word."""
    link = opened(dialect(LAYOUTS))
    gyro, accel = (line + b"\r" for line in imu(1).split(b"\r")[:2])
    events = heard(link, [(0, imu(0))])
    events += heard(link, [(10 * MS, gyro[:9] + gyro[10:] + accel)])
    events += heard(link, [(20 * MS, gyro + b"t1027" + accel[5:19] + accel[21:])])
    events += heard(link, [(30 * MS, accel + b"E (12) i2c\r" + b"q" * 300 + b"\r" + imu(3))])
    assert len(of(Reading, events)) == 2
    assert [item.status for item in of(Fault, events)] == [
        "shape",
        "incomplete",
        "length",
        "incomplete",
        "shape",
        "length",
    ]
    assert all(len(item.data) <= 256 for item in of(Fault, events))


def test_the_rest_of_a_line_after_opening_is_no_fault() -> None:
    """It began before we listened."""
    link = opened(dialect(LAYOUTS))
    events = heard(link, [(0, imu(0)[9:] + imu(1))])
    assert not of(Fault, events)
    assert len(of(Reading, events)) == 1
    assert link.counters.skipped_bytes == len(imu(0)[9:].split(b"\r")[0])


def test_a_frame_without_the_time_stamp_that_was_asked_for_is_a_fault() -> None:
    """Its time is not guessed."""
    link = opened(dialect(LAYOUTS))
    events = heard(link, [(0, imu(0) + imu(1, stamp=""))])
    assert [item.status for item in of(Fault, events)] == ["time"]
    assert len(of(Reading, events)) == 1


def test_one_identifier_for_two_readings_that_a_constant_tells_apart() -> None:
    """A first byte that says what follows; an unknown one is no fault."""
    text = """
        [link]
        dialect = "slcan"
        bitrate = 125000
        [link.reading.a]
        id = 0x55
        extended = true
        layout = ">Bh"
        fields = ["kind", "x"]
        where = { kind = 1 }
        [link.reading.b]
        id = 0x55
        extended = true
        layout = ">BH"
        fields = ["kind", "y"]
        where = { kind = 2 }
    """
    link = opened(dialect(text))
    lines = [b"T00000055301FFFF\r", b"T00000055302FFFF\r", b"T00000055303FFFF\r", b"t0553010000\r"]
    events = heard(link, [(0, b"".join(lines))])
    assert [(item.format, item.values) for item in of(Reading, events)] == [("a", (-1,)), ("b", (65535,))]
    assert not of(Fault, events)
    assert link.counters.frames == 4


# ---------------------------------------------------------------------------------------------- names of a DBC file


@given(left=st.integers(-(2**15), 2**15 - 1), right=st.integers(-(2**15), 2**15 - 1), battery=st.integers(0, 4095))
def test_values_by_names_are_cantools_own(left: int, right: int, battery: int) -> None:
    """Whatever the bits: low byte first, high byte first, 12 bits, scaled; to the last bit."""
    link, message = by_names(), database().get_message_by_name("WHEELS")
    raw = {"SpeedLeft": left, "SpeedRight": right, "Battery": battery, "State": 1, "Count": 200}
    data = bytes(message.encode(raw, scaling=False, strict=False))
    truth = message.decode(data, decode_choices=False)
    events = heard(link, [(0, encode(CanFrame(512, False, data)))])
    if 5 <= truth["Battery"] <= 60:
        (reading,) = of(Reading, events)
        assert reading.values == (truth["SpeedLeft"], truth["SpeedRight"], truth["Battery"])
    else:
        assert [item.status for item in of(Fault, events)] == ["limits"]
    units = [field.unit for field in link.readings["wheels"].form.fields]
    assert units == ["rad/s", "rad/s", "V"]


@given(left=st.floats(-20, 20), right=st.floats(-20, 20))
def test_actions_by_names_decode_to_what_was_meant(left: float, right: float) -> None:
    """cantools reads them back to within half a step of the signal, with constant and counter."""
    link, message = by_names(), database().get_message_by_name("DRIVE")
    heard(link, [(0, b"t7FF0\r")])
    counts = []
    for _ in range(3):
        line = link.send(0, Action("drive", (left, right)))
        assert line.startswith(b"t3016")
        found = message.decode(bytes.fromhex(line[5:-1].decode()))
        assert found["TorqueLeft"] == pytest.approx(left, abs=0.0005001)
        assert found["TorqueRight"] == pytest.approx(right, abs=0.0005001)
        assert found["Mode"] == 1
        counts.append(found["Alive"])
    assert [(b - a) % 16 for a, b in pairwise(counts)] == [1, 1]


def test_a_multiplexed_message_is_a_reading_where_all_its_signals_are_in_it() -> None:
    """Two readings of one message, each of its own bank."""
    pytest.importorskip("cantools")
    text = NAMES[: NAMES.index("[link.reading")] + (
        '[link.reading.gyro]\nmessage = "IMU"\nfields = ["Gx", "Gy"]\n'
        '[link.reading.accel]\nmessage = "IMU"\nfields = ["Ax", "Ay m/s²"]\n'
    )
    link, message = opened(dialect(text, folder=HERE)), database().get_message_by_name("IMU")
    lines = [
        encode(CanFrame(message.frame_id, True, bytes(message.encode(values))))
        for values in ({"Bank": 0, "Gx": 1.5, "Gy": -2}, {"Bank": 1, "Ax": 9.81, "Ay": 0})
    ]
    events = heard(link, [(0, b"".join(lines) + b"T18FF0001802\r")])
    assert [(item.format, item.values) for item in of(Reading, events)] == [("gyro", (1.5, -2)), ("accel", (9.81, 0))]


def test_without_cantools_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else of the dialect needs it."""
    monkeypatch.setitem(sys.modules, "cantools", None)
    with pytest.raises(TableError, match=r"\[link\] dbc: needs the package cantools.*install.*cantools"):
        dialect(NAMES, folder=HERE)
    dialect(LAYOUTS)


# ---------------------------------------------------------------------------------------------- what arrives


def both(link: Any) -> tuple[Any, Any]:
    """The link and its robot, the channel open."""
    link.receive(Chunk(0, b"x", "opened"))
    robot = robot_side(link)
    robot.receive(link.outgoing())
    heard(link, [(0, robot.answers())])
    return link, robot


@pytest.mark.parametrize("named", [False, True])
def test_the_robots_own_half_says_the_same(named: bool) -> None:
    """Nothing before its channel is open; then the same values and actions both ways, and its answers are no fault."""
    if named:
        pytest.importorskip("cantools")
    closed = robot_side(dialect(NAMES if named else LAYOUTS, folder=HERE))
    (name,) = closed.readings
    values = [1.0, -2.0, 12.5] if named else [0.1, 0.2, -0.3, 1.0, 2.0, 9.81, 3.0]
    assert closed.reading(name, 0, values) == b""
    assert closed.receive(b"t2016020001000100\r") == []
    assert closed.answers() == b"\a"
    link, robot = both(dialect(NAMES if named else LAYOUTS, folder=HERE))
    (action,) = link.actions
    for n in range(50):
        (reading,) = of(Reading, heard(link, [(n * 10 * MS, robot.reading(name, n * 10_000, values))]))
        assert reading.values == pytest.approx(values)
        ((obeyed, got),) = robot.receive(link.send(n * 10 * MS, Action(action, (0.25, -0.5))))
        assert obeyed == action
        assert got == pytest.approx((0.25, -0.5))
        assert heard(link, [(n * 10 * MS, robot.answers())]) == []
    assert not link.counters.faults


@given(
    damage=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8),
    sizes=st.lists(st.integers(0, 60), max_size=40),
)
def test_any_split_gives_the_same_events_whatever_is_damaged(damage, sizes) -> None:
    """At one time: events, counters and state."""
    data = bytearray(imu(0)[5:] + b"\r\a" + b"".join(imu(n) for n in range(1, 9)))
    for at, value in damage:
        data[at % len(data)] = value
    whole, cut = opened(dialect(LAYOUTS)), opened(dialect(LAYOUTS))
    wanted = heard(whole, [(0, bytes(data))])
    assert heard(cut, [(0, piece) for piece in pieces(bytes(data), sizes)]) == wanted
    assert cut.report() == whole.report()


@given(chunks=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=80), st.booleans()), max_size=30))
def test_nothing_that_arrives_raises(chunks) -> None:
    """Random bytes, and random lines, at random times."""
    for link in (opened(dialect(LAYOUTS)), by_names()):
        t_ns = 0
        for passed, data, line in chunks:
            t_ns += passed * 1000
            link.receive(Chunk(t_ns, encode(CanFrame(512, False, data[:8])) if line else data))
            link.outgoing()


def test_the_same_chunks_give_the_same_bytes_again() -> None:
    """A drive with damage, unplugging and actions, played again."""

    def drive() -> list[object]:
        link, out = dialect(LAYOUTS), []
        chunks = [Chunk(0, b"x", "opened"), Chunk(MS, b"\r\a\r\r\r")]
        chunks += [Chunk(n * 10 * MS, imu(n) if n % 17 else imu(n)[:-3] + b"\r") for n in range(1, 200)]
        chunks += [Chunk(5100 * MS, b"gone", "lost"), Chunk(5200 * MS, b"x", "opened")]
        chunks += [Chunk((5300 + 10 * n) * MS, imu(530 + n)) for n in range(20)]
        for chunk in chunks:
            out += link.receive(chunk)
            if chunk.data and chunk.link == "data":
                out.append(link.send(chunk.t_ns, Action("motor", (chunk.t_ns % 3 - 1, 0.25))))
            out.append(link.outgoing())
        return [*out, link.stop(10**10), link.report()]

    assert drive() == drive()


# ---------------------------------------------------------------------------------------------- mistakes

MISTAKES = [
    (LAYOUTS, {"bitrate": None}, "[link] bitrate: is missing"),
    (LAYOUTS, {"bitrate": 512000}, "[link] bitrate: 512000 is none that adapters have"),
    (LAYOUTS, {"bitrate": 512000}, "did you mean 500000?"),
    (LAYOUTS, {"timestamps": False}, "imu] time: there is no field 'timestamp'"),
    (LAYOUTS, {"timestamp": True}, "[link] timestamp: unknown key; did you mean 'timestamps'?"),
    (LAYOUTS, {"reading.imu.frame.0.id": 0x20000000}, "id: 0x20000000 is no identifier: 0 to 0x1fffffff"),
    (LAYOUTS, {"reading.imu.frame.0.id": -1}, "imu.frame[0]] id: -0x1 is no identifier"),
    (LAYOUTS, {"reading.imu.frame.0.id": "0x101"}, "imu.frame[0]] id: must be a whole number"),
    (
        LAYOUTS,
        {"reading.imu.frame.0.layout": "<3hI"},
        "layout: has 10 bytes; a frame of CAN has 8 at most",
    ),
    (LAYOUTS, {"reading.imu.frame.0.id": 0x102}, "imu] id: nothing tells a frame of 'imu' from another of its own"),
    (LAYOUTS, {"reading.imu.frame.0.fields": ["a"]}, "imu.frame[0]] fields: the layout has 4 numbers (hhhH)"),
    (LAYOUTS, {"reading.imu.frame.0.message": "IMU"}, "imu.frame[0]] id: stands beside message"),
    (
        LAYOUTS,
        {"action.motor.counter": "left"},
        "motor] counter: 'left' is 'h'; a counter is a whole number without sign",
    ),
    (LAYOUTS, {"action.motor.scale": {"left": 1e-5}}, "so it is sent as -100000, which does not fit"),
]
NAMED = [
    ({"dbc": None}, "wheels] message: is given, but no file that explains it: add dbc"),
    ({"dbc": "rovr.dbc"}, "[link] dbc: "),
    ({"dbc": "test_link.py"}, "is no DBC file that cantools understands"),
    (
        {"reading.wheels.message": "WHEELZ"},
        "there is no message 'WHEELZ' in the DBC file; did you mean 'WHEELS'?",
    ),
    (
        {"reading.wheels.fields": ["SpeedLift"]},
        "fields: WHEELS has no signal 'SpeedLift'; did you mean 'SpeedLeft'?",
    ),
    ({"reading.wheels.fields": ["_"]}, 'wheels] fields: "_" is not needed beside message'),
    ({"reading.wheels.message": "LONG", "reading.wheels.fields": None}, "message: LONG has 16 bytes"),
    ({"reading.again": {"message": "WHEELS"}}, "again] message: nothing tells a frame of 'again' from one of 'wheels'"),
    ({"action.drive.constant": None}, "drive] constant: of signal 'Mode' is missing"),
    ({"action.drive.constant.Mood": 1}, "drive] constant: there is no signal 'Mood'; did you mean 'Mode'?"),
    ({"action.drive.counter": "TorqueLeft"}, "drive] counter: signal 'TorqueLeft' is no whole number without sign"),
    ({"action.drive.fields.TorqueLeft.max": 40}, "drive] fields: max of 'TorqueLeft' is 40, which does not fit"),
]


@pytest.mark.parametrize(("example", "changes", "sentence"), MISTAKES, ids=[sentence[:50] for *_, sentence in MISTAKES])
def test_a_mistake_names_table_key_reason_and_the_way_on(example: str, changes: dict, sentence: str) -> None:
    """Each is found when the file is read."""
    with pytest.raises(TableError) as error:
        dialect(example, changes)
    assert str(error.value).startswith("robot.toml: [link")
    assert sentence in str(error.value)


@pytest.mark.parametrize(("changes", "sentence"), NAMED, ids=[sentence[:50] for _, sentence in NAMED])
def test_a_mistake_about_names_too(changes: dict, sentence: str) -> None:
    """With the nearest name of the file."""
    pytest.importorskip("cantools")
    with pytest.raises(TableError) as error:
        dialect(NAMES, changes, HERE)
    assert str(error.value).startswith("robot.toml: [link")
    assert sentence in str(error.value)
