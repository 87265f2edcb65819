"""A Loop or a Scan over time, rolled up: what one pass hands to the next is a state of the stream.

Its rule: proof by induction. Every pass is run from the same state, at its own reading; all must give the same
computation at that reading, whatever the number of the pass. What is no float32 (a counter, a list that grows) is
handed on as it is, and so must not enter what the passes compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.plan import Ids, Place
from edge_lstm.importers.onnx.provenance import Ints, Misfit, Traced, traced
from edge_lstm.importers.spelling import say

Values = Sequence[Any]
Pass = Callable[[int, Values], tuple[Values, Values]]  # (its number, what it is given) to (what it hands on, results)


@dataclass(frozen=True)
class Held:
    """A state of the loop: which of its values stands where in what a pass is given, and of which stream."""

    place: Place
    inner: Ids
    streams: Ints

    def at(self, reading: int) -> Traced:
        """As the pass of this reading is given it."""
        return traced(reading, self.streams, self.place.start + self.inner)


def over_time(c: Call, low: Lowering, initial: Values, one: Pass) -> tuple[Values, list[Values]]:
    """What the last pass hands on, and the results of each pass. Raises Misfit where the passes are not alike."""
    held = [_held(c, low, value) for value in initial]
    given: Values = initial
    collected: list[Values] = []
    for k in range(low.length):
        now = [value if state is None else state.at(k + 1) for state, value in zip(held, given, strict=True)]
        given, results = one(k, now)
        collected.append(results)
        for state, value in zip(held, given, strict=True):
            if state is not None:
                _keep(c, low, state, value, k + 1)
    low.proven = low.carried_on = True
    return given, collected


def _held(c: Call, low: Lowering, value: Any) -> Held | None:
    """A state that begins with this value; None for what is handed on as it is."""
    if isinstance(value, Traced) and value.kind == "f":
        names = [name for name in low.inputs_of(value) if name in dict(low.once)]
        zero = f": say {say(states={names[0]: None})} to begin with zero" if names else ""
        raise Misfit(f"{c.node}: over a sequence it must begin with a constant, not with what is computed{zero}")
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return None
    first: Array = value
    streams = np.zeros([1] * value.ndim, np.int64)
    if low.batch > 1:
        axes = [axis for axis, size in enumerate(value.shape) if size == low.batch]
        if len(axes) != 1:
            raise Misfit(f"{c.node}: which axis of its state {list(value.shape)} is the batch is not clear")
        first = value.take([0], axes[0])
        if (value != first).any():
            raise Misfit(f"{c.node}: its state begins differently for different streams of the batch")
        streams = np.arange(1, low.batch + 1).reshape([-1 if k == axes[0] else 1 for k in range(value.ndim)])
    place = low.plan.state(f"rolled_{len(low.plan.states)}", first.size, first.reshape(-1).astype(np.float32))
    inner = np.broadcast_to(np.arange(first.size).reshape(first.shape), value.shape)
    return Held(place, inner, np.broadcast_to(streams, value.shape))


def _keep(c: Call, low: Lowering, state: Held, value: Any, reading: int) -> None:
    """Makes what a pass hands on the state's next value; every pass must hand on the same."""
    after = low.traced(c, value)
    fits = after.shape == state.inner.shape and bool(np.isin(after.t, (0, reading)).all())
    if fits and (low.batch == 1 or bool(((after.b == 0) | (after.b == state.streams)).all())):
        following = np.empty(state.place.size, np.int64)
        following[state.inner] = after.ids
        known = following if state.place.next is None else state.place.next
        if np.array_equal(known, following) and np.array_equal(following[state.inner], after.ids):
            state.place.next = following
            return
    raise Misfit(
        f"{c.node}: its pass {reading} of {low.length} does not do with reading {reading} what the others do with"
        f" theirs; a stream needs passes that are alike. Use {low.as_window}"
    )
