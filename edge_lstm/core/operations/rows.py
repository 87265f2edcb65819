"""Over each of several equal rows: softmax, and reductions to one value a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.functions import REDUCE_FUNCTIONS, REDUCTIONS
from edge_lstm.core.operations.record import Array, Instructions, Kind, Need, function_of, rows, sizes


def _check_softmax(op: Operation, need: Need) -> None:
    x, y = sizes(op, need, 1, 1)
    need(x == y, f"input of {x} and output of {y} differ in size")
    need(op.attributes.get("log") in (0, 1), "attribute log must be 0 or 1")
    rows(op, need, x)


def _lower_softmax(op: Operation, out: Instructions, x: int, y: int) -> None:
    count = int(op.attributes["rows"])
    out.put("SOFTMAX", A=x, Y=y, N=op.inputs[0].size // count, M=count, F=int(op.attributes["log"]))


def _softmax(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    values = inputs[0].reshape(a["rows"], -1)
    values = values - values.max(axis=1, keepdims=True)
    total = np.exp(values).sum(axis=1, keepdims=True)
    return ((values - np.log(total) if a["log"] else np.exp(values) / total).reshape(-1),)


def _check_reduce(op: Operation, need: Need) -> None:
    x, y = sizes(op, need, 1, 1)
    function_of(op, need, REDUCE_FUNCTIONS)
    need(rows(op, need, x) == y, f"output of {y} does not match the number of rows")


def _lower_reduce(op: Operation, out: Instructions, x: int, y: int) -> None:
    count, function = int(op.attributes["rows"]), REDUCE_FUNCTIONS.index(str(op.attributes["function"]))
    out.put("REDUCE", A=x, Y=y, N=op.inputs[0].size // count, M=count, F=function)


def _reduce(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    return (REDUCTIONS[a["function"]](inputs[0].reshape(a["rows"], -1), axis=1).astype(inputs[0].dtype),)


SOFTMAX = Kind("softmax", _check_softmax, _lower_softmax, _softmax, c=7, attributes=frozenset({"rows", "log"}))
REDUCE = Kind("reduce", _check_reduce, _lower_reduce, _reduce, c=8, attributes=frozenset({"rows", "function"}))
