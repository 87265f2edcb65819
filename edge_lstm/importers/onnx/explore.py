"""Which axes are time: the assignment for which the evidence in the graph is strongest, and the proof that an open
length makes no difference.

Its rule, in order: an assignment under which the graph cannot be lowered is out; of the others the one with the
strongest evidence (`Evidence`) is taken, one that nothing in the graph speaks against before one that something does;
where two different time axes have the same evidence, the caller must say which. Likelihood decides nothing but which of
several batch axes is meant, where the time axis is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.axes import LEAST, Axes, assignments, one_reading, witness
from edge_lstm.importers.onnx.draw import Drawing, Source, draw, unclear
from edge_lstm.importers.onnx.graph import Value
from edge_lstm.importers.onnx.outputs import newest, output_of
from edge_lstm.importers.onnx.plan import Plan
from edge_lstm.importers.onnx.provenance import ENDED, Misfit, ProvenMisfit, ShapeMisfit
from edge_lstm.importers.onnx.rates import EVERY_READING, Rate
from edge_lstm.importers.onnx.states import PROOFS, Pairs, pair_states

LONG = 64  # readings of a drawing from which on its batch is kept small
MOST_SIDES = 32
LONGEST_RECEPTIVE_FIELD = 4000  # readings that a graph of open length may join
LONGEST_PERIOD = 64  # readings from one output to the next


class Evidence(IntEnum):
    """What can show that an axis is time, the strongest last."""

    NONE = 0  # the graph has no memory: anything fits as one wide reading
    REMEMBERS = 1  # readings are joined, but over any axis they could be
    LOOKS_BACK = 2  # every reading is joined with those before it in the same way
    PAIRED = 3  # one run is one reading, and outputs are the next values of inputs
    CARRIED = 4  # a recurrent layer, or a loop, carries its state along the axis


@dataclass(frozen=True)
class Candidate:
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


def explore(source: Source, asked: Mapping[str, str] | None, sizes: tuple[int, int]) -> Candidate:
    """The assignment of axes under which the whole graph can be lowered and for which the evidence is strongest.

    Where different time axes have the same evidence, the caller must say which. Without a memory anything fits as one
    wide reading; so that is taken only where nothing likelier has failed. It goes before readings that are joined over
    an axis that nothing proves: a dense layer over a vector could always be one over readings.
    """
    first = _as_one_reading(source, asked, sizes)
    states = first.pairs if first is not None else {}
    stepping = first is not None and not first.drawing.low.chunked
    if first is not None and stepping and any(why in PROOFS for _, why in states.values()):
        return first
    furthest: ImportModelError | None = None
    unsaid: ImportModelError | None = None  # which state is which is not clear, under likelier axes
    receptive_field, reached = 0, 0.0
    unshaped: list[Axes] = []  # open batches of which several do not fit the graph's shapes
    candidates: list[Candidate] = []
    for axes in filter(source.allowed, assignments(source.graph.inputs, states)):
        if stepping and axes.length != 1:
            continue
        if any(
            f.times == tuple(t for t, _ in axes.of.values()) and f.evidence > (Evidence.PAIRED, False)
            for f in candidates
        ):
            continue  # only the batch is another
        try:
            one = first if first is not None and axes == first.axes else _attempt(source, axes, asked, sizes)
        except UnclearState as error:
            if all(f.evidence[0] < Evidence.PAIRED for f in candidates):
                unsaid = unsaid or error.error
            continue
        except Misfit as error:
            receptive_field = max(receptive_field, error.receptive_field)
            if isinstance(error, ShapeMisfit) and axes.batch == 0 and sizes[1] != 1:
                unshaped.append(axes)
            # Of two that came equally far, the one that took an axis for time says more.
            far = error.progress + 0.25 * (axes.length != 1)
            if furthest is None or far > reached:
                furthest, reached = error, far
            continue
        if one.evidence[0] is not Evidence.NONE or furthest is None:
            candidates.append(one)
        if one.evidence == (Evidence.CARRIED, True) and len(source.graph.inputs) - len(source.fixed) == 1:
            break  # every recurrent layer runs along this axis, so none can run along another
    remembering = [f for f in candidates if f.evidence[0] is not Evidence.NONE]
    best = max(remembering, key=lambda f: f.evidence, default=None)
    if unsaid is not None and (best is None or best.evidence[0] < Evidence.CARRIED):
        raise unsaid
    memoryless = next((f for f in candidates if f.evidence[0] is Evidence.NONE), None)
    unproven = best is None or best.evidence[0] is Evidence.REMEMBERS
    if memoryless is not None and unproven and (best is None or source.time_axis is None):
        return memoryless
    # Joined over an axis that nothing proves, and something speaks against it: not while another axis could be time.
    doubted = best is not None and best.evidence == (Evidence.REMEMBERS, False) and source.time_axis is None
    lost = furthest is not None and (doubted or (unproven and isinstance(furthest, ProvenMisfit)))
    if best is not None and not lost:
        equal = [f for f in remembering if f.evidence == best.evidence]
        if len({f.times for f in equal}) > 1:
            raise unclear(source.graph, [f.axes for f in equal])
        return equal[0]
    alone = _of_one_stream(source, asked, sizes[0], unshaped)
    if alone is not None:
        return alone
    if furthest is not None:
        furthest.receptive_field = receptive_field
        raise furthest
    shapes = ", ".join(str(v) for v in source.graph.inputs)
    raise ImportModelError(f"no axes of the inputs {shapes} can be time and batch; at most two dimensions may be open")


def _of_one_stream(
    source: Source, asked: Mapping[str, str] | None, length: int, unshaped: Sequence[Axes]
) -> Candidate | None:
    """The graph whose batch is open in name only: it runs with 1, and its shapes forbid several. None where that is not
    it, or two time axes would do."""
    found: list[Candidate] = []
    for axes in unshaped:
        try:
            candidate = _attempt(source, axes, asked, (length, 1))
        except (ImportModelError, UnclearState):
            continue
        if candidate.evidence[0] >= Evidence.PAIRED:
            found.append(candidate)
    best = [f for f in found if f.evidence == max(one.evidence for one in found)]
    if not best or len({f.times for f in best}) > 1:
        return None
    return best[0]


def _as_one_reading(source: Source, asked: Mapping[str, str] | None, sizes: tuple[int, int]) -> Candidate | None:
    """The graph as one run for each reading, where outputs are then the next values of inputs; None where that is not
    so, or the caller says which axis is time.

    No time axis beats it where every recurrent layer that goes on from such an input does so by one step (not
    `chunked`): no axis of what is carried on is time, and along an axis of a reading the graph would begin anew after
    each run. Where the pairs are proven there is no batch either: a layer would have several columns.
    """
    graph = source.graph
    alike = any(like(i, o) for i in graph.inputs for o in graph.outputs if i.name not in source.fixed)
    if not alike or isinstance(source.time_axis, int):
        return None
    for axes in filter(source.allowed, one_reading(graph.inputs)):
        try:
            candidate = _attempt(source, axes, asked, sizes)
        except (ImportModelError, UnclearState):
            continue
        if candidate.evidence[0] is Evidence.PAIRED:
            return candidate
    return None


def like(one: Value, other: Value) -> bool:
    """Whether an output may have an input's shape."""
    sizes = zip(one.dims, other.dims, strict=False)
    return len(one.dims) == len(other.dims) and all(a == b or str in (type(a), type(b)) for a, b in sizes)


def _attempt(source: Source, axes: Axes, asked: Mapping[str, str] | None, sizes: tuple[int, int]) -> Candidate:
    """The graph under these axes. Raises Misfit where they cannot be right."""
    drawing = draw(source, axes, sizes, {}, None)
    try:
        return _remembering(source, axes, asked, drawing)
    except Misfit as error:
        error.receptive_field = drawing.low.receptive_field
        raise


def _remembering(source: Source, axes: Axes, asked: Mapping[str, str] | None, drawing: Drawing) -> Candidate:
    """What a drawing remembers from reading to reading. Raises Misfit."""
    low = drawing.low
    try:
        for name, value in drawing.outputs.items():
            newest(name, value, low)
    except Misfit as error:
        error.progress = float(len(source.graph.nodes))
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
    candidate = Candidate(axes, pairs, drawing)
    if low.forgets and candidate.evidence[0] < Evidence.LOOKS_BACK:
        raise _misfit(f"{low.forgets}: its sequence axis is not the time axis, and nothing else remembers")
    return candidate


class UnclearState(Exception):
    """The graph can be lowered under these axes, but which output is the next value of an input is not clear."""

    def __init__(self, error: ImportModelError) -> None:
        super().__init__(str(error))
        self.error = error


def _sure(text: str) -> ProvenMisfit:
    """One that counts more than any that stopped at a node."""
    error = ProvenMisfit(text)
    error.progress = math.inf
    return error


def _misfit(text: str) -> Misfit:
    """One that counts less than any that stopped at a node."""
    error = Misfit(text)
    error.progress = 0.0
    return error


def settle(source: Source, asked: Mapping[str, str] | None, dims: set[int]) -> Candidate:
    """`explore`, with an open length drawn long enough to show everything that the graph does with it."""
    length, first = witness(dims, LEAST), None
    for _ in range(8):
        candidate = None
        try:
            candidate = explore(source, asked, (length, witness(dims, length + 1 if length < LONG else LEAST)))
            far = candidate.drawing.low.receptive_field
        except ImportModelError as error:
            first, far = error, error.receptive_field
        if candidate is not None and far < length:
            return candidate
        if candidate is None and first is not None and (far < length or far > LONGEST_RECEPTIVE_FIELD):
            raise first
        if far > LONGEST_RECEPTIVE_FIELD:
            raise Misfit(
                f"the graph joins readings, or compares its length, over {far} readings, too many for an open length."
                " Use mode='window', window=T, or export it with a fixed length"
            )
        length = witness(dims, far + 1)
    raise Misfit("the graph reaches further back, the longer its sequence is; use mode='window', window=T")


def prove_open(source: Source, candidate: Candidate, drawing: Drawing, dims: set[int]) -> Sequence[Drawing]:
    """Proves that an open length or batch makes no difference to the program; the drawings that show it, one for each
    reading of a round of all strides. Raises Misfit."""
    axes = candidate.axes
    if axes.length and axes.batch:
        return ()
    low = drawing.low
    base = witness(dims, low.length + 1)
    period = 1 if axes.length else low.rates.period
    if period > LONGEST_PERIOD:
        raise _sure(
            f"the strides over time make {period} readings together; more than {LONGEST_PERIOD} are not supported. Use"
            " mode='window', window=T, or leave out readings before the model"
        )
    # A stride may treat lengths differently: all remainders are tried.
    sizes = [(base + k, 1) for k in range(period)]
    if not axes.length and low.limits:  # what it does with fewer readings, on each side of every limit
        sides = sorted({2, *low.limits, *(n + 1 for n in low.limits)})
        if len(sides) > MOST_SIDES:
            raise Misfit(f"the graph compares its length with {len(low.limits)} numbers; export it with a fixed length")
        sizes += [(n, 1) for n in sides if n >= low.first_output]
    others = [draw(source, axes, size, candidate.pairs, candidate.drawing) for size in sizes]
    for other in others:
        if _alike(drawing, other):
            continue
        raise _sure(
            f"{first_difference(low.plan, other.low.plan)}: works on different readings together, or computes"
            " differently for batches of different size (its result depends on how long the open dimension is); a"
            " continuous stream cannot run it. Use mode='window', window=T: then each output belongs to the last T"
            " readings"
        )
    return others[:period]


def common_rate(candidate: Candidate, drawing: Drawing, others: Sequence[Drawing]) -> Rate:
    """With which readings all outputs come. Raises Misfit where they do not come together.

    others: drawings of as many lengths, one after the other, as there are readings in a round of all strides.
    """
    low = drawing.low
    rates = []
    check_rows(candidate, drawing, others)
    for name, value in drawing.outputs.items():
        one = output_of(name, value, low)
        rate = one.rate or _of_newest(name, one.moment, drawing, others)
        first = max(rate.first, low.first_output, low.rates.begins(one.ids) if one.rate is None else 1)
        rates.append(Rate(first + (rate.first - first) % rate.stride, rate.stride))
    together = Rate(max(c.first for c in rates), rates[0].stride)
    for name, rate in zip(drawing.outputs, rates, strict=True):
        if rate.stride != together.stride or (together.first - rate.first) % rate.stride:
            raise _sure(
                f"output {name!r} comes with every {rate.stride}-th reading from reading {rate.first} on, others with"
                f" every {together.stride}-th from {together.first} on; a model has one"
                " rate: export them apart"
            )
    if candidate.pairs and any(rate != EVERY_READING for rate in low.rates.seen):
        raise _sure("strides over time in a graph that hands its states on are not supported; use a window")
    return together


def check_rows(candidate: Candidate, drawing: Drawing, others: Sequence[Drawing]) -> None:
    """Refuses an output that holds some of the last readings only: in a stream each came with its own reading, from
    another reset, and the output would be its newest row alone. Raises ProvenMisfit, so that a window may give all."""
    low = drawing.low
    for name, value in drawing.outputs.items():
        one = output_of(name, value, low)
        if one.rate is None or low.length == 1:
            continue
        begins = max(low.first_output, low.rates.begins(one.ids))
        if candidate.axes.length:
            last_only = one.rate.first >= begins + one.rate.stride
        else:
            firsts = {(r.first if (r := output_of(name, o.outputs[name], o.low).rate) else 0) for o in others}
            last_only = firsts != {one.rate.first} and bool(others)
        if last_only:
            axis = one.axes["time"]
            count = value.shape[axis] if axis is not None else 1
            raise _sure(
                f"output {name!r} holds the last {count} readings of the sequence. In a continuous stream each of them"
                " comes with its own reading: export all, or the newest one. A window (mode='window', window=T) gives"
                f" all {count} at each reading"
            )


def _of_newest(name: str, moment: int, drawing: Drawing, others: Sequence[Drawing]) -> Rate:
    """With which readings an output comes that holds only the newest: those where it is of the last reading."""
    period = len(others)
    if moment == 0 or period < 2:
        if moment in (0, drawing.low.length):
            return EVERY_READING
        raise Misfit(f"output {name!r} belongs to reading {moment} of {drawing.low.length}, not to the newest")
    lengths = [other.low.length for other in others]
    moments = [output_of(name, other.outputs[name], other.low).moment for other in others]
    fresh = [n for n, t in zip(lengths, moments, strict=True) if n == t]
    stride = period // len(fresh) if fresh else 0
    if not fresh or any(n != fresh[0] + k * stride for k, n in enumerate(fresh)) or stride * len(fresh) != period:
        raise _sure(
            f"output {name!r} belongs to the end of the sequence, which a layer that looks ahead has always seen with"
            " padding behind it; a continuous stream has no end. Use mode='window', window=T"
        )
    rate = Rate((fresh[0] - 1) % stride + 1, stride)
    if any(t not in (ENDED, rate.newest(n)) for n, t in zip(lengths, moments, strict=True)):
        raise _sure(f"output {name!r} does not belong to the newest reading of its stride")
    return rate


def _alike(one: Drawing, other: Drawing) -> bool:
    """Whether two drawings are the same program with the same outputs."""
    if one.low.plan.signature() != other.low.plan.signature() or one.low.first_output != other.low.first_output:
        return False
    return all(
        np.array_equal(newest(name, value, one.low), newest(name, other.outputs[name], other.low))
        for name, value in one.outputs.items()
    )


def first_difference(one: Plan, other: Plan) -> str:
    """The node at which two drawings part."""
    for a, b, step in zip(one.signature(), other.signature(), one.steps, strict=False):
        if a != b:
            return ", ".join(step.sources) or "the network"
    return "the network"
