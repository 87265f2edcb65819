"""Numbers that are not float32: whole ones are exact, or refused where the machine would neither wrap nor cut them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edge_lstm.importers import import_onnx
from edge_lstm.verification import verify
from tests.importers.onnx_files import node, save
from tests.importers.test_onnx_adversary import lstm, refused

U8, F32, I64 = TensorProto.UINT8, TensorProto.FLOAT, TensorProto.INT64


def of_type(path: Path, kind: int, nodes: list[Any], **constants: Any) -> Path:
    """x [T, 1, 3] of this type → nodes → "z" → an LSTM over its float32."""
    nodes = [*nodes, node("Cast", ["z"], ["zf"], to=F32), node("LSTM", ["zf", "W", "R"], ["y"], hidden_size=4)]
    constants = {k: v for k, v in (lstm(3) | constants).items() if k != "one"}
    save(path, nodes, constants, {"x": ["T", 1, 3]}, {"y": None}, dtype=kind)
    proto = onnx.load(path)
    proto.graph.output[0].type.tensor_type.elem_type = F32
    onnx.save(proto, path)
    return path


MUL, SUB = (node(op, ["x", "k"], ["z"]) for op in ("Mul", "Sub"))
MEAN = [node("ReduceMean", ["x"], ["r"], axes=[2]), node("Add", ["x", "r"], ["z"])]
HUNDREDS = [node("Mul", ["x", "k"], ["m"]), node("Cast", ["m"], ["z"], to=U8)]
LIKE = [node("Mul", ["x", "k"], ["m"]), node("CastLike", ["m", "u"], ["z"])]


@pytest.mark.parametrize(
    ("kind", "nodes", "constants", "match"),
    [
        (U8, [MUL], {"k": np.array([100], np.uint8)}, "'n_z'.*uint8, whose results wrap around"),
        (U8, [SUB], {"k": np.array([5], np.uint8)}, "'n_z'.*uint8, whose results wrap around"),
        (TensorProto.UINT32, [SUB], {"k": np.array([5], np.uint32)}, "uint32, whose results wrap around"),
        (F32, HUNDREDS, {"k": np.float32(100)}, "'n_z'.*casts to uint8: values beyond its range"),
        (F32, LIKE, {"k": np.float32(100), "u": np.zeros(1, np.int8)}, "casts to int8: values beyond its range"),
        (TensorProto.INT32, MEAN, {}, "'n_r'.*would be cut to a whole one"),
        (I64, [node("Pow", ["x", "k"], ["z"])], {"k": np.float32(0.5)}, "needs a whole exponent"),
        (I64, [node("ReduceL2", ["x"], ["r"], axes=[2]), MEAN[1]], {}, "would be cut to a whole one"),
    ],
)
def test_whole_numbers_that_wrap_around_or_are_cut(
    tmp_path: Path, kind: int, nodes: list[Any], constants: dict[str, Any], match: str
) -> None:
    """The machine computes in float32, which neither wraps nor cuts: such arithmetic is left to ONNX Runtime."""
    refused(of_type(tmp_path / "m.onnx", kind, nodes, **constants), match, engine="machine")


@pytest.mark.parametrize(
    ("op", "constant"), [("Add", 2), ("Sub", 5), ("Mul", -3), ("Div", 2), ("Mod", 3), ("Min", 1), ("Pow", 2)]
)
def test_whole_numbers_are_exact(tmp_path: Path, op: str, constant: int) -> None:
    """int64 arithmetic with negative numbers: ONNX truncates a quotient, and a remainder has the divisor's sign."""
    nodes = [node("Sub", ["x", "two"], ["s"]), node(op, ["s", "k"], ["z"])]
    path = of_type(tmp_path / "m.onnx", I64, nodes, k=np.array(constant), two=np.array(2))
    assert verify(import_onnx(path, engine="machine"), path, short=True).ok
