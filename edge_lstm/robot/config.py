"""robot.toml: which port, which model, which reading feeds it, which action its outputs make.

Its rule: every key is known, typed and used. A key nobody knows, a value of the wrong type, an output the model does
not have, a field the robot does not have or a unit that does not agree is a `ConfigError` that names file, table and
key, with the nearest valid name. The checks come in three steps, each as early as it can be: the file alone
(`parse_config`), the file and the model (`RobotConfig.check_model`), and both with what the robot declares at the
handshake (`edge_lstm.robot.binding`).

Never: guess a value, convert a unit, or read anything but the text it is given.

    [port]
    device = "/dev/serial/by-id/usb-…"   # or "VID:PID" or "VID:PID:SERIAL", "tcp://HOST:PORT", "udp://HOST:PORT"
    baud = 115200
    [robot]                              # any of them: another robot at the port is waited past
    device = "cart"
    version = "1.4"
    dictionary = "9f2c64d01b7e5a38"
    [link]                               # how the robot speaks: firmware_bridge/links/README.md; left out: our protocol
    ask_first = false
    [model]
    file = "slip_stall.npz"              # relative to robot.toml
    any_rate = false                     # true: it is meant to run at another rate than it was made for
    [readings]
    format = "imu_wheels"                # each reading of it is a tick: one step of the model
    max_age_ms = 100                     # of the latest value of another format; an older one is missing
    [readings.channels]                  # only where the names differ: model channel = "robot field"
    wheel_speed_left = "speed_l"
    current_left = "motor.current"       # FORMAT.FIELD: of another format
    [readings.ages]
    motor = 50                           # of this format, instead of max_age_ms
    [readings.missing]
    current_left = "hold"                # or "skip", or a number: what stands in where this channel alone is missing
    [inputs.gyro_z]                      # what a channel is made of, where it is not one field: signals/README.md
    from = "gyro_z"
    do = [ { low_pass_hz = 20 } ]
    [outputs.targets]                    # what is made of the model's outputs
    from = "slip_left"
    do = [ { scale = 0.25 } ]
    [[model]]                            # several models instead of [model] and [readings.channels]
    name = "watchdog"
    file = "watchdog.npz"
    every = 20                           # readings; or rate_hz = 50
    [model.channels]
    slip = "estimator.slip_left"         # a field, or MODEL.OUTPUT
    [action]
    format = "motor_limits"              # with from = "targets": its fields are those numbers, instead of tables
    [action.torque_limit_left]           # value = clip(offset + sum of gain * output, min, max)
    unit = "N m"
    offset = 1.0
    gain = { slip_left = -0.7 }
    min = 0.2                            # where left out, the robot's own limits hold
    max = 1.0
    [events.stall]
    of = "stall_left"                    # an output
    above = 0.8
    until = 0.6
    for_ms = 200
    [recording]
    directory = "recordings"             # or file = "run.mcap"
    required = false                     # true: no run without it
    rotate = "10 min"                    # or "100 MB": then a new file
    keep = ["2 GB", "7 days"]            # or one of them; older files go, marked ones never
    floor = "100 MB"                     # so much of the disk stays free
    compression = "lz4"                  # or "zstd", "none"
    keyframe = "5 s"                     # how often all that is remembered is in it
    resume = "5 s"                       # after a crash: go on with what was remembered, if it is no older
    [policy]
    on_reset = "reset"                   # the robot restarted: "reset" the model's memory, or "keep" it
    missing = "predict"                  # what stands in for missing readings: "skip" nothing, "hold", "predict"
    longest_gap = 100                    # readings; a longer gap resets the memory. Left out: both as the model says
    [commands.drive]                     # what people give while it runs; it feeds the model as a reading does
    max_age_ms = 500
    vx = { unit = "m/s", min = -1.0, max = 1.0, default = 0.0 }
    [daemon]                             # how it is operated while it runs: edge_lstm/daemon/README.md
    name = "cart"
    [realtime]
    priority = 50                        # SCHED_FIFO, 1 to 99; see edge_lstm.robot.realtime
    cpu = 3                              # the only core of the loop
    lock_memory = true
    required = false                     # true: no run without all of it
    deadline_ms = 4                      # an answer that leaves later is counted, with its cause; see edge_lstm.daemon
    [daemon]
    status_every = "10 s"                # between two status lines, where nobody sits at a terminal
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from edge_lstm.errors import ConfigError, RealtimeError, nearest, nearest_file
from edge_lstm.robot.commands import Command, commands
from edge_lstm.robot.daemon_table import UNSAID, DaemonConfig, daemon_table
from edge_lstm.robot.model_tables import ModelConfig, missing_policy, several
from edge_lstm.robot.readings import Readings
from edge_lstm.robot.readings import readings as read_readings
from edge_lstm.robot.realtime import AS_ANY, Realtime
from edge_lstm.robot.recording import NOWHERE, RecordingConfig, recording
from edge_lstm.robot.thresholds import EventConfig, thresholds
from edge_lstm.signals.declared import Choices, Declared, declared
from edge_lstm.signals.programs import groups, output_numbers, places_of, raw_names
from firmware_bridge.errors import PortError
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.link import Link
from firmware_bridge.ports import network_names
from firmware_bridge.table import Table, show

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

if TYPE_CHECKING:
    from edge_lstm.core.channels import Channel
    from edge_lstm.core.feedback import Missing, Policy
    from edge_lstm.core.model import Model
    from firmware_bridge.dictionary import Dictionary


@dataclass(frozen=True)
class PortConfig:
    """Where the robot is. `device` is None only where the command line or a recording says it instead."""

    device: str | None = None
    baud: int = 115200
    dtr: Literal["on", "off", "keep", "reset"] = "on"  # what opening does with DTR; see ports.serial_port
    exclusive: bool = True
    low_latency: bool = False
    wait: bool = False  # True: a robot that is not plugged in yet is waited for


@dataclass(frozen=True)
class RobotIdentity:
    """Which robot it must be, in what it declares of itself; None: any."""

    device: str | None = None
    version: str | None = None  # of its firmware
    dictionary: str | None = None  # digest of its message formats, 16 hexadecimal digits


@dataclass(frozen=True)
class FieldConfig:
    """One field of the action: value = clip(offset + sum of gain * output, min, max), in `unit`."""

    unit: str
    offset: float = 0.0
    gain: Mapping[str, float] = field(default_factory=dict)
    minimum: float | None = None  # None: the robot's own
    maximum: float | None = None


@dataclass(frozen=True)
class ActionConfig:
    """Which message is sent, and how each of its fields is made: by a table of its own, or all in declared order from
    the numbers of `source`, one of [outputs] or an output of the model."""

    format: str
    fields: Mapping[str, FieldConfig]
    source: str | None = None


NOTHING = Declared({}, {})  # of inputs and outputs
OWN_LINK = LinkConfig({}, "robot.toml", Path())  # our own protocol


@dataclass(frozen=True)
class RobotConfig:
    """One robot.toml, checked as far as the file alone can be."""

    source: str  # how errors name the file
    text: str  # what the recording keeps
    folder: Path  # what `model_file` and the recording are relative to
    port: PortConfig
    model_file: str
    readings: Readings
    action: ActionConfig | None
    signals: Declared = NOTHING
    recording: RecordingConfig = NOWHERE
    robot: RobotIdentity = RobotIdentity()
    link: LinkConfig = OWN_LINK
    on_reset: Literal["reset", "keep"] = "reset"
    missing: Missing | None = None  # None: the model's own
    longest_gap: int | None = None
    realtime: Realtime = AS_ANY
    deadline_ms: float | None = None  # of an answer, after its reading should have come; None: a reading's period
    models: tuple[ModelConfig, ...] = ()  # of [[model]], each after those that feed it; none: there is `model_file`
    events: tuple[EventConfig, ...] = ()
    commands: Mapping[str, Command] = field(default_factory=dict)
    daemon: DaemonConfig = UNSAID
    any_rate: bool = False  # readings may come at another rate than the model was made for
    member: bool = False  # it is of one of several models: what belongs to all of them is checked by whoever has them
    channels_of: str = "readings"  # how errors name the table of which `channels` is one

    @property
    def model_path(self) -> Path:
        """The model file, relative names taken from the folder of robot.toml."""
        return self.folder / self.model_file

    @property
    def model_table(self) -> str:
        """How errors name the model's own table."""
        return self.channels_of if self.member else "model"

    def at_any_rate(self) -> RobotConfig:
        """The same, where no model asks for a rate."""
        models = tuple(replace(one, any_rate=True) for one in self.models)
        return replace(self, any_rate=True, models=models)

    @property
    def reading(self) -> str:
        """The format whose readings are the ticks."""
        return self.readings.format

    @property
    def channels(self) -> Mapping[str, str]:
        """Model channel → robot field, where the names differ."""
        return self.readings.channels

    def field_of(self, channel: Channel) -> str:
        """The name of the field that feeds a channel of the model: FIELD, or FORMAT.FIELD."""
        return self.channels.get(channel.name, channel.name)

    def texts(self) -> dict[str, Choices]:
        """Output, as [action] and [events] name it → its choices, where it is the number of a text."""
        several = {f"{one.name}.{output}": t for one in self.models for output, t in one.signals.texts().items()}
        return self.signals.texts() | several

    def choices(self) -> Mapping[str, Choices]:
        """Field of the action → its choices, where the robot is sent a text for the number."""
        link = self.link.open()
        sent = link.actions.get(self.action.format) if self.action and isinstance(link, Dialect) else None
        return sent.choices if sent else {}

    def fail(self, table: str, key: str, why: str) -> ConfigError:
        """The error to raise about `[table] key`."""
        return ConfigError(f"{self.source}: [{table}] {key}: {why}")

    def here(self, error: ConfigError | str) -> str:
        """What an error says of this file, without where it lies: what a run records and remembers must be the same
        where the recording is replayed."""
        return str(error).removeprefix(f"{self.source}: ")

    def check_model(self, model: Model) -> None:
        """Raise ConfigError where the file names an input channel or an output that the model does not have."""
        inputs = [channel.name for channel in model.inputs]
        for table, named in (("channels", self.channels), ("missing", self.readings.missing)):
            for name in named:
                if name not in inputs:
                    why = f"the model {model.name!r} has no such input channel{nearest(name, inputs)}"
                    raise self.fail(f"{self.channels_of}.{table}", name, why)
        direct = self.direct(model)
        self._check_raw(model, direct)
        for name, what in self.readings.missing.items():
            if what == "hold" and self.policy(model).longest_gap is None:
                why = "'hold' needs [policy] longest_gap: after how many readings in a row that lack it to give up"
                raise self.fail(f"{self.channels_of}.missing", name, why)
        names = output_numbers(self.signals, model)[0]
        if self.action is not None and self.action.source is not None and not places_of(names, self.action.source):
            near = nearest(self.action.source, groups(names))
            why = f"neither the model {model.name!r} nor [outputs] has {self.action.source!r}{near}"
            raise self.fail("action", "from", why)
        for action_field, mapping in self.action.fields.items() if self.action else ():
            for name in mapping.gain:
                if name not in names:
                    why = f"the model {model.name!r} has no output {name!r}{nearest(name, names)}"
                    raise self.fail(f"action.{action_field}", "gain", why)
        if self.missing == "predict" and not model.feedback:
            why = f"'predict' needs a model that declares feedback, and {model.name!r} declares none"
            raise self.fail("policy", "missing", f"{why}; take 'hold' or 'skip'")

    @property
    def inputs_table(self) -> str:
        """How errors name [inputs]."""
        return f"{self.channels_of}.inputs" if self.member else "inputs"

    def check_readings(self, fields: Sequence[tuple[str, str]]) -> None:
        """(channel, field) of all that feeds the models, as `aged` says. ConfigError: an age is missing, or means
        nothing."""
        self.readings.check(fields, self._declared_fields(), self.fail)

    def aged(self, model: Model) -> list[tuple[str, str]]:
        """(channel, field) of all that the robot's readings feed, and whose age [readings] says."""
        feeds = {field: channel for channel, field in self.direct(model).items()}
        raw = raw_names(self.signals, model, self.channels)
        return [(feeds.get(one.name, one.name), one.name) for one in raw if one.max_age_ms is None and not one.model]

    def direct(self, model: Model) -> dict[str, str]:
        """Channel → field, of the channels that no [inputs] makes."""
        names = [channel.name for channel in model.inputs]
        made = {names[place] for name in self.signals.inputs for place in places_of(names, name)}
        return {c.name: self.field_of(c) for c in model.inputs if c.name not in made}

    def _check_raw(self, model: Model, direct: Mapping[str, str]) -> None:
        """What a tick must hold, and what of it may be missing."""
        for number in () if self.member else raw_names(self.signals, model, self.channels):
            if number.model:
                raise self.fail("inputs", number.name, "is another model's output, and there is only one [model]")
        if not self.member:
            self.check_readings(self.aged(model))
        said: dict[str, str] = {}
        table = f"{self.channels_of}.missing"
        for name, what in self.readings.missing.items():
            if name not in direct:
                raise self.fail(table, name, "is made by [inputs]; say there what stands in: default = …")
            other = said.setdefault(direct[name], name)
            if self.readings.missing[other] != what:
                why = f"{direct[name]!r} feeds {other!r}, too, and stands in otherwise there"
                raise self.fail(table, name, why)

    def _declared_fields(self) -> list[str] | None:
        """The fields of the tick's format, where this file declares them itself."""
        link = self.link.open()
        if not isinstance(link, Dialect):
            return None
        return [f.name for form in link.declared.readings if form.name == self.reading for f in form.fields]

    def open_link(self, *, ask_first: bool = False) -> Link:
        """A new link to the robot. Where nothing of this file drives it, neither an action nor an event's, its safe
        output is not sent either: somebody else may be driving."""
        drives = self.action is not None or any(event.action is not None for event in self.events)
        return self.link.open(ask_first=ask_first, drives=drives)

    def check_device(self, dictionary: Dictionary) -> None:
        """Raise ConfigError where another robot than the one that [robot] names is at the port."""
        found = {"device": dictionary.device, "version": dictionary.version, "dictionary": dictionary.digest.hex()}
        for key, value in found.items():
            wanted = getattr(self.robot, key)
            if wanted is not None and value != wanted:
                raise self.fail("robot", key, f"is {wanted!r}, but the robot at the port says {value!r}")

    def policy(self, model: Model) -> Policy:
        """What stands in for missing readings: what the file says, else what the model says."""
        given, own = self.longest_gap, model.policy
        return replace(
            own, missing=self.missing or own.missing, longest_gap=own.longest_gap if given is None else given
        )


_LONGEST = 1 << 20  # characters of a robot.toml
DTR_PROFILES = ("on", "off", "keep", "reset")


def load_config(path: str | Path) -> RobotConfig:
    """Read robot.toml. ConfigError names file, table and key; a file that cannot be read is a ConfigError too."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
        text = data.decode("utf-8-sig") if len(data) <= _LONGEST else "#" * len(data)  # refused by its length
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not text in UTF-8 (byte {error.start}); is it really a robot.toml?") from None
    except OSError as error:
        other = nearest_file(path) if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}{other}") from None
    return parse_config(text, str(path), path.parent)


def parse_config(text: str, source: str, folder: Path) -> RobotConfig:
    """The same from text, for a configuration that travels inside a recording."""
    root = _root(text, source)
    port = _port(root.table("port", required=False))
    model_file, any_rate = "", False
    models: tuple[ModelConfig, ...] = ()
    if isinstance(root.values.get("model"), list):
        models = several(root)
    else:
        model = cast(Table, root.table("model"))
        model_file, any_rate = model.take("file", str), model.take("any_rate", bool, False)
        model.done()
    readings_table = cast(Table, root.table("readings"))
    given = commands(root)
    ages_ms = {name: one.max_age_ms for name, one in given.items()}
    readings = replace(read_readings(readings_table), commands=ages_ms)
    for key in ("channels", "missing") if models else ():
        if key in readings_table.values:
            raise readings_table.fail(key, f"belongs to one model; of several each has its own, [model.{key}]")
    action = _action(root.table("action", required=False))
    signals = declared(root)
    if models and signals:
        key = "inputs" if signals.inputs else "outputs"
        raise root.fail(key, f"belongs to one model; of several each has its own, [model.{key}.NAME]")
    recorded = recording(root.table("recording", required=False))
    link = _link(root, folder)
    identity = _identity(root.table("robot", required=False))
    policy = root.table("policy", required=False)
    on_reset, missing, longest_gap = "reset", None, None
    if policy is not None:
        on_reset = policy.choice("on_reset", ("reset", "keep"), "reset")
        missing, longest_gap = missing_policy(policy)
        policy.done()
    realtime, deadline_ms = _realtime(root.table("realtime", required=False))
    limits = {name: (item.minimum, item.maximum) for name, item in action.fields.items()} if action else {}
    events = thresholds(root, action.format if action else None, limits)
    daemon = daemon_table(root.table("daemon", required=False), source)
    root.done()
    return RobotConfig(
        source=source,
        text=text,
        folder=folder,
        port=port,
        model_file=model_file,
        readings=readings,
        action=action,
        signals=signals,
        recording=recorded,
        robot=identity,
        link=link,
        on_reset=cast(Literal["reset", "keep"], on_reset),
        missing=missing,
        longest_gap=longest_gap,
        realtime=realtime,
        any_rate=any_rate,
        deadline_ms=deadline_ms,
        models=models,
        events=events,
        commands=given,
        daemon=daemon,
    )


def link_of(text: str, source: str, folder: Path) -> LinkConfig:
    """[link] alone, of a robot.toml that need not be whole."""
    return _link(_root(text, source), folder)


def _root(text: str, source: str) -> Table:
    if len(text) > _LONGEST:
        raise ConfigError(f"{source}: is longer than {_LONGEST} characters; is it really a robot.toml?")
    try:
        return Table(source, "", tomllib.loads(text), ConfigError)
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise ConfigError(f"{source}: is not valid TOML: {error}{_mistyped(text, str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{source}: is not valid TOML: it is nested too deep") from None


def _mistyped(text: str, error: str) -> str:
    """What to write instead, for the usual mistakes; the line itself where it is another one."""
    found = re.search(r"line (\d+)", error)
    lines = text.splitlines()
    line = lines[int(found[1]) - 1] if found and int(found[1]) <= len(lines) else ""
    if bare := re.fullmatch(r"\s*([\w.-]+)\s*=\s*([A-Za-z/~.][^\s\"'#\[\]{}]{0,200})\s*(#.*)?", line):
        return f'; a text stands in quotes: {bare[1]} = "{bare[2]}"'
    if comma := re.fullmatch(r"\s*([\w.-]+)\s*=\s*([+-]?\d+),(\d+)\s*(#.*)?", line):
        return f"; a number has a decimal point: {comma[1]} = {comma[2]}.{comma[3]}"
    if (table := re.fullmatch(r"\s*\[([^\[\]]+)\]\s*(#.*)?", line)) and "twice" in error:
        return f"; what stands below this second [{table[1]}] belongs below the first"
    return f"; the line is: {line.strip():.80}" if line.strip() else ""


def _link(root: Table, folder: Path) -> LinkConfig:
    link = LinkConfig(root.take("link", dict, {}), root.source, folder, ConfigError)
    link.open()  # every key of it is looked at
    return link


def _realtime(table: Table | None) -> tuple[Realtime, float | None]:
    """What is asked of the system, and the deadline of an answer in ms."""
    if table is None:
        return AS_ANY, None
    try:
        made = Realtime(
            priority=table.take("priority", int, None),
            cpu=table.take("cpu", int, None),
            lock_memory=table.take("lock_memory", bool, False),
            required=table.take("required", bool, False),
        )
    except RealtimeError as error:
        raise table.fail(str(error).split()[0], str(error)) from None
    deadline_ms = table.take("deadline_ms", float, None)
    table.done()
    if deadline_ms is not None and not deadline_ms > 0:
        raise table.fail("deadline_ms", f"must be above 0, not {deadline_ms:g}")
    return made, deadline_ms


def _port(table: Table | None) -> PortConfig:
    if table is None:
        return PortConfig()
    device = table.take("device", str, None)
    if device is not None and network_names.scheme(device):
        _check_network(table, device)
    baud = table.take("baud", int, 115200)
    if not 0 < baud < 1 << 31:
        raise table.fail("baud", f"must be above zero and below 2^31, not {show(baud)}")
    port = PortConfig(
        device=device,
        baud=baud,
        dtr=cast(Literal["on", "off", "keep", "reset"], table.choice("dtr", DTR_PROFILES, "on")),
        exclusive=table.take("exclusive", bool, True),
        low_latency=table.take("low_latency", bool, False),
        wait=table.take("wait", bool, False),
    )
    table.done()
    return port


def _check_network(table: Table, device: str) -> None:
    """Raise ConfigError for a network port that is none, or a key that only a serial line has."""
    try:
        place = network_names.parse(device)
    except PortError as error:
        raise table.fail("device", str(error)) from None
    for key in ("baud", "dtr", "low_latency") if place.anybody else ("baud", "dtr", "low_latency", "exclusive"):
        if key in table.values:
            raise table.fail(key, f"means nothing for {device}: only a serial line has it; leave it out")


def _action(table: Table | None) -> ActionConfig | None:
    if table is None:
        return None
    name, source = table.take("format", str), table.take("from", str, None)
    fields: dict[str, FieldConfig] = {}
    for key, value in table.values.items():
        if key == "format" or (key == "from" and source is not None):
            continue
        if not isinstance(value, dict):
            close = nearest(key, ["format", "from"])
            raise table.fail(key, f"unknown key{close} (a field of the message is a table of its own, [action.{key}])")
        fields[key] = _action_field(cast(Table, table.table(key)))
    if fields and source is not None:
        raise table.fail("from", f"makes all fields, and so does [action.{next(iter(fields))}]; leave one of them out")
    if not fields and source is None:
        why = f"{name!r} has no field; add a table [action.FIELD] for each field of the message, or from = OUTPUT"
        raise table.fail("format", why)
    return ActionConfig(name, fields, source)


def _action_field(table: Table) -> FieldConfig:
    gains = table.table("gain", required=False)
    gain = {} if gains is None else {name: cast(float, gains.take(name, float)) for name in gains.values}
    made = FieldConfig(
        unit=table.take("unit", str),
        offset=table.take("offset", float, 0.0),
        gain=gain,
        minimum=table.take("min", float, None),
        maximum=table.take("max", float, None),
    )
    table.done()
    if "offset" not in table.values and not gain:
        raise table.fail("gain", "is missing, and so is offset: one of them must say what the value is")
    if made.minimum is not None and made.maximum is not None and made.minimum > made.maximum:
        raise table.fail("min", f"{made.minimum:g} is above max = {made.maximum:g}")
    return made


def _identity(table: Table | None) -> RobotIdentity:
    if table is None:
        return RobotIdentity()
    made = RobotIdentity(*(table.take(key, str, None) for key in ("device", "version", "dictionary")))
    table.done()
    if made.dictionary is not None and not re.fullmatch("[0-9a-f]{16}", made.dictionary):
        why = f"must be 16 hexadecimal digits, as edge-lstm describe shows them, not {made.dictionary!r}"
        raise table.fail("dictionary", why)
    return made
