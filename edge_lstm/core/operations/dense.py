"""A dense layer over each of several equal rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.record import Array, Instructions, Kind, Need, in_float16, rows, sizes, weights


def dense_sizes(op: Operation, need: Need) -> tuple[int, int]:
    """Inputs and outputs of one row."""
    x, y = sizes(op, need, 1, 1)
    count = rows(op, need, x)
    need(y % count == 0, f"{y} outputs do not make {count} equal rows")
    return x // count, y // count


def _check(op: Operation, need: Need) -> None:
    inputs, outputs = dense_sizes(op, need)
    weights(op, need, W=(outputs, inputs), b=(outputs,))


def _lower(op: Operation, out: Instructions, x: int, y: int) -> None:
    outputs, inputs = op.weights["W"].shape
    sizes = {"N": inputs, "M": outputs, "F": int(op.attributes["rows"])}
    out.put("DENSE", W=out.sums(op, 1), A=x, Y=y, HALF=in_float16(op), **sizes)


def _dense(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    return ((inputs[0].reshape(a["rows"], -1) @ w["W"].T + w["b"]).reshape(-1),)


DENSE = Kind("dense", _check, _lower, _dense, c=4, attributes=frozenset({"rows"}))
