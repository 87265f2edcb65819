"""Small ONNX files made on the spot, and ONNX Runtime as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    """A node named after its first output."""
    return helper.make_node(op, inputs, outputs, name=f"n_{outputs[0]}", **attributes)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    *,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """Writes a graph; dimensions are numbers or names."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, dtype, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def onnxruntime_run(path: Path, feeds: dict[str, Array]) -> list[Array]:
    """What ONNX Runtime computes, on one thread."""
    return list(onnxruntime_session(path)(feeds).values())


def onnxruntime_session(path: Path) -> Callable[[dict[str, Array]], dict[str, Array]]:
    """ONNX Runtime on one thread: from inputs to outputs, by their names."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [v.name for v in session.get_outputs()]
    return lambda feeds: dict(zip(names, (np.asarray(v) for v in session.run(None, feeds)), strict=True))


def difference(y: Array, expected: Array) -> float:
    """The largest difference relative to the range of what is expected; NaN must stand where NaN is expected."""
    assert y.shape == expected.shape, (y.shape, expected.shape)
    assert np.array_equal(np.isnan(y), np.isnan(expected))
    scale = max(float(np.nanmax(expected) - np.nanmin(expected)), 1e-3)
    return float(np.nanmax(np.abs(y - expected))) / scale


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
ACTIVATIONS = (
    "Affine",
    "Elu",
    "HardSigmoid",
    "LeakyRelu",
    "Relu",
    "ScaledTanh",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "ThresholdedRelu",
)
WITH_ALPHA = ("Affine", "Elu", "HardSigmoid", "LeakyRelu", "ScaledTanh", "ThresholdedRelu")
WITH_BETA = ("Affine", "HardSigmoid", "ScaledTanh")


def recurrent_file(path: Path, rng: np.random.Generator, op: str, **options: Any) -> Path:
    """One recurrent operator over x [T, 1, I] with an open T; y is Y without its axes of direction and batch.

    options: units, width, opset, bias, initial, peephole, and ONNX attributes.
    """
    units, width = options.pop("units", 4), options.pop("width", 3)
    opset = options.pop("opset", 17)
    gates = GATES[op]

    def draw(*shape: int) -> Array:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    constants = {"W": draw(1, gates * units, width), "R": draw(1, gates * units, units)}
    names = ["x", "W", "R", "", "", "", "", ""]
    if options.pop("bias", True):
        names[3], constants["B"] = "B", draw(1, 2 * gates * units)
    if options.pop("initial", False):
        names[5], constants["h0"] = "h0", draw(1, 1, units)
        if op == "LSTM":
            names[6], constants["c0"] = "c0", draw(1, 1, units)
    if options.pop("peephole", False):
        names[7], constants["P"] = "P", draw(1, 3 * units)
    while not names[-1]:
        names.pop()
    constants["shape"] = np.array([-1, 1, units], np.int64)
    nodes = [
        node(op, names, ["Y"], hidden_size=units, **options),
        node("Reshape", ["Y", "shape"], ["y"]),
    ]
    return save(path, nodes, constants, {"x": ["T", 1, width]}, {"y": ["T", 1, units]}, opset=opset)


def arrays(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file, with the file closed again."""
    with np.load(path) as file:
        return {key: file[key] for key in file.files}
