"""Quantized layers: int8 weights W (and R) with a scale for each row, W_scale[r] being what one unit of row r's sum is
worth.

In the schemes int8 and int16 values become integers too, clamp(rint(x / x_scale), -most, most), and the sum is one of
integers. In int8-dynamic the same is done in units of a step's own largest value of x / x_scale, and of h, and what
that leaves of x becomes integers once more. In int8-weights values stay float32. `kernels/README.md` defines to the
last bit what is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.dense import dense_sizes
from edge_lstm.core.operations.functions import (
    DYNAMIC,
    FINER,
    INTEGERS,
    LEAST,
    MAPS,
    MOST_INPUTS,
    RNN_ACTIVATIONS,
    SCHEMES,
    most,
)
from edge_lstm.core.operations.record import Array, Instructions, Kind, Need, floats
from edge_lstm.core.operations.recurrent import activation, cell_sizes, gru_cell, lstm_cell, lstm_sizes

_LEAST = {"1": 1.0, "2^-126": 2.0**-126}  # of scales


def _check(op: Operation, need: Need, inputs: Mapping[str, int], rows: int, **biases: tuple[int, ...]) -> None:
    """`inputs`: matrix -> its columns. A scale is a normal number whose inverse is one; where only the proportions of
    x_scale matter, no x becomes larger by it, so none becomes infinite."""
    scheme = op.attributes.get("scheme")
    need(scheme in SCHEMES, f"scheme {scheme!r} is unknown; known are {', '.join(SCHEMES)}")
    scales: dict[str, tuple[int, ...]] = {f"{key}_scale": (rows,) for key in inputs}
    if scheme in INTEGERS:
        scales |= {"x_scale": (inputs["W"],)} | ({"h_scale": (1,)} if "R" in inputs and scheme not in DYNAMIC else {})
    needed = {*inputs, *scales, *biases}
    need(set(op.weights) == needed, f"has weights {sorted(op.weights)}, needs {sorted(needed)}")
    for key, columns in inputs.items():
        w, shape = op.weights[key], (rows, columns)
        need(w.dtype == np.int8 and w.shape == shape, f"weight {key} is {w.dtype} {w.shape}, needs int8 {shape}")
        need(bool((w != -128).all()), f"weight {key} holds -128; int8 weights lie between -127 and 127")
        few = scheme not in INTEGERS or columns <= MOST_INPUTS
        need(few, f"weight {key} has {columns} columns; sums of integers take at most {MOST_INPUTS}")
    for key, shape_ in (scales | biases).items():
        floats(op, need, key, shape_)
    for key in scales:
        w, least = op.weights[key], "1" if key == "x_scale" and scheme in DYNAMIC else "2^-126"
        need(bool((w >= _LEAST[least]).all() and (w <= 2.0**126).all()), f"{key} must lie between {least} and 2^126")


def _sum(w: Mapping[str, Array], matrix: str, values: Array, scheme: str) -> Array:
    """What one matrix adds to a layer's sums."""
    unit: Any = 1.0
    if scheme in INTEGERS:
        largest = most(scheme, w[matrix].shape[1])
        values = values / w.get({"W": "x_scale", "R": "h_scale"}[matrix], np.ones(1, np.float32))
        if scheme in DYNAMIC:
            unit = max(np.abs(values).max(), LEAST) / largest
        values = values / unit
        left = (values - np.rint(values)) * FINER if scheme in DYNAMIC and matrix == "W" else np.zeros_like(values)
        values = np.clip(np.rint(values), -largest, largest) + np.clip(np.rint(left), -largest, largest) / FINER
    result: Array = (w[matrix].astype(np.float64) @ values).astype(values.dtype) * w[f"{matrix}_scale"] * unit
    return result


def _scheme(op: Operation) -> int:
    return SCHEMES.index(str(op.attributes["scheme"]))


def _sizes(op: Operation, out: Instructions) -> dict[str, int]:
    return {"N": op.inputs[0].size, "M": op.inputs[1].size, "F": _scheme(op), "SUMS": out.finer(op)}


def _check_lstm(op: Operation, need: Need) -> None:
    x, h = lstm_sizes(op, need)
    _check(op, need, {"W": x, "R": h}, 4 * h, b=(4 * h,))


def _lower_lstm(op: Operation, out: Instructions, x: int, h: int, c: int, h_next: int, c_next: int) -> None:
    w, x, h = out.integer_sums(op, 4), out.quantized(op, "x", x), out.quantized(op, "h", h)
    out.put("QUANTIZED_LSTM", W=w, A=x, B=h, C=c, Y=h_next, Z=c_next, **_sizes(op, out))


def _lstm(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    x, h, c = inputs
    return lstm_cell(_sum(w, "W", x, a["scheme"]) + _sum(w, "R", h, a["scheme"]) + w["b"], c)


def _check_gru(op: Operation, need: Need) -> None:
    x, h = cell_sizes(op, need)
    _check(op, need, {"W": x, "R": h}, 3 * h, b_W=(3 * h,), b_R=(3 * h,))


def _lower_gru(op: Operation, out: Instructions, x: int, h: int, h_next: int) -> None:
    w, x_, h_ = out.integer_sums(op, 3), out.quantized(op, "x", x), out.quantized(op, "h", h)
    out.put("QUANTIZED_GRU", W=w, A=x_, B=h_, C=h, Y=h_next, **_sizes(op, out))


def _gru(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    x, h = inputs
    over_x, over_h = _sum(w, "W", x, a["scheme"]) + w["b_W"], _sum(w, "R", h, a["scheme"]) + w["b_R"]
    return (gru_cell(over_x, over_h, h),)


def _check_rnn(op: Operation, need: Need) -> None:
    x, h = cell_sizes(op, need)
    activation(op, need)
    _check(op, need, {"W": x, "R": h}, h, b=(h,))


def _lower_rnn(op: Operation, out: Instructions, x: int, h: int, h_next: int) -> None:
    w, x, h = out.integer_sums(op, 1), out.quantized(op, "x", x), out.quantized(op, "h", h)
    function = RNN_ACTIVATIONS.index(str(op.attributes["activation"]))
    out.put("QUANTIZED_RNN", W=w, A=x, B=h, Y=h_next, Z=function, **_sizes(op, out))


def _rnn(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    x, h = inputs
    total = _sum(w, "W", x, a["scheme"]) + _sum(w, "R", h, a["scheme"]) + w["b"]
    return (MAPS[a["activation"]][1](total, 0.0, 0.0),)


def _check_dense(op: Operation, need: Need) -> None:
    inputs, outputs = dense_sizes(op, need)
    _check(op, need, {"W": inputs}, outputs, b=(outputs,))


def _lower_dense(op: Operation, out: Instructions, x: int, y: int) -> None:
    w, rows = out.integer_sums(op, 1), int(op.attributes["rows"])
    outputs, inputs = op.weights["W"].shape
    x, sizes = out.quantized(op, "x", x, rows), {"N": inputs, "M": outputs, "F": _scheme(op)}
    out.put("QUANTIZED_DENSE", W=w, A=x, C=out.stride(op, "x"), Y=y, Z=rows, SUMS=out.finer(op), **sizes)


def _dense(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    rows = inputs[0].reshape(a["rows"], -1)
    return (np.concatenate([_sum(w, "W", row, a["scheme"]) + w["b"] for row in rows]),)


_SCHEME = frozenset({"scheme"})
QUANTIZED_LSTM = Kind("quantized_lstm", _check_lstm, _lower_lstm, _lstm, c=15, attributes=_SCHEME)
QUANTIZED_GRU = Kind("quantized_gru", _check_gru, _lower_gru, _gru, c=16, attributes=_SCHEME)
QUANTIZED_RNN = Kind("quantized_rnn", _check_rnn, _lower_rnn, _rnn, c=17, attributes=_SCHEME | {"activation"})
QUANTIZED_DENSE = Kind("quantized_dense", _check_dense, _lower_dense, _dense, c=18, attributes=_SCHEME | {"rows"})
