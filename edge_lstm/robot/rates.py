"""Whether readings come as often as the model was made for: what the robot declares, and what it does.

A network does not know its own rate: one made for 50 Hz that is given 200 readings a second gives numbers like any
others, and they are wrong. So another rate is a ConfigError before the first action, unless robot.toml says that it is
meant (`any_rate`). What is declared is looked at in the handshake; what really comes is measured over the first
readings, and until that is done no action is made.

Its rule: deterministic, as all behind a port; times are the readings' own (by the robot's clock, where there is one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from edge_lstm.core.model import Model
from firmware_bridge.remembered import Tree

RATES, CHECKED = "rates", "checked"  # in the metadata of a recording: a run before this was looked at goes on as it did
DECLARED, OBSERVED = 0.05, 0.2  # how far a rate may be off: as it is declared; as it is measured over few readings
BY_CLOCK = 10  # readings, by the robot's own clock
BY_ARRIVAL_NS, SETTLED_NS = 500_000_000, 100_000_000  # else so long, after what had waited in buffers has come
LEAST = 5  # readings, for a slow robot


def differ(trained_hz: float | None, hz: float | None, by: float = DECLARED) -> bool:
    """Whether both are known and are not the same."""
    return bool(trained_hz and hz and abs(trained_hz - hz) > by * trained_hz)


def sentence(name: str, trained_hz: float, hz: float, verb: str) -> str:
    """Why a model and a rate do not fit, and the way out."""
    return (
        f"is not set, and the model {name!r} was made for {trained_hz:.6g} Hz, but the robot {verb} {hz:.4g} Hz; "
        "let the robot send at the model's rate, bring the model in with the rate it was trained for "
        "(edge-lstm import --rate), or say that it is meant: any_rate = true"
    )


@dataclass(frozen=True)
class Trained:
    """One model's rate, of the robot's readings. table: where its `any_rate` stands."""

    table: str
    name: str
    hz: float

    @staticmethod
    def of(table: str, model: Model, every: int = 1) -> Trained | None:
        """None where nobody knows what it was made for."""
        return Trained(table, model.name, model.rate_hz * every) if model.rate_hz else None


class Pace:
    """Measures how often readings come. Made at a handshake, asked at each reading until it knows."""

    def __init__(self, wanted: tuple[Trained, ...], by_clock: bool) -> None:
        """by_clock: the times given are the robot's own."""
        self._wanted, self._by_clock = wanted, by_clock
        self._first_ns: int | None = None  # None: of the next reading
        self._count = self._seq = 0
        self._begun_ns: int | None = None  # of the very first
        self.misfit: Trained | None = None  # whose rate it is not; measured on until it is
        self.hz = 0.0  # as it was measured last

    def asks_no_more_than(self, known: Pace) -> bool:
        """Whether readings that come at all rates which `known` asks for come at those of this one, too."""
        return all(any(not differ(one.hz, other.hz) for other in known._wanted) for one in self._wanted)

    def snapshot(self) -> Tree:
        """What it remembers."""
        place = None if self.misfit is None else self._wanted.index(self.misfit)
        return [self._begun_ns, self._first_ns, self._count, self._seq, place, self.hz]

    def take_up(self, tree: Tree) -> None:
        """Go on as the one that gave this. What does not fit raises anything."""
        begun_ns, first_ns, count, seq, place, hz = cast(list[Any], tree)
        self._begun_ns = None if begun_ns is None else int(begun_ns)
        self._first_ns = None if first_ns is None else int(first_ns)
        self._count, self._seq, self.hz = int(count), int(seq), float(hz)
        self.misfit = None if place is None else self._wanted[place]

    def look(self, t_ns: int, seq: int) -> bool | None:
        """A reading. Whether they come at the rate that is wanted; None: not known yet."""
        if self._begun_ns is None:
            self._begun_ns = t_ns
        if self._first_ns is None:
            if self._by_clock or t_ns - self._begun_ns >= SETTLED_NS:
                self._first_ns, self._count, self._seq = t_ns, 0, seq
            return None
        step = (seq - self._seq) & 0xFFFF  # those that were lost count, too
        span_ns, self._seq = t_ns - self._first_ns, seq
        self._count += step
        if span_ns < 0 or step > 1000:  # the robot's clock or its numbers began afresh
            self._begun_ns = self._first_ns = None
            return None
        enough = self._count >= (BY_CLOCK if self._by_clock else LEAST)
        if not enough or (not self._by_clock and span_ns < BY_ARRIVAL_NS):
            return None
        self._first_ns = None
        if not span_ns:
            return None
        self.hz = self._count * 1e9 / span_ns
        self.misfit = next((one for one in self._wanted if differ(one.hz, self.hz, OBSERVED)), None)
        return self.misfit is None


def pace_of(wanted: Iterable[Trained | None], by_clock: bool) -> Pace | None:
    """What measures a robot's readings; None where no model asks for a rate."""
    asked = tuple(one for one in wanted if one is not None)
    return Pace(asked, by_clock) if asked else None


def follow(pace: Pace | None, before: Pace | None) -> Pace | None:
    """What measures on after one model has taken another's place, whose rate was found to be right: nothing where it is
    the new one's, too, so that no action is missing meanwhile. before: what would measure for the old one."""
    return None if pace is not None and before is not None and pace.asks_no_more_than(before) else pace


def checked(pace: Pace, t_ns: int, seq: int, fail: Callable[[str, str, str], Exception]) -> bool | None:
    """Look at a reading. Raises what `fail` makes of table, key and sentence, once, where the rate is found to be
    another one; else as `Pace.look`."""
    before = pace.misfit
    fits = pace.look(t_ns, seq)
    if (misfit := pace.misfit) is not None and before is None:
        raise fail(misfit.table, "any_rate", sentence(misfit.name, misfit.hz, pace.hz, "sends at"))
    return fits
