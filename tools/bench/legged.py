"""A legged robot's policy as it is deployed: an LSTM of 64 over 48 observations, 12 joint targets; its tables, and the
same written by hand in NumPy, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model

Doubles = npt.NDArray[np.float64]
JOINTS = 12
POSE = [0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5]
FIELDS = (
    [f"gyro_{a}" for a in "xyz"]
    + [f"q{a}" for a in "wxyz"]
    + ["cmd.vx", "cmd.vy", "cmd.yaw"]
    + [f"q{k}" for k in range(JOINTS)]
    + [f"dq{k}" for k in range(JOINTS)]
)
UNITS = {f"gyro_{axis}": "deg/s" for axis in "xyz"} | {f"q{k}": "rad" for k in range(JOINTS)}


def _names(prefix: str) -> str:
    return ", ".join(f'"{prefix}{k}"' for k in range(JOINTS))


TABLES = f"""
[inputs.obs]
do = [ {{ clip = [-100, 100] }} ]
[[inputs.obs.part]]
from = ["gyro_x", "gyro_y", "gyro_z"]
unit = "rad/s"
do = [ {{ scale = 0.25 }} ]
[[inputs.obs.part]]
gravity = ["qw", "qx", "qy", "qz"]
[[inputs.obs.part]]
from = ["cmd.vx", "cmd.vy", "cmd.yaw"]
default = 0
max_age_ms = 500
do = [ {{ scale = [2, 2, 0.25] }} ]
[[inputs.obs.part]]
from = [{_names("q")}]
unit = "rad"
do = [ {{ subtract = {POSE} }} ]
[[inputs.obs.part]]
from = [{_names("dq")}]
do = [ {{ scale = 0.05 }} ]
[[inputs.obs.part]]
previous = "action"
[[inputs.obs.part]]
constant = [0, 0, 1]
[outputs.targets]
from = "action"
do = [ {{ clip = [-1, 1] }}, {{ scale = 0.25 }}, {{ offset = {POSE} }} ]
unit = "rad"
"""


def policy(seed: int = 5) -> Model:
    """obs[0] … obs[47] → action[0] … action[11], at 200 Hz."""
    b, random, units = Builder(), np.random.default_rng(seed), 64

    def w(*shape: int) -> Doubles:
        drawn: Doubles = random.uniform(-(units**-0.5), units**-0.5, shape)
        return drawn

    x, h, c = b.input("obs", 48), b.state("lstm.h", units), b.state("lstm.c", units)
    y, memory = b.lstm(x, h, c, W=w(4 * units, 48), R=w(4 * units, units), b=w(4 * units))
    b.next(h, y)
    b.next(c, memory)
    b.output("action", b.dense(y, W=8 * w(JOINTS, units), b=w(JOINTS)))
    inputs, outputs = channels_for(("obs",), (48,)), channels_for(("action",), (JOINTS,))
    return Model(b.build(), inputs, outputs, rate_hz=200.0, name="legged")


def readings(random: np.random.Generator, count: int) -> Doubles:
    """Raw numbers in the order of FIELDS, as float32 holds them: gyro in deg/s, a quaternion, command, joints."""
    gyro, command = random.normal(0, 60, (count, 3)), random.uniform(-1, 1, (count, 3))
    quaternion = random.normal(size=(count, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    angles, speeds = POSE + random.normal(0, 0.4, (count, JOINTS)), random.normal(0, 5, (count, JOINTS))
    return np.concatenate([gyro, quaternion, command, angles, speeds], axis=1).astype(np.float32).astype(np.float64)


class ByHand:
    """The policy's observation and action code as users write it, in float64."""

    def __init__(self, model: Model) -> None:
        lstm, dense = (next(op for op in model.program.operations if op.kind == kind) for kind in ("lstm", "dense"))
        self._lstm: dict[str, Any] = {k: w.astype(np.float64) for k, w in lstm.weights.items()}
        self._dense: dict[str, Any] = {k: w.astype(np.float64) for k, w in dense.weights.items()}
        self._h, self._c = np.zeros(64), np.zeros(64)
        self.action = np.zeros(JOINTS)

    def observe(self, raw: Doubles) -> Doubles:
        """(48,) observations of raw numbers (34,)."""
        gyro, (w, x, y, z), command = raw[:3] * np.pi / 180, raw[3:7], raw[7:10]
        gravity = [2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1]
        parts = [gyro * 0.25, gravity, command * [2, 2, 0.25], raw[10:22] - POSE, raw[22:] * 0.05, self.action]
        observation: Doubles = np.clip(np.concatenate([*parts, [0, 0, 1]]), -100, 100)
        return observation

    def act(self, observation: Doubles) -> Doubles:
        """(12,) targets; the raw action is kept for the next observation."""
        gates = self._lstm["W"] @ observation + self._lstm["R"] @ self._h + self._lstm["b"]
        i, f, g, o = np.split(gates, 4)
        self._c = self._c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        self._h = np.tanh(self._c) / (1 + np.exp(-o))
        self.action = self._dense["W"] @ self._h + self._dense["b"]
        return targets(self.action)


def targets(action: Doubles) -> Doubles:
    """(12,) targets of a raw action."""
    made: Doubles = np.array(POSE) + 0.25 * np.clip(action, -1, 1)
    return made
