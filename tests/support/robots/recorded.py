"""Recordings as `edge-lstm run` makes them, of the simulated robot, in no time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_lstm.core.model import Model
from edge_lstm.core.storage import content
from edge_lstm.moments.drive import Drive
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controlled import controlled
from edge_lstm.robot.loop import run
from edge_lstm.robot.models import ONLY, Loaded
from firmware_bridge.links.altered import Alteration, Altered, texts
from firmware_bridge.links.link import Link
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.robots import small_robot


def drive(
    path: Path,
    seconds: float,
    *,
    config: str = small_robot.AT_ONCE,
    model: Model | None = None,
    seed: int = 3,
    faults: Faults | None = None,
    keyframe_s: float | None = None,
    limits: Limits | None = None,
) -> Path:
    """A drive with everything that a replay needs in the file. keyframe_s: from one keyframe to the next; limits: when
    another file is begun."""
    model = small_robot.model() if model is None else model
    robot = parse_config(config, "robot.toml", path.parent)
    loaded = Loaded({ONLY: model}, {ONLY: content(model)}, True)
    controller = controlled(loaded, robot)
    attachments = loaded.attachments() | {"robot.toml": config.encode()}
    recorder = Recorder(path, loaded.metadata(controller), attachments, wait=True, keyframe_s=keyframe_s, limits=limits)
    run(SimulatedPort(Robot(seed), seconds, faults), robot.open_link(), controller, recorder, keyframes=recorder)
    recorder.close()
    assert not recorder.failed
    return path


def altered_link(drive: Drive, alterations: Sequence[Alteration]) -> Link:
    """A link of this drive with further alterations behind it."""
    return Altered(drive.bare_link(), alterations)


def altered(drive: Drive, path: Path, alterations: Sequence[Alteration]) -> Path:
    """The drive once more, altered, as a recording that replays alone."""
    recorder = drive.recorder(path, texts(alterations))
    drive.run(drive.chunks(), drive.controller(), link=altered_link(drive, alterations), sink=recorder)
    recorder.close()
    assert not recorder.failed
    return path
