"""The layers of a program that can be quantized, by name.

Its rule: operations that share their weights are one layer (a program over a whole window has the same weights for
each reading), and stay one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from edge_lstm.core.model import Model
from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.record import in_float16
from edge_lstm.core.program import Program
from edge_lstm.errors import QuantizeError

QUANTIZABLE = ("lstm", "gru", "rnn", "dense")  # kinds of operations
QUANTIZED = "quantized_"  # and the kind: that of a quantized operation
FLOAT16 = "float16"  # the scheme in which an operation keeps its kind and its arithmetic, and its matrices are float16


@dataclass(frozen=True)
class Layer:
    """A layer: its name, kind, the numbers of its operations in the program, and the first of them."""

    name: str
    kind: str
    numbers: tuple[int, ...]
    operation: Operation

    @property
    def recurrent(self) -> bool:
        """Whether it reads its own memory too."""
        return self.kind != "dense"

    @property
    def rows(self) -> int:
        """How many rows of readings it takes in one step."""
        return int(self.operation.attributes.get("rows", 1))


def scheme_of(op: Operation) -> str | None:
    """The scheme of a quantized layer; None of any other operation."""
    if op.kind in QUANTIZABLE:
        return FLOAT16 if in_float16(op) else None
    return str(op.attributes["scheme"]) if op.kind.startswith(QUANTIZED) else None


def layers(program: Program) -> tuple[Layer, ...]:
    """Every float32 layer that could be quantized, in order. A name that several have gets a number."""
    shared: dict[tuple[object, ...], list[int]] = {}
    for number, op in enumerate(program.operations):
        if op.kind in QUANTIZABLE and scheme_of(op) is None:
            matrices = [id(w) for w in op.weights.values() if w.ndim == 2]
            biases = [w.tobytes() for w in op.weights.values() if w.ndim == 1]
            same = (op.kind, *sorted(op.attributes.items()), *matrices, *biases)
            shared.setdefault(same, []).append(number)
    found = [(program.operations[numbers[0]], tuple(numbers)) for numbers in shared.values()]
    names = [op.name or op.kind for op, _ in found]
    return tuple(
        Layer(name if names.count(name) == 1 else f"{name}.{names[:k].count(name)}", op.kind, numbers, op)
        for k, (name, (op, numbers)) in enumerate(zip(names, found, strict=True))
    )


def named(found: Iterable[Layer], keep: Iterable[str]) -> tuple[Layer, ...]:
    """The layers of `keep`: by name, by the name they share with others, or by kind. QuantizeError: there is none."""
    found, chosen = tuple(found), []
    for asked in keep:
        fits = [layer for layer in found if asked in (layer.name, layer.kind, layer.operation.name)]
        if not fits:
            known = ", ".join(f"{layer.name} ({layer.kind})" for layer in found)
            raise QuantizeError(f"keep {asked!r}: there is no such layer; there are {known}")
        chosen += fits
    return tuple(layer for layer in found if layer in chosen)


def mixed(model: Model, quantized: Model, quantized_layers: Iterable[Layer]) -> Model:
    """The model with only these layers quantized, as they are in `quantized`."""
    operations = list(model.program.operations)
    for layer in quantized_layers:
        for number in layer.numbers:
            operations[number] = quantized.program.operations[number]
    return replace(model, program=replace(model.program, operations=tuple(operations)))


def weight_bytes(operations: Iterable[Operation]) -> int:
    """Bytes of all weights, biases, scales and tables; shared ones count once."""
    arrays = {id(w): w.nbytes for op in operations for w in op.weights.values()}
    return sum(arrays.values())
