"""Random recurrent graphs: one to three layers with random attributes, a front, a head, any axes and operator set.

Recurrent weights shrink with the number of units, as trained ones do: a chaotic network differs after a few steps
between any two runtimes, and would tell nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.graphs.onnx_files import (
    FUNCTIONS,
    GATES,
    WITH_ALPHA,
    WITH_BETA,
    Array,
    node,
    save,
)

# Unbounded ones make random networks grow without end: an error relative to the range then says nothing.
BOUNDED = ("Sigmoid", "Tanh", "HardSigmoid", "Softsign", "ScaledTanh")


class RandomGraph:
    """A file, and what it was made of."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.story: list[str] = []
        self.units = int(self.rng.integers(1, 20))
        self.width = int(self.rng.integers(1, 9))
        self.opset = int(self.rng.choice([11, 13, 14, 17, 18, 21]))
        self.batch_first = bool(self.rng.integers(2))
        baked = self.chance(0.4)
        self.length: int | str = int(self.rng.integers(2, 9)) if baked else "T"
        self.window = None if self.length == "T" else int(self.length)
        batch: int | str = "B" if self.chance(0.3) else 1
        name = self.front()
        units = self.width
        for layer in range(int(self.rng.integers(1, 4))):
            name, units = self.layer(layer, name, units)
        last = self.chance(0.3)
        name = self.head(name, units, last)
        self.add("Identity", [name], "y")
        dims = [batch, self.length, self.width] if self.batch_first else [self.length, batch, self.width]
        self.path = save(
            folder / f"{seed}.onnx", self.nodes, self.constants, {"x": dims}, {"y": None}, opset=self.opset
        )

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(node(op, inputs, [output], **attributes))
        return output

    def fixed(self, name: str, values: Any) -> str:
        self.constants[name] = np.asarray(values)
        return name

    def draw(self, name: str, *shape: int, size: float = 0.6) -> str:
        return self.fixed(name, self.rng.normal(0, size, shape).astype(np.float32))

    def front(self) -> str:
        """Scaling, then time first."""
        name = "x"
        if self.chance(0.5):
            name = self.add("Sub", [name, self.draw("mean", self.width)], "centred")
            name = self.add("Div", [name, self.fixed("std", np.full(self.width, 1.7, np.float32))], "scaled")
        if self.chance(0.3):
            name = self.add("MatMul", [name, self.draw("embed", self.width, self.width)], "mixed")
            name = self.add(str(self.rng.choice(["Tanh", "Relu", "Elu"])), [name], "mixed_a")
        return self.add("Transpose", [name], "time_first", perm=[1, 0, 2]) if self.batch_first else name

    def layer(self, number: int, x: str, width: int) -> tuple[str, int]:
        op = str(self.rng.choice(["LSTM", "GRU", "RNN"]))
        units = int(self.rng.integers(1, 17))
        gates, tag = GATES[op], f"l{number}"
        weights = [
            self.draw(f"{tag}W", 1, gates * units, width),
            self.draw(f"{tag}R", 1, gates * units, units, size=0.6 / units**0.5),
        ]
        inputs = [x, *weights, "", "", "", "", ""]
        options: dict[str, Any] = {"hidden_size": units}
        if self.chance(0.7):
            inputs[3] = self.draw(f"{tag}B", 1, 2 * gates * units)
        if self.chance(0.2):
            options["clip"] = float(self.rng.uniform(0.3, 3))
        if op == "GRU" and self.chance(0.6):
            options["linear_before_reset"] = 1
        if op == "LSTM" and self.chance(0.2):
            inputs[7] = self.draw(f"{tag}P", 1, 3 * units)
        if op == "LSTM" and self.chance(0.2):
            options["input_forget"] = 1
        if self.chance(0.3):
            names = [str(self.rng.choice(BOUNDED)) for _ in range(FUNCTIONS[op])]
            options["activations"] = names
            options["activation_alpha"] = [float(self.rng.uniform(0.2, 0.9)) for n in names if n in WITH_ALPHA]
            options["activation_beta"] = [float(self.rng.uniform(0.2, 0.9)) for n in names if n in WITH_BETA]
            options = {k: v for k, v in options.items() if v != []}
        while not inputs[-1]:
            inputs.pop()
        self.story.append(f"{op} {options}")
        y = self.add(op, inputs, f"{tag}Y", **options)
        if self.opset < 13:
            return self.add("Squeeze", [y], f"{tag}s", axes=[1]), units
        return self.add("Squeeze", [y, self.fixed(f"{tag}one", np.array([1]))], f"{tag}s"), units

    def head(self, name: str, units: int, last: bool) -> str:
        """From [T, B, H]: the last step or all, dense layers, activations."""
        if last:
            name = self.add("Gather", [name, self.fixed("newest", np.array(-1))], "last", axis=0)
            self.story.append("last")
        elif self.batch_first:
            name = self.add("Transpose", [name], "back", perm=[1, 0, 2])
        for k in range(int(self.rng.integers(0, 3))):
            outputs = int(self.rng.integers(1, 9))
            name = self.add("MatMul", [name, self.draw(f"M{k}", units, outputs)], f"m{k}")
            if self.chance(0.8):
                name = self.add("Add", [name, self.draw(f"b{k}", outputs)], f"a{k}")
            op = str(self.rng.choice(["Tanh", "Relu", "Sigmoid", "LeakyRelu", "Softplus", "Elu", "Softsign"]))
            name, units = self.add(op, [name], f"f{k}"), outputs
            self.story.append(f"dense {outputs} {op}")
        if self.chance(0.2):
            name = self.add("Softmax", [name], "p", axis=2)
        return name
