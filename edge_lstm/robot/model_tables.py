"""[[model]] of robot.toml: several models, how often each is due, and which of them feeds which.

Its rule: what the tables alone can say wrong is found here: two models of one name, a rate beside a number of readings,
a circle of models. What the model files have is for `models.py`, the robot's rate for the handshake.

    [[model]]
    name = "estimator"
    file = "estimator.npz"
    [[model]]
    name = "policy"
    file = "policy.npz"
    every = 4                       # due with every fourth reading, the first one included; or rate_hz = 250
    [model.channels]                # where the source is not the field of the channel's own name
    speed = "estimator.speed"       # MODEL.OUTPUT: the latest output of another model
    current = "current_left"        # FIELD, or FORMAT.FIELD
    [model.inputs.command]          # as [inputs] and [outputs]; a source more: model = "estimator.speed"
    constant = 0.5
    [model.missing]
    current = "hold"                # as [readings.missing]
    [model.policy]                  # of this model, instead of what [policy] says
    missing = "hold"
    longest_gap = 5
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from edge_lstm.robot.readings import named_texts, stand_ins
from edge_lstm.signals.declared import Declared, declared
from firmware_bridge.errors import nearest
from firmware_bridge.table import Table

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing


@dataclass(frozen=True)
class ModelConfig:
    """One of several models. channels: its input channel → FIELD or MODEL.OUTPUT; fed: of them, those that another
    model feeds → that model and its output. every: readings; None: as `rate_hz` says, once the robot's rate is
    known."""

    name: str
    file: str
    every: int | None
    rate_hz: float | None
    channels: Mapping[str, str]
    fed: Mapping[str, tuple[str, str]]
    each: Mapping[str, Missing | float]  # channel → what stands in where it alone is missing
    signals: Declared
    missing: Missing | None = None  # None: as [policy]
    longest_gap: int | None = None
    any_rate: bool = False  # it may be due at another rate than it was made for

    @property
    def table(self) -> str:
        """How errors name its table."""
        return f'model "{self.name}"'

    def feeders(self) -> Iterator[tuple[str, str, str, str]]:
        """Table and key in it, model and output of each output of another model that feeds it."""
        for channel, (name, output) in self.fed.items():
            yield f"{self.table}.channels", channel, name, output
        for made in self.signals.inputs.values():
            for part in made.parts:
                if part.kind == "model":
                    name, _, output = part.names[0].partition(".")
                    yield part.table.name, part.key, name, output

    def due_every(self, tick_hz: float | None) -> int | str:
        """With every how many readings it is due, where they come at this rate; a sentence where that is no number."""
        if self.every is not None or self.rate_hz is None:
            return self.every or 1
        if not tick_hz:
            why = "the robot does not say how often its reading comes"
            return f"cannot be met: {why}; say every = N readings"
        count = max(1, round(tick_hz / self.rate_hz))
        if abs(count * self.rate_hz - tick_hz) > 1e-6 * tick_hz:
            return f"{self.rate_hz:g} does not divide the {tick_hz:g} Hz of the readings; {tick_hz / count:g} does"
        return count


def several(root: Table) -> tuple[ModelConfig, ...]:
    """All models, each after those that feed it, otherwise in the order of the file."""
    root.taken.append("model")
    tables = [_named(root, table) for table in root.list("model", dict)]
    if not tables:
        raise root.fail("model", "is an empty list")
    names: list[str] = []
    for name, table in tables:
        if name in names:
            raise table.fail("name", f"two models are called {name!r}")
        names.append(name)
    return _in_order([_one(name, table, names) for name, table in tables], root)


def _named(root: Table, table: Table) -> tuple[str, Table]:
    name = cast(str, table.take("name", str))
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise table.fail("name", f"{name!r} must be of letters, digits, '_' and '-'")
    named = Table(root.source, f'model "{name}"', table.values, root.error, root.folder)
    named.taken.append("name")
    return name, named


def _one(name: str, table: Table, names: Sequence[str]) -> ModelConfig:
    file = table.take("file", str)
    every, rate_hz = table.take("every", int, None), table.take("rate_hz", float, None)
    if every is not None and rate_hz is not None:
        raise table.fail("rate_hz", f"stands beside every = {every}; one of them says how often the model is due")
    if every is not None and every < 1:
        raise table.fail("every", f"must be a number of readings from 1, not {every}")
    if rate_hz is not None and not rate_hz > 0:
        raise table.fail("rate_hz", f"must be above 0, not {rate_hz:g}")
    channels, each = named_texts(table, "channels"), stand_ins(table)
    fed = {}
    for channel, source in channels.items():
        model, dot, output = source.partition(".")
        if dot and model in names:
            fed[channel] = model, output
    signals = declared(table)
    policy = table.table("policy", required=False)
    missing, longest_gap = None, None
    if policy is not None:
        missing, longest_gap = missing_policy(policy)
        policy.done()
    any_rate = table.take("any_rate", bool, False)
    table.done()
    for made in signals.inputs.values():
        for part in made.parts:
            if part.kind == "model" and (other := part.names[0].partition(".")[0]) not in names:
                raise part.fail(f"there is no model {other!r}{nearest(other, names)}")
    return ModelConfig(name, file, every, rate_hz, channels, fed, each, signals, missing, longest_gap, any_rate)


def _in_order(models: Sequence[ModelConfig], root: Table) -> tuple[ModelConfig, ...]:
    """Each after those that feed it. An error names a circle."""
    left, done = list(models), list[ModelConfig]()
    while left:
        for model in left:
            if all(any(item.name == feeder for item in done) for _, _, feeder, _ in model.feeders()):
                break
        else:
            circle, table, key = _circle(left)
            why = f"the models feed each other in a circle: {' → '.join(circle)}; one of them must go without"
            raise root.error(f"{root.source}: [{table}] {key}: {why}")
        left.remove(model)
        done.append(model)
    return tuple(done)


def _circle(models: Sequence[ModelConfig]) -> tuple[list[str], str, str]:
    """One circle among these, each fed by one of the others: feeder → fed, the first again at the end; and the table
    and key that close it."""
    by_name = {model.name: model for model in models}
    path, at = [models[0].name], models[0]
    while True:
        feeder = next(name for _, _, name, _ in at.feeders() if name in by_name)
        if feeder in path:
            circle = [*path[path.index(feeder) :], feeder][::-1]
            table, key = next((table, key) for table, key, name, _ in by_name[feeder].feeders() if name in circle)
            return circle, table, key
        path.append(feeder)
        at = by_name[feeder]


def missing_policy(policy: Table) -> tuple[Missing | None, int | None]:
    """`missing` and `longest_gap` of a table; None: left out."""
    missing = policy.choice("missing", ("skip", "hold", "predict"), "") if "missing" in policy.values else None
    longest_gap = policy.take("longest_gap", int, None)
    if longest_gap is not None and longest_gap < 0:
        raise policy.fail("longest_gap", f"must be a number of readings, not {longest_gap}")
    if missing in ("hold", "predict") and longest_gap is None:
        why = f"is missing; say after how many missing readings in a row {missing!r} must give up and reset the memory"
        raise policy.fail("longest_gap", why)
    return cast("Missing | None", missing), longest_gap
