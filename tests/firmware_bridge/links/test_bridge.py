"""The two halves joined by a wire that damages, delays and loses."""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.dictionary import Dictionary, Format
from firmware_bridge.errors import ActionError, DictionaryError
from firmware_bridge.events import (
    DeviceStatus,
    Event,
    Fault,
    Gap,
    Hello,
    Lost,
    Opened,
    Reading,
    Reset,
    SafeOutput,
    Silent,
)
from firmware_bridge.links.own import bodies, framing
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.links.own.framing import (
    ACTION,
    HEARTBEAT,
    HELLO,
    HELLO_REQUEST,
    READING,
    START,
    STOP,
    Deframer,
    Frame,
)
from firmware_bridge.values import Action, Chunk
from tests.support.robots import BUTTON, LIMITS, MS, ROBOT, WHEELS, Session, of, values_of, without_time


def types(data: bytes) -> list[int]:
    """The types of the frames in what the host wrote."""
    return [item.type for item in Deframer().feed(b"\0" + data) if isinstance(item, Frame)]


def started() -> Session:
    session = Session()
    session.run(20)
    assert session.bridge.state == "running"
    return session


def reading(number: int, t_us: int, *, name: Format = WHEELS, check: int = ROBOT.check) -> bytes:
    """A reading frame made by hand."""
    payload = name.pack(values_of(number)[: len(name.fields)])
    return framing.encode(Frame(READING, name.id, number & 0xFFFF, t_us & 0xFFFFFFFF, check, payload))


def hello(boot_id: int, t_us: int, state: int = bodies.RUNNING, dictionary: Dictionary = ROBOT) -> bytes:
    body = bodies.HELLO.pack(boot_id, dictionary.digest, len(dictionary.compressed), state)
    return framing.encode(Frame(HELLO, 0, 0, t_us & 0xFFFFFFFF, dictionary.check, body))


# ---------------------------------------------------------------------------------------------- the handshake


def test_a_handshake_downloads_the_formats_and_readings_begin_with_number_0() -> None:
    """From nothing: HELLO, dictionary, START; then each reading arrives in order, with number, time and values."""
    session = started()
    (event,) = of(Hello, session.events)
    assert (event.device, event.version, event.boot_id) == ("test robot", "1.2.3", 0xB007)
    assert event.dictionary == session.bridge.dictionary == ROBOT
    readings = of(Reading, session.run(100))
    first = readings[0]
    assert len(readings) == 100
    for offset, got in enumerate(readings):
        assert got.seq == first.seq + offset
        assert got.t_device_us == first.t_device_us + offset * 1000
        assert got.values == values_of(got.t_device_us // 1000)
    assert of(Reading, session.events)[0].seq == 0
    assert session.device.counters.missed_actions == session.device.counters.refused == 0
    assert session.bridge.counters.readings == session.bridge.counters.actions_sent == len(of(Reading, session.events))
    assert of(Fault, session.events) == of(Gap, session.events) == []


def test_the_handshake_survives_any_lost_message() -> None:
    """Whichever of the first messages is lost, in either direction, the handshake is complete within a second or so."""
    for lost in range(8):
        for direction in ("to_host", "to_device"):
            count = iter(range(10**6))

            def lose(data: bytes, lost: int = lost, count: object = count) -> bytes:
                return b"" if data and next(count) == lost else data  # type: ignore[call-overload]

            session = Session()
            setattr(session, direction, lose)
            session.run(1500)
            assert session.bridge.state == "running", f"message {lost} {direction}"
            assert len(of(Hello, session.events)) == 1


def test_nothing_is_written_before_an_intact_frame_of_ours_has_come() -> None:
    """A port is listened to, whatever comes: text, noise, silence, another opening; the first intact frame is answered
    with HELLO_REQUEST at once. A port that has shown nothing is not even sent STOP."""
    frame = framing.encode(Frame(framing.STATUS, 0, 0, 0, 0, b"x"))
    bridge = Bridge()
    for ms, data in enumerate([b"", b"ax,ay\r\n1,2\r\n", b"\0" * 40, bytes(range(256)) * 4, frame[:-1] + b"\1\0"]):
        bridge.receive(Chunk(ms * 1000 * MS, data))
        assert bridge.outgoing() == b""
    bridge.receive(Chunk(9000 * MS, frame))
    assert types(bridge.outgoing()) == [HELLO_REQUEST]
    bridge.receive(Chunk(9001 * MS, b"another board, perhaps", "opened"))
    assert bridge.outgoing() == b""
    assert bridge.stop(9002 * MS) == b""


def test_requests_are_repeated_every_200_ms_by_the_time_of_the_chunks() -> None:
    """Without an answer the host asks again each 200 ms of chunk time; without chunks it says nothing."""
    bridge = Bridge(ask_first=True)
    assert bridge.outgoing() == b""
    asked = []
    for ms in range(0, 1000, 10):
        bridge.receive(Chunk(ms * MS))
        asked += [ms for kind in types(bridge.outgoing()) if kind == HELLO_REQUEST]
        assert bridge.outgoing() == b""
    assert asked == [0, 200, 400, 600, 800]


def test_every_byte_that_goes_out_is_counted() -> None:
    """Of requests, actions, heartbeats and STOP, delimiters included."""
    session = started()
    for later_ms in (60, 2000):  # long enough for a heartbeat; for silence, and a request
        session.give(Chunk((session.now_ms + later_ms) * MS))
    written = b"".join(session.written) + session.bridge.stop((session.now_ms + 2000) * MS)
    assert set(types(written)) >= {HELLO_REQUEST, START, ACTION, HEARTBEAT, STOP}
    assert session.bridge.counters.bytes_sent == len(written)


def test_readings_before_the_handshake_are_counted_not_decoded() -> None:
    """A device that is already sending when the host comes: its readings count as early until HELLO is complete."""
    session = started()
    session.bridge = Bridge()
    session.events.clear()
    session.to_device = lambda data: b""
    session.run(50)
    assert session.events == []
    assert session.bridge.counters.early_readings == 50
    session.to_device = lambda data: data
    session.run(600)
    assert of(Fault, session.events) == []
    assert isinstance(session.events[0], Hello)
    assert len(of(Reading, session.events)) > 300


def test_a_known_dictionary_is_not_downloaded_again() -> None:
    """After the link was lost and opened again, HELLO alone completes the handshake, and the loss is one exact gap."""
    session = started()
    last = of(Reading, session.events)[-1].seq
    session.give(Chunk(session.now_ms * MS, b"unplugged", "lost"))
    assert session.bridge.outgoing() == b""
    missed = 700
    for _ in range(missed):
        session.device.reading(session.now_ms * 1000, "wheels", values_of(session.number))
        session.number += 1
        session.now_ms += 1
    events = session.give(Chunk(session.now_ms * MS, b"/dev/ttyACM1", "opened"))
    assert events == [Opened(session.now_ms * MS, "/dev/ttyACM1")]
    early = session.bridge.counters.early_readings
    events = session.run(30)
    early = session.bridge.counters.early_readings - early
    assert framing.DICTIONARY_REQUEST not in types(b"".join(session.written[-31:]))
    assert len(of(Hello, events)) == 1
    (gap,) = of(Gap, events)
    assert (gap.first_seq, gap.count) == (last + 1, missed + early)
    assert of(Reset, events) == []
    assert session.bridge.counters.reconnects == 0  # the first opening of this session was not a chunk of its own


def test_only_every_nth_reading_on_request() -> None:
    """`every` thins the readings out at the device; numbers then count the sent ones, so nothing seems missing."""
    session = Session(bridge=Bridge(every={"wheels": 5, "gone": 2}))
    session.run(200)
    readings = of(Reading, session.events)
    assert {b.t_device_us - a.t_device_us for a, b in pairwise(readings)} == {5000}
    assert of(Gap, session.events) == []
    assert [fault.status for fault in of(Fault, session.events)] == ["start"]
    with pytest.raises(DictionaryError, match=r"0 … 65535 is"):
        Bridge(every={"wheels": 65_536})


def test_a_broken_dictionary_is_told_and_asked_for_again_after_a_second() -> None:
    """A dictionary that contradicts itself is a fault with a sentence; the host tries again, but not in a storm."""
    tree = json.loads(ROBOT.json)
    tree["formats"][0]["fields"][0]["type"] = "f16"
    text = json.dumps(tree).encode()
    session = Session(device=Device(replace(ROBOT, json=text), 5))
    session.run(3000)
    faults = of(Fault, session.events)
    assert {fault.status for fault in faults} == {"dictionary"}
    assert "'speed_left' has type 'f16'" in faults[0].detail
    assert 2 <= len(faults) <= 5
    assert session.bridge.dictionary is None


def test_a_format_longer_than_a_frame_is_a_broken_dictionary() -> None:
    """A device that declares more than a frame carries: its dictionary is a fault that says which format it is."""
    tree = json.loads(ROBOT.json)
    tree["formats"][0]["fields"] = [{"name": f"x{k}", "type": "f64", "unit": ""} for k in range(31)]
    session = Session(device=Device(replace(ROBOT, json=json.dumps(tree).encode()), 5))
    session.run(900)
    (fault,) = of(Fault, session.events)
    assert fault.status == "dictionary"
    assert fault.detail == "Format 'wheels' is 248 bytes long; a message carries at most 242. Split it in two."


def test_a_dictionary_that_hello_did_not_announce_is_not_used() -> None:
    """If the downloaded bytes have another digest than HELLO said, they are a fault."""
    other = replace(ROBOT, version="9", json=b"")
    wrong = zlib.compress(ROBOT.json, 0)
    bridge = Bridge()
    bridge.receive(Chunk(0, b"\0" + hello(1, 0, dictionary=replace(other, json=b""))))
    body = bodies.BLOCK.pack(0, len(other.compressed)) + (wrong * 2)[: min(len(other.compressed), 200)]
    events = bridge.receive(Chunk(0, framing.encode(Frame(framing.DICTIONARY, 0, 0, 0, other.check, body))))
    while not events:
        offset = len(bridge._blocks)
        body = bodies.BLOCK.pack(offset, len(other.compressed)) + ROBOT.compressed[:100]
        events = bridge.receive(Chunk(0, framing.encode(Frame(framing.DICTIONARY, 0, 0, 0, other.check, body))))
    assert [event.status for event in events if isinstance(event, Fault)] == ["dictionary"]
    assert bridge.state == "asking"


# ---------------------------------------------------------------------------------------------- the same by any split


@given(st.data())
def test_any_split_of_the_stream_gives_the_same_events(data: st.DataObject) -> None:
    """However a damaged conversation is cut into chunks, the events are the same apart from their arrival times."""
    rng = random.Random(data.draw(st.integers(0, 5)))
    session = Session(to_host=damage(rng, 0.05))
    session.run(300)
    session.reset_board(0xCAFE)
    session.run(300)
    bridge, events = Bridge(), list[Event]()
    for chunk in session.chunks:
        rest = chunk.data
        while rest:
            size = data.draw(st.integers(1, len(rest))) if rng.random() < 0.1 else len(rest)
            events += bridge.receive(Chunk(chunk.t_ns, rest[:size]))
            rest = rest[size:]
    assert without_time(events) == without_time(session.events)
    assert bridge.counters.faults == session.bridge.counters.faults


def test_the_stream_byte_by_byte_and_whole_gives_the_same_events() -> None:
    """A conversation received one byte at a time, or all at once, gives the events it gave live."""
    session = started()
    session.run(200)
    stream = b"".join(chunk.data for chunk in session.chunks)
    whole = Bridge()
    assert without_time(whole.receive(Chunk(0, stream))) == without_time(session.events)
    single = Bridge()
    events = [event for byte in stream for event in single.receive(Chunk(0, bytes([byte])))]
    assert without_time(events) == without_time(session.events)


def test_replaying_the_chunks_gives_the_same_events_and_the_same_bytes() -> None:
    """Chunks, with their times, decide everything: a second bridge gives the same events and writes the same bytes."""
    session = Session(to_host=damage(random.Random(1), 0.05))
    session.run(500)
    session.give(Chunk(session.now_ms * MS, b"unplugged", "lost"))
    session.now_ms += 300
    session.give(Chunk(session.now_ms * MS, b"back", "opened"))
    session.reset_board(77)
    session.run(500)
    again = Session()
    for chunk in session.chunks:
        again.give(chunk)
    assert again.events == session.events
    assert again.written == session.written
    assert again.bridge.report() == session.bridge.report()


# ---------------------------------------------------------------------------------------------- damage


def damage(rng: random.Random, share: float):  # type: ignore[no-untyped-def]
    """A wire that, at a share of its pieces, flips a bit, loses, doubles or cuts bytes."""

    def hurt(data: bytes) -> bytes:
        if not data or rng.random() >= share:
            return data
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 1:
                return data[:at] + data[at + 1 :]
            case 2:
                return data[: at + 1] + data[at:]
            case 3:
                return data[:at]
            case _:
                return data + data

    return hurt


@pytest.mark.parametrize("seed", range(6))
def test_after_any_damage_every_reading_is_delivered_once_or_known_as_missing(seed: int) -> None:
    """Through a wire that damages one piece in ten: no exception, each delivered reading is true and comes once, in
    order, and delivered and missing readings together are exactly those that were sent."""
    session = Session(to_host=damage(random.Random(seed), 0.1), to_device=damage(random.Random(seed + 99), 0.1))
    session.run(4000)
    session.to_host = session.to_device = lambda data: data
    session.run(500)
    expected: int | None = None
    for event in session.events:
        if isinstance(event, Gap):
            assert expected is None or event.first_seq == expected
            expected = (event.first_seq + event.count) & 0xFFFF
        elif isinstance(event, Reading):
            assert expected is None or event.seq == expected
            assert event.values == values_of(event.t_device_us // 1000)
            expected = (event.seq + 1) & 0xFFFF
    faults = of(Fault, session.events)
    assert len(faults) > 100
    assert sum(session.bridge.counters.faults.values()) == len(faults)
    assert session.bridge.counters.lost_readings == sum(gap.count for gap in of(Gap, session.events)) > 0
    assert expected == session.device._seq[WHEELS.id]
    assert session.bridge.state == "running"
    assert of(Reset, session.events) == []


@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([hello(1, 0), hello(2, 9), reading(5, 7)]))))
def test_nothing_that_arrives_raises(pieces: list[bytes]) -> None:
    """Whatever bytes arrive, in whatever state: events, never an exception; all bytes are counted."""
    bridge = Bridge()
    for at, piece in enumerate(pieces):
        bridge.receive(Chunk(at * 100 * MS, piece))
        bridge.outgoing()
    assert bridge.counters.bytes == sum(map(len, pieces))


@given(
    st.lists(
        st.builds(
            Frame,
            type=st.integers(0, 15),
            stream=st.integers(0, 8),
            seq=st.integers(0, 0xFFFF),
            time_us=st.integers(0, 0xFFFFFFFF),
            check=st.sampled_from([ROBOT.check, 0]),
            payload=st.one_of(st.binary(max_size=40), st.just(WHEELS.pack((1, 2, 3)))),
        ),
        max_size=20,
    )
)
def test_no_frame_whatever_it_holds_raises(frames: list[Frame]) -> None:
    """Intact frames with any content, in any order, on a running link: events, never an exception."""
    session = started()
    for at, frame in enumerate(frames):
        session.bridge.receive(Chunk((100 + at) * MS, framing.encode(frame)))
        session.bridge.outgoing()


def test_a_doubled_frame_is_delivered_once() -> None:
    """The same frame twice: one reading, one fault "duplicate", no gap, and no doubt about the device."""
    session = started()
    session.to_host = lambda data: data + data
    events = session.run(50)
    assert len(of(Reading, events)) == 50
    assert {fault.status for fault in of(Fault, events)} == {"duplicate"}
    assert of(Gap, events) == []
    assert session.bridge.counters.resyncs == 0


def test_frames_of_unknown_type_format_or_length_are_faults() -> None:
    """Intact frames that cannot be used are faults that say why, and the readings around them are delivered."""
    session = started()
    now = session.now_ms
    check = ROBOT.check
    wrong = {
        "type": Frame(9, 0, 0, 0, check),
        "stream": Frame(READING, 99, 0, 0, check, b"abc"),
        "length": Frame(READING, WHEELS.id, 0, 0, check, b"abc"),
    }
    for status, frame in wrong.items():
        (fault,) = session.give(Chunk(now * MS, framing.encode(frame)))
        assert isinstance(fault, Fault)
        assert fault.status == status
        assert fault.detail
    assert len(of(Reading, session.run(10))) == 10


# ---------------------------------------------------------------------------------------------- missing readings


def test_a_missing_reading_is_a_gap_right_before_the_next() -> None:
    """Lost frames show as one Gap with first number and count, followed directly by the next reading."""
    session = started()
    session.to_host = lambda data: b""
    session.run(3)
    session.to_host = lambda data: data
    gap, got, *_rest = session.run(5)
    assert isinstance(gap, Gap)
    assert isinstance(got, Reading)
    assert (gap.format, gap.count, gap.first_seq) == ("wheels", 3, got.seq - 3)
    assert session.bridge.counters.lost_readings == 3


def test_numbers_and_device_time_go_on_over_their_wraps() -> None:
    """16 bits of number and 32 bits of µs wrap around without a gap, and t_device_us only grows."""
    bridge = Bridge()
    begin_us = 2**32 - 40_000_000
    bridge.receive(Chunk(0, b"\0" + hello(1, begin_us)))
    bridge._dictionaries[ROBOT.digest] = ROBOT
    bridge.receive(Chunk(0, hello(1, begin_us)))
    events: list[Event] = []
    for number in range(65_000, 66_000):
        t_us = begin_us + (number - 65_000) * 100_000  # 100 s; the declared rate is of no importance here
        events += bridge.receive(Chunk((number - 65_000) * 100 * MS, reading(number, t_us)))
    assert of(Gap, events) == []
    assert [event.t_device_us for event in of(Reading, events)] == [begin_us + n * 100_000 for n in range(1000)]


def test_a_pause_of_hours_is_a_gap_of_the_right_length() -> None:
    """After three hours without the link (device time wrapped twice, numbers 164 times) the count is exact."""
    session = started()
    pause_ms = 3 * 3600 * 1000
    session.give(Chunk(session.now_ms * MS, b"", "lost"))
    last = of(Reading, session.events)[-1]
    session.device._seq[WHEELS.id] = (session.device._seq[WHEELS.id] + pause_ms) & 0xFFFF
    session.now_ms += pause_ms
    session.number += pause_ms
    session.give(Chunk(session.now_ms * MS, b"", "opened"))
    events = session.run(100)
    (gap,) = of(Gap, events)
    first = of(Reading, events)[0]
    assert gap.count == (first.t_device_us - last.t_device_us) // 1000 - 1 >= pause_ms
    assert first.t_device_us == last.t_device_us + (gap.count + 1) * 1000


def test_each_format_counts_for_itself() -> None:
    """Two reading formats have their own numbers: a lost one of the first is no gap in the second."""
    session = started()
    now_us = session.now_ms * 1000
    seqs = {}
    for at in range(6):
        frames = session.device.reading(now_us, "button", (1,))
        events = session.give(Chunk(session.now_ms * MS, b"" if at == 2 else frames))
        for event in events:
            seqs[at] = event
    assert [type(event) for event in seqs.values()] == [Reading] * 5
    assert of(Gap, session.events) == [Gap(session.now_ms * MS, "button", 2, 1)]
    assert seqs[3].values == (1.0,)
    assert of(Gap, session.run(5)) == []


# ---------------------------------------------------------------------------------------------- resets


def test_a_reset_board_is_a_reset_and_no_gap() -> None:
    """A new boot id is a Reset followed by Hello; numbers and device time begin again, and nothing is missing."""
    session = started()
    session.reset_board(0xBEEF)
    events = session.run(100)
    assert [type(event) for event in events if not isinstance(event, (Reading, DeviceStatus))] == [Reset, Hello]
    assert of(Reset, events)[0].boot_id == session.bridge.boot_id == 0xBEEF
    assert of(Gap, events) == []
    assert of(Reading, events)[0].seq == 0
    assert of(Reading, events)[-1].t_device_us < 100_000
    assert session.bridge.counters.resets == 1


def test_a_reset_is_noticed_when_its_hello_is_lost() -> None:
    """The HELLO of the starting board is lost: it refuses the host's next action or heartbeat, with HELLO again."""
    session = started()
    session.reset_board(0xBEEF)
    session.to_host = lambda data: b""
    session.run(1)
    session.to_host = lambda data: data
    events = session.run(400)
    assert len(of(Reset, events)) == 1
    assert session.bridge.state == "running"


def test_numbers_and_time_that_jump_back_make_the_host_ask() -> None:
    """If readings of another boot come without any HELLO, they are refused and the host asks who is there."""
    session = started()
    session.run(200)
    now = session.now_ms
    (fault,) = session.give(Chunk(now * MS, reading(0, 0)))
    assert isinstance(fault, Fault)
    assert fault.status == "backward"
    assert types(session.written[-1]) == [HELLO_REQUEST]
    events = session.give(Chunk(now * MS, b"\0" + hello(0xBEEF, 3000)))
    assert [type(event) for event in events] == [Reset, Hello]
    (got,) = session.give(Chunk(now * MS, reading(4, 4000)))
    assert isinstance(got, Reading)
    assert got.t_device_us == 4000


def test_a_false_alarm_changes_nothing() -> None:
    """Old readings that come again (a doubled block of bytes) are refused, HELLO confirms the boot; no gap."""
    session = started()
    old = session.chunks[-5].data
    session.give(Chunk(session.now_ms * MS, old))
    events = session.run(50)
    assert len(of(Reading, events)) == 50
    assert of(Gap, events) == of(Hello, events) == of(Reset, events) == []
    assert (session.bridge.counters.resyncs, session.bridge.state) == (1, "running")


def test_a_board_with_a_constant_boot_id_still_shows_its_resets() -> None:
    """A HELLO whose device time lies a second or more before the last one is a reset, even with the same boot id."""
    session = started()
    session.run(2000)
    session.reset_board(0xB007)
    events = session.run(100)
    assert [type(event) for event in events if not isinstance(event, (Reading, DeviceStatus))] == [Reset, Hello]


def test_another_schema_is_refused_and_the_handshake_renewed() -> None:
    """A reading packed with other formats than declared is refused, and the host asks HELLO before it decodes again."""
    session = started()
    session.to_device = lambda data: b""  # the first request is lost
    (fault,) = session.give(Chunk(session.now_ms * MS, reading(0, 0, check=ROBOT.check ^ 0xFF)))
    assert isinstance(fault, Fault)
    assert fault.status == "schema"
    assert session.bridge.state == "asking"
    assert HELLO_REQUEST in types(session.written[-1])
    assert session.run(50) == []
    session.to_device = lambda data: data
    hello_event, gap, *_rest = session.run(300)
    assert isinstance(hello_event, Hello)
    assert isinstance(gap, Gap)
    assert gap.count == session.bridge.counters.early_readings >= 50


def test_a_board_with_new_firmware_brings_its_new_formats() -> None:
    """After flashing, the same port declares other formats: Reset, then Hello with the new dictionary."""
    session = started()
    session.run(1000)
    faster = replace(WHEELS, fields=(*WHEELS.fields[::-1],))
    session.device = Device(Dictionary((faster, LIMITS), "test robot", "2.0"), 0xF1A5)
    session.boot_ms = session.now_ms
    session.bridge.receive(Chunk(session.now_ms * MS))
    session.device.tick(0)
    events = session.give(Chunk(session.now_ms * MS, session.device.outgoing()))
    for _ in range(10):
        events += session.give(Chunk(session.now_ms * MS, session.device.outgoing()))
    assert [type(event) for event in events if not isinstance(event, DeviceStatus)] == [Reset, Hello]
    dictionary = session.bridge.dictionary
    assert dictionary is not None
    assert dictionary.version == "2.0"
    assert BUTTON.name not in dictionary


def test_a_board_that_fell_idle_is_started_again() -> None:
    """Another program said STOP: the device's STATUS tells, and the host sends START again without a new handshake."""
    session = started()
    session.device.receive(session.now_ms * 1000, framing.encode(Frame(STOP, 0, 0, 0, 0)))
    events = session.run(50)
    assert of(Hello, events) == []
    assert len(of(Reading, events)) > 40
    assert session.bridge.state == "running"


# ---------------------------------------------------------------------------------------------- silence and safety


def test_silence_is_said_once_and_ends_with_the_next_frame() -> None:
    """After 1.5 s without an intact frame: Silent, once, and requests; when readings go on there is just the gap."""
    session = started()
    session.to_host = lambda data: b""
    events = session.run(4000)
    assert [type(event) for event in events] == [Silent]
    assert HELLO_REQUEST in types(b"".join(session.written[-500:]))
    session.to_host = lambda data: data
    events = session.run(10)
    assert len(of(Reading, events)) == 10
    assert [gap.count for gap in of(Gap, events)] == [4000]
    session.to_host = lambda data: b""
    assert len(of(Silent, session.run(2000))) == 1


def test_heartbeats_fill_the_pauses_between_actions() -> None:
    """A running link on which nothing is sent for 50 ms gets a heartbeat, while the last action is not older than 250
    ms; where actions flow there is none."""
    session = started()
    before = session.bridge.counters.heartbeats
    session.run(500)
    assert session.bridge.counters.heartbeats == before
    session.to_host = lambda data: b""
    first = len(session.written)
    session.run(450)
    beats = [at for at, data in enumerate(session.written[first:]) if HEARTBEAT in types(data)]
    assert len(beats) in (4, 5)
    assert {b - a for a, b in pairwise(beats)} == {50}
    assert of(SafeOutput, session.effects) == []  # type: ignore[arg-type]


def test_stop_makes_the_device_safe_and_the_host_silent() -> None:
    """`stop` gives one frame that makes the device safe; after it nothing is sent, whatever arrives."""
    session = started()
    now_ns = session.now_ms * MS
    data = session.bridge.stop(now_ns)
    assert types(data) == [STOP]
    (safe,) = session.device.receive(session.now_ms * 1000, data)
    assert isinstance(safe, SafeOutput)
    session.run(1000)
    assert set(session.written[-1000:]) == {b""}
    assert session.bridge.state == "stopped"
    assert types(Bridge(ask_first=True).stop(0)) == [STOP]


def test_a_lost_link_makes_the_device_safe_by_itself() -> None:
    """When nothing of the host arrives any more the device is safe after its timeout, without being told."""
    session = started()
    session.to_device = lambda data: b""
    session.run(300)
    assert [type(effect) for effect in session.effects][-1] is SafeOutput
    assert session.device.state == "safe"
    session.to_device = lambda data: data
    session.run(300)
    assert session.device.state == "running"


def test_link_events_are_passed_on_and_half_a_frame_is_forgotten() -> None:
    """Lost and Opened carry the port's words; bytes of before the loss are never joined to bytes of after it."""
    session = started()
    half = session.device.reading(session.now_ms * 1000, "wheels", values_of(0))
    t_ns = session.now_ms * MS
    assert session.give(Chunk(t_ns, half[:9])) == []
    assert session.give(Chunk(t_ns, b"pulled", "lost")) == [Lost(t_ns, "pulled")]
    assert session.bridge.state == "closed"
    assert session.give(Chunk(t_ns, b"/dev/x", "opened")) == [Opened(t_ns, "/dev/x")]
    assert session.give(Chunk(t_ns, half[9:])) == []
    assert session.bridge.counters.skipped_bytes == len(half) - 1
    assert session.bridge.counters.faults == {}


def test_actions_are_held_back_until_the_handshake_and_checked_after_it() -> None:
    """An action before the handshake is not sent but counted; after it a wrong one raises ActionError."""
    bridge = Bridge()
    assert bridge.send(0, Action("limits", (0.1, 0.1))) == b""
    assert bridge.counters.actions_held == 1
    session = started()
    with pytest.raises(ActionError, match="no action 'limit'; it declares limits"):
        session.bridge.send(0, Action("limit", (0.1, 0.1)))
    with pytest.raises(ActionError, match="left = 5 N m is outside"):
        session.bridge.send(0, Action("limits", (5, 0.1)))
    assert types(session.bridge.send(0, Action("limits", (0.1, 0.1)))) == [ACTION]


def test_the_device_counters_arrive() -> None:
    """STATUS becomes a DeviceStatus with the device's own counts."""
    session = started()
    session.device.counters.dropped_readings = 12
    last = of(DeviceStatus, session.run(1100))[-1]
    assert (last.state, last.boot_id, last.dropped_readings, last.damaged) == ("running", 0xB007, 12, 0)
    assert 900 < last.actions < 1200


def test_the_report_is_json_and_has_a_clock() -> None:
    """`report` can be written as JSON; on a wire without delay the clock offset is that of the two clocks."""
    session = started()
    session.run(3000)
    report = json.loads(json.dumps(session.bridge.report()))
    assert report["state"] == "running"
    assert report["clock_offset_ns"] == 0
    assert abs(report["clock_drift_ppm"]) < 1e-6
    assert report["frames"] == report["readings"] + report["hellos"] + len(of(DeviceStatus, session.events)) + 2


def test_start_is_repeated_until_the_device_confirms_it() -> None:
    """START that is lost is sent again each 200 ms."""
    session = Session()
    session.to_device = lambda data: b"" if START in types(data) else data
    session.run(1000)
    assert session.bridge.state == "starting"
    assert 4 <= sum(START in types(data) for data in session.written) <= 6
    session.to_device = lambda data: data
    session.run(250)
    assert session.bridge.state == "running"


# ---------------------------------------------------------------------------------------------- what is not believed


HALF_AN_HOUR_US = 1_800_000_000


def test_one_intact_reading_half_an_hour_ahead_loses_nothing() -> None:
    """Its time is ahead of what any clock explains: a fault, and HELLO is asked; the true readings go on, none lost."""
    session = started()
    session.run(500)
    us = session.now_ms * 1000
    events = session.give(Chunk(session.now_ms * MS, reading(session.number, us + HALF_AN_HOUR_US)))
    assert [event.status for event in of(Fault, events)] == ["ahead"]
    assert HELLO_REQUEST in types(session.written[-1])
    events = session.run(200)
    assert len(of(Reading, events)) == 200
    assert of(Gap, events) == of(Fault, events) == of(Reset, events) == []
    assert session.bridge.counters.lost_readings == 0


def test_a_host_that_slept_believes_the_device_after_one_question() -> None:
    """The host's clock stood for half an hour (a laptop that slept): HELLO says the same time as the readings, so
    they are believed, and what is missing is one gap with one count."""
    session = started()
    session.run(500)
    session.boot_ms -= HALF_AN_HOUR_US // 1000
    session.number += HALF_AN_HOUR_US // 1000
    session.device._seq[WHEELS.id] = (session.device._seq[WHEELS.id] + HALF_AN_HOUR_US // 1000) & 0xFFFF
    events = session.run(400)
    (gap,) = of(Gap, events)
    assert HALF_AN_HOUR_US // 1000 <= gap.count < HALF_AN_HOUR_US // 1000 + 250
    assert of(Reset, events) == []
    assert len(of(Reading, events)) > 150


@pytest.mark.parametrize("drift", [-0.05, 0.05])
def test_a_poor_clock_is_believed(drift: float) -> None:
    """A clock wrong by a twentieth for a minute, with the link lost half of the time: no time is doubted."""
    bridge = Bridge()
    bridge.receive(Chunk(0, b"", "opened"))
    device = Device(ROBOT, 7)
    faults = []
    for ms in range(0, 60_000, 5):
        us = round(ms * 1000 * (1 + drift))
        device.tick(us)
        data = device.outgoing() + device.reading(us, "button", (1.0,))
        if ms % 20_000 < 10_000:
            faults += of(Fault, bridge.receive(Chunk(ms * MS, data)))
        device.receive(us, bridge.outgoing())
    assert faults == []


def test_a_storm_of_hellos_is_one_handshake_in_100_ms() -> None:
    """Ten thousand HELLOs of ever other boots in one second: at most ten of them are taken up."""
    session = started()
    for ms in range(1000):
        session.bridge.receive(Chunk((session.now_ms + ms) * MS, b"\0".join(hello(ms * 10 + n, 0) for n in range(10))))
    assert session.bridge.counters.resets <= 10
    assert session.bridge.counters.hellos <= 11
