"""Recurrent layers: LSTM, GRU and plain RNN, in float32; their matrices may be float16, which are widened.

Weights stand in PyTorch's layout: rows i f g o for LSTM, r z n for GRU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.functions import MAPS, RNN_ACTIVATIONS, sigmoid
from edge_lstm.core.operations.record import Array, Instructions, Kind, Need, sizes, weights


def lstm_sizes(op: Operation, need: Need) -> tuple[int, int]:
    """Sizes of x and h of an LSTM."""
    x, h, c, h_next, c_next = sizes(op, need, 3, 2)
    need(h == c == h_next == c_next, f"h, c and their next values differ in size: {h}, {c}, {h_next}, {c_next}")
    return x, h


def cell_sizes(op: Operation, need: Need) -> tuple[int, int]:
    """Sizes of x and h of a cell whose only state is h."""
    x, h, h_next = sizes(op, need, 2, 1)
    need(h == h_next, f"h and its next value differ in size: {h}, {h_next}")
    return x, h


def activation(op: Operation, need: Need) -> None:
    """That of a plain RNN."""
    need(op.attributes.get("activation") in RNN_ACTIVATIONS, f"activation must be one of {RNN_ACTIVATIONS}")


def lstm_cell(sums: Array, c: Array) -> tuple[Array, Array]:
    """Next h and c from the four gates' sums (4H,) (Hochreiter & Schmidhuber 1997, with forget gates)."""
    i, f, g, o = np.split(sums, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_cell(over_x: Array, over_h: Array, h: Array) -> Array:
    """Next h from the sums (3H,) over x and over h, the reset gate after the product."""
    (xr, xz, xn), (hr, hz, hn) = np.split(over_x, 3), np.split(over_h, 3)
    z = sigmoid(xz + hz)
    result: Array = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h
    return result


def _check_lstm(op: Operation, need: Need) -> None:
    x, h = lstm_sizes(op, need)
    weights(op, need, W=(4 * h, x), R=(4 * h, h), b=(4 * h,))


def _lower_lstm(op: Operation, out: Instructions, x: int, h: int, c: int, h_next: int, c_next: int) -> None:
    out.put("LSTM", W=out.sums(op, 4), A=x, B=h, C=c, Y=h_next, Z=c_next, **out.recurrent(op))


def _lstm(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    x, h, c = inputs
    return lstm_cell(w["W"] @ x + w["R"] @ h + w["b"], c)


def _check_gru(op: Operation, need: Need) -> None:
    x, h = cell_sizes(op, need)
    weights(op, need, W=(3 * h, x), R=(3 * h, h), b_W=(3 * h,), b_R=(3 * h,))


def _lower_gru(op: Operation, out: Instructions, x: int, h: int, h_next: int) -> None:
    out.put("GRU", W=out.gru_sums(op), A=x, B=h, Y=h_next, **out.recurrent(op))


def _gru(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    x, h = inputs
    return (gru_cell(w["W"] @ x + w["b_W"], w["R"] @ h + w["b_R"], h),)


def _check_rnn(op: Operation, need: Need) -> None:
    x, h = cell_sizes(op, need)
    activation(op, need)
    weights(op, need, W=(h, x), R=(h, h), b=(h,))


def _lower_rnn(op: Operation, out: Instructions, x: int, h: int, h_next: int) -> None:
    function = RNN_ACTIVATIONS.index(str(op.attributes["activation"]))
    out.put("RNN", W=out.sums(op, 1), A=x, B=h, Y=h_next, F=function, **out.recurrent(op))


def _rnn(inputs: Sequence[Array], w: Mapping[str, Array], a: Mapping[str, Any]) -> tuple[Array, ...]:
    x, h = inputs
    return (MAPS[a["activation"]][1](w["W"] @ x + w["R"] @ h + w["b"], 0.0, 0.0),)


LSTM = Kind("lstm", _check_lstm, _lower_lstm, _lstm, c=1, states=True)
GRU = Kind("gru", _check_gru, _lower_gru, _gru, c=2, states=True)
RNN = Kind("rnn", _check_rnn, _lower_rnn, _rnn, c=3, attributes=frozenset({"activation"}), states=True)
