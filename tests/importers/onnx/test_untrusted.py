"""Model files are untrusted: damage, malice and absurdity end in a sentence, without crash, hang or memory taken."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_lstm.errors import EdgeLstmError, ImportModelError
from edge_lstm.importers import import_onnx
from edge_lstm.importers.onnx.read import read_onnx
from tests.support.graphs.onnx_files import node, recurrent_file, save

VECTORS = Path(__file__).parents[2] / "vectors" / "onnx"


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(recurrent_file(tmp_path / "source.onnx", np.random.default_rng(0), "LSTM"))


def refused(model: onnx.ModelProto, folder: Path) -> str:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ImportModelError) as caught:
        import_onnx(path)
    return str(caught.value)


def test_what_is_no_model(tmp_path: Path) -> None:
    """A missing, empty, or foreign file is a clear error."""
    with pytest.raises(ImportModelError, match="cannot be read: No such file"):
        import_onnx(tmp_path / "missing.onnx")
    for name, data in (("empty", b""), ("text", b"hello robot"), ("zeros", bytes(100))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImportModelError, match=name):
            import_onnx(tmp_path / name)


@pytest.mark.filterwarnings("ignore::UserWarning")  # such a model may be one for ONNX Runtime
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    data=st.data(),
    name=st.sampled_from(["lstm_cell_legacy13", "gru_seq_legacy12_last_state_norm", "lstm_step_dynamo18_packed"]),
)
def test_damaged_bytes_never_crash(tmp_path: Path, data: Any, name: str) -> None:
    """Whatever bytes are changed, cut or doubled, there is a model or a sentence, nothing else."""
    original = (VECTORS / f"{name}.onnx").read_bytes()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, max(len(damaged) - 1, 0)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "end"]))
        if not damaged:
            break
        if kind == "flip":
            damaged[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del damaged[place : place + data.draw(st.integers(1, 20))]
        elif kind == "insert":
            damaged[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            del damaged[max(place, 1) :]
    path = tmp_path / "m.onnx"
    path.write_bytes(damaged)
    try:
        import_onnx(path)
    except EdgeLstmError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_cycle(model: onnx.ModelProto, tmp_path: Path) -> None:
    """A graph that depends on itself is refused, not walked for ever."""
    model.graph.node.insert(0, node("Add", ["y", "x"], ["loop"]))
    model.graph.node[1].input[0] = "loop"
    assert "depends on its own output" in refused(model, tmp_path)


def test_a_missing_initializer(model: onnx.ModelProto, tmp_path: Path) -> None:
    """The name of what is missing is in the message."""
    del model.graph.initializer[0]
    assert "'W' is neither an initializer, an input nor a node's output" in refused(model, tmp_path)


def test_nodes_in_any_order(model: onnx.ModelProto, tmp_path: Path) -> None:
    """Nodes need not be sorted."""
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert len(import_onnx(tmp_path / "m.onnx").program.operations) == 1


@pytest.mark.parametrize("dims", [[1 << 40, 1 << 20], [1 << 31], [-1, 4], [1] * 40])
def test_absurd_shapes_take_no_memory(model: onnx.ModelProto, tmp_path: Path, dims: list[int]) -> None:
    """The size of a constant is checked before memory is taken."""
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    tracemalloc.start()
    text = refused(model, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "absurd shape" in text
    assert peak < 20_000_000


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand", "Tile", "Range"])
def test_shapes_that_are_computed_take_no_memory_either(tmp_path: Path, op: str) -> None:
    """An operator that would make a huge array from a few bytes is refused before."""
    huge = np.array([1 << 20, 1 << 20])
    inputs = {
        "ConstantOfShape": ["s"],
        "Expand": ["o", "s"],
        "Tile": ["o", "s"],
        "Range": ["z", "n", "d"],
    }[op]
    constants = {
        "s": huge,
        "o": np.ones((1, 1), np.float32),
        "z": np.int64(0),
        "n": np.int64(1 << 40),
        "d": np.int64(1),
    }
    nodes = [node(op, inputs, ["big"]), node("Shape", ["big"], ["q"]), node("Add", ["x", "x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {k: constants[k] for k in inputs}, {"x": ["B", 3]}, {"y": ["B", 3]})
    tracemalloc.start()
    with pytest.raises(ImportModelError, match=rf"\({op}\).*would make an array"):
        import_onnx(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def external(model: onnx.ModelProto, location: str, **entries: str) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "", "link.bin"])
def test_external_data_stays_in_the_folder(model: onnx.ModelProto, tmp_path: Path, location: str) -> None:
    """A model cannot read files outside its own folder, not through a link either."""
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    external(model, location)
    assert "outside the model's folder" in refused(model, folder)


def test_external_data_that_is_missing_or_too_short(model: onnx.ModelProto, tmp_path: Path) -> None:
    """The file is named, and so are the sizes."""
    external(model, "weights.bin")
    assert "'weights.bin' is missing" in refused(model, tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(10))
    assert "needs 192 bytes from offset 0 of 'weights.bin'" in refused(model, tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(192))
    model.graph.initializer[0].external_data.add(key="offset", value="1")
    assert "from offset 1" in refused(model, tmp_path)
    model.graph.initializer[0].external_data[-1].value = "much"
    assert "is no number" in refused(model, tmp_path)


def test_external_data_is_read(tmp_path: Path) -> None:
    """The default exporter's weights beside the model are found."""
    assert (VECTORS / "lstm_step_dynamo20_flat.onnx.data").stat().st_size > 1000
    assert read_onnx(VECTORS / "lstm_step_dynamo20_flat.onnx").graph.constants["val_29"].any()


def test_deeply_nested_graphs(tmp_path: Path) -> None:
    """Subgraphs within subgraphs end at a stated depth."""
    inner = helper.make_graph(
        [node("Abs", ["x"], ["o0"])], "g", [], [helper.make_tensor_value_info("o0", TensorProto.FLOAT, None)]
    )
    for k in range(1, 24):
        output = [helper.make_tensor_value_info(f"o{k}", TensorProto.FLOAT, None)]
        inner = helper.make_graph(
            [node("If", ["c"], [f"o{k}"], then_branch=inner, else_branch=inner)]
            if k < 12
            else [node("If", ["c"], [f"o{k}"], then_branch=inner)],
            "g",
            [],
            output,
        )
        if k == 5:
            break
    nodes = [node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    path = save(tmp_path / "m.onnx", nodes, {"c": np.array(True)}, {"x": ["B", 3]}, {"y": ["B", 3]})
    model = import_onnx(path, mode="continuous")
    assert [op.kind for op in model.program.operations] == ["map"]


def test_opsets_outside_what_is_known(model: onnx.ModelProto, tmp_path: Path) -> None:
    """Older and newer operator sets are refused with a number that works."""
    for version in (6, 99):
        model.opset_import[0].version = version
        assert f"operator set {version}; known are 7 to 25. Export with opset 17" in refused(model, tmp_path)


def test_names_defined_twice(model: onnx.ModelProto, tmp_path: Path) -> None:
    """Two nodes must not write one name."""
    model.graph.node.append(node("Abs", ["x"], ["y"]))
    assert "is produced twice" in refused(model, tmp_path)
