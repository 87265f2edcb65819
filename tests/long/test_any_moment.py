"""A thousand random moments of an hour: from the nearest keyframe each is what it is from the beginning, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge_lstm.robot.keyframes import beginning, differing_bits
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import ComparingPort
from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import Recording, open_recordings
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.robot.test_keyframes import CASES

pytestmark = pytest.mark.long
CASE = "events"
RATES = Rates(flip=1e-6, lose=1e-6, double=1e-6, cut=1e-6, silence=0.005, reset=0.002, unplug=0.002)


class Until(RecordingPort):
    """A recording from a keyframe on, up to and with a number of chunks."""

    count = 0

    def chunks(self) -> Iterator[Chunk]:
        for chunk in super().chunks():
            self.count -= 1
            yield chunk
            if not self.count:
                return


class Wanting:
    """Takes what is remembered after each of these chunks, by their numbers."""

    def __init__(self, numbers: set[int]) -> None:
        self.states: dict[int, bytes] = {}
        self._numbers, self._number = numbers, 0

    def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
        self._number += 1
        return self._number in self._numbers

    def keyframe(self, t_ns: int, state: Any) -> None:
        self.states[self._number] = keyframe.encode(state)


def states(recording: Recording, numbers: set[int], t_ns: int | None = None, count: int = 0) -> dict[int, bytes]:
    """What is remembered after chunks of a replay. t_ns: from the nearest keyframe before it on; count: so many."""
    controller = CASES[CASE][0]()
    link = controller.config.open_link()
    begins = beginning(recording, link, controller, t_ns)
    port, wanting = Until(recording), Wanting(numbers)
    port.after, port.count = begins.after, count
    comparing = ComparingPort(port, recording.writes(begins.after), link, goes_on=True)
    run(comparing, link, controller, unfit=lambda why: None, keyframes=wanting, begun=begins.begun)
    return wanting.states


def places_of(recording: Recording) -> dict[tuple[int, int], int]:
    """How many chunks stand before each keyframe."""
    found, count = {}, 0
    for item in recording.wire():
        if isinstance(item, keyframe.Keyframe):
            found[item.block, item.number] = count
        else:
            count += 1
    return found


def test_every_moment_is_the_same_from_the_nearest_keyframe(tmp_path: Path, volume: Callable[[float], int]) -> None:
    """All that link, controller, events, inputs and streams remember: from the keyframe before it, and from the
    beginning of its file, 0 differing bits."""
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True, keyframe_s=5.0, limits=Limits(rotate_s=600.0))
    controller = CASES[CASE][0]()
    port = SimulatedPort(Robot(4), float(volume(3600)), Faults(5, RATES))
    run(port, controller.config.open_link(), controller, recorder, keyframes=recorder)
    recorder.close()
    parts = open_recordings(tmp_path)
    chunks = [[chunk.t_ns for chunk in one.chunks()] for one in parts]
    random, moments = Random(1), volume(1000)
    wanted: list[set[int]] = [set() for _ in parts]
    for _ in range(moments):
        part = random.choices(range(len(parts)), [len(times) for times in chunks])[0]
        wanted[part].add(random.randint(1, len(chunks[part])))
    bits = compared = 0
    for recording, times, numbers in zip(parts, chunks, wanted, strict=True):
        whole, places = states(recording, numbers), places_of(recording)
        for number in sorted(numbers):
            before = next(recording.keyframes_before(times[number - 1]), None)
            skipped = 0 if before is None else places[before.block, before.number]
            if skipped >= number:  # several chunks at the time of the keyframe
                continue
            count = number - skipped
            found = states(recording, {count}, times[number - 1], count)[count]
            bits += differing_bits(whole[number], found)
            compared += 1
    print(
        f"{compared} moments of {len(parts)} files compared, {bits} differing bits,",
        hashlib.sha256(b"".join(whole.values())).hexdigest()[:16],
    )
    assert bits == 0
    assert compared > 0.85 * moments
