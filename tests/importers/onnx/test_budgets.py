"""A small file may ask for a large computation: it is refused by count, before memory or time is taken."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edge_lstm.engines.onnxruntime import patience
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from edge_lstm.importers.onnx import budget
from tests.support.graphs.onnx_files import node, onnxruntime_run, save

WIDE = 8000  # an outer product of it has 64 million elements

Made = tuple[list[Any], dict[str, Any], str]  # nodes, constants, the value that they make


def outer(op: str, **attributes: object) -> Made:
    constants = {"a": np.ones((WIDE, 1), np.float32), "b": np.ones((1, WIDE), np.float32), "yes": np.array(True)}
    inputs = {"Where": ["yes", "a", "b"], "Gemm": ["b", "b"]}.get(op, ["a", "b"])
    return [helper.make_node(op, inputs, ["o"], **attributes)], {name: constants[name] for name in inputs}, "o"


def loop(passes: int, nested: bool = False) -> Made:
    def body(level: str, nodes: list[Any]) -> Any:
        values = [helper.make_tensor_value_info(f"{n}{level}", t, []) for n, t in (("i", 7), ("c", 9), ("s", 1))]
        ends = [helper.make_tensor_value_info(f"{n}{level}", t, []) for n, t in (("d", 9), ("e", 1))]
        return helper.make_graph(
            [helper.make_node("Identity", [f"c{level}"], [f"d{level}"]), *nodes], "b", values, ends
        )

    step = body("2", [helper.make_node("Add", ["s2", "one"], ["e2"])])
    if nested:
        step = body("1", [helper.make_node("Loop", ["n", "yes", "s1"], ["e1"], body=step)])
    constants = {"n": np.int64(passes), "yes": np.array(True), "one": np.float32(1)}
    return [helper.make_node("Loop", ["n", "yes", "one"], ["o"], body=step)], constants, "o"


def of_shape(shape: list[int], *more: Any, result: str = "o") -> Made:
    one = numpy_helper.from_array(np.ones(1, np.float32))
    return [helper.make_node("ConstantOfShape", ["sh"], ["a"], value=one), *more], {"sh": np.array(shape)}, result


def one_hot() -> Made:
    constants = {"i": np.arange(3), "depth": np.int64(10**9), "v": np.array([0, 1], np.float32)}
    return [helper.make_node("OneHot", ["i", "depth", "v"], ["o"])], constants, "o"


def file(folder: Path, made: Made) -> Path:
    """An LSTM whose bias takes in what was made of constants."""
    nodes, constants, value = made
    rng = np.random.default_rng(0)
    weights = {"W": (1, 16, 3), "R": (1, 16, 4), "B0": (1, 32)}
    constants |= {name: rng.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    constants |= {"zero": np.float32(0)}
    nodes += [
        helper.make_node("Cast", [value], ["f_"], to=1),
        helper.make_node("ReduceMax", ["f_"], ["m_"], keepdims=0),
        helper.make_node("Mul", ["m_", "zero"], ["z_"]),
        helper.make_node("Add", ["B0", "z_"], ["B"]),
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["y", "", ""], hidden_size=4),
    ]
    x, y = helper.make_tensor_value_info("x", 1, ["t", 1, 3]), helper.make_tensor_value_info("y", 1, ["t", 1, 1, 4])
    initializers = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


BOMBS: dict[str, tuple[Callable[[], Made], str]] = {
    **{
        op: (partial(outer, op), "elements are the most")
        for op in ("MatMul", "Mul", "Div", "Pow", "Max", "Sum", "Less", "Where", "Clip", "Mod")
    },
    "Gemm": (lambda: outer("Gemm", transA=1), "elements are the most"),
    "Einsum": (lambda: outer("Einsum", equation="ij,kl->il"), "elements are the most"),
    "OneHot": (one_hot, "elements are the most"),
    "Concat": (
        lambda: of_shape([1 << 22], helper.make_node("Concat", ["a"] * 50, ["o"], axis=0)),
        "elements are the most",
    ),
    "NonZero": (lambda: of_shape([1 << 23, 1, 1, 1, 1], helper.make_node("NonZero", ["a"], ["o"])), "elements are the"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_large_array_from_a_small_file_takes_no_memory(tmp_path: Path, name: str) -> None:
    """Outer products, one-hot vectors, many copies: one sentence that names the node, at once."""
    make, sentence = BOMBS[name]
    path = file(tmp_path, make())
    tracemalloc.start()
    with pytest.raises(ImportModelError, match=sentence) as caught:
        import_onnx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "node 'o'" in str(caught.value)
    assert peak < 150_000_000


def test_a_loop_of_many_passes_is_refused(tmp_path: Path) -> None:
    """Nor is ONNX Runtime asked, which would make all of them."""
    with pytest.raises(ImportModelError, match="would make 1000000000 passes; 65536 are the most"):
        import_onnx(file(tmp_path, loop(10**9)))


def test_a_loop_that_only_onnx_runtime_sees_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind an operator that the native engine does not know, a loop without end is run, and interrupted."""
    monkeypatch.setattr(patience, "LONGEST_S", 0.3)
    nodes, constants, value = loop(10**9)
    nodes.insert(0, helper.make_node("Det", ["eye"], ["one"]))
    constants["eye"] = np.eye(2, dtype=np.float32)
    del constants["one"]
    begun = time.process_time()
    with pytest.raises(ImportModelError, match=r"takes longer than 0.3 s; a loop in it may never end"):
        import_onnx(file(tmp_path, (nodes, constants, value)), mode="window", window=5)
    assert time.process_time() - begun < 10


def test_products_of_constants_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small results that take long: refused by the number of multiplications, before the first of them."""
    monkeypatch.setattr(budget, "MAX_PRODUCTS", 10_000_000)
    made = of_shape([300, 300], helper.make_node("MatMul", ["a", "a"], ["o"]))
    with pytest.raises(ImportModelError, match="10000000 multiplications are the most"):
        import_onnx(file(tmp_path, made))


def test_nodes_in_loops_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops within loops multiply their passes; all runs over the graph together have one budget."""
    monkeypatch.setattr(budget, "MAX_NODES_IN_LOOPS", 1000)
    with pytest.raises(ImportModelError, match="its loop runs more than 1000 nodes"):
        import_onnx(file(tmp_path, loop(1000, nested=True)))


def test_what_is_computed_from_constants_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many arrays, none of them too large: together they are."""
    monkeypatch.setattr(budget, "MAX_FOLDED", 4 << 20)
    chain = [helper.make_node("Sin", [f"{'a' if k == 0 else f'a{k}'}"], [f"a{k + 1}"]) for k in range(9)]
    with pytest.raises(ImportModelError, match="more than 4 MiB are computed from constants"):
        import_onnx(file(tmp_path, of_shape([1 << 18], *chain, result="a9")))


def test_what_is_within_the_budget_is_folded(tmp_path: Path) -> None:
    """The same graphs with small numbers come in."""
    for made in (loop(10), loop(5, nested=True), of_shape([30, 30], helper.make_node("MatMul", ["a", "a"], ["o"]))):
        assert import_onnx(file(tmp_path, made)).program.input_size == 3


def test_readings_that_are_all_joined_with_each_other(tmp_path: Path) -> None:
    """Dot-product attention between all 40 states of a window is imported in seconds, as the whole window that it is,
    and equals ONNX Runtime; it took a minute, and its time grew with the fourth power of the window."""
    rng, units, length = np.random.default_rng(0), 8, 40
    constants: dict[str, Any] = {"one": np.array([1]), "last": np.array([-3]), "end": np.array([2**31 - 1])}
    for part, shape in (("W", (1, 24, 5)), ("R", (1, 24, units)), ("V", (1, 24, units)), ("S", (1, 24, units))):
        constants[part] = rng.normal(0, 0.3, shape).astype(np.float32)
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("GRU", ["xt", "W", "R"], ["Y"], hidden_size=units, linear_before_reset=1),
        node("Squeeze", ["Y", "one"], ["s"]),
        node("Transpose", ["s"], ["y1"], perm=[1, 0, 2]),
        node("Transpose", ["s"], ["y2"], perm=[1, 2, 0]),
        node("MatMul", ["y1", "y2"], ["scores"]),
        node("Softmax", ["scores"], ["a"], axis=-1),
        node("MatMul", ["a", "y1"], ["mixed"]),
        node("Transpose", ["mixed"], ["mt"], perm=[1, 0, 2]),
        node("GRU", ["mt", "V", "S"], ["Z"], hidden_size=units, linear_before_reset=1),
        node("Squeeze", ["Z", "one"], ["zs"]),
        node("Slice", ["zs", "last", "end"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, constants, {"x": [1, length, 5]}, {"y": [3, 1, units]}, opset=13)
    started = time.process_time()
    model = import_onnx(path, engine="native")
    assert time.process_time() - started < 15
    assert (model.timing.mode, model.timing.window, model.program.output_size) == ("whole window", length, 3 * units)
    rows = rng.normal(0, 1, (length, 5)).astype(np.float32)
    (expected,) = onnxruntime_run(path, {"x": rows[None]})
    assert np.abs(np.asarray(model.stream().run(rows))[-1] - expected.reshape(-1)).max() < 1e-5
