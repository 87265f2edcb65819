"""Networks exported as one step, in the idioms of streaming speech enhancement and of policies: several caches, packed
states, cells written out.

Its rule: weights are drawn from the generator that is given; what the file means is known here, and handed back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.graphs.onnx_files import Array, node, onnxruntime_session, save


@dataclass(frozen=True)
class StepGraph:
    """A file, the shape of its reading `x`, its states with what they become, and the outputs to be shown. flags: more
    readings behind x, of 0 and 1, with their shapes; fixed: inputs that never change."""

    path: Path
    shape: tuple[int, ...]
    states: dict[str, tuple[str, tuple[int, ...]]]
    shown: tuple[str, ...]
    flags: dict[str, tuple[int, ...]] = field(default_factory=dict)
    fixed: dict[str, Array] = field(default_factory=dict)

    def readings(self, rng: np.random.Generator, count: int) -> Array:
        """Random readings (count, n): x, then the flags, each up once in 20."""
        width = sum(int(np.prod(shape)) for shape in self.flags.values())
        x = rng.normal(0, 1, (count, int(np.prod(self.shape))))
        return np.concatenate([x, rng.random((count, width)) < 0.05], axis=1).astype(np.float32)

    def run(self, rows: Array) -> Array:
        """ONNX Runtime, reading after reading, states handed on: (T, n) to (T, outputs)."""
        state = {name: np.zeros(shape, np.float32) for name, (_, shape) in self.states.items()}
        run = onnxruntime_session(self.path)
        shapes = {"x": self.shape, **self.flags}
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
        found = []
        for row in rows:
            parts = zip(shapes.items(), np.split(row, ends), strict=True)
            results = run({name: part.reshape(shape) for (name, shape), part in parts} | state | self.fixed)
            state = {name: results[after] for name, (after, _) in self.states.items()}
            found.append(np.concatenate([results[name].reshape(-1) for name in self.shown]))
        return np.array(found)


class Draft:
    """Nodes and constants, made one after the other."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.nodes, self.constants, self.count = rng, list[Any](), dict[str, Array](), 0

    def weights(self, *shape: int) -> str:
        self.count += 1
        self.constants[f"w{self.count}"] = self.rng.normal(0, 0.4, shape).astype(np.float32)
        return f"w{self.count}"

    def weights_of(self, *values: float) -> str:
        """A constant of these numbers."""
        self.count += 1
        self.constants[f"k{self.count}"] = np.array(values, np.float32)
        return f"k{self.count}"

    def outputs(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """A node with several outputs."""
        self.nodes.append(node(op, inputs, outputs, **attributes))

    def whole(self, *values: int) -> str:
        name = "i_" + "_".join(map(str, values)).replace("-", "m")
        self.constants[name] = np.array(values)
        return name

    def add(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        self.count += 1
        out = out or f"v{self.count}"
        self.nodes.append(node(op, list(inputs), [out], **attributes))
        return out

    def recurrent(self, op: str, x: str, width: int, units: int, initial: list[str], **more: Any) -> list[str]:
        """Y and the final states."""
        gates, d = {"GRU": 3, "LSTM": 4}[op], 2 if more.get("direction") == "bidirectional" else 1
        self.count += 1
        outs = [f"v{self.count}_{k}" for k in range(1 + (2 if op == "LSTM" else 1))]
        more |= {"linear_before_reset": 1} if op == "GRU" else {}
        given = [x, self.weights(d, gates * units, width), self.weights(d, gates * units, units), "", "", *initial]
        self.nodes.append(node(op, given if initial else given[:3], outs, hidden_size=units, **more))
        return outs

    def save(self, path: Path, ins: dict[str, list[Any]], outs: dict[str, list[Any]]) -> Path:
        return save(path, self.nodes, self.constants, ins, outs, opset=13)


def enhancer(path: Path, rng: np.random.Generator, bands: int = 9, channels: int = 4, energies: int = 3) -> StepGraph:
    """Streaming speech enhancement: 2 blocks, each a causal convolution with its cache, some GRUs over time on the
    energy of the channels, a bidirectional GRU over the bands, and a GRU over time for every band: 10 GRUs (14 with 5
    on the energy), three caches of 4 and 5 axes."""
    d, C, F = Draft(rng), channels, bands
    zero, one, two, three = (d.whole(k) for k in range(4))
    now = d.add("Transpose", "x", perm=[0, 3, 2, 1])
    now = d.add("Conv", now, d.weights(C, 2, 1, 3), pads=[0, 1, 0, 1])
    convolved, energy_states, inter = [], [], []
    for block in range(2):
        where = d.whole(block)
        cache = d.add("Squeeze", d.add("Gather", "conv_cache", where, axis=0), zero)
        joined = d.add("Concat", cache, now, axis=2)
        now = d.add("Tanh", d.add("Conv", joined, d.weights(C, C, 5, 3), pads=[0, 1, 0, 1]))
        convolved.append(d.add("Unsqueeze", d.add("Slice", joined, one, d.whole(2**31 - 1), two), zero))
        after = []
        for k in range(energies):
            energy = d.add("Transpose", d.add("ReduceMean", now, axes=[3], keepdims=0), perm=[2, 0, 1])
            held = d.add("Squeeze", d.add("Gather", "energy_cache", where, axis=0), zero)
            held = d.add("Squeeze", d.add("Gather", held, d.whole(k), axis=0), zero)
            _, h = d.recurrent("GRU", energy, C, C, [held])
            after.append(d.add("Unsqueeze", h, zero))
            gate = d.add("Sigmoid", d.add("Transpose", h, perm=[1, 2, 0]))
            now = d.add("Mul", now, d.add("Unsqueeze", gate, three))
        energy_states.append(d.add("Unsqueeze", d.add("Concat", *after, axis=0), zero))
        across = d.add("Squeeze", d.add("Transpose", now, perm=[3, 0, 2, 1]), two)
        y, _ = d.recurrent("GRU", across, C, C // 2, [], direction="bidirectional")
        y = d.add("Reshape", d.add("Transpose", y, perm=[0, 2, 1, 3]), d.whole(F, 1, C))
        along = d.add("Transpose", d.add("Add", across, y), perm=[1, 0, 2])
        held = d.add("Squeeze", d.add("Gather", "band_cache", where, axis=0), zero)
        _, h = d.recurrent("GRU", along, C, C, [held])
        inter.append(d.add("Unsqueeze", h, zero))
        now = d.add("Unsqueeze", d.add("Transpose", d.add("Add", along, h), perm=[0, 2, 1]), two)
    mask = d.add("Transpose", d.add("Conv", now, d.weights(2, C, 1, 1)), perm=[0, 3, 2, 1])
    d.add("Mul", mask, "x", out="enhanced")
    caches = {"conv_cache": [2, 1, C, 4, F], "energy_cache": [2, energies, 1, 1, C], "band_cache": [2, 1, F, C]}
    for name, parts in zip(caches, (convolved, energy_states, inter), strict=True):
        d.add("Concat", *parts, axis=0, out=f"{name}_out")
    shape = [1, F, 1, 2]
    outs = {"enhanced": shape} | {f"{name}_out": dims for name, dims in caches.items()}
    d.save(path, {"x": shape} | caches, outs)
    states = {name: (f"{name}_out", tuple(dims)) for name, dims in caches.items()}
    return StepGraph(path, tuple(shape), states, ("enhanced",))


def packed(path: Path, rng: np.random.Generator, *, written: bool, units: int = 8, width: int = 12) -> StepGraph:
    """Two LSTMs whose h and c lie in one state [1, 2, units, 2]; written: as cells in primitives."""
    d, axes, last, one = Draft(rng), "", "", ""
    axes, last, one = d.whole(1, 3), d.whole(3), d.whole(1)
    kept = {
        (layer, k): d.add("Squeeze", d.add("Slice", "memory", d.whole(layer, k), d.whole(layer + 1, k + 1), axes), last)
        for layer in (0, 1)
        for k in (0, 1)
    }
    now, size, layers = d.add("Transpose", "x", perm=[1, 0, 2]), width, []
    for layer in (0, 1):
        if written:
            h, c = cell(d, "LSTM", now, [kept[layer, 0], kept[layer, 1]], size, units)
            now = h
        else:
            y, h, c = d.recurrent("LSTM", now, size, units, [kept[layer, 0], kept[layer, 1]])
            now = d.add("Squeeze", y, one)
        size = units
        layers.append(d.add("Concat", d.add("Unsqueeze", h, last), d.add("Unsqueeze", c, last), axis=3))
    d.add("Concat", *layers, axis=1, out="after")
    d.add("Sigmoid", d.add("MatMul", now, d.weights(units, width)), out="mask")
    shape, dims = [1, 1, width], [1, 2, units, 2]
    d.save(path, {"x": shape, "memory": dims}, {"mask": shape, "after": dims})
    return StepGraph(path, tuple(shape), {"memory": ("after", tuple(dims))}, ("mask",))


def cell(d: Draft, op: str, x: str, state: list[str], width: int, units: int, form: str = "") -> list[str]:
    """One step of an LSTM (h, c) or a GRU (h) in primitives. form: "joined" (one product of x and h side by side),
    "lerp" (a GRU as n + z (h - n)), "masked" (the state times `mask` first)."""
    h = state[0]
    if form == "masked":
        state = [d.add("Mul", one, "mask") for one in state]
        h = state[0]
    gates = 4 if op == "LSTM" else 3
    if form == "joined":
        total = d.add("MatMul", d.add("Concat", x, h, axis=-1), d.weights(width + units, gates * units))
    given, held = (
        d.add("Add", d.add("MatMul", v, d.weights(n, gates * units)), d.weights(gates * units))
        for v, n in ((x, width), (h, units))
    )
    sizes = d.whole(*[units] * gates)

    def split(value: str) -> list[str]:
        d.count += 1
        names = [f"v{d.count}_{k}" for k in range(gates)]
        d.nodes.append(node("Split", [value, sizes], names, axis=-1))
        return names

    if op == "LSTM":
        i, f, g, o = split(total if form == "joined" else d.add("Add", given, held))
        i, f, o = (d.add("Sigmoid", v) for v in (i, f, o))
        after_c = d.add("Add", d.add("Mul", f, state[1]), d.add("Mul", i, d.add("Tanh", g)))
        return [d.add("Mul", o, d.add("Tanh", after_c)), after_c]
    (xr, xz, xn), (hr, hz, hn) = split(given), split(held)
    r, z = (d.add("Sigmoid", d.add("Add", a, b)) for a, b in ((xr, hr), (xz, hz)))
    n = d.add("Tanh", d.add("Add", xn, d.add("Mul", r, hn)))
    if form == "lerp":
        return [d.add("Add", n, d.add("Mul", z, d.add("Sub", h, n)))]
    d.constants["unit"] = np.array([1], np.float32)
    return [d.add("Add", d.add("Mul", d.add("Sub", "unit", z), n), d.add("Mul", z, h))]


def written_step(
    path: Path, rng: np.random.Generator, op: str, names: dict[str, str], form: str = "", width: int = 3, units: int = 5
) -> StepGraph:
    """A cell in primitives with these names {state: what it becomes}, h first, and a dense layer behind it."""
    d = Draft(rng)
    after = cell(d, op, "x", list(names), width, units, form)
    for one, out in zip(after, names.values(), strict=True):
        d.add("Identity", one, out=out)
    d.add("MatMul", after[0], d.weights(units, 2), out="y")
    ins: dict[str, list[Any]] = {"x": [1, width]} | {name: [1, units] for name in names}
    if form == "masked":
        ins["mask"] = [1, 1]
    d.save(path, ins, {"y": [1, 2]} | {out: [1, units] for out in names.values()})
    return StepGraph(path, (1, width), {i: (o, (1, units)) for i, o in names.items()}, ("y",))


def two_cells(path: Path, rng: np.random.Generator, op: str, width: int = 3, units: int = 5) -> StepGraph:
    """Two cells in primitives, the second on the first, their states numbered."""
    d, count = Draft(rng), 2 if op == "LSTM" else 1
    names = [str(k + 1) for k in range(2 * count)]
    first = cell(d, op, "x", names[:count], width, units)
    second = cell(d, op, first[0], names[count:], units, units)
    after = [d.add("Identity", value, out=f"o{k}") for k, value in enumerate([*first, *second])]
    d.add("MatMul", second[0], d.weights(units, 2), out="y")
    ins: dict[str, list[Any]] = {"x": [1, width]} | {name: [1, units] for name in names}
    d.save(path, ins, {"y": [1, 2]} | {out: [1, units] for out in after})
    return StepGraph(path, (1, width), {i: (o, (1, units)) for i, o in zip(names, after, strict=True)}, ("y",))
