"""Looking ahead in a continuous stream: outputs come late, by as many readings as the graph looks ahead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.graphs.onnx_files import node, save
from tests.support.graphs.stacks import Stack, agrees, runtime
from tests.support.oracles.reference import run_model

XS = np.random.default_rng(7).normal(0, 1, (48, 3)).astype(np.float32)
LENGTHS = [9, 10, 11, 14, 23, 30, 47, 48]

# name -> layers, how many readings late, readings from one output to the next
AHEAD: dict[str, tuple[Callable[[Stack], Stack], int, int]] = {
    "one_symmetric": (lambda s: s.conv(3, (1, 1)).recurrent("LSTM"), 1, 1),
    "two_symmetric": (lambda s: s.conv(5, (2, 2)).add("Relu").conv(3, (1, 1)).recurrent("GRU"), 3, 1),
    "dilated": (lambda s: s.conv(3, (3, 3), dilation=3).recurrent("LSTM"), 3, 1),
    "all_ahead": (lambda s: s.conv(3, (0, 2)).recurrent("RNN"), 2, 1),
    "behind_a_recurrent_layer": (lambda s: s.recurrent("LSTM").conv(3, (1, 1)), 1, 1),
    "on_both_sides": (lambda s: s.conv(3, (1, 1)).recurrent("LSTM").conv(5, (2, 2)).recurrent("GRU"), 3, 1),
    "symmetric_after_causal": (lambda s: s.conv(3, (2, 0)).conv(3, (1, 1)).recurrent("LSTM"), 1, 1),
    "causal_after_symmetric": (lambda s: s.conv(3, (1, 1)).conv(3, (2, 0)).recurrent("LSTM"), 1, 1),
    "pooling": (lambda s: s.pool("MaxPool", 3, 1, (1, 1)).recurrent("LSTM"), 1, 1),
    "cropped_again": (lambda s: s.conv(5, (2, 2)).every(1, 1, -1).recurrent("LSTM"), 1, 1),
    "with_a_stride": (lambda s: s.conv(5, (2, 2), stride=2).recurrent("LSTM"), 2, 2),
    "after_a_stride": (lambda s: s.conv(2, stride=2).conv(3, (1, 1)).recurrent("LSTM"), 2, 2),
}


@pytest.mark.parametrize("name", AHEAD)
def test_outputs_come_late_and_equal(tmp_path: Path, name: str) -> None:
    """Output k comes exactly so many readings after reading k, equal to ONNX Runtime's over logs of every length, with
    the padding that the graph has at the start; the last ones need more readings."""
    make, late, every = AHEAD[name]
    path = make(Stack(1)).save(tmp_path / "m.onnx")
    model = import_onnx(path, engine="native")
    assert (model.timing.delay, model.timing.stride) == (late, every)
    assert agrees(model, path, XS, LENGTHS) > 40
    assert np.allclose(model.stream().run(XS), run_model(model, XS), atol=1e-5, equal_nan=True)
    assert verify(model, path, short=True).ok
    if every == 1 and name != "cropped_again":
        assert model.timing.first_output == 1 + late
        assert np.isnan(model.stream().run(XS)[:late]).all()
        assert np.allclose(model.stream().run(XS)[late:], runtime(path, XS)[: len(XS) - late], atol=3e-6)


def test_a_skip_connection_waits_for_the_convolution(tmp_path: Path) -> None:
    """x + Conv(x): both belong to the same reading, so x is held back until the convolution has come."""
    stack = Stack(2).recurrent("LSTM", units=4)
    straight = stack.top
    path = stack.conv(5, (2, 2)).add("Add", straight).recurrent("GRU").save(tmp_path / "m.onnx")
    model = import_onnx(path, engine="native")
    assert model.timing.delay == 2
    assert agrees(model, path, XS, LENGTHS) > 40


def test_a_normalization_of_what_is_late(tmp_path: Path) -> None:
    """Softmax and a dense layer over the features of one reading, behind a convolution that looks ahead."""
    stack = Stack(3).conv(3, (1, 1)).recurrent("LSTM").add("Transpose", perm=[0, 2, 1])
    stack.add("MatMul", stack.draw(4, 2)).add("Softmax", axis=2).add("Transpose", perm=[0, 2, 1])
    path = stack.save(tmp_path / "m.onnx")
    assert agrees(import_onnx(path, engine="native"), path, XS, LENGTHS) > 40


def test_the_end_of_the_sequence_is_not_there_in_a_stream(tmp_path: Path) -> None:
    """The last state has seen padding behind the last reading: refused by name, with the way out, which works."""
    path = Stack(4).conv(3, (1, 1)).recurrent("LSTM", final=True).save(tmp_path / "m.onnx")
    with pytest.raises(ImportModelError, match=r"a continuous stream has no end\. Use mode='window'"):
        import_onnx(path, engine="native")
    model = import_onnx(path, "window", window=7, engine="native")
    ours = model.stream().run(XS)
    assert np.isnan(ours[:6]).all()
    for t in range(7, 30):
        assert np.allclose(ours[t - 1], runtime(path, XS[t - 7 : t])[0], atol=2e-6), t


def test_a_mean_that_sees_the_end_is_refused(tmp_path: Path) -> None:
    """The mean over time of what looks ahead holds places that are padded behind."""
    path = Stack(4).conv(3, (1, 1)).recurrent("LSTM").add("ReduceMean", axes=[2], keepdims=0).save(tmp_path / "m.onnx")
    with pytest.raises(ImportModelError, match="a continuous stream has no end"):
        import_onnx(path, engine="native")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda s: s.add("ConvTranspose", s.draw(3, 4, 2), strides=[2]), "it must be the newest one"),
        (lambda s: s.recurrent("LSTM").every(1, 0, 5), "it must be the newest one"),
        (lambda s: s.conv(3, (2, 0)).every(1, 0, -1).recurrent("LSTM"), "its sequence axis of"),
        (lambda s: s.every(-1, -1, -(1 << 40)).recurrent("GRU"), "its sequence axis of"),
        (lambda s: s.recurrent("GRU").add("Softmax", axis=2), "Softmax.*how long the open dimension is"),
        (lambda s: s.conv(1, stride=100).recurrent("GRU"), "more than 64 are not supported"),
    ],
)
def test_what_no_stream_can_do_is_refused(tmp_path: Path, make: Callable[[Stack], Stack], sentence: str) -> None:
    """Two outputs a reading, the first five only, all but the newest, backwards, over all readings, 1 in 100."""
    with pytest.raises(ImportModelError, match=sentence):
        import_onnx(make(Stack(3)).save(tmp_path / "m.onnx"), engine="native")


def test_reflected_edges_are_refused(tmp_path: Path) -> None:
    """Pad(mode="reflect") needs the second reading in front of the first: not constant, so refused by name."""
    stack = Stack(5)
    stack.add("Pad", stack.fixed(np.array([0, 0, 1, 0, 0, 1])), mode="reflect").conv(3).recurrent("LSTM")
    with pytest.raises(ImportModelError, match=r"Conv.*not alike at each"):
        import_onnx(stack.save(tmp_path / "m.onnx"), engine="native")


def test_two_outputs_one_late(tmp_path: Path) -> None:
    """Both begin when the later one does, and each is its own place of the graph's output."""
    stack = Stack(6).recurrent("LSTM")
    soon, later = stack.top, stack.conv(5, (2, 2)).top
    nodes = [*stack.nodes, node("Identity", [soon], ["soon"]), node("Identity", [later], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, stack.constants, {"x": [1, "T", 3]}, {"soon": None, "y": None})
    model = import_onnx(path, engine="native")
    assert (model.timing.first_output, model.timing.stride, model.timing.delay) == (3, 1, 2)
    assert verify(model, path, short=True).ok


def test_inspect_says_how_late(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`import` and `inspect` say it in words."""
    path, out = Stack(1).conv(5, (2, 2)).recurrent("LSTM").save(tmp_path / "m.onnx"), tmp_path / "m.npz"
    assert main(["import", str(path), "-o", str(out)]) == 0
    assert "outputs are 2 readings late" in " ".join(capsys.readouterr().out.split())
    assert main(["inspect", str(out), "--json"]) == 0
    assert "outputs are 2 readings late" in json.loads(capsys.readouterr().out)["time"]
