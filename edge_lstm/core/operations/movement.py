"""Data movement: any selection of arena elements, and rows of a table by their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.record import Array, Instructions, Kind, Need, sizes, weights


def _check_take(op: Operation, need: Need) -> None:
    (y,) = sizes(op, need, 0, 1)
    indices = op.weights.get("indices")
    need(set(op.weights) == {"indices"}, "needs exactly the array `indices`")
    need(indices is not None and indices.dtype == np.int32 and indices.shape == (y,), f"indices must be int32 ({y},)")


def _lower_take(op: Operation, out: Instructions, y: int) -> None:
    out.put("TAKE", W=out.values(op, op.weights["indices"]), Y=y, N=op.outputs[0].size)


def _take(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    (arena,) = inputs
    return (arena[w["indices"]],)


def _check_lookup(op: Operation, need: Need) -> None:
    n, y = sizes(op, need, 1, 1)
    table = op.weights.get("table")
    count = 0 if table is None or table.ndim != 2 else len(table)
    need(count > 0 and y % n == 0, "needs a table of rows, from which each index takes one")
    weights(op, need, table=(count, y // n))


def _lower_lookup(op: Operation, out: Instructions, index: int, y: int) -> None:
    count, width = op.weights["table"].shape
    w = out.values(op, op.weights["table"].ravel())
    out.put("LOOKUP", W=w, A=index, Y=y, N=op.inputs[0].size, M=width, F=count)


def _lookup(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    numbers = np.trunc(inputs[0])
    if not ((numbers >= 0) & (numbers < len(w["table"]))).all():
        raise IndexError("the table has no such row")
    return (w["table"][numbers.astype(np.int64)].reshape(-1),)


TAKE = Kind("take", _check_take, _lower_take, _take, c=9, anywhere=True)
LOOKUP = Kind("lookup", _check_lookup, _lower_lookup, _lookup, c=14)
