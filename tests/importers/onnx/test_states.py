"""States of step graphs: proof before names, names before nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from edge_lstm.importers.onnx.states import AFTER, BEFORE, stems
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import node, save
from tests.support.oracles.reference import Reference

W, R = np.split(np.random.default_rng(4).normal(0, 0.6, (1, 16, 7)).astype(np.float32), [3], axis=2)


def lstm_step(path: Path, names: tuple[str, str, str, str], extra: list[Any] | None = None, **outputs: Any) -> Path:
    """One reading of an LSTM: inputs x, names[0], names[1]; outputs y, names[2], names[3]."""
    h, c, h_next, c_next = names
    nodes = [node("LSTM", ["x", "W", "R", "", "", h, c], ["Y", h_next, c_next], hidden_size=4)]
    nodes.append(node("Squeeze", ["Y", "one"], ["y"]))
    shape = [1, "B", 4]
    return save(
        path,
        nodes + (extra or []),
        {"W": W, "R": R, "one": np.array([1])},
        {"x": [1, "B", 3], h: shape, c: shape},
        {"y": shape, h_next: shape, c_next: shape} | outputs,
    )


def test_dataflow_proves_pairs_whatever_the_names_say(tmp_path: Path) -> None:
    """Misleading names do not matter where the recurrent layers show what becomes of an input."""
    path = lstm_step(tmp_path / "m.onnx", ("c_in", "h_in", "c_out", "h_out"))
    states = import_onnx(path).provenance["states"]
    assert {i: s["output"] for i, s in states.items()} == {"c_in": "c_out", "h_in": "h_out"}
    assert all("dataflow" in s["reason"] for s in states.values())
    states = import_onnx(lstm_step(tmp_path / "n.onnx", ("a", "b", "p", "q"))).provenance["states"]
    assert {i: s["output"] for i, s in states.items()} == {"a": "p", "b": "q"}


def test_a_wish_that_contradicts_the_proof_is_refused(tmp_path: Path) -> None:
    """States said crosswise are refused where the recurrent layers show what becomes of an input, and the right pair is
    named; said rightly they are taken."""
    path = lstm_step(tmp_path / "m.onnx", ("h_in", "c_in", "h_out", "c_out"))
    with pytest.raises(ImportModelError, match=r"'c_out' is not the next value of input 'h_in'.*make 'h_out'"):
        import_onnx(path, states={"h_in": "c_out", "c_in": "h_out"})
    states = import_onnx(path, states={"h_in": "h_out", "c_in": "c_out"}).provenance["states"]
    assert {i: s["reason"] for i, s in states.items()} == {"h_in": "as asked", "c_in": "as asked"}


def test_a_state_in_steps_equals_the_sequence(tmp_path: Path) -> None:
    """Carrying the states by hand through the step graph is what the program does by itself."""
    program = import_onnx(lstm_step(tmp_path / "m.onnx", ("h", "c", "h_next", "c_next"))).program
    assert sorted(s.name for s in program.states) == ["lstm_0.c", "lstm_0.h"]
    stream, h = Reference(program), np.zeros(4)
    c = h
    for x in generator().normal(0, 1, (20, 3)):
        i, o, f, g = np.split(W[0].astype(float) @ x + R[0].astype(float) @ h, 4)
        c = 1 / (1 + np.exp(-f)) * c + 1 / (1 + np.exp(-i)) * np.tanh(g)
        h = 1 / (1 + np.exp(-o)) * np.tanh(c)
        assert np.allclose(stream.step(x), h, atol=1e-12)


def test_a_state_that_no_output_carries_on(tmp_path: Path) -> None:
    """It is refused; over a sequence it may be said to be zero."""
    nodes = [node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["y"], hidden_size=4)]
    shape = [1, "B", 4]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        {"W": W, "R": R},
        {"x": ["T", "B", 3], "h": shape, "c": shape},
        {"y": ["T", 1, "B", 4]},
    )
    with pytest.raises(ImportModelError, match=r"input 'h' \[1, B, 4\] is the initial state.*states=\{'h': None\}"):
        import_onnx(path)
    model = import_onnx(path, states={"h": None, "c": None})
    assert [s.slot.size for s in model.program.states] == [4, 4]


def test_a_chunk_with_states_hands_them_on(tmp_path: Path) -> None:
    """An open sequence with states in and out is continuous, and the pairs are proven."""
    nodes = [node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=4)]
    shape = [1, "B", 4]
    ins, outs = {"x": ["T", "B", 3], "h": shape, "c": shape}, {"y": ["T", 1, "B", 4], "hn": shape, "cn": shape}
    model = import_onnx(save(tmp_path / "m.onnx", nodes, {"W": W, "R": R}, ins, outs))
    assert (model.timing.window, model.program.output_size, len(model.program.states)) == (None, 4, 2)
    assert model.provenance["mode_reason"] == "the graph hands its state on from input to output"


def test_a_masked_state_is_not_taken_for_a_reading(tmp_path: Path) -> None:
    """A state that is multiplied with a mask before the layer is proven like one that is not, and no answer can
    contradict it."""
    rng = np.random.default_rng(0)
    constants = {"W": rng.normal(0, 1, (1, 12, 3)), "R": rng.normal(0, 1, (1, 12, 4)), "one": np.array([1])}
    constants = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in constants.items()}
    nodes = [
        node("Mul", ["memory", "keep"], ["kept"]),
        node("GRU", ["x", "W", "R", "", "", "kept"], ["Y", "after"], hidden_size=4, linear_before_reset=1),
        node("Squeeze", ["Y", "one"], ["s"]),
        node("Tanh", ["s"], ["y"]),
    ]
    ins = {"x": [1, "B", 3], "keep": [1, "B", 1], "memory": [1, "B", 4]}
    path = save(tmp_path / "m.onnx", nodes, constants, ins, {"y": [1, "B", 4], "after": [1, "B", 4]})
    with pytest.raises(ImportModelError, match=r"'y' is not the next value of input 'memory'.*--state memory=after"):
        import_onnx(path, states={"memory": "y"})
    for said in (None, {"memory": "after"}):
        model = import_onnx(path, states=said)
        assert [s["output"] for s in model.provenance["states"].values()] == ["after"]
    assert [c.name for c in model.inputs] == ["x[0]", "x[1]", "x[2]", "keep"]
    assert [s.name for s in model.program.states] == ["memory"]


def cell(path: Path, inputs: dict[str, list[Any]], outputs: list[str], nodes: list[Any]) -> Path:
    shape = ["B", 3]
    return save(path, nodes, {}, inputs, dict.fromkeys(outputs, shape))


def test_names_decide_where_the_cell_is_written_out(tmp_path: Path) -> None:
    """Without a recurrent operator the names must agree; a lone y is not taken for a state."""
    nodes = [node("Add", ["x", "h_in"], ["s"]), node("Tanh", ["s"], ["h_out"]), node("Exp", ["h_out"], ["y"])]
    shape = ["B", 3]
    nodes.insert(0, node("ReduceMean", ["r"], ["x"], axes=[1]))
    model = import_onnx(cell(tmp_path / "m.onnx", {"r": ["B", 5], "h_in": shape}, ["y", "h_out"], nodes))
    assert model.provenance["states"]["h_in"]["reason"] == "name and shape"
    assert [s.name for s in model.program.states] == ["h_in"]


def test_an_unclear_state_is_refused_with_its_candidates(tmp_path: Path) -> None:
    """Candidates and the option that decides are in the message, and the option works."""
    nodes = [node("Add", ["x", "memory"], ["s"]), node("Tanh", ["s"], ["first"]), node("Exp", ["first"], ["second"])]
    shape = ["B", 3]
    path = cell(tmp_path / "m.onnx", {"x": shape, "memory": shape}, ["first", "second"], nodes)
    with pytest.raises(ImportModelError, match="say states="):
        import_onnx(path)
    model = import_onnx(path, states={"memory": "first"})
    assert model.provenance["states"]["memory"]["output"] == "first"
    with pytest.raises(ImportModelError, match="'nothing' is no output of the graph; there are 'first', 'second'"):
        import_onnx(path, states={"memory": "nothing"})
    with pytest.raises(ImportModelError, match="'nothing' is no input"):
        import_onnx(path, states={"nothing": "first"})


def test_states_that_change_places_do_so_at_once(tmp_path: Path) -> None:
    """A delay line: every state takes the value that its neighbour had before the step."""
    nodes = [
        node("Identity", ["a_in"], ["b_out"]),
        node("Identity", ["b_in"], ["c_out"]),
        node("Identity", ["x"], ["a_out"]),
        node("Add", ["c_in", "x"], ["y"]),
    ]
    shape = ["B", 3]
    names = ["a_in", "b_in", "c_in"]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        {},
        {"x": shape} | dict.fromkeys(names, shape),
        {"y": shape} | {n.replace("in", "out"): shape for n in names},
    )
    model = import_onnx(path, states={n: n.replace("in", "out") for n in names})
    xs = np.arange(24, dtype=np.float32).reshape(8, 3)
    expected = xs + np.vstack([np.zeros((3, 3)), xs[:-3]])
    assert np.array_equal(Reference(model.program).run(xs), expected)
    assert np.array_equal(np.asarray(model.stream().run(xs)), expected)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("h_in", "h_out", True),
        ("h0", "hn", True),
        ("hidden", "next_hidden", True),
        ("stateIn", "stateOut", True),
        ("h", "h_new", True),
        ("c0", "hn", False),
        ("x", "y", False),
        ("state_0_in", "state_1_out", False),
        ("state_1_in", "state_1_out", True),
        ("prev_c", "c", True),
        ("cache_in", "output", False),
    ],
)
def test_names_of_a_state_before_and_after_a_step(before: str, after: str, same: bool) -> None:
    """What is left of both names without the words for before and after must be the same."""
    assert bool(stems(before, BEFORE) & stems(after, AFTER)) is same
