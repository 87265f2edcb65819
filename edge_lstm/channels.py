"""Between named physical values and the vector a stream takes: names, units, words.

Rule: a stream takes and gives physical quantities (scale and offset are part of its program); what is left to do is
order, the rounding to float32, and vocabularies, which become one-hot. One reading and a block of readings come to the
same bits, so a live reading, a recording and a CSV row cannot differ here.

Never: invent a value. What is missing, or no index into its vocabulary, stays NaN and is the caller's to count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.model import Channel

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def flat_names(channels: Sequence[Channel]) -> tuple[str, ...]:
    """One name per number: the channel's own, or "dinner=pizza" for each word of a vocabulary."""
    return tuple(n for c in channels for n in ([f"{c.name}={word}" for word in c.vocabulary] or [c.name]))


def flat_units(channels: Sequence[Channel]) -> tuple[str, ...]:
    """One unit per number, beside `flat_names`."""
    return tuple(c.unit for c in channels for _ in range(c.width))


def unnamed(channels: Sequence[Channel]) -> bool:
    """True where the names are only places in a tensor (x[0], x[1], …), as an import without names makes them."""
    return all(re.fullmatch(r".*\[\d+\]", c.name) for c in channels) or len(channels) == 1


def units_differ(one: str, other: str) -> bool:
    """True where both say a unit and they are not the same text ("N m" is "N·m" is "Nm"; µ is u; ° is deg)."""

    def plain(unit: str) -> str:
        return re.sub(r"[\s·*⋅]+", "", unit).replace("µ", "u").replace("μ", "u").replace("°", "deg").replace("²", "^2")

    return bool(one and other and plain(one) != plain(other))


class Encoder:
    """Values, one per channel (an index for a vocabulary) → the stream's float32 vector, one-hot unrolled."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.width = sum(c.width for c in channels)
        self._x: Floats = np.zeros(self.width, np.float32)
        starts = [sum(c.width for c in channels[:k]) for k in range(len(channels))]
        scalars = [k for k, c in enumerate(channels) if not c.vocabulary]
        self._vocabularies = [(k, starts[k], len(c.vocabulary)) for k, c in enumerate(channels) if c.vocabulary]
        self._from = np.array(scalars, np.intp)
        self._to = np.array([starts[k] for k in scalars], np.intp)

    def one(self, values: Sequence[float]) -> Floats:
        """values: one float per channel. Returns the kept float32 (width,) buffer, valid until the next call."""
        if self._vocabularies:
            self._x[:] = self.rows(np.array([values], np.float64))[0]
        else:
            self._x[:] = values
        return self._x

    def rows(self, values: Doubles) -> Floats:
        """values: (T, channels) float64. Returns (T, width) float32; NaN where a value is missing or no index."""
        if not self._vocabularies:
            return values.astype(np.float32)
        xs = np.zeros((len(values), self.width), np.float32)
        xs[:, self._to] = values[:, self._from]
        for channel, start, size in self._vocabularies:
            index = values[:, channel]
            known = (index >= 0) & (index < size) & (index == np.floor(index))
            xs[np.flatnonzero(known), start + index[known].astype(np.intp)] = 1.0
            xs[~known, start : start + size] = np.nan
        return xs
