"""What probing cannot show of a graph for ONNX Runtime: operators that mix readings by their values, and a batch.

Its rule: conservative. An operator that takes the largest of several readings may do so only for rare ones, which no
probe has tried. It runs along time where an axis that it takes together grows with the readings. A norm over the
features of each reading stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edge_lstm.core.axes import InputAxes
from edge_lstm.engines.onnxruntime.graph import OnnxGraph, open_session
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.fallback.probe import OPEN, Probe
from edge_lstm.importers.onnx.fallback.surgery import Layer, with_outputs
from edge_lstm.importers.onnx.operators.table import TABLE
from edge_lstm.importers.spelling import T, say


def check_not_mixed(proto: Any, probe: Probe, axes: Mapping[str, int | None]) -> None:
    """Refuses a continuous stream of a graph in which an operator that chooses or sums may run along time."""
    import onnx

    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is not None:
            constants[node.output[0]] = onnx.numpy_helper.to_array(value)
    opset = min((s.version for s in proto.opset_import if s.domain in ("", "ai.onnx")), default=13)
    mixing = [n for n in proto.graph.node if _mixes(n.op_type) and n.input[0] not in constants]
    made = {o for n in proto.graph.node for o in n.output}
    names = sorted({n.input[0] for n in mixing} & made)
    shown = replace(probe, session=open_session(with_outputs(proto, names))) if names else probe
    graph = shown.graph(axes)
    shapes = []
    for count in (OPEN, OPEN + 1):
        rows = shown.random(graph, count)
        values = shown.show(graph, rows, names) or []
        found = {name: v.shape for name, v in {**graph.feeds(rows), **dict(zip(names, values, strict=False))}.items()}
        shapes.append(found)
    short, longer = shapes
    for node in mixing:
        x = node.input[0]
        one, other = short.get(x), longer.get(x)
        if one is None or other is None or len(one) != len(other):
            raise _mixed(node)
        taken = {a % len(one) for a in _taken(node, len(one), constants, opset)} if one else set()
        if any(one[a] != other[a] for a in taken):
            raise _mixed(node)
    for node in proto.graph.node:
        if inner := next((n for n in _inside(node) if _mixes(n.op_type)), None):
            raise _mixed(inner)


def check_batch(probe: Probe, graph: OnnxGraph, count: int, found: Sequence[Layer]) -> None:
    """Refuses a fixed batch: is it several robots, or parts of one reading?"""
    if probe.known.streams > 1:
        return
    shown = probe.show(graph, probe.random(graph, count), [layer.x for layer in found]) or []
    for layer, x in zip(found, shown, strict=False):
        many = x.shape[1] if x.ndim > 1 else 1
        for v in probe.readings:
            kept = [d for a, d in enumerate(v.dims) if a != graph.axes.inputs.get(v.name, InputAxes()).time]
            if many > 1 and many in kept:
                raise ImportModelError(
                    f"the sequence of layer {layer.name!r} has a batch of {many}, and so has input {v}: whether it is"
                    f" {many} streams, or one reading of {many} parts, is not clear. Export the model with a batch of 1"
                )


def _mixed(node: Any) -> ImportModelError:
    return ImportModelError(
        f"node {node.name or node.output[0]!r} ({node.op_type}) may take several readings together, which a continuous"
        f" stream does not see at once. Use {say(mode='window', window=T)}"
    )


def _mixes(op: str) -> bool:
    return op in TABLE and TABLE[op].takes is not None


def _taken(node: Any, rank: int, constants: Mapping[str, Any], opset: int) -> Sequence[int]:
    """The axes that an operator takes together, all where it does not say."""
    takes = TABLE[node.op_type].takes
    assert takes is not None
    given: dict[str, Any] = {a.name: list(a.ints) or a.i for a in node.attribute}
    second = constants.get(node.input[1]) if len(node.input) > 1 else None
    return takes(given, second, rank, opset)


def _inside(node: Any) -> Iterator[Any]:
    """The nodes of the graphs inside a node."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield inner
                yield from _inside(inner)
