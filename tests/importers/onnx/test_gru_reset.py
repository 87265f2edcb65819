"""A GRU whose exporter is known to drop `linear_before_reset`: a warning, an option, and what stands in the model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from edge_lstm.importers.onnx.gru_reset import known_for
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run, recurrent_file, save

XS = np.random.default_rng(3).normal(0, 1, (12, 3)).astype(np.float32)


def gru_file(path: Path, producer: str, version: str, **attributes: Any) -> Path:
    """A GRU over x [T, 1, 3], as if this producer had written it."""
    recurrent_file(path, np.random.default_rng(1), "GRU", **attributes)
    proto = onnx.load(path)
    proto.producer_name, proto.producer_version = producer, version
    onnx.save(proto, path)
    return path


def expected(path: Path) -> Array:
    return onnxruntime_run(path, {"x": XS[:, None]})[0][:, 0]


def test_the_missing_attribute_is_told_and_the_file_believed(tmp_path: Path) -> None:
    """PyTorch's GRU without the attribute: a warning that names node, exporter and the way out; the numbers are those
    of the file, and the warning stands in the model."""
    path = gru_file(tmp_path / "m.onnx", "pytorch", "2.10.0")
    with pytest.warns(UserWarning, match=r"n_Y.*pytorch 2.10.0.*--linear-before-reset 1"):
        model = import_onnx(path)
    assert np.allclose(model.stream().run(XS), expected(path), atol=1e-6)
    assert "linear_before_reset is 0" in model.provenance["warnings"][0]


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("written", [None, 0, 1])
def test_the_option_decides_whatever_the_file_says(tmp_path: Path, value: int, written: int | None) -> None:
    """linear_before_reset=0 or 1 is what every GRU does, without a warning; `verify` compares with the file so changed,
    and the model says that it was asked for."""
    attributes = {} if written is None else {"linear_before_reset": written}
    path = gru_file(tmp_path / "m.onnx", "pytorch", "2.10.0", **attributes)
    right = gru_file(tmp_path / "right.onnx", "pytorch", "2.10.0", linear_before_reset=value)
    model = import_onnx(path, linear_before_reset=value)
    assert np.allclose(model.stream().run(XS), expected(right), atol=1e-6)
    assert verify(model, path, short=True).ok
    assert model.provenance["warnings"] == []
    assert f"linear_before_reset = {value} in every GRU, as asked" in model.provenance["notes"]


@pytest.mark.parametrize(
    ("producer", "version", "warned"),
    [
        ("pytorch", "1.13.1", True),
        ("pytorch", "", True),
        ("keras2onnx", "1.4.2", True),
        ("keras2onnx", "1.7.0", False),
        ("OnnxMLTools", "1.3.1", True),
        ("tf2onnx", "1.16.1", False),
        ("", "", False),
    ],
)
def test_who_is_known(tmp_path: Path, producer: str, version: str, warned: bool) -> None:
    """Only exporters of which it is known, in the versions that did it; nobody where the attribute is 1."""
    assert (known_for(f"{producer} {version}".strip()) is not None) == warned
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_onnx(gru_file(tmp_path / "m.onnx", producer, version, linear_before_reset=1))


def test_a_gru_inside_a_branch_is_seen(tmp_path: Path) -> None:
    """The attribute is set in the subgraphs too."""

    def branch(name: str) -> Any:
        inner = [node("GRU", ["x", "W", "R"], [f"{name}_Y"], hidden_size=4)]
        return helper.make_graph(
            inner, name, [], [helper.make_tensor_value_info(f"{name}_Y", TensorProto.FLOAT, ["T", 1, 1, 4])]
        )

    rng = np.random.default_rng(2)
    constants: dict[str, Array] = {
        "W": rng.normal(0, 0.6, (1, 12, 3)).astype(np.float32),
        "R": rng.normal(0, 0.6, (1, 12, 4)).astype(np.float32),
        "yes": np.array(True),
        "one": np.array([1]),
    }
    nodes = [
        node("If", ["yes"], ["Y"], then_branch=branch("a"), else_branch=branch("b")),
        node("Squeeze", ["Y", "one"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": ["T", 1, 3]}, {"y": ["T", 1, 4]})
    zero, one = (import_onnx(path, linear_before_reset=k) for k in (0, 1))
    assert not np.allclose(zero.stream().run(XS), one.stream().run(XS), atol=1e-3)
    assert verify(one, path, short=True).ok


def test_the_option_without_a_gru_is_an_error(tmp_path: Path) -> None:
    """An option that would do nothing is refused, and so is another number."""
    path = recurrent_file(tmp_path / "m.onnx", np.random.default_rng(1), "LSTM")
    with pytest.raises(ImportModelError, match="the graph has no GRU"):
        import_onnx(path, linear_before_reset=1)
    with pytest.raises(ImportModelError, match="must be 0 or 1"):
        import_onnx(gru_file(tmp_path / "g.onnx", "pytorch", "2.10.0"), linear_before_reset=2)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`import` says the warning, takes the option, checks the result against the changed graph and says so, as `verify`
    does, and `inspect` shows what was decided."""
    path, out = gru_file(tmp_path / "m.onnx", "pytorch", "2.10.0"), tmp_path / "m.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["import", str(path), "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert "linear_before_reset is 0" in printed.err
    told = "compared with linear_before_reset = {} in every GRU, as asked at import, in the graph too"
    assert told[:34] not in printed.out
    for value in ("0", "1"):
        assert main(["import", str(path), "-o", str(out), "--linear-before-reset", value]) == 0
        printed = capsys.readouterr()
        assert "compared with ONNX Runtime" in printed.out
        assert told.format(value) in printed.out
        assert main(["verify", str(out), "--against", str(path)]) == 0
        assert told.format(value) in capsys.readouterr().out
    assert main(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["timing"]["axes"]["linear_before_reset"] == 1
    weights = tmp_path / "w.npz"
    np.savez(weights, a=np.zeros(2))
    assert main(["import", str(weights), "-o", str(out), "--linear-before-reset", "1"]) == 2
    assert "--linear-before-reset has no meaning for .npz" in capsys.readouterr().err
