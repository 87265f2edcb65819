"""Reading the block of a run, from another process, as often as wanted: it costs the run nothing.

    block = BlockReader(place)
    block.schema                           # names, units, model, robot
    status = block.status()                # four truths with their times, counters, latency …
    next_row, lost, rows = block.rows(0)   # a structured array, the oldest that are still there first
    next_event, lost, events = block.events(0)

Its rule: what is returned was whole at one moment; what was overwritten before it could be read is counted as lost,
never guessed. Where another robot or model brings other names the run writes a new block: `rows` gives what is left of
the old one, then goes over to the new one, and `generation` and `schema` change with it; numbers go on.

Never: write to the block, or wait for its writer.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_lstm.daemon.layout import (
    EVENT_BYTES,
    EVENT_HEAD,
    EVENTS,
    MAGIC,
    PULSE_AT,
    SCHEMA_AT,
    STATUS_BYTES,
    VERSION,
    WORD,
    Pulse,
    Sizes,
    State,
    Word,
    row_type,
)
from edge_lstm.daemon.process import lives
from edge_lstm.daemon.status import Status, Truth
from edge_lstm.errors import DaemonError

FRESH_NS = {"alive": 500_000_000, "readings": 5_000_000_000, "outputs": 5_000_000_000}  # until the run has said its own
TRIES = 100  # to read a status between two writes of it
_LINK = ("never", "open", "lost")


class BlockReader:
    """The block at `path` (the file, or the run's folder in the runtime directory). Raises DaemonError where there is
    none, or none that this version reads."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.path = path / "status" if path.is_dir() else path
        self.schema: dict[str, Any] = {}
        self._tree: dict[str, Any] = {}  # of the status, as it was read last
        self._map: mmap.mmap | None = None
        self._open()

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the block go. May be called twice."""
        if self._map is not None:
            self._words.release()
            self._pulse.release()
            with contextlib.suppress(BufferError):  # somebody still holds rows
                self._map.close()
            self._map = None

    @property
    def generation(self) -> int:
        """Another one where names, units or their number are others than before."""
        return self._generation

    @property
    def ended(self) -> bool:
        """Whether the run ended, or its process is gone."""
        return self._pulse[Pulse.STATE] == State.ENDED or self.gone

    @property
    def gone(self) -> bool:
        """Whether its process is gone: recording finished, summary printed, or killed."""
        return not lives(self._pulse[Pulse.PID], self._pulse[Pulse.BEGAN])

    @property
    def next_row(self) -> int:
        """The number that the next row will have: `rows(block.next_row)` begins now."""
        return self._pulse[Pulse.ROWS]

    @property
    def next_event(self) -> int:
        """The number that the next event will have."""
        return self._pulse[Pulse.EVENTS]

    def now_ns(self) -> int:
        """The time of now on the port's clock, as the rows have it, also where the wall clock was set meanwhile."""
        return time.monotonic_ns() + self._pulse[Pulse.CLOCK_NS]

    def status(self) -> Status:
        """Where the run stands now."""
        if self._pulse[Pulse.STATE] == State.REPLACED:
            self._open()
        pulse, tree = list(self._pulse), self._status()
        now_ns = time.monotonic_ns() + pulse[Pulse.CLOCK_NS]
        link, fresh = _LINK[pulse[Pulse.LINK]], {**FRESH_NS, **tree.get("fresh_ns", {})}
        there = pulse[Pulse.STATE] != State.ENDED and lives(pulse[Pulse.PID], pulse[Pulse.BEGAN])
        return Status.of(
            tree,
            now_ns=now_ns,
            alive=Truth.fresh(pulse[Pulse.ALIVE_NS], now_ns, fresh["alive"], there),
            link=Truth(link == "open" and there, pulse[Pulse.LINK_NS], _age(pulse[Pulse.LINK_NS], now_ns)),
            readings=Truth.fresh(pulse[Pulse.READINGS_NS], now_ns, fresh["readings"], there),
            outputs=Truth.fresh(pulse[Pulse.OUTPUTS_NS], now_ns, fresh["outputs"], there),
            pid=pulse[Pulse.PID],
            lives=there,
            rows=pulse[Pulse.ROWS],
            events=pulse[Pulse.EVENTS],
        )

    def rows(self, after: int = 0) -> tuple[int, int, npt.NDArray[np.void]]:
        """Rows from number `after` on, all there are: (number to go on with, how many were overwritten before they
        could be read, a copy of them as `layout.row_type` says)."""
        end = self._pulse[Pulse.ROWS]
        if after >= end and self._pulse[Pulse.STATE] == State.REPLACED:
            self._open()
            end = self._pulse[Pulse.ROWS]
        slots, begin = self._sizes.rows, max(after, self._first_row, end - self._sizes.rows)
        if begin >= end:
            return max(begin, end), max(begin - after, 0), np.empty(0, self._type)
        ring = np.frombuffer(self._mapped, self._type, slots, self._sizes.rows_at)
        at, stop = begin % slots, (end - 1) % slots + 1
        made = ring[at:stop].copy() if at < stop else np.concatenate([ring[at:], ring[:stop]])
        numbers = np.arange(begin, end)
        safe = self._pulse[Pulse.ROWS] + 1 - slots  # below it a slot may have been written anew meanwhile
        good = (numbers >= safe) & (made["number"] == numbers)
        made = made[good]
        return end, end - after - len(made), made

    def events(self, after: int = 0) -> tuple[int, int, list[dict[str, Any]]]:
        """Events from number `after` on: (number to go on with, how many were overwritten, the events, each with
        "t_ns", "event", "text", and "row": the number of the first row that came after it)."""
        if self._pulse[Pulse.STATE] == State.REPLACED and after >= self._pulse[Pulse.EVENTS]:
            self._open()
        end = self._pulse[Pulse.EVENTS]
        made = []
        for number in range(max(after, end - EVENTS), end):
            at = self._sizes.events_at + number % EVENTS * EVENT_BYTES
            slot = self._mapped[at : at + EVENT_BYTES]
            head, size = (int.from_bytes(slot[k : k + WORD], _ORDER, signed=True) for k in (0, WORD))
            if head != number or not 0 <= size <= EVENT_BYTES - EVENT_HEAD:
                continue
            if number < self._pulse[Pulse.EVENTS] + 1 - EVENTS:
                continue
            with contextlib.suppress(ValueError):
                made.append(json.loads(slot[EVENT_HEAD : EVENT_HEAD + size]))
        return end, max(end - after, 0) - len(made), made

    # ------------------------------------------------------------------------------------------ inside

    @property
    def _mapped(self) -> mmap.mmap:
        assert self._map is not None
        return self._map

    def _open(self) -> None:
        """The block that is at the path now."""
        for _ in range(TRIES):
            found = self._try()
            if found != State.REPLACED:
                return
            time.sleep(0.001)  # the newer one is being put there
        raise DaemonError(f"{self.path}: the run has replaced its status, and put no new one there")

    def _try(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DaemonError(f"{self.path}: there is no such status: no run of this name, or it has ended") from None
        except OSError as error:
            raise DaemonError(f"{self.path}: cannot be read: {error.strerror}") from error
        try:
            about = os.fstat(fd)
            size = about.st_size
            if not stat.S_ISREG(about.st_mode):  # the run's folder, made since it was looked for
                raise DaemonError(f"{self.path}: is no file, so no status of a run")
            if size < SCHEMA_AT:
                raise DaemonError(f"{self.path}: is no status of a run ({size} bytes)")
            mapped = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        view = memoryview(mapped)
        words = view[:PULSE_AT].cast("q")
        self._check(words, size)
        self.close()
        self._map, self._words, self._pulse = mapped, words, view[PULSE_AT:SCHEMA_AT].cast("q")
        self._sizes = Sizes(*(words[k] for k in (Word.READINGS, Word.OUTPUTS, Word.ACTIONS, Word.ROWS, Word.SCHEMA)))
        self._type = row_type(self._sizes.readings, self._sizes.outputs, self._sizes.actions)
        self._generation, self._first_row = words[Word.GENERATION], words[Word.FIRST_ROW]
        self.schema = json.loads(mapped[SCHEMA_AT : SCHEMA_AT + self._sizes.schema])
        return self._pulse[Pulse.STATE]

    def _check(self, words: memoryview, size: int) -> None:
        if words[Word.MAGIC] != MAGIC:
            raise DaemonError(f"{self.path}: is no status of a run")
        if words[Word.VERSION] != VERSION:
            why = f"its form is {words[Word.VERSION]}, and this edge-lstm reads {VERSION}"
            raise DaemonError(f"{self.path}: another version of edge-lstm writes it: {why}")
        numbers = [words[k] for k in (Word.READINGS, Word.OUTPUTS, Word.ACTIONS, Word.ROWS, Word.SCHEMA)]
        if min(numbers) < 0 or max(numbers) > size or Sizes(*numbers).total > size:
            raise DaemonError(f"{self.path}: is damaged: it is shorter than it says")

    def _status(self) -> dict[str, Any]:
        pulse, at = self._pulse, self._sizes.status_at
        for _ in range(TRIES):
            version, size = pulse[Pulse.STATUS_VERSION], pulse[Pulse.STATUS_SIZE]
            data = self._mapped[at : at + min(max(size, 0), STATUS_BYTES)]
            if not version & 1 and version == pulse[Pulse.STATUS_VERSION]:
                with contextlib.suppress(ValueError):
                    self._tree = dict(json.loads(data)) if data else {}
                    break
            time.sleep(0.0005)
        return self._tree  # the one before, where its writer was held up in the middle of it


def _age(then_ns: int, now_ns: int) -> float | None:
    return max(now_ns - then_ns, 0) / 1e9 if then_ns else None


_ORDER: Literal["little", "big"] = sys.byteorder
