"""A model against the ONNX file it came from: the same readings through both, and how far they are apart.

Its rule: the oracle is ONNX Runtime, run with the model's timing (continuous, window, step with states). An
error is relative to the range of each number of the expected output by itself, so that a large one hides no small one.
Where float32 cannot hold that range to the tolerance, the verdict (never the reported error) allows what rounding does
to this network (`rounding.py`): how far the number moves when every weight is moved by its last bit, and how far the
model is from its own program in float64. That is a small part of the range, or nothing can be judged by it: readings
at which rounding alone may move an output by a tenth (of a chaotic network, from some reading on) are left out, and
the run says so; where too few are left, it is no agreement. A quantized model is allowed nothing: there, a last bit can
move an integer. What cannot be compared is reported, never passed over.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.analysis.rounding import LAST_BIT, exact, jittered, masks
from edge_lstm.core.channels import scaling
from edge_lstm.engines.onnxruntime.graph import OnnxGraph, open_session
from edge_lstm.engines.onnxruntime.gru_reset import with_linear_before_reset
from edge_lstm.errors import EdgeLstmError, ImportModelError, ReadingError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model

Array = npt.NDArray[Any]
TOLERANCE = 1e-5  # of the output's range
LONG = 10_000  # steps of the long run
ROUNDINGS = 8  # how many times the effect of one rounding of each weight two correct runtimes may be apart …
MOST = 0.1  # … where that is no more than this of the range; beyond, a reading cannot be judged
LEAST = 80  # last bits: a range below is one of a number that does not change
FEWEST = 0.1  # of a run's readings that must be judged
STAYS = (4, 13)  # readings that a mask stays as it is
MAX_WINDOWS = 256  # of one run that are compared, spread over it


@dataclass(frozen=True)
class Run:
    """One comparison of the output `output`. `error` is the largest difference, relative to the range of the number
    that differs, in the `compared` readings; `first_step` the first reading (from 0) with a difference beyond the
    tolerance and beyond what rounding may do, or where too few could be compared the first that could not, -1 where
    there is none; `rounding` how far rounding alone moves any number in any reading, relative to its range (0 where
    that was not needed): near 1 the network is chaotic, and there a comparison shows nothing. `unjudged`: how many
    readings were left out for that."""

    name: str
    output: str
    steps: int
    compared: int
    error: float
    worst_step: int
    first_step: int
    rounding: float = 0.0
    unjudged: int = 0

    @property
    def ok(self) -> bool:
        """Whether no reading is beyond the tolerance, or what rounding may do."""
        return self.first_step < 0


@dataclass(frozen=True)
class Report:
    """All comparisons of a model with its graph. notes: what must be known to judge them, in sentences."""

    tolerance: float
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is within the tolerance, or within what rounding does."""
        return all(run.ok for run in self.runs)

    @property
    def error(self) -> float:
        """The largest error."""
        return max(run.error for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """As JSON values; an infinite error (NaN on one side only) is None."""
        runs = [asdict(run) | {"error": run.error if math.isfinite(run.error) else None} for run in self.runs]
        return {"ok": self.ok, "tolerance": self.tolerance, "notes": list(self.notes), "runs": runs}


def verify(
    model: Model | str | Path,
    onnx_path: str | Path,
    *,
    log: npt.ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    short: bool = False,
) -> Report:
    """Compares a model with its ONNX file on random readings, on readings that saturate it, over 10,000 steps, and on a
    log (T, n_inputs) in physical units where one is given. tolerance: of the output's range, above 0 to 1. seed: of the
    random readings, 0 or more. short: two quick runs only.

    Raises ImportModelError where the graph has other inputs or outputs than the model, ReadingError for a bad log.
    """
    from edge_lstm.core.storage import load

    if not 0 < tolerance <= 1:
        raise EdgeLstmError(f"tolerance = {tolerance} must be above 0 and at most 1 (of the output's range)")
    if seed < 0:
        raise EdgeLstmError(f"seed = {seed} must be 0 or more")
    model = load(model) if isinstance(model, str | Path) else model
    graph = graph_of(model, onnx_path)
    draw = Readings(model, graph, np.random.default_rng(seed))
    taken = list(runs(draw, short=short))
    if log is not None:
        taken.append(("log", (_log(model, log) - draw.offset) / draw.scale))
    found: list[Run] = []
    ranges: dict[str, Array] = {}
    for name, rows in taken:
        found += _compare(name, model, graph, rows.astype(np.float32), tolerance, ranges)
    return Report(tolerance, tuple(found), tuple(_notes(model, Path(onnx_path))))


def graph_of(model: Model, path: str | Path) -> OnnxGraph:
    """The graph that the model is compared with: the file, with `linear_before_reset` of its GRUs as at import."""
    axes = model.timing.axes
    if axes is None:
        raise ImportModelError(
            f"model {model.name!r} was not made from an ONNX file; there is nothing to compare it with"
        )
    reset = axes.linear_before_reset
    return OnnxGraph(open_session(path if reset is None else with_linear_before_reset(path, reset)), axes)


def _notes(model: Model, path: Path) -> Iterator[str]:
    if model.program.rounded:
        yield "the model is quantized: errors are expected, and none is explained by rounding"
    axes = model.timing.axes
    if axes is not None and (reset := axes.linear_before_reset) is not None:
        yield f"compared with linear_before_reset = {reset} in every GRU, as asked at import, in the graph too"
    known = model.provenance.get("sha256")
    if known is not None and hashlib.sha256(path.read_bytes()).hexdigest() != known:
        yield f"{path}: this is not the file the model was imported from (its sha256 differs)"


def _log(model: Model, log: npt.ArrayLike) -> Array:
    """The log as float32 (T, n_inputs). Raises ReadingError."""
    width = model.program.input_size
    try:
        rows = np.asarray(log, np.float32)
    except (TypeError, ValueError):
        raise ReadingError(f"the log must be numbers of shape (readings, {width})") from None
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
        raise ReadingError(f"the log must be (readings, {width}), one reading at least, not {rows.shape}")
    return rows


def runs(draw: Readings, *, short: bool) -> Iterator[tuple[str, Array]]:
    """The readings (T, n_inputs) that are compared, each with its name."""
    model = draw.model
    window = model.timing.window or 0
    chunk = (draw.graph.length or 0) if draw.graph.states else 0
    few = max(32, 2 * window, model.timing.ready + 32, 2 * chunk)
    yield "random", draw.random(few, 1.0)
    yield "saturation", draw.random(few, 30.0)
    if not short:
        yield "large steps", draw.steps(max(200, 3 * window, 2 * model.timing.ready, 2 * chunk))
        yield "long", draw.random(max(LONG, 2 * chunk), 1.0)


class Readings:
    """Readings in the network's units: whole numbers where the graph's inputs are integers, 0 or 1 for some readings
    where they are masks of a state."""

    def __init__(self, model: Model, graph: OnnxGraph, rng: np.random.Generator) -> None:
        self.model, self.graph, self.rng = model, graph, rng
        self.scale, self.offset = scaling(model.inputs, np.float64)
        sizes = [(n.name, n.slot.size) for n in model.program.inputs]
        self.types = np.repeat([np.dtype(graph.types[n]).kind for n, _ in sizes], [s for _, s in sizes])
        tables = [len(op.weights["table"]) for op in model.program.operations if op.kind == "lookup"]
        self.words = min(tables, default=4)
        self.masks = np.flatnonzero(masks(model.program)) if model.program.onnx is None else np.empty(0, np.int64)

    def random(self, count: int, size: float) -> Array:
        """Normally distributed readings of this size."""
        return self._as_typed(self.rng.normal(0, size, (count, len(self.types))))

    def steps(self, count: int) -> Array:
        """Readings that stay, and then jump far."""
        levels = self.rng.normal(0, 5, (-(-count // 20), len(self.types)))
        return self._as_typed(np.repeat(levels, 20, axis=0)[:count])

    def _as_typed(self, rows: Array) -> Array:
        integers = np.isin(self.types, ("i", "u"))
        rows[:, integers] = self.rng.integers(0, self.words, (len(rows), int(integers.sum())))
        rows[:, self.types == "b"] = rows[:, self.types == "b"] > 0
        for k in self.masks:
            lengths = self.rng.integers(*STAYS, len(rows) // STAYS[0] + 1)
            rows[:, k] = np.repeat((np.arange(len(lengths)) + self.rng.integers(2)) % 2, lengths)[: len(rows)]
        return rows


def _compare(
    name: str, model: Model, graph: OnnxGraph, rows: Array, tolerance: float, ranges: dict[str, Array]
) -> list[Run]:
    """ranges: of each output in the first run; where a later one hardly moves it, that is what its range is."""
    ours = outputs(model, rows)
    steps, theirs = oracle(model, graph, rows)
    if not steps.size:
        raise ImportModelError(f"run {name!r} of {len(rows)} readings is too short to compare anything")
    found, start = [], 0
    noise = _Noise(model, rows, steps, ours[steps])
    for named in model.program.outputs:
        part = slice(start, start + named.slot.size)
        start += named.slot.size
        expected, y = theirs[:, part], ours[steps, part]
        difference, extent = differences(y, expected)
        extent = np.maximum(extent, ranges.setdefault(named.name, extent))
        found.append(_judged(name, named.name, len(rows), difference, extent, expected, tolerance, noise, part))
    return found


def _judged(
    name: str,
    output: str,
    count: int,
    difference: Array,
    extent: Array,
    expected: Array,
    tolerance: float,
    noise: _Noise,
    part: slice,
) -> Run:
    """The verdict about differences (steps, n) of one output."""
    steps, allowed = noise.steps, tolerance * extent
    judged: Array = np.ones(len(steps), np.bool_)
    rounding = 0.0
    for moved in noise.grown(part) if (difference > allowed).any() else ():
        amount = moved + LAST_BIT * _largest(expected)
        rounding = float((amount / np.maximum(extent, amount)).max())
        scale = np.maximum(extent, LEAST * LAST_BIT * _largest(expected))
        judged = np.asarray((ROUNDINGS * amount <= MOST * scale).all(axis=1))
        allowed = np.maximum(tolerance * extent, ROUNDINGS * amount[judged].max(axis=0, initial=0.0))
        if not (difference[judged] > allowed).any():
            break
    each = (difference / extent).max(axis=1)
    beyond = judged & (difference > allowed).any(axis=1)
    if judged.mean() < FEWEST:
        beyond = ~judged
    first = int(steps[np.argmax(beyond)]) if beyond.any() else -1
    compared = np.flatnonzero(judged) if judged.any() else np.arange(len(steps))
    worst = compared[np.argmax(each[compared])]
    unjudged = len(steps) - int(judged.sum())
    return Run(name, output, count, int(judged.sum()), float(each[worst]), int(steps[worst]), first, rounding, unjudged)


class _Noise:
    """How far rounding moves the outputs of one run, found when it is needed: by last bits first, then by float64."""

    def __init__(self, model: Model, rows: Array, steps: npt.NDArray[np.int64], ours: Array) -> None:
        self.model, self.rows, self.steps, self.ours = model, rows, steps, ours
        self._found: list[Array | None] = []

    def grown(self, part: slice) -> Iterator[Array]:
        """(steps, n) of some outputs, ever better: what has once moved the memory of a stream goes on to move it."""
        largest: Array = np.zeros((len(self.steps), part.stop - part.start))
        for way in range(0 if self.model.program.rounded else 2):
            if len(self._found) <= way:
                self._found.append(self._measured(way))
            moved = self._found[way]
            if moved is not None:
                largest = np.maximum(largest, moved[:, part])
                yield largest if self.model.timing.windowed else np.maximum.accumulate(largest, axis=0)

    def _measured(self, way: int) -> Array | None:
        other = (
            outputs(jittered(self.model), self.rows)[self.steps]
            if way == 0
            else exact(self.model, self.rows, self.steps)
        )
        return None if other is None else np.nan_to_num(np.abs(other - self.ours), nan=0.0, posinf=0.0)


def outputs(model: Model, rows: Array) -> Array:
    """The model's outputs (T, n_out) in network units."""
    scale, offset = scaling(model.inputs, np.float64)
    ours = np.asarray(model.stream().run((rows * scale + offset).astype(np.float32)), np.float64)
    scale, offset = scaling(model.outputs, np.float64)
    result: Array = (ours - offset) / scale
    return result


def _largest(values: Array) -> Array:
    """The largest size of each number (n_out,) over the steps, 0 where none is a number."""
    largest: Array = np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=0)
    return largest


def differences(y: Array, expected: Array) -> tuple[Array, Array]:
    """The differences (steps, n_out), infinite where only one is a number, and the range of each number (n_out,), at
    least its last bit."""
    there, known = np.isfinite(y), np.isfinite(expected)
    difference = np.where(there & known, np.abs(np.where(there, y, 0) - np.where(known, expected, 0)), 0.0)
    difference[there != known] = np.inf
    ends = np.where(known, expected, -np.inf).max(axis=0) - np.where(known, expected, np.inf).min(axis=0)
    least = np.maximum(LAST_BIT * _largest(expected), np.finfo(np.float32).tiny)
    return difference, np.maximum(np.where(np.isfinite(ends), ends, 0.0), least)


def _chunks(graph: OnnxGraph, rows: Array, length: int) -> tuple[npt.NDArray[np.int64], Array]:
    """A graph for chunks of `length` readings that hands its states on: one chunk after the other."""
    steps, results, states = [], [], graph.first_states()
    every = all(a.time is not None for a in graph.outputs.values())
    for start in range(0, len(rows) - length + 1, length):
        shown, states = graph.run(rows[start : start + length], states)
        results.append(np.concatenate([y if every else y[-1:] for y in shown], axis=1).astype(np.float64))
        steps.append(np.arange(start if every else start + length - 1, start + length))
    if not steps:
        return np.empty(0, np.int64), np.empty((0, 0))
    return np.concatenate(steps), np.concatenate(results)


def oracle(model: Model, graph: OnnxGraph, rows: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """Which steps are compared, and what ONNX Runtime gives for them (steps, n_out)."""
    window = model.timing.window or 0
    states = graph.first_states()
    if window:
        zeros = window - 1 if model.timing.before_window == "zeros" else 0
        rows = np.concatenate([np.zeros((zeros, rows.shape[1]), rows.dtype), rows])
        last = np.arange(window - 1, len(rows))
        last = (
            last[np.unique(np.linspace(0, len(last) - 1, min(len(last), MAX_WINDOWS)).astype(int))]
            if last.size
            else last
        )
        return last - zeros, np.array([graph.newest(rows[t + 1 - window : t + 1], states)[0] for t in last])
    if not graph.has_time:
        results = []
        for t in range(len(rows)):
            y, states = graph.newest(rows[t : t + 1], states)
            results.append(y)
        return np.arange(len(rows)), np.array(results)
    if model.timing.mode == "log":
        placed = graph.whole(rows, states)
        there = np.flatnonzero(~np.isnan(placed).all(axis=1))
        return there, placed[there]
    if graph.length and graph.states:
        return _chunks(graph, rows, graph.length)
    length, timing = min(graph.length or len(rows), len(rows)), model.timing
    if length < timing.first_output:  # there a layer may get an empty sequence, which ends the process in ONNX Runtime
        return np.empty(0, np.int64), np.empty((0, 0))
    # With which reading place 0 of an output comes; None: only the newest is there.
    firsts = [None if a.time is None else a.first for a in graph.outputs.values()]

    def taken(shown: list[Array], ends: npt.NDArray[np.int64]) -> Array:
        """The latest output after each of these numbers of readings."""
        places = [[-1] * len(ends) if f is None else (ends - f) // timing.stride for f in firsts]
        return np.concatenate([y[at] for y, at in zip(shown, places, strict=True)], axis=1).astype(np.float64)

    if None not in firsts:
        ends = np.arange(timing.first_output, length + 1, timing.stride)
        return ends - 1, taken(graph.run(rows[:length], states)[0], ends)
    # The graph is run on growing beginnings of the readings.
    least = min(timing.first_output, length)
    spread = np.unique(np.geomspace(least, length, 24).astype(int))
    spread = spread[spread >= timing.first_output]
    ends = np.unique(spread - (spread - timing.first_output) % timing.stride)
    ends = ends if length == len(rows) else np.array([length])
    return ends - 1, np.concatenate([taken(graph.run(rows[:n], states)[0], ends[[k]]) for k, n in enumerate(ends)])
