"""What a configuration declares of a robot that declares nothing itself: its readings and its actions.

Its rule: what all dialects share stands here, once: names and units, the robot's clock, its counter, limits, scale, and
of an action its limits, its safe values, and what the robot does without us. A dialect reads its own keys from the same
tables. Everything is checked when the file is read, before a byte is sent.

    [link.reading.imu]
    fields = ["ms", "gx deg/s", "_", "vbat V"]     # "name unit"; "_": not used
    time = "ms"                                    # the robot's clock, no channel
    rate_hz = 100
    limits = { vbat = [5, 20] }
    [link.action.motor]
    fields = { left = { min = -1, max = 1, safe = 0 }, gear = { choices = ["N", "D", "R"], safe = "N" } }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

from firmware_bridge.dictionary import Field, Format
from firmware_bridge.errors import DictionaryError, nearest
from firmware_bridge.links.following import RobotClock, RobotCounter
from firmware_bridge.remembered import PART, Remembers
from firmware_bridge.table import REQUIRED, Table

OBSERVED = 100  # readings, before the robot's own rate is held against the declared one
UNUSED = "_"  # the name of a column that nobody needs
TICKS_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
# A clock that counts ms or µs in 32 bits, as Arduino's millis() and micros() do, begins again at 0 after 49.7 days or
# 71.6 minutes.
WRAPS = {"ms": 1 << 32, "us": 1 << 32}
_TIMES = {  # unit of a time column by its own unit or its name, in lower case
    "s": ("s", "sec", "seconds", "time_s", "t_s"),
    "ms": ("ms", "millis", "msec", "t_ms", "time_ms", "time_boot_ms", "timestamp_ms", "tick_ms"),
    "us": ("us", "µs", "micros", "usec", "t_us", "time_us", "time_usec", "timestamp_us"),
    "ns": ("ns", "t_ns", "time_ns", "timestamp_ns"),
}


@dataclass(frozen=True)
class Column:
    """One number of a message, in the order in which the dialect gives them. type: of the dictionary (`TYPES`); bits:
    of an unsigned integer, after which a counter or a clock begins again; kept: whether it is a channel."""

    name: str
    unit: str = ""
    type: str = "f64"
    bits: int | None = None
    kept: bool = True


def column(text: str) -> Column:
    """A column from "name unit"."""
    name, _, unit = text.strip().partition(" ")
    return Column(name, unit.strip(), kept=name != UNUSED)


def columns(table: Table, key: str = "fields") -> list[Column]:
    """The columns of a reading from its list of texts. The table's error where one stands twice or has no name."""
    found = [column(text) for text in table.list(key, str)]
    if not found:
        raise table.fail(key, 'is empty; name each number of the message, such as ["ms", "gx deg/s"]')
    seen = set()
    for item in found:
        if not item.name:
            raise table.fail(key, f'holds a field without a name; "{UNUSED}" is one that is not used')
        if item.name in seen and item.name != UNUSED:
            raise table.fail(key, f"names {item.name!r} twice")
        seen.add(item.name)
    return found


@dataclass
class ReadingDeclaration(Remembers):
    """One kind of reading. A dialect gives `len(columns)` raw numbers, in their order."""

    REMEMBERED: ClassVar = {
        **dict.fromkeys(("number", "told"), int),
        "since": tuple[int, int],
        "booted": bool,
        **dict.fromkeys(("clock", "follow"), PART),
    }

    name: str
    table: Table  # for the dialect's own keys
    columns: tuple[Column, ...]
    form: Format
    kept: tuple[int, ...]  # the columns that are fields of `form`, in its order
    scales: tuple[tuple[float, float], ...] | None  # (scale, offset) of each of those; None: raw numbers are physical
    limits: tuple[tuple[int, float, float], ...]  # (field of form, least, greatest)
    time: int | None
    clock: RobotClock | None
    counter: int | None
    follow: RobotCounter | None
    period_ns: float | None  # from one reading to the next; None where no rate is declared
    number: int = 0  # of the last reading, the missing ones counted
    since: tuple[int, int] = (0, 0)  # the number and the clock's µs of the first since the clock began
    told: int = 0  # readings since then that are known to be missing already
    booted: bool = False  # since then the robot has printed something that it prints when it starts

    @property
    def rate_hz(self) -> float | None:
        """Readings per second, as declared."""
        return self.form.rate_hz

    def observed_hz(self, device_us: int) -> float | None:
        """Readings per second by the robot's own clock, which shows `device_us` with the last one; None before there
        are enough."""
        number, first_us = self.since
        count = self.number - number
        return count * 1e6 / (device_us - first_us) if count >= OBSERVED and device_us > first_us else None

    @property
    def counted(self) -> bool:
        """Whether a reading that never arrives is known to be missing."""
        return self.follow is not None or (self.clock is not None and self.form.rate_hz is not None)


@dataclass(frozen=True)
class ActionDeclaration:
    """One kind of action."""

    name: str
    table: Table
    form: Format
    repeat_ns: int | None  # the last one is written again after so long, while it is fresh
    watchdog_ms: int  # after so long without a command the robot is safe by itself; 0: never
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # field → the texts that its numbers count


def reading(name: str, number: int, table: Table, found: Sequence[Column]) -> ReadingDeclaration:
    """A reading from the keys that all dialects share. number: 1 to 255, of its format; found: its columns."""
    names = [item.name for item in found if item.name != UNUSED]
    time, clock = _clock(table, found, names)
    counter, wrap = _counter(table, found, names)
    aside = {time, counter}
    kept = tuple(k for k, item in enumerate(found) if item.kept and k not in aside)
    if not kept:
        raise table.fail("fields", "leaves no number for a model: all of them are unused, a time or a counter")
    if time is not None and time == counter:
        raise table.fail("counter", f"is {found[time].name!r}, which is the time already")
    channels = [found[k].name for k in kept]
    scale, offset = _numbers(table, "scale", channels, names), _numbers(table, "offset", channels, names)
    for key, value in scale.items():
        if value == 0:
            raise table.fail("scale", f"of {key!r} is 0, which would make every value the same")
    rate_hz = table.take("rate_hz", float, None)
    fields = []
    for k in kept:
        item = found[k]
        try:
            fields.append(Field(item.name, item.type, item.unit, scale.get(item.name, 1.0), offset.get(item.name, 0.0)))
        except DictionaryError as error:
            raise table.fail("fields", str(error)) from None
    try:
        form = Format(name, number, "reading", tuple(fields), rate_hz)
    except DictionaryError as error:
        raise table.fail("rate_hz" if "rate_hz" in str(error) else "fields", str(error)) from None
    plain = all(field.scale == 1 and field.offset == 0 for field in fields)
    period_ns = None if form.rate_hz is None else 1e9 / form.rate_hz
    return ReadingDeclaration(
        name=name,
        table=table,
        columns=tuple(found),
        form=form,
        kept=kept,
        scales=None if plain else tuple((field.scale, field.offset) for field in fields),
        limits=_limits(table, [field.name for field in fields], names),
        time=time,
        clock=clock,
        counter=counter,
        follow=None if wrap is None else RobotCounter(wrap, period_ns),
        period_ns=period_ns,
    )


def _place(table: Table, key: str, names: list[str], found: Sequence[Column]) -> int | None:
    """Which column a key names; None where the key is not there."""
    name = table.take(key, str, None)
    if name is None:
        return None
    if name not in names:
        raise table.fail(key, f"there is no field {name!r}{nearest(name, names)}")
    return [item.name for item in found].index(name)


def _clock(table: Table, found: Sequence[Column], names: list[str]) -> tuple[int | None, RobotClock | None]:
    place = _place(table, "time", names, found)
    if place is None:
        if "time_unit" in table.values:
            raise table.fail("time_unit", 'is given, but no field is the robot\'s clock: add time = "FIELD"')
        return None, None
    item = found[place]
    unit = table.choice("time_unit", list(TICKS_NS), "") if "time_unit" in table.values else ""
    for known, names_of in _TIMES.items():
        if not unit and (item.unit.lower() in names_of or (not item.unit and item.name.lower() in names_of)):
            unit = known
    if not unit:
        why = f"nothing says in which unit {item.name!r} counts; add time_unit = "
        raise table.fail("time", why + ", ".join(f'"{name}"' for name in TICKS_NS) + ", one of them")
    wrap = WRAPS.get(unit) if item.bits is None else 1 << item.bits if item.bits < 64 else None
    return place, RobotClock(TICKS_NS[unit], wrap)


def _counter(table: Table, found: Sequence[Column], names: list[str]) -> tuple[int | None, int | None]:
    place = _place(table, "counter", names, found)
    if place is None:
        if "counter_bits" in table.values:
            raise table.fail("counter_bits", 'is given, but no field is a counter: add counter = "FIELD"')
        return None, None
    bits = table.take("counter_bits", int, found[place].bits)
    if bits is None:
        why = f"is missing: after how many bits does {found[place].name!r} begin again at 0? 8, 16 or 32, most often"
        raise table.fail("counter_bits", why)
    if not 1 <= bits <= 32:
        raise table.fail("counter_bits", f"must be a number of bits from 1 to 32, not {bits}")
    has = found[place].bits
    if has is not None and bits > has:
        raise table.fail("counter_bits", f"{found[place].name!r} has {has} bits, so it cannot count with {bits}")
    return place, 1 << bits


def _fields_table(table: Table, key: str, channels: Sequence[str], names: Sequence[str]) -> Table | None:
    """A table by channel; None where it is not there. The table's error where a key is none."""
    inner = table.table(key, required=False)
    for name in inner.values if inner is not None else ():
        if name not in channels:
            aside = f"is a time or a counter, which has no {key}" if name in names else "is no field"
            raise table.fail(key, f"{name!r} {aside}{nearest(name, channels)}")
    return inner


def _numbers(table: Table, key: str, channels: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """A table of numbers by channel."""
    inner = _fields_table(table, key, channels, names)
    if inner is None:
        return {}
    return {name: cast(float, inner.take(name, float)) for name in inner.values}


def _limits(table: Table, fields: Sequence[str], names: Sequence[str]) -> tuple[tuple[int, float, float], ...]:
    inner = _fields_table(table, "limits", fields, names)
    made = []
    for name in inner.values if inner is not None else ():
        ends = cast(Table, inner).list(name, float)
        if len(ends) != 2:
            raise table.fail("limits", f"of {name!r} must be [least, greatest], two numbers, not {len(ends)}")
        if ends[0] > ends[1]:
            raise table.fail("limits", f"of {name!r} are reversed: {ends[0]:g} is above {ends[1]:g}")
        made.append((fields.index(name), *ends))
    return tuple(made)


def action(
    name: str, number: int, table: Table, types: Mapping[str, str], safe_needed: bool, sends_texts: bool = False
) -> ActionDeclaration:
    """An action from the keys that all dialects share. types: of its fields, f64 where it is not in there; safe_needed:
    each field must say its safe value; else it is 0, held within its limits, and the dialect knows how it is safe;
    sends_texts: the dialect can send a text for a number."""
    inner = cast(Table, table.table("fields"))
    fields = []
    choices: dict[str, tuple[str, ...]] = {}
    for key in inner.values:
        item = cast(Table, inner.table(key))
        if "choices" in item.values:
            choices[key] = _choices(item, sends_texts)
            least, most = 0.0, len(choices[key]) - 1.0
            safe, unit = _safe_choice(item, choices[key], safe_needed), ""
        else:
            if sends_texts and item.values.keys().isdisjoint(("min", "max")):  # "choises" is no lack of min
                item.taken += ["choices", "min", "max", "safe", "unit"]
                item.done()
            least, most = item.take("min", float), item.take("max", float)
            if least > most:
                raise item.fail("min", f"{least:g} is above max = {most:g}")
            safe = item.take("safe", float, REQUIRED if safe_needed else min(max(0.0, least), most))
            if not least <= safe <= most:
                raise item.fail("safe", f"{safe:g} is outside {least:g} to {most:g}, which min and max allow")
            unit = item.take("unit", str, "")
        item.done()
        try:
            fields.append(Field(key, types.get(key, "f64"), unit, minimum=least, maximum=most, safe=safe))
        except DictionaryError as error:
            raise table.fail("fields", str(error)) from None
    try:
        form = Format(name, number, "action", tuple(fields))
    except DictionaryError as error:
        raise table.fail("fields", str(error)) from None
    repeat_ms, watchdog_ms = _ms(table, "repeat_ms", 1), _ms(table, "watchdog_ms", 0)
    if repeat_ms is not None and watchdog_ms and repeat_ms >= watchdog_ms:
        why = f"{repeat_ms} is too late for watchdog_ms = {watchdog_ms}: the robot would be safe before each repetition"
        raise table.fail("repeat_ms", why)
    repeat_ns = None if repeat_ms is None else repeat_ms * 1_000_000
    return ActionDeclaration(name, table, form, repeat_ns, watchdog_ms or 0, choices)


def _choices(item: Table, sends_texts: bool) -> tuple[str, ...]:
    """The texts of a field. item: the field's table."""
    if not sends_texts:
        raise item.fail("choices", 'are texts, and this dialect sends numbers; dialect "lines" sends texts')
    found = item.list("choices", str)
    if len(found) < 2:
        raise item.fail("choices", "needs two texts or more")
    for key in ("min", "max", "unit"):
        if key in item.values:
            raise item.fail(key, f"stands beside choices, which are numbers from 0 to {len(found) - 1}; leave it out")
    for number, text in enumerate(found):
        if not text:
            raise item.fail("choices", "holds an empty text, which nobody could read back")
        if text in found[:number]:
            raise item.fail("choices", f"names {text!r} twice")
    return tuple(found)


def _safe_choice(item: Table, choices: Sequence[str], needed: bool) -> float:
    """The safe one, which the file says by its text or its number; 0 where it need not and does not."""
    if isinstance(item.values.get("safe"), str):
        return float(choices.index(item.choice("safe", choices)))
    safe: int = item.take("safe", int, REQUIRED if needed else 0)
    if not 0 <= safe < len(choices):
        raise item.fail("safe", f"{safe} is none of the choices, which are 0 to {len(choices) - 1}, or their texts")
    return float(safe)


def _ms(table: Table, key: str, least: int) -> int | None:
    """A number of milliseconds; None where it is not there."""
    value: int | None = table.take(key, int, None)
    if value is None:
        return None
    if not least <= value <= 3_600_000:
        raise table.fail(key, f"must be a number of milliseconds from {least} to 3600000, not {value}")
    return value
