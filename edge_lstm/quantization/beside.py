"""int8 with fixed scales and int8 with scales that follow the step, side by side: what each costs, and which to take.

Its rule: both are made of the same calibration logs and judged over the same held-out readings, end to end. Fixed
scales are less work, on a microcontroller most of all, so they are recommended where they are as near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from edge_lstm.core.model import Model
from edge_lstm.errors import QuantizeError
from edge_lstm.quantization.compare import Judge
from edge_lstm.quantization.convert import Scheme, quantize
from edge_lstm.quantization.observe import Log

_OTHER = {"int8": "int8-dynamic", "int8-dynamic": "int8"}
_AS_NEAR = 1.1  # times the other's error: no difference that another log would show again


@dataclass(frozen=True)
class Tried:
    """A scheme and its errors over the held-out readings, of the worst output, as parts of its range: root mean square
    and the largest, infinite where it is NaN and float32 is not."""

    scheme: str
    error: float
    largest: float


def beside(model: Model, quantized: Model, calibration: Sequence[Log], held_out: Sequence[Log]) -> tuple[Tried, ...]:
    """The model's scheme and its neighbour, fixed scales first; () where it has none (int16, int8-weights, float16), or
    where the neighbour cannot be made of these logs. quantized: as `quantize` made it of `model` and `calibration`."""
    made = quantized.provenance["quantized"]
    scheme, kept = str(made["scheme"]), list(made["kept"])
    if scheme not in _OTHER:
        return ()
    try:
        other = quantize(model, calibration, cast("Scheme", _OTHER[scheme]), kept)
    except QuantizeError:
        return ()
    judge, models = Judge(model, held_out), {scheme: quantized, _OTHER[scheme]: other}
    found = []
    for name in sorted(models):
        errors = judge.errors(models[name])
        found.append(Tried(name, max(e.rms_of_range for e in errors), max(e.largest_of_range for e in errors)))
    return tuple(found)


def recommended(tried: Sequence[Tried]) -> str:
    """Of `beside`: the scheme to take."""
    fixed, dynamic = tried
    return fixed.scheme if fixed.error <= _AS_NEAR * dynamic.error else dynamic.scheme
