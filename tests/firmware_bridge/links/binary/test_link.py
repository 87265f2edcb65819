"""Dialect struct from robot.toml to readings and actions, against frames that are packed here by hand."""

from __future__ import annotations

import struct
from functools import reduce
from itertools import pairwise
from operator import xor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import firmware_bridge.links.binary
from firmware_bridge.errors import TableError
from firmware_bridge.events import Fault, Gap, Hello, Reading, Reset
from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.simulator.dialects.robot_side import robot_side
from firmware_bridge.values import Action, Chunk
from tests.support.robots import MS, of
from tests.support.robots.dialects import dialect, examples, heard, opened, pieces

PAGE = Path(firmware_bridge.links.binary.__file__).with_name("README.md")
XOR, SUM, ROVER, PARTS = examples(PAGE)
IMU, MOTOR = "reading.imu.", "action.motor."
every = pytest.mark.parametrize("example", [XOR, SUM, ROVER, PARTS], ids=["xor", "sum", "rover", "parts"])


def imu(n: int, *values: float, length: int = 33) -> bytes:
    """A frame of the first example, packed by hand: seven floats, number and time of reading n."""
    numbers = [*values, *(0.5 * n + k for k in range(7))][:7]
    body = struct.pack("<BBI7f", length, n & 255, 10 * n, *numbers)
    return b"\xaa\x55" + body + bytes([reduce(xor, body)])


def part(kind: int, *values: int) -> bytes:
    """A frame of the last example."""
    body = b"\x55" + struct.pack("<B4h", kind, *values, 0)
    return body + bytes([sum(body) & 255])


# ---------------------------------------------------------------------------------------------- the page's examples


def test_floats_with_length_counter_time_and_xor() -> None:
    """Values to the last bit, the robot's time, a gap of as many as the counter left out; nothing of it damaged."""
    link = opened(dialect(XOR))
    events = heard(link, [(n * 10 * MS, imu(n)) for n in (250, 251, 255, 256, 259)])
    assert [event.count for event in of(Gap, events)] == [3, 2]
    readings = of(Reading, events)
    assert [item.values for item in readings] == [
        tuple(0.5 * n + k for k in range(7)) for n in (250, 251, 255, 256, 259)
    ]
    assert [item.t_device_us for item in readings] == [10_000 * n for n in (250, 251, 255, 256, 259)]
    assert [field.name for field in of(Hello, events)[0].dictionary["imu"].fields] == [
        *("gx", "gy", "gz", "ax", "ay", "az", "vbat")
    ]
    assert link.promises.damage
    assert link.promises.uncounted == link.promises.undated == link.promises.unguarded == ()


def test_commands_of_the_first_example() -> None:
    """AA 55, 8, two floats, xor; the safe one on stop."""
    link = opened(dialect(XOR))
    heard(link, [(0, imu(0))])
    body = struct.pack("<B2f", 8, 0.5, -1.0)
    assert link.send(0, Action("motor", (0.5, -1.0))) == b"\xaa\x55" + body + bytes([reduce(xor, body)])
    safe = struct.pack("<B2f", 8, 0, 0)
    assert link.stop(0) == b"\xaa\x55" + safe + bytes([reduce(xor, safe)])


def test_what_was_written_is_explained_by_its_fields() -> None:
    """An action, several, and bytes that are none, as they are."""
    link = opened(dialect(XOR))
    heard(link, [(0, imu(0))])
    sent = link.send(0, Action("motor", (0.5, -1.0)))
    assert link.explain(sent + link.stop(0)) == "motor left=0.5 right=-1, motor left=0 right=0"
    assert link.explain(sent[1:]) == sent[1:].hex(" ")


def test_whole_numbers_with_scale_and_a_sum_from_the_head_on() -> None:
    """55 AA; raw numbers times their scale; the sum begins with the head; limits are of physical values."""
    link = opened(dialect(SUM))

    def frame(micros: int, left: int, right: int, volts: int) -> bytes:
        body = b"\x55\xaa" + struct.pack("<IhhH", micros, left, right, volts)
        return body + bytes([sum(body) & 255])

    events = heard(link, [(0, frame(2**32 - 20_000, 1500, -250, 1234)), (20 * MS, frame(0, 1, 2, 9000))])
    assert of(Reading, events)[0].values == (1500 * 0.001, -250 * 0.001, 1234 * 0.01)
    assert [item.detail for item in of(Fault, events)] == ["wheels: vbat = 90 V is outside 5 to 20"]
    heard(link, [(40 * MS, frame(20_000, 0, 0, 1200))])
    sent = link.send(40 * MS, Action("speed", (1.2345, -2.0)))
    body = b"\x55\xaa" + struct.pack("<hh", 1234, -2000)  # 1234.5 to the even one
    assert sent == body + bytes([sum(body) & 255])


def test_high_byte_first_between_two_marks() -> None:
    """7B … 7D as many small rovers have it, 24 bytes; commands of 11 bytes."""
    link = opened(dialect(ROVER))
    body = b"\x7b" + struct.pack(">B10h", 0, 100, -5, 1000, 1, 2, 3, 4, 5, 6, 12345)
    frame = body + bytes([reduce(xor, body), 0x7D])
    assert len(frame) == 24
    (reading,) = of(Reading, heard(link, [(0, frame)]))
    assert reading.values == (0, 0.1, -0.005, 1.0, 1, 2, 3, 4, 5, 6, 12.345)
    body = b"\x7b\x00\x00" + struct.pack(">3h", 500, 0, -1500)
    assert link.send(0, Action("velocity", (0.5, 0, -1.5))) == body + bytes([reduce(xor, body), 0x7D])
    assert link.promises.uncounted == ("base",)
    assert link.promises.unguarded == ("velocity",)


def test_three_frames_make_one_reading_and_moments_are_never_mixed() -> None:
    """The last one completes it. Where one is missing or damaged there is no reading, and one fault more; after
    opening in the middle of one there is no fault."""
    link = opened(dialect(PARTS))
    frames = [b"".join(part(0x51 + k, n, n + 1, n + 2) for k in range(3)) for n in range(10)]
    events = heard(link, [(0, frames[0][17:])])  # the rest of the second, and the third
    assert not of(Reading, events)
    assert not of(Fault, events)
    damaged = bytearray(frames[2])
    damaged[15] ^= 4
    lost = frames[3][:11] + frames[3][22:]
    over = frames[4][:11] + frames[5][11:22] + frames[5][22:]  # exactly two were lost: nobody can see that
    events = heard(link, [(10 * MS, frames[1] + bytes(damaged) + lost + frames[6])])
    assert [item.values[3] for item in of(Reading, events)] == [1, 6]
    assert [item.status for item in of(Fault, events)] == ["check", "incomplete", "incomplete"]
    assert of(Reading, events)[0].values[:3] == (1 / 2048, 2 / 2048, 3 / 2048)
    assert len(of(Reading, heard(link, [(20 * MS, over)]))) == 1
    link.receive(Chunk(30 * MS, b"gone", "lost"))
    opened(link, 40 * MS)
    assert not of(Reading, heard(link, [(50 * MS, frames[7][22:])]))


@every
def test_the_robots_own_half_says_the_same(example: str) -> None:
    """What the simulated firmware writes for physical values comes back as these, and what the link sends it obeys."""
    link = opened(dialect(example))
    robot = robot_side(link)
    (name,) = link.readings
    form = link.readings[name].form
    for n in range(40):
        values = [(n % 7 - 3) * 16.0 * (field.scale if field.scale != 1 else 1) for field in form.fields]
        for at, field in enumerate(form.fields):
            if field.name == "vbat":
                values[at] = 12.0
            if field.type.startswith("u"):
                values[at] = abs(values[at])
        data = robot.reading(name, n * 20_000, values)
        (reading,) = of(Reading, heard(link, [(n * 20 * MS, data)]))
        assert reading.values == pytest.approx(values)
    assert not link.counters.faults
    for item in link.actions.values():
        half = tuple(0.5 * field.maximum for field in item.form.fields)
        ((action, obeyed),) = robot.receive(link.send(n * 20 * MS, Action(item.name, half)))
        assert action == item.name
        assert obeyed == pytest.approx(half)
    assert len(robot.receive(link.stop(n * 20 * MS))) == len(link.actions)


def test_the_page_has_every_check() -> None:
    """Name, bytes and value of each, and no other."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `") and " | 0x" in line]
    assert {name.strip("|` "): (int(size), int(check, 16)) for name, size, check, _ in rows} == {
        item.name: (item.size, item.check) for item in CHECKSUMS.values()
    }


# ---------------------------------------------------------------------------------------------- time, counters, types


@pytest.mark.parametrize(("letter", "bits"), [("B", 8), ("H", 16), ("I", 32)])
def test_counters_and_clocks_begin_again_after_the_bits_of_their_letters(letter: str, bits: int) -> None:
    """A gap across the end is counted right, and time goes on."""
    text = f"""
        [link]
        dialect = "struct"
        [link.reading.a]
        head = "AB"
        layout = "<{letter}{letter if bits > 8 else "H"}f"
        fields = ["n", "t", "x"]
        counter = "n"
        time = "t"
        time_unit = "ms"
        rate_hz = 100
        checksum = "crc16-ccitt"
    """
    link = opened(dialect(text))
    kind = link.parts["a"][0].kind
    clock = max(bits, 16)
    events = heard(
        link,
        [
            (k * MS, kind.frame([n % 2**bits, t % 2**clock, 1.5]))
            for k, n, t in [
                (0, 2**bits - 2, 2**clock - 20),
                (10, 2**bits - 1, 2**clock - 10),
                (40, 2**bits + 2, 2**clock + 20),
            ]
        ],
    )
    assert [item.count for item in of(Gap, events)] == [2]
    first, _, last = of(Reading, events)
    assert last.t_device_us - first.t_device_us == 40_000
    assert not of(Reset, events)


def test_the_dictionary_has_the_layouts_types() -> None:
    """So that a recording says what was sent; 64 bits and halves become what holds them."""
    text = """
        [link]
        dialect = "struct"
        [link.reading.a]
        head = "AB"
        layout = ">bBhHiIqQefd?"
        fields = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
    """
    link = opened(dialect(text))
    types = [field.type for field in link.readings["a"].form.fields]
    assert types == ["i8", "u8", "i16", "u16", "i32", "u32", "f64", "f64", "f32", "f32", "f64", "u8"]
    data = b"\xab" + struct.pack(">bBhHiIqQefd?", -1, 2, -3, 4, -5, 6, -7, 8, 0.5, 1.5, 2.5, True)
    (reading,) = of(Reading, heard(link, [(0, data)]))
    assert reading.values == (-1, 2, -3, 4, -5, 6, -7, 8, 0.5, 1.5, 2.5, 1)
    assert all(type(value) is float for value in reading.values)
    assert not link.promises.damage


def test_an_actions_counter_grows_with_every_frame_and_begins_again() -> None:
    """Also where an action is written once more, and with the safe output; of its letter's bits."""
    link = opened(
        dialect(
            XOR,
            {
                "action.motor.layout": "<BB2f",
                "action.motor.order": ["len", "n", "left", "right"],
                "action.motor.counter": "n",
            },
        )
    )
    heard(link, [(0, imu(0))])
    counts = [link.send(0, Action("motor", (0, 0)))[3] for _ in range(257)]
    assert counts == [*range(256), 0]
    link.receive(Chunk(100 * MS))
    assert link.outgoing()[3] == 1
    assert link.stop(0)[3] == 2


def test_what_was_cut_off_by_a_full_port_is_completed_and_the_next_frame_obeyed() -> None:
    """Wherever it was cut: the robot's firmware, which waits for the rest by its length, is in step again."""
    link = opened(dialect(XOR))
    heard(link, [(0, imu(0))])
    frame = link.send(0, Action("motor", (1.0, -1.0)))
    safe = link.stop(0)
    for at in range(1, len(frame)):
        robot = robot_side(link)
        assert robot.receive(frame[:at] + link.cut + safe) == [("motor", (0.0, 0.0))]


# ---------------------------------------------------------------------------------------------- what arrives


@given(
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    sizes=st.lists(st.integers(0, 60), max_size=40),
    text=st.sampled_from([b"", b"E (1234) i2c: timeout\r\n"]),
)
def test_any_split_gives_the_same_events_whatever_is_damaged(damage, sizes, text) -> None:
    """At one time: events, counters and state."""
    data = bytearray(imu(0)[5:] + text.join(imu(n) for n in range(1, 12)))
    for at, value in damage:
        data[at % len(data)] = value
    whole, cut = opened(dialect(XOR)), opened(dialect(XOR))
    wanted = heard(whole, [(0, bytes(data))])
    got = heard(cut, [(0, piece) for piece in pieces(bytes(data), sizes)])
    assert repr(got) == repr(wanted)  # nan is not equal to itself
    assert cut.report() == whole.report()


@every
@given(chunks=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=80)), max_size=30))
def test_nothing_that_arrives_raises(example: str, chunks: list[tuple[int, bytes]]) -> None:
    """Random bytes at random times, between whole frames."""
    link = opened(dialect(example))
    robot = robot_side(link)
    (name,) = link.readings
    t_ns = 0
    for passed, data in chunks:
        t_ns += passed * 1000
        whole = robot.reading(name, t_ns // 1000, [0.0] * len(link.readings[name].kept)) if passed % 2 else b""
        events = link.receive(Chunk(t_ns, data + whole + data))
        assert all(len(event.data) <= 256 for event in of(Fault, events))
        link.outgoing()


def test_the_same_chunks_give_the_same_bytes_again() -> None:
    """A drive with damage, a pause, unplugging and actions, played again from what was recorded."""

    def drive() -> list[object]:
        link, out = dialect(XOR), []
        chunks = [Chunk(0, b"x", "opened")]
        for n in range(200):
            data = imu(n) if n % 17 else imu(n)[:20] + b"\r\nwarning\r\n"
            chunks.append(Chunk(n * 10 * MS, data))
        chunks += [Chunk(5000 * MS), Chunk(5100 * MS, b"gone", "lost"), Chunk(5200 * MS, b"x", "opened")]
        chunks += [Chunk((5300 + 10 * n) * MS, imu(n)) for n in range(20)]
        for chunk in chunks:
            out += link.receive(chunk)
            if chunk.data and chunk.link == "data":
                out.append(link.send(chunk.t_ns, Action("motor", (chunk.t_ns % 3 - 1, 0.25))))
            out.append(link.outgoing())
        return [*out, link.stop(10**10), link.report()]

    first, again = drive(), drive()
    assert first == again
    assert any(isinstance(item, Reset) for item in first)


# ---------------------------------------------------------------------------------------------- mistakes

MISTAKES = [
    (XOR, {IMU + "layout": "BBI7f"}, 'does not begin with its byte order; low byte first is "<BBI7f"'),
    (XOR, {IMU + "layout": "<BBI8f"}, "imu] fields: the layout has 11 numbers (BBIffffffff), and here are 10 names"),
    (XOR, {IMU + "layout": "<BBI7F"}, "imu] layout: '<BBI7F': there is no letter 'F'"),
    (XOR, {IMU + "layout": None}, "imu] layout: is missing"),
    (XOR, {IMU + "layout": "<4096xBBI7f"}, "imu] layout: '<4096xBBI7f' is longer than 4,096 bytes"),
    (XOR, {IMU + "head": "AA5"}, "imu] head: 'AA5' is not bytes in hexadecimal digits"),
    (XOR, {IMU + "head": ""}, "imu] head: is empty"),
    (XOR, {IMU + "head": "00" * 17}, "imu] head: has 17 bytes; 16 is the most"),
    (XOR, {IMU + "head": None, IMU + "haed": "AA"}, "imu] head: is missing; is 'haed' meant as 'head'?"),
    (XOR, {IMU + "checksum": "crc16-mudbus"}, "imu] checksum: 'crc16-mudbus' is unknown; did you mean 'crc16-modbus'?"),
    (XOR, {IMU + "checksum": None, IMU + "checksum_from": "head"}, "imu] checksum_from: is given, but no checksum"),
    (XOR, {IMU + "checksum_from": "heat"}, "imu] checksum_from: 'heat' is unknown; did you mean 'head'?"),
    (XOR, {IMU + "checksum_at": "first"}, "imu] checksum_at: 'first' is unknown"),
    (XOR, {IMU + "checksum_order": "middle"}, "imu] checksum_order: 'middle' is unknown"),
    (XOR, {IMU + "where.lenn": 33}, "imu] where: there is no field 'lenn'; did you mean 'len'?"),
    (XOR, {IMU + "where.len": 333}, "imu] where: of 'len': 333 does not fit: 'B' is 0 to 255"),
    (XOR, {IMU + "where.len": 3.5}, "imu] where: of 'len': 3.5 does not fit: 'B' is a whole number"),
    (XOR, {IMU + "length": "seq"}, "imu] length: what does 'seq' say in this frame? Add where = { seq = … }"),
    (XOR, {IMU + "length": "size"}, "imu] length: there is no field 'size'"),
    (XOR, {IMU + "counter": "gx"}, "imu] counter_bits: is missing"),
    (XOR, {IMU + "tails": "7D"}, "imu] tails: unknown key; did you mean 'tail'?"),
    (XOR, {IMU + "frame": []}, "imu] fields: stands beside [[frame]] tables"),
    (XOR, {MOTOR + "order": None}, "motor] order: is missing: the layout has 3 numbers (Bff), the action 2 fields"),
    (XOR, {MOTOR + "order": ["len", "left"]}, "motor] order: the layout has 3 numbers (Bff), and here are 2 names"),
    (XOR, {MOTOR + "order": ["len", "left", "wright"]}, "leaves out the field 'right'; did you mean 'wright'?"),
    (XOR, {MOTOR + "order": ["size", "left", "right"]}, "motor] constant: there is no field 'len'"),
    (XOR, {MOTOR + "constant": None}, "motor] order: 'len' is no field of the action, no constant and no counter"),
    (XOR, {MOTOR + "constant.left": 1}, "motor] fields: 'left' is a constant or the counter as well"),
    (XOR, {MOTOR + "counter": "n"}, "motor] counter: 'n' is not in order"),
    (
        XOR,
        {MOTOR + "layout": "<Bbf", MOTOR + "scale": {"left": 0.001}},
        "motor] fields: min of 'left' is -1, so it is sent as -1000, which does not fit: 'b' is -128 to 127",
    ),
    (XOR, {MOTOR + "fields.left.max": 1e39}, "motor] fields: Format 'motor': field 'left' has maximum 1e+39"),
    (XOR, {MOTOR + "scale": {"left": 0}}, "motor] scale: of 'left' is 0"),
    (XOR, {MOTOR + "scale": {"lift": 2}}, "motor] scale: there is no field 'lift'; did you mean 'left'?"),
    (
        XOR,
        {"reading.two": {"head": "AA 55", "layout": "<33x2B", "fields": ["_", "b"]}},
        "two] head: nothing tells a frame of 'two' from one of 'imu'",
    ),
    (PARTS, {IMU + "frame.1.fields": ["ax", "b", "c", "_"]}, "imu] frame: 'ax' is a field of two frames"),
    (PARTS, {IMU + "frame.1.head": "55 51"}, "imu] head: nothing tells a frame of 'imu' from another of its own"),
    (PARTS, {IMU + "frame.1.hed": "55 52"}, "imu.frame[1]] hed: unknown key; did you mean 'head'?"),
    (PARTS, {IMU + "frame.0.checksum": "sum9"}, "imu.frame[0]] checksum: 'sum9' is unknown; did you mean 'sum8'?"),
    (PARTS, {IMU + "layout": "<4h"}, "imu] layout: stands beside [[frame]] tables"),
]


@pytest.mark.parametrize(("example", "changes", "sentence"), MISTAKES, ids=[sentence[:50] for *_, sentence in MISTAKES])
def test_a_mistake_names_table_key_reason_and_the_way_on(example: str, changes: dict, sentence: str) -> None:
    """Each is found when the file is read."""
    with pytest.raises(TableError) as error:
        dialect(example, changes)
    assert str(error.value).startswith("robot.toml: [link.")
    assert sentence in str(error.value)


def test_no_frame_is_longer_than_the_longest() -> None:
    """4,096 bytes in all, head and check included."""
    link = dialect(XOR, {IMU + "layout": "<4056xBBI7f", IMU + "checksum": "crc32"})
    assert link.parts["imu"][0].kind.size == 4096
    with pytest.raises(TableError, match="makes a frame of 4,097 bytes; 4,096 is the most"):
        dialect(XOR, {IMU + "layout": "<4057xBBI7f", IMU + "checksum": "crc32"})


def test_consecutive_readings_are_ordered() -> None:
    """Numbers go up by one and what was missing."""
    link = opened(dialect(XOR))
    readings = of(Reading, heard(link, [(n * 10 * MS, imu(n)) for n in (0, 1, 5, 6)]))
    assert [b.seq - a.seq for a, b in pairwise(readings)] == [1, 4, 1]
