"""A made-up operation: hypot, y = sqrt(a² + b²) element by element, of two values of one size.

Its rule: all that is known of it is this record, as one that stays would be in `edge_lstm/core/operations/`; the other
thing it takes is its line in `KINDS` there. It has no kernel and no C yet, so the plain engine alone runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.record import Array, Kind, Need, sizes


def _check(op: Operation, need: Need) -> None:
    a, b, y = sizes(op, need, 2, 1)
    need(a == b == y, f"sizes {a}, {b} and {y} must be equal")
    need(not op.weights, "has weights, needs none")


def _reference(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    return (np.sqrt(inputs[0] * inputs[0] + inputs[1] * inputs[1]),)


HYPOT = Kind("hypot", _check, None, _reference)
