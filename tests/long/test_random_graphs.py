"""Many random recurrent graphs against ONNX Runtime; `tests/importers/onnx/test_random.py` tries the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.errors import EdgeLstmError
from edge_lstm.importers import import_onnx
from tests.support.graphs.random_graphs import RandomGraph
from tests.support.oracles.nearer_to_float64 import FACTOR, from_exact

pytestmark = pytest.mark.long


def problem(graph: RandomGraph) -> str:
    """What is wrong with our reading of a graph, as a sentence; empty where nothing is."""
    try:
        model = import_onnx(graph.path, engine="machine")
        report = verify(model, graph.path, short=True)
    except EdgeLstmError as error:
        return f"refused: {error}"
    if report.ok:
        return ""
    ours, theirs = from_exact(model, graph.path)
    off = f"off by {report.error:.1e}; from float64: {ours:.1e}, ONNX Runtime {theirs:.1e}"
    return off if ours > FACTOR * theirs else ""


@pytest.mark.seeds(1500, 50)
def test_random_graphs_equal_onnxruntime(tmp_path: Path, seeds: range) -> None:
    """None is refused, and none is further off than 1e-5 of the output's range, unless ONNX Runtime is not nearer to
    the same program computed in float64: then the fault is not ours."""
    failed = []
    for seed in seeds:
        graph = RandomGraph(tmp_path, seed)
        if found := problem(graph):
            failed.append(f"seed {seed}: {found}\n  {graph.story}")
        graph.path.unlink()
    assert not failed, "\n".join(failed)
