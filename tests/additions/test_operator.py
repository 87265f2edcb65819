"""An operator of ONNX added from outside: one record, in one file, and graphs with it are imported.

Files touched: one (`shrink.py`), and its line in a family of `edge_lstm/importers/onnx/operators/` (here at run time).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from edge_lstm.importers.onnx.operators import record as records
from edge_lstm.importers.onnx.operators.table import FAMILIES, TABLE
from tests.additions.shrink import SHRINK
from tests.support.graphs.onnx_files import difference, node, onnxruntime_run, save
from tools import operators


def graph(tmp_path: Path, rng: np.random.Generator) -> Path:
    """An LSTM whose output and whose bias are shrunk."""
    weights = {"W": (1, 16, 3), "R": (1, 16, 4), "B": (1, 32)}
    constants = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in weights.items()}
    nodes = [
        node("Shrink", ["B"], ["b"], lambd=0.3, bias=0.1),
        node("LSTM", ["x", "W", "R", "b"], ["h"], hidden_size=4),
        node("Shrink", ["h"], ["y"], lambd=0.1, bias=0.05),
    ]
    return save(tmp_path / "m.onnx", nodes, constants, {"x": ["T", 1, 3]}, {"y": ["T", 1, 1, 4]})


def test_one_record_is_all_that_an_operator_needs(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the native engine refuses the graph by name; with it the numbers are ONNX Runtime's."""
    path = graph(tmp_path, rng)
    with pytest.raises(ImportModelError, match=r"the operator Shrink is not supported"):
        import_onnx(path, engine="native")
    monkeypatch.setitem(TABLE, "Shrink", SHRINK)  # type: ignore[arg-type]
    xs = rng.normal(0, 1, (30, 3)).astype(np.float32)
    (expected,) = onnxruntime_run(path, {"x": xs[:, None]})
    assert difference(import_onnx(path, engine="native").stream().run(xs), expected[:, 0, 0]) < 1e-6
    assert "Shrink" in operators.table()


def test_an_operator_is_in_the_table_once() -> None:
    """No family says again what another has said."""
    names = [record.name for family in FAMILIES for record in family.RECORDS]
    assert sorted(names) == sorted(set(names))
    assert len(names) == len(TABLE)


def test_the_page_says_what_the_table_says() -> None:
    """The list of what runs is made from the records: `python -m tools.operators --write`."""
    text = operators.PAGE.read_text()
    assert operators.in_page(text, operators.table()) == text, "python -m tools.operators --write"


@pytest.mark.parametrize(
    ("takes", "attributes", "second", "opset", "axes"),
    [
        (records.along(-1), {}, None, 17, [-1]),
        (records.along(-1, before_13=1), {}, None, 11, [1, 2, 3]),
        (records.along(-1, before_13=1), {"axis": 2}, None, 13, [2]),
        (records.onward(2), {"axis": -1}, None, 17, [3]),
        (records.every, {}, None, 17, [0, 1, 2, 3]),
        (records.axes_given, {}, np.array([1]), 18, [1]),
        (records.axes_given, {"axes": [0, 2]}, None, 11, [0, 2]),
        (records.axes_given, {}, None, 11, [0, 1, 2, 3]),
        (records.under_kernel, {"kernel_shape": [1, 3]}, None, 17, [3]),
    ],
)
def test_the_axes_that_are_taken_together(takes, attributes, second, opset: int, axes: list[int]) -> None:
    """As the specification says, of four axes, in old and new operator sets."""
    assert list(takes(attributes, second, 4, opset)) == axes
