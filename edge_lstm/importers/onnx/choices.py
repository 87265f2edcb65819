"""Booleans, whole numbers and choices, on traced values: comparisons, logic, Where, Cast, embeddings.

Its rule: everything is float32 in the arena; a boolean is 1 or 0, a whole number is exact up to 2^24, and `Traced.kind`
remembers which it is. A Cast rounds as ONNX says; to a type in which float32 does not fit it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.call import Call, sized
from edge_lstm.importers.onnx.graph import DTYPES
from edge_lstm.importers.onnx.lowering import NARROW, Lowering, Operand
from edge_lstm.importers.onnx.parts import binary, one_moment, unary
from edge_lstm.importers.onnx.provenance import Traced, first_unique, traced, unique_rows


def _compare(function: str, *, swap: bool = False, negate: bool = False) -> Callable[[Call, Lowering], Traced]:
    def lower(c: Call, low: Lowering) -> Traced:
        c.arity(2)
        a, b = c.array(0), c.array(1)
        y = binary(c, low, function, b, a) if swap else binary(c, low, function, a, b)
        return unary(c, low, "not", y) if negate else y

    return lower


def _not(c: Call, low: Lowering) -> Traced:
    c.arity(1)
    return unary(c, low, "not", c.array(0))


def _where(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    x, a, b = (low.traced(c, c.array(k)) for k in range(3))
    if a.kind != b.kind:
        raise c.fail("its two choices have different types")
    shape = np.broadcast_shapes(x.shape, a.shape, b.shape)
    rows = np.stack([np.broadcast_to(v.origins, shape).reshape(-1) for v in (x, a, b)], axis=1)
    t, streams, ids = one_moment(c, low, rows)
    different, which = unique_rows(ids)
    low.check_once(c, different)
    operands = [np.ascontiguousarray(different[:, k]) for k in range(3)]
    out = low.plan.step("where", operands, [len(different)], source=[str(c.node)])[0]
    if a.kind == "i":
        low.bound(out, max(low.largest(a), low.largest(b)))
    return traced(t.reshape(shape), streams.reshape(shape), out[which].reshape(shape), a.kind)


def _cast(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    c.attribute("saturate")  # only for float8
    c.attribute("round_mode")
    x = low.traced(c, c.array(0))
    if c.node.op == "CastLike":
        like = c.array(1)
        kind, name = (like.kind, low.narrow) if isinstance(like, Traced) else (like.dtype.kind, like.dtype.name)
        name = name if kind in "iu" else ""
    else:
        name = DTYPES.get(c.attribute("to"), "")
        kind = (
            "f"
            if name == "float32"
            else np.dtype(name).kind
            if name and name[:5] != "float" and name != "string"
            else ""
        )
        if not kind:
            shown = f"{c.attribute('to')} ({name or 'unknown'})"
            raise c.fail(f"attribute to = {shown}: values of the network stay float32; export the model in float32")
    if name in NARROW:
        if x.kind != "b":
            raise c.fail(f"casts to {name}: values beyond its range would wrap around; cast to int64 or float32")
        low.narrow = name
    kind = "i" if kind == "u" else kind
    if kind == "b":
        return x if x.kind == "b" else unary(c, low, "not", unary(c, low, "not", x))
    if kind == "i" and x.kind == "f":
        return Traced(unary(c, low, "trunc", x).origins, "i")
    return Traced(x.origins, kind)


def _gather(c: Call, low: Lowering) -> Traced:
    """An embedding: rows of a constant table, by numbers computed from the readings."""
    c.arity(2)
    table, index = c.array(0), low.traced(c, c.array(1))
    if isinstance(table, Traced):
        raise c.fail("takes elements of computed values by computed numbers; the table or the numbers must be constant")
    axis = c.axis(c.attribute("axis", 0), table.ndim)
    rest = (*table.shape[:axis], *table.shape[axis + 1 :])
    rows = np.ascontiguousarray(np.moveaxis(table, axis, 0).reshape(table.shape[axis], -1), np.float32)
    if not rows.size:
        raise c.fail(f"its table {list(table.shape)} is empty")
    width = rows.shape[1]
    sized(c, (*index.shape, *rest))
    different, where = first_unique(index.ids.reshape(-1))
    low.check_once(c, different)
    out = low.plan.step("lookup", [different], [different.size * width], source=[str(c.node)], weights={"table": rows})[
        0
    ]
    if table.dtype.kind in "iu":
        low.bound(out, low.largest(rows))
    values = out.reshape(-1, width)[where].reshape(*index.shape, *rest)
    extra = (..., *[None] * len(rest))
    kind = {"u": "i"}.get(table.dtype.kind, table.dtype.kind)
    found = traced(index.t[extra], index.b[extra], values).origins
    n = index.ndim  # the axes of the index stand where the table's axis stood
    order = [*range(n, n + axis), *range(n), *range(n + axis, n + len(rest))]
    return Traced(np.transpose(found, order), kind)


def _one_hot(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    index = low.traced(c, c.array(0))
    depth = int(c.constant(1, "depth").reshape(-1)[0])
    sized(c, (*index.shape, depth))
    off, on = c.constant(2, "values").reshape(-1)[:2]
    axis = c.attribute("axis", -1)
    axis = axis + index.ndim + 1 if axis < 0 else axis
    numbers = np.arange(depth, dtype=np.int64)
    whole = unary(c, low, "trunc", index) if index.kind == "f" else index
    spread = Traced(whole.origins[..., None], "i")
    hit = binary(c, low, "equal", spread, numbers)
    # A negative number counts from the end.
    hit = binary(c, low, "or", hit, binary(c, low, "equal", spread, numbers - depth))
    kind = {"u": "i"}.get(on.dtype.kind, on.dtype.kind)
    y = hit if (off, on) == (0, 1) else unary(c, low, "affine", hit, float(on) - float(off), float(off))
    return Traced(np.moveaxis(y.origins, -1, axis), kind)


def _is_nan(c: Call, low: Lowering) -> Traced:
    """Always false: a reading that is not finite never reaches the network, and a state that is not is refused."""
    c.arity(1)
    c.attribute("detect_negative")
    c.attribute("detect_positive")
    x: Operand = low.traced(c, c.array(0))
    low.notes.append(f"{c.node} is always false: readings that are not finite are never taken")
    return low.traced(c, np.zeros(x.shape, bool))


COMPUTE: dict[str, Callable[[Call, Lowering], Any]] = {
    "And": _compare("and"),
    "Cast": _cast,
    "CastLike": _cast,
    "Equal": _compare("equal"),
    "Gather": _gather,
    "Greater": _compare("less", swap=True),
    "GreaterOrEqual": _compare("less_or_equal", swap=True),
    "IsInf": _is_nan,
    "IsNaN": _is_nan,
    "Less": _compare("less"),
    "LessOrEqual": _compare("less_or_equal"),
    "Not": _not,
    "OneHot": _one_hot,
    "Or": _compare("or"),
    "Where": _where,
    "Xor": _compare("equal", negate=True),
}
