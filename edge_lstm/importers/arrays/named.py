"""The named arrays of a file, taken one by one.

Its rule: whoever reads an array takes it, so that what is left over at the end is known and can be reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from edge_lstm.errors import ImportModelError

Array = npt.NDArray[Any]


@dataclass
class Arrays:
    """`arrays` of the file `source`, by name; `left` those that nobody has taken, in the order of the file; `ignored`
    the names of those that the caller says are no part of the network; `sorted` where the file keeps them by name,
    so that their order says nothing."""

    source: str
    arrays: dict[str, Array]
    left: dict[str, None] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    sorted: bool = False

    def fail(self, text: str) -> ImportModelError:
        """The error with this text, to be raised."""
        return ImportModelError(f"{self.source}: {text}")

    def check(self, name: str, shape: tuple[int | None, ...]) -> Array:
        """One array of this shape; None in it is any size."""
        array = self.arrays[name]
        self.left.pop(name, None)
        fits = array.ndim == len(shape) and all(s in (None, d) for s, d in zip(shape, array.shape, strict=True))
        if not fits or 0 in array.shape:
            raise self.fail(
                f"array {name!r} has shape {list(array.shape)}, must be {['any' if s is None else s for s in shape]}"
            )
        return array
