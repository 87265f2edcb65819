"""An ONNX graph as one operation, which ONNX Runtime runs (`engines/onnxruntime/`).

Inputs are the readings and the states, outputs the outputs and the next states, in the order of its axes.
"""

from __future__ import annotations

import json

import numpy as np

from edge_lstm.core.axes import GraphAxes
from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.record import Kind, Need
from edge_lstm.errors import ModelFileError


def _check(op: Operation, need: Need) -> None:
    graph = op.weights.get("graph")
    there = graph is not None and graph.dtype == np.uint8 and graph.ndim == 1 and graph.size > 0
    need(set(op.weights) == {"graph"} and there, "needs exactly the array `graph`, the bytes of an ONNX file")
    try:
        GraphAxes.from_json(str(op.attributes.get("meaning")))
    except ModelFileError as error:
        need(False, f"meaning must be JSON with the graph's axes and states: {error}")
    need(type(op.attributes.get("weights")) is int, "weights must be a whole number, how many numbers the graph holds")


ONNX = Kind("onnx", _check, None, None, attributes=frozenset({"meaning", "weights"}))


def axes_of(op: Operation) -> GraphAxes:
    """The axes of the graph that an operation holds: of the file it came from, states opened. Raises ModelFileError."""
    return GraphAxes.from_json(str(op.attributes["meaning"]))


def takes_logs(op: Operation | None) -> bool:
    """Whether it is a graph that takes whole logs. In format 1 its attribute `meaning` alone has that; since format 2
    the timing has it, too, and is held to this one, which is in the digest."""
    return op is not None and "log" in json.loads(str(op.attributes["meaning"]))
