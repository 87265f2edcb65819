"""[readings] of robot.toml: which readings feed the model, and how several formats come to one row.

Its rule: a name is a field of the tick's format or FORMAT.FIELD of another one, and what a name means is decided by
what the robot declares: first a field of the tick's of that very name, then a format and its field. The tick is
`format`: each reading of it is one step. How old another format's value may be is said, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from edge_lstm.errors import ConfigError, nearest
from edge_lstm.logs.ticks import Wanted
from firmware_bridge.table import Table, show

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing
    from firmware_bridge.dictionary import Field, Format

LONGEST_MS = 1e9  # of an age, eleven days: a value that counts for ever is "hold"
Fail = Callable[[str, str, str], ConfigError]  # table, key, why


@dataclass(frozen=True)
class Readings:
    """[readings]. channels: model channel → field, where the names differ; max_age_ms: of the values of other formats,
    ages: of single ones; missing: channel → what stands in where it alone is missing, if not what [policy] says."""

    format: str
    channels: Mapping[str, str] = field(default_factory=dict)
    max_age_ms: float | None = None
    ages: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, Missing | float] = field(default_factory=dict)
    commands: Mapping[str, float] = field(default_factory=dict)  # of [commands]: how old each may be, ms

    def age_ms(self, form: str) -> float | None:
        """How old a value of this format may be; None where nothing says so."""
        return self.commands.get(form) or self.ages.get(form, self.max_age_ms)

    def check(self, fields: Iterable[tuple[str, str]], own: Sequence[str] | None, fail: Fail) -> None:
        """Before the robot is known: (channel, field) of all that feeds the model. own: the fields of the tick's
        format, where the file declares them; None: they are known at the handshake. ConfigError: an age is missing, or
        means nothing."""
        others = {
            channel: name
            for channel, name in fields
            if "." in name and name not in (own or ()) and name.partition(".")[0] not in self.commands
        }
        for name in others.values() if own is not None else ():
            if self.max_age_ms is None and not any(name.startswith(f"{form}.") for form in self.ages):
                raise self.no_age(name.partition(".")[0], name, fail)
        for form in self.ages:
            if form == self.format:
                raise fail("readings.ages", form, "is the tick itself, which is never old")
            if not any(name.startswith(f"{form}.") for name in others.values()):
                raise fail("readings.ages", form, f"feeds no channel; one that it feeds is written {form}.FIELD")
        if self.max_age_ms is not None and not others:
            why = "means nothing where no channel is fed by another format (FORMAT.FIELD); leave it out"
            raise fail("readings", "max_age_ms", why)

    def no_age(self, form: str, name: str, fail: Fail) -> ConfigError:
        """The error about a format whose age nothing says."""
        why = f"is missing: how old may the latest {name!r} be that feeds the model? max_age_ms = 100"
        return fail("readings", "max_age_ms", f"{why} (of this format alone: [readings.ages] {form} = 100)")


def readings(table: Table) -> Readings:
    """The table, as far as it alone can be checked."""
    form, channels = table.take("format", str), named_texts(table, "channels")
    max_age_ms = None if "max_age_ms" not in table.values else _age(table, "max_age_ms")
    ages = table.table("ages", required=False)
    made = Readings(
        format=form,
        channels=channels,
        max_age_ms=max_age_ms,
        ages={} if ages is None else {name: _age(ages, name) for name in ages.values},
        missing=stand_ins(table),
    )
    table.taken.append("max_age_ms")
    table.done()
    return made


def named_texts(table: Table, key: str) -> dict[str, str]:
    """[….channels]: model channel → robot field. Two channels may read one field; that is a choice, not a mistake."""
    inner = table.table(key, required=False)
    return {} if inner is None else {name: cast(str, inner.take(name, str)) for name in inner.values}


def stand_ins(table: Table) -> dict[str, Missing | float]:
    """[….missing]: channel → what stands in where it alone is missing."""
    inner = table.table("missing", required=False)
    return {} if inner is None else {name: _missing(inner, name) for name in inner.values}


def _age(table: Table, key: str) -> float:
    age = cast(float, table.take(key, float))
    if not 0 < age <= LONGEST_MS:
        raise table.fail(key, f"must be a number of ms above 0 and below {LONGEST_MS:.0e}, not {age:g}")
    return age


def _missing(table: Table, key: str) -> Missing | float:
    value = table.values[key]
    if isinstance(value, str):
        if value == "predict":
            why = "'predict' is of the whole reading, [policy] missing; a single channel takes"
            raise table.fail(key, f"{why} 'hold', 'skip' or a number")
        return cast("Missing", table.choice(key, ("hold", "skip")))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise table.fail(key, f"must be 'hold', 'skip' or a number, not {show(value)}")
    return cast(float, table.take(key, float))


@dataclass(frozen=True)
class Source:
    """Where a number of a tick comes from, in what the robot declares."""

    form: Format
    field: Field
    place: int


def find(name: str, tick: Format, others: Sequence[Format]) -> Source | str:
    """The field that `name` means. others: the robot's other readings. A str: why there is none, with the nearest."""
    fields = [f.name for f in tick.fields]
    if name in fields:
        place = fields.index(name)
        return Source(tick, tick.fields[place], place)
    for form in others:
        if name.startswith(f"{form.name}."):
            rest, theirs = name[len(form.name) + 1 :], [f.name for f in form.fields]
            if rest in theirs:
                return Source(form, form.fields[theirs.index(rest)], theirs.index(rest))
            return f"the robot's {form.name!r} has no field {rest!r}{nearest(rest, theirs)}"
    if "." in name:
        known = [form.name for form in others]
        form_name = name.partition(".")[0]
        return f"the robot declares no reading {form_name!r}{nearest(form_name, known)}"
    elsewhere = [f"{form.name}.{name}" for form in others if name in [f.name for f in form.fields]]
    if elsewhere:
        return f"the robot's {tick.name!r} has no field {name!r}; another reading has it: {', '.join(elsewhere)}"
    return f"the robot's {tick.name!r} has no field {name!r}{nearest(name, fields)}"


def wanted(
    sources: Sequence[Source], ages_ms: Sequence[float], constants: Sequence[float | None], tick: Format
) -> tuple[tuple[Wanted, ...], dict[str, int]]:
    """What `Ticks` must gather, and the number of each other format."""
    numbers: dict[str, int] = {}
    made = []
    for source, age_ms, constant in zip(sources, ages_ms, constants, strict=True):
        form = source.form.name
        number = 0 if form == tick.name else numbers.setdefault(form, len(numbers) + 1)
        made.append(Wanted(number, source.place, round(age_ms * 1e6), constant))
    return tuple(made), numbers
