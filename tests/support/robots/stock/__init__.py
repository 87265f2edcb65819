"""Robots with a firmware of their own, one for each way to speak: a [link] in a file each, and what a whole run needs.

Its rule: a kind is its [link] and nothing else; the robot behind it is the simulator's (`robot.py`, a program), and
what the link cannot notice is what its `promises` say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.robot.config import link_of
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.simulator.played import Values

HERE = Path(__file__).parent
KINDS = tuple(sorted(path.stem for path in HERE.glob("*.toml")))
WATCHDOG_MS = 500  # in all of the files that have one
SHARE = 0.98  # of the span that the values use


@dataclass(frozen=True)
class Span:
    """Where the values of a kind's fields lie, and the step between two that its messages can tell apart."""

    middle: float = 0.0
    half: float = 1.0
    step: float = 1e-5


POLLED = ("dynamixel", "feetech", "msp")


def polled(kind: str) -> bool:
    """Whether the robot speaks only when it is asked, so that not all that it measures is sent."""
    return kind in POLLED


_SERVO = Span(half=90.0, step=360 / 4096)  # degrees
SPANS = {"msp": Span(half=500.0, step=1.0), "feetech": _SERVO, "dynamixel": _SERVO}  # those that send whole numbers


def text(kind: str, rate_hz: float) -> str:
    """The [link] of a kind at a rate."""
    return (HERE / f"{kind}.toml").read_text().replace("rate_hz = 100\n", f"rate_hz = {rate_hz:g}\n")


def dialect(kind: str, rate_hz: float) -> Dialect:
    """A new link."""
    made = link_of(text(kind, rate_hz), f"{kind}.toml", HERE).open()
    assert isinstance(made, Dialect)
    return made


def folder(path: Path, kind: str, rate_hz: float) -> Path:
    """model.npz and robot.toml for a kind: each field of its action follows a field of its reading. Returns the path of
    robot.toml."""
    link, span = dialect(kind, rate_hz), SPANS.get(kind, Span())
    (reading,) = link.readings.values()
    (action,) = link.actions.values()
    inputs = tuple(Channel(f.name, f.unit, scale=span.half, offset=span.middle) for f in reading.form.fields)
    save(model(inputs, len(action.form.fields)), path / "model.npz")
    config = [f'[model]\nfile = "model.npz"\n[readings]\nformat = "{reading.name}"\n[action]\nformat = "{action.name}"']
    for k, field in enumerate(action.form.fields):
        least, most = field.minimum or 0.0, field.maximum or 0.0
        gain = f"gain = {{ y{k} = {0.4 * (most - least):g} }}"
        config.append(f'[action.{field.name}]\nunit = "{field.unit}"\noffset = {(most + least) / 2:g}\n{gain}')
    (path / "robot.toml").write_text("\n".join([*config, text(kind, rate_hz)]))
    return path / "robot.toml"


def model(inputs: tuple[Channel, ...], outputs: int) -> Model:
    """y = tanh(s) of the first inputs, s' = 0.9 s + 0.1 x."""
    builder = Builder()
    x, s = builder.input("x", len(inputs)), builder.state("s", len(inputs))
    old, new = (builder.map("affine", v, alpha=a, beta=0.0) for v, a in ((s, 0.9), (x, 0.1)))
    kept = builder.binary("add", old, new)
    builder.next(s, kept)
    first = np.eye(outputs, len(inputs), dtype=np.float32)
    builder.output("y", builder.dense(kept, W=first, b=np.zeros(outputs, np.float32), activation="tanh", name="head"))
    return Model(builder.build(), inputs, tuple(Channel(f"y{k}") for k in range(outputs)), name="stock")


def values(kind: str, number: int, rate_hz: float, count: int) -> Values:
    """Those of a reading: smooth, and never twice the same."""
    t, span = number / rate_hz, SPANS.get(kind, Span())
    found = [span.middle + span.half * SHARE * math.sin((2.0 + 1.7 * k) * t + k) for k in range(count)]
    return tuple(round(value / span.step) * span.step for value in found)


def key(kind: str, numbers: Sequence[float]) -> tuple[int, ...]:
    """Values as they are compared: in the steps that the messages can tell apart."""
    step = SPANS.get(kind, Span()).step
    return tuple(round(number / step) for number in numbers)
