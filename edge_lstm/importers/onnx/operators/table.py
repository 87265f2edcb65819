"""The one table of ONNX operators.

Its rule: an operator is in the table once. Whoever needs to know something of an operator asks its record.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_lstm.importers.onnx.graph import Graph
from edge_lstm.importers.onnx.operators import (
    choices,
    constants,
    control,
    einsum,
    elementwise,
    layers,
    lists,
    movement,
    products,
    random,
    rows,
    spatial,
)
from edge_lstm.importers.onnx.operators.record import Operator

FAMILIES = (choices, constants, control, einsum, elementwise, layers, lists, movement, products, random, rows, spatial)
TABLE: Mapping[str, Operator] = {record.name: record for family in FAMILIES for record in family.RECORDS}


def foreign(graph: Graph) -> list[str]:
    """The nodes that work on readings and whose operator the native engine does not have."""
    live, found = {v.name for v in graph.inputs}, []
    for node in graph.nodes:
        if live.isdisjoint(node.reads):
            continue
        record = TABLE.get(node.op)
        if record is None or not record.sizes or record.expand:
            live.update(node.outputs)
        if node.domain or record is None or not (record.native or record.name == "Constant"):
            found.append(str(node))
    return found
