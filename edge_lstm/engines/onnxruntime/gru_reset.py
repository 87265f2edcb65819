"""An ONNX file whose GRUs have the `linear_before_reset` that the caller gives, for ONNX Runtime to run.

Its rule: nothing else in the file is touched, and the file on disk never. Which exporters wrote the attribute wrongly,
and the same change in a graph that is imported: `importers/onnx/gru_reset.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAME = "linear_before_reset"


def with_linear_before_reset(path: str | Path, value: int) -> bytes:
    """The ONNX file with this value (0 or 1) in every GRU, in subgraphs too, and its external data within it."""
    import onnx

    def change(graph: Any) -> None:
        for node in graph.node:
            if node.op_type == "GRU":
                others = [a for a in node.attribute if a.name != NAME]
                del node.attribute[:]
                node.attribute.extend([*others, onnx.helper.make_attribute(NAME, value)])
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    change(attribute.g)

    model = onnx.load(str(path))
    change(model.graph)
    data: bytes = model.SerializeToString()
    return data
