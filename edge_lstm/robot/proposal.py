"""A robot.toml for a model and a robot, as far as names and units say it: what is left is a line to fill in.

Its rule: a channel is fed by the field of its name, else by the field of the nearest name that says the same of axis,
side and number, never by one in another unit. Whatever was not found out is a comment in its place and a note.

Never: an action that is in force. What a robot takes cannot be heard, and a gain is a decision.
"""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge_lstm.core.channels import Channel, flat_names, flat_units, shortened, spans, units_differ, unnamed
from edge_lstm.core.model import Model
from firmware_bridge.dictionary import Format
from firmware_bridge.toml_text import toml, toml_key

_PERIODS, _AGE_MS = 3, 100  # how old a value of another reading may be: in periods of its own, or where none is known
_NEAR = 0.6  # of names, as difflib counts
_SIDES = {"left", "right", "front", "rear", "back", "up", "down", "min", "max"}
_SHORT = {
    "l": "left",
    "r": "right",
    "acc": "accel",
    "acceleration": "accel",
    "gyr": "gyro",
    "vel": "speed",
    "temp": "t",
}
_SENSORS = {"a": "accel", "g": "gyro", "m": "mag"}  # ax, gy, mz


@dataclass(frozen=True)
class Source:
    """A reading that the robot sends: (name, unit) of each field that a model can be fed with."""

    name: str
    fields: tuple[tuple[str, str], ...]
    rate_hz: float | None = None


@dataclass(frozen=True)
class Proposal:
    """The whole file, and what a person must still look at."""

    text: str
    notes: tuple[str, ...]


def propose(
    model: Model, file: str, head: str, sources: Sequence[Source], actions: Sequence[Format], dialect: str
) -> Proposal:
    """file: the model's, as [model] names it; head: [port] and [link], as they were found; actions: those that the
    robot declares, if it declares any; dialect: in which it is spoken to."""
    notes: list[str] = []
    source = max(sources, key=lambda item: len(_fed(model.inputs, item)))
    fed = _fed(model.inputs, source)
    joined = _joined(model.inputs, source, sources, fed)
    slowest_hz = min((item.rate_hz for item in joined.values() if item.rate_hz), default=None)
    age_ms = _AGE_MS if slowest_hz is None else max(1, round(_PERIODS * 1000 / slowest_hz))
    ages = [f"max_age_ms = {age_ms}  # how old the latest value of another reading may be"] if joined else []
    lines = [
        f"# {model.name} on this robot, proposed by edge-lstm init. Every key: edge-lstm docs config.",
        "# Then: edge-lstm check robot.toml, and edge-lstm run robot.toml",
        "",
        head.rstrip(),
        "",
        "[model]",
        f"file = {toml(file)}  # relative to this file",
        "",
        "[readings]",
        f"format = {toml(source.name)}",
        *ages,
        *_channels(model.inputs, source, fed, joined, notes),
        "",
        *(_declared(model, actions) if actions else _undeclared(model, dialect)),
        "",
        "[recording]",
        'directory = "recordings"  # relative to this file; every run is a file of its own',
    ]
    if len(sources) > 1:
        others = ", ".join(repr(item.name) for item in sources if item is not source)
        tick = ": each of its readings is one step" if joined else ""
        notes.append(f"[readings] format is {source.name!r}{tick}; the robot also sends {others}")
    if joined:
        notes.append(f"a value of another reading counts for {age_ms} ms; is that right? (max_age_ms)")
    if model.rate_hz and source.rate_hz and abs(model.rate_hz - source.rate_hz) > 0.05 * model.rate_hz:
        notes.append(f"the model was made for {model.rate_hz:g} Hz, the robot sends {source.rate_hz:g} Hz")
    notes.append("[action] is commented out: nothing is sent until you say what becomes of the outputs")
    return Proposal("\n".join(lines) + "\n", tuple(notes))


# ---------------------------------------------------------------------------------------------- readings


def _fed(inputs: Sequence[Channel], source: Source) -> dict[str, str]:
    """Channel → field, each field once: equal names first, then the nearest."""
    if unnamed(inputs) and len(inputs) == len(source.fields):  # as a table's columns are taken
        return {channel.name: name for channel, (name, _) in zip(inputs, source.fields, strict=True)}
    pairs = [
        (score, -place, channel.name, name)
        for channel in inputs
        for place, (name, unit) in enumerate(source.fields)
        if not units_differ(channel.unit, unit)
        and (score := _likeness(channel.name, name)) >= (1 if _made_up(name) else _NEAR)
    ]
    fed: dict[str, str] = {}
    for _, _, channel, name in sorted(pairs, reverse=True):
        if channel not in fed and name not in fed.values():
            fed[channel] = name
    return fed


def _joined(
    inputs: Sequence[Channel], source: Source, sources: Sequence[Source], fed: dict[str, str]
) -> dict[str, Source]:
    """Channels that another reading feeds, entered in `fed` as FORMAT.FIELD; the reading of each."""
    joined: dict[str, Source] = {}
    for other in () if unnamed(inputs) else sources:
        left = [channel for channel in inputs if channel.name not in fed]
        for name, field in _fed(left, other).items() if other is not source and left else ():
            fed[name], joined[name] = f"{other.name}.{field}", other
    return joined


def _made_up(name: str) -> bool:
    """Whether it may be a letter that listening has given to a column without a name: an "l" is no left then."""
    return name in string.ascii_lowercase


def _likeness(one: str, other: str) -> float:
    """2 for the same name, 1 for the same words; below 1 for a near one, 0 where axis, side or number differ."""
    if one == other:
        return 2.0
    words, others = _words(one), _words(other)
    if _telling(words) != _telling(others):
        return 0.0
    pairs = [(" ".join(words), " ".join(others)), (_letters(one), _letters(other))]
    return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _words(name: str) -> list[str]:
    """The words of a name, in order of the alphabet: "wheelSpeed_L" is left, speed, wheel; "gx" is gyro, x."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " ", name)
    words = [_SHORT.get(word, word) for word in re.split(r"[^A-Za-z0-9]+", spaced.lower()) if word]
    return sorted(
        part
        for word in words
        for part in ([_SENSORS[word[0]], word[1]] if re.fullmatch("[agm][xyz]", word) else [word])
    )


def _telling(words: Sequence[str]) -> list[str]:
    """The words that make two alike names two things."""
    return [word for word in words if len(word) == 1 or word in _SIDES or word.isdigit()]


def _channels(
    inputs: Sequence[Channel],
    source: Source,
    fed: Mapping[str, str],
    joined: Mapping[str, Source],
    notes: list[str],
) -> Iterator[str]:
    """[readings.channels]: names that differ, and a comment for each that nothing feeds yet; for numbers of one name
    (obs[0], obs[1], …) one comment, an [inputs] to be filled in."""
    units = dict(source.fields)
    units_there = units | {f"{item.name}.{name}": unit for item in joined.values() for name, unit in item.fields}
    left = [name for name in units if name not in fed.values()]
    lines = []
    groups = [span for span in spans([c.name for c in inputs]) if len(span) > 2 and span[0].endswith("[0]")]
    wide = [span for span in groups if not any(name in fed for name in span)]
    for channel in inputs:
        unit = f", {channel.unit}" if channel.unit else ""
        name = fed.get(channel.name)
        if any(channel.name in span for span in wide):
            continue
        if name is None:
            lines.append(f'# {toml_key(channel.name)} = ""  # {_which(channel, units, left)}')
            notes.append(f"nothing feeds the model's input {channel.name!r}{unit}: {_which(channel, units, left)}")
        elif name != channel.name:
            how = "by its place" if unnamed(inputs) else "the nearest name"
            how = f"the latest of {joined[channel.name].name!r}" if channel.name in joined else how
            lines.append(f"{toml_key(channel.name)} = {toml(name)}  # {how}{unit}")
            notes.append(f"{channel.name!r} is fed by {name!r}, {how}; is that right?")
        elif channel.unit and not units_there[name]:
            notes.append(f"{name!r}: the model expects {channel.unit}; the robot does not say its unit")
    if lines:
        yield ""
        yield '[readings.channels]  # model input = "field of the robot", where the names differ'
        yield from lines
    which = f"which fields? {', '.join(left) or 'none is left'}"
    for span in wide:
        yield ""
        yield f"# [inputs.{toml_key(span[0].removesuffix('[0]'))}]  # {len(span)} numbers; edge_lstm/signals/README.md"
        yield f'# from = [""]  # {which}'
        notes.append(f"nothing feeds the model's inputs {shortened(span)}; [inputs] may make them: {which}")


def _which(channel: Channel, units: Mapping[str, str], left: Sequence[str]) -> str:
    if channel.name in units and units_differ(channel.unit, units[channel.name]):
        return f"the robot's {channel.name!r} is in {units[channel.name]}, the model expects {channel.unit}"
    return f"which field? {', '.join(left) or 'none is left'}"


# ---------------------------------------------------------------------------------------------- the action


def _declared(model: Model, actions: Sequence[Format]) -> Iterator[str]:
    """A comment that shows how an action that the robot declares would be made of the outputs."""
    action, outputs = actions[0], flat_names(model.outputs)
    yield "# What becomes of the outputs: value = clip(offset + sum of gain * output, min, max)."
    yield "# [action]"
    yield f"# format = {toml(action.name)}"
    for field, output in zip(action.fields, _spread(outputs, len(action.fields)), strict=True):
        yield f"# [action.{toml_key(field.name)}]"
        yield f"# unit = {toml(field.unit)}"
        yield f"# gain = {toml({output: 1.0})}"
        yield f"# min = {field.minimum:g}"
        yield f"# max = {field.maximum:g}"


def _undeclared(model: Model, dialect: str) -> Iterator[str]:
    """The same where nobody knows what the robot takes: one field for each output."""
    names = flat_names(model.outputs)
    fields = {name: {"unit": "", "min": -1, "max": 1, "safe": 0} for name in names}
    yield "# What the robot takes cannot be heard. Say it here, with limits and safe values. Nothing is sent as yet."
    yield "# [link.action.motor]"
    yield f"# fields = {toml(fields)}"
    if dialect == "lines":
        yield f"# line = {toml('m ' + ' '.join(f'{{{name}:.3f}}' for name in names) + chr(10))}"
    elif dialect == "struct":
        yield '# head = "AA 55"'
        yield f'# layout = "<{len(names)}f"'
    else:
        yield f"# and what the dialect {dialect!r} needs beside them: firmware_bridge/links/README.md"
    yield "# repeat_ms = 100  # the last action is sent again while it is fresh"
    yield "# watchdog_ms = 500  # after so long without a command the robot is safe by itself; 0: it never is"
    yield "# [action]"
    yield '# format = "motor"'
    for name in names:
        yield f"# [action.{toml_key(name)}]"
        yield '# unit = ""'
        yield f"# gain = {toml({name: 1.0})}"


def _spread(names: Sequence[str], count: int) -> list[str]:
    """As many names, from the front again where there are too few."""
    return [names[k % len(names)] for k in range(count)]


# ---------------------------------------------------------------------------------------------- several models


def propose_several(models: Mapping[str, tuple[str, Model]], head: str, sources: Sequence[Source]) -> Proposal:
    """The same for several models, name → (file, model): a channel is fed by the field of its name, else by the output
    of that name of a model before it, else by the nearest field."""
    notes = ["there is no [action]: nothing is sent until you say what becomes of the outputs"]
    inputs = [channel for _, model in models.values() for channel in model.inputs]
    source = max(sources, key=lambda item: len(_fed(inputs, item)))
    lines = [
        f"# {', '.join(models)} on this robot, proposed by edge-lstm init. Every key: edge-lstm docs config.",
        "# Then: edge-lstm check robot.toml, and edge-lstm run robot.toml",
        "",
        head.rstrip(),
        "",
        "[readings]",
        f"format = {toml(source.name)}",
    ]
    made: dict[str, tuple[str, str]] = {}  # output → MODEL.OUTPUT of the model that makes it, and its unit
    for name, (file, model) in models.items():
        lines += ["", "[[model]]", f"name = {toml(name)}", f"file = {toml(file)}  # relative to this file"]
        lines += _often(name, model, source, notes)
        lines += _fed_by(name, model, source, made, notes)
        units = zip(flat_names(model.outputs), flat_units(model.outputs), strict=True)
        made |= {output: (f"{name}.{output}", unit) for output, unit in units}
    lines += ["", "[recording]", 'directory = "recordings"  # relative to this file; every run is a file of its own']
    return Proposal("\n".join(lines) + "\n", tuple(notes))


def _often(name: str, model: Model, source: Source, notes: list[str]) -> Iterator[str]:
    """When it is due, where both rates are known and one divides the other."""
    wanted, sent = model.rate_hz, source.rate_hz
    if not wanted or not sent:
        yield "# every = 1  # due with every so many readings, or rate_hz"
        return
    every = max(1, round(sent / wanted))
    if abs(every * wanted - sent) > 0.05 * sent:
        notes.append(f"{name} was made for {wanted:g} Hz, which does not divide the {sent:g} Hz that the robot sends")
    yield f"every = {every}  # of the readings: {sent / every:g} Hz"


def _fed_by(
    name: str, model: Model, source: Source, made: Mapping[str, tuple[str, str]], notes: list[str]
) -> Iterator[str]:
    """[model.channels], with a comment for each that nothing feeds yet."""
    units, fed = dict(source.fields), _fed(model.inputs, source)
    lines = []
    for channel in model.inputs:
        found, (output, unit) = fed.get(channel.name), made.get(channel.name, ("", ""))
        if found == channel.name:
            continue
        if output and not units_differ(channel.unit, unit):
            lines.append(f"{toml_key(channel.name)} = {toml(output)}")
            notes.append(f"{name}: {channel.name!r} is fed by the output {output}; is that right?")
        elif found is not None:
            lines.append(f"{toml_key(channel.name)} = {toml(found)}  # the nearest name")
            notes.append(f"{name}: {channel.name!r} is fed by {found!r}, the nearest name; is that right?")
        else:
            which = _which(channel, units, [*units, *(one for one, _ in made.values())])
            lines.append(f'# {toml_key(channel.name)} = ""  # {which}')
            notes.append(f"{name}: nothing feeds {channel.name!r}: {which}")
    if lines:
        yield '[model.channels]  # model input = "field of the robot", or "MODEL.OUTPUT", where the names differ'
        yield from lines
