"""Random recurrent graphs against ONNX Runtime; tests/long/test_random_graphs.py runs many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.importers import import_onnx
from tests.support.graphs.random_graphs import RandomGraph


@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph_equals_onnxruntime(tmp_path: Path, seed: int) -> None:
    """Layers, attributes, heads, axes, operator sets: within 1e-5 of the output's range."""
    graph = RandomGraph(tmp_path, seed)
    model = import_onnx(graph.path)
    assert model.timing.window == graph.window
    report = verify(model, graph.path, short=True)
    assert report.ok, (graph.story, report)
