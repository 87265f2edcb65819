"""Open dimensions that are neither time nor batch: their sizes by the weights, or said by the caller (`--size`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.core.storage import load
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import Array, difference, node, onnxruntime_run, save

UNITS, SAMPLES = 6, 32


def draw(*shape: int) -> Array:
    return generator().normal(0, 0.4, shape).astype(np.float32)


def sequence(path: Path, direction: str = "forward") -> Path:
    """A layer over x [b, w, h], all of it open; W says that there are 8 features."""
    count = 2 if direction == "bidirectional" else 1
    constants: dict[str, Any] = {"W": draw(count, 24, 8), "R": draw(count, 24, UNITS), "D": draw(count * UNITS, 3)}
    constants |= {"flat": np.array([0, 0, -1])}
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "W", "R"], ["Y"], hidden_size=UNITS, direction=direction),
        node("Transpose", ["Y"], ["Yt"], perm=[2, 0, 1, 3]),
        node("Reshape", ["Yt", "flat"], ["flatter"]),
        node("MatMul", ["flatter", "D"], ["y"]),
    ]
    return save(path, nodes, constants, {"x": ["b", "w", "h"]}, {"y": ["b", "w", 3]}, opset=13)


def test_features_are_known_from_the_weights(tmp_path: Path) -> None:
    """With every dimension open the innermost one is as long as W says: a forward network is continuous, one that reads
    both ways is a window of the length that is said, and what was concluded is noted with the option that says it."""
    path = sequence(tmp_path / "m.onnx")
    model = import_onnx(path)
    assert (model.timing.mode, model.program.input_size, model.program.output_size) == ("continuous", 8, 3)
    assert "the open dimension x[2] is 8, by the weights (--size x[2]=8)" in model.provenance["notes"]
    assert verify(model, path, short=True).error < 1e-5
    both = sequence(tmp_path / "b.onnx", "bidirectional")
    model = import_onnx(both, "window", window=20)
    assert (model.program.input_size, model.program.output_size) == (8, 60)
    rows = generator().normal(0, 1, (24, 8)).astype(np.float32)
    y = np.asarray(model.stream().run(rows))
    for t in (19, 23):
        (expected,) = onnxruntime_run(both, {"x": rows[None, t - 19 : t + 1]})
        assert np.abs(y[t] - expected.reshape(-1)).max() < 1e-5
    with pytest.raises(ImportModelError, match="reads the sequence from its end"):
        import_onnx(both, sizes={"h": 8})


def detector(path: Path, batch: str | int = "batch", baked: bool = False) -> Path:
    """Voice activity: an STFT as a convolution over an open number of samples, an LSTM step with its state [2, B, H], a
    sample rate that decides. baked: a reshape holds the batch of 1 that it was exported with."""
    constants: dict[str, Any] = {"K": draw(10, 1, 16), "W": draw(1, 4 * UNITS, 10), "R": draw(1, 4 * UNITS, UNITS)}
    constants |= {"D": draw(UNITS, 1), "one": np.array([1]), "two": np.array([2]), "zero": np.array([0])}
    constants |= {"rate": np.array([16000]), "fast": np.array([1], np.float32), "slow": np.array([2], np.float32)}
    constants["shape"] = np.array([1, 1, 10] if baked else [1, -1, 10])
    nodes = [
        node("Equal", ["sr", "rate"], ["is_fast"]),
        node("Where", ["is_fast", "fast", "slow"], ["factor"]),
        node("Mul", ["x", "factor"], ["scaled"]),
        node("Unsqueeze", ["scaled", "one"], ["xc"]),
        node("Conv", ["xc", "K"], ["stft"], strides=[8]),
        node("Abs", ["stft"], ["size"]),
        node("ReduceMean", ["size"], ["mean"], axes=[2], keepdims=0),
        node("Reshape", ["mean", "shape"], ["frame"]),
        node("Slice", ["state", "zero", "one", "zero"], ["h"]),
        node("Slice", ["state", "one", "two", "zero"], ["c"]),
        node("LSTM", ["frame", "W", "R", "", "", "h", "c"], ["Y", "hn", "cn"], hidden_size=UNITS),
        node("Concat", ["hn", "cn"], ["state_n"], axis=0),
        node("Squeeze", ["hn", "zero"], ["last"]),
        node("MatMul", ["last", "D"], ["logit"]),
        node("Sigmoid", ["logit"], ["y"]),
    ]
    shape = [2, batch, UNITS]
    ins: dict[str, list[Any]] = {"x": [batch, "samples"], "state": shape, "sr": []}
    path = save(path, nodes, constants, ins, {"y": [batch, 1], "state_n": shape}, opset=13)
    proto = onnx.load(path)
    proto.graph.input[2].CopyFrom(helper.make_tensor_value_info("sr", TensorProto.INT64, []))
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
@pytest.mark.parametrize("baked", [False, True])
def test_the_samples_of_a_chunk_are_said(tmp_path: Path, baked: bool, engine: str) -> None:
    """A step over an open number of samples is asked about, with the options as they can be typed; said, it equals ONNX
    Runtime with the state handed on, in either engine, also where the open batch is one in name only."""
    path = detector(tmp_path / "m.onnx", baked=baked)
    with pytest.raises(ImportModelError, match=r"\(--size samples=N\).*--set sr=16000"):
        import_onnx(path, engine=engine)
    options: dict[str, Any] = {"sizes": {"samples": SAMPLES}, "constants": {"sr": 16000}, "engine": engine}
    model = import_onnx(path, **options)
    assert (model.timing.mode, model.program.input_size, model.program.output_size) == ("continuous", SAMPLES, 1)
    assert verify(model, path, short=True).ok
    rows, state = generator().normal(0, 1, (50, SAMPLES)).astype(np.float32), np.zeros((2, 1, UNITS), np.float32)
    expected = []
    for row in rows:
        y, state = onnxruntime_run(path, {"x": row[None], "state": state, "sr": np.array(16000)})
        expected.append(y[0])
    assert difference(np.asarray(model.stream().run(rows)), np.array(expected)) < 1e-5
    if baked and engine == "native":
        assert any("open in name only" in note for note in model.provenance["notes"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--size by name and by place; the model keeps it; what is no open dimension, or no number, is a sentence."""
    path, out = detector(tmp_path / "m.onnx"), tmp_path / "m.npz"
    command = ["import", str(path), "-o", str(out), "--set", "sr=16000"]
    for said in ("samples=32", "x[1]=32"):
        assert main([*command, "--size", said]) == 0
        axes = load(out).timing.axes
        assert axes is not None
        assert axes.sizes == {"x[1]": 32}
        assert main(["verify", str(out), "--against", str(path)]) == 0
    capsys.readouterr()
    assert main([*command, "--size", "sample=32"]) == 2
    assert "sizes: 'sample' is no open dimension of an input; did you mean 'samples'?" in capsys.readouterr().err
    assert main([*command, "--size", "samples"]) == 2
    assert "--size 'samples': NAME=SIZE is meant" in capsys.readouterr().err


def test_an_open_length_is_never_taken_for_a_batch_of_one(tmp_path: Path) -> None:
    """A layer that reads both ways over an open length with its states as inputs is no step of one reading: refused, as
    without its states."""
    constants: dict[str, Any] = {"W": draw(2, 3 * UNITS, 4), "R": draw(2, 3 * UNITS, UNITS)}
    names = ["x", "W", "R", "", "", "a"]
    nodes = [
        node("GRU", names, ["Y", "b"], hidden_size=UNITS, direction="bidirectional", linear_before_reset=1),
        node("Tanh", ["b"], ["y"]),
    ]
    shape = [2, 1, UNITS]
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": ["T", 1, 4], "a": shape}, {"y": shape, "b": shape})
    with pytest.raises(ImportModelError, match="reads the sequence from its end"):
        import_onnx(path)


def branching(path: Path) -> Path:
    """Voice activity with a whole network in each branch of an If on the sample rate."""

    def branch(tag: str, kernel: int, stride: int) -> Any:
        shapes = {"K": (10, 1, kernel), "W": (1, 24, 10), "R": (1, 24, 6), "D": (6, 1)}
        constants: dict[str, Any] = {name: draw(*shape) for name, shape in shapes.items()}
        constants |= {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
        nodes = [
            ("Unsqueeze", ["x", "one"], ["xc"], {}),
            ("Conv", ["xc", "K"], ["stft"], {"strides": [stride]}),
            ("Relu", ["stft"], ["size"], {}),
            ("ReduceMean", ["size"], ["mean"], {"axes": [2], "keepdims": 0}),
            ("Unsqueeze", ["mean", "zero"], ["frame"], {}),
            ("Slice", ["state", "zero", "one", "zero"], ["h"], {}),
            ("Slice", ["state", "one", "two", "zero"], ["c"], {}),
            ("LSTM", ["frame", "W", "R", "", "", "h", "c"], ["Y", "hn", "cn"], {"hidden_size": 6}),
            ("Concat", ["hn", "cn"], ["after"], {"axis": 0}),
            ("Squeeze", ["hn", "zero"], ["last"], {}),
            ("MatMul", ["last", "D"], ["y"], {}),
        ]
        own = {o for _, _, outs, _ in nodes for o in outs} | set(constants)
        made = [
            node(op, [f"{n}_{tag}" if n in own else n for n in ins], [f"{o}_{tag}" for o in outs], **attributes)
            for op, ins, outs, attributes in nodes
        ]
        outs = [helper.make_tensor_value_info(f"{o}_{tag}", TensorProto.FLOAT, None) for o in ("y", "after")]
        weights = [onnx.numpy_helper.from_array(v, f"{k}_{tag}") for k, v in constants.items()]
        return helper.make_graph(made, tag, [], outs, weights)

    shape = [2, "batch", 6]
    ins = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "samples"]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("sr", TensorProto.INT64, []),
    ]
    outs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("state_n", TensorProto.FLOAT, shape),
    ]
    decide = helper.make_node(
        "If", ["fast"], ["y", "state_n"], then_branch=branch("hi", 16, 8), else_branch=branch("lo", 8, 4)
    )
    nodes = [node("Equal", ["sr", "rate"], ["fast"]), decide]
    graph = helper.make_graph(nodes, "vad", ins, outs, [onnx.numpy_helper.from_array(np.array(16000), "rate")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_network_in_each_branch_of_a_sample_rate(tmp_path: Path, rate: int) -> None:
    """Said, the rate leaves one branch, and the step equals ONNX Runtime; unsaid it is named with the option."""
    path = branching(tmp_path / "m.onnx")
    with pytest.raises(ImportModelError, match=r"input 'sr' \[\] decides what the graph does.*--set sr=16000"):
        import_onnx(path, sizes={"samples": SAMPLES})
    model = import_onnx(path, sizes={"samples": SAMPLES}, constants={"sr": rate})
    assert (model.program.input_size, model.timing.mode) == (SAMPLES, "continuous")
    assert verify(model, path, short=True).ok
