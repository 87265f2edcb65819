"""A model: a program with what people need to use it — channels, rate, meaning in time, where it came from.

Its rule: frozen. Any number of streams share one model; nothing here ever changes after it is made.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edge_lstm.errors import ModelFileError
from edge_lstm.program import Program

if TYPE_CHECKING:
    from edge_lstm.assembly import Assembled
    from edge_lstm.stream import Stream, Streams


@dataclass(frozen=True)
class Channel:
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
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.offset)):
            raise ModelFileError(
                f"channel {self.name!r}: scale {self.scale} and offset {self.offset} must be finite, and scale not zero"
            )
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ModelFileError(f"channel {self.name!r}: its vocabulary holds a word twice")

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


@dataclass(frozen=True)
class Model:
    """A trained network, ready to run one reading at a time.

    rate_hz: readings per second it was trained for, or None where that is not known.
    window: None means continuous (the state goes on for ever); T means that an output belongs to the last T readings,
    computed from the reset state, as the network was trained.
    """

    program: Program
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    rate_hz: float | None = None
    window: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = "model"
    _assembled: dict[int, Assembled] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, channels, size in (
            ("inputs", self.inputs, self.program.input_size),
            ("outputs", self.outputs, self.program.output_size),
        ):
            width = sum(c.width for c in channels)
            if width != size:
                raise ModelFileError(f"model {self.name!r}: its {what} are {width} wide, its program needs {size}")
            names = [c.name for c in channels]
            if len(set(names)) != len(names):
                twice = sorted({n for n in names if names.count(n) > 1})
                raise ModelFileError(f"model {self.name!r}: {what} share the name {twice[0]!r}")
        if self.rate_hz is not None and not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise ModelFileError(f"model {self.name!r}: rate {self.rate_hz} Hz is not a positive number")
        if self.window is not None and not 1 <= self.window <= 1 << 20:
            raise ModelFileError(f"model {self.name!r}: a window of {self.window} readings is out of range")

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that decides what it computes; not over name and provenance."""
        from edge_lstm.storage import describe

        header, arrays = describe(self)
        meaning = {k: v for k, v in header.items() if k not in ("name", "provenance")}
        digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
        for array in arrays:
            digest.update(str((array.dtype.str, array.shape)).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def assembled(self, lanes: int) -> Assembled:
        """Laid out for a machine of so many lanes; made once, shared by all streams."""
        from edge_lstm.assembly import assemble

        if lanes not in self._assembled:
            self._assembled[lanes] = assemble(self, lanes)
        return self._assembled[lanes]

    def stream(self) -> Stream:
        """A new stream in the reset state. Streams of one model share its weights."""
        from edge_lstm.stream import Stream

        return Stream(self)

    def streams(self, count: int) -> Streams:
        """So many new streams that step together, with one pass over the weights for several of them."""
        from edge_lstm.stream import Streams

        return Streams(self, count)
