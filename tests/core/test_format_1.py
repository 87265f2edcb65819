"""Model files of edge-lstm 0.1 (format 1): the same timing, digest, bits and snapshots, and saved again as format 2.

`tests/vectors/models_0_1` was written by 0.1 itself: a model of each timing, of both engines, quantized, with feedback;
beside each its outputs for a log, its digest and a snapshot after it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.core.axes import GraphAxes, InputAxes, OutputAxes
from edge_lstm.core.storage import FORMAT
from edge_lstm.core.timing import Timing
from edge_lstm.importers.onnx.fallback.build import _meaning

FOLDER = Path(__file__).parents[1] / "vectors" / "models_0_1"
ONNX = ("onnx_log.npz", "onnx_seq.npz", "onnx_step.npz", "onnx_window.npz")
NAMES = sorted(p.name.removesuffix(".npz") for p in FOLDER.glob("*.npz") if ".expected" not in p.name)


def header(path: Path) -> dict[str, object]:
    """The JSON in a model file."""
    with np.load(path) as archive:
        found: dict[str, object] = json.loads(archive["edge_lstm.json"].tobytes())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_0_1_runs_to_the_same_bits(name: str, tmp_path: Path) -> None:
    """Loaded, it has the digest of then; its log gives the bytes of then, from the beginning and from a snapshot of
    then (ONNX Runtime, another release of which may round otherwise, to 1e-6); saved, it is format 2 and the same."""
    path = FOLDER / f"{name}.npz"
    assert header(path)["format"] == 1
    model = edge_lstm.load(path)
    with np.load(FOLDER / f"{name}.expected.npz") as then:
        xs, ys, snapshot, digest = then["xs"], then["ys"], then["snapshot"].tobytes(), str(then["digest"])
        window, ready, every, before, first, whole_log, late = json.loads(str(then["meaning"]))
    edge_lstm.save(model, tmp_path / "again.npz")
    again = edge_lstm.load(tmp_path / "again.npz")
    assert header(tmp_path / "again.npz")["format"] == FORMAT == 2
    for each in (model, again):
        timing = each.timing
        assert each.digest == digest
        assert (timing.first_output, timing.stride, timing.before_window, timing.delay) == (first, every, before, late)
        assert (timing.mode == "log") == whole_log
        assert (timing.window if timing.mode == "window" else None) == window
        assert timing.mode == "window" or timing.first_output == ready
        stream = each.stream()
        got = stream.run(xs)
        if each.program.onnx is None:
            assert got.tobytes() == ys.tobytes()
            assert stream.snapshot() == snapshot
        else:
            assert np.allclose(got, ys, atol=1e-6, equal_nan=True)
        other = each.stream()
        other.restore(snapshot if each.program.onnx is None else stream.snapshot())
        if not whole_log:
            assert other.run(xs[:5]).tobytes() == stream.run(xs[:5]).tobytes()
    assert again.timing == model.timing
    imported = name not in ("continuous", "window", "window_zeros", "seldom", "int8", "feedback")
    assert (model.timing.axes is not None) == imported


def test_every_timing_is_among_them() -> None:
    """Each mode, with stride, zeros, and both engines."""
    models = [edge_lstm.load(FOLDER / f"{name}.npz") for name in NAMES]
    assert {m.timing.mode for m in models} == {"continuous", "window", "whole window", "log"}
    assert any(m.timing.stride > 1 for m in models)
    assert {m.program.onnx is None for m in models} == {True, False}
    assert any(m.timing.before_window == "zeros" for m in models)


@pytest.mark.parametrize("words", [{"graph": "g.onnx"}, {"graph": {"inputs": 3}}, {"late": "yesterday"}, {"late": -1}])
def test_what_people_wrote_into_the_provenance_of_0_1_stops_no_model(words: dict[str, object], tmp_path: Path) -> None:
    """There it was in no digest and checked by nobody; what cannot be the import's own words is left out."""
    with np.load(FOLDER / "continuous.npz") as archive:
        entries = dict(archive)
    found = header(FOLDER / "continuous.npz") | {"provenance": words}
    entries["edge_lstm.json"] = np.frombuffer(json.dumps(found).encode(), np.uint8)
    np.savez(tmp_path / "m.npz", **entries)  # type: ignore[arg-type]
    model = edge_lstm.load(tmp_path / "m.npz")
    assert (model.timing, model.provenance) == (edge_lstm.Timing(), words)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm_seq_legacy11", {"mode": "log"}),
        ("gru_seq_legacy11", {}),
        ("lstm_step_legacy11", {}),
        ("lstm_window_legacy15", {}),
    ],
)
def test_a_graph_imported_again_is_the_model_that_0_1_made_of_it(name: str, options: dict[str, str]) -> None:
    """The digest is over what the model says of its graph, to the letter: recordings and snapshots of 0.1 know it."""
    made = next(m for m in map(edge_lstm.load, map(FOLDER.joinpath, ONNX)) if m.name == name)
    again = edge_lstm.import_onnx(FOLDER.parent / "onnx" / f"{name}.onnx", engine="onnxruntime", **options)
    assert again.program.onnx.attributes == made.program.onnx.attributes


def test_what_a_model_says_of_its_graph_is_as_0_1_wrote_it() -> None:
    """Whole logs: where each row along time belongs, in full; elsewhere: with which reading the first one comes, where
    there is a rate."""
    axes = GraphAxes({"x": InputAxes(1)}, {"y": OutputAxes(2, None, 1, 3), "h": OutputAxes(None, 0)})
    shown = {mode: json.loads(_meaning(axes, Timing(mode))) for mode in ("continuous", "log")}
    assert shown["continuous"]["outputs"]["y"] == {"time": 2, "batch": None, "first": 1}
    assert shown["log"]["outputs"]["y"] == {"time": 2, "batch": None, "first": 1, "every": 3}
    assert shown["log"]["outputs"]["h"] == shown["continuous"]["outputs"]["h"] == {"time": None, "batch": 0}
