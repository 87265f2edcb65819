"""The constant folder against ONNX Runtime, operator by operator, on weights and on shape arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.fold import evaluate
from edge_lstm.importers.onnx.graph import Node
from edge_lstm.importers.onnx.operators.table import TABLE
from tests.support.graphs.onnx_files import onnxruntime_run

Array = npt.NDArray[Any]
A = np.random.default_rng(0).normal(0, 2, (2, 3, 4)).astype(np.float32)
B = np.abs(A) + 0.5
FLAGS = A > 0


def i(*values: int) -> Array:
    return np.array(values, np.int64)


WHOLE = np.array([[1, -128, 5], [127, 0, -9]], np.int8)
CASES: list[tuple[str, list[Any], dict[str, Any], int, int]] = [
    # operator, inputs, attributes, operator set, outputs
    *(
        (op, [A], {}, 17, 1)
        for op in (
            "Abs",
            "Ceil",
            "Exp",
            "Floor",
            "Cos",
            "Erf",
            "Identity",
            "Neg",
            "Round",
            "Sin",
            "Softmax",
            "Trilu",
            "Relu",
            "Sigmoid",
            "Sign",
            "Tanh",
            "Shape",
            "Size",
            "Flatten",
            "Transpose",
            "Squeeze",
        )
    ),
    *((op, [B], {}, 17, 1) for op in ("Log", "Reciprocal", "Sqrt")),
    *(
        (op, [A, B[:, :1]], {}, 17, 1)
        for op in (
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Less",
            "Greater",
            "LessOrEqual",
            "GreaterOrEqual",
            "Equal",
            "Max",
            "Min",
            "Sum",
        )
    ),
    *(
        (op, [i(7, -7, 5), i(2, 2, -3)], {}, 17, 1)
        for op in ("Add", "Sub", "Mul", "Div", "Mod", "Less", "Equal", "Max", "Min")
    ),
    *((op, [FLAGS, ~FLAGS[:1]], {}, 17, 1) for op in ("And", "Or", "Xor")),
    ("Not", [FLAGS], {}, 17, 1),
    ("Mod", [A, B], {"fmod": 1}, 17, 1),
    ("Pow", [B, np.float32(1.5)], {}, 17, 1),
    ("Pow", [i(2, 3), i(3, 2)], {}, 17, 1),
    *(
        (op, [A], {"axes": [0, -1], "keepdims": k}, 11, 1)
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
        for k in (0, 1)
    ),
    ("ReduceSum", [A, i(1)], {}, 13, 1),
    ("ReduceSum", [A, i()], {"noop_with_empty_axes": 1}, 13, 1),
    ("ReduceMean", [A, i(-1)], {"keepdims": 0}, 18, 1),
    ("ReduceProd", [i(2, 3, 4)], {}, 11, 1),
    ("MatMul", [A, A[0].T], {}, 17, 1),
    ("Gemm", [A[0], A[1], A[0, :, :3]], {"transB": 1, "alpha": 0.5, "beta": 2.0}, 17, 1),
    ("Gemm", [A[0], A[1]], {"transA": 1}, 17, 1),
    ("Clip", [A, np.float32(-1), np.float32(1)], {}, 17, 1),
    ("Clip", [A], {"min": -0.5}, 7, 1),
    ("Cast", [A], {"to": TensorProto.INT32}, 17, 1),
    ("Cast", [i(0, 3)], {"to": TensorProto.BOOL}, 17, 1),
    ("Shape", [A], {"start": 1, "end": -1}, 17, 1),
    ("Shape", [A], {"start": -2}, 17, 1),
    ("Flatten", [A], {"axis": 0}, 17, 1),
    ("Flatten", [A], {"axis": -1}, 17, 1),
    ("Transpose", [A], {"perm": [2, 0, 1]}, 17, 1),
    ("Squeeze", [A[:1, :, :1], i(0)], {}, 17, 1),
    ("Squeeze", [A[:1, :, :1]], {"axes": [-1]}, 11, 1),
    ("Unsqueeze", [A, i(0, -1)], {}, 17, 1),
    ("Unsqueeze", [A], {"axes": [1, 3]}, 11, 1),
    ("Reshape", [A, i(0, -1)], {}, 17, 1),
    ("Reshape", [A[:0], i(0, 5)], {"allowzero": 1}, 17, 1),
    ("ReverseSequence", [A, i(1, 2, 1)], {}, 17, 1),  # a length of 0 leaves ONNX Runtime 1.23's output unwritten
    ("ReverseSequence", [A, i(*range(1, len(A) + 1))], {"batch_axis": 0, "time_axis": 1}, 17, 1),
    ("Slice", [A, i(1), i(1 << 40), i(1)], {}, 17, 1),
    ("Slice", [A, i(-1, 0), i(-(1 << 40), -1), i(2, 1), i(-2, 1)], {}, 17, 1),
    ("Slice", [A, i(0, 1)[:2], i(1, 3)], {}, 17, 1),
    ("Slice", [A], {"starts": [1], "ends": [9], "axes": [2]}, 9, 1),
    ("Gather", [A, i(-1)[0]], {"axis": 1}, 17, 1),
    ("Gather", [A, np.array([[0, 1], [1, 0]])], {}, 17, 1),
    ("GatherElements", [A, np.array([[[0, -1, 1, 0]]])], {"axis": 1}, 17, 1),
    ("Concat", [A, B, A[:, :1]], {"axis": -2}, 17, 1),
    ("Split", [A, i(1, 3)], {"axis": 2}, 17, 2),
    ("Split", [A], {"axis": -1}, 17, 2),
    ("Split", [A], {"axis": 1, "split": [1, 2]}, 11, 2),
    ("Split", [A[:, :, :3]], {"axis": 2, "num_outputs": 2}, 18, 2),
    ("Expand", [A[:, :1], i(2, 3, 1)], {}, 17, 1),
    ("Expand", [A[0, 0], i(2, 1, 4)], {}, 17, 1),
    ("Tile", [A, i(1, 2, 3)], {}, 17, 1),
    ("Pad", [A, i(0, 1, 0, 0, 0, 2), np.float32(7)], {}, 17, 1),
    ("Pad", [A, i(0, 1, 0, 0, 0, 2)], {"mode": "reflect"}, 17, 1),
    ("Pad", [A, i(0, 1, 0, 0, 0, 2)], {"mode": "edge"}, 17, 1),
    ("Pad", [A, i(1, 2), None, i(-1)], {}, 18, 1),
    ("Pad", [A], {"pads": [0, 1, 0, 0, 0, 2], "value": 3.0}, 9, 1),
    ("Where", [FLAGS, A, B[:, :1]], {}, 17, 1),
    ("ScatterND", [A, np.array([[0, 1], [1, 2]]), B[0, :2]], {}, 17, 1),
    ("ConstantOfShape", [i(2, 3)], {}, 17, 1),
    ("ConstantOfShape", [i(2, 3)], {"value": np.array([5], np.int64)}, 17, 1),
    ("Range", [i(2)[0], i(11)[0], i(3)[0]], {}, 17, 1),
    ("Trilu", [A, i(1)[0]], {"upper": 0}, 17, 1),
    ("Softmax", [A], {"axis": 1}, 11, 1),
    ("DequantizeLinear", [WHOLE, np.float32(0.1)], {}, 17, 1),
    ("DequantizeLinear", [WHOLE, np.float32([0.1, 0.2]), np.int8([3, -4])], {"axis": 0}, 17, 1),
    ("DequantizeLinear", [WHOLE.view(np.uint8), np.float32([0.1, 1, 2]), np.uint8([128, 0, 9])], {"axis": -1}, 17, 1),
    ("DequantizeLinear", [WHOLE.astype(np.int32) * 70_000, np.float32([1e-6])], {}, 17, 1),
    ("CumSum", [A, i(1)[0]], {}, 17, 1),
    ("NonZero", [FLAGS], {}, 17, 1),
    *(
        (
            "OneHot",
            [np.array([[0, 2, -1], [5, -9, 1]]), np.int64(3), np.array([2, 7], np.float32)],
            {"axis": axis},
            17,
            1,
        )
        for axis in (-1, 0, 1)
    ),
    ("Einsum", [A, B], {"equation": "bij,bkj->bik"}, 17, 1),
    ("CastLike", [A, i(1)], {}, 17, 1),
    ("DepthToSpace", [A.reshape(1, 4, 2, 3)], {"blocksize": 2, "mode": "CRD"}, 17, 1),
    ("SpaceToDepth", [A.reshape(1, 1, 4, 6)], {"blocksize": 2}, 17, 1),
    ("Constant", [], {"value_ints": [1, 2]}, 13, 1),
    ("Constant", [], {"value_float": 2.5}, 13, 1),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "opset", "outputs"), CASES, ids=lambda v: v if isinstance(v, str) else None
)
def test_folding_equals_onnxruntime(
    tmp_path: Path, op: str, inputs: list[Array | None], attributes: dict[str, Any], opset: int, outputs: int
) -> None:
    """Value, shape and type of every folded operator are ONNX Runtime's."""
    names = ["" if v is None else f"i{k}" for k, v in enumerate(inputs)]
    given = {n: np.asarray(v) for n, v in zip(names, inputs, strict=True) if v is not None}
    results = [f"o{k}" for k in range(outputs)]
    node = Node(op, "n", tuple(names), tuple(results), attributes)
    folded = evaluate(Call(node, [None if v is None else np.asarray(v) for v in inputs], opset), TABLE.get(op))
    proto = {k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in attributes.items()}
    info = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **proto)],
        "g",
        info,
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), None)
            for n, v in zip(results, folded, strict=True)
        ],
    )
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    for mine, theirs in zip(folded, onnxruntime_run(path, given), strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        assert np.allclose(mine, theirs, rtol=1e-6, atol=1e-6)


def test_every_operator_that_folds_is_compared() -> None:
    """No operator of the folder is without a case here."""
    assert {name for name, record in TABLE.items() if record.fold} == {case[0] for case in CASES}


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "sentence"),
    [
        ("DequantizeLinear", [WHOLE, A[:, :3], None], {"block_size": 1}, "scales for blocks"),
        ("DequantizeLinear", [WHOLE, np.float64(0.1)], {}, "its scale is float64"),
        ("Div", [i(1), i(0)], {}, "divides by zero"),
        ("Slice", [A, i(0), i(1), i(0), i(0)], {}, "a step of 0"),
        ("Squeeze", [A, i(0)], {}, "cannot be evaluated"),
        ("Transpose", [A], {"perm": [0, 1]}, "cannot be evaluated"),
        ("Reshape", [A, i(5, 5)], {}, "cannot be evaluated"),
        ("Split", [A, i(1, 1)], {"axis": 2}, "do not make up an axis of 4"),
        ("Gather", [A, i(9)], {}, r"indices \[9\] do not fit"),
        ("Pad", [A, i(0, 0, 0, 0, 0)], {}, "pads = "),
        ("ScatterND", [A, np.array([[0]]), A[:1]], {"reduction": "add"}, "reduction = 'add'"),
        ("Concat", [A, A], {"axis": 5}, "axis 5 does not exist in 3 dimensions"),
        ("Add", [A, A], {"axis": 1}, "attribute axis = 1 is not supported"),
        ("Det", [A], {}, "operator Det is not supported"),
        ("Cast", [A], {"to": 8}, "to = 8"),
    ],
)
def test_what_cannot_be_folded_names_the_node(op: str, inputs: Any, attributes: Any, sentence: str) -> None:
    """Node, operator and reason stand in the message."""
    node = Node(op, "n", ("a",) * len(inputs), ("o", "p")[: 2 if op == "Split" else 1], attributes)
    with pytest.raises(ImportModelError, match=rf"node 'n' \({op}\).*{sentence}"):
        evaluate(Call(node, inputs, 17), TABLE.get(op))
