"""What each kind of operation is: its functions, its attributes, and the shapes and types it must have.

Its rule: a check says everything a kind may rely on, for an operation from a stranger's file too; what holds for all
kinds alike (places in the arena, order) stands in `program.py`. Numbers in compiled code and in C follow the order of
the tables here (`kernels/abi.py`).

Quantized kinds hold int8 weights W (and R) with a scale for each row: W_scale[r] is what one unit of row r's sum is
worth. In the schemes int8 and int16 values become integers too, clamp(rint(x / x_scale), -most, most), and the sum is
one of integers; in int8-weights they stay float32. `kernels/README.md` says to the last bit what is computed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_lstm.core.program import Operation

# name -> how many of (alpha, beta) it uses; the meaning is ONNX's, operator set 20, unless said.
MAP_FUNCTIONS: Mapping[str, int] = {
    "identity": 0,
    "tanh": 0,
    "sigmoid": 0,
    "relu": 0,
    "leaky_relu": 1,
    "elu": 1,
    "selu": 2,  # beta is ONNX's gamma
    "softplus": 0,
    "softsign": 0,
    "hard_sigmoid": 2,
    "thresholded_relu": 1,
    "clip": 2,  # alpha is the minimum, beta the maximum
    "exp": 0,
    "log": 0,
    "sqrt": 0,
    "abs": 0,
    "neg": 0,
    "reciprocal": 0,
    "affine": 2,  # alpha * x + beta, rounded once
    "floor": 0,
    "ceil": 0,
    "round": 0,  # ties to even
    "trunc": 0,  # what ONNX's Cast to an integer does
    "sign": 0,
    "erf": 0,
    "not": 0,  # 1 where x is zero, else 0
}
# Truth is 1 and falsehood 0; `and` and `or` take any other number than zero as true.
BINARY_FUNCTIONS = ("add", "sub", "mul", "div", "min", "max", "less", "less_or_equal", "equal", "and", "or")
REDUCE_FUNCTIONS = ("sum", "mean", "max", "min", "prod", "argmax", "argmin")  # of equals, the first is meant
RNN_ACTIVATIONS = ("tanh", "relu")
SCHEMES = ("int8", "int16", "int8-weights")  # of quantized kinds: what activations become
# More inputs than this could overflow an int32 sum of int8 products, and would leave int16 no more than int8 has.
MOST_INPUTS = 133_000


def most(scheme: str, inputs: int) -> int:
    """The largest magnitude of an activation's integer in a sum over so many inputs: no sum can overflow int32."""
    return 127 if scheme == "int8" else min(32767, (2**31 - 1) // (127 * inputs))


Need = Callable[[bool, str], None]


def _weights(op: Operation, need: Need, **shapes: tuple[int, ...]) -> None:
    need(set(op.weights) == set(shapes), f"has weights {sorted(op.weights)}, needs {sorted(shapes)}")
    for key, shape in shapes.items():
        _floats(op, need, key, shape)


def _floats(op: Operation, need: Need, key: str, shape: tuple[int, ...]) -> None:
    w = op.weights[key]
    need(w.dtype == np.float32 and w.shape == shape, f"weight {key} is {w.dtype} {w.shape}, needs float32 {shape}")
    need(bool(np.isfinite(w).all()), f"weight {key} holds NaN or infinity")


def _sizes(op: Operation, need: Need, inputs: int, outputs: int) -> list[int]:
    need(len(op.inputs) == inputs and len(op.outputs) == outputs, f"needs {inputs} inputs and {outputs} outputs")
    return [s.size for s in (*op.inputs, *op.outputs)]


def _lstm(op: Operation, need: Need) -> None:
    x, h, c, h_next, c_next = _sizes(op, need, 3, 2)
    need(h == c == h_next == c_next, f"h, c and their next values differ in size: {h}, {c}, {h_next}, {c_next}")
    _weights(op, need, W=(4 * h, x), R=(4 * h, h), b=(4 * h,))


def _gru(op: Operation, need: Need) -> None:
    x, h, h_next = _sizes(op, need, 2, 1)
    need(h == h_next, f"h and its next value differ in size: {h}, {h_next}")
    _weights(op, need, W=(3 * h, x), R=(3 * h, h), b_W=(3 * h,), b_R=(3 * h,))


def _rnn(op: Operation, need: Need) -> None:
    x, h, h_next = _sizes(op, need, 2, 1)
    need(h == h_next, f"h and its next value differ in size: {h}, {h_next}")
    need(op.attributes.get("activation") in RNN_ACTIVATIONS, f"activation must be one of {RNN_ACTIVATIONS}")
    _weights(op, need, W=(h, x), R=(h, h), b=(h,))


def _rows(op: Operation, need: Need, size: int) -> int:
    rows = op.attributes.get("rows")
    if not isinstance(rows, int) or rows < 1 or size % rows:
        need(False, f"{size} values do not make {rows!r} equal rows")
        return 1
    return rows


def _dense(op: Operation, need: Need) -> None:
    x, y = _sizes(op, need, 1, 1)
    rows = _rows(op, need, x)
    need(y % rows == 0, f"{y} outputs do not make {rows} equal rows")
    _weights(op, need, W=(y // rows, x // rows), b=(y // rows,))


def _where(op: Operation, need: Need) -> None:
    *inputs, y = _sizes(op, need, 3, 1)
    need(set(inputs) == {y}, f"its inputs have {inputs} values, its output {y}: they must be equal")


def _lookup(op: Operation, need: Need) -> None:
    n, y = _sizes(op, need, 1, 1)
    table = op.weights.get("table")
    rows = 0 if table is None or table.ndim != 2 else len(table)
    need(rows > 0 and y % n == 0, "needs a table of rows, one of which each index takes")
    _weights(op, need, table=(rows, y // n))


def _map(op: Operation, need: Need) -> None:
    x, y = _sizes(op, need, 1, 1)
    need(x == y, f"input of {x} and output of {y} differ in size")
    need(op.attributes.get("function") in MAP_FUNCTIONS, f"function {op.attributes.get('function')!r} is unknown")
    for key in ("alpha", "beta"):
        value = op.attributes.get(key)
        need(isinstance(value, float) and not np.isnan(value), f"{key} must be a number, is {value!r}")


def _binary(op: Operation, need: Need) -> None:
    a, b, y = _sizes(op, need, 2, 1)
    need(op.attributes.get("function") in BINARY_FUNCTIONS, f"function {op.attributes.get('function')!r} is unknown")
    need(y == max(a, b) and {a, b} <= {1, y}, f"sizes {a} and {b} do not go together into {y}")


def _softmax(op: Operation, need: Need) -> None:
    x, y = _sizes(op, need, 1, 1)
    need(x == y, f"input of {x} and output of {y} differ in size")
    need(op.attributes.get("log") in (0, 1), "attribute log must be 0 or 1")
    _rows(op, need, x)


def _reduce(op: Operation, need: Need) -> None:
    x, y = _sizes(op, need, 1, 1)
    need(op.attributes.get("function") in REDUCE_FUNCTIONS, f"function {op.attributes.get('function')!r} is unknown")
    need(_rows(op, need, x) == y, f"output of {y} does not match the number of rows")


def _take(op: Operation, need: Need) -> None:
    (y,) = _sizes(op, need, 0, 1)
    indices = op.weights.get("indices")
    need(set(op.weights) == {"indices"}, "needs exactly the array `indices`")
    need(indices is not None and indices.dtype == np.int32 and indices.shape == (y,), f"indices must be int32 ({y},)")


def _quantized(op: Operation, need: Need, inputs: Mapping[str, int], rows: int, **floats: tuple[int, ...]) -> None:
    """`inputs`: matrix -> its columns. A scale is a normal number whose inverse is one."""
    scheme = op.attributes.get("scheme")
    need(scheme in SCHEMES, f"scheme {scheme!r} is unknown; known are {', '.join(SCHEMES)}")
    scales: dict[str, tuple[int, ...]] = {f"{key}_scale": (rows,) for key in inputs}
    if scheme != "int8-weights":
        scales |= {"x_scale": (inputs["W"],)} | ({"h_scale": (1,)} if "R" in inputs else {})
    needed = {*inputs, *scales, *floats}
    need(set(op.weights) == needed, f"has weights {sorted(op.weights)}, needs {sorted(needed)}")
    for key, columns in inputs.items():
        w, shape = op.weights[key], (rows, columns)
        need(w.dtype == np.int8 and w.shape == shape, f"weight {key} is {w.dtype} {w.shape}, needs int8 {shape}")
        need(bool((w != -128).all()), f"weight {key} holds -128, whose opposite is no int8: use -127 ... 127")
        few = scheme == "int8-weights" or columns <= MOST_INPUTS
        need(few, f"weight {key} has {columns} columns; sums of integers take at most {MOST_INPUTS}")
    for key, shape_ in (scales | floats).items():
        _floats(op, need, key, shape_)
    for key in scales:
        w = op.weights[key]
        need(bool((w >= 2.0**-126).all() and (w <= 2.0**126).all()), f"{key} must lie between 2^-126 and 2^126")


def _quantized_lstm(op: Operation, need: Need) -> None:
    x, h, c, h_next, c_next = _sizes(op, need, 3, 2)
    need(h == c == h_next == c_next, f"h, c and their next values differ in size: {h}, {c}, {h_next}, {c_next}")
    _quantized(op, need, {"W": x, "R": h}, 4 * h, b=(4 * h,))


def _quantized_gru(op: Operation, need: Need) -> None:
    x, h, h_next = _sizes(op, need, 2, 1)
    need(h == h_next, f"h and its next value differ in size: {h}, {h_next}")
    _quantized(op, need, {"W": x, "R": h}, 3 * h, b_W=(3 * h,), b_R=(3 * h,))


def _quantized_rnn(op: Operation, need: Need) -> None:
    x, h, h_next = _sizes(op, need, 2, 1)
    need(h == h_next, f"h and its next value differ in size: {h}, {h_next}")
    need(op.attributes.get("activation") in RNN_ACTIVATIONS, f"activation must be one of {RNN_ACTIVATIONS}")
    _quantized(op, need, {"W": x, "R": h}, h, b=(h,))


def _quantized_dense(op: Operation, need: Need) -> None:
    x, y = _sizes(op, need, 1, 1)
    rows = _rows(op, need, x)
    need(y % rows == 0, f"{y} outputs do not make {rows} equal rows")
    _quantized(op, need, {"W": x // rows}, y // rows, b=(y // rows,))


def _onnx(op: Operation, need: Need) -> None:
    """A whole ONNX graph, which ONNX Runtime runs (`engines/`): inputs are the readings and the states, outputs the
    outputs and the next states, in the order of the meaning (`engines/onnxruntime/graph.py`)."""
    graph = op.weights.get("graph")
    whole = graph is not None and graph.dtype == np.uint8 and graph.ndim == 1 and graph.size > 0
    need(set(op.weights) == {"graph"} and whole, "needs exactly the array `graph`, the bytes of an ONNX file")
    try:
        meaning = json.loads(str(op.attributes.get("meaning")))
    except ValueError:
        meaning = None
    need(isinstance(meaning, dict), "meaning must be JSON, what the graph's axes and states are")
    need(type(op.attributes.get("weights")) is int, "weights must say how many numbers the graph holds")


KINDS: Mapping[str, Callable[[Operation, Need], None]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn": _rnn,
    "dense": _dense,
    "map": _map,
    "binary": _binary,
    "softmax": _softmax,
    "reduce": _reduce,
    "take": _take,
    "where": _where,
    "lookup": _lookup,
    "quantized_lstm": _quantized_lstm,
    "quantized_gru": _quantized_gru,
    "quantized_rnn": _quantized_rnn,
    "quantized_dense": _quantized_dense,
    "onnx": _onnx,
}


ATTRIBUTES: Mapping[str, set[str]] = {
    "rnn": {"activation"},
    "dense": {"rows"},
    "map": {"function", "alpha", "beta"},
    "binary": {"function"},
    "softmax": {"rows", "log"},
    "reduce": {"rows", "function"},
    "quantized_lstm": {"scheme"},
    "quantized_gru": {"scheme"},
    "quantized_rnn": {"scheme", "activation"},
    "quantized_dense": {"scheme", "rows"},
    "onnx": {"meaning", "weights"},
}
