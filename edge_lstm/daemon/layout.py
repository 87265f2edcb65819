"""The mapped block that a run writes and others read: its bytes, and nothing of how they come there.

Its rule: one writer, any number of readers, no lock. The first words say where everything is; the pulse is single words
of 8 bytes, each whole at any time; status is a record under a version that is odd while it is written; rows and events
are rings whose numbers go on for as long as the run does. All numbers are native: a block is read on its own machine.

    words                 magic, version, sizes and places
    pulse                 state, times, counters: see `Pulse`
    schema                JSON: names, units, who writes
    status                JSON of `STATUS_BYTES` at most
    events                `EVENTS` slots of 512 bytes: number, size, JSON
    rows                  slots of 8-byte words: number, t_ns, readings, outputs, action, latency_ns, not_real, flags
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

MAGIC = int.from_bytes(b"edgelstm", "little")
VERSION = 1
WORD = 8
WORDS_AT, PULSE_AT, SCHEMA_AT = 0, 128, 256
STATUS_BYTES = 1 << 16
EVENT_BYTES, EVENTS = 512, 1024
EVENT_HEAD = 2 * WORD  # number, size
EVENTS_OF_A_CHUNK = 16  # at most: a line that is all faults must not cost the loop more
RING_S = 12.0  # of readings that stay to be read
ROWS = (1 << 10, 1 << 17)  # at least and at most
MOST_BYTES = 1 << 25  # of all rows together

SENT, REAL, MADE, URGENT = 1, 2, 4, 8  # flags of a row: see `RowFlags`


class Word(IntEnum):
    """The first words."""

    MAGIC = 0
    VERSION = 1
    GENERATION = 2
    SCHEMA = 3  # bytes
    STATUS_AT = 4
    EVENTS_AT = 5
    ROWS_AT = 6
    ROWS = 7  # slots
    READINGS = 8  # numbers of a row
    OUTPUTS = 9
    ACTIONS = 10
    FIRST_ROW = 11  # the number of the first of this generation


class Pulse(IntEnum):
    """Written by the loop, but for the two of the status. Times are the port's: ns since 1970; 0: never."""

    STATE = 0  # see `State`
    ALIVE_NS = 1  # of the latest chunk, silence included: at least every 20 ms
    LINK = 2  # 0 never opened, 1 open, 2 lost
    LINK_NS = 3  # since when
    READINGS_NS = 4  # of the latest reading of the tick's format
    OUTPUTS_NS = 5  # of the latest reading of which outputs were made
    ACTIONS_NS = 6  # of the latest action that the port took
    ROWS = 7  # the number of the next row
    EVENTS = 8  # the number of the next event
    STATUS_VERSION = 9  # odd while it is written
    STATUS_SIZE = 10
    CLOCK_NS = 11  # the port's time less CLOCK_MONOTONIC
    PID = 12
    LATENCY_NS = 13  # of the latest action, from the bytes' arrival to their answer written; -1: none yet
    BEGAN = 14  # when the process did, in the system's ticks; 0: not known


class State(IntEnum):
    """Of a block."""

    RUNNING = 1
    REPLACED = 2  # another robot or model has other names: there is a newer block under the same path
    ENDED = 3


@dataclass(frozen=True)
class Sizes:
    """Numbers of one row, and slots."""

    readings: int
    outputs: int
    actions: int
    rows: int
    schema: int

    @property
    def row_words(self) -> int:
        return 5 + self.readings + self.outputs + self.actions

    @property
    def status_at(self) -> int:
        return _up(SCHEMA_AT + self.schema, 64)

    @property
    def events_at(self) -> int:
        return _up(self.status_at + STATUS_BYTES, 64)

    @property
    def rows_at(self) -> int:
        return _up(self.events_at + EVENTS * EVENT_BYTES, 4096)

    @property
    def total(self) -> int:
        return self.rows_at + self.rows * self.row_words * WORD


def row_type(readings: int, outputs: int, actions: int) -> np.dtype[np.void]:
    """A row, of int64 and float64; readings, outputs and action have the names of the schema, NaN where there is
    none."""
    return np.dtype(
        [
            ("number", np.int64),
            ("t_ns", np.int64),
            ("readings", np.float64, (readings,)),
            ("outputs", np.float64, (outputs,)),
            ("actions", np.float64, (actions,)),
            ("latency_ns", np.int64),
            ("not_real", np.int64),
            ("flags", np.int64),
        ]
    )


class RowFlags(NamedTuple):
    """What the flags of a row say."""

    sent: bool  # the action of this row was sent; a later one of the same chunk takes its place otherwise
    real: bool  # nothing of the reading was missing
    made: bool  # the outputs were made of it
    urgent: bool  # the action is an event's

    @classmethod
    def of(cls, flags: int) -> RowFlags:
        return cls(bool(flags & SENT), bool(flags & REAL), bool(flags & MADE), bool(flags & URGENT))


def slots(rate_hz: float | None, row_words: int) -> int:
    """How many rows stay: `RING_S` of them, a power of two, in bounded memory. rate_hz: None, as if it were 1 kHz."""
    wanted = min(max(int((rate_hz or 1000.0) * RING_S), ROWS[0]), ROWS[1], MOST_BYTES // (row_words * WORD))
    return 1 << max(wanted - 1, 1).bit_length() if wanted < ROWS[1] else ROWS[1]


def _up(value: int, to: int) -> int:
    return -(-value // to) * to
