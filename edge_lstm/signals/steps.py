"""What may be done to the numbers of an input or an output, one after the other: a record per step.

Its rule: a record is all there is to know about a step: how robot.toml writes it and what is refused, how it is built
out of a program's operations, and its float64 twin, which tests compare it with. A step takes n numbers of one reading
and gives numbers; what it remembers is a state of the program. Parameters are float32, as the program has them; what
depends on the rate is worked out in float64 and rounded once.

After a reset nothing is known of earlier readings: a step that looks back takes its first value for all that came
before. So a filter starts at the value, a difference at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.operation import Slot
from firmware_bridge.table import Table, show

Doubles = npt.NDArray[np.float64]
Numbers = tuple[float, ...]  # one for all, or one for each
MOST = 4096  # numbers of one input or output

# pi in three parts, the first two of 8 bits: their products with whole numbers below 2^16 are exact.
_PI = (201 / 64, 253 / 2**18, math.pi - 201 / 64 - 253 / 2**18)
# sin r = r + r z (S0 + z (S1 + z (S2 + z S3))), z = r²: relative error 5e-9 for |r| <= pi/2 (minimax, Lawson 1961).
_SINE = (-0.1666666, 0.008333085, -0.00019810876, 2.60836e-06)
FINE_ANGLE = 1e5  # rad: up to here sin, cos and wrap are as good as the float32 that they are given


class Maker:
    """A builder with what steps need: constants by value, the rate, and whether this is the first reading."""

    def __init__(self, builder: Builder, rate_hz: float | None) -> None:
        self.builder = builder
        self._rate_hz = rate_hz
        self._numbers: dict[Numbers, Slot] = {}
        self._one: Slot | None = None
        self._started: dict[int, Slot] = {}
        self.name = ""  # of the input or output at work: its states are named after it
        self._states: dict[str, int] = {}

    @property
    def rate_hz(self) -> float:
        """Readings per second. It is known here: `check` has seen to it."""
        assert self._rate_hz is not None
        return self._rate_hz

    def numbers(self, values: Numbers) -> Slot:
        """These numbers, once for all that use them."""
        if values not in self._numbers:
            self._numbers[values] = self.builder.constant(values)
        return self._numbers[values]

    def started(self, size: int) -> Slot:
        """Ones, so many; zeros with the first reading after a reset."""
        if self._one is None:
            self._one = self.builder.state("started", 1)
            self.builder.next(self._one, self.numbers((1.0,)))
        if size not in self._started:
            same = np.full(size, self._one.offset)
            self._started[size] = self._one if size == 1 else self.builder.take(same)
        return self._started[size]

    def join(self, *slots: Slot) -> Slot:
        """Their numbers, one after the other."""
        if len(slots) == 1:
            return slots[0]
        return self.builder.take(np.concatenate([slot.elements for slot in slots]))

    def before(self, what: str, first: Slot) -> tuple[Slot, Slot]:
        """A state, and its value as it counts: `first` with the first reading. The caller says what comes next."""
        name = f"{self.name}.{what}"
        self._states[name] = self._states.get(name, 0) + 1
        number = self._states[name]
        state = self.builder.state(name if number == 1 else f"{name}.{number}", first.size)
        return state, self.builder.where(self.started(first.size), state, first)


class Build(Protocol):
    """How a step is built: x, its numbers → the slot of what comes out."""

    def __call__(self, make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot: ...


class Twin(Protocol):
    """The same in float64: (T, n) readings from the reset on → (T, m)."""

    def __call__(self, x: Doubles, values: Sequence[Numbers], rate_hz: float) -> Doubles: ...


@dataclass(frozen=True)
class Step:
    """One kind of step.

    value: how it is written; does: what it does; first: what comes of the first reading after a reset, where it looks
    back. read: its numbers, as far as the file alone says whether they are right. width: how many numbers come of n.
    check: what can be checked only with n and the rate. unit: the unit of what comes out, from that of what goes in.
    ulps: how far from its twin, in float32 ulps of the largest magnitude in and out since the reset (sin, cos and wrap:
    of the largest that comes out), so many readings after the reset.
    """

    name: str
    value: str
    does: str
    read: Callable[[Table, str], tuple[Numbers, ...]]
    build: Build
    twin: Twin
    first: str = ""
    width: Callable[[int, Sequence[Numbers]], int] = lambda n, values: n
    check: Callable[[int, Sequence[Numbers], float], str] = lambda n, values, rate_hz: ""
    needs_rate: bool = False
    angle: bool = False
    unit: Callable[[str], str] = lambda unit: unit
    ulps: Callable[[Sequence[Numbers], float, int], float] = lambda values, rate_hz, readings: 1.0


@dataclass(frozen=True)
class Given:
    """A step as one file says it. texts: the choices of arg max, where they are texts; table, key: for errors."""

    step: Step
    values: tuple[Numbers, ...]
    texts: tuple[str, ...]
    table: Table

    def fail(self, why: str) -> Exception:
        """The error to raise about it."""
        return self.table.fail(self.step.name, why)

    def width(self, n: int, rate_hz: float | None) -> int:
        """How many numbers come of n. An error of the table: the step does not go with n or the rate."""
        if self.step.needs_rate and rate_hz is None:
            raise self.fail("needs a rate, and neither the model nor the robot says theirs")
        for numbers in self.values:
            if len(numbers) not in (1, n) and not self.step.name.startswith(("last", "argmax")):
                raise self.fail(f"has {len(numbers)} numbers for {n}")
        if why := self.step.check(n, self.values, rate_hz or math.nan):
            raise self.fail(why)
        if (width := self.step.width(n, self.values)) > MOST:
            raise self.fail(f"makes {width} numbers; {MOST} are the most")
        return width

    def build(self, make: Maker, x: Slot) -> Slot:
        """The slot of what comes out."""
        return self.step.build(make, x, self.values)

    def twin(self, x: Doubles, rate_hz: float) -> Doubles:
        """(T, n) → (T, m) in float64."""
        return self.step.twin(x, self.values, rate_hz)


# --- how they are written -------------------------------------------------------------------------------------------


def numbers(table: Table, key: str) -> Numbers:
    """A number, or a list of them, as float32 holds them."""
    if isinstance(table.values.get(key), list):
        found = tuple(table.list(key, float))
        if not found:
            raise table.fail(key, "is an empty list")
    elif isinstance(table.values.get(key), str | bool | dict):
        raise table.fail(key, f"must be a number or a list of numbers, not {show(table.values[key])}")
    else:
        found = (table.take(key, float),)
    return tuple(_float32(table, key, value) for value in found)


def _float32(table: Table, key: str, value: float) -> float:
    if not abs(value) < 3.4028235e38:
        raise table.fail(key, f"{value:g} is no float32")
    return float(np.float32(value))


def _any(table: Table, key: str) -> tuple[Numbers, ...]:
    return (numbers(table, key),)


def _not_zero(table: Table, key: str) -> tuple[Numbers, ...]:
    found = numbers(table, key)
    if 0.0 in found:
        raise table.fail(key, "is 0, so nothing would be left of the numbers")
    return (found,)


def _positive(table: Table, key: str) -> tuple[Numbers, ...]:
    found = numbers(table, key)
    if not min(found) > 0:
        raise table.fail(key, f"must be above 0, not {min(found):g}")
    return (found,)


def _one_positive(table: Table, key: str) -> tuple[Numbers, ...]:
    value = table.take(key, float)
    if not value > 0:
        raise table.fail(key, f"must be above 0, not {value:g}")
    return ((value,),)  # worked with in float64


def _limits(table: Table, key: str) -> tuple[Numbers, ...]:
    """[least, most], each a number or a list."""
    found = table.take(key, list)
    if len(found) != 2:
        raise table.fail(key, f"takes [least, most], not {len(found)} values")
    inner = (
        Table(table.source, table.name, {key: found[0]}, table.error),
        Table(table.source, table.name, {key: found[1]}, table.error),
    )
    least, most = (numbers(side, key) for side in inner)
    if 1 not in (len(least), len(most)) and len(least) != len(most):
        raise table.fail(key, f"has {len(least)} least and {len(most)} most values")
    size = max(len(least), len(most))
    for low, high in zip(_spread(least, size), _spread(most, size), strict=True):
        if not low < high:
            raise table.fail(key, f"the least value, {low:g}, is not below the most, {high:g}")
    return least, most


def _spread(values: Numbers, size: int) -> Numbers:
    return values * size if len(values) == 1 else values


def _yes(table: Table, key: str) -> tuple[Numbers, ...]:
    if not table.take(key, bool):
        raise table.fail(key, "is false; leave the step out")
    return ()


def _count(table: Table, key: str) -> tuple[Numbers, ...]:
    count = table.take(key, int)
    if not 1 <= count <= MOST:
        raise table.fail(key, f"must be 1 to {MOST} readings, not {show(count)}")
    return ((float(count),),)


def _choices(table: Table, key: str) -> tuple[Numbers, ...]:
    """A number for each place; for texts their place in the list."""
    found = table.take(key, list)
    if len(found) < 2:
        raise table.fail(key, "needs two choices or more")
    if all(isinstance(item, str) for item in found):
        if len(set(found)) != len(found):
            raise table.fail(key, "names a choice twice")
        return (tuple(map(float, range(len(found)))),)
    table.taken.remove(key)
    return (numbers(table, key),)


# --- how they are built ---------------------------------------------------------------------------------------------


def _with(function: str) -> Build:
    return lambda make, x, values: make.builder.binary(function, x, make.numbers(values[0]))


def _clip(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    least, most = (make.numbers(v) for v in values)
    return make.builder.binary("min", make.builder.binary("max", x, least), most)


def _deadband(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    inside = make.builder.binary("less_or_equal", make.builder.map("abs", x), make.numbers(values[0]))
    return make.builder.where(inside, make.numbers((0.0,) * x.size), x)


def _whole(make: Maker, x: Slot, period: int, shift: float) -> Slot:
    """The whole number of periods of `period` pi nearest to x + shift periods."""
    return make.builder.map("round", make.builder.map("affine", x, alpha=1 / (period * math.pi), beta=shift))


def _less_periods(make: Maker, x: Slot, count: Slot, period: int) -> Slot:
    """x less `count` times `period` pi."""
    for part in _PI:
        x = make.builder.binary("add", x, make.builder.map("affine", count, alpha=-period * part))
    return x


def _bounded(make: Maker, x: Slot, most: float) -> Slot:
    return make.builder.map("clip", x, alpha=-most, beta=most)


def _wrap(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    for _ in range(2):  # the first leaves a little more than half a turn of a large angle
        x = _less_periods(make, x, _whole(make, x, 2, 0.0), 2)
    return _bounded(make, x, math.pi)


def _sine(shift: float) -> Build:
    """(-1)^k sin(x + shift pi - k pi), k the nearest whole number: |argument| <= pi/2."""

    def build(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
        b = make.builder
        k = _whole(make, x, 1, shift)
        count = b.map("affine", k, alpha=1.0, beta=-shift) if shift else k
        r = _bounded(make, _less_periods(make, x, count, 1), 1.6)  # pi/2 and what k may be wrong by
        z = b.binary("mul", r, r)
        p = b.map("affine", z, alpha=_SINE[3], beta=_SINE[2])
        for s in (_SINE[1], _SINE[0]):
            p = b.map("affine", b.binary("mul", p, z), alpha=1.0, beta=s)
        sine = b.binary("add", r, b.binary("mul", b.binary("mul", r, z), p))
        half = b.map("affine", k, alpha=0.5)
        odd = b.binary("sub", half, b.map("floor", half))  # 0.5 where k is odd
        return _bounded(make, b.binary("mul", sine, b.map("affine", odd, alpha=-4.0, beta=1.0)), 1.0)

    return build


def _difference(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    state, before = make.before("difference", x)
    make.builder.next(state, x)
    return make.builder.binary("sub", x, before)


def _rate(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    return make.builder.binary("mul", _difference(make, x, values), make.numbers((make.rate_hz,)))


def _share(values: Sequence[Numbers], rate_hz: float) -> float:
    """What a low pass takes over of a new value: exact for a value that stands until the next reading."""
    return -math.expm1(-2 * math.pi * values[0][0] / rate_hz)


def _low_pass(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    state, before = make.before("low_pass", x)
    step = make.builder.map("affine", make.builder.binary("sub", x, before), alpha=_share(values, make.rate_hz))
    y = make.builder.binary("add", before, step)
    make.builder.next(state, y)
    return y


def _high_pass(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    return make.builder.binary("sub", x, _low_pass(make, x, values))


def _last(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    older = int(values[0][0]) - 1
    if not older:
        return x
    first = make.builder.take(np.tile(x.elements, older))
    state, before = make.before("last", first)
    every = make.join(before, x)
    make.builder.next(state, every.part(x.size, older * x.size))
    return every


def _slew(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    most = make.numbers(tuple(value / make.rate_hz for value in values[0]))
    state, before = make.before("slew", x)
    y = make.builder.binary("max", x, make.builder.binary("sub", before, most))
    y = make.builder.binary("min", y, make.builder.binary("add", before, most))
    make.builder.next(state, y)
    return y


def _argmax(make: Maker, x: Slot, values: Sequence[Numbers]) -> Slot:
    place = make.builder.reduce("argmax", x)
    if values[0] == tuple(map(float, range(x.size))):
        return place
    return make.builder.lookup(place, np.array(values[0])[:, None])


# --- their twins ----------------------------------------------------------------------------------------------------


def _before(x: Doubles) -> Doubles:
    return np.concatenate([x[:1], x[:-1]])


def _low_pass_twin(x: Doubles, values: Sequence[Numbers], rate_hz: float) -> Doubles:
    y: Doubles = x.copy()
    for t in range(1, len(x)):
        y[t] = y[t - 1] + _share(values, rate_hz) * (x[t] - y[t - 1])
    return y


def _slew_twin(x: Doubles, values: Sequence[Numbers], rate_hz: float) -> Doubles:
    y: Doubles = x.copy()
    most = np.array(values[0]) / rate_hz
    for t in range(1, len(x)):
        y[t] = np.clip(x[t], y[t - 1] - most, y[t - 1] + most)
    return y


def _last_twin(x: Doubles, values: Sequence[Numbers], rate_hz: float) -> Doubles:
    count = int(values[0][0])
    padded = np.concatenate([np.repeat(x[:1], count - 1, axis=0), x])
    return np.concatenate([padded[k : k + len(x)] for k in range(count)], axis=1)


def _below_nyquist(n: int, values: Sequence[Numbers], rate_hz: float) -> str:
    frequency = values[0][0]
    if frequency < rate_hz / 2:
        return ""
    return f"{frequency:g} Hz is not below half of the {rate_hz:g} readings per second"


def _a_choice_each(n: int, values: Sequence[Numbers], rate_hz: float) -> str:
    return "" if len(values[0]) == n else f"has {len(values[0])} choices for {n} numbers"


def _per_second(unit: str) -> str:
    return f"{unit}/s" if unit else ""


def _filter_ulps(values: Sequence[Numbers], rate_hz: float, readings: int) -> float:
    return 4 + 1 / _share(values, rate_hz)


_ONE_OR_LIST, _HZ, _TRUE = "a number or a list", "Hz", "true"

_STEPS = (
    Step("scale", _ONE_OR_LIST, "times it", _not_zero, _with("mul"), lambda x, v, r: x * np.array(v[0])),
    Step("offset", _ONE_OR_LIST, "plus it", _any, _with("add"), lambda x, v, r: x + np.array(v[0])),
    Step("subtract", _ONE_OR_LIST, "less it (a default pose)", _any, _with("sub"), lambda x, v, r: x - np.array(v[0])),
    Step(
        "clip",
        "[least, most], each a number or a list",
        "what is outside becomes the limit",
        _limits,
        _clip,
        lambda x, v, r: np.clip(x, np.array(v[0]), np.array(v[1])),
        ulps=lambda v, r, n: 0.0,
    ),
    Step(
        "deadband",
        _ONE_OR_LIST,
        "0 from minus it to it; what is outside stays",
        _positive,
        _deadband,
        lambda x, v, r: np.where(np.abs(x) <= np.array(v[0]), 0.0, x),
        ulps=lambda v, r, n: 0.0,
    ),
    Step(
        "abs",
        _TRUE,
        "without its sign",
        _yes,
        lambda make, x, values: make.builder.map("abs", x),
        lambda x, v, r: np.abs(x),
        ulps=lambda v, r, n: 0.0,
    ),
    Step(
        "sin",
        _TRUE,
        "the sine of an angle, which is converted to rad",
        _yes,
        _sine(0.0),
        lambda x, v, r: np.sin(x),
        angle=True,
        unit=lambda unit: "",
        ulps=lambda v, r, n: 2.0,
    ),
    Step(
        "cos",
        _TRUE,
        "the cosine of an angle, which is converted to rad",
        _yes,
        _sine(0.5),
        lambda x, v, r: np.cos(x),
        angle=True,
        unit=lambda unit: "",
        ulps=lambda v, r, n: 2.0,
    ),
    Step(
        "wrap",
        _TRUE,
        "an angle, which is converted to rad, less whole turns: -pi to pi",
        _yes,
        _wrap,
        lambda x, v, r: x - 2 * np.pi * np.rint(x / (2 * np.pi)),
        angle=True,
        ulps=lambda v, r, n: 2.0,
    ),
    Step(
        "difference",
        _TRUE,
        "less the value of the reading before",
        _yes,
        _difference,
        lambda x, v, r: x - _before(x),
        "0",
    ),
    Step(
        "rate",
        _TRUE,
        "the difference times the rate: change per second",
        _yes,
        _rate,
        lambda x, v, r: (x - _before(x)) * r,
        "0",
        needs_rate=True,
        unit=_per_second,
        ulps=lambda v, r, n: 2.0,
    ),
    Step(
        "low_pass_hz",
        _HZ,
        "first order: y = y' + a (x - y'), a = 1 - exp(-2 pi f / rate), y' the y before",
        _one_positive,
        _low_pass,
        _low_pass_twin,
        "the value",
        check=_below_nyquist,
        needs_rate=True,
        ulps=_filter_ulps,
    ),
    Step(
        "high_pass_hz",
        _HZ,
        "the value less its low pass",
        _one_positive,
        _high_pass,
        lambda x, v, r: x - _low_pass_twin(x, v, r),
        "0",
        check=_below_nyquist,
        needs_rate=True,
        ulps=lambda v, r, n: 2 + _filter_ulps(v, r, n),
    ),
    Step(
        "last",
        "a number of readings",
        "the values of so many readings, the oldest first, this one last",
        _count,
        _last,
        _last_twin,
        "the value, for each of them",
        width=lambda n, values: n * int(values[0][0]),
        ulps=lambda v, r, n: 0.0,
    ),
    Step(
        "slew_per_s",
        _ONE_OR_LIST,
        "follows the value, by no more than it per second",
        _positive,
        _slew,
        _slew_twin,
        "the value",
        needs_rate=True,
        ulps=lambda v, r, n: n,
    ),
    Step(
        "argmax",
        "a list of texts or numbers, one for each number",
        "the choice whose number is the largest, of equals the first",
        _choices,
        _argmax,
        lambda x, v, r: np.array(v[0])[np.argmax(x, axis=1)][:, None],
        width=lambda n, values: 1,
        check=_a_choice_each,
        unit=lambda unit: "",
        ulps=lambda v, r, n: 0.0,
    ),
)
STEPS = {step.name: step for step in _STEPS}


def steps_of(table: Table, key: str = "do") -> tuple[Given, ...]:
    """The steps that a table lists: each a table of one key."""
    found: list[Given] = []
    for inner in table.list(key, dict, []):
        if len(inner.values) != 1:
            keys = ", ".join(map(repr, inner.values)) or "none"
            raise table.fail(key, f"a step is one key, as {{ scale = 0.5 }}, not {keys}")
        (name,) = inner.values
        if name not in STEPS:
            for known in STEPS:
                inner.taken.append(known)
            inner.done()
        step = STEPS[name]
        values = step.read(inner, name)
        given = inner.values[name]
        texts = tuple(given) if name == "argmax" and isinstance(given[0], str) else ()
        if found and found[-1].texts:
            raise inner.fail(name, "comes after argmax, which has made a text of it")
        found.append(Given(step, values, texts, inner))
    return tuple(found)
