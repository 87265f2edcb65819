"""Other people's models; skipped where they are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_lstm.importers import import_onnx
from tests.support.graphs.onnx_files import arrays, difference
from tests.support.oracles.reference import run_model

MODELS = Path(__file__).resolve().parents[4] / "shared" / "real" / "models"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the collection of real models is not here")


@pytest.mark.parametrize(
    "kind", ["step_legacy_op11", "step_legacy_op17", "step_dynamo_op18", "step_dynamo_op20", "direct"]
)
def test_the_anymal_actuator_step_by_step(kind: str) -> None:
    """The actuator network's step form, from both exporters, follows PyTorch over 400 readings of 12 joints."""
    file = next(MODELS.glob(f"anydrive_{kind}*.onnx"))
    model, truth = import_onnx(file), arrays(MODELS / "anydrive_reference.npz")
    assert model.timing.window is None
    for joint in range(12):
        y = np.asarray(model.stream().run(truth["x"][:, joint]))
        assert np.abs(y[:, 0] - truth["y"][:, joint]).max() < 1e-4


@pytest.mark.parametrize("kind", ["seq_legacy_op11", "seq_legacy_op17"])
def test_the_anymal_actuator_as_an_open_sequence(kind: str) -> None:
    """The whole-sequence form with an open length runs continuously and gives the same forces."""
    model, truth = import_onnx(MODELS / f"anydrive_{kind}.onnx"), arrays(MODELS / "anydrive_reference.npz")
    assert model.timing.window is None
    for joint in (0, 11):
        y = run_model(model, truth["x"][:, joint])
        assert np.abs(y - truth["y_seq"][joint]).max() < 1e-4


@pytest.mark.parametrize("kind", ["static", "dynbatch"])
def test_the_anymal_actuator_with_a_baked_in_length(kind: str) -> None:
    """A baked-in length of 50 is a window by default, and continuous when asked for."""
    file = MODELS / f"anydrive_seq_T50_{kind}_dynamo_op18.onnx"
    truth = arrays(MODELS / "anydrive_reference.npz")
    windowed, endless = import_onnx(file), import_onnx(file, mode="continuous")
    assert (windowed.timing.window, endless.timing.window) == (50, None)
    y = np.asarray(windowed.stream().run(truth["x"][:50, 3]))
    assert np.abs(y[49] - truth["y_seq"][3, 49]).max() < 1e-4
    assert np.abs(run_model(endless, truth["x"][:, 3]) - truth["y_seq"][3]).max() < 1e-4


def test_the_pose_classifier() -> None:
    """A GRU classifier with batch normalization and softmax after the last step."""
    model, truth = import_onnx(MODELS / "pose_gru.onnx"), arrays(MODELS / "pose_gru_ref.npz")
    for x, y in zip(truth["in_input"], truth["out_0"], strict=True):
        assert difference(run_model(model, x)[-1], y) < 1e-5


def test_the_seismic_classifier_from_keras() -> None:
    """A Keras model through tf2onnx, with its windows of 18 readings."""
    model, truth = (
        import_onnx(MODELS / "seismic_lstm_tf2onnx.onnx"),
        arrays(MODELS / "seismic_lstm_tf2onnx_ref.npz"),
    )
    assert model.timing.window == 18
    for x, y in zip(truth["in_input_1"], truth["out_0"], strict=True):
        assert difference(np.asarray(model.stream().run(x))[-1], y) < 1e-5
