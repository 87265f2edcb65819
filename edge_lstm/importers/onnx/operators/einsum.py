"""Einsum of ONNX, on traced values: two operands as one matrix product.

Its rule: letters that both operands and the result have are kept apart, letters that the result lacks are summed, the
rest are rows and columns. Anything else (a letter twice in one operand, three operands) is refused.
"""

from __future__ import annotations

import math

import numpy as np

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.operators.products import product
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.parts import dense, reduce
from edge_lstm.importers.onnx.provenance import Traced


def terms(c: Call) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis becomes capital letters."""
    equation = str(c.attribute("equation", "")).replace(" ", "")
    left, arrow, result = equation.partition("->")
    operands = left.split(",")
    if len(operands) != len(c.inputs):
        raise c.fail(f"attribute equation = {equation!r} does not fit {len(c.inputs)} inputs")
    most = max(c.array(k).ndim - len(t.replace("...", "")) for k, t in enumerate(operands) if "..." in t or k == 0)
    extra = "ABCDEFGH"[: max(most, 0)]

    def spelled(term: str, rank: int) -> str:
        free = rank - len(term.replace("...", ""))
        return term.replace("...", extra[len(extra) - free :] if free else "")

    spelt = [spelled(t, c.array(k).ndim) for k, t in enumerate(operands)]
    if arrow:
        result = result.replace("...", extra)
    else:
        every = "".join(spelt)
        result = extra + "".join(sorted(x for x in set(every) - set(extra) if every.count(x) == 1))
    return spelt, result


def _einsum(c: Call, low: Lowering) -> Traced:
    """One or two operands."""
    operands, result = terms(c)
    values = [c.array(k) for k in range(len(c.inputs))]
    if len(operands) > 2 or any(
        len(set(t)) != len(t) or len(t) != v.ndim for t, v in zip(operands, values, strict=True)
    ):
        raise c.fail(f"attribute equation = {c.attribute('equation')!r} is not supported; two operands without a"
                     " letter twice are")  # fmt: skip
    if len(operands) == 1:
        x = low.traced(c, values[0])
        gone = [k for k, letter in enumerate(operands[0]) if letter not in result]
        x = reduce(c, low, "sum", x, gone, False) if gone else x
        left = [letter for letter in operands[0] if letter in result]
        return Traced(np.transpose(x.origins, [left.index(letter) for letter in result]), x.kind)
    return _product(c, low, operands, result, values)


def _product(c: Call, low: Lowering, operands: list[str], result: str, values: list[Traced | Array]) -> Traced:
    a, b = operands
    both = [x for x in a if x in b]
    kept, summed = [x for x in both if x in result], [x for x in both if x not in result]
    rows, columns = [x for x in a if x not in b], [x for x in b if x not in a]
    if set(rows + columns) - set(result):
        raise c.fail(f"attribute equation = {c.attribute('equation')!r} sums a letter of one operand alone")
    size = {letter: d for t, v in zip(operands, values, strict=True) for letter, d in zip(t, v.shape, strict=True)}

    def shaped(value: Array, letters: str, groups: list[list[str]]) -> Array:
        order = [letters.index(x) for group in groups for x in group]
        return np.transpose(value, order).reshape([math.prod(size[x] for x in group) for group in groups])

    if not kept and isinstance(values[1], np.ndarray) and isinstance(values[0], Traced):
        weight = shaped(values[1], b, [columns, summed])
        y = dense(c, low, Traced(shaped(values[0].origins, a, [rows, summed]), values[0].kind), weight)
    else:
        one, other = low.traced(c, values[0]), low.traced(c, values[1])
        left = Traced(shaped(one.origins, a, [kept, rows, summed]), one.kind)
        right = Traced(shaped(other.origins, b, [kept, summed, columns]), other.kind)
        y = product(c, low, left, right)
    letters = kept + rows + columns
    whole = y.origins.reshape([size[x] for x in letters])
    return Traced(np.transpose(whole, [letters.index(x) for x in result]), y.kind)


def _fold(c: Call) -> Array:
    return np.asarray(np.einsum(c.attribute("equation"), *(c.array(k) for k in range(len(c.inputs)))))


def _products(c: Call) -> tuple[tuple[int, ...], int]:
    """The shape of a product of constants, and how many multiplications it takes."""
    inputs, _, output = str(c.node.attributes.get("equation", "")).replace(" ", "").replace("...", "").partition("->")
    sizes: dict[str, int] = {}
    for k, letters in enumerate(inputs.split(",")):
        shape = c.array(k).shape
        for letter, size in zip(reversed(letters), reversed(shape), strict=False):
            sizes[letter] = max(size, sizes.get(letter, 1))
        if len(shape) > len(letters):  # what "..." stands for
            sizes[f"... {k}"] = math.prod(shape[: len(shape) - len(letters)])
    others = [size for letter, size in sizes.items() if letter.startswith("...")]
    return (*(sizes.get(letter, 1) for letter in output), max(others, default=1)), math.prod(sizes.values())


RECORDS = (Operator("Einsum", fold=_fold, lower=_einsum, products=_products),)
