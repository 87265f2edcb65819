"""What may stand behind a recurrent layer: nodes from "h" [B, T, 4] to "y", with their constants and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.graphs.onnx_files import Array, node, save


def head_file(path: Path, nodes: list[Any], constants: dict[str, Any], *, opset: int = 17, width: int = 4) -> Path:
    """x [B, T, 3] → LSTM of 4 → `nodes` from "h" [B, T, 4] to "y"."""
    rng = np.random.default_rng(1)
    weights = {
        "W": rng.normal(0, 0.7, (1, 16, 3)).astype(np.float32),
        "R": rng.normal(0, 0.7, (1, 16, 4)).astype(np.float32),
        "last_shape": np.array([0, 0, -1]),
    }
    before = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "W", "R"], ["Y"], hidden_size=4),
        node("Transpose", ["Y"], ["Yt"], perm=[2, 0, 1, 3]),
        node("Reshape", ["Yt", "last_shape"], ["h"]),
    ]
    return save(
        path, [*before, *nodes], {**weights, **constants}, {"x": ["B", "T", 3]}, {"y": ["B", "T", width]}, opset=opset
    )


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


W42 = np.random.default_rng(2).normal(0, 1, (4, 2)).astype(np.float32)
HEADS: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any]]] = {
    **{
        op: ([node(op, ["h"], ["y"])], {}, {"opset": 22})
        for op in (
            "Abs",
            "Celu",
            "Elu",
            "Exp",
            "HardSigmoid",
            "HardSwish",
            "Identity",
            "LeakyRelu",
            "LogSoftmax",
            "Mish",
            "Neg",
            "Relu",
            "Selu",
            "Sigmoid",
            "Softmax",
            "Softplus",
            "Softsign",
            "Tanh",
            "ThresholdedRelu",
        )
    },
    "LeakyRelu alpha": ([node("LeakyRelu", ["h"], ["y"], alpha=0.3)], {}, {}),
    "Elu alpha": ([node("Elu", ["h"], ["y"], alpha=0.3)], {}, {}),
    "Celu alpha": ([node("Celu", ["h"], ["y"], alpha=0.3)], {}, {}),
    "Selu both": ([node("Selu", ["h"], ["y"], alpha=0.3, gamma=2.0)], {}, {}),
    "HardSigmoid both": ([node("HardSigmoid", ["h"], ["y"], alpha=0.7, beta=0.1)], {}, {}),
    "Gelu tanh": ([node("Gelu", ["h"], ["y"], approximate="tanh")], {}, {"opset": 20}),
    "Clip inputs": ([node("Clip", ["h", "a", "b"], ["y"])], {"a": np.float32(-0.1), "b": np.float32(0.2)}, {}),
    "Clip one side": ([node("Clip", ["h", "", "b"], ["y"])], {"b": np.float32(0.2)}, {}),
    "Clip attributes": ([node("Clip", ["h"], ["y"], min=-0.1, max=0.1)], {}, {"opset": 7}),
    "PRelu one": ([node("PRelu", ["h", "s"], ["y"])], {"s": f32(0.3)}, {}),
    "PRelu each": ([node("PRelu", ["h", "s"], ["y"])], {"s": f32(0.3, 0.1, -0.2, 2)}, {}),
    "Pow 2": ([node("Pow", ["h", "e"], ["y"])], {"e": np.float32(2)}, {}),
    "Pow 3": ([node("Pow", ["h", "e"], ["y"])], {"e": np.float32(3)}, {}),
    "Sqrt of Abs": ([node("Abs", ["h"], ["a"]), node("Sqrt", ["a"], ["y"])], {}, {}),
    "Log, Reciprocal": (
        [
            node("Abs", ["h"], ["a"]),
            node("Add", ["a", "c"], ["b"]),
            node("Log", ["b"], ["l"]),
            node("Reciprocal", ["b"], ["r"]),
            node("Sub", ["l", "r"], ["y"]),
        ],
        {"c": f32(0.5)},
        {},
    ),
    "Gemm-like MatMul Add": (
        [node("MatMul", ["h", "M"], ["m"]), node("Add", ["b", "m"], ["y"])],
        {"M": W42, "b": f32(1, 2)},
        {"width": 2},
    ),
    "Add of several uses": (
        [node("MatMul", ["h", "M"], ["m"]), node("Add", ["m", "b"], ["p"]), node("Mul", ["m", "p"], ["y"])],
        {"M": W42, "b": f32(1, 2)},
        {"width": 2},
    ),
    "Reshape Gemm Reshape": (
        [
            node("Shape", ["h"], ["s"]),
            node("Slice", ["s", "zero", "two"], ["bt"]),
            node("Concat", ["bt", "two"], ["back"], axis=0),
            node("Reshape", ["h", "rows"], ["r"]),
            node("Gemm", ["r", "M", "b"], ["g"], transB=1, alpha=0.5, beta=2.0),
            node("Reshape", ["g", "back"], ["y"]),
        ],
        {"rows": i64(-1, 4), "M": np.ascontiguousarray(W42.T), "b": f32(1, 2), "zero": i64(0), "two": i64(2)},
        {"width": 2},
    ),
    "LayerNormalization": (
        [node("LayerNormalization", ["h", "g", "b"], ["y"], axis=-1, epsilon=1e-3)],
        {"g": f32(1, 2, 3, 4), "b": f32(0, 1, 0, 1)},
        {},
    ),
    "ReduceMean keep": ([node("ReduceMean", ["h"], ["m"], axes=[-1]), node("Sub", ["h", "m"], ["y"])], {}, {}),
    "ReduceSum input": ([node("ReduceSum", ["h", "a"], ["m"]), node("Div", ["h", "m"], ["y"])], {"a": i64(2)}, {}),
    "ReduceMax drop": (
        [node("ReduceMax", ["h"], ["m"], axes=[2], keepdims=0), node("Unsqueeze", ["m", "a"], ["y"])],
        {"a": i64(2)},
        {"width": 1},
    ),
    "Slice Concat": (
        [node("Slice", ["h", "s", "e", "a", "p"], ["f"]), node("Concat", ["f", "h"], ["y"], axis=-1)],
        {"s": i64(-1), "e": i64(-99), "a": i64(2), "p": i64(-1)},
        {"width": 8},
    ),
    "Split": (
        [
            node("Split", ["h", "n"], ["a", "b"], axis=-1),
            node("Mul", ["b", "a1"], ["c"]),
            node("Concat", ["c", "a"], ["y"], axis=2),
        ],
        {"n": i64(1, 3), "a1": f32(2, 3, 4)},
        {},
    ),
    "Split num_outputs": (
        [node("Split", ["h"], ["a", "b"], axis=-1, num_outputs=2), node("Max", ["a", "b"], ["y"])],
        {},
        {"opset": 18, "width": 2},
    ),
    "Gather": ([node("Gather", ["h", "i"], ["y"], axis=2)], {"i": i64(3, -4, 3)}, {"width": 3}),
    "Min Max Sum": (
        [node("Min", ["h", "c"], ["m"]), node("Sum", ["m", "h", "c"], ["s"]), node("Max", ["s", "h"], ["y"])],
        {"c": f32(0, 0.1, 0.2, 0.3)},
        {},
    ),
    "Expand": (
        [node("ReduceMean", ["h"], ["m"], axes=[2]), node("Expand", ["m", "e"], ["y"])],
        {"e": i64(1, 1, 6)},
        {"width": 6},
    ),
    "Pad": ([node("Pad", ["h", "p", "v"], ["y"])], {"p": i64(0, 0, 1, 0, 0, 2), "v": np.float32(0.5)}, {"width": 7}),
    "Where": (
        [node("Where", ["c", "h", "o"], ["y"])],
        {"c": np.array([True, False, True, False]), "o": f32(9, 8, 7, 6)},
        {},
    ),
    "Dropout": ([node("Dropout", ["h"], ["y"])], {}, {"opset": 11}),
    "Cast": ([node("Cast", ["h"], ["y"], to=1)], {}, {}),
    "BatchNormalization": (
        [
            node("Transpose", ["h"], ["t"], perm=[0, 2, 1]),
            node("BatchNormalization", ["t", "g", "b", "m", "v"], ["n"]),
            node("Transpose", ["n"], ["y"], perm=[0, 2, 1]),
        ],
        {"g": f32(1, 2, 3, 4), "b": f32(0, 1, 0, 1), "m": f32(0.1, 0.2, 0.3, 0), "v": f32(1, 2, 0.5, 0.1)},
        {},
    ),
    "MatMul from the left": (
        [node("Unsqueeze", ["h", "a"], ["u"]), node("MatMul", ["M", "u"], ["m"]), node("Squeeze", ["m", "a"], ["y"])],
        {"M": np.ascontiguousarray(W42.T), "a": i64(-1)},
        {"width": 2},
    ),
    "rows within a reading": (
        [
            node("Shape", ["h"], ["s"]),
            node("Slice", ["s", "zero", "two"], ["bt"]),
            node("Concat", ["bt", "four"], ["w"], axis=0),
            node("Concat", ["bt", "m1"], ["back"], axis=0),
            node("Reshape", ["h", "w"], ["r"]),
            node("MatMul", ["r", "M"], ["m"]),
            node("Softmax", ["m"], ["p"], axis=2),
            node("Reshape", ["p", "back"], ["y"]),
        ],
        {"zero": i64(0), "two": i64(2), "four": i64(2, 2), "m1": i64(-1), "M": W42[:2, :]},
        {},
    ),
    "If on a shape": (
        [node("Shape", ["h"], ["s"]), node("Gather", ["s", "i"], ["d"]), node("Equal", ["d", "four"], ["c"])],
        {"i": i64(2).reshape(()), "four": i64(4).reshape(())},
        {"branches": True},
    ),
}
