"""Networks exported as one step, as users have them: imported without a hint, equal to ONNX Runtime with the states
handed on, and wrong answers refused."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import difference, node, save
from tests.support.graphs.step_graphs import StepGraph, enhancer, packed, two_cells, written_step

LSTM_NAMES = {"44": "61", "45": "59"}  # as exporters name what nobody has named
STEPS = 60


def check(graph: StepGraph, **options: object) -> None:
    """The import pairs the states that the graph has, and equals ONNX Runtime."""
    model = import_onnx(graph.path, engine="native", **options)  # type: ignore[arg-type]
    assert {i: s["output"] for i, s in model.provenance["states"].items()} == {
        i: after for i, (after, _) in graph.states.items()
    }
    assert (model.timing.mode, model.timing.first_output) == ("continuous", 1)
    rows = generator().normal(0, 1, (STEPS, model.program.input_size)).astype(np.float32)
    assert difference(np.asarray(model.stream().run(rows)), graph.run(rows)) < 1e-5


@pytest.mark.parametrize("time_axis", [None, "none"])
def test_several_caches(tmp_path: Path, time_axis: str | None) -> None:
    """Ten GRUs, some over bands, three caches of 4 and 5 axes: one run is one reading, and is found at once, also where
    it is said; no axis of a cache is taken for time."""
    graph = enhancer(tmp_path / "m.onnx", generator())
    started = time.process_time()  # whatever else runs here
    check(graph, time_axis=time_axis)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("written", [False, True], ids=["operators", "primitives"])
def test_states_packed_into_one(tmp_path: Path, written: bool) -> None:
    """h and c of two layers in one state [1, 2, units, 2], of LSTM operators or of cells written out, are one state;
    none of its axes is asked about."""
    graph = packed(tmp_path / "m.onnx", generator(), written=written)
    check(graph)
    states = import_onnx(graph.path).provenance["states"]
    assert states["memory"]["reason"].startswith("dataflow")


@pytest.mark.parametrize("form", ["", "joined", "masked"])
def test_an_lstm_cell_in_primitives_is_proven_by_its_arithmetic(tmp_path: Path, form: str) -> None:
    """c is what a gate lets through, element by element, h what enters the products: names do not matter, and answers
    that contradict it are refused with the right ones."""
    graph = written_step(tmp_path / "m.onnx", generator(), "LSTM", LSTM_NAMES, form)
    if form != "masked":
        check(graph)
    else:
        assert set(import_onnx(graph.path).provenance["states"]) == set(LSTM_NAMES)
    wrong = "not the next value of input '44': the recurrent layers make '61'.*--state 44=61"
    with pytest.raises(ImportModelError, match=wrong):
        import_onnx(graph.path, states={"44": "59", "45": "61"})
    with pytest.raises(ImportModelError, match="input '44' is the state of a recurrent layer, but is not named"):
        import_onnx(graph.path, states={"45": "59"})
    swapped = written_step(tmp_path / "s.onnx", generator(), "LSTM", {"c_in": "c_out", "h_in": "h_out"}, form)
    states = import_onnx(swapped.path).provenance["states"]
    assert {i: s["output"] for i, s in states.items()} == {"c_in": "c_out", "h_in": "h_out"}


@pytest.mark.parametrize("form", ["", "lerp"])
def test_a_gru_cell_in_primitives_is_proven_by_its_arithmetic(tmp_path: Path, form: str) -> None:
    """Its state is let through by a gate that is made of it: (1 - z) n + z h, and n + z (h - n)."""
    check(written_step(tmp_path / "m.onnx", generator(), "GRU", {"11": "37"}, form))


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_cells_on_top_of_each_other(tmp_path: Path, op: str) -> None:
    """Two cells in primitives, each with its own states of names that tell nothing: all are proven."""
    check(two_cells(tmp_path / "m.onnx", generator(), op))


def test_lengths_that_are_an_input(tmp_path: Path) -> None:
    """sequence_lens as an input of a step (RLlib) is asked for as the option can be typed, and said it is folded."""
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 12, 3), "R": (1, 12, 4)}
    floats = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        node("Unsqueeze", ["obs", "zero"], ["x"]),
        node("Unsqueeze", ["state_in_0", "zero"], ["h"]),
        node("Cast", ["seq_lens"], ["lengths"], to=6),
        node("GRU", ["x", "W", "R", "", "lengths", "h"], ["Y", "hn"], hidden_size=4, linear_before_reset=1),
        node("Squeeze", ["hn", "zero"], ["state_out_0"]),
        node("Tanh", ["state_out_0"], ["logits"]),
    ]
    ins = {"obs": ["B", 3], "state_in_0": ["B", 4], "seq_lens": ["B"]}
    outs = {"logits": ["B", 4], "state_out_0": ["B", 4]}
    path = save(tmp_path / "m.onnx", nodes, floats | {"zero": np.array([0])}, ins, outs, opset=13)
    with pytest.raises(ImportModelError, match=r"sequence_lens are computed from the readings.*--set seq_lens=1"):
        import_onnx(path, engine="native")
    model = import_onnx(path, engine="native", constants={"seq_lens": 1})
    assert (model.program.input_size, model.timing.mode) == (3, "continuous")
    assert verify(model, path, short=True).error < 1e-5


def test_where_the_reading_could_be_h_as_well(tmp_path: Path) -> None:
    """With as many features as units both enter the products alike: a name that means a memory decides, else it is
    asked, as the options can be typed, and the answer works; c is proven in any case."""
    named = written_step(tmp_path / "n.onnx", generator(), "LSTM", {"hx": "p", "cx": "q"}, width=5)
    check(named)
    unnamed = written_step(tmp_path / "m.onnx", generator(), "LSTM", LSTM_NAMES, width=5)
    with pytest.raises(ImportModelError, match=r"may be a state: .*--state 45=59 --state"):
        import_onnx(unnamed.path)
    check(unnamed, states=LSTM_NAMES)
    with pytest.raises(ImportModelError, match="'59' is not the next value of input '44': it is what becomes of '45'"):
        import_onnx(unnamed.path, states={"44": "59", "45": "61"})


def test_a_model_of_the_world_and_a_mask_are_no_cells(tmp_path: Path) -> None:
    """state + f(state) and gate * spectrum are not proven to be memories: they are asked about, or readings."""
    rng = np.random.default_rng(0)
    floats = {"A": rng.normal(0, 1, (6, 4)).astype(np.float32), "B": rng.normal(0, 1, (4, 4)).astype(np.float32)}
    world = [
        node("Concat", ["measured", "u"], ["xu"], axis=1),
        node("MatMul", ["xu", "A"], ["f"]),
        node("Tanh", ["f"], ["t"]),
        node("Add", ["measured", "t"], ["predicted"]),
    ]
    ins, outs = {"measured": [1, 4], "u": [1, 2]}, {"predicted": [1, 4]}
    with pytest.raises(ImportModelError, match=r"no memory.*\(measured -> predicted\): --state measured=predicted"):
        import_onnx(save(tmp_path / "w.onnx", world, floats, ins, outs))
    mask = [
        node("MatMul", ["x", "B"], ["f"]),
        node("Sigmoid", ["f"], ["g"]),
        node("Mul", ["g", "x"], ["y"]),
    ]
    with pytest.raises(ImportModelError, match=r"no memory"):
        import_onnx(save(tmp_path / "s.onnx", mask, floats, {"x": [1, 4]}, {"y": [1, 4]}))
    highway = [
        *mask[:2],
        node("Sub", ["unit", "g"], ["rest"]),
        node("Tanh", ["f"], ["t"]),
        node("Mul", ["rest", "t"], ["fresh"]),
        node("Mul", ["g", "x"], ["kept"]),
        node("Add", ["kept", "fresh"], ["through"]),
        node("Mul", ["through", "gain"], ["y"]),
    ]
    constants = floats | {"unit": np.array([1], np.float32)}
    ins, outs = {"x": [1, 4], "gain": [1, 1]}, {"y": [1, 4], "through": [1, 4]}
    with pytest.raises(ImportModelError, match=r"no memory"):
        import_onnx(save(tmp_path / "h.onnx", highway, constants, ins, outs))


def test_a_batch_is_no_part_of_the_reading(tmp_path: Path) -> None:
    """Eight robots side by side in a step are streams, not one reading of eight parts."""
    rng = np.random.default_rng(0)
    constants = {
        "W": rng.normal(0, 0.5, (1, 12, 3)),
        "R": rng.normal(0, 0.5, (1, 12, 4)),
        "D": rng.normal(0, 1, (4, 2)),
    }
    nodes = [
        node("Unsqueeze", ["x", "zero"], ["xt"]),
        node("GRU", ["xt", "W", "R", "", "", "h_in"], ["Y", "h_out"], hidden_size=4, linear_before_reset=1),
        node("Squeeze", ["h_out", "zero"], ["s"]),
        node("MatMul", ["s", "D"], ["y"]),
    ]
    floats = {k: v.astype(np.float32) for k, v in constants.items()} | {"zero": np.array([0])}
    ins, outs = {"x": [8, 3], "h_in": [1, 8, 4]}, {"y": [8, 2], "h_out": [1, 8, 4]}
    model = import_onnx(save(tmp_path / "m.onnx", nodes, floats, ins, outs, opset=13))
    assert (model.program.input_size, model.program.output_size) == (3, 2)


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_outputs_that_are_constants_are_left_out(tmp_path: Path, engine: str) -> None:
    """A version number and a memory size beside the actions (ML-Agents) are no outputs of a stream: left out, and
    noted; h and c are one input of both, split and joined again."""
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 16, 3), "R": (1, 16, 4), "D": (4, 2)}
    floats = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    floats |= {"version": np.array([3], np.float32), "size": np.array([8], np.float32)}
    nodes = [
        node("Transpose", ["recurrent_in"], ["memory"], perm=[1, 0, 2]),
        node("Split", ["memory", "halves"], ["h", "c"], axis=2),
        node("Unsqueeze", ["obs_0", "zero"], ["x"]),
        node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["Y", "hn", "cn"], hidden_size=4),
        node("Concat", ["hn", "cn"], ["joined"], axis=2),
        node("Transpose", ["joined"], ["recurrent_out"], perm=[1, 0, 2]),
        node("Squeeze", ["hn", "zero"], ["last"]),
        node("MatMul", ["last", "D"], ["continuous_actions"]),
        node("Identity", ["version"], ["version_number"]),
        node("Identity", ["size"], ["memory_size"]),
    ]
    whole = {"halves": np.array([4, 4]), "zero": np.array([0])}
    state = ["batch", 1, 8]
    ins = {"obs_0": ["batch", 3], "recurrent_in": state}
    outs = {"version_number": [1], "memory_size": [1], "continuous_actions": ["batch", 2], "recurrent_out": state}
    path = save(tmp_path / "m.onnx", nodes, floats | whole, ins, outs, opset=13)
    model = import_onnx(path, engine=engine)
    assert (model.program.input_size, model.program.output_size) == (3, 2)
    assert {i: s["output"] for i, s in model.provenance["states"].items()} == {"recurrent_in": "recurrent_out"}
    assert "output 'version_number' is a constant, and is left out" in model.provenance["notes"]
    assert verify(model, path, short=True).error < 1e-5
