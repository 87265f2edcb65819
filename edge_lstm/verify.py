"""A model against the ONNX file it came from: the same readings through both, and how far they are apart.

Its rule: the oracle is ONNX Runtime, run in the model's meaning in time (continuous, window, step with states). An
error is relative to the range of the expected output. What cannot be compared is said, never passed over.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engines.graph import OnnxGraph, open_session
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx_gru import patched

if TYPE_CHECKING:
    from edge_lstm.model import Channel, Model

Array = npt.NDArray[Any]
TOLERANCE = 1e-5  # of the output's range
LONG = 10_000  # steps of the long run
MAX_WINDOWS = 256  # of one run that are compared, spread over it


@dataclass(frozen=True)
class Run:
    """One comparison. `error` is the largest difference, relative to the range of the expected output `output`;
    `first_step` the first reading (from 0) beyond the tolerance, -1 where there is none."""

    name: str
    output: str
    steps: int
    compared: int
    error: float
    worst_step: int
    first_step: int


@dataclass(frozen=True)
class Report:
    """All comparisons of a model with its graph."""

    tolerance: float
    runs: tuple[Run, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is within the tolerance."""
        return all(run.error <= self.tolerance for run in self.runs)

    @property
    def error(self) -> float:
        """The largest error."""
        return max(run.error for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"ok": self.ok, "tolerance": self.tolerance, "runs": [asdict(run) for run in self.runs]}


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
    log (T, n_inputs) in physical units where one is given. short: two quick runs only.

    Raises ImportModelError where the file is not the one that the model was made from.
    """
    from edge_lstm.storage import load

    model = load(model) if isinstance(model, str | Path) else model
    meaning = model.provenance.get("graph")
    if meaning is None:
        raise ImportModelError(
            f"model {model.name!r} was not made from an ONNX file; there is nothing to compare it with"
        )
    reset = meaning.get("linear_before_reset")
    graph = OnnxGraph(open_session(onnx_path if reset is None else patched(onnx_path, reset)), meaning)
    rng = np.random.default_rng(seed)
    draw = _Readings(model, graph, rng)
    window = _window(model)
    few = max(32, 2 * window)
    runs = [("random", draw.random(few, 1.0)), ("saturation", draw.random(few, 30.0))]
    if not short:
        runs += [("large steps", draw.steps(max(200, 3 * window))), ("long", draw.random(LONG, 1.0))]
    if log is not None:
        runs.append(("log", (np.asarray(log, np.float32) - draw.offset) / draw.scale))
    found: list[Run] = []
    for name, rows in runs:
        found += _compare(name, model, graph, rows.astype(np.float32), tolerance)
    return Report(tolerance, tuple(found))


def _window(model: Model) -> int:
    """How many readings an output belongs to; 0: all."""
    return int(model.provenance.get("window") or 0)


class _Readings:
    """Readings in the network's units: whole numbers where the graph wants them."""

    def __init__(self, model: Model, graph: OnnxGraph, rng: np.random.Generator) -> None:
        self.rng = rng
        self.scale, self.offset = scaling(model.inputs)
        sizes = [(n.name, n.slot.size) for n in model.program.inputs]
        self.kinds = np.repeat([np.dtype(graph.types[n]).kind for n, _ in sizes], [s for _, s in sizes])
        tables = [len(op.weights["table"]) for op in model.program.operations if op.kind == "lookup"]
        self.words = min(tables, default=4)

    def random(self, count: int, size: float) -> Array:
        """Normally distributed readings of this size."""
        return self._as_told(self.rng.normal(0, size, (count, len(self.kinds))))

    def steps(self, count: int) -> Array:
        """Readings that stay, and then jump far."""
        levels = self.rng.normal(0, 5, (-(-count // 20), len(self.kinds)))
        return self._as_told(np.repeat(levels, 20, axis=0)[:count])

    def _as_told(self, rows: Array) -> Array:
        whole = np.isin(self.kinds, ("i", "u"))
        rows[:, whole] = self.rng.integers(0, self.words, (len(rows), int(whole.sum())))
        rows[:, self.kinds == "b"] = rows[:, self.kinds == "b"] > 0
        return rows


def scaling(channels: tuple[Channel, ...]) -> tuple[Array, Array]:
    """Scale and offset of each number of a reading or an output: physical = network * scale + offset."""
    widths = [c.width for c in channels]
    return np.repeat([c.scale for c in channels], widths), np.repeat([c.offset for c in channels], widths)


def _compare(name: str, model: Model, graph: OnnxGraph, rows: Array, tolerance: float) -> list[Run]:
    scale, offset = scaling(model.inputs)
    ours = np.asarray(model.stream().run((rows * scale + offset).astype(np.float32)), np.float64)
    scale, offset = scaling(model.outputs)
    ours = (ours - offset) / scale
    steps, theirs = _oracle(model, graph, rows)
    if not steps.size:
        raise ImportModelError(f"run {name!r} of {len(rows)} readings is too short to compare anything")
    found, start = [], 0
    for named in model.program.outputs:
        part = slice(start, start + named.slot.size)
        start += named.slot.size
        expected, y = theirs[:, part], ours[steps, part]
        difference, extent = _apart(y, expected)
        each = difference.max(axis=1) / extent
        beyond = np.flatnonzero(each > tolerance)
        first = int(steps[beyond[0]]) if beyond.size else -1
        worst = int(np.argmax(each))
        found.append(Run(name, named.name, len(rows), len(steps), float(each[worst]), int(steps[worst]), first))
    return found


def _apart(y: Array, expected: Array) -> tuple[Array, float]:
    """The differences, infinite where only one is a number, and the range of what is expected.

    A hardly changing output is measured by a tenth of its size: it is no more exact than float32 itself.
    """
    there, known = np.isfinite(y), np.isfinite(expected)
    difference = np.where(there & known, np.abs(np.where(there, y, 0) - np.where(known, expected, 0)), 0.0)
    difference[there != known] = np.inf
    values = expected[known]
    extent = max(float(np.ptp(values)), float(np.abs(values).max()) * 1e-1, 1e-3) if values.size else 1e-3
    return difference, extent


def _oracle(model: Model, graph: OnnxGraph, rows: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """Which steps are compared, and what ONNX Runtime gives for them (steps, n_out)."""
    window = _window(model)
    states = graph.first_states()
    if window:
        zeros = window - 1 if model.before_window == "zeros" else 0
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
    length = min(graph.length or len(rows), len(rows))
    if all(a["time"] is not None for a in graph.outputs.values()):
        shown, _ = graph.run(rows[:length], states)
        return np.arange(length), np.concatenate(shown, axis=1).astype(np.float64)
    # Only the newest output is there: the graph is run on growing beginnings of the readings.
    spread = np.unique(np.geomspace(model.ready, length, 24).astype(int))
    ends = spread[spread >= model.ready] if length == len(rows) else np.array([length])
    return ends - 1, np.array([graph.newest(rows[:n], states)[0] for n in ends])
