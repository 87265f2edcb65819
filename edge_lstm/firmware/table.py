"""A model's instructions, weights and indices as `firmware_bridge/c/edge_lstm.c` reads them.

Its rule: numbers of instructions, functions and fields are C's, in the order of its enums; they stay the same whatever
`kernels/abi.py` becomes. Weights are packed for one lane (`engines/native/layout.py`): the order of additions is the
same for every number of lanes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import GRAIN, Floats, Operation
from edge_lstm.core.operations import KINDS
from edge_lstm.core.operations.record import MATRICES
from edge_lstm.core.program import Program
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.layout import Layout, pack_matrices
from edge_lstm.firmware.quantized import QUANTIZED, SCHEMES, packed

# C's numbers of instructions: those of operations are in their records, the rest begin and end a step.
BORDERS = {"INPUT": 0, "CHECK": 10, "COMMIT": 11, "OUTPUT": 12}
_NUMBERS = {kind.name.upper(): kind.c for kind in KINDS.values() if kind.c is not None} | BORDERS
INSTRUCTIONS = tuple(sorted(_NUMBERS, key=lambda name: _NUMBERS[name]))
FIELDS = ("KIND", "W", "A", "B", "C", "Y", "Z", "N", "M", "F", "Q", "S")
MAPS = (
    *("identity", "tanh", "sigmoid", "relu", "leaky_relu", "elu", "selu", "softplus", "softsign", "hard_sigmoid"),
    *("thresholded_relu", "clip", "exp", "log", "sqrt", "abs", "neg", "reciprocal", "affine"),
    *("floor", "ceil", "round", "trunc", "sign", "erf", "not"),
)
BINARIES = ("add", "sub", "mul", "div", "min", "max", "less", "less_or_equal", "equal", "and", "or")
REDUCTIONS = ("sum", "mean", "max", "min", "prod", "argmax", "argmin")
FUNCTIONS = {
    "map": (abi.MAP_CODES, MAPS),
    "binary": (abi.BINARY_CODES, BINARIES),
    "reduce": (abi.REDUCE_CODES, REDUCTIONS),
}
ROW_BYTES = 4 * len(FIELDS)


class _Constants:
    """One array of constants in flash; what several instructions share is there once."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[Any]] = []
        self._places: dict[Hashable, int] = {}
        self._size = 0

    def place(self, key: Hashable, values: npt.NDArray[Any]) -> int:
        """Where these values are; each key's values are stored once."""
        if key not in self._places:
            self._places[key] = self._size
            self._parts.append(values)
            self._size += values.size
        return self._places[key]

    def array(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """All of them; C has no empty arrays."""
        return np.concatenate(self._parts or [np.zeros(1)]).astype(dtype)


class Table:
    """The program laid out, without padding: instructions with C's numbers, and what they refer to."""

    def __init__(self, layout: Layout, program: Program) -> None:
        self.commit_rows, self.output_rows = layout.commit_rows, layout.output_rows
        self.arena_size = layout.arena.size - GRAIN  # the slack is for vectors
        self.scratch = 0  # floats behind the last arena, for activations as integers
        self.resets = list(_runs(layout.arena[: self.arena_size]))
        self.rows: list[list[int]] = []
        self._weights, self._indices = _Constants(), _Constants()
        self._integers, self._halves = _Constants(), _Constants()
        names = {getattr(abi, name): name for name in INSTRUCTIONS if name.lower() not in QUANTIZED}
        by_place = {op.outputs[0].offset: op for op in program.operations}
        for number, row in enumerate(layout.table.tolist()):
            if row[abi.KIND] in names:
                more = self._half(by_place[row[abi.Y]]) if row[abi.HALF] else {}
                self._row(names[row[abi.KIND]], row, layout.weights, layout.sizes.get(number, 0), more)
            elif (op := by_place.get(row[abi.Y])) and op.kind in QUANTIZED:
                self._quantized_row(op)
        self.step_rows = len(self.rows) - self.commit_rows - self.output_rows
        self.weights: Floats = self._weights.array(np.float32)
        self.indices: npt.NDArray[np.int32] = self._indices.array(np.int32)
        self.integers: npt.NDArray[np.int8] = self._integers.array(np.int8)
        self.halves: npt.NDArray[np.uint16] = self._halves.array(np.uint16)

    @property
    def flash_bytes(self) -> int:
        """Of everything here."""
        arrays = (self.weights, self.indices, self.integers, self.halves)
        resets = sum(values.nbytes + 12 for _, values in self.resets)
        return len(self.rows) * ROW_BYTES + sum(array.nbytes for array in arrays) + resets

    def _add(self, kind: str, fields: dict[str, int]) -> None:
        self.rows.append([_NUMBERS[kind], *(fields.get(name, 0) for name in FIELDS[1:])])

    def _half(self, op: Operation) -> dict[str, int]:
        """The further fields of a layer in float16: its biases are among the weights, and here its matrices."""
        key = tuple(id(op.weights[name]) for name in MATRICES if name in op.weights)
        units = op.outputs[0].size // int(op.attributes.get("rows", 1))
        halves = pack_matrices(op, len(op.weights["W"]) // units, 1).ravel().view(np.uint16)
        return {"Q": self._halves.place(key, halves), "S": SCHEMES.index("float16")}

    def _row(self, kind: str, row: Sequence[int], weights: Floats, size: int, more: dict[str, int]) -> None:
        """size: how many of the weights it reads, from W on; more: fields that only C has."""
        fields = {name: row[getattr(abi, name)] for name in FIELDS if hasattr(abi, name)} | more
        if size:
            values = weights[fields["W"] : fields["W"] + size]
            key = (fields["W"], size)
            taken = kind == "TAKE"
            fields["W"] = self._indices.place(key, values.view(np.int32)) if taken else self._weights.place(key, values)
        if kind.lower() in FUNCTIONS:
            codes, names = FUNCTIONS[kind.lower()]
            fields["F"] = names.index(next(name for name, code in codes.items() if code == fields["F"]))
        self._add(kind, fields)

    def _quantized_row(self, op: Operation) -> None:
        layer = packed(op)
        key = tuple(sorted((name, id(values)) for name, values in op.weights.items()))
        self.scratch = max(self.scratch, layer.scratch)
        q, w = self._integers.place(key, layer.integers), self._weights.place(key, layer.floats)
        self._add(op.kind.upper(), layer.fields | {"W": w, "Q": q})


def _runs(arena: Floats) -> Iterator[tuple[int, Floats]]:
    """(offset, values) of the parts that are not zero."""
    filled = arena.view(np.uint32).reshape(-1, GRAIN).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8))) * GRAIN
    for start, end in edges.reshape(-1, 2).tolist():
        values = arena[start:end]
        yield start, values[: int(np.flatnonzero(values.view(np.uint32))[-1]) + 1]
