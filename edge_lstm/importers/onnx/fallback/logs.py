"""With which readings of a whole log the rows of a graph's outputs come, found by running it on logs of many lengths.

Its rule: a row belongs to the reading with which the graph first has it: row k to number first + k * every. That is
believed only where the number of rows says so for every length that is tried; an output whose size does not depend on
the log belongs to its newest reading. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from edge_lstm.core.axes import OutputAxes
from edge_lstm.engines.onnxruntime.graph import OnnxGraph
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.fallback.probe import LONG, Probe
from edge_lstm.importers.onnx.rates import Rate
from edge_lstm.importers.spelling import T, say

_FEW = 40  # lengths from the first with a row on, all of which are tried
_Shapes = tuple[tuple[int, ...], ...]


def log_outputs(probe: Probe, axes: Mapping[str, int | None]) -> tuple[dict[str, OutputAxes], Rate]:
    """The outputs' axes, with first row and stride of those with a time axis, and the model's rate:
    how many readings a log must have, and the readings from row to row, where all outputs with a time axis agree.

    Raises ImportModelError where the graph does not run, or an output's rows belong to no reading.
    """
    graph = probe.graph(axes)
    rows = probe.random(graph, LONG)

    @cache
    def shapes(length: int) -> _Shapes | None:
        """Of the outputs for a log of this length; None where the graph does not take it or has nothing to show."""
        shown = probe.show(graph, rows[:length], probe.outputs)
        return None if shown is None or not all(y.size for y in shown) else tuple(y.shape for y in shown)

    longest = shapes(LONG)
    if longest is None:
        why = probe.troubles[-1] if probe.troubles else "an output is empty"
        raise ImportModelError(f"ONNX Runtime does not run the graph on {LONG:,} readings: {why}")
    least = _smallest(1, lambda length: shapes(length) is not None)
    found: dict[str, OutputAxes] = {}
    for k, name in enumerate(probe.outputs):
        whole = longest[k]
        grown = [a for a in range(len(whole)) if any(_size(shapes(n), k, a) != whole[a] for n in (least, LONG - 1))]
        found[name] = OutputAxes(grown[0] if grown else None, probe.batch.get(name))
        if not grown:
            continue

        def first_with(count: int, k: int = k, axis: int = grown[0]) -> int:
            """The length of the shortest log with so many rows."""
            return _smallest(least, lambda length: _size(shapes(length), k, axis) >= count)

        count = whole[grown[0]]
        last, before = first_with(count), first_with(count - 1)
        rate = Rate(last - (count - 1) * (last - before), last - before)
        lengths = {
            *range(max(least, rate.first), min(max(least, rate.first) + _FEW, LONG)),
            *range(LONG - 8, LONG + 1),
        }
        fits = len(grown) == 1 and rate.stride > 0 and rate.first > 0 and count > 2
        if not fits or any(_size(shapes(n), k, grown[0]) != (n - rate.first) // rate.stride + 1 for n in lengths):
            raise ImportModelError(
                f"output {name!r} has the shape {list(whole)} for a log of {LONG:,} readings: neither a row for every"
                " n-th reading nor the newest alone, so where its rows belong in the log is not clear. Use"
                f" {say(mode='window', window=T)}, or export the graph without it"
            )
        if _backwards(probe, graph, max(4 * least, 64), k, grown[0]):
            raise ImportModelError(
                f"output {name!r} has its rows in the other direction: the first reading of a log moves the last of"
                " them. Turn it round in the exported model"
            )
        found[name] = replace(found[name], first=rate.first, stride=rate.stride)
    strides = {a.stride for a in found.values() if a.time is not None}
    # Shorter than a kernel some operators still give a row, of what is there of it.
    least = max(least, *(a.first for a in found.values()))
    return found, Rate(least, strides.pop() if len(strides) == 1 else 1)


def _backwards(probe: Probe, graph: OnnxGraph, length: int, output: int, axis: int) -> bool:
    """Whether the first readings of a log clearly move the late rows, and the last the early ones."""
    rows = probe.random(graph, length)
    (before,) = probe.show(graph, rows, probe.outputs[output : output + 1]) or [rows]
    some, centres = length // 4, []
    for at in (slice(0, some), slice(length - some, length)):
        other = probe.show(graph, probe.changed(graph, rows, at, slice(0, graph.reading_size)), probe.outputs)
        moved = np.abs(np.subtract(other[output] if other else before, before, dtype=np.float64))
        size = np.moveaxis(np.nan_to_num(moved), axis, 0).reshape(before.shape[axis], -1).sum(axis=1)
        centres.append(float(size @ np.arange(len(size))) / max(float(size.sum()), 1e-300))
    return bool(centres[0] - centres[1] > before.shape[axis] / 4)


def _smallest(least: int, fits: Callable[[int], bool]) -> int:
    """The shortest length from `least` to LONG that fits; longer ones than one that fits do too."""
    low, high = least, LONG
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _size(shapes: _Shapes | None, output: int, axis: int) -> int:
    """0 where there is none."""
    return shapes[output][axis] if shapes and axis < len(shapes[output]) else 0
