"""All operators by name, for who draws a graph to hand to its `Lowering`: one table of the tables in `compute.py`,
`rows.py`, `choices.py`, `spatial.py` and `einsum.py`, those of `recurrent.py` and those of `loops.py`.

Its rule: an operator stands in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_lstm.importers.onnx import choices, compute, einsum, rows, spatial
from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.graph import Graph
from edge_lstm.importers.onnx.loops import LOOPS
from edge_lstm.importers.onnx.lowering import Lowering, Operators
from edge_lstm.importers.onnx.moves import MOVES
from edge_lstm.importers.onnx.recurrent import RECURRENT

COMPUTE: dict[str, Callable[[Call, Lowering], Any]] = {
    **compute.COMPUTE,
    **rows.COMPUTE,
    **choices.COMPUTE,
    **spatial.COMPUTE,
    "Einsum": einsum.einsum,
}
OPERATORS = Operators(COMPUTE, RECURRENT, LOOPS)

OTHERS = frozenset(("Constant", "GRU", "If", "LSTM", "Loop", "RNN", "Scan", "Shape", "Size"))


def foreign(graph: Graph) -> list[str]:
    """The nodes that work on readings and whose operator the native engine does not have."""
    live, found = {v.name for v in graph.inputs}, []
    for node in graph.nodes:
        if live.isdisjoint(node.reads):
            continue
        if node.op not in ("Shape", "Size"):
            live.update(node.outputs)
        if node.domain or not (node.op in COMPUTE or node.op in MOVES or node.op in OTHERS):
            found.append(str(node))
    return found
