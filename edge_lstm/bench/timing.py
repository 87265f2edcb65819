"""Single calls, timed one by one: the loop that times them, and what many of their times come to.

Its rule: the clock's own time (about 40 ns) stays in; no time is left out, however long it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.bench.machine import Values
from edge_lstm.robot.realtime import AS_ANY, Realtime

Call = Callable[[Any], object]
clock = time.perf_counter_ns


@dataclass(frozen=True)
class Plan:
    """How long: seconds for each kind of measurement; readings: so many single steps, whatever they take."""

    seconds: float = 3.0
    readings: int | None = None
    compile: bool = False  # also how long the first start ever takes
    realtime: Realtime = AS_ANY  # for the paced part; a loop that never sleeps is throttled by the kernel


class Times:
    """Any number of single calls' times, ns, in little memory: how many took each number of ns; those that took more
    than a millisecond one by one."""

    def __init__(self) -> None:
        self._counts = np.zeros(1_000_000, np.int64)
        self._slow: list[int] = []

    def add(self, ns: npt.NDArray[np.int64]) -> None:
        quick = ns < len(self._counts)
        np.add.at(self._counts, ns[quick], 1)
        self._slow += ns[~quick].tolist()

    def summary(self) -> Values:
        """Percentiles, µs. Jitter is what p99.9 is above the median."""
        below, slow = self._counts.cumsum(), sorted(self._slow)
        quick = int(below[-1])
        calls = quick + len(slow)

        def us(part: float) -> float:
            rank = min(calls - 1, int(part * calls))
            return (slow[rank - quick] if rank >= quick else int(np.searchsorted(below, rank, "right"))) / 1e3

        p50, p99, p999, most = (us(part) for part in (0.5, 0.99, 0.999, 1.0))
        return {"calls": calls, "p50": p50, "p99": p99, "p99.9": p999, "max": most, "jitter": p999 - p50}


def percentiles(ns: npt.NDArray[np.int64]) -> Values:
    """As `Times.summary`."""
    times = Times()
    times.add(ns)
    return times.summary()


def block(call: Call, arguments: Sequence[Any]) -> npt.NDArray[np.int64]:
    """ns of each call, the clock's own time (about 40 ns) included."""
    times = [0] * len(arguments)
    now = clock
    for k, argument in enumerate(arguments):
        begin = now()
        call(argument)
        times[k] = now() - begin
    return np.array(times, np.int64)
