"""The times of a table: in which unit they are, where they wrap, and where another recording begins.

Its rule: a unit that the header says is taken. Else one that makes the rows about as fast as the model wants them, or
that makes the numbers dates of our time, is recognised, and that is said; what remains open is asked for. Times that go
back to where they began are another recording (an episode); a counter of 32 bits that starts again is the same one.

Never: take a unit that makes a log impossible, such as 10,000 times slower than its model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import LogError
from edge_lstm.logs.jitter import LONG, middle
from edge_lstm.logs.log import SECONDS, TIME_NAMES, TOLD, UNITS, Column, Doubles, normal, where

Times = npt.NDArray[np.int64] | Doubles
WRAP = 1 << 32  # of a microcontroller's millis() and micros()
_NEAR, _FAR = 3.0, 30.0  # times the model's rate: of a unit that is recognised by it; of seconds, which are usual
_SLOWEST_HZ, _FASTEST_HZ = 0.01, 1e6  # of a log of which nothing is known
_DATES_S = (946_684_800, 4_102_444_800)  # from 2000 to 2100
_WRAP_STEPS = 1000  # usual steps: a wrap is no longer pause than that
_TIMES_THEMSELVES = {unit for unit in UNITS if len(unit) > 2} | {"ms"}  # "millis"
_MOST_S = 9_000_000_000  # what fits 64 bits as nanoseconds
_HALVES = re.compile(
    r"(?:(?P<stem>.*)[\s_./-])?(?:(?P<seconds>secs?|seconds)|nano(?:s|secs?|seconds)|nsecs?)", re.IGNORECASE
)
_ENDS = re.compile(rf"(?:^|[\s_.-])({'|'.join(map(re.escape, UNITS))})$", re.IGNORECASE)


class Unit(NamedTuple):
    """s, ms, us or ns, "" where it must be asked for; note: how it was found, "" where the header says it."""

    name: str
    note: str = ""


def is_time(column: Column) -> bool:
    """Whether a column is called time."""
    names = (column.name, _ENDS.sub("", column.title))
    return any(normal(name) in TIME_NAMES for name in names) or column.name.casefold() in _TIMES_THEMSELVES


class Pair(NamedTuple):
    """A time in two columns, as ROS has it: whole seconds, and nanoseconds beside them ("stamp.sec", "stamp.nanosec").
    stem: what both are called, "" where they have no further name."""

    stem: str
    seconds: Column
    rest: Column

    @property
    def time(self) -> Column:
        """Both as one, in ns, in the place of the seconds."""
        return Column(self.seconds.index, f"{self.stem or 'time'} [ns]", self.stem or "time", "ns")

    @property
    def note(self) -> str:
        """For people."""
        return f"time: {self.seconds.title!r} with the nanoseconds of {self.rest.title!r}"


def pairs_of(columns: Sequence[Column]) -> list[Pair]:
    """Times in two columns, in their order."""
    halves: dict[str, dict[bool, Column]] = {}
    for column in columns:
        if found := _HALVES.fullmatch(column.title):
            halves.setdefault(found["stem"] or "", {}).setdefault(bool(found["seconds"]), column)
    return [Pair(stem, both[True], both[False]) for stem, both in halves.items() if len(both) == 2]


def pair_asked(columns: Sequence[Column], asked: str) -> Pair | None:
    """The pair that --time names, by what both are called or by one of them."""
    for pair in pairs_of(columns):
        if asked in (pair.seconds.title, pair.rest.title) or (pair.stem and normal(asked) == normal(pair.stem)):
            return pair
    return None


def named_times(columns: Sequence[Column]) -> tuple[list[Column], Pair | None]:
    """The columns that are called time and are no half of a pair; and where there is none, the one pair that is."""
    pairs = pairs_of(columns)
    halves = {half for pair in pairs for half in (pair.seconds, pair.rest)}
    named = [column for column in columns if is_time(column) and column not in halves]
    called = [pair for pair in pairs if normal(re.split(r"[\s./]", pair.stem)[-1]) in {"", *TIME_NAMES}]
    return named, called[0] if len(called) == 1 and not named else None


def joined(seconds: Times, rest: Times) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Nanoseconds of a pair, and which rows of it are times: whole seconds, and less than one in nanoseconds."""
    with np.errstate(invalid="ignore"):
        whole = (np.abs(seconds) <= _MOST_S) & (seconds == np.floor(seconds))
        whole &= (rest >= 0) & (rest < 1_000_000_000) & (rest == np.floor(rest))
        parts = (np.where(whole, part, 0).astype(np.int64) for part in (seconds, rest))
    found, more = parts
    return found * 1_000_000_000 + more, np.asarray(whole)


def no_time() -> Column:
    """What stands for the time where no column is it."""
    return Column(-1, "time_s", "time", "s")


def unit_of(here: str, column: Column, asked: str | None, times: Sequence[float], model_hz: float | None) -> Unit:
    """The unit of a column of numbers: as it is asked, as its header says, or as its first numbers show. here: the file
    and the column, for sentences. LogError: the header says another, or an unknown one, or it must be asked for."""
    unit = said(column.title, column.unit)
    if asked and unit.lower() in UNITS and UNITS[unit.lower()] != asked:
        raise LogError(
            f"{here} is in {unit} by its header, --time-unit says {asked}; leave --time-unit out, or correct the header"
        )
    if asked:
        return Unit(asked)
    if unit:
        if unit.lower() not in UNITS:
            raise LogError(f"{here}: unit {unit!r} is not one of {', '.join(SECONDS)}; say it with --time-unit")
        return Unit(UNITS[unit.lower()])
    found = recognise(times, model_hz) if times else Unit("s")
    if not found.name:
        raise LogError(
            f"{here} does not say its unit, and {impossible(times, model_hz)}; say it: --time-unit s, ms, us or ns"
        )
    return Unit(found.name, found.note and f"time column {column.title!r} has no unit: {found.note}")


def said(title: str, unit: str) -> str:
    """The unit that a header says of the time: in brackets, or at the end of the name ("t_us", "millis"); or ""."""
    found = _ENDS.search(title)
    end = found[1] if found else ""
    return unit or ("" if end.lower() == "s" and title == end else end)


def recognise(times: Sequence[float], model_hz: float | None) -> Unit:
    """The unit of these numbers, the first of a column, in which nobody has said it."""
    step = _step(times)
    dated = [u for u, s in SECONDS.items() if times and _DATES_S[0] <= times[0] * s < _DATES_S[1]]
    if step <= 0:
        return Unit(dated[0] if dated else "s", _dated(dated[0]) if dated else _usual())
    rates = {unit: 1 / (step * second) for unit, second in SECONDS.items()}
    if model_hz is None:
        if dated and dated != ["s"] and rates[dated[0]] >= _SLOWEST_HZ:
            return Unit(dated[0], _dated(dated[0]))
        return Unit("s", _usual()) if _SLOWEST_HZ <= rates["s"] <= _FASTEST_HZ else Unit("")
    off = {unit: abs(math.log(max(rate, 1e-300) / model_hz)) for unit, rate in rates.items()}
    nearest = min(off, key=lambda unit: off[unit])
    if off[nearest] <= math.log(_NEAR):
        if nearest == "s":
            return Unit("s", _usual())
        like = f"that is {rates[nearest]:.4g} Hz, and the model's rate {model_hz:g} Hz"
        return Unit(nearest, f"taken as {nearest}: {like}")
    if dated and off[dated[0]] <= math.log(_FAR * 10):
        return Unit(dated[0], _dated(dated[0]) if dated != ["s"] else _usual())
    return Unit("s", _usual()) if nearest == "s" and off["s"] <= math.log(_FAR) else Unit("")


def _step(times: Sequence[float]) -> float:
    steps = [b - a for a, b in pairwise(times) if b > a]
    return float(np.median(steps)) if steps else 0.0


def _usual() -> str:
    return "taken as seconds (--time-unit says otherwise)"


def _dated(unit: str) -> str:
    if unit == "s":
        return _usual()
    return f"taken as {unit} since 1970, which its size says (--time-unit says otherwise)"


def impossible(times: Sequence[float], model_hz: float | None) -> str:
    """Why the unit is asked for, as the end of a sentence."""
    step = _step(times)
    rates = ", ".join(f"{1 / (step * second):.3g} Hz in {unit}" for unit, second in SECONDS.items()) if step else ""
    told = f", the model's rate is {model_hz:g} Hz" if model_hz else ""
    return f"its rows would come at {rates}{told}"


class Clock:
    """The times of a log, block by block, as seconds since its first row."""

    def __init__(
        self,
        second: float,
        *,
        wrap: int | None = None,
        by_clock: bool = True,
        period_s: float | None = None,
        place: str = "line",
    ) -> None:
        """second: what one unit of the times is; wrap: where they start again from 0; by_clock: whether times that go
        back to the start are another recording; period_s: from one row to the next, where no step shows it; place: what
        the lines are, for `notes`."""
        self._place = place
        self._second, self._wrap, self._by_clock, self._period_s = second, wrap, by_clock, period_s
        self._first: int | float | None = None  # of this recording, or where it would have begun but for wraps
        self._last: int | float = 0
        self._begun_s = self._last_s = 0.0  # of the log: when this recording began, and its latest row
        self._usual: float = 0.0  # step
        self._jumped: int | float | None = None  # the time before the latest gap, of this recording
        self.episodes = 0
        self.begun: list[int] = []  # lines at which another recording begins, the first of them
        self.wraps = self.back = 0  # back: times that go back and are neither a wrap nor another recording

    def __call__(
        self, times: Times, breaks: Sequence[int] = (), sure: Sequence[int] = (), lines: Sequence[int] = ()
    ) -> tuple[Doubles, list[int]]:
        """(seconds of each row, the rows with which another recording begins).

        breaks: rows before which the log itself says so, by a header; sure: those that are beyond doubt; lines: where
        rows stand in the file, for `notes`.
        """
        if not len(times):
            return np.zeros(0), []
        if self._first is None:
            self._first = self._last = times[0].item()
        if isinstance(self._last, float):  # whole numbers now, but not before
            times = times.astype(np.float64)
        steps = np.diff(times, prepend=np.array([self._last], times.dtype))
        if not self._usual and len(ahead := steps[steps > 0]):
            self._usual = middle(ahead)
        jumps = np.flatnonzero(steps > LONG * self._usual)
        events = sorted({*np.flatnonzero(steps < 0).tolist(), *breaks, *sure})
        found, at, before = np.empty(len(times)), 0, self._last
        begins = []
        for row in [*events, len(times)]:
            np.multiply(times[at:row] - self._first, self._second, out=found[at:row])
            found[at:row] += self._begun_s
            if row > at:
                self._last, self._last_s = times[row - 1].item(), float(found[row - 1])
            over = jumps[np.searchsorted(jumps, at) : np.searchsorted(jumps, row)]
            if len(over):
                self._jumped = times[over[-1] - 1].item() if over[-1] else before
            if row == len(times):
                break
            if self._turn(times[row].item(), row in breaks, row in sure):
                begins.append(row)
            at = row
        self.episodes += len(begins)
        self.begun += [int(lines[row]) for row in begins[: TOLD - len(self.begun)] if lines]
        return found, begins

    def notes(self) -> list[str]:
        """Sentences about wraps and other recordings."""
        found = []
        if self.wraps:
            what = "at 2^32" if self._wrap == WRAP else "at midnight"
            found.append(f"the time wraps {what} {'once' if self.wraps == 1 else f'{self.wraps} times'}")
        if self.episodes:
            found.append(
                f"holds {self.episodes + 1} recordings one after the other, each with a new memory; they begin anew at "
                f"{where(self.begun, self.episodes, self._place)} (--episode none: it is one)"
            )
        return found

    def _turn(self, now: int | float, broken: bool, sure: bool) -> bool:
        """What the step from the latest row to this one is; True: another recording."""
        assert self._first is not None
        passed, back = self._last - self._first, self._last - now
        if back > 0 and self._wrap and 0 < self._wrap - back <= max(_WRAP_STEPS * self._usual, 1):
            self._first -= self._wrap
            self.wraps += 1
            return sure
        stray = self._jumped is not None and now > self._jumped  # one wrong time, and on as before
        returned = self._by_clock and back > LONG * self._usual and 2 * back > passed and not stray
        if sure or returned or (broken and back > 0):
            self._jumped = None
            if back > 0:
                step_s = self._usual * self._second or self._period_s or 0.0
                self._begun_s, self._first = self._last_s + step_s, now
            return True
        self.back += back > 0
        return False


def why_no_time(times: Times, clock: Clock) -> str:
    """What the first numbers of a column do that times do not: they never increase, or go back often; "" where they
    may be times. clock: a new one."""
    if len(times) < 3:
        return ""
    clock(times)
    if (np.diff(times) > 0).any() and clock.back <= max(1, len(times) // 10):
        return ""
    return f"goes back {clock.back} times in {len(times)} rows" if clock.back else "never increases"
