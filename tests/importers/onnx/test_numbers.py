"""Numbers that are not float32: whole ones are exact, or refused where the native engine would neither wrap nor cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edge_lstm.analysis.verify import verify
from edge_lstm.core.channels import Channel
from edge_lstm.importers import import_onnx
from tests.importers.onnx.test_adversary import lstm, refused
from tests.support.graphs.onnx_files import node, onnxruntime_run, save

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
    """The native engine computes in float32, which neither wraps nor cuts: such arithmetic is left to ONNX Runtime."""
    refused(of_type(tmp_path / "m.onnx", kind, nodes, **constants), match, engine="native")


@pytest.mark.parametrize(
    ("op", "constant"), [("Add", 2), ("Sub", 5), ("Mul", -3), ("Div", 2), ("Mod", 3), ("Min", 1), ("Pow", 2)]
)
def test_whole_numbers_are_exact(tmp_path: Path, op: str, constant: int) -> None:
    """int64 arithmetic with negative numbers: ONNX truncates a quotient, and a remainder has the divisor's sign."""
    nodes = [node("Sub", ["x", "two"], ["r"]), node("Clip", ["r", "low", "high"], ["s"]), node(op, ["s", "k"], ["z"])]
    limits = {"low": np.int64(-4000), "high": np.int64(4000)}
    path = of_type(tmp_path / "m.onnx", I64, nodes, k=np.array(constant), two=np.array(2), **limits)
    assert verify(import_onnx(path, engine="native"), path, short=True).ok


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mul", ["x", "k"], ["z"])],
        [node("Mul", ["x", "x"], ["z"])],
        [node("Pow", ["x", "two"], ["z"])],
        [node("Neg", ["x"], ["n"]), node("Mul", ["n", "k"], ["p"]), node("Mod", ["p", "two"], ["z"])],
        [node("ReduceProd", ["x"], ["p"], axes=[2]), node("Mul", ["x", "p"], ["z"])],
    ],
)
def test_products_of_whole_numbers_that_nothing_bounds(tmp_path: Path, nodes: list[Any]) -> None:
    """Beyond 2^24 float32 has not every whole number: such a product is left to ONNX Runtime."""
    path = of_type(tmp_path / "m.onnx", I64, nodes, k=np.array(7919), two=np.array(2))
    refused(path, "larger than (16,777,216|2\\^24)", engine="native")


def test_a_hash_is_exact(tmp_path: Path) -> None:
    """Words of a vocabulary larger than the table, x * 7919 mod 16: all of them ONNX Runtime's."""
    nodes = [node("Mul", ["x", "k"], ["p"]), node("Mod", ["p", "n"], ["z"])]
    path = of_type(tmp_path / "m.onnx", I64, nodes, k=np.array(7919), n=np.array(16))
    with pytest.warns(UserWarning, match="runs with ONNX Runtime"):
        model = import_onnx(path)
    xs = np.random.default_rng(8).integers(0, 60_000, (40, 1, 3))
    expected = onnxruntime_run(path, {"x": xs})[0].reshape(40, -1)
    assert np.allclose(model.stream().run(xs.reshape(40, 3)), expected, atol=1e-6)


BOUNDED = {
    "times one": [node("Mul", ["x", "unit"], ["z"])],
    "a mask": [node("Greater", ["x", "two"], ["g"]),
               node("Cast", ["g"], ["m"], to=I64), node("Mul", ["x", "m"], ["z"])],
    "a remainder": [node("Mod", ["x", "hundred"], ["r"]), node("Mul", ["r", "hundred"], ["z"])],
    "an offset": [node("Add", ["x", "hundred"], ["z"])],
    "clipped": [node("Clip", ["x", "two", "hundred"], ["c"]), node("Mul", ["c", "c"], ["z"])],
    "a quotient": [node("Clip", ["x", "two", "hundred"], ["c"]), node("Div", ["c", "two"], ["q"]),
                   node("Mul", ["q", "hundred"], ["z"])],
    "truths": [node("Equal", ["x", "two"], ["t"]), node("Where", ["t", "two", "hundred"], ["w"]),
               node("Mul", ["w", "two"], ["p"]), node("Add", ["p", "x"], ["z"])],
}  # fmt: skip


@pytest.mark.parametrize("nodes", BOUNDED.values(), ids=BOUNDED)
def test_products_of_small_whole_numbers(tmp_path: Path, nodes: list[Any]) -> None:
    """Factors that are known to be small are for the native engine, and exact."""
    constants = {"unit": np.array(1), "two": np.array(2), "hundred": np.array(100)}
    path = of_type(tmp_path / "m.onnx", I64, nodes, **constants)
    xs = np.random.default_rng(8).integers(-300, 300, (40, 1, 3))
    expected = onnxruntime_run(path, {"x": xs})[0].reshape(40, -1)
    model = import_onnx(path, engine="native")
    assert np.allclose(model.stream().run(xs.reshape(40, 3)), expected, atol=1e-6)


@pytest.mark.parametrize(("scale", "offset"), [(0.1, 0.0), (0.3, 0.0), (1 / 3, 0.0), (0.7, 1.1)])
@pytest.mark.parametrize("mode", ["continuous", "window"])
def test_a_channel_in_units_of_its_own(tmp_path: Path, mode: str, scale: float, offset: float) -> None:
    """What scaling makes of a whole number, 2.9999998, is that whole number to the graph, not the one below."""
    table = np.random.default_rng(9).normal(0, 1, (300, 3)).astype(np.float32)
    nodes = [node("Gather", ["E", "x"], ["e"]), node("LSTM", ["e", "W", "R"], ["y"], hidden_size=4)]
    constants = {k: v for k, v in lstm(3, E=table).items() if k != "one"}
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": ["T", 1]}, {"y": None}, dtype=I64)
    proto = onnx.load(path)
    proto.graph.output[0].type.tensor_type.elem_type = F32
    onnx.save(proto, path)
    channels, window = [Channel("word", scale=scale, offset=offset)], 2 if mode == "window" else None
    model = import_onnx(path, mode, window=window, inputs=channels)
    words = np.arange(300)
    y = model.stream().run((words * scale + offset).astype(np.float32)[:, None])
    for t in (1, 50, 299):
        past = words[t - 1 : t + 1] if mode == "window" else words[: t + 1]
        expected = onnxruntime_run(path, {"x": past[:, None]})[0][-1].reshape(-1)
        assert np.allclose(y[t], expected, atol=1e-5)
    if mode == "continuous":
        assert np.allclose(y, onnxruntime_run(path, {"x": words[:, None]})[0].reshape(300, -1), atol=1e-5)
