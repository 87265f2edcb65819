"""What is not understood is refused by name: node, operator, attribute, value, and the way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.heads import head_file
from tests.support.graphs.onnx_files import node, recurrent_file, save


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


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_a_state_that_was_lost_at_export(tmp_path: Path, op: str) -> None:
    """A sequence of one reading with a constant state has no memory; the message shows the right export."""
    gates = {"LSTM": 4, "GRU": 3}[op]
    nodes = [node(op, ["x", "W", "R"], ["y"], hidden_size=4)]
    path = save(tmp_path / "m.onnx", nodes, weights(gates), {"x": [1, 1, 3]}, {"y": [1, 1, 1, 4]})
    text = refusal(path)
    assert "the state was lost" in text
    assert 'input_names=["x", "h_in", "c_in"]' in text


def test_a_graph_without_any_memory(tmp_path: Path) -> None:
    """It is refused unless its meaning is said, because a state lost in a cell written out looks just like it."""
    path = save(tmp_path / "m.onnx", [node("Tanh", ["x"], ["y"])], {}, {"x": ["B", 3]}, {"y": ["B", 3]})
    text = refusal(path)
    assert 'say states={"h_in": "h_out"} (x -> y)' in text
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
        ([node("Add", ["h", "e"], ["y"])], {"e": np.int64(1)}, r"constant of type int64"),
        ([node("Add", ["h", "e"], ["y"])], {"e": np.float32("nan")}, r"NaN"),
        ([node("Gather", ["h", "e"], ["y"], axis=2)], {"e": np.array([7])}, r"indices \[7\] do not fit an axis of 4"),
        (
            [node("Add", ["h", "e"], ["y"])],
            {"e": np.ones(7, np.float32)},
            r"\(Add\): inputs of shapes .*do not go together",
        ),
        ([node("Dropout", ["h", "r", "t"], ["y"])], {"r": np.float32(0.5), "t": np.array(True)}, r"model\.eval\(\)"),
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


def test_a_weight_that_nothing_uses(tmp_path: Path) -> None:
    """A left-over weight means that the graph is not the network that was trained."""
    path = head_file(tmp_path / "m.onnx", [node("Tanh", ["h"], ["y"])], {"lonely": np.ones((3, 3), np.float32)})
    assert "the weight 'lonely' [3, 3] is used by no node" in refusal(path)


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
