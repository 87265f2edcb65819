"""Names → indices, once, at the handshake: model, robot.toml and what the robot declares become one `Binding`.

Its rule: everything that depends on a name, a unit or a rate is checked and worked out here, so that a reading costs
look-ups by index. A binding never changes: another robot gets another one.

Never: guess. A field that is missing, another unit or a limit outside the robot's own is a `ConfigError` that names
file, table and key, with the nearest valid name and the mismatch report below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_lstm.core.channels import flat_names, flat_units, units_differ
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError, UnfinishedError, nearest
from edge_lstm.logs.ticks import Wanted
from edge_lstm.robot.config import RobotConfig
from edge_lstm.robot.mismatch import mismatch_report
from edge_lstm.robot.readings import Source, find, wanted
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.links.dialects import OWN
from firmware_bridge.toml_text import toml_key

Rule = tuple[float, tuple[tuple[int, float], ...], float, float]  # offset, (output number, gain)…, minimum, maximum


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """What a tick is made of. reading: whose readings are ticks; wanted: its number for each input channel of the
    model; formats: the others, by name → their number; joined: (place in a tick's row, FORMAT.FIELD, unit) of theirs;
    by_device: whether the device's clock says how old they are."""

    reading: Format
    wanted: tuple[Wanted, ...]
    formats: Mapping[str, int]
    joined: tuple[tuple[int, str, str], ...]
    by_device: bool

    def time_ns(self, t_ns: int, t_device_us: int) -> int:
        """When a reading was made, as far as ages go."""
        return t_device_us * 1000 if self.by_device else t_ns


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """One model on one robot. rules: one for each field of the action, in declared order, none without an action."""

    dictionary: Dictionary
    feed: Feed
    action: Format | None
    output_names: tuple[str, ...]
    output_units: tuple[str, ...]
    rules: tuple[Rule, ...]
    period_ns: int  # from one reading to the next; 0: unknown
    hold_ns: int  # how long an action may stand until the next: three periods of the readings that make one
    notes: tuple[str, ...]  # sentences for people

    @property
    def reading(self) -> Format:
        """The format whose readings are ticks."""
        return self.feed.reading


def bind(config: RobotConfig, model: Model, dictionary: Dictionary) -> Binding:
    """The binding for this robot. ConfigError: robot and configuration do not fit."""
    try:
        feed = feed_of(config, model, dictionary)
        action = None
        if config.action is not None:
            action = _declared(config, dictionary, "action", config.action.format, "action")
        names = flat_names(model.outputs)
        rules = () if action is None else tuple(_rules(config, names, action))
    except UnfinishedError:
        raise
    except ConfigError as error:
        raise ConfigError(f"{error}\n{mismatch_report(config, model, dictionary)}") from None
    trained, sent = model.rate_hz, feed.reading.rate_hz
    rate_hz = sent or trained
    period_ns = round(1e9 / rate_hz) if rate_hz else 0
    notes: tuple[str, ...] = ()
    if trained and sent and abs(trained - sent) > 0.05 * trained:
        notes = (f"the model was made for {trained:g} Hz, the robot sends {sent:g} Hz",)
    return Binding(
        dictionary=dictionary,
        feed=feed,
        action=action,
        output_names=names,
        output_units=flat_units(model.outputs),
        rules=rules,
        period_ns=period_ns,
        hold_ns=3 * period_ns * model.timing.stride,
        notes=notes,
    )


def feed_of(config: RobotConfig, model: Model, dictionary: Dictionary) -> Feed:
    """What a tick of this robot is made of. ConfigError: its readings and the configuration do not fit."""
    reading = _declared(config, dictionary, "readings", config.reading, "reading")
    sources = _sources(config, model, reading, dictionary)
    numbers, formats = _wanted(config, model, sources, reading)
    joined = [
        (k, f"{source.form.name}.{source.field.name}", source.field.unit)
        for k, source in enumerate(sources)
        if source.form.name != reading.name
    ]
    return Feed(reading, numbers, formats, tuple(joined), config.link.dialect == OWN)


def _declared(config: RobotConfig, dictionary: Dictionary, table: str, name: str, direction: str) -> Format:
    names = [f.name for f in dictionary.formats if f.direction == direction]
    for found in dictionary.formats:
        if found.name == name and found.direction == direction:
            return found
    why = f"the robot {dictionary.device!r} declares no {direction} {name!r}{nearest(name, names)}"
    raise config.fail(table, "format", why)


def _sources(config: RobotConfig, model: Model, tick: Format, dictionary: Dictionary) -> list[Source]:
    """For each input channel of the model, the robot's field that feeds it."""
    others = [form for form in dictionary.readings if form.name != tick.name]
    sources = []
    for channel in model.inputs:
        name = config.field_of(channel)
        source = find(name, tick, others)
        if isinstance(source, str):
            if name == channel.name:
                source += f' (the model\'s input; say which field feeds it: {toml_key(channel.name)} = "FIELD")'
            raise config.fail("readings.channels", channel.name, source)
        _same_unit(config, "readings.channels", channel.name, channel.unit, "the model expects", source.field)
        sources.append(source)
    return sources


def _wanted(
    config: RobotConfig, model: Model, sources: Sequence[Source], tick: Format
) -> tuple[tuple[Wanted, ...], dict[str, int]]:
    """What a tick is made of. UnfinishedError: the file does not say how old a value may be."""
    ages_ms, constants = [], []
    for channel, source in zip(model.inputs, sources, strict=True):
        form = source.form.name
        age_ms = 0.0 if form == tick.name else config.readings.age_ms(form)
        if age_ms is None:
            name = f"{form}.{source.field.name}"
            raise UnfinishedError(str(config.readings.no_age(form, name, channel.name, config.fail)))
        ages_ms.append(age_ms)
        missing = config.readings.missing.get(channel.name)
        constants.append(missing if isinstance(missing, float) else None)
    return wanted(sources, ages_ms, constants, tick)


def _rules(config: RobotConfig, outputs: Sequence[str], action: Format) -> list[Rule]:
    """One rule for every field of the action, in declared order. outputs: the names of the model's."""
    assert config.action is not None
    mappings = config.action.fields
    names = [f.name for f in action.fields]
    for name in mappings:
        if name not in names:
            why = f"the robot's {action.name!r} has no such field{nearest(name, names)}"
            raise config.fail("action", name, why)
    rules: list[Rule] = []
    for declared in action.fields:
        mapping = mappings.get(declared.name)
        if mapping is None:
            why = f"is missing, and {action.name!r} cannot be sent without it"
            raise config.fail("action", declared.name, why)
        table = f"action.{declared.name}"
        if bool(mapping.unit) != bool(declared.unit):
            why = f"is {mapping.unit!r}, but the robot's field is in {declared.unit!r}"
            raise config.fail(table, "unit", why)
        _same_unit(config, table, "unit", mapping.unit, "is", declared)
        least, most = declared.minimum, declared.maximum
        assert least is not None  # a dictionary holds no action without limits
        assert most is not None
        for key, value in (("min", mapping.minimum), ("max", mapping.maximum)):
            if value is not None and not least <= value <= most:
                raise config.fail(table, key, f"{value:g} is outside the robot's own {least:g} to {most:g}")
        limits = (
            least if mapping.minimum is None else mapping.minimum,
            most if mapping.maximum is None else mapping.maximum,
        )
        gains = tuple((outputs.index(name), gain) for name, gain in mapping.gain.items())
        rules.append((mapping.offset, gains, *limits))
    return rules


def _same_unit(config: RobotConfig, table: str, key: str, unit: str, verb: str, declared: Field) -> None:
    if units_differ(unit, declared.unit):
        why = f"{verb} {unit!r}, but the robot's field {declared.name!r} is in {declared.unit!r}"
        raise config.fail(table, key, why)
