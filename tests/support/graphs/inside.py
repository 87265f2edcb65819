"""Operators within one reading: nodes from "x" to "y", the shape of x, constants, options."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tests.support.graphs.heads import f32, i64
from tests.support.graphs.onnx_files import Array, node

Case = tuple[list[Any], tuple[int, ...], dict[str, Any], dict[str, Any]]


def one(op: str, shape: tuple[int, ...], constants: dict[str, Any] | None = None, opset: int = 17, **more: Any) -> Case:
    """A single node whose inputs are x and the constants in their order."""
    constants = constants or {}
    return [node(op, ["x", *constants], ["y"], **more)], shape, constants, {"opset": opset}


def to_float(nodes: list[Any], shape: tuple[int, ...], constants: dict[str, Any], opset: int = 17) -> Case:
    """Nodes that end in "z", whose numbers are no floats."""
    return [*nodes, node("Cast", ["z"], ["y"], to=TensorProto.FLOAT)], shape, constants, {"opset": opset}


def compared(op: str) -> Case:
    return to_float([node(op, ["x", "c"], ["z"])], (2, 5), {"c": f32(0, 0.5, -0.5, 0, 0.1)})


def cases(rng: np.random.Generator) -> dict[str, Case]:
    """Every operator that runs inside a step, in each form, with weights from this generator."""

    def draw(*shape: int) -> Array:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    return {
        "Conv": one("Conv", (1, 3, 9), {"w": draw(4, 3, 3), "b": draw(4)}, pads=[1, 1]),
        "Conv strides dilations": one(
            "Conv", (2, 4, 16), {"w": draw(6, 4, 3)}, strides=[2], dilations=[3], pads=[2, 1],
        ),
        "Conv groups": one("Conv", (1, 4, 9), {"w": draw(6, 2, 3), "b": draw(6)}, group=2),
        "Conv depthwise": one("Conv", (1, 4, 9), {"w": draw(4, 1, 3)}, group=4),
        "Conv 2-D": one("Conv", (1, 2, 6, 5), {"w": draw(3, 2, 3, 2), "b": draw(3)}, pads=[1, 0, 1, 1], strides=[2, 1]),
        "Conv SAME_UPPER": one("Conv", (1, 2, 7), {"w": draw(3, 2, 4)}, auto_pad="SAME_UPPER", strides=[2]),
        "Conv SAME_LOWER": one("Conv", (1, 2, 7), {"w": draw(3, 2, 4)}, auto_pad="SAME_LOWER", strides=[2]),
        "Conv VALID": one("Conv", (1, 2, 7), {"w": draw(3, 2, 4)}, auto_pad="VALID"),
        "ConvTranspose": one("ConvTranspose", (1, 3, 5), {"w": draw(3, 2, 3), "b": draw(2)}),
        "ConvTranspose all": one(
            "ConvTranspose", (1, 4, 5), {"w": draw(4, 3, 3)}, strides=[2], pads=[1, 2], output_padding=[1], group=2,
            dilations=[2],
        ),
        "ConvTranspose 2-D": one(
            "ConvTranspose", (1, 2, 3, 4), {"w": draw(2, 3, 2, 3)}, strides=[2, 1], pads=[1, 0, 0, 1],
        ),
        "ConvTranspose cut": one("ConvTranspose", (1, 2, 5), {"w": draw(2, 3, 2)}, pads=[3, 2], strides=[2]),
        "ConvTranspose SAME": one("ConvTranspose", (1, 2, 5), {"w": draw(2, 3, 3)}, auto_pad="SAME_UPPER", strides=[2]),
        "ConvTranspose shape": one("ConvTranspose", (1, 2, 5), {"w": draw(2, 3, 3)}, output_shape=[10], strides=[2]),
        "MaxPool": one("MaxPool", (1, 3, 9), kernel_shape=[3], strides=[2], pads=[1, 1]),
        "MaxPool ceil": one("MaxPool", (1, 3, 8), kernel_shape=[3], strides=[2], ceil_mode=1),
        "MaxPool dilated 2-D": one("MaxPool", (1, 2, 7, 6), kernel_shape=[2, 3], dilations=[2, 1]),
        "AveragePool": one("AveragePool", (1, 3, 9), kernel_shape=[3], strides=[2]),
        "AveragePool pads": one("AveragePool", (1, 3, 9), kernel_shape=[4], pads=[1, 2]),
        "AveragePool counted": one("AveragePool", (1, 3, 9), kernel_shape=[4], pads=[1, 2], count_include_pad=1),
        "AveragePool ceil": one("AveragePool", (1, 3, 8), kernel_shape=[3], strides=[2], ceil_mode=1, opset=19),
        "LpPool": one("LpPool", (1, 3, 9), kernel_shape=[3], p=2),
        "GlobalAveragePool": one("GlobalAveragePool", (1, 3, 4, 2)),
        "GlobalMaxPool": one("GlobalMaxPool", (1, 3, 4)),
        "Pad reflect": one("Pad", (1, 2, 6), {"p": i64(0, 0, 3, 0, 0, 2)}, mode="reflect"),
        "Pad edge": one("Pad", (1, 2, 6), {"p": i64(0, 1, 3, 0, 0, 2)}, mode="edge"),
        "Pad constant": one("Pad", (1, 2, 6), {"p": i64(0, 1, 3, 0, 0, 2), "v": np.float32(0.7)}),
        "Pad axes": one("Pad", (1, 2, 6), {"p": i64(1, 2), "v": np.float32(0), "a": i64(-1)}, opset=18),
        "Pad attribute": one("Pad", (1, 2, 6), pads=[0, 0, 1, 0, 0, 2], value=0.5, opset=7),
        "Pad negative": one("Pad", (1, 2, 6), {"p": i64(0, 0, -1, 0, 0, 2)}),
        "MatMul batched weights": one("MatMul", (3, 2, 4), {"w": draw(3, 4, 5)}),
        "MatMul vector": one("MatMul", (3, 4), {"w": draw(4)}),
        "MatMul computed": (
            [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["x", "t"], ["y"])], (2, 3, 4), {}, {},
        ),
        "Attention within a reading": (
            [
                node("MatMul", ["x", "q"], ["Q"]), node("MatMul", ["x", "k"], ["K"]), node("MatMul", ["x", "v"], ["V"]),
                node("Transpose", ["K"], ["Kt"], perm=[0, 2, 1]), node("MatMul", ["Q", "Kt"], ["s"]),
                node("Softmax", ["s"], ["a"]), node("MatMul", ["a", "V"], ["y"]),
            ],
            (1, 5, 4), {"q": draw(4, 3), "k": draw(4, 3), "v": draw(4, 2)}, {},
        ),
        "Gemm computed": ([node("Gemm", ["x", "x"], ["y"], transB=1, alpha=0.5)], (3, 4), {}, {}),
        "Erf": one("Erf", (2, 5)),
        "Gelu": one("Gelu", (2, 5), opset=20),
        "Gelu by hand": (
            [
                node("Div", ["x", "r"], ["d"]), node("Erf", ["d"], ["e"]), node("Add", ["e", "i"], ["a"]),
                node("Mul", ["x", "a"], ["m"]), node("Mul", ["m", "h"], ["y"]),
            ],
            (2, 5), {"r": np.float32(2**0.5), "i": np.float32(1), "h": np.float32(0.5)}, {},
        ),
        "Floor": one("Floor", (2, 5)),
        "Ceil": one("Ceil", (2, 5)),
        "Round": one("Round", (2, 5)),
        "Sign": one("Sign", (2, 5)),
        "Mean": one("Mean", (2, 5), {"c": draw(5), "d": draw(2, 1)}),
        "Mod": ([node("Mul", ["x", "k"], ["m"]), node("Mod", ["m", "k"], ["y"], fmod=1)], (2, 5), {"k": f32(4)}, {}),
        "Pow 4": one("Pow", (2, 5), {"e": np.float32(4)}),
        "Pow -1": one("Pow", (2, 5), {"e": np.float32(-1)}),
        "Pow 1.5 of a square": (
            [node("Mul", ["x", "x"], ["s"]), node("Pow", ["s", "e"], ["y"])], (2, 5), {"e": np.float32(1.5)}, {},
        ),
        "Pow 0.3 of a square": (
            [node("Mul", ["x", "x"], ["s"]), node("Pow", ["s", "e"], ["y"])], (2, 5), {"e": np.float32(0.3)}, {},
        ),
        "Pow of a constant": ([node("Pow", ["c", "x"], ["y"])], (2, 5), {"c": np.float32(2)}, {}),
        **{op: compared(op) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")},
        **{
            op: to_float(
                [node("Greater", ["x", "c"], ["a"]), node("Less", ["x", "d"], ["b"]), node(op, ["a", "b"], ["z"])],
                (2, 5), {"c": np.float32(0), "d": np.float32(0.3)},
            )
            for op in ("And", "Or", "Xor")
        },
        "Not": to_float([node("Greater", ["x", "c"], ["a"]), node("Not", ["a"], ["z"])], (2, 5), {"c": np.float32(0)}),
        "Where": (
            [node("Greater", ["x", "c"], ["a"]), node("Where", ["a", "x", "d"], ["y"])],
            (2, 5), {"c": np.float32(0), "d": draw(2, 1)}, {},
        ),
        "Cast int and back": (
            [
                node("Mul", ["x", "k"], ["m"]), node("Cast", ["m"], ["i"], to=TensorProto.INT64),
                node("Div", ["i", "two"], ["d"]), node("Add", ["d", "two"], ["z"]), node("Cast", ["z"], ["y"], to=1),
            ],
            (2, 5), {"k": np.float32(10), "two": np.array(2)}, {},
        ),
        "Cast bool": to_float([node("Cast", ["x"], ["z"], to=TensorProto.BOOL)], (2, 5), {}),
        "ArgMax": to_float([node("ArgMax", ["x"], ["z"], axis=1)], (2, 5), {}),
        "ArgMin drop": to_float([node("ArgMin", ["x"], ["z"], axis=-1, keepdims=0)], (2, 5), {}),
        "ArgMax as a lookup": (
            [node("ArgMax", ["x"], ["i"], axis=1, keepdims=0), node("Gather", ["table", "i"], ["y"])],
            (3, 5), {"table": draw(5, 2, 2)}, {},
        ),
        "Gather along another axis": (
            [node("ArgMax", ["x"], ["i"], axis=1, keepdims=1), node("Gather", ["table", "i"], ["y"], axis=1)],
            (3, 5), {"table": draw(2, 5, 4)}, {},
        ),
        "OneHot": (
            [node("ArgMax", ["x"], ["i"], axis=1, keepdims=0), node("OneHot", ["i", "d", "v"], ["y"])],
            (3, 5), {"d": np.array(5), "v": f32(-1, 2)}, {},
        ),
        "LayerNormalization": one("LayerNormalization", (2, 3, 4), {"g": draw(3, 4), "b": draw(3, 4)}, axis=1),
        "InstanceNormalization": one("InstanceNormalization", (2, 3, 6), {"g": draw(3), "b": draw(3)}),
        "GroupNormalization": one(
            "GroupNormalization", (1, 4, 6), {"g": draw(4), "b": draw(4)}, num_groups=2, opset=21,
        ),
        "BatchNormalization": one(
            "BatchNormalization", (1, 3, 4),
            {"g": draw(3), "b": draw(3), "m": draw(3), "v": np.abs(draw(3)) + f32(0.1)},
        ),
        "MeanVarianceNormalization": one("MeanVarianceNormalization", (1, 2, 4), axes=[0, 2]),
        "LpNormalization 1": one("LpNormalization", (2, 5), p=1),
        "LpNormalization 2": one("LpNormalization", (2, 5), axis=0),
        "RMSNormalization": one("RMSNormalization", (2, 5), {"g": draw(5)}, opset=23),
        "Softmax axis 0": one("Softmax", (3, 4), axis=0),
        "LogSoftmax axis 1 of 3": one("LogSoftmax", (2, 3, 4), axis=1),
        "Softmax before 13": one("Softmax", (2, 3, 4), opset=11, axis=1),
        **{
            op: one(op, (2, 3, 4), axes=[0, 2], keepdims=0)
            for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                       "ReduceLogSumExp")
        },
        "ReduceLogSum": ([node("Abs", ["x"], ["a"]), node("ReduceLogSum", ["a"], ["y"], axes=[1])], (2, 5), {}, {}),
        "CumSum": one("CumSum", (2, 5), {"a": np.array(1)}),
        "CumSum exclusive reverse": one("CumSum", (2, 5), {"a": np.array(1)}, exclusive=1, reverse=1),
        "Swish": ([node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])], (2, 5), {}, {}),
        "STFT written as Conv": (
            [
                node("Pad", ["x", "p"], ["xp"], mode="reflect"), node("Conv", ["xp", "w"], ["c"], strides=[4]),
                node("Slice", ["c", "z", "n", "a"], ["re"]), node("Slice", ["c", "n", "m", "a"], ["im"]),
                node("Mul", ["re", "re"], ["r2"]), node("Pow", ["im", "two"], ["i2"]), node("Add", ["r2", "i2"], ["s"]),
                node("Sqrt", ["s"], ["y"]),
            ],
            (1, 1, 16),
            {"p": i64(0, 0, 2, 0, 0, 2), "w": draw(6, 1, 8), "z": i64(0), "n": i64(3), "m": i64(6), "a": i64(1),
             "two": np.float32(2)},
            {},
        ),
        "If on the reading": (
            [
                node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "c"], ["t"]),
                node("If", ["t"], ["y"]),
            ],
            (2, 5), {"c": np.float32(0)}, {"branches": True},
        ),
        "Trilu": one("Trilu", (4, 4), upper=0),
        "DepthToSpace": one("DepthToSpace", (1, 4, 2, 3), blocksize=2),
        "SpaceToDepth": one("SpaceToDepth", (1, 1, 4, 6), blocksize=2),
        "Einsum": one("Einsum", (2, 3, 4), {"w": draw(4, 5)}, equation="bij,jk->bik"),
    }  # fmt: skip


INSIDE = cases(np.random.default_rng(8))
