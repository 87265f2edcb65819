"""The one general constant folder: operators evaluated with NumPy, by their records.

Its rule: it must never guess: an operator whose record has no `fold` is refused.
"""

from __future__ import annotations

from edge_lstm.importers.onnx.call import Call, guarded, unsupported
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.operators.record import Operator


def evaluate(call: Call, record: Operator | None) -> tuple[Array, ...]:
    """The outputs of a node all of whose inputs are constants. ImportModelError where the operator is unknown."""
    if record is None or record.fold is None or call.node.domain:
        raise unsupported(call)
    return guarded(call, record.fold)
