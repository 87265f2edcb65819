"""Outputs by channel name: numbers, or the most probable word of a vocabulary with all probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel
from edge_lstm.core.program import Program
from edge_lstm.errors import ReadingError

Scale = Literal["share", "log", "score"]


@dataclass(frozen=True)
class Word:
    """An output with a vocabulary: its most probable word, that word's probability, and all of them."""

    word: str
    probability: float
    probabilities: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.word} ({self.probability:.1%})"


def probabilities(scale: Scale, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The words' probabilities, float64 summing to 1, from an output's numbers; see `scale_of`."""
    p = values.astype(np.float64)
    if scale in ("score", "log"):
        p = np.exp(p - p.max())
    total = p.sum()
    shares: npt.NDArray[np.float64] = p / total if total > 0 else np.full(p.shape, 1 / p.size)
    return shares


def scale_of(program: Program, element: int) -> Scale:
    """What the numbers of an output with a vocabulary are, by what makes the first of them, number `element`: "share"
    (softmax, sigmoid: in proportion to the probability), "log" (its logarithm) or "score" (anything else: softmax
    makes it probabilities)."""
    element = int(np.concatenate([o.slot.elements for o in program.outputs])[element])
    for op in reversed(program.operations):
        slot = op.outputs[0]
        if not slot.offset <= element < slot.offset + slot.size:
            continue
        function = op.attributes.get("function")
        if op.kind == "take":
            element = int(op.weights["indices"][element - slot.offset])
        elif op.kind == "map" and function == "identity":
            element += op.inputs[0].offset - slot.offset
        elif op.kind == "softmax":
            return "log" if op.attributes["log"] else "share"
        else:
            return "share" if op.kind == "map" and function == "sigmoid" else "score"
    return "score"


def decode(name: str, channels: Sequence[Channel], program: Program, y: npt.ArrayLike) -> dict[str, float | Word]:
    """An output (n_outputs,) by channel name; see `Model.decode`. Raises ReadingError for another length."""
    values = np.asarray(y, np.float32)
    if values.shape != (program.output_size,):
        raise ReadingError(f"an output of {name!r} has {program.output_size} numbers, not {values.shape}")
    starts = np.cumsum([0, *(c.width for c in channels)]).tolist()
    return {c.name: _decoded(c, program, start, values) for c, start in zip(channels, starts, strict=False)}


def _decoded(channel: Channel, program: Program, start: int, values: npt.NDArray[np.float32]) -> float | Word:
    part = values[start : start + channel.width]
    if not channel.vocabulary:
        return float(part[0])
    shares = probabilities(scale_of(program, start), part).tolist()
    best = max(range(len(shares)), key=shares.__getitem__)
    return Word(channel.vocabulary[best], shares[best], dict(zip(channel.vocabulary, shares, strict=True)))
