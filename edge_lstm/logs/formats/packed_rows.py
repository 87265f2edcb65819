"""Messages of a fixed form (ULog, DataFlash, MAVLink): each number has one place in all messages of a topic.

Its rule: NumPy reads all messages of a batch at once. A message that is too short has no number where it ends; one that
is longer has what its form says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.logs.log import Doubles


class PackedRows:
    """Reads messages whose numbers stand at fixed places.

    size: bytes of a message; places: name → type for NumPy, place; scales: name → how many of it are one (100 of
    hundredths): a division by it gives the nearest number, a product with 0.01 does not.
    """

    def __init__(
        self, size: int, places: Mapping[str, tuple[str, int]], scales: Mapping[str, int] | None = None
    ) -> None:
        self.size, self._places, self._scales = size, dict(places), dict(scales or {})

    def __call__(self, messages: Sequence[bytes], names: Sequence[str]) -> Doubles:
        """As `Decode`."""
        size = self.size
        lengths = np.fromiter(map(len, messages), np.int64, len(messages))
        if not (lengths == size).all():
            messages = [message[:size].ljust(size, b"\0") for message in messages]
        return self.read(b"".join(messages), lengths, names)

    def read(self, joined: bytes, lengths: npt.NDArray[np.int64], names: Sequence[str]) -> Doubles:
        """Of messages one behind the other, each filled up to its size; lengths: what they had."""
        size = self.size
        values = np.empty((len(lengths), len(names)))
        if not len(lengths):
            return values
        for k, name in enumerate(names):
            kind, place = self._places[name]
            column = values[:, k]
            with np.errstate(invalid="ignore"):  # a signalling NaN is one
                column[:] = np.ndarray((len(lengths),), kind, joined, place, (size,))
            if name in self._scales:
                column /= self._scales[name]
            short = lengths < place + np.dtype(kind).itemsize
            column[short] = np.nan
        return values
