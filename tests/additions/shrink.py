"""An operator of ONNX that the importers do not have, in one record: Shrink (onnx.ai, operators, Shrink, version 9)."""

from __future__ import annotations

import numpy as np

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.parts import binary, unary
from edge_lstm.importers.onnx.provenance import Traced


def _fold(c: Call) -> Array:
    x, most, bias = c.array(0), c.attribute("lambd", 0.5), c.attribute("bias", 0.0)
    return np.where(x < -most, x + bias, np.where(x > most, x - bias, 0)).astype(x.dtype)


def _lower(c: Call, low: Lowering) -> Traced:
    """sign(x) (|x| - bias) where |x| > lambd, else 0."""
    x, most, bias = c.array(0), c.attribute("lambd", 0.5), c.attribute("bias", 0.0)
    size = unary(c, low, "abs", x)
    above = binary(c, low, "less", np.float32(most), size)
    kept = binary(c, low, "mul", unary(c, low, "sign", x), binary(c, low, "sub", size, np.float32(bias)))
    return binary(c, low, "mul", kept, Traced(above.origins))


SHRINK = Operator("Shrink", fold=_fold, lower=_lower)
