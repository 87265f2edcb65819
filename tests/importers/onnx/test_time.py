"""Meanings in time: ring buffers, accumulators, whole windows, loops; each against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_lstm.analysis.verify import verify
from edge_lstm.core.model import Model
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import draw, generator
from tests.support.graphs.heads import head_file, i64
from tests.support.graphs.onnx_files import node, onnxruntime_run, save
from tests.support.oracles.reference import run_model

XS, W, R = (
    np.random.default_rng(seed).normal(0, 0.6, shape).astype(np.float32)
    for seed, shape in enumerate(((17, 3), (2, 16, 3), (2, 16, 4)))
)


def holds(model: Model, path: Path, axis: int = 1, window: int | None = None, last: int | None = None) -> None:
    """Each output is what ONNX Runtime gives for the readings so far, or for the last `window`; None before."""
    ours = model.stream().run(XS)
    assert np.allclose(ours, run_model(model, XS), atol=1e-5, equal_nan=True)
    first = model.timing.first_output
    assert np.isnan(ours[: first - 1]).all()
    for t in range(first - 1, len(XS)):
        rows = XS[: t + 1] if window is None else XS[t + 1 - window : t + 1]
        expected = onnxruntime_run(path, {"x": np.ascontiguousarray(np.expand_dims(rows, 1 - axis))})[0]
        expected = expected if last is None else np.take(expected, -1, last)
        assert np.allclose(ours[t], expected.reshape(-1), atol=2e-6), t


def conv_front(path: Path, *nodes: Any, length: int | str = "T", width: int = 5, **constants: Any) -> Path:
    """x [1, T, 3] → transposed to [1, 3, T] as "xt" → nodes → "c" [1, width, T'] → LSTM → y [T', 1, 4]."""
    body = [
        node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]), *nodes, node("Transpose", ["c"], ["l"], perm=[2, 0, 1]),
        node("LSTM", ["l", "W", "R"], ["Y"], hidden_size=4), node("Squeeze", ["Y", "one"], ["y"]),
    ]  # fmt: skip
    given = {"W": draw(1, 16, width), "R": R[:1], "one": i64(1), **constants}
    return save(path, body, given, {"x": [1, length, 3]}, {"y": None})


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
def test_a_reduction_over_time_is_an_accumulator(tmp_path: Path, op: str) -> None:
    """In a continuous stream the mean, largest, smallest and sum are those of all readings since the reset."""
    axes = {"axes": [1], "keepdims": 0} if op != "ReduceSum" else {"keepdims": 0}
    nodes = [node(op, ["h", "one"] if op == "ReduceSum" else ["h"], ["y"], **axes)]
    path = head_file(tmp_path / "m.onnx", nodes, {"one": i64(1)} if op == "ReduceSum" else {})
    model = import_onnx(path)
    assert (model.timing.window, model.timing.first_output) == (None, 1)
    holds(model, path)


def test_a_running_mean_stays_exact() -> None:
    """After 10,000 readings the mean over time still equals ONNX Runtime's."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = head_file(Path(folder) / "m.onnx", [node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=0)], {})
        assert verify(import_onnx(path), path).ok


def test_a_running_sum(tmp_path: Path) -> None:
    """CumSum over time."""
    path = head_file(tmp_path / "m.onnx", [node("CumSum", ["h", "one"], ["y"])], {"one": i64(1)[0]})
    holds(import_onnx(path), path, last=1)


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_causal_convolution_is_a_ring_buffer(tmp_path: Path, dilation: int) -> None:
    """Pad in front, Conv, then a recurrent layer: the state holds the k - 1 readings before."""
    nodes = [node("Pad", ["xt", "p"], ["xp"]), node("Conv", ["xp", "K", "b"], ["c"], dilations=[dilation])]
    path = conv_front(tmp_path / "m.onnx", *nodes, p=i64(0, 0, 2 * dilation, 0, 0, 0), K=draw(5, 3, 3), b=draw(5))
    model = import_onnx(path)
    assert sum(s.slot.size for s in model.program.states if s.name.startswith("past")) == 2 * dilation * 3
    holds(model, path, last=0)


def test_causal_pads_of_the_convolution_itself_and_two_layers(tmp_path: Path) -> None:
    """pads = [k - 1, 0], a second layer on the first one's results, each with its own past."""
    nodes = [
        node("Conv", ["xt", "K"], ["a"], pads=[2, 0]), node("Relu", ["a"], ["r"]),
        node("Conv", ["r", "L"], ["c"], pads=[1, 0]),
    ]  # fmt: skip
    path = conv_front(tmp_path / "m.onnx", *nodes, K=draw(4, 3, 3), L=draw(5, 4, 2))
    holds(import_onnx(path), path, last=0)


def test_a_difference_to_the_reading_before(tmp_path: Path) -> None:
    """x[t] - x[t-1] with zero in front of the first reading."""
    nodes = [
        node("Pad", ["xt", "p"], ["xp"]), node("Slice", ["xp", "zero", "end", "two"], ["old"]),
        node("Sub", ["xt", "old"], ["c"]),
    ]  # fmt: skip
    constants = {"p": i64(0, 0, 1, 0, 0, 0), "zero": i64(0), "end": i64(-1), "two": i64(2)}
    path = conv_front(tmp_path / "m.onnx", *nodes, width=3, **constants)
    holds(import_onnx(path), path, last=0)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_history_beside_each_reading(tmp_path: Path, ahead: bool) -> None:
    """x[t], x[t-1] and x[t-2] as features of a recurrent layer, with zeros in front; or x[t+1], one reading late."""
    pads, (start, end) = ((0, 0, 0, 0, 0, 1), (1, 1 << 40)) if ahead else ((0, 0, 2, 0, 0, 0), (0, -2))
    nodes = [
        node("Pad", ["xt", "p"], ["xp"]), node("Slice", ["xp", "s0", "e0", "two"], ["a"]),
        node("Slice", ["xp", "s1", "e1", "two"], ["b"]), node("Concat", ["xt", "a", "b"], ["c"], axis=1),
    ]  # fmt: skip
    constants = {"p": i64(*pads), "s0": i64(start), "e0": i64(end), "two": i64(2)}
    constants |= {"s1": i64(0 if ahead else 1), "e1": i64(-1)}
    path = conv_front(tmp_path / "m.onnx", *nodes, width=9, **constants)
    model = import_onnx(path, engine="native")
    late = int(ahead)
    assert (model.timing.first_output, model.timing.delay) == (1 + late, late)
    expected = onnxruntime_run(path, {"x": XS[None]})[0][:, 0]
    assert np.allclose(model.stream().run(XS)[late:], expected[: len(XS) - late], atol=2e-6)


def test_the_last_readings_side_by_side_have_no_output_before_there_are_enough(tmp_path: Path) -> None:
    """The last three states as one vector: the first output comes with the third reading."""
    nodes = [node("Slice", ["h", "s", "e", "a"], ["l"]), node("Reshape", ["l", "shape"], ["r"])]
    nodes.append(node("MatMul", ["r", "M"], ["y"]))
    path = head_file(
        tmp_path / "m.onnx",
        nodes,
        {"s": i64(-3), "e": i64(2**31 - 1), "a": i64(1), "shape": i64(-1, 12), "M": draw(12, 2)},
    )
    model = import_onnx(path)
    assert model.timing.first_output == 3
    holds(model, path)


def test_a_symmetric_convolution_over_a_fixed_length(tmp_path: Path) -> None:
    """It sees the padding behind the window, so the whole window is computed; over an open length it is late
    (`test_lookahead.py`)."""
    nodes, constants = [node("Conv", ["xt", "K"], ["c"], pads=[1, 1])], {"K": draw(5, 3, 3)}
    path = conv_front(tmp_path / "n.onnx", *nodes, length=6, **constants)
    model = import_onnx(path)
    assert (model.timing.mode, model.timing.first_output, model.timing.window) == ("whole window", 6, 6)
    assert "computed anew at each reading" in model.provenance["cost"]
    holds(model, path, window=6)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_layers_that_read_backwards_over_a_window(tmp_path: Path, op: str, direction: str) -> None:
    """Both directions over the last T readings, per-direction activations, clip and initial states."""
    count, gates = 2 if direction == "bidirectional" else 1, {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    names = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[op]
    other = ["Relu" if n == "Tanh" else "HardSigmoid" for n in names]
    constants = {"W": draw(count, 4 * gates, 3), "R": draw(count, 4 * gates, 4), "B": draw(count, 8 * gates)}
    constants |= {"h0": draw(count, 1, 4)}
    inputs = ["x", "W", "R", "B", "", "h0"]
    layer = node(
        op,
        inputs,
        ["y"],
        hidden_size=4,
        direction=direction,
        clip=2.0,
        activations=(names + other)[: count * len(names)],
    )
    path = save(tmp_path / "m.onnx", [layer], constants, {"x": [6, 1, 3]}, {"y": None})
    holds(import_onnx(path), path, axis=0, window=6)
    with pytest.raises(ImportModelError, match=rf"'n_y' \({op}\).*attribute direction = '{direction}'"):
        import_onnx(path, "continuous")


def test_attention_over_time(tmp_path: Path) -> None:
    """Softmax over all readings: refused by name in a continuous stream, exact over a window that is asked for."""
    nodes = [
        node("MatMul", ["h", "wa"], ["s"]), node("Softmax", ["s"], ["a"], axis=1), node("Mul", ["h", "a"], ["w"]),
        node("ReduceSum", ["w", "one"], ["y"], keepdims=0),
    ]  # fmt: skip
    path = head_file(tmp_path / "m.onnx", nodes, {"wa": draw(4, 1), "one": i64(1)})
    with pytest.raises(ImportModelError, match=r"'n_a' \(Softmax\): works on different readings.*mode='window'"):
        import_onnx(path)
    holds(import_onnx(path, "window", window=7), path, window=7)


def test_a_flattened_window(tmp_path: Path) -> None:
    """LSTM, Flatten, Gemm over a baked-in length."""
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]), node("LSTM", ["xt", "W", "R"], ["Y"], hidden_size=4),
        node("Transpose", ["Y"], ["t"], perm=[2, 0, 1, 3]), node("Flatten", ["t"], ["f"]),
        node("Gemm", ["f", "M"], ["y"]),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, {"W": W[:1], "R": R[:1], "M": draw(20, 2)}, {"x": [1, 5, 3]}, {"y": None})
    holds(import_onnx(path), path, window=5)


def test_an_autoencoder_repeats_the_last_state(tmp_path: Path) -> None:
    """Encoder, Expand of the last state over the window, decoder, the whole reconstruction as output."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["", "Yh"], hidden_size=4), node("Expand", ["Yh", "shape"], ["e"]),
        node("LSTM", ["e", "W2", "R2"], ["y"], hidden_size=3),
    ]  # fmt: skip
    constants = {"W": W[:1], "R": R[:1], "shape": i64(5, 1, 4), "W2": draw(1, 12, 4), "R2": draw(1, 12, 3)}
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": [5, 1, 3]}, {"y": None})
    model = import_onnx(path)
    assert model.program.output_size == 15
    holds(model, path, axis=0, window=5)


def test_a_layer_over_frequency_bins(tmp_path: Path) -> None:
    """A recurrent layer over the features of one reading is written out, beside one that carries a state over time."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=4), node("Squeeze", ["Y", "one"], ["s"]),
        node("Transpose", ["s"], ["t"], perm=[2, 0, 1]), node("GRU", ["t", "W2", "R2"], ["y"], hidden_size=3),
    ]  # fmt: skip
    constants = {"W": W[:1], "R": R[:1], "one": i64(1), "W2": draw(1, 9, 1), "R2": draw(1, 9, 3)}
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": ["T", 1, 3]}, {"y": None})
    model = import_onnx(path)
    ours = model.stream().run(XS)
    expected = onnxruntime_run(path, {"x": XS[:, None]})[0]  # (bins, 1, T, 3)
    assert np.allclose(ours, expected[:, 0].swapaxes(0, 1).reshape(len(XS), -1), atol=1e-6)


def test_which_axis_is_time_must_be_said_where_nothing_shows_it(tmp_path: Path) -> None:
    """Without a recurrent layer two axes could be time: refused, with the option that says it."""
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "M"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"M": draw(15, 2)}, {"x": [1, 5, 3]}, {"y": None})
    with pytest.raises(ImportModelError, match="say time_axis=1 or 2"):
        import_onnx(path, "window")
    holds(import_onnx(path, "window", time_axis=1), path, window=5)


# --- loops of ONNX ----------------------------------------------------------------------------------------------------


def info(name: str, dtype: int, shape: list[int]) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


@pytest.mark.parametrize("length", [6, "T"])
def test_scan_over_time_becomes_a_step_with_a_state(tmp_path: Path, length: int | str) -> None:
    """The body is one step, whatever the length; its state is found by proof."""
    body = helper.make_graph(
        [
            node("MatMul", ["s_in", "U"], ["u"]), node("MatMul", ["x_t", "V"], ["v"]), node("Add", ["u", "v"], ["a"]),
            node("Tanh", ["a"], ["s_out"]), node("Identity", ["s_out"], ["y_t"]),
        ],
        "body",
        [info("s_in", TensorProto.FLOAT, [1, 4]), info("x_t", TensorProto.FLOAT, [1, 3])],
        [info("s_out", TensorProto.FLOAT, [1, 4]), info("y_t", TensorProto.FLOAT, [1, 4])],
    )  # fmt: skip
    nodes = [node("Scan", ["s0", "x"], ["final", "y"], body=body, num_scan_inputs=1)]
    constants = {"s0": np.zeros((1, 4), np.float32), "U": draw(4, 4), "V": draw(3, 4)}
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": [length, 1, 3]}, {"y": None})
    model = import_onnx(path)
    assert len(model.program.states) == 1
    assert model.timing.window == (6 if length == 6 else None)
    holds(model, path, axis=0, window=model.timing.window, last=0)


def test_loop_over_time_becomes_a_step_with_a_state(tmp_path: Path) -> None:
    """A Loop that gathers one reading per pass."""
    body = helper.make_graph(
        [
            node("Gather", ["x", "i"], ["x_t"], axis=0), node("MatMul", ["s_in", "U"], ["u"]),
            node("MatMul", ["x_t", "V"], ["v"]), node("Add", ["u", "v"], ["a"]), node("Tanh", ["a"], ["s_out"]),
            node("Identity", ["go"], ["go_on"]), node("Identity", ["s_out"], ["y_t"]),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, [1]), info("s_in", TensorProto.FLOAT, [1, 4])],
        [info("go_on", TensorProto.BOOL, [1]), *(info(n, TensorProto.FLOAT, [1, 4]) for n in ("s_out", "y_t"))],
    )  # fmt: skip
    nodes = [node("Loop", ["n", "true", "s0"], ["final", "y"], body=body)]
    constants = {"n": i64(6)[0], "true": np.array(True), "s0": np.zeros((1, 4), np.float32)}
    path = save(
        tmp_path / "m.onnx", nodes, constants | {"U": draw(4, 4), "V": draw(3, 4)}, {"x": [6, 1, 3]}, {"y": None}
    )
    model = import_onnx(path)
    assert (model.timing.window, len(model.program.states)) == (6, 1)
    holds(model, path, axis=0, window=6, last=0)


# --- inputs that are no floats ----------------------------------------------------------------------------------------


def test_an_embedding_of_whole_numbers(tmp_path: Path) -> None:
    """Words by number into an LSTM; a number beyond the vocabulary is a refused reading."""
    nodes = [node("Gather", ["table", "x"], ["e"]), node("LSTM", ["e", "W", "R"], ["y"], hidden_size=4)]
    path = save(
        tmp_path / "m.onnx", nodes, {"table": draw(7, 3), "W": W[:1], "R": R[:1]}, {"x": ["T", 1]}, {"y": None},
        dtype=TensorProto.INT64,
    )  # fmt: skip
    import onnx

    proto = onnx.load(path)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(proto, path)
    model = import_onnx(path)
    words = generator().integers(0, 7, (20, 1))
    expected = onnxruntime_run(path, {"x": words})[0].reshape(20, 4)
    assert np.allclose(model.stream().run(words), expected, atol=1e-6)
    assert verify(model, path, short=True).ok


def test_a_scalar_input_given_as_a_constant(tmp_path: Path) -> None:
    """A sample rate chooses the branch at import; an unknown name or a wrong shape is refused."""

    def branch(name: str) -> Any:
        value = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        return helper.make_graph([node("MatMul", ["h", name], [f"{name}_y"])], name, [], [value])

    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=4), node("Squeeze", ["Y", "one"], ["h"]),
        node("Equal", ["sr", "rate"], ["is"]),
        node("If", ["is"], ["y"], then_branch=branch("A"), else_branch=branch("C")),
    ]  # fmt: skip
    constants = {"W": W[:1], "R": R[:1], "one": i64(1), "rate": i64(16000)[0], "A": draw(4, 2), "C": draw(4, 2)}
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["T", 1, 3]), info("sr", TensorProto.INT64, [])],  # type: ignore[list-item]
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape, v.reshape(-1))
            for k, v in constants.items()
        ],
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    for rate in (16000, 8000):
        model = import_onnx(path, constants={"sr": rate})
        expected = onnxruntime_run(path, {"x": XS[:, None], "sr": np.array(rate)})[0][:, 0]
        assert np.allclose(model.stream().run(XS), expected, atol=1e-6)
        assert verify(model, path, short=True).ok
    with pytest.raises(ImportModelError, match="'rate' is no input of the graph; there are 'x', 'sr'"):
        import_onnx(path, constants={"rate": 1})
    with pytest.raises(ImportModelError, match=r"'sr' has shape \[2\]"):
        import_onnx(path, constants={"sr": [1, 2]})
