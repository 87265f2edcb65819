"""Which axes are time: the assignment for which the evidence in the graph is strongest, and the proof that an open
length makes no difference.

Its rule, in order: an assignment under which the graph cannot be lowered is out; of the others the one with the
strongest evidence (`Evidence`) is taken, one that nothing in the graph speaks against before one that something does;
where two different time axes have the same evidence, the caller must say which. Likelihood decides nothing but which of
several batch axes is meant, where the time axis is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.axes import LEAST, Axes, assignments, one_reading, witness
from edge_lstm.importers.onnx.draw import Drawing, Source, begins_anew, draw, joined_streams, unclear
from edge_lstm.importers.onnx.graph import Value
from edge_lstm.importers.onnx.outputs import newest, output_of
from edge_lstm.importers.onnx.plan import Plan
from edge_lstm.importers.onnx.provenance import ENDED, Misfit, StreamsMisfit, SureMisfit
from edge_lstm.importers.onnx.rates import EVERY_READING, Rate
from edge_lstm.importers.onnx.refusal import About, Refusal
from edge_lstm.importers.onnx.states import PROOFS, Pairs, pair_states
from edge_lstm.importers.spelling import T, any_pair, say

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


@dataclass(frozen=True)
class Tried:
    """One assignment of axes, and what came of it."""

    axes: Axes
    result: Candidate | Refusal


@dataclass(frozen=True)
class Search:
    """The stage `axes`: every assignment that was tried, and the one that is taken, or why there is none."""

    tried: tuple[Tried, ...]
    result: Candidate | Refusal


def explore(source: Source, asked: Mapping[str, str] | None, sizes: tuple[int, int]) -> Search:
    """The assignment of axes under which the whole graph can be lowered and for which the evidence is strongest.

    Where different time axes have the same evidence, the caller must say which. Without a memory anything fits as one
    wide reading; so that is taken only where nothing likelier has failed. It goes before readings that are joined over
    an axis that nothing proves: a dense layer over a vector could always be one over readings.
    """
    first = _as_one_reading(source, asked, sizes)
    states = first.pairs if first is not None else {}
    stepping = first is not None and not first.drawing.low.chunked
    if first is not None and stepping and any(why in PROOFS for _, why in states.values()):
        return Search((Tried(first.axes, first),), first)
    tried: list[Tried] = []
    furthest: Refusal | None = None
    reached, receptive_field = 0.0, 0
    for axes in filter(source.allowed, assignments(source.graph.inputs, states)):
        if stepping and axes.length != 1:
            continue
        candidates = [one.result for one in tried if isinstance(one.result, Candidate)]
        if any(_only_another_batch(axes, one) for one in candidates):
            continue
        one = first if first is not None and axes == first.axes else _attempt(source, axes, asked, sizes)
        tried.append(Tried(axes, one))
        if isinstance(one, Refusal):
            if one.about is About.GRAPH and not candidates:  # else it is these axes that it does not hold under
                return Search(tuple(tried), one)
            receptive_field = max(receptive_field, one.receptive_field)
            # Of two that came equally far, the one that took an axis for time says more.
            far = one.progress + 0.25 * (axes.length != 1)
            if isinstance(one.error, StreamsMisfit) and axes.batch > 1 and _innermost(axes, source.graph.inputs):
                far = min(far, 0.0)  # it took features for the batch
            if one.of_axes and (furthest is None or far > reached):
                furthest, reached = one, far
        elif one.evidence == (Evidence.CARRIED, True) and len(source.graph.inputs) - len(source.fixed) == 1:
            break  # every recurrent layer runs along this axis, so none can run along another
    if furthest is not None:
        furthest = replace(furthest, receptive_field=receptive_field)
    taken = _taken(source, tried, furthest)
    if taken is None:
        unshaped = [
            one.axes
            for one in tried
            if isinstance(one.result, Refusal) and one.result.about is About.SHAPES and one.axes.batch == 0
        ]
        taken = _of_one_stream(source, asked, sizes[0], unshaped if sizes[1] != 1 else []) or furthest
    if taken is None:
        shapes = ", ".join(str(v) for v in source.graph.inputs)
        none = f"no axes of the inputs {shapes} can be time and batch; at most two dimensions may be open"
        none += "".join(map(_of_one_name, source.graph.inputs))
        taken = Refusal(ImportModelError(none), About.GRAPH)
    return Search(tuple(tried), taken)


def _of_one_name(value: Value) -> str:
    """The way on where two open dimensions share a name, which stands for one size; "" where none do."""
    names = [d for d in value.dims if isinstance(d, str) and d]
    shared = next((name for name in names if names.count(name) > 1), None)
    places = [f"{value.name}[{k}]" for k, d in enumerate(value.dims) if d == shared]
    sizes = any_pair("sizes", [{place: 1} for place in places])
    return f", each by a name of its own. If one of {value} is the batch, say {sizes}" if shared else ""


def _innermost(axes: Axes, inputs: Sequence[Value]) -> bool:
    """Whether the batch is the last axis of an input."""
    return any(axes.of[v.name][1] == len(v.dims) - 1 for v in inputs)


def _only_another_batch(axes: Axes, one: Candidate) -> bool:
    """Whether an assignment differs in its batch alone from a candidate that something speaks for."""
    same = one.times == tuple(time for time, _ in axes.of.values())
    return same and one.evidence > (Evidence.PAIRED, False)


def _taken(source: Source, tried: Sequence[Tried], furthest: Refusal | None) -> Candidate | Refusal | None:
    """The candidate with the strongest evidence, or why none of them can be taken; None where there is none.

    furthest: of the assignments that do not fit, the one that came furthest."""
    remembering: list[Candidate] = []
    memoryless: Candidate | None = None
    unsaid: Refusal | None = None  # which state is which is not clear, under likelier axes
    misfits = 0
    for one in (one.result for one in tried):
        if isinstance(one, Refusal):
            misfits += one.of_axes
            if one.about is About.STATES and all(f.evidence[0] < Evidence.PAIRED for f in remembering):
                unsaid = unsaid or one
        elif one.evidence[0] is not Evidence.NONE:
            remembering.append(one)
        elif not misfits:
            memoryless = memoryless or one
    best = max(remembering, key=lambda f: f.evidence, default=None)
    if unsaid is not None and (best is None or best.evidence[0] < Evidence.CARRIED):
        return unsaid
    unproven = best is None or best.evidence[0] is Evidence.REMEMBERS
    if memoryless is not None and unproven and (best is None or source.time_axis is None):
        return memoryless
    # Joined over an axis that nothing proves, and something speaks against it: not while another axis could be time.
    doubted = best is not None and best.evidence == (Evidence.REMEMBERS, False) and source.time_axis is None
    lost = furthest is not None and (doubted or (unproven and furthest.about is About.STREAM))
    if best is None or lost:
        return None
    equal = [f for f in remembering if f.evidence == best.evidence]
    return unclear(source.graph, [f.axes for f in equal]) if len({f.times for f in equal}) > 1 else equal[0]


def _of_one_stream(
    source: Source, asked: Mapping[str, str] | None, length: int, unshaped: Sequence[Axes]
) -> Candidate | None:
    """The graph whose batch is open in name only: it runs with 1, and its shapes forbid several. None where that is not
    it, or two time axes would do."""
    tried = [_attempt(source, axes, asked, (length, 1)) for axes in unshaped]
    found = [one for one in tried if isinstance(one, Candidate) and one.evidence[0] >= Evidence.PAIRED]
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
        candidate = _attempt(source, axes, asked, sizes)
        if isinstance(candidate, Candidate) and candidate.evidence[0] is Evidence.PAIRED:
            return candidate
    return None


def like(one: Value, other: Value) -> bool:
    """Whether an output may have an input's shape."""
    sizes = zip(one.dims, other.dims, strict=False)
    return len(one.dims) == len(other.dims) and all(a == b or str in (type(a), type(b)) for a, b in sizes)


def _attempt(
    source: Source, axes: Axes, asked: Mapping[str, str] | None, sizes: tuple[int, int]
) -> Candidate | Refusal:
    """The graph under these axes, and what it remembers from reading to reading."""
    drawing = draw(source, axes, sizes, {}, None)
    if isinstance(drawing, Refusal):
        return drawing
    low = drawing.low
    try:
        for name, value in drawing.outputs.items():
            newest(name, value, low)
    except StreamsMisfit as error:
        told = StreamsMisfit(f"{error}{joined_streams(axes, source.graph)}")
        return Refusal.of(told, float(len(source.graph.nodes)), low.receptive_field)
    except ImportModelError as error:
        return Refusal.of(error, float(len(source.graph.nodes)), low.receptive_field)
    try:
        pairs = pair_states(drawing.inputs, drawing.outputs, source.graph.inputs, low, asked)
    except ImportModelError as error:
        return Refusal(error, About.STATES)
    candidate = Candidate(axes, pairs, drawing)
    why = ""
    if stray := [name for name, _ in low.once if name not in pairs]:
        why = f"input {stray[0]!r} has no time axis and is no state; give it one value per reading"
    elif axes.length > 1 and pairs and low.plan.states:
        what = low.plan.states[0].name
        why = f"the graph hands its states on, but begins with a new {what!r} after each {axes.length} readings"
    elif low.forgets and candidate.evidence[0] < Evidence.LOOKS_BACK:
        why = begins_anew(low)
    return Refusal(Misfit(why), About.AXES, receptive_field=low.receptive_field) if why else candidate


def settle(source: Source, asked: Mapping[str, str] | None, dims: set[int]) -> Search:
    """The stage `axes`: `explore`, with an open length drawn long enough to show everything that the graph does with
    it."""
    length = witness(dims, LEAST)
    for _ in range(8):
        found = explore(source, asked, (length, witness(dims, length + 1 if length < LONG else LEAST)))
        if isinstance(found.result, Candidate):
            far = found.result.drawing.low.receptive_field
        elif (far := found.result.receptive_field) > LONGEST_RECEPTIVE_FIELD:
            return found
        if far < length:
            return found
        if far > LONGEST_RECEPTIVE_FIELD:
            return _too_long(
                found,
                f"the graph joins readings, or compares its length, over {far} readings, too many for an open length."
                f" Use {say(mode='window', window=T)}, or export it with a fixed length",
            )
        length = witness(dims, far + 1)
    return _too_long(
        found, f"the graph reaches further back, the longer its sequence is; use {say(mode='window', window=T)}"
    )


def _too_long(found: Search, why: str) -> Search:
    return replace(found, result=Refusal(Misfit(why), About.AXES))


def prove_open(source: Source, candidate: Candidate, drawing: Drawing, dims: set[int]) -> Sequence[Drawing] | Refusal:
    """Proves that an open length or batch makes no difference to the program; the drawings that show it, one for each
    reading of a round of all strides. Raises Misfit."""
    axes = candidate.axes
    if axes.length and axes.batch:
        return ()
    low = drawing.low
    base = witness(dims, low.length + 1)
    period = 1 if axes.length else low.rates.period
    if period > LONGEST_PERIOD:
        raise SureMisfit(
            f"the strides over time make {period} readings together; more than {LONGEST_PERIOD} are not supported. Use"
            f" {say(mode='window', window=T)}, or leave out readings before the model"
        )
    # A stride may treat lengths differently: all remainders are tried.
    sizes = [(base + k, 1) for k in range(period)]
    if not axes.length and low.limits:  # what it does with fewer readings, on each side of every limit
        sides = sorted({2, *low.limits, *(n + 1 for n in low.limits)})
        if len(sides) > MOST_SIDES:
            raise Misfit(f"the graph compares its length with {len(low.limits)} numbers; export it with a fixed length")
        sizes += [(n, 1) for n in sides if n >= low.first_output]
    others = []
    for size in sizes:
        other = draw(source, axes, size, candidate.pairs, candidate.drawing)
        if isinstance(other, Refusal):
            return other
        others.append(other)
    for other in others:
        if _alike(drawing, other):
            continue
        raise SureMisfit(
            f"{first_difference(low.plan, other.low.plan)}: works on different readings together, or computes"
            " differently for batches of different size (its result depends on how long the open dimension is); a"
            f" continuous stream cannot run it. Use {say(mode='window', window=T)}: then each output belongs to the"
            " last T readings"
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
            raise SureMisfit(
                f"output {name!r} comes with every {rate.stride}-th reading from reading {rate.first} on, others with"
                f" every {together.stride}-th from {together.first} on; a model has one"
                " rate: export them apart"
            )
    if candidate.pairs and any(rate != EVERY_READING for rate in low.rates.seen):
        raise SureMisfit("strides over time in a graph that hands its states on are not supported; use a window")
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
            raise SureMisfit(
                f"output {name!r} holds the last {count} readings of the sequence. In a continuous stream each of them"
                f" comes with its own reading: export all, or the newest one. A window, {say(mode='window', window=T)},"
                f" gives all {count} at each reading"
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
        raise SureMisfit(
            f"output {name!r} belongs to the end of the sequence, which a layer that looks ahead has always seen with"
            f" padding behind it; a continuous stream has no end. Use {say(mode='window', window=T)}"
        )
    rate = Rate((fresh[0] - 1) % stride + 1, stride)
    if any(t not in (ENDED, rate.newest(n)) for n, t in zip(lengths, moments, strict=True)):
        raise SureMisfit(f"output {name!r} does not belong to the newest reading of its stride")
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
