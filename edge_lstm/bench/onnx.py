"""The same readings through ONNX Runtime, timed beside ours.

Its rule: outputs first, times after; ratios are medians over blocks that take turns. ONNX Runtime gets its inputs laid
out beforehand and one thread that does not spin; its states, where the graph passes them, go from call to call. Where a
graph cannot take one reading at a time, `why` says so, and only whole logs are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.analysis.verify import TOLERANCE, graph_of, verify
from edge_lstm.bench.machine import Values
from edge_lstm.bench.timing import Plan, block, percentiles
from edge_lstm.core.channels import scaling
from edge_lstm.errors import EdgeLstmError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats
    from edge_lstm.engines.onnxruntime.graph import OnnxGraph

Times = npt.NDArray[np.int64]  # ns of single calls
Work = Callable[[], Times]
_SOME, _LOG = 100, 1000  # readings of a block of single steps; of a log


def beside(model: Model, path: Path, rows: Floats, plan: Plan) -> Values:
    """rows: readings in physical units. Raises EdgeLstmError where the outputs of a float32 model differ; of a
    quantized one the difference is reported (`error`, relative to the output's range) on standard normal readings, not
    on those that saturate it: no calibration reaches there."""
    quantized = model.program.rounded
    report = verify(model, path, short=True)
    error = max(run.error for run in report.runs if run.name == "random") if quantized else report.error
    if not (report.ok or quantized):
        raise EdgeLstmError(
            f"{path}: its outputs differ from the model's by {report.error:.1e} of their range, more than "
            f"{TOLERANCE:g}; nothing is timed beside a graph that computes something else"
        )
    scale, offset = scaling(model.inputs, np.float64)
    network = ((rows - offset) / scale).astype(np.float32)
    graph = graph_of(model, path)
    window = model.timing.window or 0
    found: Values = {"error": error, "quantized": quantized, "step_us": None, "log": None}
    if not window and graph.has_time and not graph.states and len(model.program.states):
        found["why"] = "the graph passes no state, so ONNX Runtime would have to run the whole past at each reading"
    elif not window and graph.length not in (None, 1):
        found["why"] = f"the graph takes {graph.length} readings at a time, and no fewer"
    else:
        found |= _steps(model, graph, rows, network, window, plan)
    if graph.has_time and graph.length is None and not window:
        long = np.resize(rows, (_LOG, rows.shape[1]))
        feeds = {**graph.feeds(np.resize(network, long.shape)), **graph.first_states()}
        ratio, theirs = _in_turns(
            lambda: block(model.stream().run, [long]),
            lambda: block(lambda f: graph.session.run(None, f), [feeds]),
            plan,
        )
        found["log"] = {"readings": _LOG, "us": float(np.median(theirs)) / 1e3 / _LOG, "ratio": ratio}
    return found


def _steps(model: Model, graph: OnnxGraph, rows: Floats, network: Floats, window: int, plan: Plan) -> Values:
    """One reading, one call: for a window model the whole window again."""
    session, shown, names = graph.session, len(graph.outputs), list(graph.states)
    wanted = [*graph.outputs, *graph.states.values()]
    long = np.resize(network, (_SOME + max(window, 1), network.shape[1]))
    feeds = [graph.feeds(long[k : k + max(window, 1)]) for k in range(_SOME)]
    states: dict[str, Any] = graph.first_states(max(window, 1))

    def step(feed: dict[str, Any]) -> None:
        results = session.run(wanted, {**feed, **states})
        for name, value in zip(names, results[shown:], strict=True):
            states[name] = value

    stream, readings = model.stream(), list(rows[:_SOME])
    stream.run(np.resize(rows, (max(window, model.timing.first_output), rows.shape[1])))
    ratio, theirs = _in_turns(lambda: block(stream.step, readings), lambda: block(step, feeds), plan)
    return {"step_us": percentiles(theirs) | {"ratio": ratio}}


def _in_turns(ours: Work, theirs: Work, plan: Plan) -> tuple[float, Times]:
    """The median over turns of their median time in terms of ours; and all their times, ns."""
    ours()
    theirs()  # both warm
    found: list[tuple[Times, Times]] = []
    end = time.perf_counter() + plan.seconds
    while len(found) < 5 or time.perf_counter() < end:
        found.append((ours(), theirs()))
    ratio = float(np.median([np.median(their) / np.median(our) for our, their in found]))
    return ratio, np.concatenate([their for _, their in found])
