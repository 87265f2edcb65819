"""A model against the ONNX file it came from: the same readings through both, and how far they are apart.

Its rule: the oracle is ONNX Runtime, run with the model's timing (continuous, window, step with states). An
error is relative to the range of each number of the expected output by itself, so that a large one hides no small one.
Where that range is so small that float32 cannot hold it to the tolerance, the verdict (never the reported error)
allows what rounding does to this network: how far the number moves when every weight is moved by its last bit
(`jittered`). A quantized model is allowed nothing: there, a last bit can move an integer. What cannot be compared is
reported, never passed over.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import scaling
from edge_lstm.engines.onnxruntime.graph import OnnxGraph, open_session
from edge_lstm.engines.onnxruntime.gru_reset import with_linear_before_reset
from edge_lstm.errors import EdgeLstmError, ImportModelError, ReadingError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model

Array = npt.NDArray[Any]
TOLERANCE = 1e-5  # of the output's range
LONG = 10_000  # steps of the long run
LAST_BIT = 2.0**-23  # of a float32, relative
ROUNDINGS = 8  # how many times the effect of one rounding of each weight two correct runtimes may be apart
MAX_WINDOWS = 256  # of one run that are compared, spread over it


@dataclass(frozen=True)
class Run:
    """One comparison of the output `output`. `error` is the largest difference, relative to the range of the number
    that differs; `first_step` the first reading (from 0) with a difference beyond the tolerance and beyond what
    rounding may do, -1 where there is none; `rounding` how far rounding alone moves any number, relative to its range
    (0 where that was not needed): near 1 the network is chaotic, and a comparison shows nothing."""

    name: str
    output: str
    steps: int
    compared: int
    error: float
    worst_step: int
    first_step: int
    rounding: float = 0.0

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


def is_quantized(model: Model) -> bool:
    """Whether any of its layers computes with integers."""
    return any(op.kind.startswith("quantized_") for op in model.program.operations)


def _notes(model: Model, path: Path) -> Iterator[str]:
    if is_quantized(model):
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
    few = max(32, 2 * window, model.timing.ready + 32)
    yield "random", draw.random(few, 1.0)
    yield "saturation", draw.random(few, 30.0)
    if not short:
        yield "large steps", draw.steps(max(200, 3 * window, 2 * model.timing.ready))
        yield "long", draw.random(LONG, 1.0)


class Readings:
    """Readings in the network's units: whole numbers where the graph's inputs are integers."""

    def __init__(self, model: Model, graph: OnnxGraph, rng: np.random.Generator) -> None:
        self.model, self.rng = model, rng
        self.scale, self.offset = scaling(model.inputs, np.float64)
        sizes = [(n.name, n.slot.size) for n in model.program.inputs]
        self.types = np.repeat([np.dtype(graph.types[n]).kind for n, _ in sizes], [s for _, s in sizes])
        tables = [len(op.weights["table"]) for op in model.program.operations if op.kind == "lookup"]
        self.words = min(tables, default=4)

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
        return rows


def _compare(
    name: str, model: Model, graph: OnnxGraph, rows: Array, tolerance: float, ranges: dict[str, Array]
) -> list[Run]:
    """ranges: of each output in the first run; where a later one hardly moves it, that is what its range is."""
    ours, quantized = outputs(model, rows), is_quantized(model)
    steps, theirs = oracle(model, graph, rows)
    if not steps.size:
        raise ImportModelError(f"run {name!r} of {len(rows)} readings is too short to compare anything")
    found, start, moved = [], 0, None
    for named in model.program.outputs:
        part = slice(start, start + named.slot.size)
        start += named.slot.size
        expected, y = theirs[:, part], ours[steps, part]
        difference, extent = differences(y, expected)
        extent = np.maximum(extent, ranges.setdefault(named.name, extent))
        rounding, allowed = 0.0, tolerance * extent
        if (difference > allowed).any() and not quantized:
            if moved is None:
                moved = np.abs(outputs(jittered(model), rows) - ours)
            noise = _largest(moved[steps, part]) + LAST_BIT * _largest(expected)
            rounding = float((noise / np.maximum(extent, noise)).max())
            allowed = np.maximum(allowed, ROUNDINGS * noise)
        each = (difference / extent).max(axis=1)
        beyond = np.flatnonzero((difference > allowed).any(axis=1))
        first = int(steps[beyond[0]]) if beyond.size else -1
        worst = int(np.argmax(each))
        found.append(
            Run(name, named.name, len(rows), len(steps), float(each[worst]), int(steps[worst]), first, rounding)
        )
    return found


def outputs(model: Model, rows: Array) -> Array:
    """The model's outputs (T, n_out) in network units."""
    scale, offset = scaling(model.inputs, np.float64)
    ours = np.asarray(model.stream().run((rows * scale + offset).astype(np.float32)), np.float64)
    scale, offset = scaling(model.outputs, np.float64)
    result: Array = (ours - offset) / scale
    return result


def jittered(model: Model) -> Model:
    """The model with every weight moved by its last bit, up or down, and every sum within the network by half the last
    bit of one: what rounding does to any runtime, and how far this network amplifies it."""
    rng, known = np.random.default_rng(0), dict[tuple[int, bool], Array]()
    shown = {named.slot for named in model.program.outputs}

    def moved(weight: Array, *, sums: bool) -> Array:
        if weight.dtype.kind != "f":
            return weight
        if (key := (id(weight), sums)) not in known:
            signs = rng.choice([-1.0, 1.0], (2, *weight.shape))
            array = (weight * (1 + LAST_BIT * signs[0]) + sums * LAST_BIT / 2 * signs[1]).astype(np.float32)
            array.flags.writeable = False
            known[key] = array
        return known[key]

    operations = tuple(
        replace(
            op,
            weights={k: moved(w, sums=k[0] == "b" and shown.isdisjoint(op.outputs)) for k, w in op.weights.items()},
        )
        for op in model.program.operations
    )
    return replace(model, program=replace(model.program, operations=operations))


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
