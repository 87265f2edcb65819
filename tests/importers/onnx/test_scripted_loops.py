"""Scripted loops over time: a cell in the body of a Loop, its outputs appended to a list and stacked at the end. What
one pass hands to the next is a state of the stream, where all passes are alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import draw, generator
from tests.support.graphs.onnx_files import Array, difference, onnxruntime_run
from tests.support.graphs.step_graphs import Draft

UNITS, WIDTH = 5, 3
FLOAT, WHOLE, TRUTH = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Step = Callable[[Draft, list[str]], list[str]]  # names of the states to names of what becomes of them, output first


def _cell(op: str) -> Step:
    """An LSTM or a GRU of one reading, as PyTorch writes its cells."""

    def step(d: Draft, states: list[str]) -> list[str]:
        held = [d.add("Unsqueeze", one, d.whole(0)) for one in states]
        _, *after = d.recurrent(op, d.add("Unsqueeze", "now", d.whole(0)), WIDTH, UNITS, held)
        return [d.add("Squeeze", one, d.whole(0)) for one in after]

    return step


def _plain(d: Draft, states: list[str]) -> list[str]:
    """tanh of a dense layer over the reading and h side by side."""
    joined = d.add("Concat", "now", states[0], axis=1)
    return [d.add("Tanh", d.add("MatMul", joined, d.weights(WIDTH + UNITS, UNITS)))]


def _difference(d: Draft, states: list[str]) -> list[str]:
    """As `_plain`, of the reading less the one before, which is the second state."""
    change = d.add("Sub", "now", states[1])
    joined = d.add("Concat", change, states[0], axis=1)
    after = d.add("Tanh", d.add("MatMul", joined, d.weights(WIDTH + UNITS, UNITS)))
    return [after, d.add("Identity", "now")]


STEPS: dict[str, tuple[Step, tuple[int, ...]]] = {  # with the widths of their states
    "LSTM": (_cell("LSTM"), (UNITS, UNITS)),
    "GRU": (_cell("GRU"), (UNITS,)),
    "plain": (_plain, (UNITS,)),
    "difference": (_difference, (UNITS, WIDTH)),
}


def scripted(
    path: Path,
    name: str,
    form: str,
    shape: list[Any],
    *,
    insert: tuple[int, ...] = (),
    read: Callable[[Draft], str] | None = None,
    head: Callable[[Draft], str] | None = None,
) -> Path:
    """A loop over axis 1 of x, its outputs as y [B, T, UNITS]. form: "list", "scan" (outputs of the Loop itself),
    "split" (these cut into a list), "last" (what the last pass hands on). insert: where a list gets its outputs; read:
    the reading of a pass; head: what is made of the list `outputs`."""
    d, (step, widths) = Draft(generator()), STEPS[name]
    for key, number in (("yes", True), ("one", 1), ("zero", 0)):
        d.nodes.append(helper.make_node("Constant", [], [key], value=numpy_helper.from_array(np.array(number), key)))
    d.add("Gather", d.add("Shape", "x"), "one", axis=0, out="count")
    batch = d.add("Slice", d.add("Shape", "x"), d.whole(0), d.whole(1), d.whole(0))
    first = []
    for width in widths:
        size = d.add("Concat", batch, d.whole(width), axis=0)
        value = numpy_helper.from_array(np.array([0.25], np.float32))
        first.append(d.add("ConstantOfShape", size, value=value))
    outside, d.nodes = d.nodes, []
    if read is None:
        d.add("Gather", "x", "pass", axis=1, out="now")
    else:
        d.add("Identity", read(d), out="now")
    states = [f"state{k}" for k in range(len(widths))]
    after = [d.add("Identity", one, out=f"after{k}") for k, one in enumerate(step(d, states))]
    d.add("Identity", "go", out="on")
    value_info, sequence_info = helper.make_tensor_value_info, helper.make_tensor_sequence_value_info
    ins = [value_info("pass", WHOLE, []), value_info("go", TRUTH, [])]
    ins += [value_info(s, FLOAT, [shape[0], w]) for s, w in zip(states, widths, strict=True)]
    outs = [value_info("on", TRUTH, [])]
    outs += [value_info(s, FLOAT, [shape[0], w]) for s, w in zip(after, widths, strict=True)]
    given = ["count", "yes", *first]
    if form == "list":
        where = [f"at{k}" for k in insert]
        for k in insert:
            d.constants[f"at{k}"] = np.array([k])
            d.add("Squeeze", f"at{k}", out=f"place{k}")
        d.add("SequenceInsert", "items", after[0], *[w.replace("at", "place") for w in where], out="more")
        ins, outs = [*ins, sequence_info("items", FLOAT, None)], [*outs, sequence_info("more", FLOAT, None)]
    elif form != "last":
        d.add("Identity", after[0], out="shown")
        outs.append(value_info("shown", FLOAT, [shape[0], UNITS]))
    body, d.nodes = helper.make_graph(d.nodes, "body", ins, outs), outside
    if form == "list":
        given.append(d.add("SequenceEmpty", dtype=FLOAT))
    made = [f"end{k}" for k in range(len(widths))] + ["outputs"] * (form != "last")
    d.outputs("Loop", given, made, body=body)
    if form == "split":
        d.nodes[-1].output[-1] = "parts"
        d.add("SplitToSequence", "parts", axis=0, keepdims=0, out="outputs")
    dims: list[Any] = [*shape[:2], UNITS]
    if head is not None:
        d.add("Identity", head(d), out="y")
        dims = ["b", "t", "n"]
    elif form == "last":
        d.add("Unsqueeze", "end0", d.whole(1), out="y")
    elif form == "scan":
        d.add("Transpose", "outputs", perm=[1, 0, 2], out="y")
    else:
        d.add("ConcatFromSequence", "outputs", axis=1, new_axis=1, out="y")
    return d.save(path, {"x": shape}, {"y": dims})


def windows(path: Path, rows: Array, length: int) -> Array:
    """The newest output of ONNX Runtime for each window of so many rows."""
    ends = range(length, len(rows) + 1)
    return np.array([onnxruntime_run(path, {"x": rows[None, t - length : t]})[0][0, -1] for t in ends])


@pytest.mark.parametrize("batch", [1, "B"])
@pytest.mark.parametrize("form", ["list", "scan", "split", "last"])
@pytest.mark.parametrize("name", STEPS)
def test_an_open_loop_is_a_stream(tmp_path: Path, name: str, form: str, batch: int | str) -> None:
    """Over an open length it is a continuous stream of the native engine, equal to ONNX Runtime's over the whole log at
    every reading, from the state that the loop begins with."""
    path = scripted(tmp_path / "m.onnx", name, form, [batch, "T", WIDTH])
    model = import_onnx(path, engine="native")
    assert (model.timing.mode, model.timing.first_output, model.program.input_size) == ("continuous", 1, WIDTH)
    rows = draw(40, WIDTH)
    if form == "last":
        expected = np.array([onnxruntime_run(path, {"x": rows[None, :t]})[0][0, 0] for t in range(1, 41)])
    else:
        (expected,) = onnxruntime_run(path, {"x": rows[None]})
        expected = expected[0]
    assert difference(np.asarray(model.stream().run(rows)), expected) < 1e-5


@pytest.mark.parametrize("form", ["list", "last"])
@pytest.mark.parametrize("name", STEPS)
def test_a_baked_in_length_is_a_window(tmp_path: Path, name: str, form: str) -> None:
    """Over 6 readings it is a window of 6 whose readings are taken once each, not a window that is computed anew."""
    path = scripted(tmp_path / "m.onnx", name, form, [1, 6, WIDTH])
    model, rows = import_onnx(path, engine="native"), draw(20, WIDTH)
    assert (model.timing.mode, model.timing.window) == ("window", 6)
    assert difference(np.asarray(model.stream().run(rows))[5:], windows(path, rows, 6)) < 1e-5


def test_passes_that_are_not_alike_are_refused(tmp_path: Path) -> None:
    """A pass that reads from the end, or weighs its reading by its number, cannot run on a stream; as a window it is
    ONNX Runtime's."""

    def from_the_end(d: Draft) -> str:
        return d.add("Gather", "x", d.add("Sub", d.add("Sub", "count", "pass"), "one"), axis=1)

    def weighed(d: Draft) -> str:
        return d.add("Mul", d.add("Gather", "x", "pass", axis=1), d.add("Cast", "pass", to=FLOAT))

    for read in (from_the_end, weighed):
        path = scripted(tmp_path / "m.onnx", "plain", "last", [1, "T", WIDTH], read=read)
        with pytest.raises(ImportModelError, match="mode='window', window=T"):
            import_onnx(path)
        model, rows = import_onnx(path, mode="window", window=6), draw(20, WIDTH)
        assert difference(np.asarray(model.stream().run(rows))[5:], windows(path, rows, 6)) < 1e-5


def test_a_list_in_another_order_is_no_stream(tmp_path: Path) -> None:
    """Outputs that are put in front of those before stand in the order of no stream: never shown as if they did."""
    path = scripted(tmp_path / "m.onnx", "plain", "list", [1, "T", WIDTH], insert=(0,))
    with pytest.raises(ImportModelError, match="mode='window', window=T"):
        import_onnx(path)
    model, rows = import_onnx(path, mode="window", window=6), draw(20, WIDTH)
    expected = np.array([onnxruntime_run(path, {"x": rows[None, t - 6 : t]})[0].reshape(-1) for t in range(6, 21)])
    assert difference(np.asarray(model.stream().run(rows))[5:], expected) < 1e-5


def _newest(d: Draft) -> str:
    last = d.add("Squeeze", d.whole(-1))
    return d.add("Unsqueeze", d.add("SequenceAt", "outputs", last), d.whole(1))


def _by_their_number(d: Draft) -> str:
    place = d.add("Sub", d.add("SequenceLength", "outputs"), "one")
    return d.add("Unsqueeze", d.add("SequenceAt", "outputs", place), d.whole(1))


def _anew(d: Draft) -> str:
    ends = [d.add("SequenceAt", "outputs", d.add("Squeeze", d.whole(k))) for k in (0, -1)]
    return d.add("ConcatFromSequence", d.add("SequenceConstruct", *ends), axis=1, new_axis=1)


def _in_halves(d: Draft) -> str:
    joined = d.add("ConcatFromSequence", "outputs", axis=1, new_axis=1)
    parts = d.add("SplitToSequence", joined, d.add("Squeeze", d.whole(4)), axis=1)
    return d.add("SequenceAt", parts, "one")


@pytest.mark.parametrize("head", [_newest, _by_their_number, _anew, _in_halves])
def test_what_a_list_holds(tmp_path: Path, head: Callable[[Draft], str]) -> None:
    """One of a list by its place, counted from either end, a list made of some, a tensor cut into parts: as ONNX
    Runtime has it."""
    path = scripted(tmp_path / "m.onnx", "plain", "list", [1, 6, WIDTH], head=head)
    model, rows = import_onnx(path, time_axis=1, mode="window", engine="native"), draw(20, WIDTH)
    expected = np.array([onnxruntime_run(path, {"x": rows[None, t - 6 : t]})[0].reshape(-1) for t in range(6, 21)])
    y = np.asarray(model.stream().run(rows))[5:]
    assert difference(y, expected[:, -y.shape[1] :]) < 1e-5


def test_lists_where_none_can_be(tmp_path: Path) -> None:
    """A list in place of a tensor, a tensor in place of a list, a place that no list has, nothing to be joined, and a
    list as an output of the network: each refused by its node."""
    far: Callable[[Draft], str] = lambda d: d.add("SequenceAt", "outputs", d.add("Squeeze", d.whole(9)))  # noqa: E731
    ways: list[tuple[Callable[[Draft], str], str]] = [
        (lambda d: d.add("Tanh", "outputs"), "takes a list of tensors where a tensor is needed"),
        (lambda d: d.add("ConcatFromSequence", "x", axis=1), "is no list of tensors"),
        (far, "position 9 does not exist in a list of"),
        (lambda d: d.add("ConcatFromSequence", d.add("SequenceEmpty"), axis=1), "joins an empty list"),
    ]
    for head, sentence in ways:
        path = scripted(tmp_path / "m.onnx", "plain", "list", [1, 6, WIDTH], head=head)
        with pytest.raises(ImportModelError, match=sentence):
            import_onnx(path, engine="native")
    path = scripted(tmp_path / "m.onnx", "plain", "list", [1, 6, WIDTH])
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_sequence_value_info("outputs", FLOAT, None))
    onnx.save(model, path)
    with pytest.raises(ImportModelError, match="'outputs' is a sequence_type, not a tensor"):
        import_onnx(path)
