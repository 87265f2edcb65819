"""The C bridge against `firmware_bridge.links.own.device.Device`: one protocol, the same bytes."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import replace

import numpy as np
import pytest

from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Hello, SafeOutput
from firmware_bridge.links.own import bodies, framing
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.links.own.framing import Frame
from firmware_bridge.values import Chunk
from tests.support.robots import BUTTON, LIMITS, ROBOT, WHEELS, of
from tests.support.robots.c_device import DROPPED, NO_NUMBER, NO_SUCH, NOT_ASKED, QUEUED, REASON, CDevice
from tests.support.robots.wire import CSession, damaged, most_wrong

EVERYTHING = Format(
    "everything",
    255,
    "reading",
    (
        Field("f32", "f32", '"\\ °'),
        Field("i8", "i8", "", 0.5, 1),
        Field("u8", "u8", "", 0.5, 1),
        Field("i16", "i16", "", -2, 1),
        Field("u16", "u16", "", 4, -100),
        Field("i32", "i32", ""),
        Field("u32", "u32", ""),
        Field("scaled", "f32", "", 0.5, -2),
    ),
)
BOOT = 0xB007


DATED = replace(LIMITS, max_age_ms=250)


def dated(us: int) -> bytes:
    """What stands in front of an action's fields, and in a heartbeat: the board's time that it answers."""
    return bodies.OF.pack(us & 0xFFFFFFFF)


def twin(device: CDevice) -> Device:
    """The Python device with the same dictionary, byte for byte."""
    dictionary = Dictionary.from_compressed(device.compressed)
    vars(dictionary)["compressed"] = device.compressed  # where Python would compress, C stores
    return Device(dictionary, BOOT)


def start(device: CDevice) -> bytes:
    """What a host sends to start this board."""
    return framing.encode(Frame(framing.START, 0, 0, 0, device.dictionary.check, bodies.START.pack(BOOT)))


def test_the_tables_become_the_dictionary(library):
    """What C declares in its tables is, downloaded, the dictionary that Python declares, units with quotes included."""
    formats = WHEELS, BUTTON, DATED, EVERYTHING
    assert CDevice(library).dictionary == Dictionary(formats, ROBOT.device, ROBOT.version, protocol=2)


def test_a_host_downloads_the_dictionary_and_starts_the_board(library):
    """HELLO, DICTIONARY in pieces, START: the Python bridge ends in running and knows every field."""
    session = CSession(CDevice(library))
    session.run(30)
    (hello,) = of(Hello, session.events)
    assert (hello.boot_id, hello.dictionary, session.bridge.state) == (BOOT, session.device.dictionary, "running")
    assert session.readings > 0
    assert session.wrong == 0


def random_frame(rng: random.Random, check: int, now_us: int) -> bytes:
    """One frame that a host, a mistaken host or a stranger might send, in time, late, or of a time yet to come."""
    kind = rng.choice((8, 9, 10, 10, 11, 11, 11, 12, 12, 13, 14, rng.randrange(16)))
    late = rng.choice((0, 0, 100, 249_999, 250_000, 250_001, 5_000_000, -100, -100_000, -100_001, 2**31, 2**31 - 1))
    stream = rng.choice((0, 2, 2, 2, 1, 9)) if kind == framing.ACTION else 0
    payload = {
        framing.DICTIONARY_REQUEST: lambda: struct.pack("<H", rng.choice((0, 200, 400, 900, 65535))),
        framing.START: lambda: (
            bodies.START.pack(rng.choice((BOOT, BOOT, BOOT, 5)))
            + b"".join(
                bodies.START_RATE.pack(rng.choice((1, 1, 7, 255, 2)), rng.choice((0, 1, 2, 3)))
                for _ in range(rng.randrange(3))
            )
        ),
        framing.ACTION: lambda: (
            dated(now_us - late)
            + LIMITS._struct.pack(rng.choice((0.0, 0.25, 0.5, 9.0, -1.0, math.inf, math.nan)), rng.randrange(-900, 900))
        ),
        framing.HEARTBEAT: lambda: dated(now_us - late),
        framing.CLEAR: lambda: bodies.CLEAR.pack(rng.choice((BOOT, BOOT, 5))),
    }.get(kind, lambda: b"")()
    if rng.random() < 0.05:
        payload = payload[:-1] or b"\0"
    seq = rng.choice((0, 1, 2, 3, 65535, 40000)) if rng.random() < 0.5 else rng.randrange(65536)
    sent_check = check if rng.random() < 0.9 else check ^ 1
    return framing.encode(Frame(kind, stream, seq, rng.randrange(2**32), sent_check, payload))


def close(a: object, b: object) -> bool:
    """Effects are equal, values to float32."""
    if isinstance(a, SafeOutput):
        return isinstance(b, SafeOutput) and all(close(x, y) for x, y in zip(a.actions, b.actions, strict=True))
    return not isinstance(b, SafeOutput) and np.allclose(a.values, b.values, rtol=1e-6, atol=1e-7)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(10))
def test_c_and_python_say_the_same_bytes(library, seed):
    """Whatever arrives, intact, wrong or damaged, and however time passes, also past 2^32 µs: the same bytes go out,
    the same outputs are set, the same things are counted."""
    rng = random.Random(seed)
    now_us = rng.choice((0, 2**32 - 3_000_000))
    c = CDevice(library, BOOT, now_us=now_us)
    python = twin(c)
    for _ in range(5000):
        now_us += rng.choice((0, 100, 1000, 5000, 60_000, 251_000)) if rng.random() < 0.5 else 500
        what = rng.random()
        if what < 0.6:
            data = random_frame(rng, python.dictionary.check, now_us)
            data = damaged(rng, data, 0.003) + (b"\xff" * 300 if rng.random() < 0.01 else b"")
            cut = rng.randrange(len(data) + 1)
            for part in (data[:cut], data[cut:]):
                ours, theirs = c.receive(now_us, part), python.receive(now_us, part)
                assert len(ours) == len(theirs)
                assert all(close(a, b) for a, b in zip(ours, theirs, strict=True))
        elif what < 0.61:
            assert len(c.fault(now_us)) == 1
            python.fault(now_us, REASON)
        elif what < 0.8:
            assert [type(item) for item in c.tick(now_us)] == [type(item) for item in python.tick(now_us)]
        name = rng.choice(("wheels", "button"))
        values = (1.5, rng.random(), 12.345) if name == "wheels" else (rng.randrange(2),)
        values = tuple(float(np.float32(value)) for value in values)  # type: ignore[assignment]
        expected = python.outgoing()
        expected += python.reading(now_us, name, values)
        assert c.reading(now_us, name, values) == expected
        assert (c.state, c.counters, c.age_us) == (python.state, python.counters, python.age_us)
    assert python.counters.actions > 20
    assert python.counters.refused > 20
    assert python.counters.late > 20
    assert python.counters.damaged > 5


def test_fields_of_every_type_are_packed_as_python_packs_them(library):
    """Scaled, rounded (ties to even), held at their type's limits, NaN only where a float can say it: bit for bit where
    float32 holds the scaled value exactly, else within one."""
    c = CDevice(library)
    python = twin(c)
    for device in (c, python):
        device.receive(0, start(c))
        device.outgoing()
    ends = (0.0, -0.0, 0.75, 1.25, -0.25, 2.0, 1e10, -1e10, 3.4e38, -3.4e38, 2147483648.0, 4294967040.0, 127.5, 65535.0)
    for value in ends:
        values = (float(np.float32(value)),) * 8
        assert c.reading(1, "everything", values) == python.reading(1, "everything", values), value
    for value in (math.nan, math.inf, -math.inf):
        values = (value, *(1.0,) * 6, value)
        assert c.reading(2, "everything", values) == python.reading(2, "everything", values), value
    assert c.send(3, "everything", (0.0, math.nan, *(0.0,) * 6)) == NO_NUMBER
    rng = np.random.default_rng(0)
    for row in rng.normal(0, 100, (300, 8)).astype(np.float32).tolist():
        ours = EVERYTHING.unpack(framing.decode(c.reading(4, "everything", row)[:-1]).payload)
        theirs = EVERYTHING.unpack(framing.decode(python.reading(4, "everything", row)[:-1]).payload)
        scales = np.array([item.scale for item in EVERYTHING.fields])
        assert (np.abs(np.subtract(ours, theirs)) <= np.abs(scales) * 1.0001).all()


def test_a_payload_packed_by_the_caller_is_sent_as_it_is(library):
    """Exact integers need no float: the packed bytes go out in a READING; a wrong length or id does not."""
    c = CDevice(library)
    pack = WHEELS._struct.pack(1.0, 2.0, 12_345)
    assert library.shim_packed(0, 1, pack, len(pack)) == NOT_ASKED
    c.receive(0, start(c))
    c.outgoing()
    assert library.shim_packed(0, 1, pack, len(pack)) == QUEUED
    assert framing.decode(c.outgoing()[:-1]).payload == pack
    assert library.shim_packed(0, 1, pack, len(pack) - 1) == NO_SUCH
    assert library.shim_packed(0, 2, pack, len(pack)) == NO_SUCH


def test_a_full_transmit_buffer_drops_whole_frames_and_counts_them(library):
    """With a port that takes nothing, readings are dropped whole and numbered all the same: the host sees the gap."""
    c = CDevice(library, transmit_size=300)
    c.receive(0, start(c))
    c.outgoing()
    sent = [c.send(n, "wheels", (n, 0.0, 12.0)) for n in range(40)]
    queued = sent.count(QUEUED)
    assert sent == [QUEUED] * queued + [DROPPED] * (40 - queued)
    assert queued == 299 // 24
    found = framing.Deframer().feed(b"\0" + c.outgoing())
    assert [item.seq for item in found] == list(range(queued))
    assert c.send(50, "wheels", (50, 0.0, 12.0)) == QUEUED
    assert framing.decode(c.outgoing()[:-1]).seq == 40
    assert c.counters.dropped_readings == 40 - queued


def test_an_answer_that_found_no_room_comes_later(library):
    """HELLO and STATUS that did not fit are sent with the first tick after there is room."""
    c = CDevice(library, transmit_size=300)
    c.receive(0, start(c))
    c.outgoing()
    while c.send(1, "wheels", (0.0, 0.0, 12.0)) == QUEUED:
        pass
    c.tick(1_000_000)
    waiting = framing.Deframer().feed(b"\0" + c.outgoing())
    assert {item.type for item in waiting} == {framing.READING}
    c.tick(1_000_500)
    (status,) = framing.Deframer().feed(b"\0" + c.outgoing())
    assert status.type == framing.STATUS
    assert bodies.STATUS_2.unpack(status.payload)[2] == 1  # the dropped reading


def test_a_port_that_takes_single_bytes_gets_the_same_bytes(library):
    """However the ring is drained, and wherever it wraps, the frames on the line are whole."""
    c = CDevice(library, transmit_size=233)
    c.receive(0, start(c))
    line = b"\0"
    rng = random.Random(3)
    for n in range(3000):
        c.send(n, "wheels", (n, -n, 1.0))
        line += c.outgoing(rng.randrange(60))
    found = framing.Deframer().feed(line + c.outgoing())
    assert all(isinstance(item, Frame) for item in found)
    readings = [item for item in found if item.type == framing.READING]
    assert c.counters.dropped_readings + len(readings) == 3000
    assert all(WHEELS.unpack(item.payload)[0] == item.time_us for item in readings)


def test_silence_and_stop_make_the_outputs_safe(library):
    """250 ms without a sign of life, and STOP, call the output with the declared safe values; so does power-on."""
    c = CDevice(library)
    check = c.dictionary.check
    c.receive(0, start(c))
    c.receive(1000, framing.encode(Frame(framing.ACTION, 2, 0, 0, check, dated(0) + LIMITS.pack((0.5, 1.0)))))
    assert c.tick(251_000) == []
    (safe,) = c.tick(251_001)
    assert safe.reason == "silent"
    assert safe.actions[0].values == pytest.approx((0.0, 0.1))
    assert c.state == "safe"
    (obeyed,) = c.receive(
        300_000,
        framing.encode(Frame(framing.ACTION, 2, 1, 0, check, dated(290_000) + struct.pack("<fh", 5.0, -30_000))),
    )
    assert obeyed.values == pytest.approx((0.7, -0.5))  # held at the limits
    (stopped,) = c.receive(400_000, framing.encode(Frame(framing.STOP, 0, 0, 0, 0)))
    assert stopped.reason == "stopped"
    assert c.state == "idle"


def test_a_damaged_wire_in_both_directions(library):
    """Half a million bytes each way with flipped, lost, doubled and cut bytes: no crash, every accepted reading and
    action is one that was sent, but for what a CRC of 16 bits lets through; and the link always recovers."""
    session = CSession(CDevice(library), seed=7, rate=2e-3)
    while session.bytes < 1_000_000:
        session.run(1000)
    assert session.damaged_frames > 2000
    assert session.obeyed > 5000
    assert session.wrong <= most_wrong(session.damaged_frames), session.report()
    session.rate = 0.0
    session.run(3000)
    assert session.bridge.state == "running"
    before = session.readings
    session.run(100)
    assert session.readings == before + 100


def test_a_reset_board_is_a_reset_with_a_new_boot_id(library):
    """The C board starts again: the host sees Reset, starts it anew, and no reading counts as lost."""
    session = CSession(CDevice(library))
    session.run(100)
    session.device = CDevice(library, boot_id=BOOT + 1)
    session.boot_ms = session.now_ms
    session.run(300)
    assert session.bridge.counters.resets == 1
    assert session.bridge.counters.lost_readings == 0
    assert (session.bridge.state, session.wrong) == ("running", 0)


def test_replayed_chunks_of_a_c_board_give_the_same_events(library):
    """What a host recorded of a C board replays to the same events, as with any board."""
    session = CSession(CDevice(library), seed=2, rate=1e-3)
    session.run(500)
    again = Bridge()
    events = [event for chunk in session.chunks for event in again.receive(chunk)]
    assert [replace(event, t_ns=0) for event in events[:5]] == [replace(event, t_ns=0) for event in session.events[:5]]
    assert isinstance(session.chunks[0], Chunk)
