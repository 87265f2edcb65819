"""LSTM, GRU and RNN of ONNX on traced values: over time they carry a state, over any other axis they are written out.

Its rule: the operator's sequence axis is the time axis of the readings, each stream its own; then one step per reading
and a state. Or it lies within one moment (frequency bins, the frames of a chunk, a window recomputed as a whole); then
each of its places is a step of its own, in either direction. Anything else mixes readings and is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.cells import Cell, State, read_cells
from edge_lstm.importers.onnx.lowering import Lowering, Operand, Port
from edge_lstm.importers.onnx.parts import one_moment
from edge_lstm.importers.onnx.plan import Ids
from edge_lstm.importers.onnx.provenance import (
    Ints,
    Misfit,
    ProvenMisfit,
    ShapeMisfit,
    StreamsMisfit,
    Traced,
    find_axis,
    traced,
    unique_rows,
)
from edge_lstm.importers.onnx.rates import EVERY_READING, Rate, rate_along
from edge_lstm.importers.spelling import INPUT, say

_LOST = """the state was lost when the model was exported: the sequence is one reading long, the initial state of \
this layer is a constant, and nothing carries the state from one reading to the next, so the network would have no \
memory. Export it with its states as inputs and outputs:
    class Step(torch.nn.Module):
        def forward(self, x, {states}):
            y, {carried} = self.{layer}(x, {carried})
            return self.head(y), {states}
    torch.onnx.export(Step(), (x, {states}), "step.onnx", input_names=["x", {ins}],
                      output_names=["y", {outs}], dynamo=False)
(for a policy, do it in its export function, not through a ScriptModule that keeps the state in buffers), or export \
the whole sequence with a dynamic time axis"""
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _lost(c: Call) -> str:
    """How a layer of this kind is exported with its state."""
    names = ["h", "c"] if c.node.op == "LSTM" else ["h"]
    states = ", ".join(names)
    return _LOST.format(
        states=states,
        carried=f"({states})" if len(names) > 1 else states,
        layer=c.node.op.lower(),
        ins=", ".join(f'"{name}_in"' for name in names),
        outs=", ".join(f'"{name}_out"' for name in names),
    )


def recurrent(c: Call, low: Lowering) -> tuple[Traced, ...]:
    """Y, Y_h and for an LSTM Y_c."""
    direction = c.attribute("direction", "forward")
    if direction not in DIRECTIONS:
        raise c.fail(f"attribute direction = {direction!r}; known are {', '.join(DIRECTIONS)}")
    backwards = DIRECTIONS[direction]
    batch_first = bool(c.attribute("layout", 0))
    given = low.traced(c, c.array(0))
    if given.ndim != 3:
        raise c.fail(f"its input has shape {list(given.shape)}, must have 3 dimensions")
    x = Traced(np.swapaxes(given.origins, 0, 1)) if batch_first else given
    if not x.size:
        raise Misfit(f"{c.node}: its input is empty: shape {list(given.shape)}")
    cells = read_cells(c, low, x.shape[2], len(backwards))
    lengths = _lengths(c, low, x.shape[0], x.shape[1])
    initial = [_initial(c, k, x.shape[1], cells, batch_first) for k in ((5, 6) if c.node.op == "LSTM" else (5,))]
    lost = x.shape[0] == 1 and any(isinstance(v, np.ndarray) for v in initial) and not low.looping
    if lost and low.order:  # of a window: it would be the features that are taken for its readings
        raise ImportModelError(f"{c.node}: {_lost(c)}")
    x = _at_once(c, low, x)
    rate = None if low.whole_window or (low.looping and low.length == 1) else _time(c, low, x)
    if rate is not None and low.length == 1 and direction != "forward":
        if lost:
            raise ImportModelError(f"{c.node}: {_lost(c)}")
        rate = None  # one step: each direction goes on from the state it is given
    if rate is not None:
        if direction != "forward":
            raise ProvenMisfit(
                f"{c.node}: attribute direction = {direction!r}: it reads the sequence from its end, which a continuous"
                f" stream has not seen yet. Use {say(mode='window')}, where the whole window is computed at each"
                f" reading, {say(mode='log')} for whole logs without a stream, or train a forward network"
            )
        if (lengths != x.shape[0]).any():
            raise c.fail(
                f"sequence_lens = {lengths[:8].tolist()} is shorter than the sequence of {x.shape[0]}; leave it out"
            )
        results = _over_time(cells[0], x, initial, rate)
    else:
        results = _written_out(cells, x, initial, lengths, backwards)
    if batch_first:
        y, *finals = results
        return (Traced(y.origins.transpose(2, 0, 1, 3)), *(Traced(v.origins.transpose(1, 0, 2)) for v in finals))
    return results


def _lengths(c: Call, low: Lowering, length: int, batch: int) -> Ints:
    if not c.has(4):
        return np.full(batch, length)
    if isinstance(c.inputs[4], Traced):
        given = low.inputs_of(c.inputs[4])
        name = given[0] if len(given) == 1 and len(low.plan.inputs) > 1 else INPUT  # something must be a reading
        raise c.fail(
            "its sequence_lens are computed from the readings; they must be constant. Where they are an input that is"
            f" always the same (1 in a step), say what it is: {say(constants={name: 1})}"
        )
    lengths = c.constant(4, "sequence_lens").reshape(-1)
    if lengths.size != batch:
        raise ShapeMisfit(f"{c.node}: {lengths.size} sequence_lens do not fit a batch of {batch}")
    if lengths.dtype.kind not in "iu" or (lengths < 0).any() or (lengths > length).any():
        raise c.misfit(f"sequence_lens = {lengths[:8].tolist()} does not fit a batch of {batch} and {length} readings")
    return lengths.astype(np.int64)


def _initial(c: Call, number: int, batch: int, cells: list[Cell], batch_first: bool) -> Operand:
    """An initial state (directions, N, H); zeros where it is not given."""
    units = cells[0].units
    if not c.has(number):
        return np.zeros((len(cells), batch, units), np.float32)
    given: Operand = c.inputs[number]
    shape = (batch, len(cells), units) if batch_first else (len(cells), batch, units)
    if given.shape != shape:
        what = "initial_h" if number == 5 else "initial_c"
        cut = " (proj_size cannot be written in ONNX; the exporter cuts the weights)" if number == 6 else ""
        raise ShapeMisfit(f"{c.node}: {what} is {list(given.shape)}, must be {list(shape)}{cut}")
    if not batch_first:
        return given
    return Traced(np.swapaxes(given.origins, 0, 1)) if isinstance(given, Traced) else np.swapaxes(given, 0, 1)


# --- over time --------------------------------------------------------------------------------------------------------


def _at_once(c: Call, low: Lowering, x: Traced) -> Traced:
    """X (L, N, I) with each place at one moment: features of earlier readings (a history beside each reading) come from
    ring buffers."""
    t = x.t
    now = t.max(axis=2, keepdims=True)
    places = now.max(axis=(1, 2))
    begins = bool((t[0] == 1).any()) and places[0] < places[-1] and bool((np.diff(places) >= 0).all())
    if low.length == 1 or not begins or not ((t != now) & (t != 0)).any():
        return x
    moments, streams, ids = one_moment(c, low, x.origins.reshape(-1, x.shape[2]))
    return Traced(traced(moments[:, None], streams[:, None], ids).origins.reshape(x.shape), x.kind)


def _time(c: Call, low: Lowering, x: Traced) -> Rate | None:
    """The rate of X (L, N, I) where it is the readings of the streams, in their order; None where it is not time."""
    length, batch, _ = x.shape
    if low.length == 1 and length > 1:
        return None
    found = rate_along(x.t, 0, low.length) if low.length > 1 else (EVERY_READING, 1)
    if found is None:
        t = x.t
        if (t.max(axis=0) != np.where(t == 0, t.max(axis=0), t).min(axis=0)).any():
            if low.batch > 1 and (x.b != x.b[:1]).any():
                raise StreamsMisfit(f"{c.node}: its sequence axis of {length} holds different streams of the batch")
            raise Misfit(
                f"{c.node}: its sequence axis of {length} is not the time axis of the model's inputs ({low.length}),"
                f" but mixes readings; a continuous stream cannot run it. Use {low.as_window}"
            )
        return None
    rate, came = found
    if (x.ids[:came] != x.ids[:1, :1]).any():
        if low.length == 1:
            return None
        raise Misfit(f"{c.node}: its input is computed differently at different places of its sequence axis"
                     f" ({length}), so no stream can compute it. Use {low.as_window}")  # fmt: skip
    low.check_once(c, x.ids[0, 0])
    streams = find_axis(x.b, low.batch) if low.batch > 1 else None
    if batch != low.batch or (low.batch > 1 and streams != 1):
        if low.length == 1:
            return None
        raise Misfit(f"{c.node}: its batch axis of {batch} is not the batch of the model's inputs ({low.batch})")
    return rate


def _over_time(cell: Cell, x: Traced, initial: list[Operand], rate: Rate) -> tuple[Traced, ...]:
    """One step per reading of the rate: the step is computed at all, and its state kept at those only."""
    low = cell.low
    low.proven |= low.length > 1
    low.carried_on |= low.length > 1
    started = [_state(cell, k, value) for k, value in enumerate(initial)]
    after = cell.advance(x.ids[0, 0], tuple(before for before, _ in started))
    for (before, keep), ids in zip(started, after, strict=True):
        keep(low.rates.held(rate, ids, before, [str(cell.call.node)]))
        low.rates.begin(ids, rate)
    t = x.t.reshape(len(x.origins), -1).max(axis=1) if low.length > 1 else np.zeros(1, np.int64)
    b = np.arange(1, low.batch + 1)[:, None] if low.batch > 1 else np.zeros((1, 1), np.int64)
    y = np.broadcast_to(traced(t[:, None, None, None], b, after[0]).origins, (len(t), 1, low.batch, cell.units))
    return (Traced(y), *(Traced(traced(t[-1], b, ids).origins[None]) for ids in after))


def _state(cell: Cell, k: int, given: Operand) -> tuple[Ids, Callable[[Ids], None]]:
    """The ids of the state that the step reads, and what takes the ids of the state after it."""
    c, low, what = cell.call, cell.low, ("initial_h", "initial_c")[k]
    name = f"{cell.name}.{'hc'[k]}"
    if isinstance(given, np.ndarray):
        rows = given[0]
        if low.length == 1:
            raise ImportModelError(f"{c.node}: {_lost(c)}")  # for ONNX Runtime it is lost as well
        if (rows != rows[:1]).any():
            raise c.fail(
                f"{what} differs from stream to stream of the batch; give one initial state for all, or export"
                " with batch 1"
            )
        place = low.plan.state(name, cell.units, rows[0].astype(np.float32))

        def own(after: Ids) -> None:
            place.next = after

        low.ports.append(Port(name, place.ids[:0], place.ids[:0]))
        return place.ids, own
    first = Traced(given.origins[0])
    if (first.ids != first.ids[:1]).any() or (low.batch > 1 and find_axis(first.b, low.batch) != 0) or first.t.any():
        raise Misfit(f"{c.node}: {what} is not one state per stream of the batch")
    before = first.ids[0]
    if low.length > 1:
        inside = np.zeros(before.shape, bool)
        for _, places in low.once:
            inside |= (before >= places[0]) & (before <= places[-1])
        if not inside.all():
            raise c.fail(
                f"{what} is computed from other values; over a sequence it must be a state input of the graph, or"
                " constant"
            )
    return before, lambda after: low.ports.append(Port(name, before, after))


# --- written out ------------------------------------------------------------------------------------------------------


def _written_out(
    cells: list[Cell], x: Traced, initial: list[Operand], lengths: Ints, backwards: tuple[bool, ...]
) -> tuple[Traced, ...]:
    """Each place of the sequence as a step of its own; equal columns of the batch are computed once."""
    c, low = cells[0].call, cells[0].low
    length, batch, width = x.shape
    starts = [low.traced(c, v) for v in initial]
    low.chunked |= length > 1 and any(isinstance(v, Traced) for v in initial)
    if any(isinstance(v, np.ndarray) for v in initial):
        low.forgets = low.forgets or str(c.node)
    rows = np.concatenate([v.origins.swapaxes(0, 1).reshape(batch, -1) for v in (x, *starts)], axis=1)
    t, b, ids = one_moment(c, low, rows)
    low.check_once(c, ids)
    if length > 1:
        low.notes.append(f"{c.node}: {length} places of its sequence axis are computed at each reading")
    different, which = unique_rows(np.column_stack([ids, lengths]))
    zero = low.plan.constant(np.zeros(1, np.float32))
    units, d = cells[0].units, len(cells)
    ys = np.full((len(different), length, d, units), zero[0])
    finals = np.full((len(starts), len(different), d, units), zero[0])
    for number, row in enumerate(different):
        values = row[: length * width].reshape(length, width)
        begun = row[length * width : -1].reshape(len(starts), d, units)
        low.note_order(c, values)
        for k, cell in enumerate(cells):
            order = range(int(row[-1]))[::-1] if backwards[k] else range(int(row[-1]))
            state: State = tuple(begun[:, k])
            for place in order:
                state = cell.advance(values[place], state)
                ys[number, place, k] = state[0]
            if len(order):
                finals[:, number, k] = state
                pairs = zip(("h", "c"), begun[:, k], state, strict=False)
                given = [
                    Port(f"{cell.name}.{s}", before, after)
                    for (s, before, after), v in zip(pairs, initial, strict=True)
                    if isinstance(v, Traced)
                ]
                if len(different) == 1:
                    low.ports += given
                else:
                    low.columns += given
    y = traced(t[:, None, None, None], b[:, None, None, None], ys[which]).origins.transpose(1, 2, 0, 3)
    ends = traced(t[:, None, None], b[:, None, None], finals[:, which]).origins.transpose(0, 2, 1, 3)
    return (Traced(y), *(Traced(e) for e in ends))
