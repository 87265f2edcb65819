"""Model → Model: the layers of a float32 model in integers, calibrated on readings.

Its rule: the scalings of a scheme (`rounding.SCALINGS`) are tried on the calibration logs, end to end, and the one
whose worst output comes nearest to the float32 model is taken; which, and how much it clips, stands in the provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from edge_lstm.errors import QuantizeError
from edge_lstm.model import Model
from edge_lstm.program import Floats
from edge_lstm.quantization.layers import QUANTIZED, Layer, kept, layers
from edge_lstm.quantization.observe import Log, Seen, Some, check_channels, logs_of, observe
from edge_lstm.quantization.rounding import SCALINGS, WEIGHTS_ONLY, Scaling, operation, quantized

Scheme = Literal["int8", "int16", "int8-weights"]
_TRIED = 100_000  # readings of each log on which the scalings are compared


def quantize(model: Model, calibration: Some, scheme: Scheme = "int8", keep: Iterable[str] = ()) -> Model:
    """The model with int8 weights, one scale for each row.

    calibration: float32 (T, n_inputs) in physical units, or a `Series`, or a list of them, each from the reset state
    on: readings as the robot makes them, whole range. scheme: "int8", activations of 8 bits; "int16", of 15 (fewer in
    sums of more than 516 inputs); "int8-weights", activations stay float32. keep: layers that stay float32, by name
    ("lstm_0"), or by kind ("dense").

    The result has the same channels, outputs, meaning in time, feedback and policy, and another digest; its
    provenance says from what it was made. Raises QuantizeError: unknown scheme or layer, nothing to quantize, a log
    that is too short, of another width, holds NaN, or in which a channel is always 0.
    """
    if scheme not in SCALINGS:
        raise QuantizeError(f"scheme {scheme!r} is unknown; known are {', '.join(SCALINGS)}")
    found = layers(model.program)
    if not found:
        why = "none of its operations has weights to quantize"
        if any(op.kind.startswith(QUANTIZED) for op in model.program.operations):
            why = "it is quantized already"
        if model.program.onnx:
            why = "ONNX Runtime runs it as a whole (quantize its graph with tools for ONNX)"
        raise QuantizeError(f"model {model.name!r}: there is nothing to quantize, {why}")
    left = kept(found, keep)
    chosen = [layer for layer in found if layer not in left]
    if not chosen:
        raise QuantizeError(f"model {model.name!r}: every layer is kept, so nothing is left to quantize")
    logs = logs_of(model, calibration)
    if scheme != WEIGHTS_ONLY:
        check_channels(model, logs)
    seen = observe(model, chosen, logs)
    made = [(scaling, _apply(model, chosen, seen, scheme, scaling)) for scaling in SCALINGS[scheme]]
    errors = _errors(model, [one for _, one in made], logs) if len(made) > 1 else [0.0]
    scaling, best = made[int(np.argmin(errors))]
    said = {
        "scheme": scheme,
        "source_model": model.name,
        "source_digest": model.digest,
        "calibration": [log.name for log in logs],
        "calibration_sha256": [log.digest for log in logs],
        "readings": sum(len(log.xs) for log in logs),
        "scaling": _words(scheme, scaling),
        "layers": [layer.name for layer in chosen],
        "kept": [layer.name for layer in left],
    }
    return replace(best, provenance={**model.provenance, "quantized": said})


def _apply(model: Model, chosen: Sequence[Layer], seen: dict[str, Seen], scheme: str, scaling: Scaling) -> Model:
    operations = list(model.program.operations)
    for layer in chosen:
        weights = quantized(layer, seen[layer.name], scheme, scaling)
        for number in layer.numbers:
            operations[number] = replace(operations[number], **operation(operations[number], scheme, weights))
    return replace(model, program=replace(model.program, operations=tuple(operations)))


def _errors(model: Model, made: Sequence[Model], logs: Sequence[Log]) -> list[float]:
    """Of each: the root mean square error of its worst output, as a part of the output's range."""
    expected = run(model, logs)
    return [float((rms(run(one, logs) - expected) / spans(expected)).max()) for one in made]


def run(model: Model, logs: Sequence[Log], most: int = _TRIED) -> Floats:
    """The outputs (n, n_outputs) of the logs, each from the reset state on, without the readings that have none."""
    outputs = np.concatenate([model.stream().run(log.xs[:most]) for log in logs])
    answered: Floats = outputs[~np.isnan(outputs).any(axis=1)]
    return answered


def rms(errors: Floats) -> Floats:
    """(n_outputs,): the root mean square of each column."""
    result: Floats = np.sqrt(np.square(errors, dtype=np.float64).mean(axis=0))
    return result


def spans(outputs: Floats) -> Floats:
    """(n_outputs,): largest less smallest value; of an output that never changes its magnitude, or 1."""
    extent = np.ptp(outputs, axis=0).astype(np.float64)
    still = np.abs(outputs).max(axis=0).astype(np.float64)
    result: Floats = np.where(extent > 0, extent, np.where(still > 0, still, 1.0))
    return result


def _words(scheme: str, scaling: Scaling) -> str:
    if scheme == WEIGHTS_ONLY:
        return "activations stay float32"
    how = {0.0: "each input has its own scale", 1.0: "all inputs of a layer share a scale"}
    own = how.get(scaling.spread, "scales between each input's own and one for all")
    clip = f"the largest {scaling.clip:.2%} of its values are clipped" if scaling.clip else "nothing seen is clipped"
    memory = "" if scaling.memory == "whole" else "; memories reach as far as they were seen"
    return f"{own}; {clip}{memory}"
