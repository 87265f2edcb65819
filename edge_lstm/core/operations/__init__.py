"""The kinds of operations: one record each (`record.py`), by the name that a program has for it.

To add one: its record in one of these files, its kernel (`engines/native/kernels`), its C (`firmware_bridge/c`), tests.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_lstm.core.operations.dense import DENSE
from edge_lstm.core.operations.elementwise import BINARY, MAP, WHERE
from edge_lstm.core.operations.graph import ONNX
from edge_lstm.core.operations.movement import LOOKUP, TAKE
from edge_lstm.core.operations.quantized import QUANTIZED_DENSE, QUANTIZED_GRU, QUANTIZED_LSTM, QUANTIZED_RNN
from edge_lstm.core.operations.record import Kind
from edge_lstm.core.operations.recurrent import GRU, LSTM, RNN
from edge_lstm.core.operations.rows import REDUCE, SOFTMAX

_FLOAT = (LSTM, GRU, RNN, DENSE, MAP, BINARY, SOFTMAX, REDUCE, TAKE, WHERE, LOOKUP)
_QUANTIZED = (QUANTIZED_LSTM, QUANTIZED_GRU, QUANTIZED_RNN, QUANTIZED_DENSE)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (*_FLOAT, *_QUANTIZED, ONNX)}
