"""A log as a robot's readings: its rows, as the simulator plays them.

Its rule: a row is sent when its own time says, from 0 on, or at a rate that is asked for. Which column is which field
is found by name; a reading is sent where none of its numbers is missing, and what is left out is counted.

Never: hold the log in memory; it is read block by block, and again for each round of a loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edge_lstm.errors import LogError
from edge_lstm.logs.jitter import jitter
from edge_lstm.logs.log import Column, Log
from firmware_bridge.dictionary import Field, Format
from firmware_bridge.simulator.played import Row


class PlayedLog:
    """The rows of a log for these readings; calling it begins from the start.

    columns: for each reading, the log's column of each of its fields. rate_hz: rows at this rate, None: at their own
    times. LogError where the log cannot be read.
    """

    def __init__(self, log: Log, columns: Mapping[str, Sequence[Column]], rate_hz: float | None = None) -> None:
        self.log, self.rate_hz = log, rate_hz
        self.left_out = 0  # readings of which a number was missing, in all rounds
        self._columns = [column for found in columns.values() for column in found]
        self._parts: dict[str, slice] = {}
        for name, found in columns.items():
            begin = sum(part.stop - part.start for part in self._parts.values())
            self._parts[name] = slice(begin, begin + len(found))

    def __call__(self) -> Iterator[Row]:
        number, last_us = 0, 0
        for block in self.log.blocks(self._columns):
            for line, t_s, values in zip(block.lines, block.t_s.tolist(), block.values.tolist(), strict=True):
                t_us = round(t_s * 1e6) if self.rate_hz is None else round(number * 1e6 / self.rate_hz)
                if t_us < last_us:
                    back_s = (last_us - t_us) * 1e-6
                    why = "a robot's does not (--rate plays the rows one after the other)"
                    raise LogError(f"{self.log.path}: {self.log.place} {line}: time goes back by {back_s:g} s; {why}")
                number, last_us = number + 1, t_us
                for name, part in self._parts.items():
                    picked = tuple(values[part])
                    if any(value != value for value in picked):  # NaN: missing
                        self.left_out += 1
                    else:
                        yield Row(t_us, name, picked)


def columns_for(log: Log, readings: Sequence[Format]) -> dict[str, list[Column]]:
    """The column of each field of each reading, by name. LogError where one is missing."""
    return {item.name: [_column(log, item, field) for field in item.fields] for item in readings}


def _column(log: Log, item: Format, field: Field) -> Column:
    for name in (f"{item.name}.{field.name}", field.name):
        if found := log.find(name):
            return found
    free = ", ".join(c.title for c in log.columns if c is not log.time)
    raise LogError(f"{log.path}: has no column {field.name!r} for reading {item.name!r}; its columns are {free}")


def declared(log: Log, rate_hz: float | None = None) -> tuple[Format, dict[str, list[Column]]]:
    """A reading with every column of the log but its time, and the columns. Its rate is the one asked for, or what most
    of the rows keep to."""
    free = [c for c in log.columns if c is not log.time]
    if not free:
        raise LogError(f"{log.path}: has no column but the time {log.time.title!r}")
    names = ["_".join(c.name.split()).lstrip("_") or f"column_{c.index + 1}" for c in free]
    fields = tuple(Field(name, "f64", c.unit) for name, c in zip(names, free, strict=True))
    if rate_hz is None:
        t_s = np.concatenate([block.t_s for block in log.blocks(free[:1])])
        found = jitter(t_s).rate_hz
        rate_hz = float(f"{found:.4g}") if math.isfinite(found) else None
    return Format("log", 1, "reading", fields, rate_hz), {"log": free}
