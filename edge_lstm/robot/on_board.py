"""A robot.toml's model with its inputs and outputs as one model, for a microcontroller.

    model, remarks = on_board(config)          # raw numbers → what the robot takes

Its rule: raw numbers are what the robot's fields are, in their units, so what units convert to and what [inputs] and
[outputs] make is in the model. A robot with our own protocol declares its fields only when it speaks: its numbers are
taken in the units that the file and the model say, which the model's inputs name.

Never: leave out silently what a host does beside it. `remarks` has a sentence for each.
"""

from __future__ import annotations

from edge_lstm.core.model import Model
from edge_lstm.core.storage import load
from edge_lstm.errors import ConfigError
from edge_lstm.robot.binding import bind
from edge_lstm.robot.config import RobotConfig
from edge_lstm.signals.declared import numbered
from edge_lstm.signals.joined import join
from edge_lstm.signals.programs import Inputs, Outputs, inputs_of, outputs_of
from firmware_bridge.links.dialect import Dialect


def on_board(config: RobotConfig) -> tuple[Model, tuple[str, ...]]:
    """The one model, and what whoever puts it on a board must know. ConfigError: the file does not fit; ProgramError:
    of this model none can be made (`signals.joined`); and what `storage.load` raises."""
    if config.models:
        raise ConfigError(f"{config.source}: [[model]]: several models are not one program; give each MODEL by itself")
    model = load(config.model_path)
    config.check_model(model)
    inputs: Inputs | None = None
    outputs: Outputs | None = None
    remarks: list[str] = []
    link = config.link.open()
    if isinstance(link, Dialect):
        binding = bind(config, model, link.declared)
        inputs, outputs = binding.feed.inputs, binding.feed.outputs
        remarks += binding.notes
    else:
        remarks.append("the robot's own units are known when it speaks: give numbers in the units named here")
    if inputs is None:  # nothing of it depends on what the robot declares

        def fail(channel: str, why: str) -> Exception:
            return config.fail("readings.channels", channel, why)

        inputs = inputs_of(config.signals, model, config.channels, {}, model.rate_hz, fail)
        outputs = outputs_of(config.signals, model, model.rate_hz)
    made = join(inputs, model, outputs)
    if any(given.step.needs_rate for given in config.signals.steps()):
        remarks.append(f"filters and rates are for {inputs.model.rate_hz:g} readings per second")
    if others := [raw.name for raw in inputs.raw if "." in raw.name]:
        remarks.append(f"of other readings, give the latest values: {', '.join(others)}")
    if optional := [raw.name for raw in inputs.raw if raw.default is not None]:
        remarks.append(f"defaults are the host's: give a number in any case as {', '.join(optional)}")
    for name, choices in config.texts().items():
        remarks.append(f"{name} is the number of a choice: {numbered(choices)}")
    if config.events:
        remarks.append(f"[events] are the host's: {', '.join(event.name for event in config.events)}")
    if config.action is not None:
        remarks.append("[action] is the host's: its gains and the robot's limits are not in it")
    return made, tuple(remarks)
