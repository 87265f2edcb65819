"""What computing operators are made of: maps, pairs, rows and dense layers, on tags.

Its rule: an element is computed from elements of one reading and one stream, or it is refused; the same operation on
the same values is one step of the plan, whichever reading and stream it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_lstm.importers.onnx_call import Call
from edge_lstm.importers.onnx_graph import Array
from edge_lstm.importers.onnx_lower import Lag, Lowering, Operand
from edge_lstm.importers.onnx_tags import ID_MASK, Ints, Misfit, Tagged, first_unique, tag, unique_rows
from edge_lstm.importers.plan import Ids

MAX_ROWS = 4096  # different rows of one operator within one reading


def unary(c: Call, low: Lowering, function: str, x: Operand, alpha: float = 0.0, beta: float = 0.0) -> Tagged:
    """A map of `Builder`, on every different value once."""
    x = low.tagged(c, x)
    different, where = first_unique(x.ids.reshape(-1))
    low.check_once(c, different)
    out = low.plan.step(
        "map",
        [different],
        [different.size],
        source=[str(c.node)],
        function=function,
        alpha=float(alpha),
        beta=float(beta),
    )[0]
    return tag(x.t, x.b, out[where].reshape(x.shape))


def binary(c: Call, low: Lowering, function: str, a: Operand, b: Operand) -> Tagged:
    """A binary function of `Builder` with NumPy's broadcasting, on every different pair once."""
    given = (a, b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    x, y = (Tagged(np.broadcast_to(low.tagged(c, v).tags, shape)) for v in given)
    x, y = low.carried(c, (x, y), given)
    low.check_once(c, x.ids)
    low.check_once(c, y.ids)
    t = joined_readings(c, low, x, y)
    streams = low.joined(c, x.b, y.b, what="streams of the batch")
    pairs, where = first_unique(((x.ids << 32) | y.ids).reshape(-1))
    operands = [pairs >> 32, pairs & ID_MASK]
    out = low.plan.step("binary", operands, [pairs.size], source=[str(c.node)], function=function)[0]
    return tag(t, streams, out[where].reshape(shape))


def joined_readings(c: Call, low: Lowering, x: Tagged, y: Tagged) -> Ints:
    """The common t of two operands; exactly one reading apart is a Lag, for it may be a loop written out."""
    s, t = x.t, y.t
    if s.size and s.min() == s.max() > 0 and t.min() == t.max() > 0 and abs(int(s.max()) - int(t.max())) == 1:
        raise Lag(
            f"{c.node}: joins reading {t.max() - 1} with reading {s.max() - 1} of the sequence; only a loop that does"
            " the same at every reading can run on a stream. Export one step, with the states as inputs and outputs",
            c.node,
            int(t.max() > s.max()),
            (x, y),
        )
    return low.joined(c, s, t, what="readings of the sequence")


def over_rows(c: Call, low: Lowering, x: Tagged, make: Callable[[Ids], Ids]) -> Tagged:
    """Applies `make` to every different row along the last axis; a row must lie within one reading of one stream."""
    size = x.shape[-1]
    parts = []
    for values, what in ((x.t, "readings of the sequence"), (x.b, "streams of the batch")):
        rows = values.reshape(-1, size)
        common = rows.max(axis=1)
        if ((rows != common[:, None]) & (rows != 0)).any():
            raise Misfit(
                f"{c.node}: works on different {what} together (shape {list(x.shape)}), but a stream sees one at a"
                " time. Only the recurrent layers may look back; export the part of the network that works on single"
                " readings"
            )
        parts.append(common)
    different, which = unique_rows(x.ids.reshape(-1, size))
    if len(different) > MAX_ROWS:
        raise c.fail(f"works on {len(different)} different rows in one reading; {MAX_ROWS} are the most")
    low.check_once(c, different)
    out = np.stack([make(row) for row in different])
    return Tagged(tag(parts[0][:, None], parts[1][:, None], out[which]).tags.reshape(*x.shape[:-1], out.shape[1]))


def dense(c: Call, low: Lowering, x: Tagged, weight: Array, bias: Array | None = None) -> Tagged:
    """x (..., K) times weight (N, K) transposed, plus bias."""
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise c.fail(f"shapes {list(x.shape)} and {list(weight.T.shape)} do not go together")
    weights = {"W": np.ascontiguousarray(weight, np.float32)}
    if bias is not None:
        weights["b"] = np.ascontiguousarray(bias, np.float32)
    size, source = len(weight), [str(c.node)]
    return over_rows(
        c,
        low,
        x,
        lambda row: low.plan.step("dense", [row], [size], weights=weights, source=source, name=c.node.name)[0],
    )


def swapped(x: Tagged) -> Tagged:
    """The last two axes exchanged."""
    return Tagged(np.swapaxes(x.tags, -1, -2))


def at_end(x: Tagged, axes: Sequence[int]) -> tuple[Tagged, tuple[int, ...]]:
    """The given axes moved to the end and made one; also the shape of the others."""
    others = [k for k in range(x.ndim) if k not in axes]
    moved = np.transpose(x.tags, [*others, *axes])
    shape = tuple(x.shape[k] for k in others)
    return Tagged(moved.reshape(*shape, -1)), shape


def reduce(c: Call, low: Lowering, function: str, x: Tagged, axes: Sequence[int], keep: bool) -> Tagged:
    """Sum, mean, max or min over the axes."""
    rows, shape = at_end(x, axes)
    if not rows.size:
        raise c.fail(f"reduces an empty array of shape {list(x.shape)}")
    source = [str(c.node)]
    y = over_rows(
        c, low, rows, lambda row: low.plan.step("reduce", [row], [1], source=source, function=function, rows=1)[0]
    )
    kept = tuple(1 if k in axes else d for k, d in enumerate(x.shape)) if keep else shape
    return Tagged(y.tags.reshape(kept))
