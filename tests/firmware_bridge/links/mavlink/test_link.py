"""The dialect "mavlink" against autopilots made by pymavlink: readings, losses, restarts, rates, actions."""

from __future__ import annotations

import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import TableError
from firmware_bridge.events import Fault, Gap, Hello, Reading, Reset
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.mavlink.framing import encode
from firmware_bridge.links.mavlink.messages import MESSAGES
from firmware_bridge.links.mavlink.rates import TRIES
from firmware_bridge.values import Action, Chunk
from tests.firmware_bridge.links.mavlink.robots import DRIVE, IMU, STEP_NS, Autopilot, link, opened, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

README = Path(__file__).parents[4] / "firmware_bridge" / "links" / "mavlink" / "README.md"
SECOND = 1_000_000_000


def readings(events: list[Any], name: str = "imu") -> list[tuple[float, ...]]:
    return [item.values for item in events if isinstance(item, Reading) and item.format == name]


def faults(events: list[Any]) -> list[tuple[str, str]]:
    return [(item.status, item.detail) for item in events if isinstance(item, Fault)]


# ---------------------------------------------------------------------------------------------- readings


def test_every_reading_of_a_clean_stream_arrives_with_its_time() -> None:
    """600 readings of pymavlink's: every one once, bit by bit, with the robot's time, units and no fault."""
    robot, made = Autopilot(), opened()
    events, _out = run(made, robot.stream(600))
    assert readings(events) == [robot.values(n) for n in range(600)]
    assert [item.t_device_us for item in events if isinstance(item, Reading)] == [n * 10_000 for n in range(600)]
    assert faults(events) == []
    assert sum(isinstance(item, Hello) for item in events) == 1
    assert made.dictionary is not None
    assert [field.unit for field in made.dictionary["imu"].fields] == ["m/s/s"] * 3 + ["rad/s"] * 3
    report = made.report()
    assert (report["robot"], report["armed"], report["mode"]) == ("system 1, component 1", True, 7)
    assert (report["lost_frames"], report["other_frames"], report["early_readings"]) == (0, 0, 0)


def test_mavlink_1_is_read_like_2() -> None:
    """Which version the robot speaks does not matter, and it may change."""
    robot, made = Autopilot(), opened()
    events, _out = run(made, [robot.heartbeat(), *(robot.imu(n, 1 + n % 2) for n in range(100))])
    assert readings(events) == [robot.values(n) for n in range(100)]


def test_no_damaged_stream_gives_a_wrong_reading_and_every_missing_one_is_a_gap() -> None:
    """Flipped bits, cut frames and text in between in a tenth of the steps: each reading delivered is one that was
    sent, in order, and readings and gaps together are all that were sent."""
    draw, robot, made = random.Random(1), Autopilot(), opened()
    steps, count = [], 3000
    for n, data in enumerate(robot.stream(count)):
        kind = draw.randrange(40) if 0 < n < count - 20 else 39
        at = draw.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
        steps.append({0: flipped, 1: data[:at], 2: data[at:], 3: b"E (1234) i2c: timeout\r\n" + data}.get(kind, data))
    events, _out = run(made, steps)
    sent = {robot.values(n): n for n in range(count)}
    numbers = [sent[values] for values in readings(events)]
    assert numbers == sorted(set(numbers))
    gaps = sum(item.count for item in events if isinstance(item, Gap))
    assert 0 < gaps == count - len(numbers)
    assert made.counters.lost_readings == gaps
    assert {status for status, _detail in faults(events)} <= {"check", "shape", "length", "flags", "sequence"}
    assert made.report()["lost_frames"] >= gaps


def test_frames_that_never_arrived_are_counted_by_their_numbers() -> None:
    """A hole in the sender's numbers is a fault that says how many; one that comes twice or late is none."""
    robot, made = Autopilot(), opened(reading={"imu": {k: v for k, v in IMU.items() if k not in ("time", "rate_hz")}})
    steps = [robot.heartbeat(), *(robot.imu(n) for n in range(300))]
    events, _out = run(made, steps[:50] + steps[53:100] + [steps[99]] + steps[100:])
    assert faults(events) == [("sequence", "3 frames of the robot's never arrived; what they held is unknown")]
    assert made.report()["lost_frames"] == 3
    assert made.promises.uncounted == ("imu",)
    assert any("what they held is unknown" in text for text in made.promises.sentences())
    assert any("not verified" in text for text in made.promises.sentences())


def test_only_the_chosen_systems_messages_are_readings() -> None:
    """Two autopilots, a camera of the same system and a ground station on one line: the first heartbeat of an
    autopilot decides, or [link] does; the others' frames are counted and nothing is written to them."""
    parts = [Autopilot(1, 100), Autopilot(255, 190), Autopilot(7, 1), Autopilot(1, 1)]
    camera, station, second, first = parts
    steps = [camera.heartbeat(8, 30) + station.heartbeat(8, 6)]
    for n in range(60):
        steps.append(first.imu(n) + (first.heartbeat() if n == 5 else b"") + second.heartbeat() + second.imu(n + 1000))
        steps[-1] += camera.imu(n + 2000) + station.attitude(n)
    by_heartbeat, by_address = opened(), opened(system=7, component=1)
    events, _out = run(by_heartbeat, steps)
    assert readings(events) == [second.values(n + 1000) for n in range(60)]
    events, out = run(by_address, steps)
    assert readings(events) == [second.values(n + 1000) for n in range(60)]
    assert {item.target_system for item in first.read(out) if item.get_type() == "COMMAND_LONG"} == {7}
    assert by_address.report()["other_frames"] == 2 + 60 * 3 + 1
    by_system = opened(system=1)
    events, _out = run(by_system, steps)
    assert readings(events) == [first.values(n) for n in range(6, 60)]
    assert by_system.counters.early_readings == 6 + 5 + 5


def test_fields_of_several_messages_make_one_reading() -> None:
    """The latest numbers of the other messages are taken; there is no reading before they came, nor when they are too
    old."""
    both = {"on": "HIGHRES_IMU", "fields": ["HIGHRES_IMU.xacc", "ATTITUDE.roll"], "max_age_ms": 50}
    robot, made = Autopilot(), opened(reading={"both": both})
    steps = [robot.heartbeat(), robot.imu(0), robot.attitude(1, 0.25) + robot.imu(1), robot.imu(2)]
    steps += [robot.attitude(3, 0.5), *(robot.imu(n) for n in range(4, 12))]
    events, _out = run(made, steps)
    expected = [(robot.values(n)[0], 0.25) for n in (1, 2)] + [(robot.values(n)[0], 0.5) for n in range(4, 9)]
    assert readings(events, "both") == expected
    assert [status for status, _detail in faults(events)] == ["stale"] * 3
    assert "the last ATTITUDE is 0.1 s old" in faults(events)[0][1]


def test_where_chooses_among_messages_of_one_kind() -> None:
    """NAMED_VALUE_FLOAT of one name, BATTERY_STATUS of one id and one element of its array."""
    speed = {"message": "NAMED_VALUE_FLOAT", "fields": ["value"], "where": {"name": "speed"}}
    cell = {"message": "BATTERY_STATUS", "fields": ["voltages[1]"], "where": {"id": 2}, "scale": {"voltages[1]": 0.001}}
    robot, made = Autopilot(), opened(reading={"speed": speed, "cell": cell})
    steps = [robot.heartbeat()]
    for n in range(4):
        named = robot.dialect.MAVLink_named_value_float_message(n, [b"speed", b"height"][n % 2], n)
        battery = robot.dialect.MAVLink_battery_status_message(n, 0, 0, 0, [1, 4000 + n, *[0] * 8], 0, 0, 0, 0)
        steps.append(robot.pack(named) + robot.pack(battery))
    events, _out = run(made, steps)
    assert readings(events, "speed") == [(0.0,), (2.0,)]
    assert readings(events, "cell") == [(4.002,)]


def test_a_restart_is_noticed_by_the_robots_clock_going_back() -> None:
    """Any message's own time that goes back by more than a second: one Reset, at once, and no reading is lost; that
    frames are numbered from 0 again is no loss, either, though the first of them is a heartbeat without a time."""
    robot, made = Autopilot(), opened()
    events, _out = run(made, robot.stream(480))
    again = Autopilot()
    events, _out = run(made, again.stream(200), 480 * STEP_NS)
    assert sum(isinstance(item, Reset) for item in events) == 1
    assert readings(events) == [again.values(n) for n in range(200)]
    assert made.counters.gaps == made.report()["lost_frames"] == 0
    assert faults(events) == []


def test_time_boot_ms_wraps_after_49_days_without_a_restart() -> None:
    """From 2^32 − 1 ms to 0 is one step of the robot's clock."""
    table = {"message": "ATTITUDE", "fields": ["roll"], "time": "time_boot_ms", "rate_hz": 100}
    robot, made = Autopilot(), opened(reading={"attitude": table})
    steps = [robot.heartbeat()]
    for n in range(40):
        steps.append(
            robot.pack(robot.dialect.MAVLink_attitude_message(((1 << 32) - 200 + 10 * n) % (1 << 32), n, *[0] * 5))
        )
    events, _out = run(made, steps)
    assert readings(events, "attitude") == [(float(n),) for n in range(40)]
    assert made.counters.resets == made.counters.gaps == 0


def test_messages_of_another_dialect_come_from_its_xml(tmp_path: Path) -> None:
    """ArduPilot's RPM, with pymavlink's XML by name; a made-up message in a file that includes another one."""
    robot = Autopilot()
    wheels = {"message": "RPM", "fields": ["rpm1", "rpm2"]}
    made = opened(definitions="ardupilotmega", reading={"wheels": wheels})
    events, _out = run(made, [robot.heartbeat(), robot.pack(robot.dialect.MAVLink_rpm_message(10.0, 20.5))])
    assert readings(events, "wheels") == [(10.0, 20.5)]

    foot = '<message id="0" name="FOOT"><field type="double" name="x"/></message>'  # a number that is the heartbeat's
    (tmp_path / "base.xml").write_text(f"<mavlink><messages>{foot}</messages></mavlink>")
    (tmp_path / "own.xml").write_text(
        '<mavlink><include>base.xml</include><messages><message id="200" name="LEG">'
        '<field type="uint8_t" name="id"/><field type="float[3]" name="angle" units="rad">of each joint</field>'
        '<extensions/><field type="uint16_t" name="load" units="c%"/></message></messages></mavlink>'
    )
    leg = {"message": "LEG", "fields": ["angle[2] rad", "load"]}
    made = opened(definitions=str(tmp_path / "own.xml"), reading={"leg": leg})
    assert [(x.name, x.unit, x.type) for x in made.readings["leg"].form.fields] == [
        ("angle[2]", "rad", "f32"),
        ("load", "c%", "u16"),
    ]
    assert run(made, [robot.heartbeat()])[0]


# ---------------------------------------------------------------------------------------------- what it writes


def test_our_heartbeat_goes_out_each_second_and_frames_are_numbered() -> None:
    """From the opening of the port, also to a robot that is silent; pymavlink reads each, and no number is missing,
    not even where an action is written again."""
    robot, made = Autopilot(), opened()
    out = made.outgoing()
    assert made.due_ns == SECOND
    events, more = run(made, robot.stream(300), STEP_NS)
    t_ns = 301 * STEP_NS
    more += made.send(t_ns, Action("drive", (100.0, -5.0)), hold_ns=SECOND)
    for _ in range(30):
        t_ns += STEP_NS
        made.receive(Chunk(t_ns, robot.imu(t_ns // STEP_NS)))
        more += made.outgoing()
    more += made.stop(t_ns)
    found = robot.read(out + more)
    beats = [item for item in found if item.get_type() == "HEARTBEAT"]
    assert len(beats) == 4
    assert {(x.type, x.autopilot, x.get_srcSystem(), x.get_srcComponent()) for x in beats} == {(6, 8, 255, 190)}
    assert [item.get_seq() for item in found] == list(range(len(found)))
    drives = [item for item in found if item.get_type() == "MANUAL_CONTROL"]
    assert [(x.x, x.y, x.z, x.target) for x in drives] == [(100, -5, 500, 1)] * 4 + [(0, 0, 500, 1)]
    assert made.explain(made.encode(made.actions["drive"], (1, 2))).startswith("MANUAL_CONTROL x=1 y=2 z=500 r=0")
    assert events


def test_a_rate_is_asked_for_until_it_is_acknowledged() -> None:
    """One message after the other, each a second apart until its answer comes; a refusal is a note and no more."""
    both = {"on": "HIGHRES_IMU", "fields": ["HIGHRES_IMU.xacc", "ATTITUDE.roll"], "rate_hz": 200}
    robot, made = Autopilot(), opened(reading={"imu": IMU, "both": both})
    assert [x.get_type() for x in robot.read(made.outgoing())] == ["HEARTBEAT"]  # nobody is there yet
    asked, t_ns, faulty = [], 0, []
    answers = {2: robot.acknowledge(1), 3: robot.acknowledge(0, 400), 4: robot.acknowledge(0), 6: robot.acknowledge(3)}
    for second in range(10):
        t_ns = second * SECOND
        faulty += faults(made.receive(Chunk(t_ns, robot.heartbeat() + answers.get(second, b""))))
        asked += [(second, x.param1, x.param2) for x in robot.read(made.outgoing()) if x.get_type() == "COMMAND_LONG"]
    assert asked == [(n, 105, 5000) for n in range(4)] + [(n, 30, 5000) for n in (4, 5)]
    assert [item for item in faulty if item[0] == "rate"] == [
        ("rate", "ATTITUDE at 200 Hz: unsupported; the robot sends it as it likes")
    ]


def test_a_robot_that_never_answers_is_asked_five_times_and_again_after_a_restart() -> None:
    """Bounded, noted once; a robot that has started again, or a port that was opened again, is asked anew."""
    robot, made = Autopilot(), opened()

    def seconds(first: int, count: int) -> tuple[int, list[str]]:
        out, notes = b"", []
        for second in range(first, first + count):
            events = made.receive(Chunk(second * SECOND, robot.heartbeat()))
            notes += [detail for status, detail in faults(events) if status == "rate"]
            out += made.outgoing()
        return sum(x.get_type() == "COMMAND_LONG" for x in robot.read(out)), notes

    note = f"HIGHRES_IMU at 100 Hz: no answer to {TRIES} requests; the robot sends it as it likes"
    assert seconds(0, 12) == (TRIES, [note])
    made.receive(Chunk(12 * SECOND, robot.imu(1000) + robot.imu(0)))
    assert made.counters.resets == 1
    assert seconds(13, 12) == (TRIES, [note])
    made.receive(Chunk(25 * SECOND, b"gone", "lost"))
    made.receive(Chunk(26 * SECOND, b"back", "opened"))
    assert seconds(27, 2)[0] == 2


def test_a_robot_that_sends_at_the_rate_is_not_asked_again() -> None:
    """No answer, but the messages come as often as they were asked for."""
    robot, made = Autopilot(), opened()
    events, out = run(made, robot.stream(700))
    assert sum(x.get_type() == "COMMAND_LONG" for x in robot.read(out)) == 1
    assert faults(events) == []


def test_actions_of_several_kinds_are_read_by_pymavlink() -> None:
    """Attitude and rates, channels, a command: fields, constants and arrays arrive, the target is filled in; integers
    are rounded. Nothing is sent before the robot is known."""
    attitude = {
        "message": "SET_ATTITUDE_TARGET",
        "fields": {
            "body_roll_rate": {"unit": "rad/s", "min": -2, "max": 2, "safe": 0},
            "thrust": {"min": 0, "max": 1, "safe": 0},
            "q[3]": {"min": -1, "max": 1, "safe": 0},
        },
        "constant": {"type_mask": 128, "body_pitch_rate": 0, "body_yaw_rate": 0, "q[0]": 1},
    }
    channels = {
        "message": "RC_CHANNELS_OVERRIDE",
        "fields": {name: {"min": 1000, "max": 2000, "safe": 1500} for name in ("chan1_raw", "chan3_raw")},
        "constant": {f"chan{n}_raw": 65535 for n in (2, 4, 5, 6, 7, 8)},
    }
    move = {
        "message": "COMMAND_LONG",
        "fields": {"param2": {"min": 0, "max": 1, "safe": 0}},
        "constant": {"command": 187, "confirmation": 0, "target_component": 9}
        | {f"param{n}": float("nan") for n in (1, 3, 4, 5, 6, 7)},
    }
    actions = {"attitude": attitude, "channels": channels, "move": move}
    robot, made = Autopilot(3, 1), opened(action=actions, own_system=3, own_component=191, own_type="onboard")
    assert made.send(0, Action("channels", (1100.4, 1900.6))) == b""
    assert made.counters.actions_held == 1
    run(made, [robot.heartbeat()])
    out = made.send(1, Action("attitude", (0.5, 0.25, -0.5))) + made.send(1, Action("channels", (1100.4, 1900.6)))
    sent = robot.read(out + made.send(1, Action("move", (0.5,))))
    one, two, three = sent
    assert (one.target_system, one.target_component, one.type_mask) == (3, 1, 128)
    assert (one.body_roll_rate, one.thrust, one.q) == (0.5, 0.25, [1, 0, 0, -0.5])
    assert [two.chan1_raw, two.chan2_raw, two.chan3_raw, two.chan9_raw] == [1100, 65535, 1901, 0]
    assert three.param1 != three.param1  # NaN: as it is
    assert (three.command, three.param2, three.target_system, three.target_component) == (187, 0.5, 3, 9)
    safe = robot.read(made.stop(2))
    assert [(x.get_type(), x.get_srcSystem(), x.get_srcComponent()) for x in safe] == [
        ("SET_ATTITUDE_TARGET", 3, 191),
        ("RC_CHANNELS_OVERRIDE", 3, 191),
        ("COMMAND_LONG", 3, 191),
    ]
    assert made.stop(3) == made.outgoing() == b""


def test_version_1_is_written_where_it_is_asked_for() -> None:
    """Every frame that we write begins with FE, and pymavlink reads it."""
    robot, made = Autopilot(), opened(version=1)
    _events, out = run(made, robot.stream(10))
    out += made.stop(0)
    assert [x.get_type() for x in robot.read(out)] == ["HEARTBEAT", "COMMAND_LONG", "MANUAL_CONTROL"]
    assert out[0] == 0xFE
    assert 0xFD not in out


def test_the_end_of_a_cut_message_lets_the_next_one_be_read() -> None:
    """However much of a frame was written: after `cut`, a parser that waits for its rest reads the next one."""
    robot, made = Autopilot(), opened()
    run(made, [robot.heartbeat()])
    frame, safe = made.send(0, Action("drive", (1.0, 2.0))), made.encode(made.actions["drive"], (0.0, 0.0))
    for size in range(len(frame)):
        reader = robot.dialect.MAVLink(None, 0, 0)
        reader.robust_parsing = True
        found = reader.parse_buffer(frame[:size] + made.cut + safe) or []
        assert [x.x for x in found if x.get_type() == "MANUAL_CONTROL"] == [0], size


# ---------------------------------------------------------------------------------------------- any bytes


STREAM: list[bytes] = []


def dirty() -> bytes:
    """A short stream with damage in it."""
    if not STREAM:
        robot, draw = Autopilot(), random.Random(5)
        for n, data in enumerate(robot.stream(40)):
            STREAM.append(data if n % 7 else data[: draw.randrange(len(data))] + b"text\r\n")
    return b"".join(STREAM)


@given(st.lists(st.integers(0, 1 << 16), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_events(places: list[int]) -> None:
    """Events and what is written do not depend on how bytes come in chunks; and a second link does the same again."""
    data = dirty()

    def through(edges: list[int]) -> tuple[list[Any], bytes, dict[str, Any]]:
        made = opened()
        events = [event for a, b in pairwise(edges) for event in made.receive(Chunk(5, data[a:b]))]
        return events, made.outgoing(), made.report()

    whole = through([0, len(data)])
    assert readings(whole[0])
    cuts = sorted(place % (len(data) + 1) for place in places)
    assert through([0, *cuts, len(data)]) == whole


@given(st.lists(st.tuples(st.integers(0, 3 * SECOND), st.binary(max_size=300)), max_size=12))
def test_nothing_that_arrives_raises(chunks: list[tuple[int, bytes]]) -> None:
    """Random bytes, and random payloads in intact frames of every message that the link looks into."""
    robot = Autopilot()
    made, t_ns = opened(definitions=None, reading={"imu": IMU | {"limits": {"xacc": [-50, 50]}}}), 0
    made.receive(Chunk(0, robot.heartbeat()))
    for wait_ns, data in chunks:
        t_ns += wait_ns
        made.receive(Chunk(t_ns, data))
        for message in ("HEARTBEAT", "COMMAND_ACK", "HIGHRES_IMU", "SYSTEM_TIME"):
            made.receive(Chunk(t_ns, encode(2, 0, 1, 1, MESSAGES[message], data[: MESSAGES[message].size])))
        made.outgoing()
    assert len(made._latest) <= 1


def test_a_recorded_conversation_replays_to_the_same_events_and_bytes() -> None:
    """Chunks and calls given once more: the same events, the same bytes."""

    def conversation() -> tuple[list[Any], bytes]:
        robot, made, draw = Autopilot(), opened(), random.Random(3)
        events, out = [], made.outgoing()
        for n, data in enumerate(robot.stream(400)):
            events += made.receive(Chunk(n * STEP_NS, data[: draw.randrange(20, 200)]))
            out += made.send(n * STEP_NS, Action("drive", (n % 1000, 0.0))) if n % 9 == 3 else b""
            out += made.outgoing()
        return events, out + made.stop(400 * STEP_NS)

    assert conversation() == conversation()


# ---------------------------------------------------------------------------------------------- configuration


def test_the_examples_of_the_page_are_read() -> None:
    """Every block of TOML on the page of the dialect is a link without a mistake."""
    blocks = README.read_text().split("```toml\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        made = LinkConfig(tomllib.loads(block.partition("```")[0])["link"], "robot.toml", Path()).open()
        assert made.state == "closed"


def test_the_page_names_every_key() -> None:
    """What the code takes of [link] beyond the shared keys stands in the page's table, and nothing else."""
    made = link()
    shared = {"dialect", "device", "start", "start_hex", "reading", "action"}
    page = README.read_text()
    for key in set(made.table.taken) - shared:
        assert f"`{key}`" in page, key


def changed(table: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (table | changes).items() if value is not None}


MISTAKES = {
    "message": (
        {"reading": {"imu": IMU | {"message": "HIGHRES_IM"}}},
        "[link.reading.imu] message: 'HIGHRES_IM' is no message that is known here; did you mean 'HIGHRES_IMU'?",
    ),
    "no message": (
        {"reading": {"imu": changed(IMU, message=None, mesage="HIGHRES_IMU")}},
        "[link.reading.imu] message: is missing; is 'mesage' meant as 'message'?",
    ),
    "field": (
        {"reading": {"imu": IMU | {"fields": ["xgyr"]}}},
        "[link.reading.imu] fields: HIGHRES_IMU has no field 'xgyr'; did you mean 'xgyro'?",
    ),
    "unit": (
        {"reading": {"imu": {"message": "SCALED_IMU", "fields": ["xgyro rad/s"]}}},
        "[link.reading.imu] fields: 'xgyro' is in 'mrad/s' as MAVLink defines it, not in 'rad/s'; leave the unit out",
    ),
    "text": (
        {"reading": {"t": {"message": "STATUSTEXT", "fields": ["text"]}}},
        "[link.reading.t] fields: 'text' of STATUSTEXT is a text, not a number",
    ),
    "array": (
        {"reading": {"b": {"message": "BATTERY_STATUS", "fields": ["voltages"]}}},
        "[link.reading.b] fields: 'voltages' of BATTERY_STATUS has 10 elements; name each as \"voltages[0]\"",
    ),
    "on": (
        {"reading": {"b": {"fields": ["ATTITUDE.roll", "VFR_HUD.alt"]}}},
        "[link.reading.b] on: is missing: which message makes the reading, ATTITUDE or VFR_HUD?",
    ),
    "on twice": (
        {"reading": {"imu": IMU | {"on": "ATTITUDE"}}},
        "[link.reading.imu] on: stands beside message, which says the same",
    ),
    "time": (
        {"reading": {"imu": IMU | {"time": "time_boot_ms"}}},
        "[link.reading.imu] time: HIGHRES_IMU has no field 'time_boot_ms'; did you mean 'time_usec'?",
    ),
    "age": (
        {"reading": {"imu": IMU | {"max_age_ms": 50}}},
        "[link.reading.imu] max_age_ms: is of no use: all fields come from HIGHRES_IMU itself",
    ),
    "where": (
        {"reading": {"imu": IMU | {"where": {"idd": 0}}}},
        "[link.reading.imu] where: HIGHRES_IMU has no field 'idd'; did you mean 'id'?",
    ),
    "nothing said": (
        {"action": {"drive": DRIVE | {"constant": {"z": 500}}}},
        "[link.action.drive] constant: MANUAL_CONTROL also has r, buttons: say what they are, here or in fields",
    ),
    "said twice": (
        {"action": {"drive": DRIVE | {"constant": {"x": 1, "z": 500, "r": 0, "buttons": 0}}}},
        "[link.action.drive] constant: 'x' is among fields, too; say it once",
    ),
    "constant": (
        {"action": {"drive": DRIVE | {"constant": {"z": 70000, "r": 0, "buttons": 0}}}},
        "[link.action.drive.constant] z: 70000 is none of the whole numbers -32768 to 32767",
    ),
    "elements": (
        {"action": {"a": {"message": "SET_ATTITUDE_TARGET", "fields": {}, "constant": {"q": [1, 0]}}}},
        "[link.action.a.constant] q: has 4 elements, not 2",
    ),
    "action's range": (
        {"action": {"drive": DRIVE | {"fields": {key: {"min": -1e6, "max": 1, "safe": 0} for key in "xy"}}}},
        "[link.action.drive] fields: Format 'drive': field 'x' has min",
    ),
    "no number": (
        {"action": {"a": {"message": "SET_MODE", "fields": {}, "constant": {"base_mode": float("nan")}}}},
        "[link.action.a.constant] base_mode: must be finite, not nan",
    ),
    "where's value": (
        {"reading": {"imu": IMU | {"where": {"id": 1.5}}}},
        "[link.reading.imu.where] id: 1.5 is none of the whole numbers 0 to 255",
    ),
    "where's text": (
        {"reading": {"s": {"message": "NAMED_VALUE_FLOAT", "fields": ["value"], "where": {"name": "a long name"}}}},
        "[link.reading.s.where] name: has 11 bytes; 10 is the most",
    ),
    "version": ({"version": 3}, "[link] version: must be a whole number from 1 to 2, not 3"),
    "system": ({"system": 256}, "[link] system: must be a whole number from 0 to 255, not 256"),
    "own type": ({"own_type": "drone"}, "[link] own_type: 'drone' is unknown; valid: 'gcs', 'onboard'"),
    "file": ({"definitions": "none.xml"}, "[link] definitions: there is no file 'none.xml'"),
    "key": ({"sistem": 1}, "[link] sistem: unknown key; did you mean 'system'?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_table_key_reason_and_the_way_on(name: str) -> None:
    """One sentence each: the file, the table, the key, why, and the nearest name."""
    changes, sentence = MISTAKES[name]
    with pytest.raises(TableError) as raised:
        link(**changes)
    assert str(raised.value).startswith("robot.toml: [link")
    assert sentence in str(raised.value)


def test_without_pymavlink_its_dialects_are_an_option_that_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install, or that an XML file does as well."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TableError, match=r"name an XML file of your own, or .*install.*pymavlink"):
        link(definitions="ardupilotmega")


def test_a_dialect_that_pymavlink_has_not_names_the_nearest() -> None:
    """A misspelt name of a dialect."""
    pytest.importorskip("pymavlink", reason="its files are asked for")
    with pytest.raises(TableError, match="did you mean 'ardupilotmega'"):
        link(definitions="ardupilotmeg")
