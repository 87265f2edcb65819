"""Declarations + a model + what the robot declares → two small models of the same operations, around the model.

    declared = declared(root)                           # at reading the file (`declared.py`); falsy: it declares none
    raw_names(declared, model, channels)                # what a tick must hold: known before units are
    output_numbers(declared, model)                     # names and units of all outputs: the model's, then derived ones
    inputs = inputs_of(declared, model, channels, units, rate_hz)  # at the handshake: the fields' units are known
    outputs = outputs_of(declared, model, rate_hz)      # None: the file declares no outputs

    inputs.raw          what a tick must hold, in this order: `Raw.name` is FIELD, FORMAT.FIELD or MODEL.OUTPUT
    inputs.model        a Model: those numbers and `previous.X` → one number for each channel of the model (an index
                        for a channel of words), as `core.channels.Encoder` takes them; its channels name the units
                        that fields without one are taken to be in
    outputs.model       a Model: the model's outputs → a channel for each number of each [outputs.X], in declared order

`runtime.Signals` runs both; `joined.join` makes one Model of all three, for `edge-lstm firmware`.

Its rule: everything is float32 and computed by the engine, so live, replay, tables and C have the same bits. The
model's own program is not touched: its normalization is a part of it, so a reading goes raw number → float32 → inputs →
channels → (as they are) → model. `join` puts the three programs one behind the other, so its bits are theirs.

Units: the numbers of a source enter its steps in the channel's unit; where the channel has none, in the part's `unit`;
else as they are. A field that declares no unit is in `unit`. Before sin, cos and wrap it is rad, before `rate` that of
which the channel's is the change per second. Both known and of one kind: converted. Of another kind, or not known and
not the same: an error, also where it is what the steps make.

Never: guess a unit, a width or a rate, or feed a channel from two places.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, flat_names, flat_units, units_differ
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Slot
from edge_lstm.core.units import convert, over_time, why_not
from edge_lstm.errors import ConfigError, nearest
from edge_lstm.signals.declared import Declared, Input, Output, Part
from edge_lstm.signals.steps import MOST, STEPS, Given, Maker, Numbers

PREVIOUS = "previous."
Fail = Callable[[str, str], Exception]  # name of a channel, what is wrong with it


def _of_channel(channel: str, why: str) -> Exception:
    return ConfigError(f"[readings.channels] {channel}: {why}")


@dataclass(frozen=True)
class Raw:
    """One number that a tick must hold. model: it is another model's output, MODEL.OUTPUT. default: what stands for it
    where it is missing or too old; None: the reading is missing. max_age_ms: None, as its format's."""

    name: str
    unit: str = ""
    model: bool = False
    default: float | None = None
    max_age_ms: float | None = None


@dataclass(frozen=True)
class Inputs:
    """The model of the inputs: raw numbers, then `previous.X` → the model's channels. previous: for each of those, the
    number of the output it carries over; those of [outputs] are counted on behind the model's."""

    model: Model
    raw: tuple[Raw, ...]
    previous: tuple[int, ...]


@dataclass(frozen=True)
class Outputs:
    """The model of the outputs. names: of each [outputs.X], its numbers. What a number says in words:
    `Declared.texts`."""

    model: Model
    names: Mapping[str, tuple[str, ...]]


def raw_names(declared: Declared, model: Model, channels: Mapping[str, str]) -> tuple[Raw, ...]:
    """What a tick must hold, before units are known. channels: as for `inputs_of`."""
    return _Plan(declared, model, channels, {}, None, _of_channel).raw()


# --- inputs ---------------------------------------------------------------------------------------------------------


def inputs_of(
    declared: Declared,
    model: Model,
    channels: Mapping[str, str],
    units: Mapping[str, str],
    rate_hz: float | None,
    fail: Fail = _of_channel,
) -> Inputs:
    """The model of a file's inputs. channels: model channel → field, where the names differ and no [inputs] makes it;
    units: of raw numbers by `Raw.name`, left out where none is declared; rate_hz: ticks per second, None: unknown;
    fail: the error about a model channel of [readings.channels].

    Raises the tables' error: a channel, an output or another input that is not there, a width, a unit or a rate that
    does not fit, inputs in a circle.
    """
    return _Plan(declared, model, channels, units, rate_hz, fail).inputs()


def places_of(names: Sequence[str], wanted: str) -> tuple[int, ...]:
    """Where a channel is, or all those of a group: "q" is q, or q[0], q[1], … in this order, or the words of q."""
    if wanted in names:
        return (names.index(wanted),)
    if words := tuple(k for k, name in enumerate(names) if name.startswith(f"{wanted}=")):
        return words
    numbered = {n: k for k, name in enumerate(names) if (n := _number(name, wanted)) is not None}
    return tuple(numbered[n] for n in sorted(numbered)) if sorted(numbered) == list(range(len(numbered))) else ()


def _number(name: str, group: str) -> int | None:
    match = re.fullmatch(r"\[(\d+)\]", name.removeprefix(group)) if name.startswith(group) else None
    return int(match[1]) if match else None


def groups(names: Sequence[str]) -> list[str]:
    """Every name that `places_of` finds: channels, and groups of numbered ones."""
    found = dict.fromkeys(re.sub(r"\[\d+\]$|=.*", "", name) for name in names)
    return [*found, *(name for name in names if name not in found)]


class _Plan:
    """One making of an `Inputs`."""

    def __init__(
        self,
        declared: Declared,
        model: Model,
        channels: Mapping[str, str],
        units: Mapping[str, str],
        rate_hz: float | None,
        fail: Fail,
    ) -> None:
        self.fail = fail
        self.declared, self.model, self.channels, self.units, self.rate_hz = declared, model, channels, units, rate_hz
        self.names = [c.name for c in model.inputs]
        self.outputs = output_numbers(declared, model)
        self.feeds = self._feeds()
        self._raw: dict[str, Raw] = {}
        self._previous: dict[int, str] = {}
        self._taken_in: dict[str, set[str]] = {}  # a field that declares no unit → the units that it is taken to be in
        for given in declared.inputs.values():
            self._collect(given)
        for k, channel in enumerate(model.inputs):
            if k not in self.feeds:
                self._need(Raw(self._field(channel)))
        self._order()

    def _field(self, channel: Channel) -> str:
        return self.channels.get(channel.name, channel.name)

    def _feeds(self) -> dict[int, tuple[Input, int]]:
        """Channel number → the input that makes it, and which of its numbers."""
        feeds: dict[int, tuple[Input, int]] = {}
        used = {p.names[0] for i in self.declared.inputs.values() for p in i.parts if p.kind == "input"}
        for name, given in self.declared.inputs.items():
            places = places_of(self.names, name)
            if not places and name not in used:
                known = [*groups(self.names)]
                why = f"the model {self.model.name!r} has no such input channel, and no other input takes it"
                raise given.table.fail(_key(given), f"{why}{nearest(name, known)}")
            for number, place in enumerate(places):
                channel = self.model.inputs[place]
                if place in feeds:
                    why = f"channel {channel.name!r} is fed by [inputs.{feeds[place][0].name}] already"
                    raise given.table.fail(_key(given), why)
                if channel.name in self.channels:
                    why = f"channel {channel.name!r} is fed by [readings.channels] already"
                    raise given.table.fail(_key(given), why)
                if channel.vocabulary:
                    why = f"channel {channel.name!r} takes words; name its field in [readings.channels]"
                    raise given.table.fail(_key(given), why)
                feeds[place] = given, number
        return feeds

    def _collect(self, given: Input) -> None:
        for part in given.parts:
            if part.kind in ("from", "gravity", "angles"):
                for k, name in enumerate(part.names):
                    default = None if part.default is None else part.default[k]
                    self._need(Raw(name, default=default, max_age_ms=part.max_age_ms), part)
            elif part.kind == "model":
                self._need(Raw(part.names[0], model=True), part)
            elif part.kind == "previous":
                for place in self._outputs(part):
                    self._previous.setdefault(place, self.outputs[0][place])
            elif part.kind == "input" and part.names[0] not in self.declared.inputs:
                why = f"there is no [inputs.{part.names[0]}]{nearest(part.names[0], list(self.declared.inputs))}"
                raise part.fail(why)

    def _need(self, raw: Raw, part: Part | None = None) -> None:
        """A raw number; the same one for all that take it. Parts must agree on its age and default, which count for a
        channel that takes it without [inputs], too."""
        known = self._raw.get(raw.name)
        if known is None:
            self._raw[raw.name] = replace(raw, unit=self.units.get(raw.name, ""))
        elif part is not None and known.model != raw.model:
            raise part.fail(f"{raw.name!r} is another model's output in one place and a field in another")
        elif part is not None:
            for key in ("default", "max_age_ms"):
                if getattr(known, key) != getattr(raw, key):
                    why = f"is {getattr(raw, key)} for {raw.name!r} here and {getattr(known, key)} elsewhere"
                    raise part.fail(why, key)

    def _outputs(self, part: Part) -> tuple[int, ...]:
        """The outputs that a part carries over, by number."""
        names = self.outputs[0]
        places = places_of(names, part.names[0])
        if not places:
            why = f"neither the model {self.model.name!r} nor [outputs] has {part.names[0]!r}"
            raise part.fail(f"{why}{nearest(part.names[0], groups(names))}")
        return places

    def _order(self) -> list[Input]:
        """Inputs, each behind those that it takes. A circle is an error."""
        done: dict[str, Input] = {}
        path: list[str] = []

        def visit(name: str) -> None:
            if name in done:
                return
            given = self.declared.inputs[name]
            path.append(name)
            for part in given.parts:
                if part.kind == "input":
                    if part.names[0] in path:
                        circle = [*path[path.index(part.names[0]) :], part.names[0]]
                        raise part.fail(f"makes a circle: {' → '.join(circle)}")
                    visit(part.names[0])
            path.pop()
            done[name] = given

        for name in self.declared.inputs:
            visit(name)
        return list(done.values())

    def raw(self) -> tuple[Raw, ...]:
        return tuple(self._raw.values())

    def inputs(self) -> Inputs:
        raw = self.raw()
        if not raw:
            raise next(iter(self.declared.inputs.values())).table.fail("from", "no input takes a field of a reading")
        b = Builder()
        make = Maker(b, self.rate_hz)
        slots = {r.name: b.input(r.name, 1) for r in raw}
        previous = {place: b.input(f"{PREVIOUS}{name}", 1) for place, name in self._previous.items()}
        made: dict[str, tuple[Slot, str]] = {}
        for given in self._order():
            made[given.name] = self._input(given, make, slots, previous, made)
        parts: list[Slot] = []
        for k, channel in enumerate(self.model.inputs):
            if k in self.feeds:
                given, number = self.feeds[k]
                parts.append(made[given.name][0].part(number, 1))
            else:
                name = self._field(channel)
                parts.append(self._plain(make, slots[name], name, channel))
        b.output("channels", make.join(*parts))
        channels = tuple(Channel(r.name, r.unit or self._taken(r.name)) for r in raw)
        channels += tuple(
            Channel(f"{PREVIOUS}{name}", self.outputs[1][place]) for place, name in self._previous.items()
        )
        made_channels = tuple(Channel(c.name, c.unit) for c in self.model.inputs)
        name = f"inputs of {self.model.name}"
        model = Model(b.build(), channels, made_channels, rate_hz=self.rate_hz, name=name)
        return Inputs(model, raw, tuple(self._previous))

    def _taken(self, field: str) -> str:
        """The unit that a field without one is taken to be in; none where two parts take it in two."""
        units = self._taken_in.get(field, set())
        return next(iter(units)) if len(units) == 1 else ""

    def _plain(self, make: Maker, x: Slot, field: str, channel: Channel) -> Slot:
        """A channel that is one field, in its own unit."""
        self._taken_in.setdefault(field, set()).add(channel.unit)
        found = convert(self.units.get(field, ""), channel.unit)
        if found is None:
            why = why_not(self.units[field], channel.unit)
            raise self.fail(channel.name, f"the field {field!r} does not convert: {why}")
        return _converted(make, x, (found,))

    def _input(
        self,
        given: Input,
        make: Maker,
        slots: Mapping[str, Slot],
        previous: Mapping[int, Slot],
        made: Mapping[str, tuple[Slot, str]],
    ) -> tuple[Slot, str]:
        """The numbers of an input, and their unit."""
        places = places_of(self.names, given.name)
        units = [self.model.inputs[place].unit for place in places]
        make.name = given.name
        parts, start, unit = [], 0, ""
        for part in given.parts:
            steps = (*part.steps, *given.steps)
            x, unit = self._part(part, steps, units[start:], make, slots, previous, made)
            x = _steps(part.steps, make, x, self.rate_hz)
            parts.append(x)
            start += x.size
        if start > MOST:
            raise given.table.fail(_key(given), f"makes {start} numbers; {MOST} are the most")
        x = _steps(given.steps, make, make.join(*parts), self.rate_hz)
        if places and x.size != len(places):
            why = f"makes {x.size} numbers, and the model {self.model.name!r} takes {len(places)} as {given.name!r}"
            raise given.table.fail(_key(given), why)
        for step in steps:
            unit = step.step.unit(unit)
        return x, unit if len(parts) == 1 else ""

    def _part(
        self,
        part: Part,
        steps: Sequence[Given],
        wanted: Sequence[str],
        make: Maker,
        slots: Mapping[str, Slot],
        previous: Mapping[int, Slot],
        made: Mapping[str, tuple[Slot, str]],
    ) -> tuple[Slot, str]:
        """The numbers of a source as its steps take them, and their unit. wanted: the units of the channels that come
        of them, and of those behind."""
        if part.kind == "constant":
            return make.numbers(part.values), ""
        if part.kind in ("gravity", "angles"):
            for target in wanted[:3]:
                way = (1.0, 0.0) if any(step.step.name == "scale" for step in steps) else convert("g", target)
                if target not in ("", "1") and (way is None or not math.isclose(way[0], 1.0)):
                    scale = f": add {{ scale = {way[0]:.8g} }}" if way else ""
                    raise part.fail(f"has the length 1, and the channel is in {target!r}{scale}")
        if part.kind == "gravity":
            return _gravity(make, [slots[name] for name in part.names]), ""
        if part.kind == "angles":
            angles = _converted(
                make,
                make.join(*(slots[name] for name in part.names)),
                [self._way(part, self.units.get(name, ""), "rad", name) for name in part.names],
            )
            return _gravity_of_angles(make, angles), ""
        if part.kind == "input":
            x, unit = made[part.names[0]]
            units = [unit] * x.size
            sources = [f"[inputs.{part.names[0]}]"] * x.size
        elif part.kind == "previous":
            places = self._outputs(part)
            x = make.join(*(previous[place] for place in places))
            units, sources = [self.outputs[1][p] for p in places], [self.outputs[0][p] for p in places]
        else:
            x = make.join(*(slots[name] for name in part.names))
            units, sources = [self.units.get(name, "") for name in part.names], list(part.names)
        fits = len(wanted) >= len(units)  # else fewer come out than go in
        targets = [wanted[k] if fits else wanted[0] if wanted else "" for k in range(len(units))]
        enters = [entering(steps, target, part.unit, units) for target in targets]
        for enter, target in zip(enters, targets, strict=True):
            if why := _leaves(steps, enter, target):
                raise part.fail(why)
        ways = [self._way(part, *way) for way in zip(units, enters, sources, strict=True)]
        return _converted(make, x, ways), enters[0] if len(set(enters)) == 1 else ""

    def _way(self, part: Part, unit: str, enters: str, name: str) -> tuple[float, float]:
        """Scale and offset from a source's unit to that of the steps."""
        if unit and part.unit and (convert(unit, part.unit) is None):
            raise part.fail(f"{name!r} does not convert: {why_not(unit, part.unit)}", "unit")
        source = unit or part.unit
        found = convert(source, enters)
        if found is None:
            raise part.fail(f"{name!r} does not convert: {why_not(source, enters)}", part.key if unit else "unit")
        self._taken_in.setdefault(name, set()).add(source or enters)
        return found


def entering(steps: Sequence[Given], wanted: str, said: str, units: Sequence[str]) -> str:
    """In which unit numbers enter their steps. wanted: what is to come of them; said: the table's `unit`; units: the
    sources' own."""
    if any(given.step.angle for given in steps):
        return "rad"
    same = units[0] if len(set(units)) == 1 else ""
    for given in steps:
        if given.step.name == "rate":
            wanted = over_time(wanted)
    return wanted or said or same


def _leaves(steps: Sequence[Given], unit: str, wanted: str) -> str:
    """Why what enters its steps in this unit does not come out in the one that is wanted; "" where it does, where
    nobody knows, and where a `scale` behind the last step that makes another quantity says the rest."""
    made = [k for k, given in enumerate(steps) if given.step.angle or given.step.name == "rate"]
    if not made or not wanted or any(given.step.name == "scale" for given in steps[made[-1] :]):
        return ""
    for given in steps:
        unit = given.step.unit(unit)
    same = over_time(unit) and over_time(unit) == over_time(wanted)
    if not unit or same or not units_differ(unit, wanted):
        return ""
    way = convert(unit, wanted)
    if way is None:
        return f"its steps make {unit!r} of it, and the channel is in {wanted!r}"
    if math.isclose(way[0], 1.0):
        return ""
    return f"its steps make {unit!r} of it, and the channel is in {wanted!r}: add {{ scale = {way[0]:.8g} }}"


def _key(given: Input | Output) -> str:
    """The key of a table that says where its numbers come from."""
    if isinstance(given, Output):
        return "from"
    return "part" if len(given.parts) > 1 or "part" in given.table.values else given.parts[0].key


def _steps(steps: Sequence[Given], make: Maker, x: Slot, rate_hz: float | None) -> Slot:
    for given in steps:
        given.width(x.size, rate_hz)
        x = given.build(make, x)
    return x


def _converted(make: Maker, x: Slot, ways: Sequence[tuple[float, float]]) -> Slot:
    """x * scale + offset, each with its own."""
    scales: Numbers = tuple(scale for scale, _ in ways)
    offsets: Numbers = tuple(offset for _, offset in ways)
    if len(set(ways)) == 1:
        scales, offsets = scales[:1], offsets[:1]
    if set(scales) != {1.0}:
        x = make.builder.binary("mul", x, make.numbers(scales))
    if set(offsets) != {0.0}:
        x = make.builder.binary("add", x, make.numbers(offsets))
    return x


def _gravity(make: Maker, quaternion: Sequence[Slot]) -> Slot:
    """The world's (0, 0, -1) in the body's frame, of an orientation w x y z (body to world) of any length."""
    b = make.builder
    q = make.join(*quaternion)
    q = b.binary("div", q, b.reduce("max", b.map("abs", q)))  # so that no square is too small or too large
    w, x, y, z = (q.part(k, 1) for k in range(4))
    squares = b.binary("mul", q, q)
    ww, xx, yy, zz = (squares.part(k, 1) for k in range(4))
    gx = b.map("affine", b.binary("sub", b.binary("mul", w, y), b.binary("mul", x, z)), alpha=2.0)
    gy = b.map("affine", b.binary("add", b.binary("mul", w, x), b.binary("mul", y, z)), alpha=-2.0)
    gz = b.binary("sub", b.binary("add", xx, yy), b.binary("add", ww, zz))
    return b.binary("div", make.join(gx, gy, gz), b.reduce("sum", squares))


def _gravity_of_angles(make: Maker, angles: Slot) -> Slot:
    """The same of (roll, pitch) in rad: (sin p, -sin r cos p, -cos r cos p)."""
    b = make.builder
    sines, cosines = (STEPS[name].build(make, angles, ()) for name in ("sin", "cos"))
    across = b.map("neg", cosines.part(1, 1))
    return make.join(
        sines.part(1, 1),
        b.binary("mul", sines.part(0, 1), across),
        b.binary("mul", cosines.part(0, 1), across),
    )


# --- outputs --------------------------------------------------------------------------------------------------------


def output_numbers(declared: Declared, model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units of the model's outputs, and behind them of [outputs], as the action, events and `previous` name
    them."""
    names, units = list(flat_names(model.outputs)), list(flat_units(model.outputs))
    for given in declared.outputs.values():
        taken, unit = _taken(given, model), _unit(given, model)
        width = len(taken)
        for step in given.steps:
            width = step.step.width(width, step.values)
        for name in _numbered(given.name, width):
            if name in names:
                raise given.table.fail("from", f"the model {model.name!r} has an output {name!r} already")
            names.append(name)
            units.append(unit)
    return tuple(names), tuple(units)


def _numbered(name: str, width: int) -> tuple[str, ...]:
    return (name,) if width == 1 else tuple(f"{name}[{k}]" for k in range(width))


def _taken(given: Output, model: Model) -> tuple[int, ...]:
    """The numbers of the model's outputs that an output takes."""
    names = flat_names(model.outputs)
    if not given.names:
        return tuple(range(len(names)))
    found: tuple[int, ...] = ()
    for name in given.names:
        places = places_of(names, name)
        if not places:
            why = f"the model {model.name!r} has no output {name!r}{nearest(name, groups(names))}"
            raise given.table.fail("from", why)
        found += places
    return found


def _unit(given: Output, model: Model) -> str:
    """The unit of what comes out."""
    units = {flat_units(model.outputs)[place] for place in _taken(given, model)}
    unit = given.unit or (units.pop() if len(units) == 1 else "")
    if any(step.step.angle for step in given.steps):
        unit = "rad"
    for step in given.steps:
        unit = step.step.unit(unit)
    return unit


def outputs_of(declared: Declared, model: Model, rate_hz: float | None) -> Outputs | None:
    """The model of a file's outputs; None where it declares none. rate_hz: outputs per second (ticks, less the stride),
    None: unknown. Raises the tables' error."""
    if not declared.outputs:
        return None
    b = Builder()
    make = Maker(b, rate_hz)
    y = b.input("y", model.program.output_size)
    names, units = flat_names(model.outputs), flat_units(model.outputs)
    channels: list[Channel] = []
    numbers: dict[str, tuple[str, ...]] = {}
    output_numbers(declared, model)  # names that clash
    for given in declared.outputs.values():
        make.name = given.name
        places = _taken(given, model)
        ways = [_way_out(given, names[place], units[place]) for place in places]
        x = y if places == tuple(range(y.size)) else b.take(np.array([y.offset + place for place in places]))
        x = _steps(given.steps, make, _converted(make, x, ways), rate_hz)
        numbers[given.name] = _numbered(given.name, x.size)
        channels += [Channel(name, _unit(given, model)) for name in numbers[given.name]]
        b.output(given.name, x)
    inputs = tuple(Channel(name, unit) for name, unit in zip(names, units, strict=True))
    made = Model(b.build(), inputs, tuple(channels), rate_hz=rate_hz, name=f"outputs of {model.name}")
    return Outputs(made, numbers)


def _way_out(given: Output, name: str, unit: str) -> tuple[float, float]:
    """Scale and offset from an output's unit to that in which it enters its steps."""
    angle = next((step.step.name for step in given.steps if step.step.angle), "")
    if angle and unit and units_differ(given.unit, "rad") and given.unit:
        why = f"is {given.unit!r}, and {angle!r} takes rad; leave the unit out, {name!r} is converted by itself"
        raise given.table.fail("unit", why)
    source, target = unit or (given.unit if angle else ""), "rad" if angle else given.unit
    found = convert(source, target)
    if found is None:
        key = "unit" if given.unit else "from"
        raise given.table.fail(key, f"{name!r} does not convert: {why_not(source, target)}")
    return found
