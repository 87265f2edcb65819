"""Channels: names, units, words, and the way from physical values by name to the vector that a stream takes.

Its rule: a stream takes and gives physical quantities (scale and offset are part of its program); what is left to do is
order, the rounding to float32, and vocabularies, which become one-hot. One reading and a block of readings come to the
same bits, so a live reading, a recording and a CSV row cannot differ here.

Never: invent a value. What is missing, or no index into its vocabulary, stays NaN and is the caller's to count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import Floats
from edge_lstm.core.readable import Readable
from edge_lstm.errors import ModelFileError, ReadingError

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]
T = TypeVar("T")


_LARGEST = 3.4028235e38  # float32


@dataclass(frozen=True)
class Channel(metaclass=Readable):
    """One quantity of a reading or an output. physical = network * scale + offset, so a network that wants standardized
    inputs has the standard deviation as scale and the mean as offset. `unit` is free text ("deg/s"), compared as
    written.

    A categorical channel has a vocabulary and is one-hot: as wide as the vocabulary is long.
    """

    name: str
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise ModelFileError("a channel has no name")
        for key, value in (("scale", self.scale), ("offset", self.offset)):
            try:
                object.__setattr__(self, key, float(value))  # also from NumPy's numbers
            except (TypeError, ValueError):
                raise ModelFileError(f"channel {self.name!r}: {key} {value!r} is not a number") from None
        if not (abs(self.offset) < _LARGEST and 1 / _LARGEST < abs(self.scale) < _LARGEST):
            raise ModelFileError(
                f"channel {self.name!r}: scale {self.scale} or offset {self.offset} is no float32, or the scale is 0"
            )
        if not self.name.isprintable() or not self.unit.isprintable():
            raise ModelFileError(f"channel {self.name!r}: name and unit {self.unit!r} must be printable")
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ModelFileError(f"channel {self.name!r}: its vocabulary holds a word twice")

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"vocabulary": list(self.vocabulary)}

    @property
    def width(self) -> int:
        """How many numbers of the reading it takes."""
        return len(self.vocabulary) or 1


def channels_for(names: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[Channel, ...]:
    """Channels for parts that have only a name and a size: "x" of size 3 becomes x[0], x[1], x[2]."""
    return tuple(
        Channel(name if size == 1 else f"{name}[{k}]")
        for name, size in zip(names, sizes, strict=True)
        for k in range(size)
    )


def start_of(channels: Sequence[Channel], name: str) -> int:
    """Where the numbers of this channel begin."""
    return sum(c.width for c in channels[: [c.name for c in channels].index(name)])


def scaling(channels: Sequence[Channel], dtype: npt.DTypeLike = np.float32) -> tuple[Numbers, Numbers]:
    """Scale and offset of each number of a reading or an output: physical = network * scale + offset."""
    widths = [c.width for c in channels]
    scale, offset = (np.array([getattr(c, key) for c in channels], dtype) for key in ("scale", "offset"))
    return np.repeat(scale, widths), np.repeat(offset, widths)


def flat_names(channels: Sequence[Channel]) -> tuple[str, ...]:
    """One name per number: the channel's own, or "dinner=pizza" for each word of a vocabulary."""
    return tuple(n for c in channels for n in ([f"{c.name}={word}" for word in c.vocabulary] or [c.name]))


def flat_units(channels: Sequence[Channel]) -> tuple[str, ...]:
    """One unit per number, beside `flat_names`."""
    return tuple(c.unit for c in channels for _ in range(c.width))


def per_number(channels: Sequence[Channel], values: Sequence[T]) -> list[T]:
    """One value for each number: that of its channel. values: one for each channel."""
    return [value for c, value in zip(channels, values, strict=True) for _ in range(c.width)]


def unnamed(channels: Sequence[Channel]) -> bool:
    """True where the names are only places in a tensor (x[0], x[1], …), as an import without names makes them."""
    return all(re.fullmatch(r".*\[\d+\]", c.name) for c in channels) or len(channels) == 1


def spans(names: Sequence[str]) -> list[list[str]]:
    """Names in their order, those of one group that follow each other (x[0], x[1], …) together."""
    found: list[list[str]] = []
    for name in names:
        last = found[-1][-1] if found else ""
        match = re.fullmatch(r"(.*)\[(\d+)\]", last)
        if match and name == f"{match[1]}[{int(match[2]) + 1}]":
            found[-1].append(name)
        else:
            found.append([name])
    return found


def shortened(names: Sequence[str]) -> str:
    """Names for people: "a, x[0] … x[47]"."""
    return ", ".join(f"{s[0]} … {s[-1]}" if len(s) > 2 else ", ".join(s) for s in spans(names))


def plain_unit(unit: str) -> str:
    """A unit in its plainest spelling: N m is Nm, m/s² is m/s2, µ is u, ° is deg."""
    plain_powers = re.sub(r"[\s·*⋅^]+", "", unit).replace("²", "2").replace("³", "3")
    return plain_powers.replace("µ", "u").replace("μ", "u").replace("°", "deg")


def units_differ(one: str, other: str) -> bool:
    """True where both have a unit and they are not the same text, however it is spelt (`plain_unit`)."""
    return bool(one and other and plain_unit(one) != plain_unit(other))


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
        """values: one float per channel. Returns a float32 (width,) buffer, which the next call overwrites."""
        if self._vocabularies:
            self._x[:] = self.rows(np.array([values], np.float64))[0]
        else:
            self._x[:] = values
        return self._x

    def rows(self, values: Doubles | Floats) -> Floats:
        """values: (T, channels). Returns (T, width) float32, the values themselves where they are it already; NaN where
        a value is missing or no index."""
        if not self._vocabularies:
            return values.astype(np.float32, copy=False)
        xs = np.zeros((len(values), self.width), np.float32)
        xs[:, self._to] = values[:, self._from]
        for channel, start, size in self._vocabularies:
            index = values[:, channel]
            known = (index >= 0) & (index < size) & (index == np.floor(index))
            xs[np.flatnonzero(known), start + index[known].astype(np.intp)] = 1.0
            xs[~known, start : start + size] = np.nan
        return xs


# --- by name -------------------------------------------------------------------------------------------------------


def encode(channels: Sequence[Channel], values: Mapping[str, Any]) -> Floats:
    """Values by channel name → float32 (width,); see `Model.encode`. Raises ReadingError."""
    names = [c.name for c in channels]
    for name in values:
        if name not in names:
            raise ReadingError(f"there is no input channel {name!r}; there are {', '.join(names)}")
    parts = []
    for channel in channels:
        if channel.name not in values:
            raise ReadingError(f"channel {channel.name!r} is left out; give None where it has no value")
        value = values[channel.name]
        number = _one_hot(channel, value, channels) if channel.vocabulary else _number(channel, value)
        parts.append(np.atleast_1d(np.asarray(number, np.float32)))
    return np.concatenate(parts)


def _number(channel: Channel, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return float(value)
    raise ReadingError(f"channel {channel.name!r} takes a number, not {value!r}")


def _one_hot(channel: Channel, value: Any, channels: Sequence[Channel]) -> Floats:
    """The vector of a word, an index or a vector."""
    words = channel.vocabulary
    vector: Floats = np.zeros(len(words), np.float32)
    if isinstance(value, str):
        if value not in words:
            owners = [c.name for c in channels if value in c.vocabulary]
            known = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
            hint = f"it is a word of channel {owners[0]!r}" if owners else f"its words are {known}"
            raise ReadingError(f"channel {channel.name!r} has no word {value!r}; {hint}")
        vector[words.index(value)] = 1.0
        return vector
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        vector.fill(np.nan)
        return vector
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if not 0 <= value < len(words):
            raise ReadingError(f"channel {channel.name!r} has {len(words)} words; {value} is no index of one")
        vector[int(value)] = 1.0
        return vector
    try:
        given = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        given = np.empty(0, np.float32)
    if given.shape != vector.shape:
        raise ReadingError(
            f"channel {channel.name!r} takes a word, its index or a vector of {len(words)} numbers, not {value!r}"[:300]
        )
    return given
