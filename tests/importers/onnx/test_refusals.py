"""What is not understood is refused by name: node, operator, attribute, value, and the way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.heads import head_file
from tests.support.graphs.onnx_files import node, onnxruntime_run, recurrent_file, save


def refusal(path: Path, **options: Any) -> str:
    """The sentence with which a file is refused; it names the file."""
    with pytest.raises(ImportModelError) as caught:
        import_onnx(path, **{"engine": "native", **options})
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_native_engine_has_an_old_name(tmp_path: Path) -> None:
    """engine="machine" is engine="native"; the sentence about an unknown engine names only the new one."""
    path = recurrent_file(tmp_path / "m.onnx", np.random.default_rng(0), "LSTM")
    assert import_onnx(path, engine="machine").digest == import_onnx(path, engine="native").digest
    with pytest.raises(ImportModelError, match="engine 'tensorflow' is unknown; known are auto, native, onnxruntime"):
        import_onnx(path, engine="tensorflow")


def weights(gates: int, units: int = 4, width: int = 3, directions: int = 1) -> dict[str, Any]:
    return {
        "W": generator().normal(0, 1, (directions, gates * units, width)).astype(np.float32),
        "R": generator().normal(0, 1, (directions, gates * units, units)).astype(np.float32),
    }


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_a_layer_that_reads_backwards(tmp_path: Path, direction: str) -> None:
    """Node, operator, attribute and value are named."""
    count = 2 if direction == "bidirectional" else 1
    nodes = [node("LSTM", ["x", "W", "R"], ["y"], hidden_size=4, direction=direction)]
    path = save(tmp_path / "m.onnx", nodes, weights(4, directions=count), {"x": ["T", 1, 3]}, {"y": ["T", count, 1, 4]})
    assert re.search(rf"'n_y' \(LSTM\).*attribute direction = '{direction}'", refusal(path))


@pytest.mark.parametrize("options", [{}, {"mode": "window", "window": 6}, {"engine": "onnxruntime"}])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_a_state_that_was_lost_at_export(tmp_path: Path, op: str, direction: str, options: Any) -> None:
    """A sequence of one reading with a constant state has no memory, in whichever direction it is read; the message
    shows the right export. The features are never taken for readings of a window instead."""
    gates, count = {"LSTM": 4, "GRU": 3}[op], 2 if direction == "bidirectional" else 1
    nodes = [node(op, ["x", "W", "R"], ["y"], hidden_size=4, direction=direction)]
    ins, outs = {"x": [1, 1, 6]}, {"y": [1, count, 1, 4]}
    path = save(tmp_path / "m.onnx", nodes, weights(gates, width=6, directions=count), ins, outs)
    text = refusal(path, **options)
    assert "the state was lost" in text
    names = {"LSTM": '"h_in", "c_in"', "GRU": '"h_in"'}[op]
    assert f'input_names=["x", {names}]' in text
    assert f"self.{op.lower()}(x, " in text
    strange = [node(op, ["x", "W", "R"], ["Y"], hidden_size=4, direction=direction), node("Sin", ["Y"], ["y"])]
    path = save(tmp_path / "s.onnx", strange, weights(gates, width=6, directions=count), ins, outs)
    assert "the state was lost" in refusal(path, **{"engine": "auto", **options})


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_one_step_of_a_layer_that_reads_backwards(tmp_path: Path, direction: str) -> None:
    """With its states as inputs and outputs, a step is one step of each direction, each from its own state, and equals
    ONNX Runtime with the states handed on."""
    count = 2 if direction == "bidirectional" else 1
    nodes = [
        node("GRU", ["x", "W", "R", "", "", "a"], ["Y", "b"], hidden_size=4, direction=direction),
        node("Tanh", ["Y"], ["y"]),
    ]
    shape = [count, 1, 4]
    ins, outs = {"x": [1, 1, 3], "a": shape}, {"y": [1, count, 1, 4], "b": shape}
    path = save(tmp_path / "m.onnx", nodes, weights(3, directions=count), ins, outs)
    model = import_onnx(path)
    assert model.provenance["states"]["a"]["output"] == "b"
    rows, a = generator().normal(0, 1, (30, 3)).astype(np.float32), np.zeros(shape, np.float32)
    for x, y in zip(rows, np.asarray(model.stream().run(rows)), strict=True):
        expected, a = onnxruntime_run(path, {"x": x.reshape(1, 1, 3), "a": a})
        assert np.abs(y - expected.reshape(-1)).max() < 1e-6


def test_a_graph_without_any_memory(tmp_path: Path) -> None:
    """It is refused unless its meaning is said, because a state lost in a cell written out looks just like it."""
    path = save(tmp_path / "m.onnx", [node("Tanh", ["x"], ["y"])], {}, {"x": ["B", 3]}, {"y": ["B", 3]})
    text = refusal(path)
    assert "say states={'h_in': 'h_out'} (--state h_in=h_out) (x -> y): --state x=y" in text
    model = import_onnx(path, mode="continuous")
    assert (model.program.states, model.timing.window) == ((), None)


@pytest.mark.parametrize(
    ("nodes", "constants", "pattern"),
    [
        ([node("Det", ["h"], ["y"])], {}, r"operator Det is not supported.*before or after the model"),
        ([node("Gelu", ["h"], ["y"], domain="com.microsoft")], {}, r"com\.microsoft\.Gelu"),
        ([node("ReduceProd", ["h"], ["y"], axes=[1])], {}, r"'n_y' \(ReduceProd\): works on different readings"),
        ([node("Softmax", ["h"], ["y"], axis=1)], {}, r"\(Softmax\): works on different readings"),
        ([node("Softmax", ["h"], ["y"], axis=0)], {}, r"\(Softmax\): works on different streams of the batch"),
        ([node("MatMul", ["h", "h"], ["y"])], {}, r"\(MatMul\): shapes .* do not go together"),
        ([node("Pow", ["h", "e"], ["y"])], {"e": np.ones(4, np.float32)}, r"exponent must be one constant"),
        ([node("Cast", ["h"], ["y"], to=TensorProto.DOUBLE)], {}, r"attribute to = 11"),
        ([node("Tanh", ["h"], ["y"], surprise=3)], {}, r"attribute surprise = 3 is not supported"),
        ([node("Relu", ["h", "e"], ["y"])], {"e": np.float32(1)}, r"it has 2 inputs, known are 1"),
        ([node("Add", ["h", "e"], ["y"])], {"e": np.int64(1)}, r"joins floats and whole numbers"),
        ([node("Add", ["h", "e"], ["y"])], {"e": np.float32("nan")}, r"NaN"),
        ([node("Gather", ["h", "e"], ["y"], axis=2)], {"e": np.array([7])}, r"indices \[7\] do not fit an axis of 4"),
        (
            [node("Add", ["h", "e"], ["y"])],
            {"e": np.ones(7, np.float32)},
            r"\(Add\): inputs of shapes .*do not go together",
        ),
        ([node("Pad", ["h", "p"], ["y"])], {"p": np.array([0, 1, 0, 0, 0, 0])}, r"'y'.*different|holds|mixes"),
        (
            [node("Slice", ["h", "a", "b", "c"], ["y"])],
            {"a": np.array([0]), "b": np.array([1]), "c": np.array([1])},
            r"holds readings \[1\]",
        ),
    ],
)
def test_a_head_that_cannot_run_on_a_stream(tmp_path: Path, nodes: Any, constants: Any, pattern: str) -> None:
    """Each refusal says what it is about."""
    assert re.search(pattern, refusal(head_file(tmp_path / "m.onnx", nodes, constants)))


@pytest.mark.parametrize(
    ("op", "options", "pattern"),
    [
        ("LSTM", {"activations": ["Sigmoid", "Sin", "Tanh"]}, r"attribute activations holds 'Sin'; known are"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh"]}, r"activations = \['Sigmoid', 'Tanh'\]: 3 are needed"),
        ("LSTM", {"activations": ["Sigmoid", "Affine", "Tanh"]}, r"'Affine' needs activation_alpha"),
        ("LSTM", {"activation_alpha": [0.5]}, r"values left over: \[0\.5\]"),
        ("LSTM", {"input_forget": 2}, r"input_forget = 2 must be 0 or 1"),
        ("GRU", {"linear_before_reset": 5}, r"linear_before_reset = 5 must be 0 or 1"),
        ("RNN", {"clip": -1.0}, r"clip = -1\.0 must be positive"),
        ("RNN", {"linear_before_reset": 1}, r"attribute linear_before_reset = 1 is not supported"),
    ],
)
def test_a_recurrent_attribute_that_is_not_understood(tmp_path: Path, op: str, options: Any, pattern: str) -> None:
    """No attribute is silently ignored, none is guessed."""
    assert re.search(pattern, refusal(recurrent_file(tmp_path / "m.onnx", np.random.default_rng(0), op, **options)))


def test_double_and_half_readings(tmp_path: Path) -> None:
    """Inputs of another precision are refused with the way out."""
    for number, name in (
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.FLOAT16, "float16"),
    ):
        path = save(
            tmp_path / "m.onnx", [node("Abs", ["x"], ["y"])], {}, {"x": ["B", 3]}, {"y": ["B", 3]}, dtype=number
        )
        assert f"holds {name}; readings are float32, whole numbers or booleans" in refusal(path)


def test_a_weight_that_nothing_uses_is_a_note(tmp_path: Path) -> None:
    """Exporters leave weights over: the model is the one without it, and says so."""
    nodes = [node("Tanh", ["h"], ["y"])]
    path = head_file(tmp_path / "m.onnx", nodes, {"lonely": np.ones((3, 3), np.float32)})
    model = import_onnx(path)
    assert "the weight 'lonely' [3, 3] is used by no node of the file" in model.provenance["notes"]
    assert model.digest == import_onnx(head_file(tmp_path / "n.onnx", nodes, {})).digest


@pytest.mark.parametrize("engine", ["auto", "native", "onnxruntime"])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [("Multinomial", {"sample_size": 1}), ("Bernoulli", {}), ("RandomNormalLike", {"seed": 3.0}), ("Dropout", {})],
)
def test_random_numbers_are_refused_by_name(tmp_path: Path, op: str, attributes: Any, engine: str) -> None:
    """Whatever the engine, and whatever a comparison would find: node, operator, and the way out; also where a seed is
    given."""
    known = {"half": np.array(0.5, np.float32), "on": np.array(True)}
    names = ["h", "half", "on"] if op == "Dropout" else ["f" if op == "Multinomial" else "h"]
    nodes = [node("Reshape", ["h", "flat"], ["f"]), node(op, names, ["drawn"], **attributes)]
    nodes.append(node("CastLike", ["drawn", "h"], ["y"]))
    constants = {"flat": np.array([-1, 4])} | (known if op == "Dropout" else {})
    text = refusal(head_file(tmp_path / "m.onnx", nodes, constants), engine=engine)
    assert re.search(rf"'n_drawn' \({op}\).*(draws random numbers)", text)
    assert "model.eval()" in text if op == "Dropout" else "(ArgMax, the mean)" in text


def test_a_sample_rate_is_asked_for(tmp_path: Path) -> None:
    """A single whole number that the graph compares is named with the values it is compared with, as the option can be
    typed; said, it is folded away."""
    rng = np.random.default_rng(0)
    constants = {"W": rng.normal(0, 1, (1, 12, 3)), "R": rng.normal(0, 1, (1, 12, 4))}
    floats = {k: v.astype(np.float32) for k, v in constants.items()}
    scale = {"high": np.float32(2), "low": np.float32(1), "rate": np.array(16000)}
    nodes = [
        node("Equal", ["sr", "rate"], ["is_high"]),
        node("Where", ["is_high", "high", "low"], ["factor"]),
        node("Mul", ["x", "factor"], ["scaled"]),
        node("GRU", ["scaled", "W", "R"], ["y"], hidden_size=4, linear_before_reset=1),
    ]
    path = save(tmp_path / "m.onnx", nodes, floats | scale, {"x": ["T", 1, 3], "sr": []}, {"y": ["T", 1, 1, 4]})
    proto = onnx.load(path)
    proto.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(proto, path)
    assert "it is compared with 16000. If it never changes (a sample rate)" in (text := refusal(path))
    assert "constants={'sr': 16000} (--set sr=16000)" in text
    model = import_onnx(path, constants={"sr": 16000})
    assert (model.timing.mode, model.program.input_size) == ("continuous", 3)


def test_modes_that_contradict_the_graph(tmp_path: Path) -> None:
    """A window needs a length, and a baked-in length cannot be another one."""
    path = head_file(tmp_path / "m.onnx", [node("Tanh", ["h"], ["y"])], {})
    assert "give window=T" in refusal(path, mode="window")
    assert "contradicts mode 'continuous'" in refusal(path, mode="continuous", window=4)
    baked = save(
        tmp_path / "b.onnx",
        [node("RNN", ["x", "W", "R"], ["y"], hidden_size=4)],
        weights(1),
        {"x": [5, 1, 3]},
        {"y": [5, 1, 1, 4]},
    )
    assert import_onnx(baked, window=5).timing.window == 5
    assert "made for 5 readings" in refusal(baked, window=4)
    with pytest.raises(ImportModelError, match="mode 'sometimes' is unknown"):
        import_onnx(path, mode="sometimes")


def test_a_loop_that_does_not_do_the_same_at_every_reading(tmp_path: Path) -> None:
    """A loop written out in time is rolled up only where its steps are proven equal; else time must be said."""

    def loop(*gains: float) -> Path:
        nodes, h, constants = [], "h0", {"h0": np.zeros((1, 3), np.float32)}
        for t, gain in enumerate(gains):
            constants |= {f"t{t}": np.array(t), f"g{t}": np.full((1, 3), gain, np.float32)}
            nodes += [node("Gather", ["x", f"t{t}"], [f"x{t}"], axis=0), node("Add", [f"x{t}", h], [f"s{t}"])]
            nodes += [node("Tanh", [f"s{t}"], [f"a{t}"]), node("Mul", [f"a{t}", f"g{t}"], [f"h{t + 1}"])]
            h = f"h{t + 1}"
        nodes.append(node("Identity", [h], ["y"]))
        return save(tmp_path / "m.onnx", nodes, constants, {"x": [len(gains), 1, 3]}, {"y": [1, 3]})

    model = import_onnx(loop(0.5, 0.5, 0.5, 0.5))
    assert (model.timing.window, len(model.program.states)) == (4, 1)
    assert "say time_axis=0 or 2" in refusal(loop(0.5, 0.5, 0.7, 0.5))
    assert "its steps differ at reading" in refusal(loop(0.5, 0.5, 0.7, 0.5), mode="continuous")
