"""Recurrent and dense layers found among named arrays.

Its rule: names and shapes decide, and nothing else. Weights come out in PyTorch's layout, gates i f g o and r z n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.importers.arrays.integers import Weight, activation_scale, as_float, weight
from edge_lstm.importers.arrays.named import Arrays
from edge_lstm.importers.spelling import say

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

CELLS = {4: "lstm", 3: "gru", 1: "rnn"}
TORCH = re.compile(
    r"^(?:(?P<layer>.*)\.)?(?P<part>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(?P<n>\d+)(?P<back>_reverse)?)?$"
)
KERAS = re.compile(r"^(?:(?P<layer>.*)[/.])?(?P<part>recurrent_kernel|kernel|bias)(?::0)?$")
DENSE = re.compile(r"^(?:(?P<layer>.*)\.)?(?P<part>weight|bias)$")


@dataclass
class Recurrent:
    """One recurrent layer, weights in PyTorch's layout. GRU: b_R None means reset before the product (Keras,
    reset_after=False). x_scale, h_scale: of activations that are integers.
    """

    name: str
    cell: str
    W: Weight
    R: Weight
    b_W: Floats
    b_R: Floats | None
    arrays: tuple[str, ...]
    x_scale: float | None = None
    h_scale: float | None = None
    keras: bool = False  # whose layers may have other gates than sigmoid

    @property
    def width(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return self.W.shape[1], self.R.shape[1]

    @property
    def in_integers(self) -> bool:
        """Whether it is computed in integers."""
        return self.b_R is not None and self.W.integers is not None and self.R.integers is not None

    @property
    def why_float32(self) -> str:
        """Why it is float32 though integers came; "" where none came, or they stay."""
        if self.in_integers or not (self.W.came_as_integers or self.R.came_as_integers):
            return ""
        if self.b_R is None:
            return "a GRU that resets before the product has no form in integers here"
        return self.W.why or self.R.why or "only one of its matrices came as integers"


@dataclass
class Dense:
    """One dense layer."""

    name: str
    W: Weight
    b: Floats | None
    arrays: tuple[str, ...]
    x_scale: float | None = None

    @property
    def width(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return self.W.shape[1], self.W.shape[0]

    @property
    def in_integers(self) -> bool:
        """Whether it is computed in integers."""
        return self.W.integers is not None

    @property
    def why_float32(self) -> str:
        """Why it is float32 though integers came; "" where none came, or they stay."""
        return self.W.why


Layer = Recurrent | Dense


def find_layers(a: Arrays, cell: str | None, reset_after: bool | None) -> list[Layer]:
    """Every layer that the names show, in the order of the file."""
    if cell is not None and cell not in CELLS.values():
        raise a.fail(f"cell {cell!r} is unknown; known are lstm, gru, rnn")
    groups: dict[tuple[str, str, int], dict[str, str]] = {}
    for key in a.arrays:
        for kind, pattern in (("torch", TORCH), ("keras", KERAS), ("dense", DENSE)):
            match = pattern.match(key)
            if match is None or (
                kind == "keras" and "/" not in key and match["part"] == "bias" and _is_torch(a, match)
            ):
                continue
            if kind == "torch" and match["back"]:
                raise a.fail(
                    f"array {key!r} reads the sequence from its end; a stream has not seen it. Train a forward network"
                )
            if match["part"] == "weight_hr":
                raise a.fail(f"array {key!r} is an LSTM projection (proj_size), which is not supported")
            number = int(match["n"] or 0) if kind == "torch" else 0
            groups.setdefault((kind, match["layer"] or "", number), {})[match["part"]] = key
            break
    layers: list[Layer] = []
    for (kind, layer, number), parts in groups.items():
        if kind == "torch":
            layers.append(_torch(a, layer, number, parts, cell))
        elif kind == "keras":
            layers.append(_keras(a, layer, parts, cell, reset_after))
        elif "weight" in parts and a.arrays[parts["weight"]].ndim == 2:
            W = weight(a, parts["weight"])
            bias = as_float(a, parts["bias"], W.shape[:1]) if "bias" in parts else None
            x_scale = activation_scale(a, parts["weight"], "weight", "input_scale")
            layers.append(Dense(layer or "dense", W, bias, tuple(parts.values()), x_scale))
    if not any(isinstance(layer, Recurrent) for layer in layers):
        raise a.fail(
            f"no recurrent layer found among {', '.join(map(repr, list(a.arrays)[:6]))}; names must end in"
            " weight_ih_l0, weight_hh_l0 (PyTorch) or kernel, recurrent_kernel (Keras)"
        )
    return layers


def _is_torch(a: Arrays, match: re.Match[str]) -> bool:
    """Whether a `NAME.bias` belongs to a `NAME.weight`."""
    prefix = f"{match['layer']}." if match["layer"] else ""
    return f"{prefix}weight" in a.arrays


def _cell(a: Arrays, key: str, rows: int, units: int, cell: str | None, layer: str) -> str:
    found = CELLS.get(rows // units) if units and rows % units == 0 else None
    if found is None:
        raise a.fail(
            f"array {key!r}: {rows} rows of gates for {units} units; 4 gates make an LSTM, 3 a GRU, 1 a plain RNN"
        )
    if cell is not None:
        if cell != found:
            raise a.fail(f"array {key!r} has the shape of {found}, but cell={cell!r} is asked for")
        return found
    words = {w for w in ("lstm", "gru") if w in layer.lower()}
    if words and found not in words:
        raise a.fail(
            f"array {key!r} is named like {words.pop()} and has the shape of {found}; say which with {say(cell=found)}"
        )
    return found


def _torch(a: Arrays, layer: str, number: int, parts: Mapping[str, str], cell: str | None) -> Recurrent:
    for part in ("weight_ih", "weight_hh"):
        if part not in parts:
            raise a.fail(
                f"array {next(iter(parts.values()))!r} stands alone; {part}_l{number} of the same layer is missing"
            )
    if ("bias_ih" in parts) != ("bias_hh" in parts):
        raise a.fail(f"layer {layer!r} has only one of bias_ih_l{number} and bias_hh_l{number}")
    W, R = weight(a, parts["weight_ih"]), weight(a, parts["weight_hh"])
    rows, units = R.shape
    if W.shape[0] != rows:
        raise a.fail(
            f"arrays {parts['weight_ih']!r} {list(W.shape)} and {parts['weight_hh']!r} {list(R.shape)} differ in rows"
        )
    kind = _cell(a, parts["weight_hh"], rows, units, cell, layer)
    b_W, b_R = (
        as_float(a, parts[p], (rows,)) if p in parts else np.zeros(rows, np.float32) for p in ("bias_ih", "bias_hh")
    )
    several = (
        sum(TORCH.match(key) is not None and key.endswith(f"weight_hh_l{n}") for key in a.arrays for n in range(2)) > 1
    )
    name = f"{layer or kind}_{number}" if several else layer or kind
    return Recurrent(name, kind, W, R, b_W, b_R, tuple(parts.values()), *_scales(a, parts["weight_ih"], "weight_ih"))


def _scales(a: Arrays, key: str, part: str) -> tuple[float | None, float | None]:
    """What a recurrent layer's activations are worth in integers. ImportModelError where only one is given."""
    x_scale, h_scale = (activation_scale(a, key, part, kind) for kind in ("input_scale", "hidden_scale"))
    if (x_scale is None) != (h_scale is None):
        raise a.fail(f"the layer of array {key!r} has only one of input_scale and hidden_scale; give both, or neither")
    return x_scale, h_scale


def _keras(a: Arrays, layer: str, parts: Mapping[str, str], cell: str | None, reset_after: bool | None) -> Layer:
    if "backward" in layer.lower():
        raise a.fail(
            f"layer {layer!r} reads the sequence from its end; a stream has not seen it. Train a forward network"
        )
    if "kernel" not in parts:
        raise a.fail(
            f"array {next(iter(parts.values()))!r} stands alone; the kernel or weight of the same layer is missing"
        )
    W = weight(a, parts["kernel"], across=True)
    keys = tuple(parts.values())
    if "recurrent_kernel" not in parts:
        bias = as_float(a, parts["bias"], W.shape[:1]) if "bias" in parts else None
        x_scale = activation_scale(a, parts["kernel"], "kernel", "input_scale")
        return Dense(layer or "dense", W, bias, keys, x_scale)
    R = weight(a, parts["recurrent_kernel"], across=True)
    rows, units = R.shape
    if W.shape[0] != rows:
        raise a.fail(
            f"arrays {parts['kernel']!r} and {parts['recurrent_kernel']!r} differ in columns: {W.shape[0]} and {rows}"
        )
    scales = _scales(a, parts["kernel"], "kernel")
    kind = _cell(a, parts["recurrent_kernel"], rows, units, cell, layer)
    name = layer or kind
    cudnn = kind != "rnn" and "bias" in parts and a.arrays[parts["bias"]].shape == (2 * rows,)
    if cudnn:
        return _cudnn(a, name, kind, parts, reset_after)
    if kind != "gru":
        bias = as_float(a, parts["bias"], (rows,)) if "bias" in parts else np.zeros(rows, np.float32)
        return Recurrent(name, kind, W, R, bias, np.zeros(rows, np.float32), keys, *scales, keras=True)
    swap = _r_z_n(units)
    if "bias" not in parts:
        if reset_after is None:
            raise a.fail(
                f"layer {name!r} is a Keras GRU without bias: whether it resets after the product (the default of"
                f" Keras 2 and 3) or before is not known; say {say(reset_after=True)} or {say(reset_after=False)}"
            )
        after, b_W, b_R = reset_after, np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    elif a.arrays[parts["bias"]].ndim == 2:
        after, (b_W, b_R) = True, as_float(a, parts["bias"], (2, rows))
    else:
        after, b_W, b_R = False, as_float(a, parts["bias"], (rows,)), np.zeros(rows, np.float32)
    if reset_after is not None and reset_after != after:
        raise a.fail(
            f"array {parts['bias']!r} has the shape of reset_after={after}, but reset_after={reset_after} is asked for"
        )
    return Recurrent(name, kind, W[swap], R[swap], b_W[swap], b_R[swap] if after else None, keys, *scales, keras=True)


def _r_z_n(units: int) -> Array:
    """Keras' rows of a GRU, z r h, in PyTorch's order."""
    order: Array = np.r_[units : 2 * units, :units, 2 * units : 3 * units]
    return order


def _cudnn(a: Arrays, name: str, kind: str, parts: Mapping[str, str], reset_after: bool | None) -> Recurrent:
    """A layer saved by Keras 2 as CuDNNLSTM or CuDNNGRU: the shapes of the others with two biases one behind the other,
    but each gate's block of a kernel (I, H) holds the numbers of (H, I) row by row, and of a recurrent kernel those of
    PyTorch's (tensorflow.python.keras.saving.hdf5_format, _convert_rnn_weights). Its gates are sigmoid, always."""
    if reset_after is False:
        raise a.fail(f"array {parts['bias']!r} has the shape of a CuDNNGRU, but reset_after=False is asked for")
    W, R = (as_float(a, parts[part], (None, None)) for part in _KERNELS)
    units, count = R.shape[0], R.shape[1] // R.shape[0]
    rows = np.concatenate([block.reshape(units, -1) for block in np.split(np.ascontiguousarray(W), count, axis=1)])
    back = np.concatenate(np.split(R, count, axis=1))
    b_W, b_R = np.split(as_float(a, parts["bias"], (2 * len(rows),)), 2)
    take = _r_z_n(units) if kind == "gru" else np.arange(len(rows))
    keys = tuple(parts.values())
    return Recurrent(name, kind, Weight(rows[take]), Weight(back[take]), b_W[take], b_R[take], keys)


_KERNELS = ("kernel", "recurrent_kernel")
