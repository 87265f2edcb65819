"""[commands.NAME] of robot.toml: numbers that people give while it runs, and that feed the model as a reading's do.

    [commands.drive]
    max_age_ms = 500                                           # so long a command counts; then it is missing
    vx = { unit = "m/s", min = -1.0, max = 1.0, default = 0.0 }  # default: what stands in where it is missing
    yaw = { unit = "rad/s", default = 0.0 }
    [inputs.command]
    from = ["drive.vx", "drive.yaw"]                           # as of a reading: FORMAT.FIELD

Its rule: a command is a reading of another format than the tick's, which comes from the control socket and not from the
robot. So the latest one counts until it is too old, a robot that starts again has none, and a replay has them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import cast

from edge_lstm.errors import ConfigError, nearest
from firmware_bridge.errors import DictionaryError
from firmware_bridge.formats import Field, Format
from firmware_bridge.table import Table

LONGEST_MS = 1e9  # of an age, as of other readings


@dataclass(frozen=True)
class Command:
    """One of [commands]. form: its fields as those of a reading; limits and defaults by field."""

    form: Format
    max_age_ms: float
    limits: Mapping[str, tuple[float, float]]
    defaults: Mapping[str, float]

    def values(self, given: Mapping[str, float]) -> tuple[float, ...]:
        """The numbers of all fields; those that are not given are their defaults. ConfigError: one is not known, not
        given and without a default, or outside its limits."""
        name, known = self.form.name, [field.name for field in self.form.fields]
        for key in given:
            if key not in known:
                raise ConfigError(f"the command {name!r} has no field {key!r}{nearest(key, known)}")
        values = []
        for key in known:
            value = given.get(key, self.defaults.get(key))
            if value is None:
                raise ConfigError(f"the command {name!r} needs {key!r}, which has no default")
            least, most = self.limits[key]
            if not (isfinite(value) and least <= value <= most):
                raise ConfigError(f"{key} = {value:g} is outside what [commands.{name}] allows: {least:g} to {most:g}")
            values.append(value)
        return tuple(values)


def commands(root: Table) -> dict[str, Command]:
    """All of table `commands`, in the order of the file."""
    return {name: _command(name, table) for name, table in root.tables("commands").items()}


def _command(name: str, table: Table) -> Command:
    age_ms = cast(float, table.take("max_age_ms", float))
    if not 0 < age_ms <= LONGEST_MS:
        raise table.fail("max_age_ms", f"must be a number of ms above 0 and below {LONGEST_MS:.0e}, not {age_ms:g}")
    fields, limits, defaults = [], {}, {}
    for key in table.values:
        if key == "max_age_ms":
            continue
        inner = cast(Table, table.table(key))
        least, most = inner.take("min", float, float("-inf")), inner.take("max", float, float("inf"))
        default = inner.take("default", float, None)
        unit = inner.take("unit", str)
        inner.done()
        if not least <= most:
            raise inner.fail("min", f"{least:g} is above max = {most:g}")
        if default is not None:
            if not least <= default <= most:
                raise inner.fail("default", f"{default:g} is outside {least:g} to {most:g}")
            defaults[key] = default
        limits[key] = (least, most)
        try:
            fields.append(Field(key, "f64", unit))
        except DictionaryError as error:
            raise table.fail(key, str(error)) from None
    table.done()
    try:
        form = Format(name, 255, "reading", tuple(fields))
    except DictionaryError as error:
        raise table.fail(next(iter(table.values)), str(error)) from None
    return Command(form, age_ms, limits, defaults)


def beside(known: Mapping[str, Command], readings: Iterable[Format]) -> list[Format]:
    """The robot's readings, and behind them what people give. ConfigError: one has the name of another."""
    made = list(readings)
    for form in made:
        if form.name in known:
            raise ConfigError(f"[commands.{form.name}]: the robot has a reading of this name; choose another")
    return [*made, *(command.form for command in known.values())]
