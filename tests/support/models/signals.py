"""Inputs and outputs of robot.toml for tests: their tables from text, and a model that changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError
from edge_lstm.signals.declared import Declared, declared
from edge_lstm.signals.programs import Inputs, inputs_of
from firmware_bridge.table import Table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


def tables(text: str) -> Declared:
    """What [inputs] and [outputs] of this text declare."""
    return declared(Table("robot.toml", "", tomllib.loads(text), ConfigError, Path()))


def passing(*names: str, rate_hz: float | None = 100.0, units: Mapping[str, str] | None = None) -> Model:
    """Channels of these names in, the same out as y.NAME."""
    b = Builder()
    x = b.input("x", len(names))
    b.output("y", b.map("identity", x))
    known = units or {}
    inputs = tuple(Channel(name, known.get(name, "")) for name in names)
    outputs = tuple(Channel(f"y.{name}", known.get(name, "")) for name in names)
    return Model(b.build(), inputs, outputs, rate_hz=rate_hz, name="passing")


def inputs(
    text: str,
    *names: str,
    units: Mapping[str, str] | None = None,
    channel_units: Mapping[str, str] | None = None,
    rate_hz: float | None = 100.0,
) -> Inputs:
    """The inputs of this text for a passing model of these channels. units: of the fields."""
    return inputs_of(tables(text), passing(*names, units=channel_units), {}, units or {}, rate_hz)
