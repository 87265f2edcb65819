"""All computing operators by name: one table of the tables in `onnx_compute.py`, `onnx_rows.py`, `onnx_choices.py`,
`onnx_spatial.py` and `onnx_einsum.py`.

Its rule: an operator stands in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_lstm.importers import onnx_choices, onnx_compute, onnx_einsum, onnx_rows, onnx_spatial
from edge_lstm.importers.onnx_call import Call
from edge_lstm.importers.onnx_graph import Graph
from edge_lstm.importers.onnx_lower import Lowering
from edge_lstm.importers.onnx_moves import MOVES

COMPUTE: dict[str, Callable[[Call, Lowering], Any]] = {
    **onnx_compute.COMPUTE,
    **onnx_rows.COMPUTE,
    **onnx_choices.COMPUTE,
    **onnx_spatial.COMPUTE,
    "Einsum": onnx_einsum.einsum,
}

OTHERS = frozenset(("Constant", "GRU", "If", "LSTM", "Loop", "RNN", "Scan", "Shape", "Size"))


def foreign(graph: Graph) -> list[str]:
    """The nodes that work on readings and whose operator the machine does not have."""
    live, found = {v.name for v in graph.inputs}, []
    for node in graph.nodes:
        if live.isdisjoint(node.reads):
            continue
        if node.op not in ("Shape", "Size"):
            live.update(node.outputs)
        if node.domain or not (node.op in COMPUTE or node.op in MOVES or node.op in OTHERS):
            found.append(str(node))
    return found
