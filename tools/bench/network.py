"""The network that every contender runs: inputs → LSTM of H units → dense outputs, with the same weights everywhere.

Holds the weights, what they should compute (NumPy, float64), the ONNX graphs that peers load (LSTM operator, or made of
elementary operators), and what a contender is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing

Floats = npt.NDArray[np.float32]
INPUTS, OUTPUTS = 8, 4


@dataclass
class Contender:
    """step: (I,) to (O,). log: (T, I) to (T, O), from the reset state. logs: from N of them, (T, N, I), a call that
    runs them, to (T, N, O) or a list of N (T, O). batch: (N, I) to (N, O), N streams' one step."""

    step: Callable[[Floats], Any]
    reset: Callable[[], object]
    log: Callable[[Floats], Any] | None = None
    logs: Callable[[Floats], Callable[[], Any]] | None = None
    batch: Callable[[Floats], Any] | None = None
    error: float = 0.0  # the largest difference from float64 that was seen


def sigmoid(v: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """1 / (1 + e^-v)."""
    result: npt.NDArray[Any] = 1 / (1 + np.exp(-v))
    return result


@dataclass(frozen=True)
class Network:
    """Weights: W (4H, I), R (4H, H), b (4H,) with rows i f g o, as PyTorch has them; V (O, H), v (O,) the head."""

    units: int
    W: Floats
    R: Floats
    b: Floats
    V: Floats
    v: Floats

    @classmethod
    def random(cls, units: int) -> Network:
        """Uniform weights in ±1/sqrt(units), from a seed."""
        random = np.random.default_rng(units)
        shapes = ((4 * units, INPUTS), (4 * units, units), (4 * units,), (OUTPUTS, units), (OUTPUTS,))
        return cls(units, *(random.uniform(-1, 1, s).astype(np.float32) / np.float32(units**0.5) for s in shapes))

    @property
    def weight_bytes(self) -> int:
        """What one step has to read."""
        return sum(a.nbytes for a in (self.W, self.R, self.b, self.V, self.v))

    def rows(self, order: str, array: Floats) -> Floats:
        """The four gates of W, R or b in another order than "ifgo"."""
        gates = array.reshape(4, self.units, -1)[["ifgo".index(gate) for gate in order]]
        return gates.reshape(array.shape)

    def exact(self, xs: Floats) -> npt.NDArray[np.float64]:
        """(T, I) to (T, O), in float64."""
        W, R, b, V, v = (a.astype(np.float64) for a in (self.W, self.R, self.b, self.V, self.v))
        h, c, ys = np.zeros(self.units), np.zeros(self.units), []
        for x in xs.astype(np.float64):
            i, f, g, o = np.split(W @ x + R @ h + b, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            ys.append(V @ h + v)
        return np.array(ys)

    def model(self, window: int | None = None) -> Model:
        """Ours."""
        build = Builder()
        h, c = build.state("lstm.h", self.units), build.state("lstm.c", self.units)
        y, memory = build.lstm(build.input("x", INPUTS), h, c, W=self.W, R=self.R, b=self.b, name="lstm")
        build.next(h, y)
        build.next(c, memory)
        build.output("y", build.dense(y, W=self.V, b=self.v))
        inputs, outputs = channels_for(("x",), (INPUTS,)), channels_for(("y",), (OUTPUTS,))
        timing = Timing() if window is None else Timing.over_window(window)
        return Model(build.build(), inputs, outputs, timing=timing)

    def lstm_onnx(self, path: Path) -> Path:
        """An LSTM operator with dynamic time T and batch N, states in and out."""
        from onnx import TensorProto, helper, numpy_helper, save

        bias = np.concatenate([self.rows("iofg", self.b), np.zeros_like(self.b)])[None]
        constants = {"W": self.rows("iofg", self.W)[None], "R": self.rows("iofg", self.R)[None], "B": bias}
        constants |= {"V": self.V.T.copy(), "v": self.v, "one": np.array([1], np.int64)}
        nodes = [
            helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["Y", "h1", "c1"], hidden_size=self.units),
            helper.make_node("Squeeze", ["Y", "one"], ["flat"]),
            helper.make_node("MatMul", ["flat", "V"], ["product"]),
            helper.make_node("Add", ["product", "v"], ["y"]),
        ]
        shapes: dict[str, tuple[str | int, ...]] = {
            "x": ("T", "N", INPUTS), "h": (1, "N", self.units), "c": (1, "N", self.units),
            "y": ("T", "N", OUTPUTS), "h1": (1, "N", self.units), "c1": (1, "N", self.units),
        }  # fmt: skip
        value = {k: helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in shapes.items()}
        graph = helper.make_graph(
            nodes,
            "lstm",
            [value[k] for k in ("x", "h", "c")],
            [value[k] for k in ("y", "h1", "c1")],
            [numpy_helper.from_array(np.ascontiguousarray(a), k) for k, a in constants.items()],
        )
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    def cell_onnx(self, path: Path) -> Path:
        """One step of elementary operators: x (1, I), h, c (1, H) to y, h1, c1."""
        from onnx import TensorProto, helper, numpy_helper, save

        constants = {"A": np.concatenate([self.W, self.R], axis=1).T, "b": self.b, "V": self.V.T, "v": self.v}
        text: tuple[tuple[str, dict[str, Any]], ...] = (
            ("Concat x h xh", {"axis": 1}), ("Gemm xh A b sums", {}), ("Split sums i f g o", {"axis": 1}),
            ("Sigmoid i si", {}), ("Sigmoid f sf", {}), ("Sigmoid o so", {}), ("Tanh g tg", {}),
            ("Mul sf c kept", {}), ("Mul si tg new", {}), ("Add kept new c1", {}), ("Tanh c1 tc", {}),
            ("Mul so tc h1", {}), ("Gemm h1 V v y", {}),
        )  # fmt: skip
        nodes = []
        for line, attributes in text:
            kind, *names = line.split()
            outputs = names[1:] if kind == "Split" else names[-1:]
            nodes.append(helper.make_node(kind, names[: -len(outputs)], outputs, **attributes))
        sizes = {"x": INPUTS, "h": self.units, "c": self.units, "y": OUTPUTS, "h1": self.units, "c1": self.units}
        value = {k: helper.make_tensor_value_info(k, TensorProto.FLOAT, (1, n)) for k, n in sizes.items()}
        graph = helper.make_graph(
            nodes,
            "cell",
            [value[k] for k in ("x", "h", "c")],
            [value[k] for k in ("y", "h1", "c1")],
            [numpy_helper.from_array(np.ascontiguousarray(a), k) for k, a in constants.items()],
        )
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path
