"""Several models on one robot, and the events of their outputs: what the loop is given instead of one `Controller`.

    models = load_models(config, Path.read_bytes)     # or of a recording's attachments
    controller = models.controller(config)            # a Controller, Models, or either of them with its events watched

Its rule: above `Controller`, not inside it. Each model is a Controller of its own, on a robot whose reading also has
the outputs that feed it as fields (NaN where there are none) and which sends only the readings that are due to it. So
what holds for one model (units, policy, engines, windows, counters) holds for each of several. Deterministic, as a
Controller is.

Ticks are numbered from 0 on with the first reading, lost ones included; a model with every = n is due with the ticks
0, n, 2n … With one tick the models go in the order in which they feed each other. What a model has made stands until it
makes something new. A reading that was due to it and of which it made nothing (missing, refused, lost and not filled)
takes its outputs away until then: they are missing for the models that they feed, and no action is made of them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from edge_lstm.core.channels import units_differ
from edge_lstm.core.model import Model
from edge_lstm.core.storage import load_file
from edge_lstm.core.units import convert
from edge_lstm.errors import ModelFileError, nearest
from edge_lstm.robot.binding import Binding, Feed, bind, bind_action
from edge_lstm.robot.commands import beside
from edge_lstm.robot.config import RobotConfig, RobotIdentity
from edge_lstm.robot.controller import (
    GRACE,
    Controller,
    Counts,
    Deciding,
    Decision,
    Made,
    act,
    said,
    said_decision,
    taken,
    taken_decision,
)
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.model_tables import ModelConfig
from edge_lstm.robot.rates import Pace, Trained, checked, follow, pace_of
from edge_lstm.robot.watched import Watched
from edge_lstm.signals.programs import groups, output_numbers, places_of
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Event, Gap, Hello, Reading, Reset
from firmware_bridge.links.dialects import OWN
from firmware_bridge.remembered import Tree, check
from firmware_bridge.values import Action

ONLY = "model"  # the name of a single model's file in a recording
_NAN = float("nan")
# Of each model in the sums over all of them; the other counters are of the ticks, or of the action.
_SUMMED = ("steps", "missing", "refused", "patched", "filled", "overdue", "waiting", "forgotten")


class _Made(NamedTuple):
    """What a member remembers beside its controller."""

    every: int
    outputs: list[float] | None
    standing: list[float] | None
    stands: bool
    t_ns: int
    new: bool
    told: int


class _Member:
    """One of several models at work."""

    def __init__(self, declared: ModelConfig, model: Model, config: RobotConfig, before: Mapping[str, _Member]) -> None:
        own = replace(
            config,
            model_file=declared.file,
            readings=replace(config.readings, channels=declared.channels, missing=declared.each),
            signals=declared.signals,
            member=True,
            channels_of=declared.table,
            action=None,
            robot=RobotIdentity(),
            missing=declared.missing or config.missing,
            longest_gap=config.longest_gap if declared.longest_gap is None else declared.longest_gap,
            models=(),
            events=(),
            any_rate=declared.any_rate,
        )
        self.declared = declared
        self.controller = Controller(model, own)
        self.names = self.controller.output_names
        self.units = self.controller.output_units
        self.needs: list[tuple[_Member, int]] = []  # where the numbers behind the reading's own come from
        self.fields: list[Field] = []  # and what they are, once each
        self._fed(config, before)
        self.every = 1
        self.outputs: list[float] | None = None
        self.standing: list[float] | None = None  # instead of them, while readings are overdue
        self.stands = False
        self.t_ns = 0
        self.new = False
        self.told = 0  # ticks before this one were said to be overdue

    def _fed(self, config: RobotConfig, before: Mapping[str, _Member]) -> None:
        units = {channel.name: channel.unit for channel in self.controller.model.inputs}
        for table, key, name, output in self.declared.feeders():
            feeder = before[name]
            if output not in feeder.names:
                why = f"the model {name!r} has no output {output!r}{nearest(output, feeder.names)}"
                raise config.fail(table, key, why)
            place = feeder.names.index(output)
            unit, given = units.get(key, ""), feeder.units[place]
            if key in self.declared.fed and units_differ(unit, given) and convert(given, unit) is None:
                raise config.fail(table, key, f"the model expects {unit!r}, but {name}.{output} is in {given!r}")
            if (feeder, place) not in self.needs:
                self.needs.append((feeder, place))
                self.fields.append(Field(f"{name}.{output}", "f32", given))

    def seen(self, dictionary: Dictionary, tick: Format) -> Dictionary:
        """The robot as this model sees it. ConfigError where its rate is none of theirs."""
        every = self.declared.due_every(tick.rate_hz)
        if isinstance(every, str):
            raise self.controller.config.fail(self.declared.table, "rate_hz", every)
        self.every = every
        rate_hz = None if tick.rate_hz is None else tick.rate_hz / every
        seen = replace(tick, fields=(*tick.fields, *self.fields), rate_hz=rate_hz)
        formats = tuple(seen if form is tick else form for form in dictionary.formats)
        return replace(dictionary, formats=formats, json=b"")

    def due(self, start: int, end: int) -> int:
        """How many of the ticks from `start` to before `end` are due to it."""
        return (end + self.every - 1) // self.every - (start + self.every - 1) // self.every

    def take(self, reading: Reading, tick: int) -> None:
        """A reading that is due to it."""
        controller = self.controller
        if self.needs:
            fed = [_NAN if one.outputs is None else one.outputs[place] for one, place in self.needs]
            values = (*reading.values, *fed)
            reading = Reading(reading.t_ns, reading.format, reading.seq, reading.t_device_us, values)
        waiting = controller.counts.waiting
        decision = controller.handle(reading)
        self.told = tick + 1
        if decision is not None and decision.outputs is not None:
            self.outputs, self.t_ns, self.new = decision.outputs, reading.t_ns, True
        elif controller.counts.waiting == waiting:  # nothing came of it
            self.outputs = None

    def missed(self, count: int, end: int, t_ns: int) -> None:
        """So many readings that were due to it, before tick `end`, will never come."""
        filler = self.controller.filler
        self.controller.missed(count)
        self.told = end
        if filler.policy.missing == "skip" or not filler.taken:
            self.outputs = None
        elif filler.output is not None:
            self.outputs, self.t_ns = filler.output.tolist(), t_ns

    def late(self, count: int, end: int) -> bool:
        """So many more readings that are due to it should be here by now. Whether outputs stand in for theirs."""
        decision = self.controller.late(count)
        self.told = end
        outputs = None if decision is None else decision.outputs
        if decision is not None and outputs is None and self.controller.filler.taken:
            return False  # of a window that is not full: those before stand
        self.standing, self.stands = outputs, True
        return outputs is not None

    def snapshot(self) -> Tree:
        """See `Deciding`."""
        made = _Made(*(getattr(self, name) for name in _Made._fields))
        return {"made": said(made, _Made), "controller": self.controller.snapshot()}

    def take_up(self, tree: Tree) -> None:
        """See `Deciding`."""
        made: _Made = taken(tree["made"], _Made)
        check(made.every > 0, "it is due to no reading")
        size = len(self.names)
        check(all(one is None or len(one) == size for one in (made.outputs, made.standing)), "its outputs are others")
        self.controller.take_up(tree["controller"])
        for name, value in made._asdict().items():
            setattr(self, name, value)

    def made(self) -> Made:
        outputs = self.standing if self.stands else self.outputs
        return Made(self.declared.name, self.names, outputs, self.t_ns, self.controller.not_real, self.new)


class Models(Deciding):
    """Several models at work; see `Decider`."""

    def __init__(self, models: Mapping[str, Model], config: RobotConfig) -> None:
        """ConfigError: the configuration names a channel or an output that its model does not have."""
        self.config = config
        self.model: Model | None = None
        self.latest: Decision | None = None
        members: dict[str, _Member] = {}
        for one in config.models:
            members[one.name] = _Member(one, models[one.name], config, members)
        self._members = tuple(members.values())
        self.output_names = tuple(f"{name}.{one}" for name, member in members.items() for one in member.names)
        self.output_units = tuple(unit for member in self._members for unit in member.units)
        self.name = ", ".join(members)
        digests = "".join(f"{name} {member.controller.digest}\n" for name, member in members.items())
        self.digest = hashlib.sha256(digests.encode()).hexdigest()
        self._drivers = self._driving(members)
        self._counts = Counts()
        self._format = config.reading
        self._action_format = config.action.format if config.action else ""
        self._action: Action | None = None  # the latest
        self._binding: Binding | None = None
        self._tick = 0  # number of the next one
        self._last_ns: int | None = None
        self._overdue = 0  # ticks overdue since then
        self._pace: Pace | None = None  # while it is not known how often this robot's readings come
        declared = config.link.declared()
        if declared is not None:
            self._known(declared)
        fields = [
            (channel, field)
            for one in self._members
            for channel, field in one.controller.config.aged(one.controller.model)
            if channel not in one.declared.fed
        ]
        config.check_readings(fields)
        if declared is not None:
            self._check(declared)

    def _driving(self, members: Mapping[str, _Member]) -> tuple[_Member, ...]:
        """The models that the action is made of; all, where it is made of none."""
        action, names = self.config.action, []
        if action is not None and action.source is not None:
            if not places_of(self.output_names, action.source):
                why = f"there is no output {action.source!r}{nearest(action.source, groups(self.output_names))}"
                raise self.config.fail("action", "from", why)
            names.append(action.source.partition(".")[0])
        for field, mapping in action.fields.items() if action else ():
            for output in mapping.gain:
                if output not in self.output_names:
                    model, dot, _ = output.partition(".")
                    why = f"there is no output {output!r}{nearest(output, self.output_names)}"
                    if not dot:
                        why = f"of several models an output is MODEL.OUTPUT; {why}"
                    elif model not in members:
                        why = f"there is no model {model!r}{nearest(model, members)}"
                    raise self.config.fail(f"action.{field}", "gain", why)
                names.append(output.partition(".")[0])
        return tuple(member for name, member in members.items() if name in names or not names)

    @property
    def counts(self) -> Counts:
        """Readings, lost and gaps are of the ticks; steps and what was missing are sums over the models."""
        sums = {key: sum(getattr(one.controller.counts, key) for one in self._members) for key in _SUMMED}
        others = max(one.controller.counts.others for one in self._members)
        return replace(self._counts, **sums, others=others)

    def no_steps(self) -> str:
        """As a Controller's, of the first model that has made none."""
        for member in self._members:
            if why := member.controller.no_steps():
                return f"{member.declared.name}: {why}"
        return ""

    def others(self) -> dict[str, tuple[float, ...]]:
        """See `Decider`."""
        found: dict[str, tuple[float, ...]] = {}
        for member in self._members:
            for name, ages in member.controller.others().items():
                found[name] = tuple(sorted({*found.get(name, ()), *ages}))
        return found

    @property
    def not_real(self) -> int:
        """Of the model that has the most: how many of its latest 100 readings were missing wholly or in part."""
        return max(member.controller.not_real for member in self._members)

    @property
    def bound(self) -> Dictionary | None:
        """As a Controller's."""
        return None if self._binding is None else self._binding.dictionary

    def controllers(self) -> dict[str, Controller]:
        """As a Controller's."""
        return {one.declared.name: one.controller for one in self._members}

    def take_ticks(self) -> None:
        """As a Controller's; that no model is fed by other formats (`others`) has been looked at."""
        self._pace = None
        for member in self._members:
            member.controller.take_ticks()

    def succeed(self, old: Models) -> None:
        """As a Controller's. What a model made stands until the one in its place makes something new."""
        for member, before in zip(self._members, old._members, strict=True):
            member.controller.succeed(before.controller)
            member.outputs, member.t_ns, member.told = before.outputs, before.t_ns, before.told
        self._tick, self._last_ns, self._overdue = old._tick, old._last_ns, old._overdue
        self._action, self._counts, old._counts = old._action, old._counts, replace(old._counts)
        if old._binding is not None and old._pace is None:
            self._pace = follow(self._pace, old._measured(old._binding))
        if self._binding is not None:
            self.latest = Decision(self._binding, old.latest.reading if old.latest else None)

    @property
    def at_rate(self) -> bool:
        """As a Controller's."""
        return self._pace is None or self._pace.misfit is None

    def keep_books(self, old: Models) -> None:
        """As a Controller's."""
        self._counts, old._counts = old._counts, replace(old._counts)
        for member, before in zip(self._members, old._members, strict=True):
            member.controller.keep_books(before.controller)

    def fed(self) -> Iterator[tuple[str, Model, Mapping[str, str]]]:
        """See `Decider`."""
        for one in self._members:
            yield one.declared.name, one.controller.model, one.controller.config.direct(one.controller.model)

    def report(self) -> dict[str, dict[str, Any]]:
        """Of each model what it is and what it did, for --json and the summary."""
        return {
            member.declared.name: {
                "model": member.controller.model.name,
                "digest": member.controller.digest,
                "every": member.every,
                **asdict(member.controller.counts),
            }
            for member in self._members
        }

    def snapshot(self) -> Tree:
        """See `Deciding`."""
        return {
            "members": {one.declared.name: one.snapshot() for one in self._members},
            "counts": said(self._counts, Counts),
            "action": said(self._action, Action | None),
            "bound": self._binding is not None,
            "tick": self._tick,
            "last_ns": self._last_ns,
            "overdue": self._overdue,
            "pace": None if self._pace is None else self._pace.snapshot(),
            "latest": said_decision(self.latest),
        }

    def take_up(self, tree: Tree) -> None:
        """See `Deciding`."""
        for member in self._members:
            member.take_up(tree["members"][member.declared.name])
        self._counts, self._action = taken(tree["counts"], Counts), taken(tree["action"], Action | None)
        self._tick, self._overdue = taken(tree["tick"], int), taken(tree["overdue"], int)
        self._last_ns = taken(tree["last_ns"], int | None)
        self.latest = taken_decision(tree["latest"], self._bound)
        bound = self.latest is not None and taken(tree["bound"], bool)
        self._binding = self.latest.binding if self.latest is not None and bound else None
        self._pace = None if self._binding is None or tree["pace"] is None else self._measured(self._binding)
        if self._pace is not None:
            self._pace.take_up(tree["pace"])

    def unbind(self) -> None:
        """As a Controller's."""
        self._binding, self._last_ns, self._overdue, self._pace = None, None, 0, None
        for member in self._members:
            member.controller.unbind()

    def handle(self, event: Event) -> Decision | None:
        """As a Controller's."""
        if type(event) is Reading and event.format == self._format:
            return self._step(event)
        if type(event) is Gap and event.format == self._format:
            self._lost(event)
        elif type(event) is Hello:
            return self._bind(event)
        else:
            if type(event) is Reset:
                self._restarted()
            for member in self._members:
                member.controller.handle(event)
        return None

    def silence(self, t_ns: int) -> Decision | None:
        """As a Controller's: each model's policy stands in for the ticks that are due to it."""
        binding = self._binding
        if self._last_ns is None or binding is None or not binding.period_ns:
            return None
        late = (t_ns - self._last_ns) // binding.period_ns - GRACE - self._overdue
        if late <= 0:
            return None
        self._overdue += late
        end, made = self._tick + self._overdue, []
        for member in self._members:
            member.new = False
            count = member.due(max(member.told, self._tick), end)
            if count and member.late(count, end):
                member.new = True
                made.append(member)
        return self._decide(binding, self.latest.reading if self.latest else None) if made else None

    def _step(self, reading: Reading) -> Decision | None:
        binding = self._binding
        if binding is None:
            return None
        if self._pace is not None and not self._at_rate(self._pace, binding, reading):
            return None
        tick = self._tick
        self._tick = tick + 1
        self._counts.readings += 1
        self._last_ns, self._overdue = reading.t_ns, 0
        for member in self._members:
            member.new = member.stands = False
            if not tick % member.every:
                member.take(reading, tick)
        return self._decide(binding, reading)

    def _decide(self, binding: Binding, reading: Reading | None) -> Decision:
        """What the models have made, and an action where one that it is made of has made something new."""
        made = tuple([member.made() for member in self._members])
        outputs, some = [], False
        for one in made:
            if one.outputs is None:
                outputs += [_NAN] * len(one.names)
            else:
                outputs += one.outputs
                some = True
        action = None
        if binding.rules and self._pace is None and any(member.new for member in self._drivers):
            whole = all((one.standing if one.stands else one.outputs) is not None for one in self._drivers)
            if whole:
                action = act(self._action_format, binding.rules, outputs)
                if action is None:
                    self._counts.unusable += 1
                else:
                    self._counts.actions += 1
        not_real = max(one.not_real for one in made)
        decision = Decision(binding, reading, action, outputs if some else None, not_real, made=made)
        self._action = action or self._action
        self.latest = decision if action else decision._replace(action=self._action)  # what people see does not flicker
        return decision

    def _at_rate(self, pace: Pace, binding: Binding, reading: Reading) -> bool:
        """As a Controller's."""
        t_ns = binding.feed.time_ns(reading.t_ns, reading.t_device_us)
        if checked(pace, t_ns, reading.seq, self.config.fail):
            self._pace = None
        return pace.misfit is None

    def _lost(self, gap: Gap) -> None:
        """Ticks that never arrived: to each model a gap of those that were due to it."""
        start, end = self._tick, self._tick + gap.count
        self._tick = end
        self._counts.gaps += 1
        self._counts.lost += gap.count
        for member in self._members:
            member.stands = False
            if count := member.due(start, end):
                member.missed(count, end, gap.t_ns)

    def _restarted(self) -> None:
        """A reset that resets the memories begins the ticks anew; otherwise they go on."""
        self._counts.resets += 1
        self._last_ns = None
        for member in self._members:
            member.stands = False
            if self.config.on_reset == "reset":
                member.outputs, member.told = None, 0
            else:
                member.told = self._tick  # what stood in for overdue ones stays
        if self.config.on_reset == "reset":
            self._tick = 0

    def _check(self, dictionary: Dictionary) -> None:
        """What the file itself declares of the robot. ConfigError where it does not fit."""
        self.config.check_device(dictionary)
        tick = self._tick_of(dictionary)
        for member in self._members:
            bind(member.controller.config, member.controller.model, member.seen(dictionary, tick))
        bind_action(self.config, self.output_names, self.output_units, dictionary)

    def _known(self, dictionary: Dictionary) -> None:
        """ConfigError where a channel's NAME.REST is of neither a model nor a reading."""
        forms = [form.name for form in beside(self.config.commands, dictionary.readings)]
        fields = [field.name for form in dictionary.readings if form.name == self._format for field in form.fields]
        for one in self._members:
            for channel, source in one.declared.channels.items():
                name, dot, _ = source.partition(".")
                if not dot or channel in one.declared.fed or source in fields:
                    continue
                if not any(source.startswith(f"{form}.") for form in forms):
                    names = [*(member.declared.name for member in self._members), *forms]
                    why = f"there is neither a model nor a reading {name!r}{nearest(name, names)}"
                    raise self.config.fail(f"{one.declared.table}.channels", channel, why)

    def _tick_of(self, dictionary: Dictionary) -> Format:
        found = next((form for form in dictionary.readings if form.name == self._format), None)
        if found is None:
            names = [form.name for form in dictionary.readings]
            why = f"the robot {dictionary.device!r} declares no reading {self._format!r}{nearest(self._format, names)}"
            raise self.config.fail("readings", "format", why)
        return found

    def _bind(self, hello: Hello) -> Decision | None:
        dictionary = hello.dictionary
        if self._binding is not None and dictionary == self._binding.dictionary:
            return None
        self.unbind()
        self.config.check_device(dictionary)
        tick = self._tick_of(dictionary)
        self._known(dictionary)
        for member in self._members:
            member.controller.handle(replace(hello, dictionary=member.seen(dictionary, tick)))
        self._binding = self._bound(dictionary)
        self._action, self._pace = None, self._measured(self._binding)
        self.latest = Decision(self._binding, self.latest.reading if self.latest else None, notes=self._binding.notes)
        return self.latest

    def _measured(self, binding: Binding) -> Pace | None:
        """What measures this robot's readings, for those models that ask for a rate."""
        asked = [(one, one.controller) for one in self._members if not one.declared.any_rate]
        wanted = (Trained.of(one.declared.table, inner.model, one.every) for one, inner in asked)
        return pace_of(wanted, binding.feed.by_device)

    def _bound(self, dictionary: Dictionary) -> Binding:
        """The binding for this robot, with which each model has one already."""
        tick = self._tick_of(dictionary)
        action, rules = bind_action(self.config, self.output_names, self.output_units, dictionary)
        bound = [(member, member.controller.latest) for member in self._members]
        notes = [f"{one.declared.name}: {note}" for one, made in bound if made for note in made.binding.notes]
        trained = [hz * one.every for one in self._members if (hz := one.controller.model.rate_hz)]
        rate_hz = tick.rate_hz or min(trained, default=None)  # as of one model; of several the one that waits longest
        period_ns = round(1e9 / rate_hz) if rate_hz else 0
        fastest = min(one.every * one.controller.model.timing.stride for one in self._drivers)
        return Binding(
            dictionary=dictionary,
            feed=Feed(tick, (), {}, (), self.config.link.dialect == OWN, (), None, None, (), ()),
            action=action,
            output_names=self.output_names,
            output_units=self.output_units,
            rules=rules,
            period_ns=period_ns,
            hold_ns=3 * period_ns * fastest,
            notes=tuple(notes),
        )


# ---------------------------------------------------------------------------------------------- the model files


@dataclass(frozen=True)
class Loaded:
    """The model files of one robot.toml, each read once: what runs is what the recording keeps. By the models' names;
    a single one is `ONLY`."""

    models: Mapping[str, Model]
    contents: Mapping[str, bytes]
    single: bool

    def controller(self, config: RobotConfig) -> Decider:
        """What the loop is given. ConfigError: configuration and models do not fit each other."""
        inner = Controller(self.models[ONLY], config) if self.single else Models(self.models, config)
        return Watched(inner) if config.events else inner

    @property
    def name(self) -> str:
        """Of the model, or of all."""
        return self.models[ONLY].name if self.single else "-".join(self.models)

    def attachments(self) -> dict[str, bytes]:
        """As a recording holds them."""
        return {attachment(name, self.single): content for name, content in self.contents.items()}

    def output_units(self, config: RobotConfig) -> dict[str, dict[str, str]]:
        """Of the outputs, by the topic where a recording holds them, and their names."""
        declared = {one.name: one.signals for one in config.models} or {ONLY: config.signals}
        found = {}
        for name, signals in declared.items():
            names, units = output_numbers(signals, self.models[name])
            found["/outputs" if self.single else f"/outputs/{name}"] = dict(zip(names, units, strict=True))
        return found

    def metadata(self, controller: Decider) -> dict[str, str]:
        """What a recording says of them."""
        each = {} if self.single else {f"digest {name}": model.digest for name, model in self.models.items()}
        return {"model": controller.name, "digest": controller.digest} | each


def attachment(name: str, single: bool) -> str:
    """The name of a model's file in a recording."""
    return f"{ONLY}.npz" if single else f"models/{name}.npz"


def load_models(config: RobotConfig, read: Callable[[Path], bytes] = Path.read_bytes) -> Loaded:
    """The models of a robot.toml. ModelFileError where one cannot be read."""
    tables = {one.name: f'[model "{one.name}"]' for one in config.models} or {ONLY: "[model]"}
    files = {one.name: one.file for one in config.models} or {ONLY: config.model_file}
    models, contents = {}, {}
    for name, file in files.items():
        path = config.folder / file
        try:
            contents[name] = read(path)
        except OSError as error:
            why = f"{path}: cannot be read: {error.strerror or error}"
            said = f"{config.source}: {tables[name]} file = {str(file)!r}, which is looked for in"
            raise ModelFileError(f"{why} ({said} {config.folder.resolve()})") from error
        models[name] = load_file(io.BytesIO(contents[name]), str(path))
    return Loaded(models, contents, not config.models)
