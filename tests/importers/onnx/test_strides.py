"""Strides over time in a continuous stream: an output every n readings, and nothing advances in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.cli.report import run_lines
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from edge_lstm.robot.loop import Summary
from tests.support.graphs.onnx_files import node, onnxruntime_run, save
from tests.support.graphs.stacks import Stack, agrees, random_lengths, random_stack, runtime
from tests.support.oracles.reference import run_model

XS = np.random.default_rng(7).normal(0, 1, (61, 3)).astype(np.float32)
LENGTHS = [12, 13, 14, 15, 17, 20, 23, 37, 60, 61]

# name -> layers, the first reading with an output, readings from one output to the next
STRIDES: dict[str, tuple[Callable[[Stack], Stack], int, int]] = {
    "conv_without_padding": (lambda s: s.conv(2, stride=2).recurrent("LSTM"), 2, 2),
    "causal_conv": (lambda s: s.conv(3, (2, 0), stride=3).recurrent("GRU"), 1, 3),
    "conv_then_pool": (lambda s: s.conv(3, (2, 0)).pool("MaxPool", 2, 2).recurrent("LSTM"), 2, 2),
    "average_pool": (lambda s: s.pool("AveragePool", 3, 3).recurrent("RNN"), 3, 3),
    "stride_wider_than_the_kernel": (lambda s: s.conv(1, stride=4).recurrent("LSTM"), 1, 4),
    "slice": (lambda s: s.every(2, 1).recurrent("LSTM"), 2, 2),
    "two_strides": (lambda s: s.conv(3, (2, 0), stride=2).conv(3, (2, 0), stride=2).recurrent("LSTM"), 1, 4),
    "two_strides_and_a_dilation": (
        lambda s: s.conv(2, stride=2).conv(3, (4, 0), dilation=2).conv(2, stride=3).recurrent("GRU"), 4, 6,
    ),
    "two_recurrent_layers": (lambda s: s.conv(2, stride=2).recurrent("LSTM").recurrent("GRU"), 2, 2),
    "a_stride_between_recurrent_layers": (
        lambda s: s.recurrent("LSTM").pool("MaxPool", 2, 2).recurrent("RNN").conv(2, (1, 0)), 2, 2,
    ),
    "a_convolution_behind": (lambda s: s.conv(2, stride=2).recurrent("LSTM").conv(3, (2, 0)), 2, 2),
    "a_stride_behind": (lambda s: s.conv(2, stride=2).recurrent("LSTM").conv(3, stride=2), 6, 4),
    "wide_kernels": (lambda s: s.conv(9, stride=4).conv(5, (4, 0), stride=2).recurrent("LSTM"), 9, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", STRIDES)
def test_an_output_every_n_readings(tmp_path: Path, name: str) -> None:
    """`step` gives an output exactly when the graph has a new one, equal to ONNX Runtime's over logs of every length;
    the naive twin of the interpreter agrees."""
    make, first, every = STRIDES[name]
    path = make(Stack(1)).save(tmp_path / "m.onnx")
    model = import_onnx(path, engine="native")
    assert (model.timing.first_output, model.timing.stride, model.timing.window) == (first, every, None)
    assert agrees(model, path, XS, LENGTHS) > 20
    assert np.allclose(model.stream().run(XS), run_model(model, XS), atol=1e-5, equal_nan=True)
    assert verify(model, path, short=True).ok


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_the_last_state_alone(tmp_path: Path, op: str) -> None:
    """A graph that shows only its last state: at each output, what the graph gives for all readings so far."""
    path = Stack(2).conv(3, (2, 0), stride=2).pool("MaxPool", 2, 2).recurrent(op, final=True).save(tmp_path / "m.onnx")
    model = import_onnx(path, engine="native")
    assert (model.timing.first_output, model.timing.stride) == (3, 4)
    ours = model.stream().run(XS)
    for t in range(3, len(XS) + 1):
        expected = runtime(path, XS[:t])[0]
        if (t - 3) % 4:
            assert np.isnan(ours[t - 1]).all()
        else:
            assert np.allclose(ours[t - 1], expected, atol=2e-6), t
    assert verify(model, path, short=True).ok


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_an_accumulator_behind_a_stride(tmp_path: Path, op: str) -> None:
    """The mean and the largest over time count only what the stride lets through."""
    stack = Stack(3).conv(2, stride=2).recurrent("LSTM").add(op, axes=[2], keepdims=0)
    path = stack.save(tmp_path / "m.onnx")
    model = import_onnx(path, engine="native")
    assert (model.timing.first_output, model.timing.stride) == (2, 2)
    ours = model.stream().run(XS)
    for t in range(2, 61, 2):
        assert np.allclose(ours[t - 1], runtime(path, XS[:t])[0], atol=2e-6), t


def test_states_rest_between_the_readings_of_a_stride(tmp_path: Path) -> None:
    """The layer behind the stride keeps its state, bit by bit, until the next reading that reaches it."""
    model = import_onnx(Stack(1).conv(3, (2, 0), stride=3).recurrent("LSTM").save(tmp_path / "m.onnx"))
    stream = model.stream()
    before = None
    for t, x in enumerate(XS):
        spoke = stream.step(x) is not None
        now = stream.state["lstm_0.h"]
        assert spoke == (t % 3 == 0)
        if before is not None:
            assert np.array_equal(before, now) != spoke
        before = now


def test_windows_whose_last_reading_a_stride_lets_through(tmp_path: Path) -> None:
    """mode="window": staggered copies, each with a phase of its own; where the stride ends before the window does, the
    whole window is computed anew."""
    path = Stack(4).conv(2, stride=2).recurrent("LSTM", final=True).save(tmp_path / "m.onnx")
    for window, mode in ((6, "window"), (7, "whole window")):
        model = import_onnx(path, "window", window=window, engine="native")
        assert (model.timing.window, model.timing.mode) == (window, mode)
        ours = model.stream().run(XS)
        for t in range(window, 30):
            assert np.allclose(ours[t - 1], runtime(path, XS[t - window : t])[0], atol=2e-6), t


def test_file_reset_and_snapshot_keep_the_phase(tmp_path: Path) -> None:
    """Saved and loaded, snapshot and restore, reset: the same bits; `inspect` says how often an output comes."""
    path = STRIDES["two_strides"][0](Stack(5)).save(tmp_path / "m.onnx")
    assert main(["import", str(path), "-o", str(tmp_path / "m.npz")]) == 0
    model = edge_lstm.load(tmp_path / "m.npz")
    ours = model.stream().run(XS)
    stream = model.stream()
    stream.run(XS[:6])
    other = model.stream()
    other.restore(stream.snapshot())
    assert np.array_equal(other.run(XS[6:]), ours[6:], equal_nan=True)
    stream.reset()
    assert np.array_equal(stream.run(XS), ours, equal_nan=True)


def test_inspect_says_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The meaning in time, for people and as JSON."""
    path, out = Stack(1).conv(2, stride=2).recurrent("LSTM").save(tmp_path / "m.onnx"), tmp_path / "m.npz"
    assert main(["import", str(path), "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(out), "--json"]) == 0
    time = json.loads(capsys.readouterr().out)["time"]
    assert "the first output comes with reading 2; an output every 2 readings" in time


def test_padding_that_depends_on_the_length_is_refused(tmp_path: Path) -> None:
    """SAME_UPPER with a stride pads odd lengths otherwise than even ones: no stream can do both."""
    stack = Stack(6)
    stack.add("Conv", stack.draw(3, 3, 3), strides=[2], auto_pad="SAME_UPPER").recurrent("LSTM")
    with pytest.raises(ImportModelError, match="its result depends on how long the open dimension is"):
        import_onnx(stack.save(tmp_path / "m.onnx"), engine="native")


def test_outputs_at_different_rates_are_refused(tmp_path: Path) -> None:
    """A model has one rate for all its outputs; the sentence names the output and both rates."""
    stack = Stack(7).recurrent("LSTM")
    fast, slow = stack.top, stack.conv(2, stride=2).top
    nodes = [*stack.nodes, node("Identity", [fast], ["fast"]), node("Identity", [slow], ["slow"])]
    path = save(tmp_path / "m.onnx", nodes, stack.constants, {"x": [1, "T", 3]}, {"fast": None, "slow": None})
    assert [y.shape[2] for y in onnxruntime_run(path, {"x": XS[None]})] == [61, 30]
    with pytest.raises(ImportModelError, match=r"'slow' comes with every 2-th reading from reading 2 on.*has one rate"):
        import_onnx(path, engine="native")


@pytest.mark.parametrize("seed", range(20))
def test_random_stacks(tmp_path: Path, seed: int) -> None:
    """Convolutions, pooling, slices and recurrent layers in any order, causal or looking ahead: equal to ONNX Runtime
    over random lengths, place by place; tests/long/test_stacks.py runs many more."""
    stack, pace = random_stack(seed)
    path = stack.save(tmp_path / "m.onnx")
    model = import_onnx(path, engine="native")
    assert model.timing.stride == pace
    assert agrees(model, path, *random_lengths(seed, model)) > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda s: s.conv(3, stride=3).recurrent("LSTM"),
            "40 of 60 readings had no output: one comes every 3 readings",
        ),
        (lambda s: s.conv(3).recurrent("LSTM"), "40 readings had no output yet: the first comes with reading 3"),
    ],
)
def test_a_run_says_why_readings_had_no_output(tmp_path: Path, make: Callable[[Stack], Stack], sentence: str) -> None:
    """No window is spoken of where there is none: the summary of `run` and `replay` names the stride or the first."""
    model = import_onnx(make(Stack(1)).save(tmp_path / "m.onnx"), engine="native")
    counts = dict.fromkeys(("missing", "refused", "unusable", "filled", "patched", "overdue", "forgotten"), 0)
    counts |= {"waiting": 40, "superseded": 0}
    times = (None, None, None)
    summary = Summary("m", model.digest, "", 0.6, 60, 60, 0, 0, {}, 0, 0, 0, *times, counts, {})
    assert sentence in run_lines(summary, model)
