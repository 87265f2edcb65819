"""What a run says, batch by batch: its rows, events and status since the last look.

Its rule: one reader of the block for all who show something. A run that ends, or is started again, is news, no error:
the next batch says so. What was overwritten before it could be read is counted.

Never: write to the run, or wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.layout import SENT
from edge_lstm.daemon.place import STATUS
from edge_lstm.daemon.status import Status
from edge_lstm.errors import DaemonError

Kind = Literal["outputs", "actions", "readings"]
KINDS: tuple[Kind, ...] = ("outputs", "actions", "readings")


@dataclass(frozen=True)
class Channel:
    """One number of every row."""

    kind: Kind
    name: str
    unit: str


@dataclass(frozen=True)
class Run:
    """What does not change from row to row. format, action_format: of readings and actions, as topics have them."""

    name: str
    model: str
    device: str
    format: str
    action_format: str
    rate_hz: float | None
    channels: tuple[Channel, ...]  # in the order of KINDS
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)  # all that its block says of it

    @classmethod
    def of(cls, schema: Mapping[str, Any], name: str) -> Run:
        """From a block's schema. name: where it says none."""
        channels = tuple(
            Channel(kind, str(one["name"]), str(one.get("unit") or ""))
            for kind in KINDS
            for one in schema.get(kind, ())
        )
        rate_hz = schema.get("rate_hz")
        return cls(
            name=str(schema.get("name") or name),
            model=str(schema.get("model") or ""),
            device=f"{schema.get('device') or ''} {schema.get('version') or ''}".strip(),
            format=str(schema.get("format") or ""),
            action_format=str(schema.get("action_format") or ""),
            rate_hz=float(rate_hz) if rate_hz else None,
            channels=channels,
            about=schema,
        )

    def count(self, kind: Kind) -> int:
        """How many channels are of it."""
        return sum(channel.kind == kind for channel in self.channels)


@dataclass(frozen=True)
class Batch:
    """News. `run` None: there is none; began: run, names or units are others than before, or it is the first batch.

    rows: as `edge_lstm.daemon.layout.row_type` says; lost, lost_events: overwritten unread. past: it had happened
    before anybody looked.
    """

    run: Run | None
    began: bool
    past: bool
    status: Status | None
    rows: npt.NDArray[np.void]
    lost: int = 0
    events: Sequence[Mapping[str, Any]] = ()
    lost_events: int = 0
    why: str = ""  # there is no run

    def values(self) -> npt.NDArray[np.float64]:
        """The rows' numbers, (rows, channels) in the order of `Run.channels`; an action that was not sent is NaN."""
        if self.run is None or not len(self.rows):
            return np.empty((0, len(self.run.channels) if self.run else 0))
        actions = np.where((self.rows["flags"] & SENT)[:, None] != 0, self.rows["actions"], np.nan)
        return np.concatenate([self.rows["outputs"], actions, self.rows["readings"]], axis=1)


NO_ROWS: npt.NDArray[np.void] = np.empty(0, np.dtype([]))


class Feed:
    """The block of the run in `folder`, opened again whenever there is a new one."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._block: BlockReader | None = None
        self._run: Run | None = None
        self._generation = -1
        self._row = self._event = 0
        self._looked = False  # whether a batch was given
        self._why = ""

    def poll(self) -> Batch:
        """What is new. Where the run is gone, its last rows and events come first."""
        first, self._looked = not self._looked, True
        opened = self._block is None and self._open()
        block = self._block
        if block is None:
            gone, self._run = self._run is not None, None
            return Batch(None, gone or first, False, None, NO_ROWS, why=self._why)
        try:
            ended = block.ended  # asked before: what comes after it is all there is
            self._row, lost, rows = block.rows(self._row)
            began = opened or block.generation != self._generation
            if began:
                self._generation, self._run = block.generation, Run.of(block.schema, self._name)
            self._event, lost_events, events = block.events(self._event)
            status = block.status()
        except DaemonError as error:  # replaced by one that is not there yet, or of another version
            self._close(str(error))
            return Batch(None, True, False, None, NO_ROWS, why=self._why)
        if ended:
            self._close("the run has ended")
        return Batch(self._run, began, opened and first, status, rows, lost, events, lost_events)

    def close(self) -> None:
        """Let the block go."""
        self._close("")

    def _open(self) -> bool:
        try:
            block = BlockReader(self._folder)
        except DaemonError as error:
            there = (self._folder / STATUS).exists()
            self._why = str(error) if there else "nothing runs under this name; it is shown as soon as it does"
            return False
        if block.ended:  # left behind by a run that was killed
            block.close()
            self._why = "the run is gone and has left its status behind"
            return False
        self._block, self._row, self._event, self._generation = block, 0, 0, -1
        return True

    def _close(self, why: str) -> None:
        if self._block is not None:
            self._block.close()
        self._block, self._why = None, why
