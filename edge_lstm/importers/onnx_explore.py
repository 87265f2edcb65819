"""Which axes are time: the assignment for which the evidence in the graph is strongest, and the proof that an open
length makes no difference.

Its rule, in order: an assignment under which the graph cannot be lowered is out; of the others the one with the
strongest evidence (`Evidence`) is taken, one that nothing in the graph speaks against before one that something does;
where two different time axes have the same evidence, the caller must say which. Likelihood decides nothing but which of
several batch axes is meant, where the time axis is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx_axes import LEAST, Axes, assignments, witness
from edge_lstm.importers.onnx_draw import Drawing, Source, draw, newest, progress_of, unclear
from edge_lstm.importers.onnx_states import Pairs, pair_states
from edge_lstm.importers.onnx_tags import Misfit, ProvenMisfit
from edge_lstm.importers.plan import Plan

LONG = 64  # readings of a drawing from which on its batch is kept small
MOST_SIDES = 32
MOST_REACH = 4000  # readings that a graph of open length may join


class Evidence(IntEnum):
    """What can show that an axis is time, the strongest last."""

    NONE = 0  # the graph has no memory: anything fits as one wide reading
    REMEMBERS = 1  # readings are joined, but over any axis they could be
    LOOKS_BACK = 2  # every reading is joined with those before it in the same way
    PAIRED = 3  # one run is one reading, and outputs are the next values of inputs
    CARRIED = 4  # a recurrent layer, or a loop, carries its state along the axis


@dataclass(frozen=True)
class Found:
    """An assignment under which the whole graph can be lowered, and what speaks for it."""

    axes: Axes
    pairs: Pairs
    drawing: Drawing

    @property
    def times(self) -> tuple[int | None, ...]:
        """The time axis of each input."""
        return tuple(time for time, _ in self.axes.of.values())

    @property
    def evidence(self) -> tuple[Evidence, bool]:
        """How strong the proof is that these axes are time, and whether nothing in the graph speaks against it."""
        low = self.drawing.low
        if low.carried_on:
            kind = Evidence.CARRIED
        elif self.pairs:
            kind = Evidence.PAIRED
        elif low.plan.states and low.proven:
            kind = Evidence.LOOKS_BACK
        else:
            kind = Evidence.REMEMBERS if low.plan.states else Evidence.NONE
        return kind, not (low.forgets or low.aside)


def explore(source: Source, asked: Mapping[str, str] | None, sizes: tuple[int, int]) -> Found:
    """The assignment of axes under which the whole graph can be lowered and for which the evidence is strongest.

    Where different time axes have the same evidence, the caller must say which. Without a memory anything fits as one
    wide reading; so that is taken only where nothing likelier has failed. It goes before readings that are joined over
    an axis that nothing proves: a dense layer over a vector could always be one over readings.
    """
    furthest: ImportModelError | None = None
    unsaid: ImportModelError | None = None  # which state is which is not clear, under likelier axes
    reach = 0
    found: list[Found] = []
    for axes in filter(source.allowed, assignments(source.graph.inputs)):
        if any(
            f.times == tuple(t for t, _ in axes.of.values()) and f.evidence > (Evidence.PAIRED, False) for f in found
        ):
            continue  # only the batch is another
        try:
            one = _attempt(source, axes, asked, sizes)
        except UnclearState as error:
            if all(f.evidence[0] < Evidence.PAIRED for f in found):
                unsaid = unsaid or error.error
            continue
        except Misfit as error:
            reach = max(reach, getattr(error, "reach", 0))
            if furthest is None or progress_of(error) > progress_of(furthest):
                furthest = error
            continue
        if one.evidence[0] is not Evidence.NONE or furthest is None:
            found.append(one)
        if one.evidence == (Evidence.CARRIED, True) and len(source.graph.inputs) - len(source.zero) == 1:
            break  # every recurrent layer runs along this axis, so none can run along another
    remembering = [f for f in found if f.evidence[0] is not Evidence.NONE]
    best = max(remembering, key=lambda f: f.evidence, default=None)
    if unsaid is not None and (best is None or best.evidence[0] < Evidence.CARRIED):
        raise unsaid
    memoryless = next((f for f in found if f.evidence[0] is Evidence.NONE), None)
    unproven = best is None or best.evidence[0] is Evidence.REMEMBERS
    if memoryless is not None and unproven and (best is None or source.time_axis is None):
        return memoryless
    if best is not None and not (unproven and isinstance(furthest, ProvenMisfit)):
        equal = [f for f in remembering if f.evidence == best.evidence]
        if len({f.times for f in equal}) > 1:
            raise unclear(source.graph, [f.axes for f in equal])
        return equal[0]
    if furthest is not None:
        furthest.reach = reach  # type: ignore[attr-defined]
        raise furthest
    shapes = ", ".join(str(v) for v in source.graph.inputs)
    raise ImportModelError(f"no axes of the inputs {shapes} can be time and batch; at most two dimensions may be open")


def _attempt(source: Source, axes: Axes, asked: Mapping[str, str] | None, sizes: tuple[int, int]) -> Found:
    """The graph under these axes. Raises Misfit where they cannot be right."""
    drawing = draw(source, axes, sizes, {}, None)
    low = drawing.low
    try:
        for name, tags in drawing.outputs.items():
            newest(name, tags, low)
    except Misfit as error:
        error.progress = float(len(source.graph.nodes))  # type: ignore[attr-defined]
        raise
    try:
        pairs = pair_states(drawing.inputs, drawing.outputs, source.graph.inputs, low, asked)
    except ImportModelError as error:
        raise UnclearState(error) from None
    if stray := [name for name, _ in low.once if name not in pairs]:
        raise _misfit(f"input {stray[0]!r} has no time axis and is no state; give it one value per reading")
    if axes.length > 1 and pairs and low.plan.states:
        what = low.plan.states[0].name
        raise _misfit(
            f"the graph hands its states on, but begins with a new {what!r} after each {axes.length} readings"
        )
    found = Found(axes, pairs, drawing)
    if low.forgets and found.evidence[0] < Evidence.LOOKS_BACK:
        raise _misfit(f"{low.forgets}: its sequence axis is not the time axis, and nothing else remembers")
    return found


class UnclearState(Exception):
    """The graph can be lowered under these axes, but which output is the next value of an input is not clear."""

    def __init__(self, error: ImportModelError) -> None:
        super().__init__(str(error))
        self.error = error


def _misfit(text: str) -> Misfit:
    """One that counts less than any that stopped at a node."""
    error = Misfit(text)
    error.progress = 0.0  # type: ignore[attr-defined]
    return error


def settle(source: Source, asked: Mapping[str, str] | None, dims: set[int]) -> Found:
    """`explore`, with an open length drawn long enough to show everything that the graph does with it."""
    length, first = witness(dims, LEAST), None
    for _ in range(8):
        found = None
        try:
            found = explore(source, asked, (length, witness(dims, length + 1 if length < LONG else LEAST)))
            far = found.drawing.low.horizon
        except ImportModelError as error:
            first, far = first or error, int(getattr(error, "reach", 0))
        if found is not None and far < length:
            return found
        if found is None and first is not None and (far < length or far > MOST_REACH):
            raise first
        if far > MOST_REACH:
            raise Misfit(
                f"the graph joins readings, or compares its length, over {far} readings, too many for an open length."
                " Use mode='window', window=T, or export it with a fixed length"
            )
        length = witness(dims, far + 1)
    raise Misfit("the graph reaches further back, the longer its sequence is; use mode='window', window=T")


def prove_open(source: Source, found: Found, drawing: Drawing, dims: set[int]) -> None:
    """Proves that an open length or batch makes no difference to the program. Raises Misfit."""
    axes = found.axes
    if axes.length and axes.batch:
        return
    low = drawing.low
    sizes = [(witness(dims, low.length + 1), 1)]
    if not axes.length and low.choices:  # what it does with fewer readings, on each side of every limit
        sides = sorted({2, *low.choices, *(n + 1 for n in low.choices)})
        if len(sides) > MOST_SIDES:
            raise Misfit(
                f"the graph compares its length with {len(low.choices)} numbers; export it with a fixed length"
            )
        sizes += [(n, 1) for n in sides if n >= low.ready]
    for other in (draw(source, axes, size, found.pairs, found.drawing) for size in sizes):
        if _alike(drawing, other):
            continue
        raise Misfit(
            f"{first_difference(low.plan, other.low.plan)}: works on different readings together, or computes"
            " differently for batches of different size (its result depends on how long the open dimension is); a"
            " continuous stream cannot run it. Use mode='window', window=T: then each output belongs to the last T"
            " readings"
        )


def _alike(one: Drawing, other: Drawing) -> bool:
    """Whether two drawings are the same program with the same outputs."""
    if one.low.plan.signature() != other.low.plan.signature() or one.low.ready != other.low.ready:
        return False
    return all(
        np.array_equal(newest(name, tags, one.low), newest(name, other.outputs[name], other.low))
        for name, tags in one.outputs.items()
    )


def first_difference(one: Plan, other: Plan) -> str:
    """The node at which two drawings part."""
    for a, b, step in zip(one.signature(), other.signature(), one.steps, strict=False):
        if a != b:
            return ", ".join(step.sources) or "the network"
    return "the network"
