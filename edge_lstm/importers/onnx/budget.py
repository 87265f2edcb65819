"""What an import may cost, whatever its file says: counted before it is spent, and never in seconds, so that the same
file is refused everywhere.

Its rule: what is refused here is refused for ONNX Runtime, too, which would have to spend as much; so it is not asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.call import Call, shapes, sized
from edge_lstm.importers.onnx.graph import Array, Node

MAX_FOLDED = 1 << 28  # bytes of arrays computed from constants, in one run over the graph
MAX_PRODUCTS = 1 << 33  # multiplications of constants with constants in one import: some seconds
MAX_NODES_IN_LOOPS = 1 << 18  # in one import: some seconds
MAX_TRIPS = 1 << 16  # of a loop that only ONNX Runtime can hold


@dataclass
class Budget:
    """What one import has spent, in all runs over its graph."""

    products: int = 0
    nodes_in_loops: int = 0

    def multiply(self, c: Call) -> None:
        """Before constants are multiplied by MatMul, Gemm or Einsum; also for their result's memory."""
        try:
            shape, products = _product(c)
        except (ValueError, IndexError):
            return  # they do not go together, which is said where they are multiplied
        sized(c, shape)
        slow = 1 if all(a.dtype.kind == "f" for a in c.inputs if a is not None) else 4  # whole numbers have no BLAS
        self.products += slow * products
        if self.products > MAX_PRODUCTS:
            raise ImportModelError(
                f"{c.node}: multiplies constants of shapes {shapes(c)}; {MAX_PRODUCTS} multiplications are the most"
            )

    def pass_node(self, node: Node) -> None:
        """Before a node of a loop's body is run, in each pass."""
        self.nodes_in_loops += 1
        if self.nodes_in_loops > MAX_NODES_IN_LOOPS:
            raise ImportModelError(f"{node}: its loop runs more than {MAX_NODES_IN_LOOPS} nodes, written out")


def folded_bytes(node: Node, results: Iterable[Array], before: int) -> int:
    """How many bytes have been computed from constants, these results included. Raises ImportModelError."""
    now = before + sum(r.nbytes for r in results if r.base is None)  # a view of another array takes none
    if now > MAX_FOLDED:
        raise ImportModelError(f"{node}: more than {MAX_FOLDED >> 20} MiB are computed from constants")
    return now


def _product(c: Call) -> tuple[tuple[int, ...], int]:
    """The shape of a product of constants, and how many multiplications it takes."""
    if c.node.op == "Einsum":
        return _einsum(c)
    a, b = c.array(0), c.array(1)
    if c.node.op == "Gemm":
        a = a.T if c.node.attributes.get("transA", 0) else a
        b = b.T if c.node.attributes.get("transB", 0) else b
    left = a if a.ndim > 1 else a.reshape(1, -1)
    right = b if b.ndim > 1 else b.reshape(-1, 1)
    shape = (*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])
    return shape, math.prod(shape) * left.shape[-1]


def _einsum(c: Call) -> tuple[tuple[int, ...], int]:
    inputs, _, output = str(c.node.attributes.get("equation", "")).replace(" ", "").replace("...", "").partition("->")
    sizes: dict[str, int] = {}
    for k, letters in enumerate(inputs.split(",")):
        shape = c.array(k).shape
        for letter, size in zip(reversed(letters), reversed(shape), strict=False):
            sizes[letter] = max(size, sizes.get(letter, 1))
        if len(shape) > len(letters):  # what "..." stands for
            sizes[f"... {k}"] = math.prod(shape[: len(shape) - len(letters)])
    others = [size for letter, size in sizes.items() if letter.startswith("...")]
    return (*(sizes.get(letter, 1) for letter in output), max(others, default=1)), math.prod(sizes.values())
