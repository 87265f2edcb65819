"""Graphs in the idioms of tf2onnx and keras2onnx: equal to ONNX Runtime, or refused by name where that is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.model import Model
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.graphs import keras2onnx_graphs, tf2onnx_graphs  # noqa: F401  importing them fills IDIOMS
from tests.support.graphs.keras_graphs import IDIOMS, F, Idiom, Keras
from tests.support.graphs.onnx_files import Array, onnxruntime_run

XS = np.random.default_rng(8).normal(0, 1, (19, F)).astype(np.float32)
RUN = sorted(name for name, idiom in IDIOMS.items() if not idiom.refused)
REFUSED = sorted(set(IDIOMS) - set(RUN))


def runtime(path: Path, rows: Array, idiom: Idiom) -> Array:
    """ONNX Runtime's outputs side by side: of every reading (T, n), or of the last one (1, n)."""
    outputs = onnxruntime_run(path, {"x": rows[None]})
    return np.concatenate([y[0] if idiom.sequence else y for y in outputs], axis=-1)


def expected(path: Path, idiom: Idiom) -> tuple[Array, Array]:
    """Which readings have an output, and what it is."""
    if idiom.window is not None:
        steps = np.arange(idiom.window - 1, len(XS))
        parts = (onnxruntime_run(path, {"x": XS[None, t + 1 - idiom.window : t + 1]}) for t in steps)
        if idiom.two_ways:
            return steps, np.array([np.concatenate([y.reshape(-1) for y in part]) for part in parts])
        return steps, np.array([part[0].reshape(-1, part[0].shape[-1])[-1] for part in parts])
    if idiom.sequence:
        return np.arange(len(XS)), runtime(path, XS, idiom)
    return np.arange(len(XS)), np.array([runtime(path, XS[: t + 1], idiom)[-1] for t in range(len(XS))])


@pytest.mark.parametrize("name", [name for name in RUN if "step_with_states" not in name])
def test_an_idiom_equals_onnxruntime(tmp_path: Path, name: str) -> None:
    """At every reading, in the meaning in time that the graph has: within 1e-5 of the output's range."""
    idiom = IDIOMS[name]
    path = idiom.build().save(tmp_path / "m.onnx")
    model: Model = import_onnx(path, engine="native")
    assert model.provenance["window"] == idiom.window
    ours = model.stream().run(XS)
    steps, theirs = expected(path, idiom)
    assert np.isnan(ours[: steps[0]]).all()
    assert np.abs(ours[steps] - theirs).max() <= 1e-5 * np.ptp(theirs)


def test_a_step_with_states_equals_onnxruntime(tmp_path: Path) -> None:
    """keras2onnx' decoder step: paired by proof, carried over 19 readings."""
    path = IDIOMS["keras2onnx_step_with_states_in_two_dimensions"].build().save(tmp_path / "m.onnx")
    model = import_onnx(path)
    assert set(model.provenance["states"]) == {"state_h", "state_c"}
    stream = model.stream()
    h = c = np.zeros((1, 4), np.float32)
    for x in XS:
        y, h, c = onnxruntime_run(path, {"x": x[None, None], "state_h": h, "state_c": c})
        ours = stream.step(x)
        assert ours is not None
        assert np.allclose(ours, y[0], atol=2e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """The sentence names the node and what stands in the way."""
    idiom = IDIOMS[name]
    with pytest.raises(ImportModelError, match=idiom.refused):
        import_onnx(idiom.build().save(tmp_path / "m.onnx"), engine="native")


def test_reverse_sequence_leaves_what_is_beyond_its_length(tmp_path: Path) -> None:
    """Batch first, and shorter than the axis: only the first four of six places are reversed, within one reading."""
    k = Keras(batch=1)
    y = k.add("ReverseSequence", ["x", k.i64(4)], batch_axis=0, time_axis=1)
    k.output(k.layer("LSTM", k.time_first(y))[1], "y")
    path = k.save(tmp_path / "m.onnx")
    model = import_onnx(path, "window")
    theirs = onnxruntime_run(path, {"x": XS[None, :6]})[0]
    assert np.allclose(model.stream().run(XS[:6])[-1], theirs.reshape(-1), atol=2e-6)


def test_there_are_enough_of_them() -> None:
    """At least fifteen different graphs run, of both converters."""
    assert len([n for n in RUN if n.startswith("tf2onnx")]) >= 12
    assert len([n for n in RUN if n.startswith("keras2onnx")]) >= 7
