"""Lists of values, as scripted loops grow them: `outputs.append(y)` in each pass, then `torch.stack(outputs)`.

Its rule: a list is never an input or an output of the network; how many values it holds, and which one is meant, are
constants.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.budget import MAX_TRIPS
from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.lowering import Lowering, Operand
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.provenance import Items, Traced

Made = tuple[Any, ...]
Values = dict[str, Operand]


def _items(c: Call) -> tuple[Any, ...]:
    items = c.array(0)
    if not isinstance(items, Items):
        raise c.fail("its input 0 is no list of tensors")
    return items.parts


def _value(c: Call, number: int) -> Any:
    value = c.array(number)
    if isinstance(value, Items):
        raise c.fail(f"its input {number} is a list of tensors, where a tensor is needed")
    return value


def _position(c: Call, number: int, count: int) -> int:
    place = int(c.constant(number, "position").reshape(-1)[0])
    if not -count <= place <= count:
        raise c.misfit(f"position {place} does not exist in a list of {count}")
    return place % count if place < 0 else place


def _empty(c: Call, low: Lowering, values: Values) -> Made:
    c.attribute("dtype")
    c.finish()
    return (Items(()),)


def _construct(c: Call, low: Lowering, values: Values) -> Made:
    c.finish()
    return (Items(tuple(_value(c, k) for k in range(len(c.inputs)))),)


def _insert(c: Call, low: Lowering, values: Values) -> Made:
    parts = _items(c)
    c.finish()
    if len(parts) >= MAX_TRIPS:
        raise c.fail(f"its list holds more than {MAX_TRIPS} values")
    at = _position(c, 2, len(parts)) if c.has(2) else len(parts)
    return (Items((*parts[:at], _value(c, 1), *parts[at:])),)


def _at(c: Call, low: Lowering, values: Values) -> Made:
    parts = _items(c)
    c.finish()
    at = _position(c, 1, len(parts))
    if at >= len(parts):
        raise c.misfit(f"position {at} does not exist in a list of {len(parts)}")
    return (parts[at],)


def _length(c: Call, low: Lowering, values: Values) -> Made:
    c.finish()
    return (np.array(len(_items(c)), np.int64),)


def _concat(c: Call, low: Lowering, values: Values) -> Made:
    parts, axis, new = _items(c), int(c.attribute("axis", 0)), bool(c.attribute("new_axis", 0))
    c.finish()
    if not parts:
        raise c.fail("joins an empty list")
    axis = c.axis(axis, parts[0].ndim + new)
    join: Any = np.stack if new else np.concatenate
    if all(isinstance(p, np.ndarray) for p in parts):
        return (join(parts, axis),)
    given = [low.traced(c, p) for p in parts]
    return (Traced(join([v.origins for v in given], axis), given[-1].kind),)


def _split(c: Call, low: Lowering, values: Values) -> Made:
    value, axis, keep = _value(c, 0), int(c.attribute("axis", 0)), bool(c.attribute("keepdims", 1))
    c.finish()
    axis = c.axis(axis, value.ndim)
    size = value.shape[axis]
    if size > MAX_TRIPS:
        raise c.fail(f"cuts an axis of {size} places; {MAX_TRIPS} are the most")
    if c.has(1):
        split = c.constant(1, "split")
        wide = int(split) if split.ndim == 0 else 0
        if split.ndim == 0 and wide < 1:
            raise c.fail(f"split = {wide} must be at least 1")
        edges = [*range(0, size, wide), size] if split.ndim == 0 else [0, *np.cumsum(split).tolist()]
    else:
        edges = list(range(size + 1))
    if edges[-1] != size or sorted(edges) != edges:
        raise c.misfit(f"its parts do not make up the {size} places of its axis")
    data = value.origins if isinstance(value, Traced) else value
    parts = [np.take(data, range(a, b), axis) for a, b in itertools.pairwise(edges)]
    if not keep and not c.has(1):
        parts = [p.squeeze(axis) for p in parts]
    return (Items(tuple(Traced(p, value.kind) if isinstance(value, Traced) else p for p in parts)),)


RECORDS = (
    Operator("ConcatFromSequence", expand=_concat, lists=True),
    Operator("SequenceAt", expand=_at, lists=True),
    Operator("SequenceConstruct", expand=_construct, lists=True),
    Operator("SequenceEmpty", expand=_empty, lists=True),
    Operator("SequenceInsert", expand=_insert, lists=True),
    Operator("SequenceLength", expand=_length, lists=True, sizes=True),
    Operator("SplitToSequence", expand=_split, lists=True),
)
