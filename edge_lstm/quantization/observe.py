"""Logs as quantization reads them, and what each layer reads when the model runs over them.

Its rule: a layer's input is a value like any other, so the observing model is the model with those values as its
outputs; nothing is computed here. Every reading of every log is taken, in window mode from the reset state on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.feedback import AS_IT_COMES
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.program import Named
from edge_lstm.core.timing import CONTINUOUS
from edge_lstm.errors import QuantizeError
from edge_lstm.logs.series import Series
from edge_lstm.quantization.layers import Layer

FEWEST = 100  # readings; fewer show no range
_CHUNK = 1 << 22  # values observed at a time
_SAMPLE = 8192  # readings whose values are sampled
_SAMPLED = 1 << 24  # values sampled at most
_TOP = 0.0005  # of all readings: that many of the largest values of every input are stored

Pair = tuple[Floats, Floats | None]  # of a layer: x (n, inputs) and h (n, units); None: it has no memory


@dataclass(frozen=True)
class Log:
    """Complete readings xs (T, n_inputs), their row numbers (from 0) and times in the log; rows that had a missing
    number are left out, and counted in left_out."""

    name: str
    rows: npt.NDArray[np.int64]
    t_s: npt.NDArray[np.float64]
    xs: Floats
    left_out: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the readings as the model takes them: float32, little endian, row by row."""
        return hashlib.sha256(self.xs.astype("<f4").tobytes()).hexdigest()

    def split(self, part: float = 0.2) -> tuple[Log, Log]:
        """The beginning, and the last `part` to hold out."""
        at = len(self.xs) - int(part * len(self.xs))
        end = Log(f"{self.name} (its last {part:.0%})", self.rows[at:], self.t_s[at:], self.xs[at:])
        return Log(self.name, self.rows[:at], self.t_s[:at], self.xs[:at], self.left_out), end


Readings = npt.ArrayLike | Series | Log
Some = Readings | Sequence[Readings]


def logs_of(model: Model, given: Some, what: str = "calibration", fewest: int = FEWEST) -> list[Log]:
    """One log or several, checked. Raises QuantizeError: wrong width, not a number in an array, too few readings; those
    of each log before its first output do not count."""
    several = isinstance(given, list | tuple) and any(isinstance(g, Series | Log | np.ndarray) for g in given)
    named: Sequence[Any] = given if several else [given]  # type: ignore[assignment]
    each = [part for g in named for part in (g.parts() if isinstance(g, Series) else [g])]
    logs = [log_of(model, g, what if len(each) == 1 else f"{what} {k}") for k, g in enumerate(each)]
    before = model.timing.first_output - 1  # of each log
    if sum(max(0, len(log.xs) - before) for log in logs) < fewest:
        count, names = sum(len(log.xs) for log in logs), ", ".join(log.name for log in logs[:3])
        needed = f"{fewest + before} are the least" + (" of a single log" if before and len(logs) > 1 else "")
        why = f", as the first {before} of each log have no output" if before else ""
        names += f" and {len(logs) - 3} more" if len(logs) > 3 else ""
        raise QuantizeError(f"{names}: {count} complete readings are too few for {what}; {needed}{why}")
    return logs


def log_of(model: Model, given: Any, what: str = "calibration") -> Log:
    """One log, of which a `Series` loses the rows with a missing number. Raises QuantizeError as `logs_of`."""
    if isinstance(given, Log):
        return given
    if isinstance(given, Series):
        finite = np.isfinite(given.xs)
        if len(finite) and not (known := finite.any(axis=0)).all():
            raise QuantizeError(
                f"{given.name}: channel {_owner(model, int(known.argmin()))!r} has no number in any row"
            )
        rows = np.flatnonzero(finite.all(axis=1))
        return Log(given.name, rows, given.t_s[rows], given.xs[rows], len(given.xs) - len(rows))
    width = model.program.input_size
    try:
        xs = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        raise QuantizeError(f"{what}: a log must be numbers (readings, {width})") from None
    if xs.ndim != 2 or xs.shape[1] != width:
        names = ", ".join(c.name for c in model.inputs[:8]) + (", …" if len(model.inputs) > 8 else "")
        raise QuantizeError(f"{what}: a log must have the shape (readings, {width}: {names}), not {xs.shape}")
    if not np.isfinite(xs).all():
        row, column = np.argwhere(~np.isfinite(xs))[0]
        where = f"row {row} holds {xs[row, column]} in channel {_owner(model, int(column))!r}"
        raise QuantizeError(f"{what}: {where}; leave such rows out")
    rows = np.arange(len(xs))
    return Log(what, rows, rows / (model.rate_hz or 1.0), np.ascontiguousarray(xs))


def _owner(model: Model, column: int) -> str:
    return [c.name for c in model.inputs for _ in range(c.width)][column]


def check_channels(model: Model, logs: Sequence[Log]) -> None:
    """QuantizeError for an input channel that is 0 in every reading: nothing shows its range."""
    for column, channel in measured(model):
        if not any(log.xs[:, column].any() for log in logs):
            raise QuantizeError(
                f"{logs[0].name}: channel {channel.name!r} is 0 in all {sum(len(log.xs) for log in logs)} readings, so"
                " nothing shows its range; calibrate with a log in which it moves"
            )


def measured(model: Model) -> list[tuple[int, Channel]]:
    """The channels that are quantities, neither words nor row numbers of a table, and their columns."""
    indices = {slot for op in model.program.operations if op.kind == "lookup" for slot in op.inputs}
    own = [named.slot in indices for named in model.program.inputs for _ in range(named.slot.size)]
    starts = accumulate((channel.width for channel in model.inputs), initial=0)
    found = zip(starts, model.inputs, strict=False)
    return [(column, channel) for column, channel in found if not channel.vocabulary and not own[column]]


class Observer:
    """A model whose outputs are what its layers read."""

    def __init__(self, model: Model, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._window = model.timing.window if model.timing.mode == "window" else None
        outputs = tuple(
            Named(f"{layer.name}.{number}.{k}", slot)
            for layer in layers
            for number in layer.numbers
            for k, slot in enumerate(model.program.operations[number].inputs[: 1 + layer.recurrent])
        )
        self.width = sum(named.slot.size for named in outputs)
        channels = channels_for(tuple(n.name for n in outputs), tuple(n.slot.size for n in outputs))
        program = replace(model.program, outputs=outputs)
        self._model = replace(
            model,
            program=program,
            outputs=channels,
            timing=CONTINUOUS,
            feedback=(),
            policy=AS_IT_COMES,
        )

    def __call__(self, logs: Sequence[Log]) -> Iterator[tuple[npt.NDArray[np.int64], Mapping[str, Pair]]]:
        """Chunk by chunk: the numbers of the readings among all of these logs, and each layer's (x, h) in them, the
        readings first of a layer's first operation, then of its second …"""
        first, size = 0, self._window or max(1, _CHUNK // self.width)
        for log in logs:
            stream = self._model.stream()
            for begin in range(0, len(log.xs), size):
                if self._window:
                    stream.reset()
                values = stream.run(log.xs[begin : begin + size])
                yield np.arange(first + begin, first + begin + len(values)), self._parts(values)
            first += len(log.xs)

    def _parts(self, values: Floats) -> Mapping[str, Pair]:
        found: dict[str, Pair] = {}
        start = 0
        for layer in self._layers:
            sizes = [slot.size for slot in layer.operation.inputs[: 1 + layer.recurrent]]
            block = values[:, start : start + len(layer.numbers) * sum(sizes)]
            start += block.shape[1]
            each = block.reshape(len(values), len(layer.numbers), sum(sizes)).swapaxes(0, 1).reshape(-1, sum(sizes))
            x = each[:, : sizes[0]].reshape(-1, sizes[0] // layer.rows)
            found[layer.name] = x, each[:, sizes[0] :] if layer.recurrent else None
        return found


@dataclass
class Seen:
    """What a layer read: `count` rows; `top` (k, inputs), the largest magnitudes of each input; `h`, the largest
    magnitude of its memory; and of a sample of the readings x (n, inputs) and h (n, units)."""

    count: int
    top: Floats
    h_most: float
    x: Floats
    h: Floats | None

    def reach(self, clip: float) -> Floats:
        """(inputs,): the magnitude that at most the part `clip` of the values exceeds; 0: the largest."""
        beyond = int(clip * self.count)
        largest: Floats = -np.partition(-self.top, beyond, axis=0)[beyond]
        return largest


def observe(model: Model, layers: Sequence[Layer], logs: Sequence[Log]) -> dict[str, Seen]:
    """Run the model over the logs and collect what its layers read. QuantizeError where that is NaN or infinity."""
    observer, count = Observer(model, layers), sum(len(log.xs) for log in logs)
    size = min(count, _SAMPLE, max(1, _SAMPLED // observer.width))
    chosen = np.zeros(count, np.bool_)
    chosen[np.random.default_rng(0).choice(count, size, replace=False)] = True
    found: dict[str, Seen] = {}
    samples: dict[str, list[Pair]] = {layer.name: [] for layer in layers}
    for numbers, parts in observer(logs):
        for layer in layers:
            x, h = parts[layer.name]
            _check_finite(logs, numbers, layer, x, h)
            most = int(_TOP * count * len(x) / len(numbers)) + 1
            before = found.get(layer.name) or Seen(0, np.zeros((0, x.shape[1]), np.float32), 0.0, x, h)
            top = np.concatenate([before.top, np.abs(x)])
            top = -np.partition(-top, most - 1, axis=0)[:most] if len(top) > most else top
            h_most = max(before.h_most, 0.0 if h is None else float(np.abs(h).max()))
            found[layer.name] = Seen(before.count + len(x), top, h_most, x, h)
            picked = np.resize(chosen[numbers], len(x)) if len(x) != len(numbers) else chosen[numbers]
            samples[layer.name].append((x[picked], None if h is None else h[picked]))
    for name, seen in found.items():
        seen.x = np.concatenate([x for x, _ in samples[name]])
        seen.h = None if seen.h is None else np.concatenate([h for _, h in samples[name] if h is not None])
    return found


def _check_finite(
    logs: Sequence[Log], numbers: npt.NDArray[np.int64], layer: Layer, x: Floats, h: Floats | None
) -> None:
    for values, rows in ((x, layer.rows), (h, 1)):
        if values is None or (finite := np.isfinite(values).all(axis=1)).all():
            continue
        at = int(np.argmin(finite))
        number, bad = int(numbers[at // rows % len(numbers)]), values[at][~np.isfinite(values[at])][0]
        for log in logs:
            if number < len(log.xs):
                raise QuantizeError(
                    f"{log.name}: layer {layer.name!r} reads {bad} at row {log.rows[number]}, which no integer can"
                    " hold; leave such readings out, or keep the layer float32 (keep)"
                )
            number -= len(log.xs)
