"""What an engine is: whatever runs a model's program, one reading of each stream at a time.

    engine.open(model, streams) → Session        the memories of that many streams, in the reset state

Its rule: an engine is a value, sessions are independent of each other, and a stream in front of one notices no
difference (`tests/engines/test_promises.py` holds every engine to every promise). A call that refuses a reading has
changed nothing. A session belongs to one thread at a time; use by another one while a call is under way is a
ThreadError, or that call's own bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.errors import EdgeLstmError

Result = TypeVar("Result")
Checkpoint = Any  # what a session remembered at one moment; only the session that made it can read it


class Session(Protocol):
    """Streams of one model. A caller may write to `x`; everything else is only read."""

    model: Model
    group: int  # streams that one pass over the weights serves
    seen: int  # readings since the reset; of streams with logs of different lengths, of the longest
    user: int  # the thread that has the memory for itself while a call lets other threads run; 0: none
    x: Floats  # (streams, n_inputs): the readings that `advance` takes
    y: Floats  # (streams, n_outputs): the outputs of the latest `advance` that gave OK

    def advance(self) -> int:
        """One reading of each stream, from `x` to `y`. How it ended (`status.py`): OK, NOT_YET (taken, no output) or
        why it was not taken."""

    def advance_many(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """Readings (streams, T, n_inputs) of the first streams, all or some, to outputs (streams, T, n_outputs), rows
        C-contiguous. Returns the status of the last reading and how many were taken; where one is refused, those
        before it are (`back_to` takes them back). Rows without an output stay as they are."""

    def check_free(self) -> None:
        """Raises ThreadError where another thread has the memory for itself."""

    def exclusively(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """work(*arguments) with the memory for itself. Raises ThreadError."""

    def reset(self) -> None:
        """Every stream as it began."""

    def checkpoint(self) -> Checkpoint:
        """What is remembered, for `back_to`."""

    def back_to(self, checkpoint: Checkpoint) -> None:
        """Remember again what was remembered then."""

    def take_over(self, other: Any, streams: slice | Sequence[int], theirs: slice | Sequence[int]) -> None:
        """These streams remember what those of another session of this model and engine do."""

    def rearrange(self, order: Sequence[int]) -> None:
        """Stream k becomes what stream order[k] was."""

    def state(self, streams: int | slice) -> Mapping[str, Floats]:
        """What one stream remembers, or several, by name: float32 (units,) or (streams, units), read-only copies. Of a
        window, what the one remembers whose output comes next."""

    def snapshot(self) -> bytes:
        """Everything that is remembered, in one form: each engine that keeps the same states takes up the others'."""

    def restore(self, snapshot: bytes) -> None:
        """Take up what `snapshot` gave. Raises StateError where it is damaged or another model's, nothing changed."""

    def resume(self, values: Floats) -> None:
        """All states of each stream, one after the other. Raises StateError where a value is not finite."""

    def refusal(self, status: int, x: Floats, what: str) -> EdgeLstmError:
        """What a status means, as an error to raise. x: the reading that was refused; what: its name."""


class Engine(Protocol):
    """Opens sessions of models that it can run."""

    @property
    def name(self) -> str:
        """Its name in commands and reports."""

    def open(self, model: Model, streams: int = 1, digest: str | None = None) -> Session:
        """digest: whose snapshots these are, where the model stands for another one of the same states."""
