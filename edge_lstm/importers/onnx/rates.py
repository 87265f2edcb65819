"""When values come: with every reading, or with every n-th from some reading on.

Its rule: a step is computed at every reading; what must not change in between is held (`Rates.held`), and a value that
means something only from its first reading on is known by it (`Rates.begins`). So a stride costs a state that counts
down, and no instruction of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_lstm.importers.onnx.plan import Ids, Plan
from edge_lstm.importers.onnx.provenance import ENDED, Ints


@dataclass(frozen=True, order=True)
class Rate:
    """The readings with which values come: `first` and every `stride`-th after it."""

    first: int = 1
    stride: int = 1

    def newest(self, reading: int) -> int:
        """The last of its readings up to this one; 0 or less where there is none yet."""
        return self.first + (reading - self.first) // self.stride * self.stride


EVERY_READING = Rate()


def rate_of(moments: Ints, length: int) -> Rate | None:
    """The rate of values that come at these readings, ascending and different, of a sequence; None where they do not
    come regularly, or not until the end."""
    if len(moments) < 2 or moments[0] < 1 or moments[-1] > length:
        return None
    rate = Rate(int(moments[0]), int(moments[1] - moments[0]))
    expected = rate.first + rate.stride * np.arange(len(moments))
    return rate if np.array_equal(moments, expected) and moments[-1] + rate.stride > length else None


def rate_along(t: Ints, axis: int, length: int) -> tuple[Rate, int] | None:
    """The rate of the places along an axis, and how many of them have come when the sequence is over; None where the
    axis is not time."""
    if not t.size:
        return None
    places = np.moveaxis(t, axis, 0).reshape(t.shape[axis], -1)
    column = places.max(axis=1, initial=0)
    came = int((column < ENDED).sum())
    rate = rate_of(column[:came], length)
    if rate is None or ((places != column[:, None]) & (places != 0)).any() or (column[came:] != ENDED).any():
        return None
    return rate, came


@dataclass
class Rates:
    """The rates of one drawing, and the steps of its plan that keep time for them."""

    plan: Plan
    seen: set[Rate] = field(default_factory=set)  # of what carries a state or looks back
    since: dict[int, int] = field(default_factory=dict)  # value -> the reading from which on it means something
    _ticks: dict[Rate, Ids] = field(default_factory=dict)

    @property
    def period(self) -> int:
        """Readings in a round of all rates."""
        return math.lcm(*(rate.stride for rate in self.seen))

    def tick(self, rate: Rate, source: Sequence[str]) -> Ids:
        """1 at the readings of a rate, else 0: a state counts the readings down."""
        if rate not in self._ticks:
            plan, (first, stride) = self.plan, (rate.first, rate.stride)
            left = plan.state(f"until_{first}_{stride}", 1, np.array([first - 1], np.float32))
            now = plan.step("map", [left.ids], [1], source=source, function="not", alpha=0.0, beta=0.0)[0]
            fewer = plan.step("map", [left.ids], [1], source=source, function="affine", alpha=1.0, beta=-1.0)[0]
            again = plan.constant(np.array([stride - 1], np.float32))
            left.next = plan.step("where", [now, again, fewer], [1], source=source)[0]
            self._ticks[rate] = now
        return self._ticks[rate]

    def held(self, rate: Rate, after: Ids, before: Ids, source: Sequence[str]) -> Ids:
        """What a state becomes that changes only at the readings of a rate."""
        if rate == EVERY_READING:
            return after
        flag = np.repeat(self.tick(rate, source), after.size)
        return self.plan.step("where", [flag, after, before], [after.size], source=source)[0]

    def begin(self, ids: Ids, rate: Rate) -> None:
        """These values mean something at the readings of a rate only."""
        self.seen.add(rate)
        if rate.first > 1:
            self.since.update((int(i), max(rate.first, self.since.get(int(i), 1))) for i in ids)

    def begins(self, ids: Ids) -> int:
        """The reading from which on all of these mean something."""
        if not self.since:
            return 1
        reached = self.plan.reached(ids)
        return max((first for value, first in self.since.items() if reached[value]), default=1)
