"""A float32 model and the quantized one, side by side: errors, the worst readings, drift, sizes, and each layer's part.

Its rule: both run over the same readings, and every figure is a difference of their outputs. A layer's part is what
remains when only that layer is quantized. Errors are in the output's unit and as parts of its range over the log.

Never: judge without a stated limit. Tolerable is an error of 2 % of an output's range, or of half of how far it moves
from one reading to the next, whichever is larger: the second cannot be told from the output's own noise. A layer that
costs more suffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.channels import flat_names, flat_units
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.operations.functions import RANGED
from edge_lstm.core.storage import content
from edge_lstm.errors import QuantizeError
from edge_lstm.quantization.convert import answered, difference, differences, model_of, outputs, rms, spans
from edge_lstm.quantization.layers import QUANTIZED, Layer, layers, mixed, scheme_of, weight_bytes
from edge_lstm.quantization.observe import Log, Observer, Some, logs_of
from edge_lstm.quantization.ranges import Beyond, beyond, doubts
from edge_lstm.quantization.rounding import clipped

_OF_RANGE, _OF_CHANGE = 0.02, 0.5  # what is tolerable, root mean square: the larger of both
_FEWEST = 20  # held-out readings
LONG = 10_000  # steps of the long run
_WORST = 5
_APART = 0.01  # of a log: nearer to a worse reading than this is the same place
_TURNS, _STEPS, _IN_A_LOG = 25, 500, 2000  # turns of both models, short enough to fit between two interruptions


@dataclass(frozen=True)
class Error:
    """Over one log or several: root mean square and largest error in the output's unit, and as parts of its range, all
    infinite where only the quantized model's output is NaN or infinite, or missing: at `failed` of them."""

    readings: int
    rms: float
    largest: float
    rms_of_range: float
    largest_of_range: float
    failed: int


@dataclass(frozen=True)
class Output:
    """One output. range: largest less smallest value over the held-out log; change: how far it moves from one reading
    to the next (root mean square), a measure of its own noise; tolerable: what an error may be (root mean square);
    drift: the error (root mean square) of each pass of a run of 10,000 steps or more without a reset, which takes the
    same held-out readings again and again. All in its unit."""

    name: str
    unit: str
    range: float
    change: float
    tolerable: float
    calibration: Error
    held_out: Error
    drift: tuple[float, ...]


@dataclass(frozen=True)
class Worst:
    """A reading at which an output is far off: its log, row (from 0) and time (s), and the outputs of the
    float32 and the quantized model."""

    log: str
    row: int
    t_s: float
    output: str
    expected: float
    got: float


@dataclass(frozen=True)
class Part:
    """One layer. error: of the worst output over the held-out log, as a part of its range, when only this layer is
    quantized, and as a part of what is tolerable; clipped: part of the held-out readings in which a value lay outside
    what its integers can hold; failed: readings at which it causes NaN (the error is infinite then)."""

    name: str
    kind: str
    quantized: bool
    error: float
    of_tolerable: float
    output: str
    clipped: float
    failed: int
    bytes_float32: int
    bytes_quantized: int

    @property
    def suffers(self) -> bool:
        """Whether it should rather stay float32."""
        return self.of_tolerable > 1


@dataclass(frozen=True)
class Speed:
    """µs for a reading, float32 and quantized: medians; ratio: the median of the ratios of turns side by side."""

    float32_us: float
    quantized_us: float
    ratio: float


@dataclass(frozen=True)
class Report:
    """What quantization came to. weight_bytes, file_bytes: float32, quantized. step, log: the time of one reading, by
    itself from Python or in a log; None where no clock was given. beyond: the channels that left their calibrated range
    in the held-out readings; doubts: why the figures may prove less than they seem to, sentences about the logs.
    """

    model: str
    scheme: str
    source_digest: str
    digest: str
    calibration: tuple[str, ...]
    held_out: tuple[str, ...]
    left_out: int
    outputs: tuple[Output, ...]
    worst: tuple[Worst, ...]
    layers: tuple[Part, ...]
    weight_bytes: tuple[int, int]
    file_bytes: tuple[int, int]
    step: Speed | None
    log: Speed | None
    keep: tuple[str, ...]
    error_with_keep: float | None
    beyond: tuple[Beyond, ...]
    doubts: tuple[str, ...]

    @property
    def error(self) -> float:
        """Of the worst output over the held-out log: root mean square, as a part of its range."""
        return max(output.held_out.rms_of_range for output in self.outputs)

    @property
    def failed(self) -> int:
        """Held-out readings at which only the quantized model's output is NaN or infinite."""
        return max(output.held_out.failed for output in self.outputs)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; None stands for infinite errors, and for outputs that are NaN or infinite."""
        found: dict[str, Any] = finite(asdict(self) | {"error": self.error, "failed": self.failed})
        for part, layer in zip(found["layers"], self.layers, strict=True):
            part["suffers"] = layer.suffers
        return found


def report(
    model: Model | str | Path,
    quantized: Model | str | Path,
    calibration: Some,
    held_out: Some,
    clock: Callable[[], float] | None = None,
) -> Report:
    """Both models over both logs (as `quantize` takes them; the held-out one is what the figures are judged by).

    model, quantized: or the paths of their files. clock: seconds, for the speed of both on this computer
    (time.perf_counter); None leaves it out. Raises QuantizeError where the one was not made from the other, or a log
    is not one.
    """
    model, quantized = model_of(model), model_of(quantized)
    found = _pairs(model, quantized)
    logs, held = logs_of(model, calibration), logs_of(model, held_out, "held-out readings", _FEWEST)
    calibrated, judge = Judge(model, logs), Judge(model, held)
    chosen = [layer for layer, done in found if done]
    parts = _layers(quantized, found, judge)
    suffering = [layer for (layer, _), part in zip(found, parts, strict=True) if part.suffers]
    relieved = mixed(model, quantized, [layer for layer in chosen if layer not in suffering])
    source = quantized.provenance.get("quantized")
    scheme = str(scheme_of(quantized.program.operations[chosen[0].numbers[0]]))
    longest = max(held, key=lambda log: len(log.xs)).xs
    left = beyond(model, logs, held) if scheme in RANGED else ()
    return Report(
        model=model.name,
        scheme=source["scheme"] if isinstance(source, dict) else scheme,
        source_digest=model.digest,
        digest=quantized.digest,
        calibration=tuple(log.name for log in logs),
        held_out=tuple(log.name for log in held),
        left_out=sum(log.left_out for log in (*logs, *held)),
        outputs=_outputs(quantized, calibrated, judge),
        worst=_worst(quantized, judge),
        layers=parts,
        weight_bytes=(weight_bytes(model.program.operations), weight_bytes(quantized.program.operations)),
        file_bytes=(len(content(model)), len(content(quantized))),
        step=clock and _timed(model, quantized, longest[:_STEPS], clock, alone=True),
        log=clock and _timed(model, quantized, longest[:_IN_A_LOG], clock, alone=False),
        keep=tuple(layer.name for layer in suffering),
        error_with_keep=max(judge.relative(relieved)) if suffering else None,
        beyond=left,
        doubts=doubts(model, (logs, held), (calibrated.answered, judge.answered), ranged=scheme in RANGED),
    )


def _pairs(model: Model, quantized: Model) -> list[tuple[Layer, bool]]:
    """Each layer of the model, and whether it is quantized. QuantizeError where they are not one network."""
    ours, theirs = model.program.operations, quantized.program.operations
    places = [(op.kind.removeprefix(QUANTIZED), op.inputs, op.outputs) for op in theirs]
    if [(op.kind, op.inputs, op.outputs) for op in ours] != places:
        raise QuantizeError(f"model {quantized.name!r} is not a quantized {model.name!r}: their operations differ")
    found = [(layer, scheme_of(theirs[layer.numbers[0]]) is not None) for layer in layers(model.program)]
    if not any(done for _, done in found):
        raise QuantizeError(f"model {quantized.name!r} has no quantized layer to compare with {model.name!r}")
    return found


def finite(value: Any) -> Any:
    """As JSON can hold it: None for NaN and infinity."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


class Judge:
    """The float32 model's outputs over some logs, and how far another model is from them."""

    def __init__(self, model: Model, logs: Sequence[Log]) -> None:
        self.model, self.logs = model, logs
        self.expected = [model.stream().run(log.xs) for log in logs]
        self.answered = answered(logs, self.expected)
        self.spans = spans(self.answered)
        self.change = rms(np.diff(self.answered, axis=0)) if len(self.answered) > 1 else np.zeros(len(self.spans))
        self.tolerable = np.maximum(_OF_RANGE * self.spans, _OF_CHANGE * self.change)

    def errors(self, other: Model) -> list[Error]:
        """One for each output."""
        error = np.concatenate(differences(other, self.logs, self.expected))
        error = error[~np.isnan(error).any(axis=1)]
        figures = np.stack([rms(error), np.abs(error).max(axis=0)])
        failed = np.isinf(error).sum(axis=0).tolist()
        rows = zip(*figures.tolist(), *(figures / self.spans).tolist(), failed, strict=True)
        return [Error(len(error), *row) for row in rows]

    def relative(self, other: Model) -> list[float]:
        """Of each output the root mean square, as a part of its range."""
        return [error.rms_of_range for error in self.errors(other)]


def _outputs(quantized: Model, calibrated: Judge, judge: Judge) -> tuple[Output, ...]:
    seen, measured, drift = calibrated.errors(quantized), judge.errors(quantized), _drift(quantized, judge)
    sizes = np.stack([np.ptp(judge.answered, axis=0), judge.change, judge.tolerable], axis=1).tolist()
    names, units = flat_names(judge.model.outputs), flat_units(judge.model.outputs)
    rows = zip(names, units, sizes, seen, measured, drift, strict=True)
    return tuple(Output(name, unit, *size, *errors) for name, unit, size, *errors in rows)


def _drift(quantized: Model, judge: Judge) -> list[tuple[float, ...]]:
    """Of each output the errors of the passes: what grows from the first to the last does so by time alone."""
    readings = np.concatenate([log.xs for log in judge.logs])[: LONG // 2]
    passes = -(-(LONG + judge.model.timing.first_output - 1) // len(readings))
    xs = np.tile(readings, (passes, 1))
    error = difference(judge.model.stream().run(xs), outputs(quantized, xs)).reshape(passes, len(readings), -1)
    passed = [one[~np.isnan(one).any(axis=1)] for one in error]
    figures = np.stack([rms(one) for one in passed if len(one)])
    return [tuple(column.tolist()) for column in figures.T]


def _worst(quantized: Model, judge: Judge) -> tuple[Worst, ...]:
    """The readings with the largest errors, as parts of the output's range, no two of them from one place."""
    names = flat_names(judge.model.outputs)
    found: list[tuple[float, Worst]] = []
    for log, expected in zip(judge.logs, judge.expected, strict=True):
        got = outputs(quantized, log.xs)
        # What is infinite stays the largest; where nothing is expected, nothing is wrong.
        size = np.nan_to_num(np.abs(difference(expected, got)) / judge.spans)
        near = max(1, int(_APART * len(size)))
        for _ in range(min(_WORST, len(size))):
            row, k = divmod(int(size.argmax()), len(names))
            if size[row, k] > 0:
                values = float(expected[row, k]), float(got[row, k])
                place = Worst(log.name, int(log.rows[row]), float(log.t_s[row]), names[k], *values)
                found.append((float(size[row, k]), place))
            size[max(0, row - near) : row + near + 1] = 0
    return tuple(worst for _, worst in sorted(found, key=lambda pair: -pair[0])[:_WORST])


def _layers(quantized: Model, found: Sequence[tuple[Layer, bool]], judge: Judge) -> tuple[Part, ...]:
    model, names = judge.model, flat_names(judge.model.outputs)
    beyond = {layer.name: 0 for layer, _ in found}
    chosen = [layer for layer, done in found if done]
    for _, values in Observer(model, chosen)(judge.logs):
        for layer in chosen:
            beyond[layer.name] += int(
                clipped(quantized.program.operations[layer.numbers[0]], *values[layer.name]).sum()
            )
    parts = []
    for layer, done in found:
        each = judge.errors(mixed(model, quantized, [layer])) if done else []
        errors = [error.rms_of_range for error in each] or [0.0] * len(names)
        share = np.array(errors) * judge.spans / judge.tolerable
        seen = sum(len(log.xs) for log in judge.logs) * len(layer.numbers) * layer.rows
        sizes = [weight_bytes([m.program.operations[layer.numbers[0]]]) for m in (model, quantized)]
        worst = int(share.argmax())
        figures = errors[worst], float(share[worst]), names[worst], beyond[layer.name] / seen
        failed = max((error.failed for error in each), default=0)
        parts.append(Part(layer.name, layer.kind, done, *figures, failed, *sizes))
    return tuple(parts)


def _timed(model: Model, quantized: Model, xs: Floats, clock: Callable[[], float], *, alone: bool) -> Speed | None:
    """One model after the other in each turn; alone: each reading is a call. None where one refuses a reading."""
    streams = model.stream(), quantized.stream()
    taken = np.zeros((_TURNS + 1, 2))
    if np.isnan(outputs(quantized, xs)).all():
        return None
    for turn in taken:
        for k, stream in enumerate(streams):
            stream.reset()
            begin = clock()
            if alone:
                for x in xs:
                    stream.step(x)
            else:
                stream.run(xs)
            turn[k] = (clock() - begin) / len(xs) * 1e6
    turns = np.maximum(taken[1:], 1e-9)  # the first one only warms the caches
    before, after = np.median(turns, axis=0).tolist()
    return Speed(before, after, float(np.median(turns[:, 0] / turns[:, 1])))
