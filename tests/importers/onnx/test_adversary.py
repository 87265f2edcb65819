"""Graphs made to be misunderstood: each is right against ONNX Runtime in the one meaning it can have, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.core.model import Model
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.importers.onnx.test_time import conv_front
from tests.support.drawing import draw
from tests.support.graphs.heads import head_file, i64
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run, save


def lstm(width: int, **more: Array) -> dict[str, Any]:
    return {"W": draw(1, 16, width), "R": draw(1, 16, 4), "one": i64(1), **more}


def refused(path: Path, match: str, **options: Any) -> None:
    """The import raises this, also where ONNX Runtime may stand in."""
    with pytest.raises(ImportModelError, match=match):
        import_onnx(path, **options)


def window_holds(model: Model, path: Path, axis: int, **fixed: Array) -> None:
    """x is fed along `axis`, one reading after the other; the last output is ONNX Runtime's for the whole array."""
    (shape,) = [v for v in _shapes(path) if v]
    x = draw(*shape)
    rows = np.moveaxis(x, axis, 0).reshape(shape[axis], -1)
    expected = onnxruntime_run(path, {"x": x, **fixed})[0]
    assert model.provenance["window"] == shape[axis]
    assert np.allclose(model.stream().run(rows)[-1], np.take(expected, -1, 0).reshape(-1), atol=2e-6)


def _shapes(path: Path) -> list[tuple[int, ...]]:
    import onnx

    inputs = onnx.load(path).graph.input
    return [tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in inputs if v.name == "x"]


# --- an open length ---------------------------------------------------------------------------------------------------

LENGTH = [node("Shape", ["h"], ["s"]), node("Gather", ["s", "one"], ["n"]), node("Cast", ["n"], ["t"], to=1)]


@pytest.mark.parametrize("op", ["Mul", "Div"])
def test_the_length_of_the_sequence_enters_the_numbers(tmp_path: Path, op: str) -> None:
    """What a graph computes from its open length differs from reading to reading: refused, not fixed at some length."""
    head = [*LENGTH, node(op, ["h", "t"], ["y"])]
    refused(head_file(tmp_path / "m.onnx", head, {"one": np.array(1)}), "how long the open dimension is")


@pytest.mark.parametrize("limit", [3, 40, 900])
def test_another_branch_from_some_length_on(tmp_path: Path, limit: int) -> None:
    """A sequence longer than a limit is treated otherwise: the drawing is long enough to see it, and refuses."""
    head = [
        *LENGTH, node("Greater", ["n", "limit"], ["long"]), node("Cast", ["long"], ["f"], to=1),
        node("Add", ["h", "f"], ["y"]),
    ]  # fmt: skip
    path = head_file(tmp_path / "m.onnx", head, {"one": np.array(1), "limit": np.array(limit)})
    refused(path, "how long the open dimension is")


def test_the_first_readings_only(tmp_path: Path) -> None:
    """The mean of the first 50 readings is no mean of all: refused, though no shorter sequence shows it."""
    head = [node("Slice", ["h", "s", "e", "one"], ["l"]), node("ReduceMean", ["l"], ["y"], axes=[1])]
    path = head_file(tmp_path / "m.onnx", head, {"s": i64(0), "e": i64(50), "one": i64(1)})
    refused(path, "different readings")


def test_the_last_readings_only(tmp_path: Path) -> None:
    """The mean of the last 50 readings is a ring of 50, with no output before there are 50."""
    head = [node("Slice", ["h", "s", "e", "one"], ["l"]), node("ReduceMean", ["l"], ["y"], axes=[1], keepdims=0)]
    path = head_file(tmp_path / "m.onnx", head, {"s": i64(-50), "e": i64(2**31 - 1), "one": i64(1)})
    model = import_onnx(path)
    assert model.timing.first_output == 50
    assert verify(model, path).ok


@pytest.mark.parametrize("dilation", [4, 8, 20, 100])
def test_a_kernel_that_reaches_further_back_than_a_short_sequence(tmp_path: Path, dilation: int) -> None:
    """A dilated causal convolution over an open length: no tap is taken for padding because the drawing was short."""
    nodes = [node("Pad", ["xt", "p"], ["xp"]), node("Conv", ["xp", "K"], ["c"], dilations=[dilation])]
    path = conv_front(tmp_path / "m.onnx", *nodes, p=i64(0, 0, 2 * dilation, 0, 0, 0), K=draw(5, 3, 3))
    model = import_onnx(path)
    assert sum(s.slot.size for s in model.program.states if s.name.startswith("past")) == 2 * dilation * 3
    xs = draw(2 * dilation + 30, 3)
    expected = onnxruntime_run(path, {"x": xs[None]})[0][:, 0]
    assert np.allclose(model.stream().run(xs), expected, atol=1e-5)


def test_padding_piled_up(tmp_path: Path) -> None:
    """Ten paddings and slices of three readings each look back thirty, though each one alone is short."""
    nodes, name = [], "xt"
    for k in range(10):
        nodes += [node("Pad", [name, "p"], [f"p{k}"]), node("Slice", [f"p{k}", "z", "end", "two"], [f"s{k}"])]
        name = f"s{k}"
    nodes.append(node("Add", ["xt", name], ["c"]))
    path = conv_front(tmp_path / "m.onnx", *nodes, width=3, p=i64(0, 0, 3, 0, 0, 0), z=i64(0), end=i64(-3), two=i64(2))
    model, xs = import_onnx(path), draw(80, 3)
    assert np.allclose(model.stream().run(xs), onnxruntime_run(path, {"x": xs[None]})[0][:, 0], atol=1e-5)


# --- which axis is time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("shape", [(4, 4, 4), (1, 4, 4), (4, 1, 4), (4, 4, 1), (1, 4, 1), (4, 1, 1)])
def test_time_batch_and_features_of_one_size(tmp_path: Path, shape: tuple[int, ...], batch_first: bool) -> None:
    """However equal the sizes are, time is the axis along which the recurrent layer runs, or its memory was lost."""
    nodes = [node("Transpose", ["x"], ["xt"], perm=[1, 0, 2] if batch_first else [0, 1, 2])]
    nodes += [node("LSTM", ["xt", "W", "R"], ["y"], hidden_size=4)]
    path = save(tmp_path / "m.onnx", nodes, lstm(shape[2]), {"x": list(shape)}, {"y": None})
    axis = int(batch_first)
    if shape[axis] == 1:
        return refused(path, "state was lost|no memory|nothing else remembers|which axis")
    model = import_onnx(path)
    assert model.provenance["axes"].startswith(f"'x': axis {axis} is time")
    x = draw(*shape)
    if shape[1 - axis] > 1:
        x = np.broadcast_to(np.take(x, [0], 1 - axis), shape).copy()  # all streams alike: the model is one of them
    y = model.stream().run(np.take(x, 0, 1 - axis))[-1]
    assert np.allclose(y, onnxruntime_run(path, {"x": x})[0][-1, 0, 0], atol=1e-6)
    return None


def test_differences_of_neighbouring_features_are_no_time(tmp_path: Path) -> None:
    """Channels first: features look back on each other, but the recurrent layer runs along the other axis."""
    nodes = [
        node("Slice", ["x", "zero", "last", "one"], ["old"]), node("Slice", ["x", "one", "end", "one"], ["new"]),
        node("Sub", ["new", "old"], ["d"]), node("Transpose", ["d"], ["l"], perm=[2, 0, 1]),
        node("LSTM", ["l", "W", "R"], ["y"], hidden_size=4),
    ]  # fmt: skip
    constants = lstm(7, zero=i64(0), last=i64(-1), end=i64(99))
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": [1, 8, 20]}, {"y": None})
    window_holds(import_onnx(path), path, 2)


def test_two_layers_along_two_axes(tmp_path: Path) -> None:
    """Each axis has a recurrent layer of its own: which is time must be said, and then it holds."""
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[1, 0, 2]), node("LSTM", ["a", "W", "R"], ["Y1", "h1"], hidden_size=4),
        node("Transpose", ["x"], ["b"], perm=[2, 0, 1]), node("LSTM", ["b", "W", "R"], ["Y2", "h2"], hidden_size=4),
        node("Concat", ["h1", "h2"], ["y"], axis=2),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, lstm(6), {"x": [1, 6, 6]}, {"y": None})
    refused(path, "time is not clear: say time_axis=1 or 2")
    for axis in (1, 2):
        model = import_onnx(path, time_axis=axis)
        x = draw(1, 6, 6)
        y = model.stream().run(np.moveaxis(x, axis, 0)[:, 0])[-1]
        assert np.allclose(y, onnxruntime_run(path, {"x": x})[0].reshape(-1), atol=1e-6)


def test_two_layers_that_read_both_ways_along_two_axes(tmp_path: Path) -> None:
    """A whole window is no way round the question: which axis is time must be said, and then it holds."""
    both = {"hidden_size": 4, "direction": "bidirectional"}
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[1, 0, 2]), node("LSTM", ["a", "W", "R"], ["Y1", "h1"], **both),
        node("Transpose", ["x"], ["b"], perm=[2, 0, 1]), node("LSTM", ["b", "W", "R"], ["Y2", "h2"], **both),
        node("Concat", ["h1", "h2"], ["y"], axis=2),
    ]  # fmt: skip
    constants = {"W": draw(2, 16, 6), "R": draw(2, 16, 4)}
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": [1, 6, 6]}, {"y": None})
    refused(path, "time is not clear: say time_axis=1 or 2")
    for axis in (1, 2):
        x = draw(1, 6, 6)
        y = import_onnx(path, time_axis=axis).stream().run(np.moveaxis(x, axis, 0)[:, 0])[-1]
        assert np.allclose(y, onnxruntime_run(path, {"x": x})[0].reshape(-1), atol=1e-6)


def test_a_convolution_that_is_causal_along_two_axes(tmp_path: Path) -> None:
    """Nothing tells rows from columns of a picture: it must be said."""
    nodes = [node("Pad", ["x", "p"], ["xp"]), node("Conv", ["xp", "K"], ["y"])]
    constants = {"p": i64(0, 0, 1, 1, 0, 0, 0, 0), "K": draw(1, 1, 2, 2)}
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": [1, 1, 6, 5]}, {"y": None})
    refused(path, "time is not clear: say time_axis=2 or 3")


@pytest.mark.parametrize("name", ["batch", "batch_size", "Batch"])
def test_batch_first_was_forgotten(tmp_path: Path, name: str) -> None:
    """A layer that runs along an axis named after the batch is asked about; said to be time, it runs."""
    nodes = [node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=4), node("Squeeze", ["Y", "one"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, lstm(3), {"x": [name, 10, 3]}, {"y": None})
    refused(path, "batch_first=True forgotten.*time_axis=0")
    assert import_onnx(path, time_axis=0).timing.window is None


def test_two_inputs_with_their_axes_in_different_order(tmp_path: Path) -> None:
    """x is [T, B, I] and z is [B, T, I] with T = B: each is read along its own time axis."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y1"], hidden_size=4), node("Transpose", ["z"], ["zt"], perm=[1, 0, 2]),
        node("LSTM", ["zt", "W", "R"], ["Y2"], hidden_size=4), node("Sub", ["Y1", "Y2"], ["y"]),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, lstm(4), {"x": [4, 4, 4], "z": [4, 4, 4]}, {"y": None})
    model = import_onnx(path)
    assert model.provenance["axes"].startswith("'x': axis 0 is time, axis 1 is the batch; 'z': axis 1 is time")
    x, z = draw(4, 4), draw(4, 4)
    feeds = {"x": np.repeat(x[:, None], 4, 1), "z": np.repeat(z[None], 4, 0)}
    y = model.stream().run(np.concatenate([x, z], 1))[-1]
    assert np.allclose(y, onnxruntime_run(path, feeds)[0][-1, 0, 0], atol=1e-6)


def test_a_second_input_that_could_be_read_along_either_axis(tmp_path: Path) -> None:
    """A square input whose total is added to the state: by rows or by columns is not clear, though x is."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y", "h"], hidden_size=4), node("ReduceMean", ["z"], ["m"], axes=[0, 1]),
        node("Add", ["h", "m"], ["y"]),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, lstm(3), {"x": [5, 1, 3], "z": [5, 5]}, {"y": None})
    refused(path, "time is not clear")


@pytest.mark.parametrize("perm", [[0, 1, 3, 2], [3, 0, 1, 2], [1, 0, 2, 3]])
def test_outputs_with_their_axes_moved(tmp_path: Path, perm: list[int]) -> None:
    """Wherever time stands in the output, the newest reading is shown, in the output's own order."""
    nodes = [
        node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=4), node("Transpose", ["Y"], ["y"], perm=perm),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, lstm(4), {"x": [4, 1, 4]}, {"y": None})
    model, x = import_onnx(path), draw(4, 1, 4)
    expected = np.take(onnxruntime_run(path, {"x": x})[0], -1, perm.index(0)).reshape(-1)
    assert np.allclose(model.stream().run(x[:, 0])[-1], expected, atol=1e-6)


# --- states -----------------------------------------------------------------------------------------------------------


def step(path: Path, nodes: list[Any], constants: dict[str, Any], inputs: dict[str, Any], outputs: list[str]) -> Path:
    return save(path, nodes, constants, inputs, dict.fromkeys(outputs))  # type: ignore[arg-type]


GRU = {"hidden_size": 4, "linear_before_reset": 1}


def gru() -> dict[str, Any]:
    return {"W": draw(1, 12, 3), "R": draw(1, 12, 4), "one": i64(1), "zero": i64(0)}


def test_states_of_equal_shape_with_swapped_names(tmp_path: Path) -> None:
    """Two layers whose outputs are named and ordered crosswise: dataflow pairs them, and ten readings are right."""
    nodes = [
        node("GRU", ["x", "W", "R", "", "", "h1_in"], ["Y1", "h2_out"], **GRU), node("Squeeze", ["Y1", "one"], ["s"]),
        node("GRU", ["s", "V", "R", "", "", "h2_in"], ["y", "h1_out"], **GRU),
    ]  # fmt: skip
    inputs = {"x": [1, 1, 3], "h1_in": [1, 1, 4], "h2_in": [1, 1, 4]}
    constants = gru() | {"V": draw(1, 12, 4)}
    path = step(tmp_path / "m.onnx", nodes, constants, inputs, ["y", "h1_out", "h2_out"])
    model = import_onnx(path)
    assert {i: s["output"] for i, s in model.provenance["states"].items()} == {"h1_in": "h2_out", "h2_in": "h1_out"}
    assert verify(model, path, short=True).ok


def test_one_state_read_by_two_layers(tmp_path: Path) -> None:
    """Two layers begin from one state and end apart: which of them goes on must be said."""
    nodes = [
        node("GRU", ["x", "W", "R", "", "", "h"], ["Y1", "h1"], **GRU),
        node("GRU", ["x", "W", "R", "B", "", "h"], ["Y2", "h2"], **GRU), node("Concat", ["Y1", "Y2"], ["y"], axis=3),
    ]  # fmt: skip
    inputs = {"x": [1, 1, 3], "h": [1, 1, 4]}
    path = step(tmp_path / "m.onnx", nodes, gru() | {"B": draw(1, 24)}, inputs, ["y", "h1", "h2"])
    refused(path, "'h'.*may be a state: 'h1', 'h2'")
    assert verify(import_onnx(path, states={"h": "h2"}), path, short=True).ok


def test_one_input_is_both_states_of_a_layer(tmp_path: Path) -> None:
    """h and c begin alike, but do not go on alike."""
    nodes = [node("LSTM", ["x", "W", "R", "", "", "s_in", "s_in"], ["y", "s_out", "c"], hidden_size=4)]
    path = step(tmp_path / "m.onnx", nodes, lstm(3), {"x": [1, 1, 3], "s_in": [1, 1, 4]}, ["y", "s_out", "c"])
    refused(path, "'s_in'.*may be a state")


AUDIO = [
    node("Unsqueeze", ["audio_in", "zero"], ["xa"]), node("Mul", ["xa", "gain"], ["xr"]),
    node("GRU", ["xr", "W", "R", "", "", "h_in"], ["Y", "h_out"], **GRU), node("Squeeze", ["Y", "one"], ["s"]),
    node("MatMul", ["s", "M"], ["m"]), node("Squeeze", ["m", "zero"], ["audio_out"]),
]  # fmt: skip


def test_a_reading_and_a_result_of_one_kind(tmp_path: Path) -> None:
    """audio_in and audio_out agree in name and shape, and are no state: asked about, and right when said."""
    inputs = {"audio_in": [1, 3], "gain": [1, 1, 1], "h_in": [1, 1, 4]}
    path = step(tmp_path / "m.onnx", AUDIO, gru() | {"M": draw(4, 3)}, inputs, ["audio_out", "h_out"])
    refused(path, r"'audio_in'.*may be a state.*if it is a reading, say the others, states=\{'h_in': 'h_out'\}")
    model = import_onnx(path, states={"h_in": "h_out"})
    assert [c.name for c in model.inputs] == ["audio_in[0]", "audio_in[1]", "audio_in[2]", "gain"]
    assert verify(model, path, short=True).ok


def test_the_robots_own_state_is_a_reading(tmp_path: Path) -> None:
    """A model of the world takes the measured state and foretells the next one: no memory, unless it is said."""
    nodes = [
        node("Concat", ["state", "action"], ["sa"], axis=1), node("MatMul", ["sa", "M"], ["m"]),
        node("Tanh", ["m"], ["next_state"]), node("MatMul", ["next_state", "V"], ["reward"]),
    ]  # fmt: skip
    inputs = {"state": ["N", 4], "action": ["N", 3]}
    path = step(tmp_path / "m.onnx", nodes, {"M": draw(7, 4), "V": draw(4, 1)}, inputs, ["next_state", "reward"])
    refused(path, "'state'.*may be a state: 'next_state'")
    assert import_onnx(path, "continuous", states={}).program.input_size == 7


def test_a_chunk_that_begins_anew_in_part(tmp_path: Path) -> None:
    """One layer's state is handed on from chunk to chunk, another's is not: one run is one reading of the whole chunk,
    and ten chunks are those of ONNX Runtime."""
    nodes = [
        node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["Y", "hn", "cn"], hidden_size=4),
        node("Squeeze", ["Y", "one"], ["s"]), node("GRU", ["s", "V", "Q"], ["y"], hidden_size=3),
    ]  # fmt: skip
    constants = lstm(3, V=draw(1, 9, 4), Q=draw(1, 9, 3))
    inputs = {"x": [5, 1, 3], "h": [1, 1, 4], "c": [1, 1, 4]}
    path = step(tmp_path / "m.onnx", nodes, constants, inputs, ["y", "hn", "cn"])
    model = import_onnx(path)
    assert model.program.input_size == 15
    assert verify(model, path, short=True).ok


def test_a_chunk_that_hands_everything_on(tmp_path: Path) -> None:
    """All memory is handed on: five readings at a time are five single readings, also from chunk to chunk."""
    nodes = [node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=4)]
    inputs = {"x": [5, 1, 3], "h": [1, 1, 4], "c": [1, 1, 4]}
    path = step(tmp_path / "m.onnx", nodes, lstm(3), inputs, ["y", "hn", "cn"])
    model, x = import_onnx(path), draw(20, 3)
    state, rows = [np.zeros((1, 1, 4), np.float32)] * 2, []
    for k in range(0, 20, 5):
        y, *state = onnxruntime_run(path, {"x": x[k : k + 5, None], "h": state[0], "c": state[1]})
        rows.append(y.reshape(5, 4))
    assert np.allclose(model.stream().run(x), np.concatenate(rows), atol=1e-6)
    assert verify(model, path, short=True).ok


def test_a_state_is_never_a_window(tmp_path: Path) -> None:
    """Where no output carries the state of a layer on, its axes are not taken for time either, whatever is asked."""
    nodes = [node("GRU", ["x", "W", "R", "", "", "h_in"], ["Y"], **GRU), node("Tanh", ["Y"], ["y"])]
    path = step(tmp_path / "m.onnx", nodes, gru(), {"x": [1, 1, 3], "h_in": [1, 1, 4]}, ["y"])
    for options in ({}, {"mode": "window"}, {"mode": "window", "window": 4}, {"mode": "window", "time_axis": 2}):
        refused(path, "initial state|is not clear|may be a state|no axis|window", **options)


def test_an_input_that_nothing_reads(tmp_path: Path) -> None:
    """Where h and c were one tensor at export, PyTorch's newer exporter reads only one of them: the memory is wrong."""
    nodes = [
        node("LSTM", ["x", "W", "R", "", "", "c_in", "c_in"], ["y", "h_out", "c_out"], hidden_size=4),
    ]  # fmt: skip
    inputs = {"x": [1, 1, 3], "h_in": [1, 1, 4], "c_in": [1, 1, 4]}
    path = step(tmp_path / "m.onnx", nodes, lstm(3), inputs, ["y", "h_out", "c_out"])
    refused(path, r"'h_in' \[1, 1, 4\] is read by no node.*one and the same tensor.*--set h_in=0")
    refused(path, "'c_in'.*may be a state: 'h_out', 'c_out'", constants={"h_in": 0})
    assert import_onnx(path, constants={"h_in": 0}, states={"c_in": "c_out"}).program.input_size == 3
