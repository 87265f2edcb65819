"""The firmware half: safe unless told otherwise by a host that is alive."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import DictionaryError
from firmware_bridge.events import SafeOutput
from firmware_bridge.formats import Field, Format
from firmware_bridge.links.own import bodies, framing
from firmware_bridge.links.own.device import Device
from firmware_bridge.links.own.framing import (
    ACTION,
    HEARTBEAT,
    HELLO,
    HELLO_REQUEST,
    START,
    STATUS,
    STOP,
    Deframer,
    Frame,
)
from firmware_bridge.values import Action
from tests.support.robots import LIMITS, ROBOT, WHEELS
from tests.support.robots.lagging import DATED

BOOT = 0xB007
CHECK = ROBOT.check
GOOD = Action("limits", (0.25, 0.5))


def frame(kind: int, payload: bytes = b"", *, stream: int = 0, seq: int = 0, check: int = CHECK) -> bytes:
    return framing.encode(Frame(kind, stream, seq, 0, check, payload))


def start(boot_id: int = BOOT, rates: bytes = b"", check: int = CHECK) -> bytes:
    return frame(START, bodies.START.pack(boot_id) + rates, check=check)


def action(seq: int = 0, values: tuple[float, ...] = GOOD.values, check: int = CHECK) -> bytes:
    return frame(ACTION, LIMITS.pack(values), stream=LIMITS.id, seq=seq, check=check)


def running() -> Device:
    device = Device(ROBOT, BOOT)
    assert device.receive(0, start()) == []
    assert device.state == "running"
    device.outgoing()
    return device


def sent(device: Device) -> list[Frame]:
    """What the device has to say, as frames."""
    found = Deframer().feed(device.outgoing())
    assert all(isinstance(item, Frame) for item in found)
    return [item for item in found if isinstance(item, Frame)]


def test_a_board_that_starts_is_idle_and_says_hello_each_second() -> None:
    """After power-on: safe, no readings, actions refused, HELLO at once and then every second."""
    device = Device(ROBOT, BOOT)
    hellos = []
    for now_us in range(0, 3_000_000, 10_000):
        assert device.tick(now_us) == []
        hellos += [(now_us, item) for item in sent(device)]
    assert [(at, item.type) for at, item in hellos] == [(0, HELLO), (1_000_000, HELLO), (2_000_000, HELLO)]
    assert bodies.HELLO.unpack(hellos[0][1].payload) == (BOOT, ROBOT.digest, len(ROBOT.compressed), bodies.IDLE)
    assert device.reading(3_000_000, "wheels", (1, 2, 3)) == b""
    assert device.receive(3_000_000, action()) == []
    assert (device.state, device.counters.refused) == ("idle", 1)


def test_only_a_host_that_knows_us_can_start_us() -> None:
    """START with the schema check of other formats, or for another boot, is refused; the right one is obeyed."""
    device = Device(ROBOT, BOOT)
    for wrong in (
        start(check=CHECK ^ 1),
        start(boot_id=BOOT + 1),
        frame(START, b"\x01"),
        start(rates=b"\x63\x01\x00"),
        start(rates=b"\x01\x01"),
    ):
        assert device.receive(0, wrong) == []
        assert device.state == "idle"
    assert device.counters.refused == 5
    device.receive(0, start())
    assert device.state == "running"
    assert device.reading(0, "wheels", (1, 2, 3)) != b""


def test_a_refused_frame_is_answered_by_hello_but_not_in_a_storm() -> None:
    """Whoever sends us frames we refuse learns who we are, at most every 50 ms."""
    device = Device(ROBOT, BOOT)
    answers = []
    for now_us in range(0, 200_000, 1000):
        device.receive(now_us, action(check=CHECK ^ 1))
        answers += [now_us for item in sent(device) if item.type == HELLO]
    assert answers == [0, 50_000, 100_000, 150_000]


def test_silence_of_the_host_makes_the_outputs_safe() -> None:
    """250 ms without a sign of life: safe output once, and readings go on; the next action is obeyed again."""
    device = running()
    assert device.receive(1000, action()) == [GOOD]
    assert device.tick(251_000) == []
    (safe,) = device.tick(251_001)
    assert safe == SafeOutput("no sign of life from the host for 250 ms", (Action("limits", (0.0, 0.1)),))
    assert device.state == "safe"
    assert device.tick(300_000) == []
    assert device.reading(300_000, "wheels", (1, 2, 3)) != b""
    assert device.receive(310_000, frame(HEARTBEAT)) == []
    assert device.state == "safe"
    assert device.receive(320_000, action(seq=1)) == [GOOD]
    assert (device.state, device.counters.timeouts) == ("running", 1)


def test_heartbeats_and_actions_keep_it_running() -> None:
    """Either an action or a heartbeat within 250 ms is a sign of life; other frames are not."""
    device = running()
    now_us = 0
    for turn in range(20):
        now_us += 249_000
        device.receive(now_us, action(seq=turn) if turn % 2 else frame(HEARTBEAT))
        assert device.tick(now_us + 1000) == []
    device.receive(now_us + 249_000, frame(HELLO_REQUEST) + frame(HEARTBEAT, check=CHECK ^ 1))
    assert len(device.tick(now_us + 251_000)) == 1


def test_stop_is_obeyed_whatever_its_check_says() -> None:
    """STOP makes the outputs safe at once and ends the readings, even from a host that knows nothing of us."""
    device = running()
    device.receive(0, action())
    (safe,) = device.receive(10, frame(STOP, check=0))
    assert isinstance(safe, SafeOutput)
    assert device.state == "idle"
    assert device.reading(20, "wheels", (1, 2, 3)) == b""
    assert device.receive(30, action(seq=1)) == []
    assert [item.type for item in sent(device)] == [STATUS, HELLO]


def test_an_action_never_leaves_its_declared_limits() -> None:
    """Values beyond the limits are held at them; a value that is not finite makes the whole action void."""
    device = running()
    wild = struct.pack("<fh", 1e9, -32768)
    assert device.receive(0, frame(ACTION, wild, stream=2, seq=0)) == [Action("limits", (0.7, -0.5))]
    void = struct.pack("<fh", math.nan, 0)
    assert device.receive(0, frame(ACTION, void, stream=2, seq=1)) == []
    assert device.counters.refused == 1


def test_actions_of_the_wrong_shape_are_refused() -> None:
    """An action of unknown number or length, one for a reading format, or a frame type for the host is refused."""
    device = running()
    payload = LIMITS.pack(GOOD.values)
    for wrong in (
        frame(ACTION, payload, stream=99),
        frame(ACTION, payload, stream=1),
        frame(ACTION, payload + b"\0", stream=2),
        frame(ACTION, payload[:-1], stream=2),
        frame(HELLO, b""),
        frame(framing.DICTIONARY_REQUEST, b"\xff\xff"),
        frame(framing.DICTIONARY_REQUEST, b""),
    ):
        assert device.receive(0, wrong) == []
    assert device.counters.refused == 7


def test_actions_are_counted_by_their_numbers() -> None:
    """A missing action is counted, over the wrap too; one that came twice is obeyed once."""
    device = running()
    obeyed = [len(device.receive(0, action(seq))) for seq in (65533, 65534, 65534, 1, 2, 1)]
    assert obeyed == [1, 1, 0, 1, 1, 0]
    assert (device.counters.missed_actions, device.counters.actions) == (2, 4)


def test_a_new_host_counts_its_actions_from_zero() -> None:
    """A host that was started again says START and numbers from 0: its actions are obeyed at once."""
    device = running()
    device.receive(0, action(seq=5000))
    device.receive(10, start())
    assert device.receive(20, action(seq=0)) == [GOOD]


def test_only_every_nth_reading_is_sent_if_asked() -> None:
    """START may ask for every n-th reading, or none; sent readings are numbered without holes."""
    device = Device(ROBOT, BOOT)
    device.receive(0, start(rates=bodies.START_RATE.pack(1, 4) + bodies.START_RATE.pack(7, 0)))
    frames = [device.reading(now, "wheels", (now, 0, 0)) for now in range(12)]
    assert [bool(item) for item in frames] == [True, False, False, False] * 3
    assert [item.seq for item in Deframer().feed(b"".join(frames)) if isinstance(item, Frame)] == [0, 1, 2]
    assert device.reading(0, "button", (1,)) == b""


def test_status_comes_each_second_and_counts() -> None:
    """While started, the device reports its state and counters each second."""
    device = running()
    device.counters.dropped_readings = 3
    device.receive(0, b"\0rubbish\0" + action() + action(seq=5))
    times = []
    for now_us in range(0, 2_100_000, 10_000):
        device.receive(now_us, frame(HEARTBEAT))
        device.tick(now_us)
        for item in sent(device):
            times.append(now_us)
            last = item
    assert times == [1_000_000, 2_000_000]
    assert last.type == STATUS
    state, boot, dropped, frames, damaged, actions, refused, missed, timeouts = bodies.STATUS.unpack(last.payload)
    assert (state, boot, dropped, damaged, actions, refused, missed) == (bodies.RUNNING, BOOT, 3, 1, 2, 0, 4)
    assert (frames, timeouts) == (1 + 2 + 201, 0)


@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([action(), start(), frame(STOP)])), max_size=10))
def test_nothing_that_arrives_raises(pieces: list[bytes]) -> None:
    """Whatever arrives: no exception, and every action that gets through is within its limits."""
    device = running()
    for at, piece in enumerate(pieces):
        for effect in device.receive(at, piece):
            if isinstance(effect, Action):
                assert LIMITS.clamp(effect.values) == effect.values
        device.tick(at)
        device.outgoing()


def test_mistakes_of_the_firmware_author_are_named() -> None:
    """A boot id of 0, an unknown reading, a wrong number of values: DictionaryError with a sentence."""
    with pytest.raises(DictionaryError, match="from 1 to 2"):
        Device(ROBOT, 0)
    long = Format("long", 3, "reading", tuple(Field(f"x{k}", "f64", "") for k in range(31)))
    with pytest.raises(DictionaryError, match=r"'long' is 248 bytes long; a message carries at most 242\. Split"):
        Device(Dictionary((long,), "test robot", "1"), BOOT)
    device = running()
    with pytest.raises(DictionaryError, match="no format 'whels'"):
        device.reading(0, "whels", ())
    with pytest.raises(DictionaryError, match="'limits' is an action"):
        device.reading(0, "limits", (0, 0))
    with pytest.raises(DictionaryError, match="has 3 fields; 2 values were given"):
        device.reading(0, "wheels", (1, 2))


# ---------------------------------------------------------------------------------------------- version 2


def dated(kind: int, of_us: int, *, stream: int = 0, seq: int = 0, dictionary: Dictionary = DATED) -> bytes:
    """An action or a heartbeat that answers a time of the board's."""
    fields = LIMITS.pack(GOOD.values) if kind == ACTION else b""
    return frame(kind, bodies.OF.pack(of_us & 0xFFFFFFFF) + fields, stream=stream, seq=seq, check=dictionary.check)


def running_2(dictionary: Dictionary = DATED, now_us: int = 0) -> Device:
    device = Device(dictionary, BOOT)
    device.receive(now_us, start(check=dictionary.check))
    device.outgoing()
    return device


@pytest.mark.parametrize(
    ("age_us", "obeyed"),
    [(0, True), (250_000, True), (250_001, False), (5_000_000, False), (-100_000, True), (-100_001, False)],
)
@pytest.mark.parametrize("now_us", [10_000_000, 2**32 + 1000])
def test_an_action_is_obeyed_until_its_declared_age(age_us: int, obeyed: bool, now_us: int) -> None:
    """250 ms and not a microsecond more, over the wrap of the clock too; a little early is the host's reckoning."""
    device = running_2(now_us=now_us)
    effects = device.receive(now_us, dated(ACTION, now_us - age_us, stream=2))
    assert effects == ([GOOD] if obeyed else [])
    assert (device.counters.actions, device.counters.late, device.counters.refused) == (obeyed, not obeyed, 0)
    assert device.age_us == (max(0, age_us) if obeyed else None)


def test_a_late_action_is_no_sign_of_life_and_is_not_missing() -> None:
    """It neither keeps the last one alive nor counts as lost on the way."""
    device = running_2()
    device.receive(1000, dated(ACTION, 1000, stream=2))
    for turn in range(1, 25):
        assert device.receive(turn * 20_000, dated(ACTION, turn * 20_000 - 300_000, stream=2, seq=turn)) == []
        device.tick(turn * 20_000)
    assert device.state == "safe"
    assert (device.counters.late, device.counters.missed_actions) == (24, 0)


def test_a_start_that_comes_again_keeps_nothing_alive() -> None:
    """START says no time, so in version 2 it restarts the silence timer only when it leaves idle."""
    device = running_2()
    device.receive(1000, dated(ACTION, 1000, stream=2))
    device.receive(240_000, start(check=DATED.check))
    assert len(device.tick(252_000)) == 1


@pytest.mark.parametrize("actions", [(), (replace(LIMITS, max_age_ms=0),)], ids=["no action", "no limit"])
def test_without_a_limit_no_heartbeat_is_too_old(actions: tuple[Format, ...]) -> None:
    """A board without actions, or with one that may be of any age, takes every heartbeat as a sign of life."""
    dictionary = Dictionary((WHEELS, *actions), "d", "1", protocol=2)
    device = running_2(dictionary)
    for turn in range(1, 20):
        device.receive(turn * 200_000, dated(HEARTBEAT, turn * 200_000 - 5_000_000, dictionary=dictionary))
        device.tick(turn * 200_000 + 1000)
    assert (device.state, device.counters.late) == ("running", 0)


def test_a_board_in_a_fault_is_moved_by_nothing_but_clear() -> None:
    """START, actions, heartbeats and STOP leave it in its fault; CLEAR for another boot too; the right one makes it
    idle. Of two faults the first one's reason stays."""
    device = running_2()
    assert device.fault(0, "it is too hot").reason == "it is too hot"
    assert device.fault(10, "it is too cold").reason == "it is too hot"
    for data in (
        start(check=DATED.check),
        dated(ACTION, 20, stream=2),
        dated(HEARTBEAT, 20),
        frame(framing.CLEAR, bodies.CLEAR.pack(BOOT + 1), check=DATED.check),
        frame(STOP),
    ):
        assert [type(effect) for effect in device.receive(20, data)] in ([], [SafeOutput])
        assert device.state == "fault"
    assert sent(device)[-1].payload.endswith(b"it is too hot")
    device.receive(30, frame(framing.CLEAR, bodies.CLEAR.pack(BOOT), check=DATED.check))
    assert device.state == "idle"
    assert sent(device)[-1].type == HELLO
