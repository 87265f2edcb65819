"""Recurrent layers: LSTM, GRU and RNN (`recurrent.py`).

Its rule: they carry a state, so they are never folded, however constant their inputs are.
"""

from __future__ import annotations

from edge_lstm.importers.onnx.graph import Array, Node
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.recurrent import recurrent


def _features(node: Node, weight: Array) -> int:
    return int(weight.shape[-1])


RECORDS = tuple(Operator(name, lower=recurrent, recurrent=True, features=_features) for name in ("LSTM", "GRU", "RNN"))
