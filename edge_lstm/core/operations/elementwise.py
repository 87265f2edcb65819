"""Element by element: one function of one value, of two, and a choice between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.functions import BINARIES, BINARY_FUNCTIONS, MAP_FUNCTIONS, MAPS
from edge_lstm.core.operations.record import Array, Instructions, Kind, Need, function_of, sizes


def _check_map(op: Operation, need: Need) -> None:
    x, y = sizes(op, need, 1, 1)
    need(x == y, f"input of {x} and output of {y} differ in size")
    function_of(op, need, MAP_FUNCTIONS)
    for key in ("alpha", "beta"):
        value = op.attributes.get(key)
        need(isinstance(value, float) and not np.isnan(value), f"{key} must be a number, is {value!r}")


def _lower_map(op: Operation, out: Instructions, x: int, y: int) -> None:
    w = out.own_values(np.array([op.attributes["alpha"], op.attributes["beta"]], np.float32))
    out.put("MAP", W=w, A=x, Y=y, N=op.outputs[0].size, F=[*MAP_FUNCTIONS].index(str(op.attributes["function"])))


def _map(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    number = inputs[0].dtype.type
    return (MAPS[a["function"]][1](inputs[0], number(a["alpha"]), number(a["beta"])),)


def _check_binary(op: Operation, need: Need) -> None:
    a, b, y = sizes(op, need, 2, 1)
    function_of(op, need, BINARY_FUNCTIONS)
    need(y == max(a, b) and {a, b} <= {1, y}, f"sizes {a} and {b} do not go together into {y}")


def _lower_binary(op: Operation, out: Instructions, a: int, b: int, y: int) -> None:
    n = op.outputs[0].size
    single = sum(bit for bit, s in zip((1, 2), op.inputs, strict=True) if s.size == 1 < n)
    out.put("BINARY", A=a, B=b, Y=y, N=n, M=single, F=BINARY_FUNCTIONS.index(str(op.attributes["function"])))


def _binary(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    return (BINARIES[a["function"]](*inputs).astype(inputs[0].dtype),)


def _check_where(op: Operation, need: Need) -> None:
    *inputs, y = sizes(op, need, 3, 1)
    need(set(inputs) == {y}, f"its inputs have {inputs} values, its output {y}: they must be equal")


def _lower_where(op: Operation, out: Instructions, condition: int, a: int, b: int, y: int) -> None:
    out.put("WHERE", A=condition, B=a, C=b, Y=y, N=op.outputs[0].size)


def _where(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    return (np.where(inputs[0] != 0, inputs[1], inputs[2]),)


MAP = Kind("map", _check_map, _lower_map, _map, c=5, attributes=frozenset({"function", "alpha", "beta"}))
BINARY = Kind("binary", _check_binary, _lower_binary, _binary, c=6, attributes=frozenset({"function"}))
WHERE = Kind("where", _check_where, _lower_where, _where, c=13)
