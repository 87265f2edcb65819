"""One record for each ONNX operator: all that the importers know of it.

Its rule: knowledge of an operator stands in its record, or in a function that its record names, and nowhere else. An
operator without `lower` may have a record all the same: how it treats time holds for ONNX Runtime, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.call import Call, Result
from edge_lstm.importers.onnx.graph import Array, Node

ENDLESS = (1 << 31) - 2  # exporters write "to the end" as the largest number of 32 or 64 bits
Numbers = Callable[[str, int], list[int]]  # an attribute, or the input at a place, as whole numbers
Taken = Callable[[Mapping[str, Any], "Array | None", int, int], Sequence[int]]


@dataclass(frozen=True)
class Moves:
    """An operator that only moves data. data: which of its inputs it moves, None: all; the others must be constants.
    chooser: the input which, computed from readings, makes a computation of it."""

    data: tuple[int, ...] | None = (0,)
    chooser: int | None = None


@dataclass(frozen=True)
class Operator:
    """What is known of an operator. Functions read its attributes through `Call`, which refuses those that none reads,
    and know the operator sets 7 to 25 by `Call.opset`."""

    name: str
    fold: Callable[[Call], Result] | None = None  # whole arrays of constants to whole arrays
    lower: Callable[[Call, Any], Any] | None = None  # (call, Lowering): traced values to traced values
    expand: Callable[[Call, Any, dict[str, Any]], tuple[Any, ...]] | None = None  # the same, with graphs inside it
    moves: Moves | None = None
    recurrent: bool = False  # it carries a state along an axis: never folded

    # how it treats time
    takes: Taken | None = None  # the axes that it takes together by value; None: it takes none so
    reach: Callable[[Call, int, Numbers], Iterable[tuple[int, int]]] | None = None  # axes, how far it moves along them
    kernel: bool = False  # it looks along its spatial axes, by kernel, dilations, pads and strides
    joins: bool = False  # it puts arrays behind each other
    lists: bool = False  # it makes or takes a list of values
    compares: bool = False  # a size that goes in may decide what comes out

    # what else stands at it
    truth: bool = False  # it compares two values
    same: bool = False  # the value is the same, of another shape or type
    sizes: bool = False  # a constant that comes out may be computed from sizes
    features: Callable[[Node, Array], int] | None = None  # how many values go in, by its weights (input 1)
    products: Callable[[Call], tuple[tuple[int, ...], int]] | None = None  # shape and multiplications, of constants
    random: Callable[[Node, Mapping[str, Array]], str] | None = None  # why its numbers are drawn; "" where they are not

    @property
    def native(self) -> bool:
        """Whether the native engine has it, on readings."""
        return bool(self.lower or self.expand or self.moves or self.sizes)


# --- the axes that are taken together ---------------------------------------------------------------------------------


def along(default: int, before_13: int | None = None) -> Taken:
    """One axis, an attribute. before_13: the default before operator set 13, when all axes behind it were taken,
    too."""

    def taken(attributes: Mapping[str, Any], second: Array | None, rank: int, opset: int) -> Sequence[int]:
        if before_13 is not None and opset < 13:
            return _from(int(attributes.get("axis", before_13)), rank)
        return [int(attributes.get("axis", default))]

    return taken


def onward(default: int) -> Taken:
    """An axis and all behind it."""
    return lambda attributes, second, rank, opset: _from(int(attributes.get("axis", default)), rank)


def _from(axis: int, rank: int) -> Sequence[int]:
    return range(axis % rank if axis < 0 else min(axis, rank), rank)


def every(attributes: Mapping[str, Any], second: Array | None, rank: int, opset: int) -> Sequence[int]:
    """All axes."""
    return range(rank)


def axes_given(attributes: Mapping[str, Any], second: Array | None, rank: int, opset: int) -> Sequence[int]:
    """Those of the attribute or input "axes"; all where there are none."""
    axes = attributes.get("axes", second)
    return [int(axis) for axis in np.ravel(axes)] if axes is not None and np.size(axes) else range(rank)


def under_kernel(attributes: Mapping[str, Any], second: Array | None, rank: int, opset: int) -> Sequence[int]:
    """The spatial axes along which the kernel is wider than one place."""
    return [axis for axis, size in enumerate(attributes.get("kernel_shape", ()), 2) if size > 1]
