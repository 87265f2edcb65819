"""What there is to know about one kind of operation: one record, in which every engine and the C export look it up.

Its rule: a check covers everything that an engine may rely on, for a program from a stranger's file too;
what holds for all kinds alike (places in the arena, order) is in `program.py`. The lowering names the instructions
of the interpreter and their fields; numbers, packing and registers are the engine's (`engines/native/layout.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import Operation

Array = npt.NDArray[Any]
Need = Callable[[bool, str], None]  # condition, and the complaint where it does not hold
# Inputs (of an operation that reads anywhere: the arena), weights and attributes → outputs, in the inputs' dtype.
Reference = Callable[[Sequence[Array], Mapping[str, Array], Mapping[str, Any]], tuple[Array, ...]]


class Instructions(Protocol):
    """Where a lowering puts its instructions. Fields (A, B, C, Y, Z, N, M, F, W) as in `kernels/abi.py`."""

    def put(self, code: str, **fields: int) -> None:
        """One instruction of the interpreter."""

    def sums(self, op: Operation, gates: int) -> int:
        """Where W, R and b are packed, in blocks of units with `gates` gates each."""

    def gru_sums(self, op: Operation) -> int:
        """Where the weights of a GRU are packed, whose candidate is two sums."""

    def values(self, op: Operation, values: Array) -> int:
        """Where these values lie as they are; once for all operations with the same weights."""

    def own_values(self, values: Array) -> int:
        """The same, for this operation alone."""

    def recurrent(self, op: Operation) -> dict[str, int]:
        """The fields N, M, SUMS, KEPT and HALF of a recurrent instruction."""

    def integer_sums(self, op: Operation, gates: int) -> int:
        """Where integer weights and their scales are packed."""

    def quantized(self, op: Operation, role: str, values: int, rows: int = 1) -> int:
        """An instruction that makes integers of an operation's x or h, and where they are."""

    def stride(self, op: Operation, role: str) -> int:
        """Arena elements from one row's values of x or h to the next one's."""

    def finer(self, op: Operation) -> int:
        """The field SUMS of a quantized instruction: where the finer integers of an x begin, 0 where there are none."""


@dataclass(frozen=True)
class Kind:
    """One kind of operation.

    check: raises through `need` whatever an operation of this kind must not be. attributes: those that it may have.
    reference: its formula in NumPy, in any float type; None where only one engine runs it. lower: its
    instructions, None where the native engine has no kernel for it; `places` are the offsets of inputs and outputs. c:
    its number in C (`edge_lstm_kind` in firmware_bridge/c/edge_lstm.h), None where C lacks it. states: of the inputs,
    those from the second on are states that the operation itself makes anew (recurrent kinds). anywhere: it reads arena
    elements, not input slots.
    """

    name: str
    check: Callable[[Operation, Need], None]
    lower: Callable[..., None] | None
    reference: Reference | None
    c: int | None = None
    attributes: frozenset[str] = frozenset()
    states: bool = False
    anywhere: bool = False


def sizes(op: Operation, need: Need, inputs: int, outputs: int) -> list[int]:
    """The sizes of all slots, where there are as many as there must be."""
    need(len(op.inputs) == inputs and len(op.outputs) == outputs, f"needs {inputs} inputs and {outputs} outputs")
    return [s.size for s in (*op.inputs, *op.outputs)]


MATRICES = ("W", "R")  # of a layer: what meets x, and what meets h


def in_float16(op: Operation) -> bool:
    """Whether the matrices of this layer are float16. Its sums are those of float32: what is in them is widened, which
    is exact, and biases are float32."""
    return op.weights["W"].dtype == np.float16


def weights(op: Operation, need: Need, **shapes: tuple[int, ...]) -> None:
    """Exactly these weights, float32 and finite; matrices may be float16, all of them or none."""
    need(set(op.weights) == set(shapes), f"has weights {sorted(op.weights)}, needs {sorted(shapes)}")
    matrices = "float16" if "W" in shapes and in_float16(op) else "float32"
    for key, shape in shapes.items():
        floats(op, need, key, shape, matrices if key in MATRICES else "float32")


def floats(op: Operation, need: Need, key: str, shape: tuple[int, ...], dtype: str = "float32") -> None:
    """One weight, of this type and shape, finite."""
    w = op.weights[key]
    need(w.dtype == dtype and w.shape == shape, f"weight {key} is {w.dtype} {w.shape}, needs {dtype} {shape}")
    need(bool(np.isfinite(w).all()), f"weight {key} holds NaN or infinity")


def rows(op: Operation, need: Need, size: int) -> int:
    """Its attribute `rows`, which must divide `size`."""
    found = op.attributes.get("rows")
    if not isinstance(found, int) or found < 1 or size % found:
        need(False, f"{size} values do not make {found!r} equal rows")
        return 1
    return found


def function_of(op: Operation, need: Need, known: Sequence[str] | Mapping[str, Any]) -> None:
    """Its attribute `function`, which must be known."""
    need(op.attributes.get("function") in known, f"function {op.attributes.get('function')!r} is unknown")
