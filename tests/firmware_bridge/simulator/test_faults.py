"""The fault injector: what it counts is what happened."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import BridgeError
from firmware_bridge.events import Gap, Reading
from firmware_bridge.links.own.framing import Deframer, Frame, encode
from firmware_bridge.simulator.faults import ByteFaults, Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.firmware_bridge.simulator.test_robot import Host

FRAMES = [Frame(3, 1, k & 0xFFFF, 5000 * k, 0xABCD, bytes(range(k % 60))) for k in range(4000)]
STREAM = b"".join(encode(frame) for frame in FRAMES)


@pytest.mark.parametrize("rates", [
    Rates(flip=1e-3), Rates(lose=1e-3), Rates(double=1e-3), Rates(cut=1e-3),
    Rates(flip=2e-3, lose=2e-3, double=2e-3, cut=2e-3),
], ids=["flip", "lose", "double", "cut", "all"])  # fmt: skip
def test_every_frame_is_intact_or_counted_as_touched(rates: Rates) -> None:
    """Of the frames passed through, exactly those not counted as touched arrive, in order and unchanged."""
    faults = ByteFaults(Random(1), rates)
    arrived = [item for item in Deframer().feed(b"\0" + faults.pass_on(STREAM)) if isinstance(item, Frame)]
    counts = faults.counts
    assert counts.bytes == len(STREAM)
    assert counts.frames == len(FRAMES)
    assert len(arrived) == counts.frames - counts.touched
    assert set(arrived) <= set(FRAMES)
    assert [frame.seq for frame in arrived] == sorted(frame.seq for frame in arrived)
    assert 0 < counts.touched < counts.frames
    for kind in ("flip", "lose", "double", "cut"):
        rate = getattr(rates, kind)
        assert (getattr(counts, kind) > 0) == (rate > 0)
        assert getattr(counts, kind) <= 1.5 * rate * len(STREAM)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2000), max_size=30))
def test_faults_do_not_depend_on_how_the_bytes_come(cuts: list[int]) -> None:
    """The same bytes in other pieces give the same damage and the same counts."""
    rates = Rates(flip=1e-2, lose=1e-2, double=1e-2, cut=1e-2)
    whole, cut = ByteFaults(Random(5), rates), ByteFaults(Random(5), rates)
    data = STREAM[:2000]
    edges = [0, *sorted(cuts), 2000]
    pieces = b"".join(cut.pass_on(data[a:b]) for a, b in pairwise(edges))
    assert pieces == whole.pass_on(data)
    assert cut.counts == whole.counts


def test_no_faults_change_nothing() -> None:
    """With all rates 0 every byte passes and nothing is counted but bytes and frames."""
    faults = Faults(3)
    assert faults.to_host.pass_on(STREAM) == STREAM
    assert faults.to_host.counts.touched == 0
    assert faults.due(10**12) == []


def test_a_host_knows_of_every_reading_that_was_damaged() -> None:
    """Readings received and readings in gaps together are all that the robot sent, damage and silence or not."""
    faults = Faults(2, Rates(flip=2e-4, lose=1e-4, double=1e-4, cut=1e-4, silence=0.05))
    robot = Robot(1)
    taken: list[int] = []
    robot.on_reading = lambda t, boot, values, truth: taken.append(t)
    host = Host(SimulatedPort(robot, 30.0, faults)).run()
    readings = host.readings
    missing = sum(event.count for event in host.events if isinstance(event, Gap))
    between = [t for t in taken if readings[0].t_device_us <= t <= readings[-1].t_device_us]
    assert len(readings) + missing == len(between)
    assert missing > 100
    counts = faults.to_host.counts
    assert counts.touched >= missing  # other frames than readings are touched, too
    assert sum(1 for event in host.events if isinstance(event, Reading)) <= counts.frames - counts.touched


def test_swallowed_bytes_touch_the_frames_they_belong_to() -> None:
    """What falls into a silence is counted, and a frame cut in two by it merges with the next."""
    faults = ByteFaults(Random(0), Rates())
    frame = encode(FRAMES[7])
    got = faults.pass_on(frame + frame[:5])
    faults.swallow(frame[5:] + frame)
    got += faults.pass_on(frame + frame)
    arrived = [item for item in Deframer().feed(b"\0" + got) if isinstance(item, Frame)]
    assert len(arrived) == 2
    assert (faults.counts.frames, faults.counts.touched) == (5, 3)
    assert faults.counts.swallowed == 2 * len(frame) - 5


def test_link_faults_come_at_their_rate_and_do_not_overlap_with_their_own_kind() -> None:
    """Events per second are near the rate, in order of time, and one of a kind has ended before the next begins."""
    faults = Faults(9, Rates(silence=0.5, reset=1.0, unplug=0.2))
    events = [event for t in range(0, 1_000_000_000, 7_000_000) for event in faults.due(t)]
    resets = [event for event in events if event.kind == "reset"]
    assert 900 < len(resets) < 1100
    assert faults.counts["reset"] == len(resets)
    for kind in ("silence", "unplug"):
        own = [event for event in events if event.kind == kind]
        assert own
        assert all(a.t_us + a.duration_us <= b.t_us for a, b in pairwise(own))


@pytest.mark.parametrize(("text", "message"), [
    ("flop=1", "no fault named 'flop'; there are flip, lose"),
    ("flip=often", "flip: 'often' is no number"),
    ("flip=1", "probability per byte"),
    ("unplug=-1", "number per second"),
    ("reset=nan", "number per second"),
])  # fmt: skip
def test_bad_rates_are_refused_by_name(text: str, message: str) -> None:
    """An unknown fault or an impossible rate is a sentence that names it."""
    with pytest.raises(BridgeError, match=message):
        Rates.parse(text)


def test_rates_are_read_from_text() -> None:
    """ "name=number" pairs become rates, all others stay 0."""
    assert Rates.parse("flip=1e-5, unplug=0.1,") == Rates(flip=1e-5, unplug=0.1)
