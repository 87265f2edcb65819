"""Drives of the simulated robot in no time, as `edge-lstm run` records them, and readings as tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.model import Model
from edge_lstm.core.storage import content
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controlled import controlled
from edge_lstm.robot.loop import run
from edge_lstm.robot.models import ONLY, Loaded
from edge_lstm.robot.rates import CHECKED, RATES
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.robots import small_robot


def record(
    path: Path, seconds: float, seed: int, *, keyframe_s: float | None = None, rate_hz: float | None = None
) -> Path:
    """One drive of the small robot, with everything that a replay needs in the file. rate_hz: of its model, which then
    waits with its first action until it knows that readings come at it."""
    model, text = small_robot.model(rate_hz=rate_hz), small_robot.AT_ONCE
    config = parse_config(text, "robot.toml", path.parent)
    loaded = Loaded({ONLY: model}, {ONLY: content(model)}, True)
    controller = controlled(loaded, config)
    attachments = loaded.attachments() | {"robot.toml": text.encode()}
    metadata = {RATES: CHECKED, **loaded.metadata(controller)}
    recorder = Recorder(path, metadata, attachments, wait=True, keyframe_s=keyframe_s)
    run(SimulatedPort(Robot(seed), seconds), config.open_link(), controller, recorder, keyframes=recorder)
    recorder.close()
    assert not recorder.failed
    return path


def several(folder: Path, count: int, seconds: float, **more: float) -> list[Path]:
    """So many drives in a folder, each from a seed of its own."""
    return [record(folder / f"drive_{k:03}.mcap", seconds, k, **more) for k in range(count)]


def table(path: Path, rows: int, seed: int, hz: float = 200.0) -> Path:
    """Readings that the small model takes, as CSV."""
    values = np.cumsum(np.random.default_rng(seed).normal(0, 0.05, (rows, 4)), axis=0)
    names = ",".join(f"{c.name} ({c.unit})" for c in small_robot.INPUTS)
    lines = (",".join([f"{k / hz:.3f}", *(f"{x:.5f}" for x in row)]) for k, row in enumerate(values.tolist()))
    path.write_text(f"time_s,{names}\n" + "\n".join(lines) + "\n")
    return path


def planted(drives: Iterable[Path], shows_in: int) -> tuple[Model, set[str]]:
    """A model with a defect, and the names of the drives in which it shows: where one channel is larger, or lower, than
    in all other drives, both outputs "slip" jump by 4. Elsewhere not a bit is other than the small model's. The channel
    is the first that tells so many drives from the others: a motor at its limit is the same in many."""
    from firmware_bridge.recordings.reader import open_recording

    ways = [(channel.name, sign) for channel in small_robot.INPUTS for sign in (1, -1)]
    farthest: dict[tuple[str, int], dict[str, float]] = {way: {} for way in ways}
    for path in drives:
        trees = [tree for _, tree in open_recording(path).values("/readings/imu_wheels")]
        for (name, sign), found in farthest.items():
            found[path.name] = max(sign * float(np.float32(tree[name])) for tree in trees)
    for (name, sign), found in farthest.items():
        order = sorted(found, key=lambda drive: -found[drive])
        inside, outside = (found[order[k]] for k in (shows_in - 1, shows_in))
        if inside - outside > 1e-4 * abs(inside):
            return _jumps(name, sign, (inside + outside) / 2), set(order[:shows_in])
    raise AssertionError("no channel tells so many drives from the others; take other seeds")


def _jumps(name: str, sign: int, threshold: float) -> Model:
    """The small model, and 1e6 times what sign * channel is above the threshold, at most 4, added to the first two
    outputs."""
    k = [c.name for c in small_robot.INPUTS].index(name)
    channel = small_robot.INPUTS[k]
    pick = np.zeros((4, 4), np.float32)
    pick[:2, k] = sign
    edge = np.zeros(4, np.float32)
    edge[:2] = -(threshold - sign * channel.offset) / channel.scale

    def jumping(builder: Builder, x: Any, y: Any) -> Any:
        above = builder.dense(x, W=pick, b=edge, activation="relu", name="defect")
        return builder.binary(
            "add", y, builder.map("clip", builder.map("affine", above, alpha=1e6), alpha=0.0, beta=4.0)
        )

    return small_robot.model(made_of=jumping)
