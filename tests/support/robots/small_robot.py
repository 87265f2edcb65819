"""A small model and a robot.toml for the simulated robot, for tests that need the whole path and no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model

INPUTS = (
    Channel("wheel_speed_left", "rad/s", scale=5.0),
    Channel("wheel_speed_right", "rad/s", scale=5.0),
    Channel("current_left", "A", scale=2.0, offset=0.5),
    Channel("current_right", "A"),
)
OUTPUTS = tuple(Channel(name) for name in ("slip_left", "slip_right", "stall_left", "stall_right"))

CONFIG = """
[model]
file = "model.npz"
[readings]
format = "imu_wheels"
[action]
format = "motor_limits"
[action.torque_limit_left]
unit = "N m"
offset = 0.9
gain = { slip_left = -0.5, stall_left = -0.2 }
min = 0.1
[action.torque_limit_right]
unit = "N m"
offset = 0.9
gain = { slip_right = -0.5, stall_right = -0.2 }
min = 0.1
[recording]
directory = "recordings"
"""
AT_ONCE = CONFIG + "[link]\nask_first = true\n"  # without waiting up to a second for the robot's HELLO: for short runs


def model(
    inputs: tuple[Channel, ...] = INPUTS,
    outputs: tuple[Channel, ...] = OUTPUTS,
    made_of: Callable[[Builder, Any, Any], Any] = lambda builder, x, y: y,
    **more: object,
) -> Model:
    """An LSTM of 8 with a dense sigmoid head, weights from a seed. made_of: what becomes its output, of the readings
    and the head's."""
    random = np.random.default_rng(7)

    def weights(*shape: int) -> np.ndarray:
        return random.normal(0, 0.6, shape).astype(np.float32)

    wide, out = sum(c.width for c in inputs), sum(c.width for c in outputs)
    builder = Builder()
    x = builder.input("x", wide)
    h, c = builder.state("lstm.h", 8), builder.state("lstm.c", 8)
    h_next, c_next = builder.lstm(x, h, c, W=weights(32, wide), R=weights(32, 8), b=weights(32), name="lstm")
    builder.next(h, h_next)
    builder.next(c, c_next)
    y = builder.dense(h_next, W=weights(out, 8), b=weights(out), activation="sigmoid", name="head")
    builder.output("y", made_of(builder, x, y))
    return Model(builder.build(), inputs, outputs, name="small", **more)  # type: ignore[arg-type]


def unstable(inputs: tuple[Channel, ...] = INPUTS[:1]) -> Model:
    """A memory that doubles with every reading: s' = 2 s + x, output s. From 3e38 on it would be infinite."""
    builder = Builder()
    x = builder.input("x", len(inputs))
    s = builder.state("s", len(inputs))
    two = builder.map("affine", s, alpha=2.0, beta=0.0)
    builder.next(s, builder.binary("add", two, x))
    builder.output("y", s)
    return Model(builder.build(), inputs, tuple(Channel(f"y{k}") for k in range(len(inputs))), name="unstable")


def folder(path: Path, config: str = CONFIG) -> Path:
    """A folder with model.npz and robot.toml; returns the path of robot.toml."""
    from edge_lstm.core.storage import save

    save(model(), path / "model.npz")
    (path / "robot.toml").write_text(config)
    return path / "robot.toml"
