"""Stacks of layers over an open time axis, convolutions, pooling and slices among recurrent ones, and how their outputs
belong to readings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.model import Model
from tests.support.graphs.onnx_files import GATES, Array, node, onnxruntime_run, save

WIDTH = 3


class Stack:
    """x [1, T, 3]; between layers the values are [1, channels, T]."""

    def __init__(self, seed: int, length: int | str = "T") -> None:
        self.rng = np.random.default_rng(seed)
        self.length, self.channels, self.count = length, WIDTH, 0
        self.constants: dict[str, Array] = {}
        self.nodes = [node("Transpose", ["x"], ["x_c"], perm=[0, 2, 1])]
        self.top = "x_c"

    def fixed(self, values: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(values)
        return name

    def draw(self, *shape: int) -> str:
        return self.fixed(self.rng.normal(0, 0.6 / shape[-1] ** 0.5, shape).astype(np.float32))

    def add(self, op: str, *inputs: str, **attributes: Any) -> Stack:
        self.count += 1
        self.nodes.append(node(op, [self.top, *inputs], [f"v{self.count}"], **attributes))
        self.top = f"v{self.count}"
        return self

    def conv(self, kernel: int, pads: tuple[int, int] = (0, 0), stride: int = 1, dilation: int = 1) -> Stack:
        weight = self.draw(4, self.channels, kernel)
        self.channels = 4
        return self.add("Conv", weight, pads=list(pads), strides=[stride], dilations=[dilation])

    def pool(self, op: str, kernel: int, stride: int, pads: tuple[int, int] = (0, 0)) -> Stack:
        return self.add(op, kernel_shape=[kernel], strides=[stride], pads=list(pads))

    def every(self, step: int, start: int = 0, end: int = 1 << 40) -> Stack:
        numbers = (self.fixed(np.array([n])) for n in (start, end, 2, step))
        return self.add("Slice", *numbers)

    def recurrent(self, op: str, units: int = 4, final: bool = False) -> Stack:
        """The layer's outputs [1, units, T], or its last state [1, units]."""
        self.add("Transpose", perm=[2, 0, 1])
        g = GATES[op] * units
        weights = [self.draw(1, g, self.channels), self.draw(1, g, units), self.draw(1, 2 * g)]
        self.count += 1
        y, h = f"v{self.count}", f"h{self.count}"
        self.nodes.append(node(op, [self.top, *weights], [y, h], hidden_size=units))
        self.channels, self.top = units, h if final else y
        if final:
            return self.add("Squeeze", self.fixed(np.array([0])))
        return self.add("Squeeze", self.fixed(np.array([1]))).add("Transpose", perm=[1, 2, 0])

    def save(self, path: Path) -> Path:
        self.nodes.append(node("Identity", [self.top], ["y"]))
        return save(path, self.nodes, self.constants, {"x": [1, self.length, WIDTH]}, {"y": None})


def runtime(path: Path, xs: Array) -> Array:
    """ONNX Runtime's y [1, channels, T'] as (T', channels)."""
    y = onnxruntime_run(path, {"x": xs[None]})[0]
    return y[0].T if y.ndim == 3 else y


def agrees(model: Model, path: Path, xs: Array, lengths: list[int]) -> int:
    """Every place of the graph's output over so many readings comes when the model says, with its value, and nothing
    comes in between; how many places were compared."""
    ours = model.stream().run(xs)
    stream = model.stream()
    for t, x in enumerate(xs):
        y = stream.step(x)
        speaks = t + 1 >= model.timing.first_output and (t + 1 - model.timing.first_output) % model.timing.stride == 0
        assert (y is not None) == speaks
        assert np.isnan(ours[t]).all() if y is None else np.array_equal(ours[t], y)
    first = model.timing.axes.outputs["y"].first
    late = model.timing.delay
    compared = 0
    for n in lengths:
        expected = runtime(path, xs[:n])
        moments = first + model.timing.stride * np.arange(len(expected))
        assert moments[-1] <= n + late
        there = moments[(moments <= n) & (moments >= model.timing.first_output)]
        places = (there - first) // model.timing.stride
        assert np.abs(ours[there - 1] - expected[places]).max(initial=0) <= 1e-5 * max(np.ptp(expected), 1e-3)
        compared += len(there)
    return compared


def random_stack(seed: int) -> tuple[Stack, int]:
    """Layers in any order, causal or looking ahead, and readings from one output to the next."""
    rng = np.random.default_rng(seed)
    stack, pace = Stack(seed), 1
    for _ in range(int(rng.integers(1, 4))):
        kind, stride, kernel = rng.choice(["conv", "pool", "slice", "recurrent"]), *map(int, rng.integers(1, [4, 5]))
        stride = 1 if pace * stride > 8 or kind == "recurrent" else stride
        pads = [(kernel - 1, 0), (0, 0), (kernel // 2, kernel // 2)][int(rng.integers(3))]
        if kind == "conv":
            stack.conv(kernel, pads, stride, int(rng.integers(1, 3)) if pads == (0, 0) else 1)
        elif kind == "pool":
            pads = (min(pads[0], kernel // 2), min(pads[1], kernel // 2))  # as runtimes want it
            # Without padding: an average counts it differently at the edges, which is refused by name.
            stack.pool("MaxPool" if any(pads) else "AveragePool", kernel, stride, pads)
        elif kind == "slice":
            stack.every(stride, int(rng.integers(0, 3)))
        else:
            stack.recurrent(str(rng.choice(["LSTM", "GRU", "RNN"])))
        pace *= stride
    return stack.recurrent(str(rng.choice(["LSTM", "GRU", "RNN"]))), pace


def random_lengths(seed: int, model: Model) -> tuple[Array, list[int]]:
    """Readings (T, 3), and lengths of logs that are long enough for some outputs."""
    rng = np.random.default_rng(seed)
    least = model.timing.first_output + model.timing.delay + 8 * model.timing.stride
    lengths = rng.integers(least, least + 30, 6)
    return rng.normal(0, 1, (int(lengths.max()), WIDTH)).astype(np.float32), sorted(lengths.tolist())
