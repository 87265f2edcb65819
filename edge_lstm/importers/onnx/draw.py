"""Drawings: a graph lowered under one assumption about its axes, and the search for the assumption that holds.

Its rule: an assumption is proven by where the elements come from, or dropped with a `Refusal`; where two would do, the
caller must say which. A drawing over time has one step per reading; a whole drawing keeps the last T readings as state
and recomputes the graph on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edge_lstm.errors import ImportModelError, TooLargeError, UnsupportedError
from edge_lstm.importers.onnx.axes import Axes, assignments
from edge_lstm.importers.onnx.budget import Budget
from edge_lstm.importers.onnx.graph import Array, Graph, Value
from edge_lstm.importers.onnx.lowering import NARROW, Carry, Lag, Lowering, Operand
from edge_lstm.importers.onnx.operators.table import TABLE
from edge_lstm.importers.onnx.outputs import newest
from edge_lstm.importers.onnx.plan import Ids, Place
from edge_lstm.importers.onnx.provenance import (
    MAX_BATCH,
    MAX_LENGTH,
    Misfit,
    ProvenMisfit,
    ShapeMisfit,
    StreamsMisfit,
    SureMisfit,
    Traced,
    first_unique,
    traced,
)
from edge_lstm.importers.onnx.refusal import About, Refusal
from edge_lstm.importers.onnx.states import Pairs
from edge_lstm.importers.spelling import T, any_pair, one_of, say

MAX_CARRIES = 64
MAX_INPUT = 1 << 21  # values of one input in one run of the graph


@dataclass(frozen=True)
class Source:
    """What is drawn: the graph, its operator set, inputs that are zero or another number throughout, and the time axis
    where the caller says it."""

    opset: int
    graph: Graph
    zero: frozenset[str]
    time_axis: int | str | None
    filled: Mapping[str, Array] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)  # of dimensions that are open in the file: {"x[1]": 576}
    budget: Budget = field(default_factory=Budget, compare=False)

    @property
    def fixed(self) -> frozenset[str]:
        """Inputs that carry no readings."""
        return self.zero | frozenset(self.filled)

    def still(self, value: Value, dims: tuple[int, ...]) -> Array | None:
        """An input that never changes, of these dimensions; None where it carries readings."""
        if value.name in self.zero:
            return np.zeros(dims, np.float32)
        number = self.filled.get(value.name)
        return None if number is None else np.full(dims, number, number.dtype)

    def allowed(self, axes: Axes) -> bool:
        """Whether these are the axes that the caller says."""
        axis = self.time_axis
        if axis == "none":
            return axes.length == 1 and axes.batch in (0, 1)
        times = {time for time, _ in axes.of.values()}
        return axis is None or (times <= {None, axis} and (axis in times or axes.length == 1))


@dataclass
class Drawing:
    """A graph lowered under one assignment of axes."""

    low: Lowering
    inputs: dict[str, Traced]
    outputs: dict[str, Traced]
    pieces: list[tuple[Place, str, Ids]]  # state, output it is read from, positions in it


def joined_streams(axes: Axes, graph: Graph) -> str:
    """What was taken for the batch whose streams are joined, and the ways on, the likelier first: an open dimension
    beside another is the batch, one alone may well be the readings."""
    opened = {d or f"{v.name}[{k}]" for v in graph.inputs for k, d in enumerate(v.dims) if isinstance(d, str)}
    batch = next((v.dims[b] or f"{v.name}[{b}]" for v in graph.inputs if (b := axes.of[v.name][1]) is not None), "")
    window = f"where these are no streams but the readings of one, say {say(mode='window', window=T)}"
    if axes.batch == 0 and batch in opened:
        other = f"where the file is made for a batch of one, say {say(sizes={batch: 1})}"
        ways = (other, window) if len(opened) > 1 else (window, other)
    else:
        ways = (window, "else export the model with an axis of its own for the batch")
    return f" ({axes}). {ways[0][0].upper()}{ways[0][1:]}; {ways[1]}"


def begins_anew(low: Lowering) -> str:
    """Why one run of the graph is not taken for one reading: a layer that begins anew in every run."""
    return (
        f"{low.forgets}: its sequence axis is not the time axis, and nothing else remembers. For a window of readings"
        f" say {say(mode='window', window=T)}; where each reading brings the whole sequence with it,"
        f" {say(mode='window', time_axis='none')}"
    )


# --- drawing ----------------------------------------------------------------------------------------------------------


def unclear(graph: Graph, candidates: list[Axes]) -> Refusal:
    """The refusal where more than one axis could be time; the caller must say which."""
    ways = sorted({time for axes in candidates for time, _ in axes.of.values() if time is not None})
    choices = [*ways, *["none"] * any(axes.length == 1 for axes in candidates)]
    alike = [{i.name: o.name} for i in graph.inputs for o in graph.outputs if i.dims == o.dims and len(i.dims)]
    carried = f"; if one run is one reading and its states are carried on, say them: {any_pair('states', alike)}"
    step = carried if alike else ""
    error = ImportModelError(
        f"which axis of the inputs {', '.join(map(str, graph.inputs))} is time is not clear: say"
        f" {one_of('time_axis', choices)}{step}"
    )
    return Refusal(error, About.UNCLEAR, float(len(graph.nodes)))


def draw(
    source: Source, axes: Axes, sizes: tuple[int, int], pairs: Pairs, earlier: Drawing | None
) -> Drawing | Refusal:
    """Lowers the graph over time. A loop written out in time is tried with its state; where that is no proof, what
    joins two readings is tried as a look back, and then a Loop or a Scan as a step with states."""
    first = _draw(source, axes, sizes, pairs, earlier, loops=True)
    if isinstance(first, Drawing) or not first.of_axes:
        return first
    if first.loop:
        second = _draw(source, axes, sizes, pairs, earlier, loops=False)
        if isinstance(second, Drawing) or not second.of_axes:
            return second
    if any(node.op in ("Loop", "Scan") for node in source.graph.nodes):
        third = _draw(source, axes, sizes, pairs, earlier, loops=False, roll=True)
        return third if isinstance(third, Drawing) else replace(third, progress=max(first.progress, third.progress))
    return first


def _draw(
    source: Source,
    axes: Axes,
    sizes: tuple[int, int],
    pairs: Pairs,
    earlier: Drawing | None,
    *,
    loops: bool,
    roll: bool = False,
) -> Drawing | Refusal:
    carries: list[Carry] = []
    while True:
        low = Lowering(
            TABLE,
            source.opset,
            axes.length or sizes[0],
            axes.batch or sizes[1],
            loops=loops,
            roll=roll,
            open_length=axes.length == 0,
            budget=source.budget,
        )
        low.carries = [replace(c, place=None, older={}) for c in carries]
        try:
            drawing = _run(low, source, axes, pairs, earlier)
            low.close()
            return drawing
        except Lag as lag:
            newer, older = lag.operands[lag.newer], lag.operands[1 - lag.newer]
            inner = first_unique(older.ids.reshape(-1))[1].reshape(older.shape)
            carry = Carry(lag.node.op, lag.newer, newer.ids.tobytes(), newer.shape, inner, older.b)
            known = any(
                (c.op, c.newer, c.ids, c.shape) == (carry.op, carry.newer, carry.ids, carry.shape) for c in carries
            )
            if known or len(carries) >= MAX_CARRIES:
                return Refusal.of(Misfit(str(lag)), float(low.progress), loop=True)
            carries.append(carry)
        except ImportModelError as error:
            sizes_shown = [str(n) for n, size in zip(sizes, (axes.length, axes.batch), strict=True) if size == 0]
            text = str(error)
            if isinstance(error, StreamsMisfit):
                text += joined_streams(axes, source.graph)
            if isinstance(error, ShapeMisfit) and axes.length == 0:
                text += f". Where the graph holds for some lengths only, say {say(mode='window', window=T)}"
            if any(re.search(rf"\b{n}\b", text) for n in sizes_shown):
                text += f" (open dimensions are tried with the sizes {' and '.join(sizes_shown)})"
            kind = type(error) if isinstance(error, (Misfit, UnsupportedError)) else ImportModelError
            progress = low.progress + 0.5 * isinstance(error, ProvenMisfit)
            return Refusal.of(kind(text), progress, low.receptive_field, bool(carries))


def _run(low: Lowering, source: Source, axes: Axes, pairs: Pairs, earlier: Drawing | None) -> Drawing:
    graph = source.graph
    if low.length > MAX_LENGTH or low.batch > MAX_BATCH:
        raise TooLargeError(f"a sequence of {low.length} or a batch of {low.batch} is too long")
    values: dict[str, Operand] = {}
    inputs: dict[str, Traced] = {}
    pieces: list[tuple[Place, str, Ids]] = []
    for value in graph.inputs:
        dims = _fitting(value, axes.dims(value, low.length, low.batch))
        low.narrow = low.narrow or (value.dtype if value.dtype in NARROW else "")
        if (still := source.still(value, dims)) is not None:
            values[value.name] = still
            continue
        time, stream = axes.of[value.name]
        count = int(np.prod([d for k, d in enumerate(dims) if k not in (time, stream)], dtype=np.int64))
        if value.name in pairs:
            ids = np.empty(count, np.int64)
            for label, positions in _pieces(value.name, count, earlier):
                place = low.plan.state(label, positions.size)
                ids[positions] = place.ids
                pieces.append((place, pairs[value.name][0], positions))
            places = np.sort(ids)
        else:
            ids = places = low.plan.input(value.name, count)
        if low.length > 1 and time is None:
            low.once.append((value.name, places))
        values[value.name] = inputs[value.name] = low.spread(ids, dims, time, stream, kind_of(value))
        if value.name not in pairs and (time is not None or low.length == 1):
            values[value.name] = low.spread(_rounded(low, value, ids), dims, time, stream, kind_of(value))
    return _finished(low, graph, values, inputs, pieces)


def _rounded(low: Lowering, value: Value, ids: Ids) -> Ids:
    """Readings of an input of whole numbers or booleans, rounded to nearest (ties to even, as the scaling's rounding):
    (x - offset) / scale of a channel gives 2.9999998 for a 3, which nothing behind may cut to 2."""
    if kind_of(value) == "f":
        return ids
    source = [f"input {value.name!r}"]
    whole = low.plan.step("map", [ids], [ids.size], source=source, function="round", alpha=0.0, beta=0.0)[0]
    if kind_of(value) == "b":
        low.bound(whole, 1)
    return whole


def _fitting(value: Value, dims: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions of an input, small enough to be drawn."""
    if math.prod(dims) > MAX_INPUT:
        raise TooLargeError(f"input {value} would have {math.prod(dims)} values; {MAX_INPUT} are the most")
    return dims


def _finished(
    low: Lowering,
    graph: Graph,
    values: dict[str, Operand],
    inputs: dict[str, Traced],
    pieces: list[tuple[Place, str, Ids]],
) -> Drawing:
    low.keep = frozenset(v.name for v in graph.outputs)
    low.run(graph, values)
    outputs: dict[str, Traced] = {}
    for value in graph.outputs:
        result = values[value.name]
        if not isinstance(result, Traced):
            raise ImportModelError(f"output {value.name!r} is a constant; it does not depend on the readings")
        for name, places in low.once:
            if np.isin(result.ids, places).any():
                raise Misfit(
                    f"output {value.name!r} shows input {name!r}, which has no time axis, while the sequence has"
                    f" {low.length} readings; a stream has no such value at every reading"
                )
        outputs[value.name] = result
    return Drawing(low, inputs, outputs, pieces)


def kind_of(value: Value) -> str:
    """What the numbers of an input mean: floats, whole numbers, booleans."""
    kind = np.dtype(value.dtype).kind
    return "i" if kind == "u" else kind


# --- a whole window at each reading -----------------------------------------------------------------------------------


def draw_whole(
    source: Source, window: int | None, least: int, sizes: tuple[int, int]
) -> tuple[Axes, Drawing] | Refusal:
    """The graph on the last T readings, which a ring of T - 1 readings brings along; T from the graph, or `window`.

    About.NO_WINDOW: there is no such axis of at least `least` readings.
    """
    ordered: dict[tuple[int | None, ...], tuple[Axes, Drawing]] = {}  # by the time axes of the inputs
    undecided: list[tuple[Axes, Drawing]] = []
    doubted: list[tuple[Axes, Drawing]] = []
    failed: Refusal | None = None
    for axes in filter(source.allowed, assignments(source.graph.inputs)):
        length, times = axes.length or window, tuple(time for time, _ in axes.of.values())
        if times in ordered or (axes.length == 1 and isinstance(source.time_axis, int)):
            continue  # only the batch is another; or it leaves out the axis that is said
        if length is None or length < least or (window is not None and length != window):
            continue
        drawing = _draw_window(source, axes, length, sizes)
        if isinstance(drawing, Refusal):
            if failed is None or drawing.progress > failed.progress:
                failed = drawing
            continue
        if drawing.low.ordered:
            ordered[times] = axes, drawing
        else:
            (undecided if drawing.low.ordered is None else doubted).append((axes, drawing))
    if len(ordered) > 1:
        return unclear(source.graph, [axes for axes, _ in ordered.values()])
    for found in ordered.values():
        return found
    kinds = {tuple((n, time) for n, (time, _) in axes.of.items()) for axes, _ in undecided}
    if len(kinds) == 1 or (undecided and source.time_axis is not None):
        return undecided[0]
    if source.time_axis is None:  # a window that is asked for may be as long as features are many
        doubted = [found for found in doubted if window is None or not found[0].length]
    if undecided or (doubted and source.time_axis is None):
        return unclear(source.graph, [axes for axes, _ in undecided or doubted])
    if doubted:
        return _believed(source, window, least, sizes, doubted[0])
    none = ImportModelError(
        f"no axis of the inputs {', '.join(str(v) for v in source.graph.inputs)} is a window"
        + (f" of {window} readings" if window else f"; give {say(window=T)} where the length is open")
    )
    return failed or Refusal(none, About.NO_WINDOW)


def _believed(
    source: Source, window: int | None, least: int, sizes: tuple[int, int], asked: tuple[Axes, Drawing]
) -> tuple[Axes, Drawing] | Refusal:
    """The axis that the caller says, along which no recurrent layer is seen to read, where they read along no other."""
    other = draw_whole(replace(source, time_axis=None), None if asked[0].length else window, least, sizes)
    if isinstance(other, Refusal):
        return asked
    return Refusal.of(
        SureMisfit(
            f"time_axis = {source.time_axis}, but the recurrent layers read along another axis ({other[0]}); say no"
            " time_axis: this one is found without"
        )
    )


def _draw_window(source: Source, axes: Axes, length: int, sizes: tuple[int, int]) -> Drawing | Refusal:
    low = Lowering(TABLE, source.opset, 1, axes.batch or sizes[1], whole_window=True, budget=source.budget)
    try:
        drawing = _run_window(low, source, axes, length)
    except ImportModelError as error:
        return Refusal.of(error, float(low.progress))
    if length == 1 and low.forgets and source.time_axis != "none":
        return Refusal.of(Misfit(begins_anew(low)))
    try:
        for name, value in drawing.inputs.items():
            if any(np.isin(port.before, value.ids).any() for port in low.ports):
                raise ImportModelError(
                    f"input {name!r} is the initial state of a recurrent layer; a window begins anew at each reading:"
                    f" say {say(states={name: None})} to begin from zero"
                )
        for name, value in drawing.outputs.items():
            newest(name, value, low)
    except ImportModelError as error:
        return Refusal.of(error)
    return drawing


def _run_window(low: Lowering, source: Source, axes: Axes, length: int) -> Drawing:
    graph = source.graph
    if length > MAX_LENGTH or low.batch > MAX_BATCH:
        raise TooLargeError(f"a window of {length} readings is too long")
    values: dict[str, Operand] = {}
    inputs: dict[str, Traced] = {}
    for value in graph.inputs:
        dims = _fitting(value, axes.dims(value, length, low.batch))
        low.narrow = low.narrow or (value.dtype if value.dtype in NARROW else "")
        if (still := source.still(value, dims)) is not None:
            values[value.name] = still
            continue
        time, stream = axes.of[value.name]
        one = [1 if k in (time, stream) else d for k, d in enumerate(dims)]
        count = int(np.prod(one, dtype=np.int64))
        newest_ids = _rounded(low, value, low.plan.input(value.name, count))
        ids = newest_ids.reshape(one)
        if time is not None and length > 1:
            past = low.plan.state(f"{value.name}.past", (length - 1) * count)
            past.next = np.concatenate([past.ids[count:], newest_ids])
            ring = np.concatenate([past.ids, newest_ids]).reshape(length, *one)
            low.order.update({int(i): t for t, part in enumerate(ring, 1) for i in part.reshape(-1)})
            ids = np.concatenate(list(ring), axis=time)
        b = np.zeros([1] * len(dims), np.int64)
        if stream is not None and low.batch > 1:
            b = np.arange(1, low.batch + 1).reshape([-1 if k == stream else 1 for k in range(len(dims))])
        elements = traced(0, b, ids, kind_of(value))
        values[value.name] = inputs[value.name] = Traced(np.broadcast_to(elements.origins, dims), elements.kind)
    return _finished(low, graph, values, inputs, [])


def _pieces(name: str, count: int, earlier: Drawing | None) -> list[tuple[str, Ids]]:
    """A state input cut into the states of the layers that read it, by their names, where they share it out exactly."""
    whole = [(name, np.arange(count))]
    if earlier is None:
        return whole
    start = next(p.start for p in earlier.low.plan.inputs if p.name == name)
    pieces = []
    for port in earlier.low.ports:
        positions = port.before - start
        if positions.size and ((positions >= 0) & (positions < count)).all():
            pieces.append((port.name, positions))
    covered = np.sort(np.concatenate([p for _, p in pieces])) if pieces else np.array([])
    return pieces if np.array_equal(covered, np.arange(count)) else whole
