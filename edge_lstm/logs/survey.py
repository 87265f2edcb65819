"""What a log holds: of each channel how often, in which unit and between which numbers. For people who look for names.

Its rule: one pass over the file, in bounded memory; the rate is that of the usual distance, by the first `_DISTANCES`.

Never: fail for one column that holds no numbers; it is listed without a range. What is wrong with a line or a time is
wrong with every column, so it is said, and no column is blamed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from edge_lstm.errors import LogError
from edge_lstm.logs.log import Column, Doubles, Log
from edge_lstm.logs.topic_log import TopicLog

_DISTANCES = 1 << 16


@dataclass(frozen=True)
class Surveyed:
    """One channel. count: of its numbers, NaN and infinities not among them; rate_hz, low, high: NaN where unknown."""

    column: Column
    topic: str
    count: int
    rate_hz: float
    low: float
    high: float

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        numbers = {"rate_hz": self.rate_hz, "min": self.low, "max": self.high}
        known = {key: value if isfinite(value) else None for key, value in numbers.items()}
        return {"name": self.column.title, "topic": self.topic, "unit": self.column.unit, "count": self.count} | known


class _Pace:
    """The usual distance of times."""

    def __init__(self) -> None:
        self._last = nan
        self._steps: list[Doubles] = []
        self._many = 0

    def add(self, t_s: Doubles) -> None:
        if len(t_s) and self._many < _DISTANCES:
            self._steps.append(np.diff(t_s, prepend=self._last))
            self._many += len(t_s)
        if len(t_s):
            self._last = float(t_s[-1])

    def rate_hz(self) -> float:
        steps = np.concatenate(self._steps) if self._steps else np.empty(0)
        steps = steps[steps > 0]  # NaN is not
        return float(1 / np.median(steps)) if len(steps) else nan


class _Ranges:
    """How many numbers columns hold, and between which."""

    def __init__(self, width: int) -> None:
        self.count = np.zeros(width, np.int64)
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, values: Doubles) -> None:
        there = np.isfinite(values)
        self.count += there.sum(axis=0)
        self.low = np.minimum(self.low, np.where(there, values, np.inf).min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, np.where(there, values, -np.inf).max(axis=0, initial=-np.inf))


def survey(log: Log, progress: Callable[[int], None] = lambda size: None) -> list[Surveyed]:
    """Every column but the time. LogError where the log cannot be read."""
    inner = log.unwrapped()
    found = list(_of_topics(inner, progress) if isinstance(inner, TopicLog) else _of_table(log, progress))
    if not found:
        raise LogError(f"{log.path}: holds no channel beside the time")
    return found


def _of_topics(log: TopicLog, progress: Callable[[int], None]) -> Iterator[Surveyed]:
    columns: dict[int, list[Column]] = {k: [] for k in range(len(log.topics))}
    for column in log.columns[1:]:
        columns[column.topic].append(column)
    paces = [_Pace() for _ in log.topics]
    ranges = [_Ranges(len(topic.fields)) for topic in log.topics]
    for _count, parts, size in log.parts({k: topic.fields for k, topic in enumerate(log.topics)}):
        for part in parts:
            paces[part.topic].add(part.t_ns.astype(np.float64) * 1e-9)
            ranges[part.topic].add(part.values)
        progress(size)
    for k, topic in enumerate(log.topics):
        yield from _listed(columns[k], topic.name, ranges[k], [paces[k].rate_hz()] * len(columns[k]))


def _of_table(log: Log, progress: Callable[[int], None]) -> Iterator[Surveyed]:
    columns = [c for c in log.columns if c is not log.time]
    try:
        yield from _of_columns(log, columns, progress)
    except LogError:
        for _ in log.blocks([]):  # lines and times alone: what is wrong with them is no column's
            pass
        # A column that holds no numbers; which, only reading them alone tells.
        for column in columns:
            try:
                yield from _of_columns(log, [column], progress)
            except LogError:
                yield Surveyed(column, "", 0, nan, nan, nan)


def _of_columns(log: Log, columns: Sequence[Column], progress: Callable[[int], None]) -> list[Surveyed]:
    paces, ranges = [_Pace() for _ in columns], _Ranges(len(columns))
    for block in log.blocks(columns):
        ranges.add(block.values)
        for k, pace in enumerate(paces):
            pace.add(block.t_s[np.isfinite(block.values[:, k])])
        progress(block.size)
    return list(_listed(columns, "", ranges, [pace.rate_hz() for pace in paces]))


def _listed(columns: Sequence[Column], topic: str, ranges: _Ranges, rates: Sequence[float]) -> Iterator[Surveyed]:
    for k, column in enumerate(columns):
        count = int(ranges.count[k])
        low, high = (float(r[k]) if count else nan for r in (ranges.low, ranges.high))
        yield Surveyed(column, topic, count, rates[k], low, high)
