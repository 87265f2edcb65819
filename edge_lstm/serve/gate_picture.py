"""What of a model's gates is shown: which units, in which order, as one byte each.

Its rule: a picture's column says what a step's gates are, from one end to the other in 255 steps; what the ends mean
is said beside it. Of a layer the first `UNITS` units are shown, and of how many; of all models the first `LAYERS`
layers, under the model's name where there are several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.streams.gates import GateStream

UNITS, LAYERS = 64, 8

# letter → what 0 and 1 mean; the others go from -1 to 1. A memory has no ends: it is shown as it comes out, tanh of it.
_ENDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "lstm": {"i": ("kept away", "let in"), "f": ("forgotten", "kept"), "o": ("nothing", "all comes out")},
    "gru": {"r": ("without the memory", "with it"), "z": ("renewed", "kept")},
    "rnn": {},
}
_SIGNED = ("-1", "1")
_MEMORY = ("-1", "1, as it comes out")

Column = npt.NDArray[np.uint8]  # 0 … 254 of each unit that is shown, in the order of the layers


@dataclass(frozen=True)
class Layer:
    """What is shown of a recurrent layer. gates: (letter, in words, what 0 means, what 1 means, from -1 to 1)."""

    name: str
    units: int
    of: int
    gates: tuple[tuple[str, str, str, str, bool], ...]

    def as_dict(self) -> dict[str, Any]:
        """For the page."""
        keys = ("letter", "words", "low", "high", "signed")
        gates = [dict(zip(keys, gate, strict=True)) for gate in self.gates]
        return {"name": self.name, "units": self.units, "of": self.of, "gates": gates}


class Picture:
    """Where in what a step shows the units stand that are shown, and how they become a column."""

    def __init__(self, shown: Mapping[str, tuple[Model, GateStream]]) -> None:
        """shown: of each model by its name, "" of the only one."""
        from edge_lstm.streams.gates import WORDS, cell, layers

        made: list[Layer] = []
        self._places: list[npt.NDArray[np.intp]] = []
        signed: list[bool] = []
        squashed: list[bool] = []
        for of, (model, stream) in shown.items():
            places: list[int] = []
            for name, op in list(layers(model).items())[: LAYERS - len(made)]:
                kind, gates, units = cell(op), [], 0
                for letter, words in WORDS[kind].items():
                    place = stream.places[f"{name}.{letter}"]
                    units = place.stop - place.start
                    low, high = _ENDS[kind].get(letter, _MEMORY if letter == "c" else _SIGNED)
                    both = letter not in _ENDS[kind]
                    gates.append((letter, words, low, high, both))
                    some = range(place.start, place.start + min(units, UNITS))
                    places += some
                    signed += [both] * len(some)
                    squashed += [letter == "c"] * len(some)
                made.append(Layer(f"{of}.{name}" if of else name, min(units, UNITS), units, tuple(gates)))
            self._places.append(np.array(places, np.intp))
        self.layers = tuple(made)
        self._signed, self._squashed = np.array(signed, np.bool_), np.array(squashed, np.bool_)

    def column(self, everything: Sequence[npt.NDArray[np.float32]]) -> Column:
        """Of the latest step of each model."""
        some = [one[places] for one, places in zip(everything, self._places, strict=True)]
        values = np.concatenate(some).astype(np.float64)
        values = np.where(self._squashed, np.tanh(values), values)
        values = np.where(self._signed, values * 0.5 + 0.5, values)
        return np.rint(np.clip(values, 0.0, 1.0) * 254).astype(np.uint8)
