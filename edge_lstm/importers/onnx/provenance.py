"""A value that depends on the readings, as the provenance of its elements: an array of the shape the graph
sees, which says of each element which number of which reading of which stream it is.

Its rule: an origin says (t, b, id): value `id` of the plan, at reading t of the sequence, in stream b of the batch.
Transposing, slicing, reshaping, stacking the array *is* what the graph does to the values, so no operator has to be
followed by rules about axes, and what comes out is proven, not guessed. An operation that computes must find all its
operands at one t and one b; if they are not, the graph mixes readings or streams, and that is a Misfit. t and b are
1, 2, …; 0 means "the same for all". A t of ENDED belongs to what comes only after the last reading: where a layer
looks ahead, the end of a sequence is computed with padding behind it, and a stream has no end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import ImportModelError

T_SHIFT, B_SHIFT = 48, 32
MAX_LENGTH, MAX_BATCH = (1 << 15) - 2, (1 << 16) - 2
ENDED = (1 << 15) - 1
ID_MASK, B_MASK = (1 << 32) - 1, (1 << 16) - 1

Ints = npt.NDArray[np.int64]


class Misfit(ImportModelError):
    """The graph does not fit the assumed time and batch axes; another assumption may."""


class ShapeMisfit(Misfit):
    """Shapes do not go together: the assumed sizes of open dimensions may be what does not fit."""


class StreamsMisfit(Misfit):
    """What is taken for streams of a batch is joined: perhaps their axis is another, which must be said."""


class ProvenMisfit(Misfit):
    """The axes are right, but the graph cannot run on a stream: of several errors this is the one to raise."""


class SureMisfit(ProvenMisfit):
    """The same of the whole graph: it counts more than any that stopped at a node."""


@dataclass(frozen=True)
class Traced:
    """An array of origins (int64, packed by `traced`), one for each element. `kind` is what the numbers mean: "f"
    floats, "i" whole numbers, "b" booleans (1, 0)."""

    origins: Ints
    kind: str = "f"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape the graph sees."""
        return self.origins.shape

    @property
    def ndim(self) -> int:
        """The number of its dimensions."""
        return self.origins.ndim

    @property
    def size(self) -> int:
        """The number of its elements."""
        return self.origins.size

    @property
    def t(self) -> Ints:
        """The reading each element belongs to, 0 for all."""
        return self.origins >> T_SHIFT

    @property
    def b(self) -> Ints:
        """The stream each element belongs to, 0 for all."""
        return (self.origins >> B_SHIFT) & B_MASK

    @property
    def ids(self) -> Ints:
        """The plan's value of each element."""
        return self.origins & ID_MASK


@dataclass(frozen=True)
class Items:
    """A list of values, traced ones or constants, as a scripted loop grows it (`operators/lists.py`)."""

    parts: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many there are."""
        return (len(self.parts),)

    @property
    def ndim(self) -> int:
        """One dimension."""
        return 1

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.parts)


def traced(t: Any, b: Any, ids: Any, kind: str = "f") -> Traced:
    """A traced value from the parts of its origins, broadcast."""
    return Traced(
        (np.asarray(t, np.int64) << T_SHIFT) | (np.asarray(b, np.int64) << B_SHIFT) | np.asarray(ids, np.int64), kind
    )


def first_unique(values: Ints) -> tuple[Ints, Ints]:
    """The different values of a flat array in the order of their first appearance, and where each element is among
    them.
    """
    unique, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    return unique[order], rank[inverse.reshape(-1)]


def unique_rows(rows: Ints) -> tuple[Ints, Ints]:
    """The different rows (n, k) in the order of their first appearance, and which of them each row is."""
    if rows.shape[0] and (rows == rows[0]).all():  # nearly always: one row per reading and stream
        return rows[:1], np.zeros(rows.shape[0], np.int64)
    if rows.shape[1] == 1:
        different, which = first_unique(rows.reshape(-1))
        return different[:, None], which
    # Sorting one number per row is many times faster than sorting rows; that no two rows share one is checked.
    values = _mixed(np.ascontiguousarray(rows).view(np.uint64))
    numbers = (values @ _mixed(np.arange(1, rows.shape[1] + 1, dtype=np.uint64))).view(np.int64)
    while True:
        different, which = first_unique(numbers)
        first = np.empty(different.size, np.int64)
        first[which[::-1]] = np.arange(len(rows))[::-1]
        if (rows[first][which] == rows).all():
            return rows[first], which
        numbers = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Numbers without a pattern, different for different ones (the finalizer of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def steps_along(values: Ints, axis: int, count: int) -> bool:
    """Whether the values are 1, 2, … count along the axis, or 0 (the same for all), but not all 0."""
    if values.shape[axis] != count or not values.any():
        return False
    shape = [1] * values.ndim
    shape[axis] = count
    return bool(((values == np.arange(1, count + 1).reshape(shape)) | (values == 0)).all())


def find_axis(values: Ints, count: int) -> int | None:
    """The axis along which the values count 1, 2, … count, or None."""
    return next((a for a in range(values.ndim) if steps_along(values, a, count)), None)
