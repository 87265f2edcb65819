"""One event → one decision: reading → tick → inputs → one step of the network → outputs → action.

A reading of the configured format is a tick; of the other formats that feed the model the latest values are kept for it
(`logs/ticks.py`), by the robot's clock where its protocol has one for all readings (ours), else by their arrival. Where
the file declares inputs or outputs, or a unit is converted, their programs are around the network (`signals/`).

Its rule: deterministic. The same events in the same order give the same decisions, bit for bit, live and in replay;
there is no clock and no randomness in here, and time comes from the port only. Names have become indices before, in the
`Binding` of the handshake.

Never: send a number that is not finite or outside the limits, or hide a reading that was not used: each is counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edge_lstm.core.channels import Encoder, per_number
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError, EdgeLstmError, ReadingError, StateError
from edge_lstm.logs.ticks import Row, Ticks, Wanted
from edge_lstm.robot.binding import Binding, Feed, Rule, bind
from edge_lstm.robot.config import RobotConfig
from edge_lstm.robot.rates import Pace, Trained, checked, follow, pace_of
from edge_lstm.robot.thresholds import Occurrence
from edge_lstm.signals.programs import Inputs, output_numbers
from edge_lstm.signals.runtime import Signals
from edge_lstm.signals.stream import Around
from edge_lstm.streams.missing import MissingReadings
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import BridgeError, SnapshotError
from firmware_bridge.events import Event, Gap, Hello, Reading, Reset
from firmware_bridge.remembered import Tree, check, kind_of
from firmware_bridge.values import Action

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing
    from edge_lstm.core.operation import Floats
    from edge_lstm.streams.gates import GateStream
    from edge_lstm.streams.stream import Stream


class Made(NamedTuple):
    """What one of several models has made last. outputs: None where it has made none yet, or none of the latest reading
    that was due to it; t_ns: of the reading that they were made of; new: they were made now."""

    name: str
    names: tuple[str, ...]  # of its outputs
    outputs: list[float] | None
    t_ns: int
    not_real: int
    new: bool


class Decision(NamedTuple):
    """What comes of one event, or of silence: all that the loop, the recorder and the display need to know. Nobody may
    change it, or the lists in it, afterwards: the recorder reads it in its own time."""

    binding: Binding  # of the robot that it is made for: names, units, how long the action holds
    reading: Reading | None = None  # the latest one: this event, or the last before it
    action: Action | None = None  # to be sent
    outputs: list[float] | None = None  # the model's, then those of [outputs], of the step that was made; None: no step
    not_real: int = 0  # of the latest 100 readings, this one included, so many were missing wholly or in part
    notes: tuple[str, ...] = ()  # sentences for people: what they should know of this robot
    row: Row | None = None  # the tick's numbers, as `Feed.wanted` lists them, NaN where one is missing
    made: tuple[Made, ...] = ()  # of several models: what each of them has made last
    happened: tuple[Occurrence, ...] = ()  # events of [events] that begin or end with this reading
    urgent: bool = False  # the action is an event's: no later one of the same chunk takes its place


@dataclass
class Counts:
    """What happened to the readings, so that nothing is lost in silence: readings == steps + missing + refused."""

    readings: int = 0  # of the configured format: ticks
    steps: int = 0
    missing: int = 0  # a reading that holds NaN, infinity or an index outside its vocabulary, and was not used
    refused: int = 0  # the step would have made the state infinite; the state is unchanged
    lost: int = 0  # readings that never arrived, known by their sequence numbers
    gaps: int = 0
    resets: int = 0
    actions: int = 0
    unusable: int = 0  # an output that is not finite, so no action was made
    patched: int = 0  # of the steps: readings that lacked some channels, which were filled
    filled: int = 0  # further steps, for lost readings
    overdue: int = 0  # outputs made while a reading was late; taken back when it came
    waiting: int = 0  # of the steps: the window was not full, so there was no output yet
    forgotten: int = 0  # gaps longer than the longest, so the memory was reset
    others: int = 0  # readings of the other formats that feed the model


class Deciding(ABC):
    """What remembers, and can be made to remember what another of the same configuration did."""

    @abstractmethod
    def snapshot(self) -> Tree:
        """All that is remembered between two events, as `firmware_bridge/remembered.py` says it."""

    @abstractmethod
    def take_up(self, tree: Tree) -> None:
        """As `restore`, but what it raises may be anything that says why the tree does not fit, half of it taken
        up."""

    def restore(self, tree: Tree) -> None:
        """Go on as the one that gave this with `snapshot`, made of the same model and configuration. SnapshotError
        where it does not fit: it decides as if nothing had happened."""
        before = self.snapshot()
        try:
            self.take_up(tree)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, EdgeLstmError, BridgeError) as error:
            self.take_up(before)
            raise SnapshotError(f"the memory is another model's or configuration's: {error}") from None


class _Latest(NamedTuple):
    """A `Decision` without what follows from the robot's dictionary."""

    dictionary: Dictionary
    reading: Reading | None
    action: Action | None
    outputs: list[float] | None
    not_real: int
    notes: tuple[str, ...]
    row: tuple[float, ...] | None
    made: tuple[Made, ...]
    happened: tuple[Occurrence, ...]
    urgent: bool


def said(value: Any, of: Any) -> Tree:
    """A value as `firmware_bridge/remembered.py` says one of this type."""
    say = kind_of(of).say
    return value if say is None else say(value)


def taken(tree: Tree, of: Any) -> Any:
    """The value of this type that a tree says. Raises ValueError or TypeError."""
    take = kind_of(of).take
    assert take is not None
    return take(tree)


def said_decision(decision: Decision | None) -> Tree:
    """What the next one, and people, need to know of the latest."""
    say = kind_of(_Latest).say
    if decision is None or say is None:
        return None
    row = None if decision.row is None else tuple(decision.row)
    return say(_Latest(decision.binding.dictionary, *decision[1:6], row, *decision[7:]))


def taken_decision(tree: Tree, bound: Callable[[Dictionary], Binding]) -> Decision | None:
    """The decision that a tree says. bound: the binding for a robot's dictionary."""
    if tree is None:
        return None
    latest: _Latest = taken(tree, _Latest)
    return Decision(bound(latest.dictionary), *latest[1:])


# A reading is overdue when so many periods have passed in which it should have come.
GRACE = 2


class Controller(Deciding):
    """One robot's model at work. `counts`, `latest` and `not_real` may be read any time, from any thread."""

    def __init__(self, model: Model, config: RobotConfig) -> None:
        """ConfigError: the configuration names a channel or an output that the model does not have, or a reading or an
        action that its own [link] does not declare."""
        self.model, self.config = model, config
        self.counts = Counts()
        self.latest: Decision | None = None
        if config.models:
            why = "names several models; load_models(config).controller(config) runs them"
            raise ConfigError(f"{config.source}: {why}")
        config.check_model(model)
        declared = None if config.member else config.link.declared()
        if declared is not None:  # no robot needs to be waited for to know it
            config.check_device(declared)
            bind(config, model, declared)
        if model.timing.mode == "log":
            raise ConfigError(f"model {model.name!r} takes whole logs, no single readings: a robot cannot run it")
        self.stream: Stream | GateStream = model.stream()
        self.filler = MissingReadings(self.stream, config.policy(model))
        self._encode: Callable[[Row], Row | Floats] = Encoder(model.inputs).one
        self.output_names, self.output_units = output_numbers(config.signals, model)
        self._fills = self.filler.policy.missing != "skip"
        self._binding: Binding | None = None
        self._ticks = Ticks(())
        self._last_ns: int | None = None  # when the latest reading came
        self._overdue = 0  # readings overdue since then
        self._pace: Pace | None = None  # while it is not known how often this robot's readings come
        self._format = config.reading
        self._action_format = config.action.format if config.action else ""

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    @property
    def digest(self) -> str:
        """The model's."""
        return self.model.digest

    @property
    def not_real(self) -> int:
        """How many of the latest 100 readings were missing wholly or in part."""
        return self.filler.not_real

    def handle(self, event: Event) -> Decision | None:
        """What comes of this event; None where it is neither a reading of the configured format nor a new robot's
        Hello. ConfigError (at Hello): robot and file do not fit; go on, and it waits for one that does."""
        if type(event) is Reading:
            return self._step(event)
        if type(event) is Gap:
            self._missing(event)
        elif type(event) is Hello:
            return self._bind(event.dictionary)
        elif type(event) is Reset:
            self.counts.resets += 1
            self._last_ns = None
            self._ticks.forget()
            if self.config.on_reset == "reset":
                self.filler.reset()
            else:
                self.filler.keep()
        return None

    def silence(self, t_ns: int) -> Decision | None:
        """What comes of the time alone, when all events until t_ns have been handled: where readings are overdue, what
        stands in for them makes outputs and an action; the memory takes that back when the readings come after all.
        None where nothing is overdue."""
        binding = self._binding
        if not self._fills or self._last_ns is None or binding is None or not binding.period_ns:
            return None
        late = (t_ns - self._last_ns) // binding.period_ns - GRACE - self._overdue
        if late <= 0:
            return None
        self._overdue += late
        return self.late(late)

    def late(self, count: int) -> Decision | None:
        """So many more readings should be here by now: what comes of those that stand in, None where none may."""
        binding = self._binding
        if not self._fills or binding is None:
            return None
        y = self.filler.overdue(count)
        self.counts.overdue += count
        return self._decide(binding, self.latest.reading if self.latest else None, y, self.filler.not_real)

    def others(self) -> dict[str, tuple[float, ...]]:
        """The formats beside the tick's that feed it, on the robot that is there; how old their values may be, ms."""
        return {} if self._binding is None else self._binding.feed.ages_ms()

    @property
    def bound(self) -> Dictionary | None:
        """What the robot that is there declares; None: there is none that fits."""
        return None if self._binding is None else self._binding.dictionary

    @property
    def at_rate(self) -> bool:
        """Whether readings come at the rate that the model was made for, as far as is known."""
        return self._pace is None or self._pace.misfit is None

    def controllers(self) -> dict[str, Controller]:
        """Of each model by its name; "" is the only one's."""
        return {"": self}

    def succeed(self, old: Controller) -> None:
        """Take the place of one that is bound to the same robot: its books, its sense of time, and of the same model
        its memory, too."""
        if self.digest == old.digest:
            old.filler.missing(0)  # what stood in for overdue readings is no memory of theirs
            self.filler.restore(old.filler.snapshot())
        self._last_ns, self._overdue = old._last_ns, old._overdue
        self._ticks.follow(old._ticks)
        if old._binding is not None and old._pace is None:
            self._pace = follow(self._pace, old._measured(old._binding))
        self.keep_books(old)
        if self._binding is not None:
            self.latest = Decision(self._binding, old.latest.reading if old.latest else None)

    def keep_books(self, old: Controller) -> None:
        """Count on where it has counted to; it goes on with a copy."""
        self.counts, old.counts = old.counts, replace(old.counts)
        self.filler.counts, old.filler.counts = old.filler.counts, replace(old.filler.counts)

    def fed(self) -> Iterator[tuple[str, Model, Mapping[str, str]]]:
        """Its name among several models, here none; the model; its channels' fields, but for those that
        [inputs] makes."""
        yield "", self.model, self.config.direct(self.model)

    def unbind(self) -> None:
        """The robot that is there does not fit: until the next handshake nothing of it is obeyed."""
        self._binding, self._last_ns, self._overdue, self._pace = None, None, 0, None

    def _step(self, reading: Reading) -> Decision | None:
        binding = self._binding
        if binding is None:
            return None
        if (
            self._pace is not None
            and reading.format == self._format
            and not self._at_rate(self._pace, binding, reading)
        ):
            return None
        counts, filler, ticks = self.counts, self.filler, self._ticks
        t_ns = binding.feed.time_ns(reading.t_ns, reading.t_device_us)
        if reading.format != self._format:
            if (source := binding.feed.formats.get(reading.format)) is not None:
                counts.others += 1
                ticks.keep(source, t_ns, reading.values)
            return None
        counts.readings += 1
        row = ticks.row(t_ns, reading.values)
        self._last_ns, self._overdue = reading.t_ns, 0
        try:
            y = filler.step(self._encode(row))
        except ReadingError:
            counts.missing += 1
        except StateError:
            counts.refused += 1
        else:
            if filler.taken:
                counts.steps += 1
                counts.waiting += y is None
            else:
                counts.missing += 1
            if (not_real := filler.not_real) and not filler.is_real:
                ticks.look(row)
                self._count()
            return self._decide(binding, reading, y, not_real, row)
        ticks.look(row)
        return self._decide(binding, reading, None, filler.not_real, row)

    def _decide(
        self, binding: Binding, reading: Reading | None, y: Floats | None, not_real: int, row: Row | None = None
    ) -> Decision:
        """y: None where the reading was not usable, or the window is not full yet."""
        outputs: list[float] | None = None if y is None else y.tolist()
        action = self._act(binding.rules, outputs) if outputs and binding.rules and self._pace is None else None
        self.latest = decision = Decision(binding, reading, action, outputs, not_real, row=row)
        return decision

    def _at_rate(self, pace: Pace, binding: Binding, reading: Reading) -> bool:
        """Measure on; whether the reading may be used. ConfigError where they are found to come at another rate than
        the model was made for; after it nothing is obeyed until they come at the right one."""
        t_ns = binding.feed.time_ns(reading.t_ns, reading.t_device_us)
        if checked(pace, t_ns, reading.seq, self.config.fail):
            self._pace = None
        return pace.misfit is None

    def _act(self, rules: tuple[Rule, ...], outputs: list[float]) -> Action | None:
        """An action, counted, as is an output that allows none."""
        action = act(self._action_format, rules, outputs)
        if action is None:  # an infinite one would be a full torque that nobody decided on
            self.counts.unusable += 1
        else:
            self.counts.actions += 1
        return action

    def missed(self, count: int) -> None:
        """So many readings will never come: counted, and filled by the policy."""
        self.counts.gaps += 1
        self.counts.lost += count
        self.filler.missing(count)
        self._count()

    def _missing(self, gap: Gap) -> None:
        """The one place that decides about readings that never arrived."""
        if gap.format == self._format:
            self.missed(gap.count)

    def _count(self) -> None:
        done = self.filler.counts
        self.counts.patched, self.counts.filled, self.counts.forgotten = done.patched, done.filled, done.resets

    def _bind(self, dictionary: Dictionary) -> Decision | None:
        """A handshake; nothing is decided where it is with the same robot again. One that does not fit is not obeyed:
        until the next handshake there is no binding, so its readings and its silence come to nothing."""
        if self._binding is not None and dictionary == self._binding.dictionary:
            return None
        self.unbind()
        self.config.check_device(dictionary)
        self._binding = bind(self.config, self.model, dictionary)
        self._ticks = Ticks(self._binding.feed.wanted)
        self._feed_by(self._binding.feed)
        self._pace = self._measured(self._binding)
        self.latest = Decision(self._binding, self.latest.reading if self.latest else None, notes=self._binding.notes)
        return self.latest

    def _measured(self, binding: Binding) -> Pace | None:
        """What measures this robot's readings; None where nobody asks for a rate, or whoever has all models does."""
        if self.config.member or self.config.any_rate:
            return None
        return pace_of([Trained.of(self.config.model_table, self.model)], binding.feed.by_device)

    def _feed_by(self, feed: Feed) -> None:
        """Take numbers as this robot gives them. What was remembered stays where it can: in the model's memory, and in
        all of it where no inputs or outputs are around it."""
        counts = self.filler.counts
        if feed.inputs is None:
            each, own = per_number(self.model.inputs, feed.each), self.filler.each
            if self.filler.stream is self.stream and (tuple(each) == own or not (any(each) or any(own))):
                return
            self._fill_plainly(each)
        else:
            self._fill_around(feed.inputs, feed)
        self.filler.counts = counts

    def _fill_plainly(self, each: Sequence[Missing | None]) -> None:
        """The model's own numbers."""
        self._encode = Encoder(self.model.inputs).one
        self.filler = MissingReadings(self.stream, self.config.policy(self.model), each)

    def _fill_around(self, inputs: Inputs, feed: Feed) -> None:
        """What the model's inputs are made of."""
        policy = self.config.policy(self.model)
        if policy.missing == "predict":  # the model predicts its inputs, and not what they are made of
            policy = replace(policy, missing="hold")
        self._encode = list
        around = Around(self.stream, Signals(inputs, self.model, feed.outputs))
        self.filler = MissingReadings(around, policy, feed.each)

    def show_gates(self) -> None:
        """From now on `stream` shows its gates: it goes on with what it remembers, and decides the same, to the bit.
        StateError: it has none."""
        from edge_lstm.streams.gates import GateStream

        if isinstance(self.stream, GateStream):
            return
        shown, filler, remembered = GateStream(self.model), self.filler, self.filler.said()
        around = Around(shown, filler.stream.signals) if isinstance(filler.stream, Around) else shown
        self.filler = MissingReadings(around, filler.policy, filler.each)
        self.filler.take_up(remembered)
        self.stream = shown

    def take_ticks(self) -> None:
        """From now on a reading of the tick's format brings, behind its own numbers, those that the tick took of other
        formats, as `Feed.joined` lists them, and at what rate they come was settled elsewhere. Not where there is no
        robot."""
        if (binding := self._binding) is None:
            return
        feed, width, self._pace = binding.feed, len(binding.reading.fields), None
        places = {place: width + n for n, (place, _, _) in enumerate(feed.joined)}
        self._ticks = Ticks([Wanted(0, places.get(k, w.place), 0, w.constant) for k, w in enumerate(feed.wanted)])

    def snapshot(self) -> Tree:
        """See `Deciding`."""
        return {
            "counts": said(self.counts, Counts),
            "ticks": self._ticks.snapshot(),
            "last_ns": self._last_ns,
            "overdue": self._overdue,
            "pace": None if self._pace is None else self._pace.snapshot(),
            "bound": self._binding is not None,
            "latest": said_decision(self.latest),
            "around": self.filler.stream is not self.stream,
            "each": list(self.filler.each),
            "filler": self.filler.said(),
        }

    def take_up(self, tree: Tree) -> None:
        """See `Deciding`. What follows from the robot's dictionary is made of it."""
        latest = taken_decision(tree["latest"], lambda dictionary: bind(self.config, self.model, dictionary))
        feed = None if latest is None else latest.binding.feed
        ticks = Ticks(() if feed is None else feed.wanted)
        ticks.restore(tree["ticks"])
        if taken(tree["around"], bool):
            check(feed is not None and feed.inputs is not None, "no inputs are around this model")
            assert feed is not None
            assert feed.inputs is not None
            self._fill_around(feed.inputs, feed)
        else:
            each = taken(tree["each"], list[Literal["hold", "skip", "predict"] | None])
            check(len(each) in (0, self.model.program.input_size), "it is of another model's readings")
            self._fill_plainly(each)
        self.filler.take_up(tree["filler"])
        self.counts, self._ticks = taken(tree["counts"], Counts), ticks
        self._last_ns, self._overdue = taken(tree["last_ns"], int | None), taken(tree["overdue"], int)
        self.latest = latest
        self._binding = latest.binding if latest is not None and taken(tree["bound"], bool) else None
        self._pace = None if self._binding is None or tree["pace"] is None else self._measured(self._binding)
        if self._pace is not None:
            self._pace.take_up(tree["pace"])

    def no_steps(self) -> str:
        """Why there has been no step; "" where there has been one."""
        counts, ticks, binding = self.counts, self._ticks, self._binding
        if counts.steps:
            return ""
        if not counts.readings:
            others = f" ({counts.others} of the other formats came)" if counts.others else ""
            return f"0 steps: no reading of {self._format!r} came{others}"
        if counts.refused:
            return f"0 steps: each of {counts.refused} would have made the memory infinite"
        reasons = []
        for k, name in enumerate(binding.feed.names if binding is not None else ()):
            if ticks.late[k]:
                reasons.append(f"{name!r} was older than its max_age_ms in {ticks.late[k]}")
            if ticks.absent[k]:
                reasons.append(f"{name!r} held no number in {ticks.absent[k]}")
        return f"0 steps: all {counts.readings} readings were missing something: {', '.join(reasons) or 'a word'}"


def act(format_name: str, rules: tuple[Rule, ...], outputs: Sequence[float]) -> Action | None:
    """Each field: clip(offset + sum of gain * output), summed in the order of the file, in float64; None where one is
    not finite."""
    values = []
    for offset, gains, minimum, maximum in rules:
        value = offset
        for k, gain in gains:
            value += gain * outputs[k]
        if not isfinite(value):
            return None
        values.append(minimum if value < minimum else maximum if value > maximum else value)
    return Action(format_name, tuple(values))
