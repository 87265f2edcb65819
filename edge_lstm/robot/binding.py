"""Names → indices, once, at the handshake: model, robot.toml and what the robot declares become one `Binding`.

Its rule: everything that depends on a name, a unit or a rate is checked and worked out here, so that a reading costs
look-ups by index. A binding never changes: another robot gets another one.

Never: guess. A field that is missing, another unit or a limit outside the robot's own is a `ConfigError` that names
file, table and key, with the nearest valid name and the mismatch report below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_lstm.core.channels import units_differ
from edge_lstm.core.model import Model
from edge_lstm.core.units import convert, why_not
from edge_lstm.errors import ConfigError, UnfinishedError, nearest
from edge_lstm.logs.ticks import Wanted
from edge_lstm.robot.commands import beside
from edge_lstm.robot.config import RobotConfig
from edge_lstm.robot.mismatch import mismatch_report
from edge_lstm.robot.rates import differ, sentence
from edge_lstm.robot.readings import Source, find, wanted
from edge_lstm.signals.declared import numbered
from edge_lstm.signals.programs import Inputs, Outputs, Raw, inputs_of, output_numbers, outputs_of, places_of, raw_names
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.links.dialects import OWN
from firmware_bridge.toml_text import toml_key

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing

Rule = tuple[float, tuple[tuple[int, float], ...], float, float]  # offset, (output number, gain)…, minimum, maximum


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """What a tick is made of. reading: whose readings are ticks; wanted: its numbers, one for each input channel of the
    model, or where inputs are declared or units are converted one for each of `inputs.raw`; formats: the others, by
    name → their number; joined: (place in a tick's row, FORMAT.FIELD, unit) of theirs; by_device: whether the device's
    clock says how old they are; each: what stands in for each number, where it is not the policy's; inputs, outputs:
    the programs around the model; notes: sentences for people."""

    reading: Format
    wanted: tuple[Wanted, ...]
    formats: Mapping[str, int]
    joined: tuple[tuple[int, str, str], ...]
    by_device: bool
    each: tuple[Missing | None, ...]
    inputs: Inputs | None
    outputs: Outputs | None
    notes: tuple[str, ...]
    names: tuple[str, ...]  # of the numbers: FIELD or FORMAT.FIELD

    def ages_ms(self) -> dict[str, tuple[float, ...]]:
        """How old the values of each of `formats` may be, ms; several where its fields differ."""
        of = {
            number: {w.max_age_ns / 1e6 for w in self.wanted if w.source == number} for number in self.formats.values()
        }
        return {name: tuple(sorted(of[number])) for name, number in self.formats.items()}

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
        names, units = output_numbers(config.signals, model)
        action, rules = bind_action(config, names, units, dictionary)
    except UnfinishedError:
        raise
    except ConfigError as error:
        raise ConfigError(f"{error}\n{mismatch_report(config, model, dictionary)}") from None
    trained, sent = model.rate_hz, feed.reading.rate_hz
    rate_hz = sent or trained
    period_ns = round(1e9 / rate_hz) if rate_hz else 0
    notes = feed.notes
    if trained and sent and differ(trained, sent):
        if not config.any_rate:
            raise config.fail(config.model_table, "any_rate", sentence(model.name, trained, sent, "declares"))
        notes += (f"the model was made for {trained:g} Hz, the robot sends {sent:g} Hz, as any_rate allows",)
    if feed.inputs is not None and config.policy(model).missing == "predict":
        notes += ("raw numbers that are missing are held, not predicted: the model's inputs are made of them",)
    return Binding(
        dictionary=dictionary,
        feed=feed,
        action=action,
        output_names=names,
        output_units=units,
        rules=rules,
        period_ns=period_ns,
        hold_ns=3 * period_ns * model.timing.stride,
        notes=notes,
    )


def bind_action(
    config: RobotConfig, outputs: Sequence[str], units: Sequence[str], dictionary: Dictionary
) -> tuple[Format | None, tuple[Rule, ...]]:
    """The action's format and its rules, of outputs by these names and units; none without [action]. ConfigError as
    `bind`."""
    if config.action is None:
        return None, ()
    action = _declared(config, dictionary, "action", config.action.format, "action")
    rules = tuple(_rules(config, outputs, units, action))
    _same_choices(config, outputs, action, rules)
    return action, rules


def feed_of(config: RobotConfig, model: Model, dictionary: Dictionary) -> Feed:
    """What a tick of this robot is made of. ConfigError: its readings and the configuration do not fit."""
    tick = _declared(config, dictionary, "readings", config.reading, "reading")
    others = [form for form in beside(config.commands, dictionary.readings) if form.name != tick.name]
    direct = config.direct(model)
    table, table_of_inputs = f"{config.channels_of}.channels", config.inputs_table
    notes: list[str] = []
    converted = False
    plain: list[Source] = []
    for channel in model.inputs:
        if channel.name not in direct:
            continue
        source = _source(config, table, channel.name, direct[channel.name], tick, others)
        plain.append(source)
        scale_offset = convert(source.field.unit, channel.unit)
        if scale_offset is None:
            _same_unit(config, table, channel.name, channel.unit, "the model expects", source.field)
        elif scale_offset != (1.0, 0.0):
            converted = True
            name, unit = source.field.name, source.field.unit
            notes.append(f"{channel.name!r} is fed by {name!r}, converted from {unit} to {channel.unit}")
    if not config.signals and not converted:
        raw = [Raw(direct[channel.name]) for channel in model.inputs]
        inputs, outputs = None, None
        missing = [config.readings.missing.get(channel.name) for channel in model.inputs]
        sources = plain
    else:
        raw = list(raw_names(config.signals, model, config.channels))
        own = _stand_ins(config, direct)
        missing = [own.get(number.name) if number.default is None else number.default for number in raw]
        sources = [_source(config, table_of_inputs, number.name, number.name, tick, others) for number in raw]
        _check_ages(config, tick, others)
        rate_hz = tick.rate_hz or model.rate_hz
        if (
            rate_hz
            and not tick.rate_hz
            and (timed := {s.step.name for s in config.signals.steps() if s.step.needs_rate})
        ):
            notes.append(
                f"the robot does not say how often {tick.name!r} comes: {', '.join(sorted(timed))} count on the "
                f"{rate_hz:g} Hz that the model was made for"
            )
        units = {number.name: source.field.unit for number, source in zip(raw, sources, strict=True)}

        def fail(channel: str, why: str) -> Exception:
            return config.fail(table, channel, why)

        inputs = inputs_of(config.signals, model, config.channels, units, rate_hz, fail)
        outputs = outputs_of(config.signals, model, rate_hz and rate_hz / model.timing.stride)
    missing = [_command_default(config, source, what) for source, what in zip(sources, missing, strict=True)]
    ages_ms = [_age_ms(config, number, source, tick) for number, source in zip(raw, sources, strict=True)]
    constants = [what if isinstance(what, float) else None for what in missing]
    each: tuple[Missing | None, ...] = tuple(None if isinstance(what, float) else what for what in missing)
    numbers, formats = wanted(sources, ages_ms, constants, tick)
    joined = [
        (k, f"{source.form.name}.{source.field.name}", source.field.unit)
        for k, source in enumerate(sources)
        if source.form.name != tick.name
    ]
    by_device = config.link.dialect == OWN
    return Feed(
        tick,
        numbers,
        formats,
        tuple(joined),
        by_device,
        each,
        inputs,
        outputs,
        tuple(notes),
        tuple(r.name for r in raw),
    )


def _declared(config: RobotConfig, dictionary: Dictionary, table: str, name: str, direction: str) -> Format:
    names = [f.name for f in dictionary.formats if f.direction == direction]
    for found in dictionary.formats:
        if found.name == name and found.direction == direction:
            return found
    why = f"the robot {dictionary.device!r} declares no {direction} {name!r}{nearest(name, names)}"
    raise config.fail(table, "format", why)


def _source(config: RobotConfig, table: str, key: str, name: str, tick: Format, others: Sequence[Format]) -> Source:
    """The robot's field that `name` means."""
    source = find(name, tick, others)
    if isinstance(source, str):
        if name == key and table.endswith(".channels"):
            source += f' (the model\'s input; say which field feeds it: {toml_key(key)} = "FIELD")'
        raise config.fail(table, key, source)
    return source


def _stand_ins(config: RobotConfig, direct: Mapping[str, str]) -> dict[str, Missing | float | None]:
    """What stands in for each field that feeds channels by itself: inputs are made of one number of it, so where it
    feeds several channels, one thing stands in for it."""
    own: dict[str, Missing | float | None] = {}
    for channel, name in direct.items():
        said = config.readings.missing.get(channel)
        if own.setdefault(name, said) != said:
            silent = channel if said is None else next(other for other, field in direct.items() if field == name)
            why = (
                f"is missing: {name!r} feeds several channels, and beside [inputs] and units one thing stands in for it"
            )
            raise config.fail(f"{config.channels_of}.missing", silent, why)
    return own


def _command_default(config: RobotConfig, source: Source, said: Missing | float | None) -> Missing | float | None:
    """What stands in for a number: where nothing else is said and it is a command's, what [commands] says."""
    command = config.commands.get(source.form.name)
    return command.defaults.get(source.field.name) if said is None and command is not None else said


def _check_ages(config: RobotConfig, tick: Format, others: Sequence[Format]) -> None:
    """An input's age is of other readings: the tick's own fields are never old."""
    for made in config.signals.inputs.values():
        for part in made.parts:
            if part.max_age_ms is not None:
                found = [find(name, tick, others) for name in part.names]
                if all(isinstance(source, Source) and source.form.name == tick.name for source in found):
                    why = f"means nothing: {tick.name!r} is the tick itself, which is never old; leave it out"
                    raise part.fail(why, "max_age_ms")


def _age_ms(config: RobotConfig, number: Raw, source: Source, tick: Format) -> float:
    """How old a number may be. UnfinishedError: the file does not say it."""
    form = source.form.name
    if form == tick.name:
        return 0.0
    age_ms = number.max_age_ms if number.max_age_ms is not None else config.readings.age_ms(form)
    if age_ms is None:
        raise UnfinishedError(str(config.readings.no_age(form, f"{form}.{source.field.name}", config.fail)))
    return age_ms


def _rules(config: RobotConfig, outputs: Sequence[str], units: Sequence[str], action: Format) -> list[Rule]:
    """One rule for every field of the action, in declared order. outputs, units: of the model's outputs, and of those
    that [outputs] makes."""
    assert config.action is not None
    if config.action.source is not None:
        return _rules_from(config, config.action.source, outputs, units, action)
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
            robot = f"is in {declared.unit!r}" if declared.unit else "has no unit"
            why = f"is {mapping.unit!r}, but the robot's field {robot}"
            if config.link.dialect != "own":
                why += f" (its `unit` in [link.action.{action.name}] fields says which)"
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


def _same_choices(config: RobotConfig, outputs: Sequence[str], action: Format, rules: Sequence[Rule]) -> None:
    """Where the number of one text becomes that of another as it is, there are as many of both."""
    assert config.action is not None
    texts = {outputs.index(name): found for name, found in config.texts().items()}
    choices = config.choices() if texts else {}
    for declared, (offset, gains, _, _) in zip(action.fields, rules, strict=True):
        output = gains[0][0] if not offset and [gain for _, gain in gains] == [1.0] else -1
        made, taken = texts.get(output, ()), choices.get(declared.name, ())
        if made and taken and len(made) != len(taken):
            why = f"{outputs[output]!r} has {len(made)} choices ({numbered(made)})"
            where = ("action", "from") if config.action.source is not None else (f"action.{declared.name}", "gain")
            raise config.fail(*where, f"{why}, and {declared.name!r} takes {len(taken)} ({numbered(taken)})")


def _rules_from(
    config: RobotConfig, source: str, outputs: Sequence[str], units: Sequence[str], action: Format
) -> list[Rule]:
    """The numbers of one output are the fields, in declared order, each in the field's unit and within its limits."""
    places = places_of(outputs, source)
    if len(places) != len(action.fields):
        names = ", ".join(declared.name for declared in action.fields)
        why = f"{source!r} has {len(places)} numbers, and {action.name!r} has {len(action.fields)} fields ({names})"
        raise config.fail("action", "from", why)
    rules: list[Rule] = []
    for place, declared in zip(places, action.fields, strict=True):
        way = convert(units[place], declared.unit)
        if way is None:
            why = f"{outputs[place]!r} does not convert for {declared.name!r}: {why_not(units[place], declared.unit)}"
            raise config.fail("action", "from", why)
        assert declared.minimum is not None
        assert declared.maximum is not None
        rules.append((way[1], ((place, way[0]),), declared.minimum, declared.maximum))
    return rules


def _same_unit(config: RobotConfig, table: str, key: str, unit: str, verb: str, declared: Field) -> None:
    if units_differ(unit, declared.unit):
        why = f"{verb} {unit!r}, but the robot's field {declared.name!r} is in {declared.unit!r}"
        if unit and declared.unit and convert(declared.unit, unit) is None:
            why += f": {why_not(declared.unit, unit)}"
        raise config.fail(table, key, why)
