"""What becomes a model for ONNX Runtime, what stays refused, and what is reported of it."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.core.model import Model
from edge_lstm.core.program import Program
from edge_lstm.core.storage import load, save
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native.session import layout_of
from edge_lstm.errors import ImportModelError, ModelFileError, ProgramError, StateError
from edge_lstm.firmware.export import firmware
from edge_lstm.importers import import_onnx
from edge_lstm.importers.onnx.fallback.build import import_fallback
from edge_lstm.importers.onnx.options import ImportOptions
from edge_lstm.importers.onnx.read import read_onnx
from tests.support.graphs.fallback_graphs import CASES, Case, readings, weights
from tests.support.graphs.heads import head_file
from tests.support.graphs.onnx_files import node
from tests.support.graphs.onnx_files import save as save_graph
from tests.support.graphs.random_graphs import RandomGraph
from tests.support.oracles.meanings import compared

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "onnx").glob("*.onnx"))
VECTORS_BY_NAME = {path.stem: path for path in VECTORS}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def quietly(path: Path, **options: Any) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_onnx(path, **options)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ImportModelError) as caught:
        import_onnx(path, **options)
    return str(caught.value)


@EACH
def test_the_machine_refuses_and_what_forced_it_is_told(case: Case, tmp_path: Path) -> None:
    """engine="native" refuses each of these graphs by node; auto warns with the same words and keeps them."""
    path = case.make(tmp_path / "m.onnx")
    assert case.forced_by in refusal(path, engine="native", **case.options)
    with pytest.warns(UserWarning, match="runs with ONNX Runtime, because") as warned:
        model = import_onnx(path, **case.options)
    assert case.forced_by in str(warned[0].message)
    assert case.forced_by in model.provenance["engine_reason"]
    assert model.provenance["engine"].startswith("ONNX Runtime ")
    assert model.program.onnx is not None


@EACH
def test_verify_compares_it_like_any_model(case: Case, tmp_path: Path) -> None:
    """`verify` runs the file itself with the timing that the import found, and finds no difference."""
    path = case.make(tmp_path / "m.onnx")
    report = verify(quietly(path, **case.options), path, short=True)
    assert report.ok
    assert {run.name for run in report.runs} == {"random", "saturation"}


@EACH
def test_a_saved_model_is_the_same_model(case: Case, tmp_path: Path) -> None:
    """Saved and loaded: the same digest, the same bits, and snapshots that fit."""
    model = quietly(case.make(tmp_path / "m.onnx"), **case.options)
    save(model, tmp_path / "m.npz")
    again, rows = load(tmp_path / "m.npz"), readings(case, 30)
    assert again.digest == model.digest
    stream, other = model.stream(), again.stream()
    stream.run(rows[:20])
    other.restore(stream.snapshot())
    assert np.array_equal(other.run(rows[20:]), stream.run(rows[20:]), equal_nan=True)


@pytest.mark.parametrize(
    "path",
    [path if k % 3 == 0 else pytest.param(path, marks=pytest.mark.long) for k, path in enumerate(VECTORS)],
    ids=lambda p: p.stem,
)
def test_what_the_machine_can_hold_runs_with_either(path: Path) -> None:
    """engine="onnxruntime" on exports of PyTorch: the same readings, the same timing, outputs within 1e-5."""
    native, other = import_onnx(path, engine="native"), import_onnx(path, engine="onnxruntime")
    assert (native.program.onnx, other.provenance["engine_reason"]) == (None, "asked for")
    assert [c.name for c in other.inputs] == [c.name for c in native.inputs]
    assert [c.name for c in other.outputs] == [c.name for c in native.outputs]
    assert other.provenance["window"] == native.provenance["window"]
    rows = np.random.default_rng(0).normal(0, 1, (60, len(native.inputs))).astype(np.float32)
    ours, theirs = native.stream().run(rows), other.stream().run(rows)
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.nanmax(np.abs(ours - theirs)) <= 1e-5 * (np.nanmax(theirs) - np.nanmin(theirs))


@pytest.mark.long
def test_experiments_find_the_meaning_that_is_proven() -> None:
    """For every export of PyTorch that runs: by experiment the same axes and states as the importer derives for
    the native engine, or a refusal; never others."""
    found = 0
    for path in VECTORS:
        proven = import_onnx(path, engine="native").timing.axes
        options = ImportOptions("auto", None, None, {}, None, "wait", None)
        try:
            probed = import_fallback(path, read_onnx(path), options, "a test")[1].axes
        except ImportModelError:
            continue
        found += 1
        assert proven is not None
        assert probed is not None
        assert probed.states == proven.states
        if not proven.states:  # of a step every open axis is one long, whatever it is called
            for ours, theirs in ((probed.inputs, proven.inputs), (probed.outputs, proven.outputs)):
                assert {n: a.time for n, a in ours.items()} == {n: a.time for n, a in theirs.items()}
    assert found >= 25


def test_a_network_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More operations than the native engine takes: the size is named, and ONNX Runtime runs it."""
    path, rows = VECTORS_BY_NAME["lstm_seq_legacy17_time_first"], np.ones((9, 3), np.float32)
    expected = import_onnx(path, engine="onnxruntime").stream().run(rows)
    monkeypatch.setattr("edge_lstm.importers.onnx.plan.MAX_STEPS", 1)
    with pytest.raises(ImportModelError, match="more than 1 operations per reading"):
        import_onnx(path, engine="native")
    with pytest.warns(UserWarning, match="because the network needs more than 1 operations per reading"):
        model = import_onnx(path)
    assert np.array_equal(model.stream().run(rows), expected)


def test_experiments_agree_with_proofs_on_random_graphs(tmp_path: Path) -> None:
    """The first 12 of `tests/long/test_meanings.py`: the same timing and the same outputs, or a refusal."""
    found = [compared(RandomGraph(tmp_path, seed).path, seed) for seed in range(12)]
    assert not [what for what in found if what.startswith("wrong")]
    assert found.count("equal") >= 10


UNCLEAR = {
    "a state lost at export": (
        [node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=5), node("Sin", ["Y"], ["y"])],
        {"x": [1, 1, 3]},
        {"y": [1, 1, 1, 5]},
        {},
        "the state was lost",
    ),
    "a state lost behind the operator": (
        [node("Sin", ["x"], ["z"]), node("LSTM", ["z", "W", "R"], ["y"], hidden_size=5)],
        {"x": [1, 1, 3]},
        {"y": [1, 1, 1, 5]},
        {"mode": "continuous", "time_axis": "none"},
        "the state was lost",
    ),
    "a state lost beside a layer over frequencies": (
        [
            node("Sin", ["x"], ["z"]),
            node("LSTM", ["z", "W", "R"], ["F", "f"], hidden_size=5),
            node("LSTM", ["f", "W2", "R2"], ["y"], hidden_size=5),
        ],
        {"x": [8, 1, 3]},
        {"y": [1, 1, 1, 5]},
        {},
        "the state was lost.*is one reading long",
    ),
    "a memory beside the states": (
        [
            node("Sin", ["x"], ["z"]),
            node("CumSum", ["z", "zero"], ["s"]),
            node("LSTM", ["s", "W", "R", "", "", "h_in", "c_in"], ["y", "h_out", "c_out"], hidden_size=5),
        ],
        {"x": ["T", "B", 3], "h_in": [1, "B", 5], "c_in": [1, "B", 5]},
        {"y": ["T", 1, "B", 5], "h_out": [1, "B", 5], "c_out": [1, "B", 5]},
        {},
        "differs from the whole sequence at reading 2",
    ),
    "half of a state carried": (
        [
            node("Sin", ["x"], ["z"]),
            node("LSTM", ["z", "W", "R", "", "", "h_in"], ["y", "h_out"], hidden_size=5),
        ],
        {"x": [1, 1, 3], "h_in": [1, 1, 5]},
        {"y": [1, 1, 1, 5], "h_out": [1, 1, 5]},
        {},
        "the state was lost",
    ),
    "names that do not pair": (
        [
            node("Sin", ["x"], ["z"]),
            node("LSTM", ["z", "W", "R", "", "", "a", "b"], ["y", "p", "q"], hidden_size=5),
        ],
        {"x": [1, 1, 3], "a": [1, 1, 5], "b": [1, 1, 5]},
        {"y": [1, 1, 1, 5], "p": [1, 1, 5], "q": [1, 1, 5]},
        {},
        "'a' .* is the initial state of layer",
    ),
    "nothing shows time": ([node("Sin", ["x"], ["y"])], {"x": [1, 8, 3]}, {"y": [1, 8, 3]}, {}, "say time_axis="),
    "memory outside the layers": (
        [
            node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=5),
            node("Sin", ["Y"], ["z"]),
            node("CumSum", ["z", "zero"], ["y"]),
        ],
        {"x": ["T", 1, 3]},
        {"y": ["T", 1, 1, 5]},
        {},
        r"differs from the whole sequence at reading 2.*window=T",
    ),
    "a delay of 50 readings": (
        [
            node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=5),
            node("Sin", ["Y"], ["z"]),
            node("Concat", ["none", "z"], ["all"], axis=0),
            node("Slice", ["all", "begin", "end"], ["d"]),
            node("Add", ["z", "d"], ["y"]),
        ],
        {"x": ["T", 1, 3]},
        {"y": ["T", 1, 1, 5]},
        {},
        r"differs from the whole sequence at reading 51.*window=T",
    ),
    "a length that is asked for": (
        [
            node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=5),
            node("Sin", ["Y"], ["z"]),
            node("Shape", ["z"], ["s"]),
            node("Gather", ["s", "zero"], ["T"]),
            node("Greater", ["T", "many"], ["long"]),
            node("Neg", ["z"], ["other"]),
            node("Where", ["long", "other", "z"], ["y"]),
        ],
        {"x": ["T", 1, 3]},
        {"y": ["T", 1, 1, 5]},
        {},
        "differs from the whole sequence",
    ),
    "random numbers": (
        [
            node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=5),
            node("RandomNormalLike", ["Y"], ["r"]),
            node("Add", ["Y", "r"], ["y"]),
        ],
        {"x": ["T", 1, 3]},
        {"y": ["T", 1, 1, 5]},
        {},
        "draws random numbers",
    ),
    "an operator of nobody": (
        [node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=5), node("Frob", ["Y"], ["y"], domain="my.company")],
        {"x": ["T", 1, 3]},
        {"y": ["T", 1, 1, 5]},
        {},
        r"my\.company\.Frob.*ONNX Runtime does not load it",
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_not_clear_stays_refused(name: str, tmp_path: Path) -> None:
    """ONNX Runtime runs what the native engine cannot, but nothing unclear: each refusal names it and the way out."""
    nodes, inputs, outputs, options, pattern = UNCLEAR[name]
    used = {n for item in nodes for n in item.input}
    constants = {
        **weights(4),
        **weights(4, width=5, suffix="2"),
        "zero": np.array(0),
        "many": np.array(5000),
        "begin": np.array([0]),
        "end": np.array([-50]),
        "none": np.zeros((50, 1, 1, 5), np.float32),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, {k: v for k, v in constants.items() if k in used}, inputs, outputs)
    assert re.search(pattern, refusal(path, **options), re.DOTALL)


def test_a_left_over_weight_is_a_note_in_any_engine(tmp_path: Path) -> None:
    """Weights that no node of the file reads are noted."""
    path = head_file(tmp_path / "m.onnx", [node("Sin", ["h"], ["y"])], {"lonely": np.ones((3, 3), np.float32)})
    note = "the weight 'lonely' [3, 3] is used by no node of the file"
    assert all(note in quietly(path, engine=engine).provenance["notes"] for engine in ("auto", "onnxruntime"))
    assert "engine 'gpu' is unknown" in refusal(path, engine="gpu")


def test_an_input_without_dimensions(tmp_path: Path) -> None:
    """A single number [] beside the readings of a step is a channel of one number in ONNX Runtime's engine too."""
    constants = {"W": np.eye(3, dtype=np.float32)}
    nodes = [
        node("MatMul", ["h_in", "W"], ["m"]),
        node("Mul", ["m", "gain"], ["g"]),
        node("Add", ["g", "x"], ["s"]),
        node("Sin", ["s"], ["h_out"]),
        node("Identity", ["h_out"], ["y"]),
    ]
    ins = {"x": [1, 3], "gain": [], "h_in": [1, 3]}
    path = save_graph(tmp_path / "m.onnx", nodes, constants, ins, {"y": [1, 3], "h_out": [1, 3]})
    model = quietly(path, states={"h_in": "h_out"})
    assert [c.name for c in model.inputs] == ["x[0]", "x[1]", "x[2]", "gain"]
    rows = np.random.default_rng(0).normal(0, 0.5, (9, 4)).astype(np.float32)
    h = np.zeros(3, np.float32)
    for x, y in zip(rows, np.asarray(model.stream().run(rows)), strict=True):
        h = np.sin(h * x[3] + x[:3])
        assert np.abs(y - h).max() < 1e-5


def test_data_in_other_files_comes_along(tmp_path: Path) -> None:
    """External data is taken into the model; the model needs nothing beside it."""
    path = CASES["LSTM and Sin"].make(tmp_path / "a.onnx")
    rows = readings(CASES["LSTM and Sin"], 10)
    expected = quietly(path).stream().run(rows)
    onnx.save(onnx.load(path), tmp_path / "b.onnx", save_as_external_data=True, location="b.data", size_threshold=0)
    model = quietly(tmp_path / "b.onnx")
    (tmp_path / "b.data").unlink()
    assert np.array_equal(model.stream().run(rows), expected)


def changed(model: Model, *, graph: bytes | None = None, meaning: dict[str, Any] | None = None) -> Model:
    """The model with another graph or attribute `meaning` in its operation."""
    op = model.program.onnx
    assert op is not None
    text = json.dumps(json.loads(str(op.attributes["meaning"])) | (meaning or {}))
    content = op.weights["graph"] if graph is None else np.frombuffer(graph, np.uint8)
    operation = replace(op, weights={"graph": content}, attributes={**op.attributes, "meaning": text})
    return replace(model, program=replace(model.program, operations=(operation,)))


def test_a_damaged_graph_in_a_model_file(tmp_path: Path) -> None:
    """Flipped bytes are caught by the digest; a graph that differs from the model, when a stream is made."""
    model = quietly(CASES["LSTM and Sin"].make(tmp_path / "m.onnx"))
    save(model, tmp_path / "m.npz")
    content = bytearray((tmp_path / "m.npz").read_bytes())
    content[content.index(b"perm") + 1] ^= 1
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"damaged"):
        load(tmp_path / "m.npz")
    other = quietly(CASES["attention"].make(tmp_path / "o.onnx"), time_axis=1)
    there = other.program.onnx
    assert there is not None
    for strange in (
        changed(model, graph=b"nonsense"),
        changed(model, graph=there.weights["graph"].tobytes()),
        changed(model, meaning={"states": {}}),
        replace(model, timing=Timing.over_window(3, whole=True)),
        changed(model, meaning={"inputs": {}}),
    ):
        with pytest.raises(ModelFileError, match=r"model 'm': .*its graph is damaged, import it again"):
            strange.stream()
    with pytest.raises(ProgramError, match=r"meaning must be JSON.*inputs must be a table, not 7"):
        changed(model, meaning={"inputs": 7})


def test_a_graph_in_a_model_reads_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model file whose graph points to data outside of it is refused, also where that data is there."""
    monkeypatch.chdir(tmp_path)
    path = CASES["LSTM and Sin"].make(tmp_path / "a.onnx")
    model = quietly(path)
    onnx.save(onnx.load(path), "b.onnx", save_as_external_data=True, location="b.data", size_threshold=0)
    with pytest.raises(ModelFileError, match="its graph is damaged"):
        changed(model, graph=Path("b.onnx").read_bytes()).stream()


def test_a_program_checks_its_graph(tmp_path: Path) -> None:
    """A graph is the only operation of its program, and its attributes are complete."""
    program = quietly(CASES["LSTM and Sin"].make(tmp_path / "m.onnx")).program
    op = program.onnx
    assert op is not None

    def build(*operations: Any) -> Program:
        return replace(program, operations=operations)

    with pytest.raises(ProgramError, match="bytes of an ONNX file"):
        build(replace(op, weights={"graph": op.weights["graph"].astype(np.float32)}))
    with pytest.raises(ProgramError, match="meaning must be JSON"):
        build(replace(op, attributes={"weights": 3}))
    with pytest.raises(ProgramError, match="weights must be a whole number"):
        build(replace(op, attributes={"meaning": "{}"}))
    with pytest.raises(ProgramError, match="must be the only operation"):
        build(op, op)


def test_what_only_the_machine_can_do_says_so(tmp_path: Path) -> None:
    """Gates and firmware: refused by name."""
    model = quietly(CASES["LSTM and Sin"].make(tmp_path / "m.onnx"))
    with pytest.raises(StateError, match=r"runs with ONNX Runtime, which does not show the gates"):
        model.stream(gates=True)
    with pytest.raises(ProgramError, match="cannot go on a microcontroller: ONNX Runtime runs it as a whole"):
        firmware(model)
    with pytest.raises(ProgramError, match="which ONNX Runtime runs"):
        layout_of(model, 4)
    assert "117 weights" not in repr(model)
    assert f"{model.program.weight_count:,} weights" in repr(model)
    assert model.program.weight_count == 4 * 5 * (3 + 5)
