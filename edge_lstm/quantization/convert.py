"""Model → Model: the layers of a float32 model in integers, calibrated on readings, or in float16.

Its rule: the scalings of a scheme (`rounding.SCALINGS`) are tried on the calibration logs, end to end, and the one
whose worst output comes nearest to the float32 model is taken; which, and how much it clips, stands in the provenance.
One whose output is NaN or infinite at a reading at which the float32 model's is not is infinitely far off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.operations.functions import DYNAMIC, RANGED
from edge_lstm.errors import QuantizeError, StateError
from edge_lstm.quantization.layers import FLOAT16, Layer, layers, mixed, named
from edge_lstm.quantization.observe import Log, Seen, Some, check_channels, logs_of, observe
from edge_lstm.quantization.rounding import SCALINGS, WEIGHTS_ONLY, Doubles, Scaling, halved, operation, quantized

Scheme = Literal["int8", "int16", "int8-weights", "int8-dynamic", "float16"]
_TRIED = 100_000  # readings of each log on which the scalings are compared


def model_of(given: Model | str | Path) -> Model:
    """The model itself, or the one in this file. Raises QuantizeError where it is neither, ModelFileError as `load`."""
    if isinstance(given, str | Path):
        from edge_lstm.core.storage import load

        return load(given)
    if not isinstance(given, Model):
        raise QuantizeError(f"expected a model or the path of its file, got {type(given).__name__}")
    return given


def quantize(
    model: Model | str | Path, calibration: Some, scheme: Scheme = "int8", keep: str | Iterable[str] = ()
) -> Model:
    """The model with int8 weights, one scale for each row, or with weights of float16.

    model: or the path of its file. calibration: float32 (T, n_inputs) in physical units, or a `Series`, or a list of
    them, each from the reset state on: readings as the robot makes them, over their full range. scheme: "int8",
    activations of 8 bits; "int16", of 15 (fewer in sums of more than 516 inputs); "int8-weights", activations stay
    float32; "int8-dynamic", of 8 bits in units of each step's own largest; "float16", weights rounded to that, and
    all else float32 as it was. keep: layers that stay float32, by name
    ("lstm_0"), or by kind ("dense"); one, or several.

    The result has the same channels, outputs, timing, feedback and policy, and another digest; its provenance
    names what it was made from. Raises QuantizeError: unknown scheme or layer, nothing to quantize, a log
    that is too short, of another width, holds NaN, in which a channel is always 0 or a layer reads infinity, or on
    which every scaling makes an output NaN or infinite; a weight that float16 does not hold.
    """
    model, keep = model_of(model), (keep,) if isinstance(keep, str) else keep
    if scheme not in SCALINGS:
        raise QuantizeError(f"scheme {scheme!r} is unknown; known are {', '.join(SCALINGS)}")
    found = layers(model.program)
    if not found:
        why = "none of its operations has weights to quantize"
        if model.program.rounded:
            why = "it is quantized already"
        if model.program.onnx:
            why = "ONNX Runtime runs it as a whole (quantize its graph with tools for ONNX)"
        raise QuantizeError(f"model {model.name!r}: there is nothing to quantize, {why}")
    left = named(found, keep)
    chosen = [layer for layer in found if layer not in left]
    if not chosen:
        raise QuantizeError(f"model {model.name!r}: every layer stays float32 (keep), so nothing is left to quantize")
    logs = logs_of(model, calibration)
    if scheme in RANGED:
        check_channels(model, logs)
    seen = {} if scheme == FLOAT16 else observe(model, chosen, logs)
    made = [(scaling, _apply(model, chosen, seen, scheme, scaling)) for scaling in SCALINGS[scheme]]
    expected = [model.stream().run(log.xs[:_TRIED]) for log in logs]
    extent = spans(answered(logs, expected))
    errors = [_error(one, logs, expected, extent) for _, one in made]
    scaling, best = made[int(np.argmin(errors))]
    if not np.isfinite(min(errors)):
        raise _failing(model, best, chosen, logs, expected, scheme)
    source = {
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
    return replace(best, provenance={**model.provenance, "quantized": source})


def _apply(model: Model, chosen: Sequence[Layer], seen: dict[str, Seen], scheme: str, scaling: Scaling) -> Model:
    operations = list(model.program.operations)
    for layer in chosen:
        weights = halved(layer) if scheme == FLOAT16 else quantized(layer, seen[layer.name], scheme, scaling)
        for number in layer.numbers:
            operations[number] = replace(operations[number], **operation(operations[number], scheme, weights))
    return replace(model, program=replace(model.program, operations=tuple(operations)))


def _error(made: Model, logs: Sequence[Log], expected: Sequence[Floats], extent: Doubles) -> float:
    """The root mean square error of its worst output, as a part of the output's range `extent`."""
    error = np.concatenate(differences(made, logs, expected))
    return float((rms(error[~np.isnan(error).any(axis=1)]) / extent).max())


def _failing(
    model: Model, made: Model, chosen: Sequence[Layer], logs: Sequence[Log], expected: Sequence[Floats], scheme: str
) -> QuantizeError:
    """The error for a model whose outputs become NaN or infinite; it names the layers that cause it by themselves."""
    beyond = [np.isinf(error).any(axis=1) for error in differences(made, logs, expected)]
    log, rows = next((log, rows) for log, rows in zip(logs, beyond, strict=True) if rows.any())
    each = {layer.name: differences(mixed(model, made, [layer]), logs, expected) for layer in chosen}
    alone = [name for name, errors in each.items() if np.isinf(np.concatenate(errors)).any()]
    return QuantizeError(
        f"model {model.name!r}: in {scheme} its output is NaN or infinite at {np.concatenate(beyond).sum()} readings at"
        f" which float32 has numbers, the first in {log.name}, row {log.rows[int(rows.argmax())]}, because of"
        f" {', '.join(alone) or 'several layers together'}: keep such layers float32 (keep), or take another scheme"
    )


def outputs(model: Model, xs: Floats) -> Floats:
    """(T, n_outputs) of readings from the reset state on. NaN throughout where the model refuses one of them,
    which is what a quantized layer does with NaN and infinity."""
    try:
        return model.stream().run(xs)
    except StateError:
        return np.full((len(xs), model.program.output_size), np.nan, np.float32)


def difference(expected: Floats, got: Floats) -> Doubles:
    """(T, n_outputs): got less expected; infinite where only `got` is NaN or infinite, NaN in rows in which `expected`
    is, whatever `got` is there."""
    error = np.full(expected.shape, np.nan)
    there = np.isfinite(expected).all(axis=1)
    error[there] = got[there].astype(np.float64) - expected[there]
    error[there] = np.where(np.isfinite(error[there]), error[there], np.inf)
    return error


def differences(made: Model, logs: Sequence[Log], expected: Sequence[Floats]) -> list[Doubles]:
    """Of each log, over the readings with an expected output."""
    return [difference(own, outputs(made, log.xs[: len(own)])) for log, own in zip(logs, expected, strict=True)]


def answered(logs: Sequence[Log], expected: Sequence[Floats]) -> Floats:
    """(n, n_outputs): the rows of all logs that hold numbers. QuantizeError: there are none."""
    rows: Floats = np.concatenate(expected)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        names = ", ".join(log.name for log in logs)
        raise QuantizeError(
            f"{names}: the float32 model has no finite output at any reading, so nothing can be compared"
        )
    return rows


def rms(errors: Floats | Doubles) -> Doubles:
    """(n_outputs,): the root mean square of each column."""
    result: Doubles = np.sqrt(np.square(errors, dtype=np.float64).mean(axis=0))
    return result


def spans(values: Floats) -> Doubles:
    """(n_outputs,): largest less smallest value; of an output that never changes its magnitude, or 1."""
    extent = values.max(axis=0).astype(np.float64) - values.min(axis=0)
    still = np.abs(values).max(axis=0).astype(np.float64)
    result: Doubles = np.where(extent > 0, extent, np.where(still > 0, still, 1.0))
    return result


def _words(scheme: str, scaling: Scaling) -> str:
    if scheme in (WEIGHTS_ONLY, FLOAT16):
        return "activations stay float32"
    how = {0.0: "each input has its own scale", 1.0: "all inputs of a layer share a scale"}
    own = how.get(scaling.spread, "scales between each input's own and one for all")
    if scheme in DYNAMIC:
        return f"{own}, in units of the step's own largest value; nothing is clipped"
    clip = f"the largest {scaling.clip:.2%} of its values are clipped" if scaling.clip else "nothing seen is clipped"
    memory = "" if scaling.memory == "whole" else "; memories reach as far as they were seen"
    return f"{own}; {clip}{memory}"
