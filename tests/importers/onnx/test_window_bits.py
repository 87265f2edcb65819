"""Window mode, in bits: an output is what the last T readings give alone, from the reset state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.layout import lay_out
from edge_lstm.importers import import_onnx
from tests.support.drawing import draw
from tests.support.graphs.heads import head_file, i64
from tests.support.graphs.onnx_files import Array, difference, node, save
from tests.support.oracles.reference import run_model

T = 6


def layers(path: Path, nodes: list[Any], **constants: Array) -> Path:
    """Nodes from x [T, 1, 3] to y."""
    return save(path, nodes, constants, {"x": [T, 1, 3]}, {"y": None})


def recurrent(op: str, direction: str, **options: Any) -> Callable[[Path], Path]:
    """What writes the file of one recurrent operator."""
    count, gates = (2 if direction == "bidirectional" else 1), {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    nodes = [node(op, ["x", "W", "R", "B", "", "h0"], ["y"], hidden_size=4, direction=direction, **options)]
    shapes = {"W": (4 * gates, 3), "R": (4 * gates, 4), "B": (8 * gates,), "h0": (1, 4)}
    return lambda path: layers(path, nodes, **{key: draw(count, *shape) for key, shape in shapes.items()})


ATTENTION = [
    node("MatMul", ["h", "wa"], ["s"]), node("Softmax", ["s"], ["a"], axis=1), node("Mul", ["h", "a"], ["w"]),
    node("ReduceSum", ["w", "one"], ["y"], keepdims=0),
]  # fmt: skip
SELF_ATTENTION = [
    node("Transpose", ["h"], ["k"], perm=[0, 2, 1]), node("MatMul", ["h", "k"], ["s"]),
    node("Softmax", ["s"], ["a"], axis=-1), node("MatMul", ["a", "h"], ["y"]),
]  # fmt: skip
FLATTENED = [
    node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=4), node("Transpose", ["Y"], ["t"], perm=[2, 0, 1, 3]),
    node("Flatten", ["t"], ["f"]), node("Gemm", ["f", "M"], ["y"]),
]  # fmt: skip
AUTOENCODER = [
    node("LSTM", ["x", "W", "R"], ["", "Yh"], hidden_size=4), node("Expand", ["Yh", "shape"], ["e"]),
    node("LSTM", ["e", "W2", "R2"], ["y"], hidden_size=3),
]  # fmt: skip
MEAN = [node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=0)]
MAKERS: dict[str, Any] = {
    # programs that compute the whole window anew
    **{f"{op} {d}": recurrent(op, d) for op in ("LSTM", "GRU", "RNN") for d in ("reverse", "bidirectional")},
    "attention": lambda p: head_file(p, ATTENTION, {"wa": draw(4, 1), "one": i64(1)}),
    "self-attention": lambda p: head_file(p, SELF_ATTENTION, {}),
    "flattened": lambda p: layers(p, FLATTENED, W=draw(1, 16, 3), R=draw(1, 16, 4), M=draw(4 * T, 2)),
    "autoencoder": lambda p: layers(
        p, AUTOENCODER, W=draw(1, 16, 3), R=draw(1, 16, 4), shape=i64(T, 1, 4), W2=draw(1, 12, 4), R2=draw(1, 12, 3)
    ),
    # T staggered streams
    **{f"{op} forward": recurrent(op, "forward") for op in ("LSTM", "GRU", "RNN")},
    "clipped": recurrent("LSTM", "forward", clip=0.4),
    "GRU, reset gate after": recurrent("GRU", "forward", linear_before_reset=1),
    "mean over the window": lambda p: head_file(p, MEAN, {}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_window_has_the_bits_of_its_readings_alone(tmp_path: Path, name: str) -> None:
    """By `run` and by `step`: nothing of older readings is left in an output, not in its last bit."""
    model = import_onnx(MAKERS[name](tmp_path / "m.onnx"), "window", window=T)
    xs = draw(4 * T, 3) * np.repeat(np.float32([1, 30, 0, 1]), T)[:, None]  # after saturation nothing may stay
    got, stream = model.stream().run(xs), model.stream()
    for t, x in enumerate(xs):
        y = stream.step(x)
        if t < T - 1:
            assert y is None
            assert np.isnan(got[t]).all()
            continue
        alone = model.stream().run(xs[t + 1 - T : t + 1])[-1]
        assert np.isfinite(alone).all()
        assert got[t].tobytes() == alone.tobytes() == np.asarray(y).tobytes(), t


def test_a_decoder_runs_for_the_window_that_ends_alone(tmp_path: Path) -> None:
    """Of an autoencoder's T windows under way all take the encoder's step; the T steps of the decoder are computed for
    the one whose output comes."""
    model = import_onnx(MAKERS["autoencoder"](tmp_path / "m.onnx"), "window", window=T)
    layout = lay_out(model, 8)
    kinds = layout.table[: layout.step_rows, abi.KIND].tolist()
    assert kinds[: layout.shared_rows].count(abi.LSTM) == 1
    assert kinds.count(abi.LSTM) == 1 + T
    xs = draw(4 * T, 3)
    assert difference(np.asarray(model.stream().run(xs)), run_model(model, xs)) < 1e-5
