"""What computing operators are made of: maps, pairs, rows and dense layers, on traced values.

Its rule: an element is computed from elements of one reading and one stream, earlier ones of the same stream coming
from a ring buffer (`delays.py`), or it is refused; the same operation on the same values is one step of the plan,
whichever reading and stream it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.delays import accumulate, present
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import EXACT, NARROW, Lag, Lowering, Operand
from edge_lstm.importers.onnx.plan import Ids
from edge_lstm.importers.onnx.provenance import Ints, StreamsMisfit, Traced, first_unique, traced, unique_rows

MAX_ROWS = 1 << 16  # different rows of one operator within one reading
WRAPPING = ("add", "sub", "mul")
SAME = ("trunc", "floor", "ceil", "round", "abs", "neg", "relu")  # in which no whole number grows
KINDS = {"f": "floats", "i": "whole numbers", "b": "booleans"}
TOO_LARGE = (
    "its whole numbers may be larger than 16,777,216 (2^24), beyond which float32, in which the native engine computes,"
    " is not exact. Clip what it multiplies, or cast it to float32 first, if that is meant"
)
TRUTHS = ("less", "less_or_equal", "equal", "and", "or")


def unary(c: Call, low: Lowering, function: str, x: Operand, alpha: float = 0.0, beta: float = 0.0) -> Traced:
    """A map of `Builder`, on every different value once."""
    x = low.traced(c, x)
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
    if (function in SAME and x.kind == "i") or function == "trunc":
        low.bound(out, low.largest(x))
    elif function in ("clip", "not", "sign"):
        low.bound(out, max(abs(alpha), abs(beta)) if function == "clip" else 1)
    return traced(x.t, x.b, out[where].reshape(x.shape), "b" if function == "not" else x.kind)


def binary(c: Call, low: Lowering, function: str, a: Operand, b: Operand) -> Traced:
    """A binary function of `Builder` with NumPy's broadcasting, on every different pair once."""
    given = (a, b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    left, right = (low.traced(c, v) for v in given)
    if left.kind != right.kind:
        raise c.fail(
            f"joins {KINDS[left.kind]} and {KINDS[right.kind]}, as far as the native engine can tell; cast one of them,"
            " if the file means it"
        )
    narrow = low.narrow or next((v.dtype.name for v in given if not isinstance(v, Traced) and v.dtype in NARROW), "")
    if narrow and left.kind == "i" and function in WRAPPING:
        raise c.fail(f"computes with {narrow}, whose results wrap around; cast to float32 or int64 first")
    x, y = (Traced(np.broadcast_to(v.origins, shape), v.kind) for v in (left, right))
    x, y = low.carried(c, (x, y), given)
    most = 1.0 if function in TRUTHS else _most(c, low, function, x, y) if x.kind == "i" else np.inf
    if low.loops:
        _loop_written_out(c, x, y)
    rows = np.stack([x.origins.reshape(-1), y.origins.reshape(-1)], axis=1)
    t, streams, ids = one_moment(c, low, rows)
    pairs, where = first_unique((ids[:, 0] << 32) | ids[:, 1])
    low.check_once(c, ids)
    operands = [pairs >> 32, pairs & 0xFFFFFFFF]
    out = low.plan.step("binary", operands, [pairs.size], source=[str(c.node)], function=function)[0]
    low.bound(out, most)
    return traced(
        t.reshape(shape), streams.reshape(shape), out[where].reshape(shape), "b" if function in TRUTHS else x.kind
    )


def _most(c: Call, low: Lowering, function: str, x: Traced, y: Traced) -> float:
    """What a result of whole numbers never exceeds. Refuses what may exceed 2^24, beyond which float32 has no longer
    every whole number: products of readings, but for those whose factors are known to be small. A sum of a reading is
    believed to be as exact as the reading, which came as float32 itself."""
    a, b = low.largest(x), low.largest(y)
    if function in ("add", "sub"):
        most = a + b
    elif function == "mul":
        most = 0.0 if 0 in (a, b) else a * b
    else:
        return a if function == "div" else max(a, b)
    if most > EXACT and (min(a, b) > 1 if function == "mul" else most < np.inf):
        raise c.fail(TOO_LARGE)
    return most


def _loop_written_out(c: Call, x: Traced, y: Traced) -> None:
    """Operands exactly one reading apart are a Lag, for it may be a loop written out."""
    s, t = x.t, y.t
    if s.size and s.min() == s.max() > 0 and t.min() == t.max() > 0 and abs(int(s.max()) - int(t.max())) == 1:
        raise Lag(
            f"{c.node}: joins reading {t.max() - 1} with reading {s.max() - 1} of the sequence; only a loop that does"
            " the same at every reading can run on a stream. Export one step, with the states as inputs and outputs",
            c.node,
            int(t.max() > s.max()),
            (x, y),
        )


def one_moment(c: Call, low: Lowering, rows: Ints) -> tuple[Ints, Ints, Ids]:
    """t (N,), b (N,) and ids (N, K) of rows of origins; earlier readings come from ring buffers."""
    x = Traced(rows)
    b = x.b
    streams = b.max(axis=1)
    if ((b != streams[:, None]) & (b != 0)).any():
        raise StreamsMisfit(
            f"{c.node}: works on different streams of the batch together (rows of {rows.shape[1]}), but each stream is"
            " one robot"
        )
    t, ids = present(c, low, x)
    return t, streams, ids


def over_rows(c: Call, low: Lowering, x: Traced, make: Callable[[Ids, int], Ids], kind: str = "f") -> Traced:
    """Applies `make(values, rows)` to all different rows along the last axis; its result has as many equal rows."""
    size = x.shape[-1]
    t, b, ids = one_moment(c, low, x.origins.reshape(-1, size))
    different, which = unique_rows(ids)
    if len(different) > MAX_ROWS:
        raise c.fail(f"works on {len(different)} different rows in one reading; {MAX_ROWS} are the most")
    low.check_once(c, different)
    out = make(different.reshape(-1), len(different)).reshape(len(different), -1)
    origins = traced(t[:, None], b[:, None], out[which]).origins
    return Traced(origins.reshape(*x.shape[:-1], out.shape[1]), kind)


def dense(c: Call, low: Lowering, x: Traced, weight: Array, bias: Array | None = None) -> Traced:
    """x (..., K) times weight (N, K) transposed, plus bias. Whole numbers only where they stay exact."""
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise c.misfit(f"shapes {list(x.shape)} and {list(weight.T.shape)} do not go together")
    most = np.inf
    if x.kind == "i":
        most = low.largest(x) * float(np.abs(weight).sum(axis=1).max(initial=0.0))
        if most > EXACT or bias is not None or weight.dtype.kind not in "iu":
            raise c.fail(TOO_LARGE)
    weights = {"W": np.ascontiguousarray(weight, np.float32)}
    if bias is not None:
        weights["b"] = np.ascontiguousarray(bias, np.float32)

    def make(values: Ids, rows: int) -> Ids:
        sizes, source = [rows * len(weight)], [str(c.node)]
        return low.plan.step("dense", [values], sizes, weights=weights, source=source, name=c.node.name, rows=rows)[0]

    y = over_rows(c, low, x, make, x.kind)
    low.bound(y.ids, most)
    return y


def swapped(x: Traced) -> Traced:
    """The last two axes exchanged."""
    return Traced(np.swapaxes(x.origins, -1, -2), x.kind)


def at_end(x: Traced, axes: Sequence[int]) -> tuple[Traced, tuple[int, ...]]:
    """The given axes moved to the end and made one; also the shape of the others."""
    others = [k for k in range(x.ndim) if k not in axes]
    moved = np.transpose(x.origins, [*others, *axes])
    shape = tuple(x.shape[k] for k in others)
    return Traced(moved.reshape(*shape, -1), x.kind), shape


def reduce(c: Call, low: Lowering, function: str, x: Traced, axes: Sequence[int], keep: bool) -> Traced:
    """One of Builder's reductions over the axes; over time it is an accumulator where that is possible."""
    rows, shape = at_end(x, axes)
    if not rows.size:
        raise c.fail(f"reduces an empty array of shape {list(x.shape)}")
    most = low.largest(rows) if x.kind == "i" and function in ("max", "min") else np.inf
    if function.startswith("arg"):
        most = rows.shape[-1]
    elif function == "prod" and rows.kind == "i" and low.largest(rows) ** rows.shape[-1] > EXACT:
        raise c.fail("multiplies whole numbers, which may be larger than 2^24; cast to float32 first")
    y = accumulate(c, low, function, rows)
    if y is None:
        source = [str(c.node)]
        kind = "i" if function.startswith("arg") else x.kind

        def make(values: Ids, count: int) -> Ids:
            return low.plan.step("reduce", [values], [count], source=source, function=function, rows=count)[0]

        y = over_rows(c, low, rows, make, kind)
    low.bound(y.ids, most)
    kept = tuple(1 if k in axes else d for k, d in enumerate(x.shape)) if keep else shape
    return Traced(y.origins.reshape(kept), y.kind)
