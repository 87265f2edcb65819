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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from edge_lstm.core.channels import Encoder, per_number
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError, ReadingError, StateError
from edge_lstm.logs.ticks import Row, Ticks
from edge_lstm.robot.binding import Binding, Feed, Rule, bind
from edge_lstm.robot.config import RobotConfig
from edge_lstm.signals.programs import output_numbers
from edge_lstm.signals.runtime import Signals
from edge_lstm.signals.stream import Around
from edge_lstm.streams.missing import MissingReadings
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Event, Gap, Hello, Reading, Reset
from firmware_bridge.values import Action

if TYPE_CHECKING:
    from edge_lstm.core.operation import Floats
    from edge_lstm.robot.thresholds import Occurrence


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
    """What comes of one event, or of silence: all that the loop, the recorder and the display need to know."""

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


# A reading is overdue when so many periods have passed in which it should have come.
GRACE = 2


class Controller:
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
        self.stream = model.stream()
        self.filler = MissingReadings(self.stream, config.policy(model))
        self._encode: Callable[[Row], Row | Floats] = Encoder(model.inputs).one
        self.output_names, self.output_units = output_numbers(config.signals, model)
        self._fills = self.filler.policy.missing != "skip"
        self._binding: Binding | None = None
        self._ticks = Ticks(())
        self._last_ns: int | None = None  # when the latest reading came
        self._overdue = 0  # readings overdue since then
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

    def fed(self) -> Iterator[tuple[str, Model, Mapping[str, str]]]:
        """Its name among several models, here none; the model; its channels' fields, but for those that
        [inputs] makes."""
        yield "", self.model, self.config.direct(self.model)

    def unbind(self) -> None:
        """The robot that is there does not fit: until the next handshake nothing of it is obeyed."""
        self._binding, self._last_ns, self._overdue = None, None, 0

    def _step(self, reading: Reading) -> Decision | None:
        binding = self._binding
        if binding is None:
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
        action = self._act(binding.rules, outputs) if outputs and binding.rules else None
        self.latest = decision = Decision(binding, reading, action, outputs, not_real, row=row)
        return decision

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
        self.latest = Decision(self._binding, self.latest.reading if self.latest else None, notes=self._binding.notes)
        return self.latest

    def _feed_by(self, feed: Feed) -> None:
        """Take numbers as this robot gives them. What was remembered stays where it can: in the model's memory, and in
        all of it where no inputs or outputs are around it."""
        policy, counts = self.config.policy(self.model), self.filler.counts
        if feed.inputs is None:
            each = per_number(self.model.inputs, feed.each)
            if self.filler.stream is self.stream and not any(each):
                return
            self._encode = Encoder(self.model.inputs).one
            self.filler = MissingReadings(self.stream, policy, each)
        else:
            if policy.missing == "predict":  # the model predicts its inputs, and not what they are made of
                policy = replace(policy, missing="hold")
            self._encode = list
            around = Around(self.stream, Signals(feed.inputs, self.model, feed.outputs))
            self.filler = MissingReadings(around, policy, feed.each)
        self.filler.counts = counts

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
