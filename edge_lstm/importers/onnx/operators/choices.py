"""Whole numbers and choices: Where, Gather, OneHot, Cast, Dropout.

Its rule: a whole number is exact up to 2^24, and `Traced.kind` remembers which a value is. A Cast rounds as ONNX says;
to a type in which float32 does not fit it is refused. Where and Gather move data while what they choose by is constant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_lstm.importers.onnx.call import Call, sized, together
from edge_lstm.importers.onnx.graph import DTYPES, Array, Node
from edge_lstm.importers.onnx.lowering import NARROW, Lowering
from edge_lstm.importers.onnx.operators.movement import gather_reach
from edge_lstm.importers.onnx.operators.record import Moves, Operator
from edge_lstm.importers.onnx.parts import binary, one_moment, unary
from edge_lstm.importers.onnx.provenance import Traced, first_unique, traced, unique_rows


def _fold_where(c: Call) -> Array:
    c.arity(3)
    condition = c.constant(0, "condition")
    together(c, condition, c.array(1), c.array(2))
    return np.asarray(np.where(condition.astype(bool), c.array(1), c.array(2)))


def _fold_gather(c: Call) -> Array:
    c.arity(2)
    x, indices = c.array(0), c.constant(1, "indices")
    axis = c.axis(c.attribute("axis", 0), x.ndim)
    size = x.shape[axis]
    if indices.dtype.kind not in "iu" or ((indices < -size) | (indices >= size)).any():
        raise c.misfit(f"its indices {indices.reshape(-1)[:8].tolist()} do not fit an axis of {size}")
    sized(c, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    return np.take(x, indices, axis=axis)


def _fold_cast(c: Call) -> Array:
    c.arity(1)
    c.attribute("saturate")  # only for float8, which no constant here can have
    c.attribute("round_mode")
    to = DTYPES.get(c.attribute("to"))
    if to is None or to == "string":
        raise c.fail(f"attribute to = {c.attribute('to')}: this element type is not supported")
    return c.array(0).astype(to)  # type: ignore[no-any-return]


def _fold_cast_like(c: Call) -> Array:
    c.arity(2)
    c.attribute("saturate")
    c.attribute("round_mode")
    return c.array(0).astype(c.array(1).dtype)  # type: ignore[no-any-return]


def _fold_one_hot(c: Call) -> Array:
    c.arity(3)
    index, depth, (off, on) = c.array(0), int(c.array(1).reshape(-1)[0]), c.array(2).reshape(-1)[:2]
    axis = c.axis(c.attribute("axis", -1), index.ndim + 1)
    sized(c, [*index.shape, depth])
    places = np.where(index < 0, index + depth, index)  # a negative number counts from the end
    hit = places[..., None].astype(np.int64) == np.arange(depth)
    return np.asarray(np.moveaxis(np.where(hit, on, off), -1, axis))


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


def _dropout(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    c.attribute("ratio")
    c.attribute("seed")
    if c.has(2) and c.constant(2, "training_mode").any():
        raise c.fail("training_mode is true; export the model after model.eval()")
    return low.traced(c, c.array(0))


def _training(node: Node, constants: Mapping[str, Array]) -> str:
    training = constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
    if training is None or not np.any(training):
        return ""
    return "training_mode is true, so it draws random numbers; export the model after model.eval()"


RECORDS = (
    Operator("Cast", fold=_fold_cast, lower=_cast, same=True),
    Operator("CastLike", fold=_fold_cast_like, lower=_cast),
    Operator("Dropout", lower=_dropout, random=_training),
    Operator("Gather", fold=_fold_gather, lower=_gather, moves=Moves(chooser=1), reach=gather_reach),
    Operator("OneHot", fold=_fold_one_hot, lower=_one_hot),
    Operator("Where", fold=_fold_where, lower=_where, moves=Moves((1, 2), chooser=0), compares=True),
)
