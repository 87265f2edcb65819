"""Integers as the interpreter reads them: the weights of quantized layers, from front to back once per step.

Per block of `lanes` units: the biases, then for each matrix the scales, what a sum starts from (int8 only), and the
weights in groups of inputs that fill 32 bits: [group][gate][lane][input of the group] (`kernels/quantized.py`).

Its rule: what is packed depends on the number of lanes (4 or more) and on nothing else of the CPU. Units beyond the
last and inputs beyond the last are zero. A scheme here is what is in a sum (GROUPS).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import Floats
from edge_lstm.engines.native.kernels.abi import GROUPS, together

Integers = npt.NDArray[np.int8]


def elements(scheme: str, inputs: int) -> int:
    """Places of float32 that so many values take as integers, filled up for any number of sums side by side, and what
    one of them is worth before them."""
    whole = GROUPS[scheme] * max(together(scheme, sums) for sums in (1, 3, 4))
    return 1 + -(-inputs // whole) * whole // GROUPS[scheme]


def inverses(scale: Floats, inputs: int) -> Floats:
    """1 / scale, one for each of so many inputs."""
    inverse: Floats = np.broadcast_to(np.float32(1) / scale, inputs)
    return inverse


def _in_blocks(rows: npt.NDArray[Any], gates: int, lanes: int) -> npt.NDArray[Any]:
    """(gates * units, K) -> (blocks, gates, lanes, K)."""
    units = len(rows) // gates
    blocks = -(-units // lanes)
    whole = np.zeros((gates, blocks * lanes, rows.shape[1]), rows.dtype)
    whole[:, :units] = rows.reshape(gates, units, -1)
    packed: npt.NDArray[Any] = whole.reshape(gates, blocks, lanes, -1).transpose(1, 0, 2, 3)
    return packed


def _matrix(weights: Integers, scale: Floats, scheme: str, gates: int, lanes: int) -> list[npt.NDArray[Any]]:
    """The parts of one matrix, each (blocks, ...)."""
    parts = [_in_blocks(scale[:, None], gates, lanes)]
    if scheme == "int8":  # exact modulo 2^32, which is how the sum ends where it should
        starts = (-128 * weights.sum(axis=1, dtype=np.int64)).astype(np.int32)
        parts.append(_in_blocks(starts[:, None], gates, lanes))
    group = GROUPS[scheme]
    missing = -weights.shape[1] % (group * together(scheme, gates))
    filled = np.pad(_in_blocks(weights, gates, lanes), ((0, 0), (0, 0), (0, 0), (0, missing)))
    grouped = filled.reshape(*filled.shape[:3], -1, group)  # (blocks, gates, lanes, groups, group)
    return [*parts, grouped.transpose(0, 3, 1, 2, 4)]


def pack_integers(
    biases: Floats, matrices: list[tuple[Integers, Floats]], scheme: str, gates: int, lanes: int
) -> Floats:
    """A layer's weights: `biases` (vectors per block * units,), `matrices` int8 (gates * units, K) and their scales."""
    units = len(matrices[0][0]) // gates
    parts = [_in_blocks(biases[:, None], len(biases) // units, lanes)]
    for weights, scale in matrices:
        parts += _matrix(weights, scale, scheme, gates, lanes)
    flat = [np.ascontiguousarray(part).reshape(len(part), -1).view(np.float32) for part in parts]
    packed: Floats = np.concatenate(flat, axis=1).ravel()
    return packed
