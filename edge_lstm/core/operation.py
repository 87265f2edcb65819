"""One operation of a program: where it reads and writes in the arena, its weights and attributes.

Its rule: plain data. What each kind of operation computes is in its record (`operations/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import ProgramError

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]
Attribute = str | int | float

# Every written slot starts at a multiple of this and is padded to one, so that whole vectors may be stored.
GRAIN = 16


def padded(size: int) -> int:
    """The number of floats a slot of `size` occupies."""
    return -(-size // GRAIN) * GRAIN


@dataclass(frozen=True)
class Slot:
    """A range of the arena: `size` float32 from `offset` on."""

    offset: int
    size: int

    def part(self, start: int, size: int) -> Slot:
        """The view `[start : start + size]`; nothing is copied."""
        if start < 0 or size < 1 or start + size > self.size:
            raise ProgramError(f"part [{start} : {start + size}] lies outside a slot of {self.size}")
        return Slot(self.offset + start, size)

    @property
    def elements(self) -> npt.NDArray[np.int64]:
        """The arena element numbers of this slot, for `Builder.take`."""
        return np.arange(self.offset, self.offset + self.size, dtype=np.int64)


@dataclass(frozen=True)
class Operation:
    """One operation: reads `inputs`, writes `outputs`. `source` names what it came from (ONNX nodes, arrays)."""

    kind: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    weights: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    source: tuple[str, ...] = ()

    def called(self, number: int) -> str:
        """As a sentence about a program names it, whose operation of this number it is: "operation 3 (dense head)"."""
        return f"operation {number} ({self.kind} {self.name})".replace(" )", ")")

    @property
    def multiply_adds(self) -> int:
        """Multiplications of a weight with a value in one step."""
        once = sum(w.size for key, w in self.weights.items() if key in ("W", "R"))
        return once * int(self.attributes.get("rows", 1))
