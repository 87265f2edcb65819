"""An ONNX graph as plain Python: nodes in an order in which they can be run, constants as NumPy arrays.

Its rule: frozen data without any behaviour of its own; who made it (`read.py`) has checked that every name has
one maker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

# Element types by their numbers in TensorProto.DataType.
DTYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


@dataclass(frozen=True)
class Node:
    """One node. `inputs` may hold "" for an omitted one. A graph attribute is a Graph, a tensor attribute an array."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The names it reads, each once, captures of its subgraphs included."""
        names = dict.fromkeys(filter(None, self.inputs))
        for value in self.attributes.values():
            if isinstance(value, Graph):
                inner = set(value.constants) | {v.name for v in value.inputs}
                inner |= {o for n in value.nodes for o in n.outputs}
                outside = (*(name for n in value.nodes for name in n.reads), *(v.name for v in value.outputs))
                names.update(dict.fromkeys(name for name in outside if name not in inner))
        return tuple(names)

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.domain + '.' if self.domain else ''}{self.op})"


@dataclass(frozen=True)
class Value:
    """An input or an output of a graph: `dims` holds a number, or the name of a dimension left open ("" if unnamed)."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name!r} [{', '.join(str(d) or '?' for d in self.dims)}]"


@dataclass(frozen=True)
class Graph:
    """Nodes in running order, constants by name."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True)
class OnnxFile:
    """A whole file and where it came from."""

    graph: Graph
    opset: int
    file: str
    sha256: str
    producer: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def used_names(graph: Graph) -> frozenset[str]:
    """Every name that a node or an output of the graph reads."""
    return frozenset(name for node in graph.nodes for name in node.reads) | {v.name for v in graph.outputs}
