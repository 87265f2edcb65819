"""Graphs as tf2onnx and keras2onnx write them, node by node, for networks of Keras and TensorFlow.

The converters are too heavy to install; what they emit for each layer is known from their sources (tf2onnx 1.5 to 1.16,
keras2onnx 1.3 to 1.7) and from files of theirs. Names are theirs too: slashes, colons, scopes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.support.graphs.onnx_files import GATES

T, F, H = 6, 3, 4  # readings of a baked-in window, features, units
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


class Keras:
    """A graph under construction: `x` [N, T, F] is there, weights are random but always the same."""

    def __init__(self, length: int | str = T, *, batch: int | str = "unk__1", opset: int = 15, width: int = F) -> None:
        self.rng = np.random.default_rng(4)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.opset, self.scope = opset, "StatefulPartitionedCall/sequential"
        self.length = length
        self.inputs: list[Any] = [helper.make_tensor_value_info("x", FLOAT, [batch, length, width])]
        self.outputs: list[Any] = []

    def add(self, op: str, inputs: list[str], count: int = 1, **attributes: Any) -> Any:
        """A node; the name of its output, or of its outputs."""
        name = f"{self.scope}/{op}__{len(self.nodes)}"
        outputs = [f"{name}:{k}" for k in range(count)]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0] if count == 1 else outputs

    def fixed(self, values: Any, name: str = "const") -> str:
        found = f"{name}__{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, order="C"), found))
        return found

    def i64(self, *values: int) -> str:
        return self.fixed(np.array(values, np.int64))

    def i32(self, *values: int) -> str:
        return self.fixed(np.array(values, np.int32))

    def draw(self, *shape: int, size: float = 0.5) -> str:
        return self.fixed(self.rng.normal(0, size, shape).astype(np.float32), "W")

    def output(self, name: str, out: str = "Identity:0", dtype: int = FLOAT) -> None:
        self.nodes.append(helper.make_node("Identity", [name], [out], name=f"{out}__identity"))
        self.outputs.append(helper.make_tensor_value_info(out, dtype, None))

    def save(self, path: Path) -> Path:
        graph = helper.make_graph(self.nodes, "tf2onnx", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("ai.onnx.ml", 2)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="tf2onnx", ir_version=7)
        path.write_bytes(model.SerializeToString())
        return path

    # --- what is common to both converters ------------------------------------------------------------------------

    def squeeze(self, x: str, axis: int) -> str:
        if self.opset < 13:
            return str(self.add("Squeeze", [x], axes=[axis]))
        return str(self.add("Squeeze", [x, self.i64(axis)]))

    def unsqueeze(self, x: str, axis: int) -> str:
        if self.opset < 13:
            return str(self.add("Unsqueeze", [x], axes=[axis]))
        return str(self.add("Unsqueeze", [x, self.i64(axis)]))

    def slice(self, x: str, start: int, end: int, axis: int, step: int = 1) -> str:
        return str(self.add("Slice", [x, *(self.i64(v) for v in (start, end, axis, step))]))

    def time_first(self, x: str = "x") -> str:
        return str(self.add("Transpose", [x], perm=[1, 0, 2]))

    def batch_size(self, x: str = "x") -> str:
        """The first dimension as tf2onnx computes it: in int32, by a strided slice of the shape."""
        shape = self.add("Cast", [self.add("Shape", [x])], to=TensorProto.INT32)
        return self.slice(shape, 0, 1, 0)

    def zero_state(self, units: int = H, *, like: str = "Expand") -> str:
        """Keras' zeros(batch, units), with the direction in front."""
        dims = self.add("Concat", [self.batch_size(), self.i32(units)], axis=0)
        dims = self.add("Cast", [dims], to=INT64)
        if like == "Expand":
            return self.unsqueeze(self.add("Expand", [self.fixed(np.zeros((1, 1), np.float32)), dims]), 0)
        value = numpy_helper.from_array(np.zeros(1, np.float32))
        return self.unsqueeze(self.add("ConstantOfShape", [dims], value=value), 0)

    def layer(
        self, op: str, x: str, *more: str, width: int = F, directions: int = 1, bias: bool = True, **attributes: Any
    ) -> list[str]:
        """A recurrent node with random weights; its outputs Y, Y_h (and Y_c)."""
        g = GATES[op] * H
        inputs = [x, self.draw(directions, g, width), self.draw(directions, g, H)]
        inputs += [self.draw(directions, 2 * g) if bias else "", *more]
        count = 3 if op == "LSTM" else 2
        return list(self.add(op, inputs, count, hidden_size=H, **attributes))

    def dense(self, x: str, width: int = H, outputs: int = 2) -> str:
        y = self.add("MatMul", [x, self.draw(width, outputs)])
        return str(self.add("Add", [y, self.draw(outputs)]))


@dataclass(frozen=True)
class Idiom:
    """A graph, and what it must become: a window of T readings, a continuous stream (None), or a refusal."""

    build: Callable[[], Keras]
    window: int | None = T
    sequence: bool = False  # the output has a time axis, the second one
    two_ways: bool = False  # every place of the sequence is computed differently: all of them are the output
    refused: str = ""


IDIOMS: dict[str, Idiom] = {}


def idiom(window: int | None = T, *, sequence: bool = False, two_ways: bool = False, refused: str = "") -> Any:
    """Registers a builder under its name."""

    def register(build: Callable[[], Keras]) -> Callable[[], Keras]:
        IDIOMS[build.__name__] = Idiom(build, window, sequence, two_ways, refused)
        return build

    return register


TF = ["Sigmoid", "Tanh", "Tanh"]  # activations of an LSTM, as both write them out
