"""What an import may cost, whatever its file says: counted before it is spent, and never in seconds, so that the same
file is refused everywhere.

Its rule: what is refused here is refused for ONNX Runtime, too, which would have to spend as much; so it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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

    def multiply(self, c: Call, products_of: Callable[[Call], tuple[tuple[int, ...], int]]) -> None:
        """Before constants are multiplied; also for their result's memory. products_of: shape and multiplications."""
        try:
            shape, products = products_of(c)
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
