"""A crash is an unplug: the new run goes on to the bit, where it may; otherwise it says why it begins reset."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.robot.config import RobotConfig, parse_config
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.loop import run
from edge_lstm.robot.models import ONLY, Loaded
from edge_lstm.robot.replay import replay
from edge_lstm.robot.resume import ENDED, Resumed, latest, resumed
from firmware_bridge.events import Gap, Hello, Opened, Reset
from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import Recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.robot.test_keyframes import EVENTS, FEEDBACK, POLICY, Again, Trace
from tests.support.robots import small_robot

TEXT = small_robot.AT_ONCE + EVENTS + POLICY.format("predict", "keep").replace("= 60", "= 600")
FAULTS = Rates(flip=1e-4, lose=1e-4, silence=0.1)
CONFIG = parse_config(TEXT, "robot.toml", Path())
METADATA = {"program": "edge-lstm", "model": "small"}


def controller() -> Decider:
    return Loaded({ONLY: small_robot.model(feedback=FEEDBACK)}, {}, True).controller(CONFIG)


def metadata() -> dict[str, str]:
    return {**METADATA, "digest": controller().digest}


def recorder(path: Path) -> Recorder:
    return Recorder(path, metadata(), {"robot.toml": TEXT.encode()}, wait=True, keyframe_s=1.0)


def crashed(path: Path, robot: Robot, share: float = 0.8, seconds: float = 8.0) -> Recording:
    """A run of which the end is missing, as after a power cut."""
    kept = recorder(path)
    decider = controller()
    run(SimulatedPort(robot, seconds, Faults(3, FAULTS)), CONFIG.open_link(), decider, kept, keyframes=kept)
    kept.close()
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return Recording(path)


def begin(path: Path, robot: RobotConfig = CONFIG, **changed: Any) -> Resumed:
    """One second after the recording's end, if nothing else is said."""
    more = {"metadata": metadata(), "resume_s": 5.0, "now_ns": Recording(path).times()[1] + 1_000_000_000}
    return resumed(path, robot, controller(), controller(), **(more | changed))


@pytest.mark.parametrize("share", [0.4, 0.63, 0.8, 0.97])
def test_a_crash_is_an_unplug(tmp_path: Path, share: float) -> None:
    """What the new run sends and derives is, to the bit, what one run would have that was unplugged meanwhile: the lost
    readings are a gap of their number and no reset, and the memory goes on. Its recording replays alone."""
    robot = Robot(4)
    old = crashed(tmp_path / "run.mcap", robot, share)
    made = begin(old.path)
    assert "the memory goes on from run.mcap, 1.0 s after its end" in made.why
    kept, trace = recorder(tmp_path / "run~2.mcap"), Trace()
    made.head(kept)
    run(SimulatedPort(robot, 6.0), made.link, made.controller, trace, begun=made.begun)

    chunks = list(old.chunks())
    one, reference = Trace(), controller()
    taken = [took for _, _, took in old.writes()]
    again = Again([*chunks, Chunk(chunks[-1].t_ns, ENDED, "lost"), *trace.chunks], [*taken, *[True] * 10_000])
    run(again, CONFIG.open_link(), reference, one)
    assert one.given[-len(trace.given) :] == trace.given
    events = [item for item in trace.given if isinstance(item, str)]
    assert share > 0.9 or [item for item in events if item.startswith(Gap.__name__)]  # little may be missing there
    assert not [item for item in events if item.startswith(Reset.__name__)]
    assert len([item for item in events if item.startswith((Hello.__name__, Opened.__name__))]) >= 2
    kept.close()


def test_the_new_recording_replays_alone(tmp_path: Path) -> None:
    """It begins with what was remembered, and verifies to the bit without the one before; and once more after a second
    crash."""
    robot = Robot(4)
    path = crashed(tmp_path / "run.mcap", robot).path
    for number in (2, 3):
        made = begin(path)
        path = tmp_path / f"run~{number}.mcap"
        kept = recorder(path)
        made.head(kept)
        run(SimulatedPort(robot, 4.0), made.link, made.controller, kept, keyframes=kept, begun=made.begun)
        kept.close()
        summary, comparison, _ = replay(RecordingPort(path), controller(), derived=True)
        assert comparison.same, comparison.sentence()
        assert comparison.derived.readings > 100
        assert comparison.keyframes.compared > 1
        assert summary.reconnects == number - 1
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])


def refused(path: Path, why: str, **changed: Any) -> None:
    made = begin(path, **changed)
    assert made.begun is None
    assert made.why.startswith("the memory begins reset: ")
    assert why in made.why
    assert made.controller.counts.readings == 0


def test_what_is_not_gone_on_from_is_said(tmp_path: Path) -> None:
    """Too old, a clock that was set back, another robot.toml, model or program, a run that ended by itself, one that
    still goes on, and none at all: each begins reset, with its reason."""
    old = crashed(tmp_path / "run.mcap", Robot(4))
    end_ns = old.times()[1]
    refused(old.path, "6.0 s ago", now_ns=end_ns + 6_000_000_000)
    refused(old.path, "the clock was set back", now_ns=end_ns - 2_000_000_000)
    refused(old.path, "another robot.toml", robot=parse_config(TEXT + "\n", "robot.toml", Path()))
    refused(old.path, "another model", metadata={**metadata(), "digest": "0" * 64})
    refused(old.path, "another program", metadata={**metadata(), "program": "edge-lstm 9"})
    with old.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(old.path, "written by another program")
    whole = recorder(tmp_path / "whole.mcap")
    run(SimulatedPort(Robot(4), 3.0), CONFIG.open_link(), controller(), whole, keyframes=whole)
    whole.close()
    refused(tmp_path / "whole.mcap", "ended by itself")
    none = resumed(None, CONFIG, controller(), controller(), metadata=metadata(), resume_s=5.0, now_ns=0)
    assert "no recording of an earlier run" in none.why
    (tmp_path / "no.mcap").write_bytes(b"nothing")
    other = resumed(
        tmp_path / "no.mcap", CONFIG, controller(), controller(), metadata=metadata(), resume_s=5.0, now_ns=0
    )
    assert other.begun is None


def test_the_latest_recording_is_the_one_that_was_written_last(tmp_path: Path) -> None:
    """Of those of this run's name, in a folder or beside a file."""
    names = (
        "m-20261129T053000Z.mcap",
        "m-20261129T063000Z.mcap",
        "m-other-20261129T073000Z.mcap",
        "run.mcap",
        "run~2.mcap",
        "running.mcap",
    )
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(b"no recording")
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert latest(tmp_path / "m-20261130T000000Z.mcap").name == "m-20261129T063000Z.mcap"
    assert latest(tmp_path / "run.mcap").name == "run~2.mcap"
    assert latest(tmp_path / "nothing.mcap") is None


def test_nothing_yet_of_a_run_is_no_run(tmp_path: Path) -> None:
    """A run that is killed before the first block of its first file leaves nothing that is known of it: the next one
    goes on from the run before, as the killed one did. Whatever is there of the file; but not while it is written."""
    old = crashed(tmp_path / "run-20261129T053000Z.mcap", Robot(4))
    os.utime(old.path, (1, 1))
    wanted = tmp_path / "run-20261129T060000Z.mcap"
    killed = recorder(tmp_path / "run-20261129T054000Z.mcap")
    assert latest(wanted) == killed.path
    begin(old.path).head(killed)
    killed.close()
    data = killed.path.read_bytes()
    first = data.index(Recording(killed.path).attachments["robot.toml"]) + len(TEXT.encode())
    assert Recording(killed.path).times() is not None
    assert latest(wanted) == killed.path
    for size in (first + 10, first - 10, 8, 0):
        killed.path.write_bytes(data[:size])
        assert latest(wanted) == old.path, size
    assert begin(old.path).begun is not None


def test_what_is_remembered_is_as_old_as_what_was_run_again(tmp_path: Path) -> None:
    """A file that is damaged before its end gives what stands before its damage: that is how old the memory is."""
    old = crashed(tmp_path / "run.mcap", Robot(4), 0.97)
    end_ns, (blocks, _) = old.times()[1], old._file.index()
    data = bytearray(old.path.read_bytes())
    for block in blocks[len(blocks) // 2 :]:
        data[block.at + 100] ^= 0xFF
    old.path.write_bytes(data)
    assert Recording(old.path).times()[1] == end_ns
    refused(old.path, "s ago, and [recording] resume says 1 s", now_ns=end_ns, resume_s=1.0)
    assert begin(old.path, now_ns=end_ns, resume_s=8.0).begun is not None


def test_what_no_keyframe_holds_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new recording could not begin with it, so it would not replay alone."""
    old = crashed(tmp_path / "run.mcap", Robot(4))
    monkeypatch.setattr(keyframe, "LONGEST", 600)
    refused(old.path, "cannot be kept")
