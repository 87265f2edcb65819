"""A node with its inputs at hand, and how it is evaluated without anything being overlooked.

Its rule: reading an attribute marks it as used, and what nothing has read is refused by `Call.finish`. Whatever
NumPy says about shapes becomes an ImportModelError that names the node. It must never let a shape take memory before
it is checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_lstm.errors import ImportModelError, UnsupportedError
from edge_lstm.importers.onnx.graph import Array, Node
from edge_lstm.importers.onnx.provenance import ShapeMisfit

MAX_ELEMENTS = 1 << 25  # of one array: beyond it a shape is a mistake or an attack
Result = Array | tuple[Array, ...]


class Call:
    """A node with its inputs at hand. Reading an attribute marks it as used."""

    def __init__(self, node: Node, inputs: Sequence[Any], opset: int) -> None:
        self.node, self.inputs, self.opset = node, list(inputs), opset
        self._unread = set(node.attributes)

    def fail(self, text: str) -> ImportModelError:
        """An error that names the node."""
        return UnsupportedError(f"{self.node}: {text}")

    def misfit(self, text: str) -> ImportModelError:
        """An error that names the node, where the sizes that are assumed for open dimensions may be what is wrong."""
        return ShapeMisfit(f"{self.node}: {text}")

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's value, or its default."""
        self._unread.discard(name)
        return self.node.attributes.get(name, default)

    def has(self, number: int) -> bool:
        """Whether an optional input is given."""
        return number < len(self.inputs) and self.inputs[number] is not None

    def array(self, number: int) -> Any:
        """An input that must be given."""
        if not self.has(number):
            raise self.fail(f"its input {number} is missing")
        return self.inputs[number]

    def constant(self, number: int, what: str) -> Array:
        """An input that must be a constant: `what` says what it is."""
        value = self.array(number)
        if not isinstance(value, np.ndarray):
            raise self.fail(f"its input {number} ({what}) is computed from the readings; it must be a constant")
        return value

    def ints(self, attribute: str, number: int, what: str) -> list[int] | None:
        """Whole numbers, an attribute in older operator sets and an input in newer ones; None if absent."""
        given = self.attribute(attribute)
        if given is not None:
            return [int(v) for v in given]
        if self.has(number):
            values = self.constant(number, what)
            if values.dtype.kind not in "iu":
                raise self.fail(f"its input {number} ({what}) holds {values.dtype}, not whole numbers")
            return [int(v) for v in values.reshape(-1)]
        return None

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= value < max(rank, 1):
            raise self.fail(f"axis {value} does not exist in {rank} dimensions")
        return value % rank if rank else 0

    def arity(self, most: int) -> None:
        """Refuses inputs that the operator would not know."""
        extra = [name for name in self.node.inputs[most:] if name]
        if extra:
            raise self.fail(f"it has {len(self.node.inputs)} inputs ({extra[0]!r} …), known are {most}")

    def finish(self) -> None:
        """Refuses attributes that nothing has read: none is silently ignored."""
        for name in sorted(self._unread):
            value = self.node.attributes[name]
            shown = value if not isinstance(value, np.ndarray) or value.size < 9 else f"array {value.shape}"
            raise self.fail(
                f"attribute {name} = {shown} is not supported for this operator in operator set {self.opset}"
            )


def shapes(call: Call) -> str:
    """The shapes of its inputs, for people."""
    shown = ", ".join("-" if v is None else f"{list(v.shape)}" for v in call.inputs[:8])
    return shown if len(call.inputs) <= 8 else f"{shown}, … ({len(call.inputs)} inputs)"


def unsupported(call: Call) -> ImportModelError:
    """The refusal of an operator."""
    return call.fail(
        f"the operator {call.node.op} is not supported (inputs {shapes(call)}). Take it out of the exported part of the"
        " network: do this computation before or after the model"
    )


def guarded(call: Call, function: Callable[[Call], Result]) -> tuple[Array, ...]:
    """Runs one function; whatever NumPy says about shapes becomes an error that names the node."""
    try:
        with np.errstate(all="ignore"):
            result = function(call)
    except MemoryError:
        raise ImportModelError(f"{call.node}: on inputs of shapes {shapes(call)} it takes too much memory") from None
    except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise ShapeMisfit(f"{call.node}: cannot be evaluated on inputs of shapes {shapes(call)}: {error}") from None
    call.finish()
    return tuple(np.asarray(r) for r in (result if isinstance(result, tuple) else (result,)))


def sized(call: Call, shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that is about to take memory."""
    if any(d < 0 for d in shape) or math.prod(shape) > MAX_ELEMENTS:
        most = f"{MAX_ELEMENTS} elements are the most"  # for ONNX Runtime too, so it is not asked
        raise ImportModelError(f"{call.node}: would make an array of shape {list(shape)}; {most}")
    return tuple(int(d) for d in shape)


def together(call: Call, *arrays: Any) -> tuple[int, ...]:
    """The shape of arrays that are about to be spread to one shape, checked before it takes memory."""
    return sized(call, np.broadcast_shapes(*(np.shape(a) for a in arrays)))
