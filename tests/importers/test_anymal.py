"""The ANYmal actuator network: one model, twelve joints, as its robot uses it; skipped where the files are not
there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edge_lstm

MODELS = Path(__file__).resolve().parents[3] / "shared" / "real" / "models"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the collection of real models is not here")
FORMS = ("step_legacy_op11", "step_legacy_op17", "step_dynamo_op18", "step_dynamo_op20", "seq_legacy_op17")


@pytest.fixture(scope="module")
def truth():
    """PyTorch's readings, forces and states."""
    with np.load(MODELS / "anydrive_reference.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize("form", FORMS)
def test_twelve_streams_of_one_model_follow_pytorch(form, truth):
    """Twelve joints stepping together stay within 1e-4 of PyTorch's forces (of ±40 N m) over 400 steps, from every
    export, and have the bits of twelve separate streams, stepped or run."""
    model = edge_lstm.import_onnx(MODELS / f"anydrive_{form}.onnx")
    expected = truth["y"] if form.startswith("step") else truth["y_seq"][:, :, 0].T
    together, alone = model.streams(12), [model.stream() for _ in range(12)]
    forces = np.array([together.step(x).copy() for x in truth["x"]])
    assert np.abs(forces[:, :, 0] - expected).max() < 1e-4
    assert np.abs(expected).max() > 20
    for joint, stream in enumerate(alone):
        log = truth["x"][:, joint]
        stepped = b"".join(stream.step(x).tobytes() for x in log[:250]) + stream.run(log[250:]).tobytes()
        assert stepped == forces[:, joint].tobytes() == model.stream().run(log).tobytes()


def test_the_memory_is_pytorch_s_too(truth):
    """After 400 readings h and c of both layers are PyTorch's within 1e-5, read by name."""
    model = edge_lstm.import_onnx(MODELS / "anydrive_step_legacy_op17.onnx")
    streams = model.streams(12)
    streams.run([truth["x"][:, joint] for joint in range(12)])
    for joint in range(12):
        for layer in (0, 1):
            for kind in ("h", "c"):
                got = streams.state[f"lstm_{layer}.{kind}"][joint]
                np.testing.assert_allclose(got, truth[kind][-1, layer, joint], atol=1e-5)
