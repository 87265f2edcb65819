"""Before the first full window: no output, or the output for zeros in place of the readings before the first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.errors import ImportModelError, ModelFileError
from edge_lstm.importers import from_arrays, import_onnx
from tests.support.drawing import generator
from tests.support.graphs.heads import i64
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run, save

T = 6
XS = np.random.default_rng(5).normal(0, 1, (15, 3)).astype(np.float32)
FORMS = ("forward", "bidirectional", "convolution")


def window_file(path: Path, form: str) -> Path:
    """x [1, 6, 3] → a layer → y [1, 2]: of forward recurrence, or one that needs the whole window."""

    def draw(*shape: int) -> Array:
        return generator().normal(0, 0.6, shape).astype(np.float32)

    d = 2 if form == "bidirectional" else 1
    front = [node("Transpose", ["x"], ["xt"], perm=[1, 0, 2])]
    if form == "convolution":
        front = [node("Transpose", ["x"], ["xc"], perm=[0, 2, 1]), node("Conv", ["xc", "K"], ["c"], pads=[1, 1])]
        front += [node("Transpose", ["c"], ["xt"], perm=[2, 0, 1])]
    nodes = [
        *front,
        node("LSTM", ["xt", "W", "R", "B"], ["Y"], hidden_size=4, direction="forward" if d == 1 else form),
        node("Gather", ["Y", "last"], ["h"], axis=0), node("Reshape", ["h", "flat"], ["f"]),
        node("MatMul", ["f", "M"], ["y"]),
    ]  # fmt: skip
    constants = {"W": draw(d, 16, 3), "R": draw(d, 16, 4), "B": draw(d, 32), "M": draw(4 * d, 2), "K": draw(3, 3, 3)}
    constants |= {"last": i64(-1)[0], "flat": i64(1, -1)}
    used = {name for n in nodes for name in n.input}
    return save(path, nodes, {k: v for k, v in constants.items() if k in used}, {"x": [1, T, 3]}, {"y": [1, 2]})


@pytest.mark.parametrize("form", FORMS)
def test_zeros_stand_in_for_the_readings_before_the_first(tmp_path: Path, form: str) -> None:
    """From the first reading on each output is ONNX Runtime's for the last T readings with zeros in front, and has the
    bits of a waiting stream that was fed those zeros, in steps and in a run, after a reset, a snapshot and a file."""
    path = window_file(tmp_path / "m.onnx", form)
    wait, zeros = import_onnx(path), import_onnx(path, before_window="zeros")
    assert (wait.timing.first_output, zeros.timing.first_output) == (T, 1)
    assert wait.digest != zeros.digest
    padded = np.concatenate([np.zeros((T - 1, 3), np.float32), XS])
    stream = zeros.stream()
    ours = stream.run(XS)
    assert np.isnan(wait.stream().run(XS)[: T - 1]).all()
    assert np.array_equal(ours, wait.stream().run(padded)[T - 1 :])
    for t in range(len(XS)):
        expected = onnxruntime_run(path, {"x": padded[None, t : t + T]})[0]
        assert np.allclose(ours[t], expected[0], atol=2e-6), t
    stream.reset()
    for t, x in enumerate(XS):
        if t == 3:
            other = zeros.stream()
            other.restore(stream.snapshot())
            stream = other
        y = stream.step(x)
        assert y is not None
        assert np.array_equal(y, ours[t])
    edge_lstm.save(zeros, tmp_path / "m.npz")
    loaded = edge_lstm.load(tmp_path / "m.npz")
    assert (loaded.timing.before_window, loaded.digest) == ("zeros", zeros.digest)
    assert np.array_equal(loaded.stream().run(XS), ours)
    assert verify(loaded, path, short=True).ok


@pytest.mark.parametrize("form", FORMS)
def test_zeros_are_the_networks_whatever_the_scaling_of_the_channels(tmp_path: Path, form: str) -> None:
    """A channel's zero in physical units is its offset: the network sees 0, exactly."""
    plain = import_onnx(window_file(tmp_path / "m.onnx", form), before_window="zeros")
    scaled = replace(plain, inputs=tuple(Channel(f"c{k}", "", 4.0, 16.0) for k in range(3)))
    assert np.array_equal(scaled.stream().run(XS * 4 + 16), plain.stream().run((XS * 4 + 16 - 16) / 4))


def lstm_arrays() -> dict[str, Array]:
    names = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    return {f"lstm.{k}": generator().normal(0, 0.5, shape).astype(np.float32) for k, shape in names.items()}


def test_arrays_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--before-window zeros is in the file, `inspect` says it, and a replayed log has an output in its first row."""
    np.savez(tmp_path / "w.npz", **lstm_arrays())  # type: ignore[arg-type]
    model = tmp_path / "m.npz"
    words = ["import", str(tmp_path / "w.npz"), "-o", str(model), "--channels", "a,b,c"]
    assert main([*words, "--window", "4", "--before-window", "zeros"]) == 0
    assert "the network's inputs are zero in their place" in " ".join(capsys.readouterr().out.split())
    assert main(["inspect", str(model), "--json"]) == 0
    assert "zero in their place" in json.loads(capsys.readouterr().out)["time"]
    rows = [f"{k * 0.01:.2f},{a},{b},{c}" for k, (a, b, c) in enumerate(XS)]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["t,a,b,c", *rows]))
    out = tmp_path / "out.csv"
    assert main(["replay", str(log), "--model", str(model), "-o", str(out)]) == 0
    capsys.readouterr()
    table = np.genfromtxt(out, delimiter=",", names=True)
    expected = edge_lstm.load(model).stream().run(XS)
    found = np.array([list(row)[4 : 4 + expected.shape[1]] for row in table])
    assert np.allclose(found, expected, rtol=1e-6)
    assert main([*words, "--before-window", "zeros"]) == 2
    assert "has no meaning without window=T" in capsys.readouterr().err


def test_what_has_no_window_has_nothing_before_it(tmp_path: Path) -> None:
    """In a continuous stream the choice is refused, and so is one that nobody knows."""
    with pytest.raises(ImportModelError, match="has no meaning without window=T"):
        from_arrays(lstm_arrays(), before_window="zeros")
    with pytest.raises(ImportModelError, match="has no meaning: asked for"):
        import_onnx(window_file(tmp_path / "m.onnx", "forward"), "continuous", before_window="zeros")
    with pytest.raises(ImportModelError, match="known are wait, zeros"):
        import_onnx(tmp_path / "m.onnx", before_window="ones")  # type: ignore[arg-type]
    model: Model = from_arrays(lstm_arrays(), window=3)
    with pytest.raises(ModelFileError, match="must be one of"):
        replace(model.timing, before_window="ones")  # type: ignore[arg-type]
