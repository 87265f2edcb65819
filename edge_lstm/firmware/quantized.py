"""The quantized layers of a model as `firmware_bridge/c/edge_lstm.c` reads them: floats, and integers beside them.

Its rule: nothing is rounded here that the native engine does not round alike; the integers are the program's own.

Floats of a layer: the inverse scales of x and of h (none for weights alone; 1 where h has none), then for each unit
biases, scales over x, scales over h, in the order of the gates. Integers: for each unit and gate its row over x, then
its row over h, each padded with zeros to whole words of four, as a microcontroller reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import Floats, Operation
from edge_lstm.core.operations.functions import DYNAMIC, INTEGERS, RNN_ACTIVATIONS

# In the order of C's enums.
QUANTIZED = ("quantized_lstm", "quantized_gru", "quantized_rnn", "quantized_dense")
SCHEMES = ("int8", "int16", "int8-weights", "int8-dynamic", "float16")
_GATES = dict(zip(QUANTIZED, (4, 3, 1, 1), strict=True))
_WORD = 4  # weights in it

# An estimate, not a measurement, as in export.py: of integers, four products are three loads, two unpackings and two
# SMLAD with their share of the loop; a weight that meets a float has to be loaded, moved and converted first.
_CYCLES_PER_MULTIPLY_ADD = {"int8": 3.5, "int16": 3.5, "int8-weights": 12.0, "int8-dynamic": 3.5}
_CYCLES_PER_INTEGER = 12  # to make it of an activation
_CYCLES_PER_COMPARISON = 8  # of an activation with the largest so far


@dataclass(frozen=True)
class Packed:
    """The weights of one layer, and the fields of its instruction but for where these weights are."""

    floats: Floats
    integers: npt.NDArray[np.int8]
    fields: dict[str, int]
    scratch: int  # floats for activations as integers


def packed(op: Operation) -> Packed:
    """A quantized operation for C."""
    scheme, weights = str(op.attributes["scheme"]), op.weights
    gates, recurrent = _GATES[op.kind], "R" in weights
    matrices = [weights["W"], weights["R"]] if recurrent else [weights["W"]]
    integers = np.concatenate([_by_unit(_whole_words(matrix), gates) for matrix in matrices], axis=2)
    scales = [weights["W_scale"], weights["R_scale"]] if recurrent else [weights["W_scale"]]
    of_units = [_biases(op), *(_by_unit(scale, gates) for scale in scales)]
    inverses = []
    if scheme in INTEGERS:
        one = np.ones(1, np.float32)
        inverses = [np.float32(1) / weights.get(key, one) for key in ("x_scale", "h_scale")[: len(matrices)]]
    floats = np.concatenate([*inverses, np.concatenate(of_units, axis=1).ravel()]).astype(np.float32)
    scratch = integers.shape[2] // 2 if scheme in INTEGERS else 0
    if scheme in DYNAMIC:  # the finer integers of x
        scratch += _whole_words(weights["W"]).shape[1] // 2
    return Packed(floats, integers.ravel(), _fields(op, scheme), scratch)


def cycles(op: Operation) -> float:
    """Estimated cycles of a Cortex-M4F for its sums."""
    scheme = str(op.attributes["scheme"])
    activations = sum(slot.size for slot in op.inputs[:2]) if scheme in INTEGERS else 0
    each, products = _CYCLES_PER_INTEGER, op.multiply_adds
    if scheme in DYNAMIC:  # x is looked through first, becomes integers twice, and is summed twice
        each, activations = each + _CYCLES_PER_COMPARISON, activations + op.inputs[0].size
        products += op.weights["W"].size * int(op.attributes.get("rows", 1))
    return _CYCLES_PER_MULTIPLY_ADD[scheme] * products + each * activations


def _by_unit(rows: npt.NDArray[Any], gates: int) -> npt.NDArray[Any]:
    """(gates * units, ...) -> (units, gates, ...)."""
    by_unit: npt.NDArray[Any] = rows.reshape(gates, len(rows) // gates, *rows.shape[1:]).swapaxes(0, 1)
    return by_unit


def _whole_words(matrix: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    return np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % _WORD)))


def _biases(op: Operation) -> npt.NDArray[Any]:
    """(units, gates); of a GRU r, z, and n over x and over h, those of r and z being added as in float32."""
    if op.kind != "quantized_gru":
        return _by_unit(op.weights["b"], _GATES[op.kind])
    over_x, over_h = _by_unit(op.weights["b_W"], 3), _by_unit(op.weights["b_R"], 3)
    both = op.weights["b_W"] + op.weights["b_R"]
    return np.concatenate([_by_unit(both, 3)[:, :2], over_x[:, 2:], over_h[:, 2:]], axis=1)


def _fields(op: Operation, scheme: str) -> dict[str, int]:
    fields = {"S": SCHEMES.index(scheme), "A": op.inputs[0].offset, "Y": op.outputs[0].offset}
    if op.kind == "quantized_dense":
        outputs, inputs = op.weights["W"].shape
        return fields | {"N": inputs, "M": outputs, "F": int(op.attributes["rows"])}
    fields |= {"B": op.inputs[1].offset, "N": op.inputs[0].size, "M": op.inputs[1].size}
    if op.kind == "quantized_lstm":
        fields |= {"C": op.inputs[2].offset, "Z": op.outputs[1].offset}
    if op.kind == "quantized_rnn":
        fields["F"] = RNN_ACTIVATIONS.index(str(op.attributes["activation"]))
    return fields
