"""From what the robot says to what it is told: event → reading vector → one step of the network → action.

Rule: deterministic. The same events in the same order give the same actions, bit for bit, live and in replay; there is
no clock and no randomness in here, and time comes from the port only. Everything that depends on names (which field
feeds which channel, which output makes which field) is worked out once, at the handshake, so a reading costs look-ups
by index.

Never: send a number that is not finite or outside the limits, or hide a reading that was not used: each is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from operator import itemgetter

from edge_lstm.core.channels import Encoder, flat_names, flat_units, units_differ
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError, ReadingError, StateError
from edge_lstm.robot.config import RobotConfig, nearest, toml_key
from edge_lstm.robot.mismatch import both_sides
from edge_lstm.streams.missing import Filler
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Event, Gap, Hello, Reading, Reset
from firmware_bridge.values import Action

Rule = tuple[float, tuple[tuple[int, float], ...], float, float]  # offset, (output number, gain)…, minimum, maximum


@dataclass
class Counts:
    """What happened to the readings, so that nothing is lost in silence: readings == steps + missing + refused."""

    readings: int = 0  # of the configured format
    steps: int = 0
    missing: int = 0  # a reading that holds NaN, infinity or an index outside its vocabulary, and was not used
    refused: int = 0  # the step would have made the state infinite; the state is unchanged
    lost: int = 0  # readings that never arrived, known by their sequence numbers
    gaps: int = 0
    resets: int = 0
    actions: int = 0
    superseded: int = 0  # actions that were not sent: a newer one was made in the same chunk, or the robot changed
    unusable: int = 0  # an output that is not finite, so no action was made
    patched: int = 0  # of the steps: readings that lacked some channels, which were filled
    filled: int = 0  # further steps, for lost readings
    overdue: int = 0  # outputs made while a reading was late; taken back when it came
    waiting: int = 0  # of the steps: the window was not full, so there was no output yet
    forgotten: int = 0  # gaps longer than the longest, so the memory was reset


# A reading is overdue when so many periods have passed in which it should have come.
_GRACE = 2


class Controller:
    """One robot's model at work. `counts`, `reading`, `outputs` (physical, of the latest step) may be read any time."""

    def __init__(self, model: Model, config: RobotConfig) -> None:
        """ConfigError: the configuration names a channel or an output that the model does not have."""
        self.model, self.config = model, config
        self.counts = Counts()
        self.reading: Reading | None = None
        self.outputs: list[float] | None = None
        self.action: Action | None = None
        self.notes: list[str] = []
        self.dictionary: Dictionary | None = None
        self._encode = Encoder(model.inputs)
        self.output_names, self.output_units = flat_names(model.outputs), flat_units(model.outputs)
        config.check_model(model, self.output_names)
        if model.whole_log:
            raise ConfigError(f"model {model.name!r} takes whole logs, no single readings: a robot cannot run it")
        self.stream = model.stream()
        self.filler = Filler(self.stream, config.policy(model))
        self._fills = self.filler.policy.missing != "skip"
        self._period_ns = 0  # 0: nobody says how often readings come
        self._last_ns: int | None = None  # when the latest reading came
        self._overdue = 0  # readings overdue since then
        self._format = config.reading
        self._pick: Callable[[tuple[float, ...]], Sequence[float]] | None = None
        self._rules: list[Rule] = []
        self._action_format = config.action.format if config.action else ""

    @property
    def not_real(self) -> int:
        """How many of the latest 100 readings, that of `outputs` included, were missing wholly or in part."""
        return self.filler.not_real

    @property
    def hold_ns(self) -> int:
        """How long an action may stand until the next: three periods of the readings that make one."""
        return 3 * self._period_ns * self.model.every

    def handle(self, event: Event) -> Action | None:
        """What to send because of this event, if anything. ConfigError (at Hello): robot and file do not fit."""
        if type(event) is Reading:
            return self._step(event)
        if type(event) is Gap:
            self._missing(event)
        elif type(event) is Hello:
            self._bind(event.dictionary)
        elif type(event) is Reset:
            self.counts.resets += 1
            self._last_ns = None
            if self.config.on_reset == "reset":
                self.filler.reset()
            else:
                self.filler.keep()
        return None

    def silence(self, t_ns: int) -> Action | None:
        """What to send because it is t_ns, all events until then being handled: where readings are overdue, what comes
        of those that stand in for them. The memory takes them back when the truth is known."""
        if not self._fills or self._last_ns is None or not self._period_ns:
            return None
        late = (t_ns - self._last_ns) // self._period_ns - _GRACE - self._overdue
        if late <= 0:
            return None
        y = None
        for _ in range(late):
            y = self.filler.overdue()
        self._overdue += late
        self.counts.overdue += late
        self.outputs = None if y is None else y.tolist()
        self.action = self._act(self.outputs) if self.outputs and self._rules else None
        return self.action

    def _step(self, reading: Reading) -> Action | None:
        if reading.format != self._format or self._pick is None:
            return None
        self.counts.readings += 1
        self.reading = reading
        self._last_ns, self._overdue = reading.t_ns, 0
        try:
            y = self.filler.step(self._encode.one(self._pick(reading.values)))
        except ReadingError:
            self.counts.missing += 1
            y = None
        except StateError:
            self.counts.refused += 1
            y = None
        else:
            self.counts.steps += self.filler.taken
            self.counts.missing += not self.filler.taken
            self.counts.waiting += self.filler.taken and y is None
            if not self.filler.is_real:
                self._count()
        # None: not a usable reading, or a window that is not full yet.
        self.outputs = None if y is None else y.tolist()
        self.action = self._act(self.outputs) if self.outputs and self._rules else None
        return self.action

    def _act(self, outputs: list[float]) -> Action | None:
        """Each field: clip(offset + sum of gain * output), summed in the order of the file, in float64."""
        values = []
        for offset, gains, minimum, maximum in self._rules:
            value = offset
            for k, gain in gains:
                value += gain * outputs[k]
            if not isfinite(value):  # an infinite one would be a full torque that nobody decided on
                self.counts.unusable += 1
                return None
            values.append(minimum if value < minimum else maximum if value > maximum else value)
        self.counts.actions += 1
        return Action(self._action_format, tuple(values))

    def _missing(self, gap: Gap) -> None:
        """The one place that decides about readings that never arrived: they are counted, and filled by the policy."""
        if gap.format == self._format:
            self.counts.gaps += 1
            self.counts.lost += gap.count
            self.filler.missing(gap.count)
            self._count()

    def _count(self) -> None:
        done = self.filler.counts
        self.counts.patched, self.counts.filled, self.counts.forgotten = done.patched, done.filled, done.resets

    def _bind(self, dictionary: Dictionary) -> None:
        """Check the configuration against what the robot declares, and work out every index."""
        if dictionary == self.dictionary:
            return
        try:
            reading = self._declared(dictionary, "readings", self._format, "reading")
            self._pick = _picker(self._places(reading))
            if self.config.action is not None:
                self._rules = self._make_rules(self._declared(dictionary, "action", self._action_format, "action"))
        except ConfigError as error:
            raise ConfigError(f"{error}\n{both_sides(self.config, self.model, dictionary)}") from None
        self.dictionary, self.action = dictionary, None
        trained, sent = self.model.rate_hz, reading.rate_hz
        rate_hz = sent or trained
        self._period_ns = round(1e9 / rate_hz) if rate_hz else 0
        if trained and sent and abs(trained - sent) > 0.05 * trained:
            self.notes.append(f"the model was made for {trained:g} Hz, the robot sends {sent:g} Hz")

    def _declared(self, dictionary: Dictionary, table: str, name: str, direction: str) -> Format:
        names = [f.name for f in dictionary.formats if f.direction == direction]
        for found in dictionary.formats:
            if found.name == name and found.direction == direction:
                return found
        why = f"the robot {dictionary.device!r} declares no {direction} {name!r}{nearest(name, names)}"
        raise self.config.fail(table, "format", why)

    def _places(self, reading: Format) -> list[int]:
        """For each input channel of the model, the number of the robot's field that feeds it."""
        names = [f.name for f in reading.fields]
        places = []
        for channel in self.model.inputs:
            name = self.config.channels.get(channel.name, channel.name)
            if name not in names:
                why = f"the robot's {reading.name!r} has no field {name!r}{nearest(name, names)}"
                if name == channel.name:
                    why += f' (the model\'s input; say which field feeds it: {toml_key(channel.name)} = "FIELD")'
                raise self.config.fail("readings.channels", channel.name, why)
            place = names.index(name)
            self._same_unit("readings.channels", channel.name, channel.unit, "the model expects", reading.fields[place])
            places.append(place)
        return places

    def _make_rules(self, action: Format) -> list[Rule]:
        """One rule for every field of the action, in declared order."""
        assert self.config.action is not None
        mappings = self.config.action.fields
        names = [f.name for f in action.fields]
        for name in mappings:
            if name not in names:
                why = f"the robot's {action.name!r} has no such field{nearest(name, names)}"
                raise self.config.fail("action", name, why)
        rules: list[Rule] = []
        for declared in action.fields:
            mapping = mappings.get(declared.name)
            if mapping is None:
                why = f"is missing, and {action.name!r} cannot be sent without it"
                raise self.config.fail("action", declared.name, why)
            table = f"action.{declared.name}"
            if bool(mapping.unit) != bool(declared.unit):
                why = f"is {mapping.unit!r}, but the robot's field is in {declared.unit!r}"
                raise self.config.fail(table, "unit", why)
            self._same_unit(table, "unit", mapping.unit, "is", declared)
            least, most = declared.minimum, declared.maximum
            assert least is not None  # a dictionary holds no action without limits
            assert most is not None
            for key, value in (("min", mapping.minimum), ("max", mapping.maximum)):
                if value is not None and not least <= value <= most:
                    raise self.config.fail(table, key, f"{value:g} is outside the robot's own {least:g} to {most:g}")
            limits = (
                least if mapping.minimum is None else mapping.minimum,
                most if mapping.maximum is None else mapping.maximum,
            )
            gains = tuple((self.output_names.index(name), gain) for name, gain in mapping.gain.items())
            rules.append((mapping.offset, gains, *limits))
        return rules

    def _same_unit(self, table: str, key: str, unit: str, verb: str, declared: Field) -> None:
        if units_differ(unit, declared.unit):
            why = f"{verb} {unit!r}, but the robot's field {declared.name!r} is in {declared.unit!r}"
            raise self.config.fail(table, key, why)


def _picker(places: list[int]) -> Callable[[tuple[float, ...]], Sequence[float]]:
    """The fastest way to take these places out of a tuple, always as a tuple."""
    if len(places) == 1:
        only = places[0]
        return lambda values: (values[only],)
    return itemgetter(*places)
