"""Matrix products: MatMul and Gemm.

Its rule: with a constant they are dense layers; of two computed arrays they are pairs and sums within one reading
(onnx.ai, operators, operator sets 7 to 25).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.call import Call, sized, together
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.parts import binary, dense, reduce, swapped
from edge_lstm.importers.onnx.provenance import Traced


def _fold_matmul(c: Call) -> Array:
    c.arity(2)
    return np.matmul(c.array(0), c.array(1))  # type: ignore[no-any-return]


def _fold_gemm(c: Call) -> Array:
    c.arity(3)
    a, b = c.array(0), c.array(1)
    a = a.T if c.attribute("transA", 0) else a
    b = b.T if c.attribute("transB", 0) else b
    y = (a @ b) * a.dtype.type(c.attribute("alpha", 1.0))
    beta = a.dtype.type(c.attribute("beta", 1.0))
    if c.has(2):
        together(c, y, c.array(2))
    return y + beta * c.array(2) if c.has(2) else y  # type: ignore[no-any-return]


def _product(c: Call) -> tuple[tuple[int, ...], int]:
    """The shape of a product of constants, and how many multiplications it takes."""
    a, b = c.array(0), c.array(1)
    if c.node.op == "Gemm":
        a = a.T if c.node.attributes.get("transA", 0) else a
        b = b.T if c.node.attributes.get("transB", 0) else b
    left = a if a.ndim > 1 else a.reshape(1, -1)
    right = b if b.ndim > 1 else b.reshape(-1, 1)
    shape = (*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])
    return shape, math.prod(shape) * left.shape[-1]


def product(c: Call, low: Lowering, a: Traced, b: Traced) -> Traced:
    """The matrix product of two computed arrays, element by element (attention within one reading)."""
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise c.misfit(f"shapes {list(a.shape)} and {list(b.shape)} do not go together")
    left = Traced(a.origins[..., :, None, :], a.kind)
    right = Traced(np.swapaxes(b.origins, -1, -2)[..., None, :, :], b.kind)
    sized(c, np.broadcast_shapes(left.shape, right.shape))
    pairs = binary(c, low, "mul", left, right)
    return reduce(c, low, "sum", pairs, [pairs.ndim - 1], False)


def _matmul(c: Call, low: Lowering) -> Traced:
    c.arity(2)
    a, b = c.array(0), c.array(1)
    if a.ndim == 0 or b.ndim == 0:
        raise c.fail("multiplies a number; matrices are needed")
    if isinstance(a, Traced) and not isinstance(b, Traced):
        while b.ndim > 2 and b.shape[0] == 1 and a.ndim >= b.ndim:
            b = b[0]
        if b.ndim == 1:
            return Traced(dense(c, low, a, b[None]).origins[..., 0], a.kind)
        if b.ndim == 2:
            return dense(c, low, a, b.T)
    elif isinstance(b, Traced) and not isinstance(a, Traced) and a.ndim == 2 and b.ndim >= 2:
        return swapped(dense(c, low, swapped(b), a))
    x, y = low.traced(c, a), low.traced(c, b)
    left = Traced(x.origins[None], x.kind) if a.ndim == 1 else x
    right = Traced(y.origins[:, None], y.kind) if b.ndim == 1 else y
    result = product(c, low, left, right).origins
    result = result[..., 0, :] if a.ndim == 1 else result
    return Traced(result[..., 0] if b.ndim == 1 else result, x.kind)


def _gemm(c: Call, low: Lowering) -> Traced:
    c.arity(3)
    a, b = c.array(0), c.array(1)
    if a.ndim != 2 or b.ndim != 2:
        raise c.misfit(f"shapes {list(a.shape)} and {list(b.shape)}: Gemm multiplies matrices")
    alpha, beta = np.float32(c.attribute("alpha", 1.0)), np.float32(c.attribute("beta", 1.0))
    left: Any
    right: Any
    left, right = (
        (Traced(m.origins.T, m.kind) if isinstance(m, Traced) else m.T) if c.attribute(name, 0) else m
        for m, name in ((a, "transA"), (b, "transB"))
    )
    offset = c.inputs[2] if c.has(2) else None
    if isinstance(offset, np.ndarray):
        offset = (beta * offset).astype(np.float32)
    elif offset is not None and beta != 1:
        offset = binary(c, low, "mul", offset, np.float32(beta))
    bias = None
    y: Traced
    if isinstance(left, Traced) and isinstance(right, Traced):
        y = product(c, low, left, right)
        y = y if alpha == 1 else binary(c, low, "mul", y, np.float32(alpha))
    elif isinstance(left, Traced):
        if isinstance(offset, np.ndarray):
            rows = np.broadcast_to(offset, (left.shape[0], right.shape[1]))
            if (rows == rows[:1]).all():
                bias, offset = rows[0], None
        y = dense(c, low, left, alpha * right.T, bias)
    else:
        y = swapped(dense(c, low, Traced(right.origins.T, right.kind), alpha * left))
    return y if offset is None else binary(c, low, "add", y, offset)


RECORDS = (
    Operator(
        "Gemm",
        fold=_fold_gemm,
        lower=_gemm,
        products=_product,
        features=lambda node, weight: weight.shape[-1 if node.attributes.get("transB") else -2],
    ),
    Operator(
        "MatMul", fold=_fold_matmul, lower=_matmul, products=_product, features=lambda node, weight: weight.shape[-2]
    ),
)
