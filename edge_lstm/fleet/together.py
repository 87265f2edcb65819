"""Several tables of one job in the same passes over a model's weights.

Its rule: only where it changes no bit and is worth it: a continuous model with an output at each reading and more than
`WORTH` weights, and a log whose readings are all whole. Every other log goes by itself. Its blocks are read once.

Never: hold more than `MOST` readings of the logs of a job at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.core.channels import Encoder
from edge_lstm.errors import StateError
from edge_lstm.logs.log import Block, Column, Log
from edge_lstm.logs.matching import scaled

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Policy
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats

GROUP = 4  # logs that share a pass: what the native engine takes together
WORTH = (
    10_000  # weights: below they stay in the fastest cache anyway (0.9 x at 5,764; 1.2 x at 18,688; 2.7 x at 271,360)
)
MOST = 4_000_000  # readings


def worth_it(model: Model, policy: Policy | None) -> bool:
    """Whether logs of this model may share passes, and gain by it."""
    policy = model.policy if policy is None else policy
    plain = policy.missing == "skip" and policy.longest_gap is None
    return model.timing.mode == "continuous" and model.timing.each and plain and model.program.weight_count >= WORTH


class Held(Log):
    """A log whose blocks have been read."""

    def __init__(self, log: Log, blocks: list[Block]) -> None:
        self.path, self.size, self.columns = log.path, log.size, log.columns
        self.time, self.time_unit, self.notes = log.time, log.time_unit, log.notes
        self._blocks = blocks

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """Those that were read; of the same columns."""
        return iter(self._blocks)


class Known:
    """Stands where a stream stands, and gives outputs that are known already, in their order."""

    def __init__(self, model: Model, outputs: Floats) -> None:
        self.model, self._outputs, self._given = model, outputs, 0
        self.sizes = model.program.input_size, model.program.output_size

    def run(self, xs: Any) -> Floats:
        """The outputs of the next readings."""
        start = self._given
        self._given += len(xs)
        return self._outputs[start : self._given]

    def step(self, x: Any) -> Floats | None:
        """Never called: all readings are whole."""
        raise AssertionError("a reading by itself, among those that were whole")

    def reset(self) -> None:
        """See `step`."""
        raise AssertionError("a reset, in a log without any")

    def snapshot(self) -> Any:
        """See `step`."""
        raise AssertionError("a snapshot, where nothing is overdue")

    def restore(self, snapshot: Any) -> None:
        """See `step`."""
        raise AssertionError("no snapshot was given")


def read(log: Log, columns: Sequence[Column], model: Model, room: int) -> tuple[list[Block], Floats | None]:
    """The log's blocks, and its readings (T, n) where they may share passes. Where there are more than `room`, what was
    read so far, and None: it must be opened again."""
    words = {k: c.vocabulary for k, c in enumerate(model.inputs) if c.vocabulary}
    encoder, found, parts, count, whole = Encoder(model.inputs), [], [], 0, True
    with np.errstate(all="ignore"):
        for block in log.blocks(columns, words):
            count += len(block.t_s)
            if count > room:
                return [], None
            found.append(block)
            xs = encoder.rows(scaled(columns, block.numbers[:, : len(columns)]))
            whole = whole and not any(block.begins) and bool(np.isfinite(xs).all())
            parts.append(xs)
    return found, np.concatenate(parts) if whole and parts else None


def outputs(model: Model, logs: Sequence[Floats]) -> list[Floats | None]:
    """Of each log (T, n), all together; None where a reading of any would make its memory infinite."""
    try:
        return list(model.streams(len(logs)).run(logs))
    except StateError:
        return [None] * len(logs)
