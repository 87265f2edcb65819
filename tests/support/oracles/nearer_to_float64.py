"""Which of two runtimes is nearer to the same program computed in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lstm.analysis.verify import Readings, oracle, outputs, runs
from edge_lstm.core.model import Model
from edge_lstm.engines.onnxruntime.graph import OnnxGraph, open_session
from tests.support.oracles.reference import run_model

FACTOR = 3  # how much further than ONNX Runtime from float64 is a fault: rounding itself is luck


def from_exact(model: Model, path: Path) -> tuple[float, float]:
    """How far the machine and ONNX Runtime are from float64, relative to the range of the number that is furthest, over
    the runs of a short `verify`."""
    graph = OnnxGraph(open_session(path), model.timing.axes)
    worst = []
    for _, drawn in runs(Readings(model, graph, np.random.default_rng(0)), short=True):
        rows = drawn.astype(np.float32)
        steps, theirs = oracle(model, graph, rows)
        exact = run_model(model, rows)[steps]
        extent = np.maximum(np.ptp(exact, axis=0), 1e-30)
        worst.append([float((np.abs(y - exact) / extent).max()) for y in (outputs(model, rows)[steps], theirs)])
    ours, others = np.max(worst, axis=0)
    return float(ours), float(others)
