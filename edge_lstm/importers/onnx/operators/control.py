"""Operators with graphs inside them: If, and Loop and Scan written out, each pass the body once more.

Its rule: how often is a constant. Over time every pass sees one reading, and what one pass hands to the next is rolled
up into a state by the same proof as a loop that an exporter has written out (`Lowering.carried`, `close`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.budget import MAX_TRIPS
from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.lowering import Lowering, Operand
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.operators.rolled import over_time
from edge_lstm.importers.onnx.provenance import Misfit, ShapeMisfit, Traced

MAX_PASSES = 4096


def _at(value: Operand, k: int, axis: int) -> Operand:
    if isinstance(value, Traced):
        return Traced(np.take(value.origins, k, axis), value.kind)
    return np.asarray(np.take(value, k, axis))


def _stacked(c: Call, low: Lowering, parts: list[Operand], axis: int) -> Operand:
    if not parts:
        raise c.misfit("it makes no pass, so its results are empty")
    if all(isinstance(p, np.ndarray) for p in parts):
        return np.stack([np.asarray(p) for p in parts], axis)
    traced = [low.traced(c, p) for p in parts]
    if any(t.shape != traced[0].shape for t in traced):
        raise c.misfit("its passes give results of different shapes")
    return Traced(np.stack([t.origins for t in traced], axis), traced[0].kind)


def _scan(c: Call, low: Lowering, values: dict[str, Operand]) -> tuple[Any, ...]:
    body, count = c.attribute("body"), c.attribute("num_scan_inputs")
    if c.opset < 9:
        raise c.fail("Scan of operator set 8 is not supported; export with opset 17")
    given = [c.array(k) for k in range(len(c.inputs))]
    states: Sequence[Any] = given[:-count]
    scanned = given[-count:]
    outputs = len(body.outputs) - len(states)
    axes = c.attribute("scan_input_axes") or (0,) * count
    back = c.attribute("scan_input_directions") or (0,) * count
    out_axes = c.attribute("scan_output_axes") or (0,) * outputs
    out_back = c.attribute("scan_output_directions") or (0,) * outputs
    places = [c.axis(a, v.ndim) for a, v in zip(axes, scanned, strict=True)]
    lengths = {v.shape[a] for a, v in zip(places, scanned, strict=True)}
    if len(body.inputs) != len(given):
        raise c.fail(f"it has {len(given)} inputs, its body {len(body.inputs)}")
    if len(lengths) != 1:
        raise ShapeMisfit(f"{c.node}: its inputs have {sorted(lengths)} places along their axes, must have as many")
    if max(lengths) > MAX_PASSES:
        raise c.fail(f"its inputs have {max(lengths)} places along their axes; {MAX_PASSES} passes are the most")
    c.finish()
    (length,) = lengths
    names = [v.name for v in body.inputs]

    def one(k: int, held: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        now = [_at(v, length - 1 - k if b else k, a) for v, a, b in zip(scanned, places, back, strict=True)]
        results = low.inside(c, body, values, dict(zip(names, [*held, *now], strict=True)))
        return results[: len(held)], results[len(held) :]

    made: list[Sequence[Any]] = []
    if low.roll and length == low.length > 1:
        states, made = over_time(c, low, states, one)
    else:
        for k in range(length):
            states, results = one(k, states)
            made.append(results)
    collected = [list(parts) for parts in zip(*made, strict=True)] or [[] for _ in range(outputs)]
    stacked = []
    for parts, axis, reverse in zip(collected, out_axes, out_back, strict=True):
        rank = parts[0].ndim + 1
        stacked.append(_stacked(c, low, parts[::-1] if reverse else parts, c.axis(axis, rank)))
    return (*states, *stacked)


def _loop(c: Call, low: Lowering, values: dict[str, Operand]) -> tuple[Any, ...]:
    body = c.attribute("body")
    c.finish()
    most = int(c.constant(0, "trip count").reshape(-1)[0]) if c.has(0) else MAX_PASSES + 1
    go: Operand = c.constant(1, "condition") if c.has(1) else np.array(True)
    states: Sequence[Any] = [c.array(k) for k in range(2, len(c.inputs))]
    names = [v.name for v in body.inputs]
    made: list[Sequence[Any]] = []

    def one(k: int, held: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        nonlocal go
        given = dict(zip(names, [np.array(k, np.int64), go, *held], strict=True))
        go, *results = low.inside(c, body, values, given)
        if isinstance(go, Traced):
            raise c.fail("how often it runs depends on the readings")
        return results[: len(held)], results[len(held) :]

    if low.roll and most == low.length > 1 and _goes_on(c, go):
        states, made = over_time(c, low, states, one)
        if not _goes_on(c, go):
            raise Misfit(f"{c.node}: how often it runs is not only counted")
    else:
        for k in range(most):
            if not _goes_on(c, go):
                break
            if k >= MAX_PASSES:
                if c.has(0) and most > MAX_TRIPS:
                    raise ImportModelError(f"{c.node}: would make {most} passes; {MAX_TRIPS} are the most")
                raise c.fail(f"more than {MAX_PASSES} passes")
            states, results = one(k, states)
            made.append(results)
    count = len(body.outputs) - 1 - len(states)
    collected = [list(parts) for parts in zip(*made, strict=True)] or [[] for _ in range(count)]
    return (*states, *(_stacked(c, low, parts, 0) for parts in collected))


def _goes_on(c: Call, go: Operand) -> bool:
    return bool(np.asarray(go).reshape(-1)[0])


def _if(c: Call, low: Lowering, values: dict[str, Operand]) -> tuple[Any, ...]:
    return low.branch(c, values)


RECORDS = (
    Operator("If", expand=_if, sizes=True),
    Operator("Loop", expand=_loop, sizes=True),
    Operator("Scan", expand=_scan, sizes=True),
)
