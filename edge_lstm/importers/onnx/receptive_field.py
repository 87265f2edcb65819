"""How long a sequence must be drawn before it shows everything that a graph does with an open length.

Its rule: upper bounds, from the numbers that stand at the nodes. The receptive field of an operator is how far it moves
or looks along the time axis (a pad, a slice from the end, a dilated kernel): a drawing shorter than their sum would
take what is out of its sight for padding. `limits` are the numbers that a size is compared or computed with
(`T > 100`): a drawing on one side of them does not show the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.operators.record import ENDLESS, Operator
from edge_lstm.importers.onnx.provenance import ENDED, Traced


def limits(c: Call, sizes: Collection[str]) -> set[int]:
    """The whole numbers from 2 on that this node joins with a size of the graph (`sizes`: their names)."""
    if not any(name in sizes for name in c.node.inputs):
        return set()
    others = [v for name, v in zip(c.node.inputs, c.inputs, strict=True) if name not in sizes]
    bounds = [c.node.attributes.get(k) for k in ("min", "max")]
    given = [np.reshape(v, -1) for v in (*others, *bounds) if v is not None and not isinstance(v, Traced)]
    numbers = np.ceil(np.abs(np.concatenate([np.zeros(0), *given]).astype(np.float64)))
    return {int(n) for n in numbers.tolist() if 2 <= n < ENDLESS}


def receptive_field(c: Call, record: Operator, length: int, sizes: Collection[str]) -> int:
    """How far this node moves or looks along the time axis; numbers computed from sizes move with them."""
    x = next((v for v in c.inputs if isinstance(v, Traced)), None)
    if x is None:
        return 0
    if record.kernel or c.node.op == "Slice":
        spacing = max((_spacing(x, axis) for axis in range(x.ndim)), default=1)
        far = _look(c, record, x, length, sizes) + 3 * (_strides(c, x) - 1)
        return spacing * (far + 2) if far else 0  # two more places, to see how they follow each other
    return _look(c, record, x, length, sizes)


def _look(c: Call, record: Operator, x: Traced, length: int, sizes: Collection[str]) -> int:
    if record.joins:
        axis = int(c.node.attributes.get("axis", 0))
        if not -x.ndim <= axis < x.ndim or not any(isinstance(v, Traced) and along_time(v, axis) for v in c.inputs):
            return 0
        total = sum(int(v.shape[axis]) for v in c.inputs if v is not None and v.ndim == x.ndim)
        return max(total - length, 0)
    if record.kernel:
        return sum(
            max((kernel - 1) * dilation + sum(pads), 0)
            for axis, kernel, dilation, *pads in _kernels(c, x)
            if along_time(x, axis)
        )
    if record.reach is None:
        return 0

    def numbers(name: str, place: int) -> list[int]:
        if name in c.node.attributes:
            return [int(v) for v in np.reshape(c.node.attributes[name], -1)]
        if c.has(place) and isinstance(c.inputs[place], np.ndarray) and c.node.inputs[place] not in sizes:
            return [int(v) if abs(v) < ENDLESS else 0 for v in c.inputs[place].reshape(-1).tolist()]
        return []

    return sum(abs(n) for axis, n in record.reach(c, x.ndim, numbers) if n and along_time(x, axis))


def along_time(x: Traced, axis: int) -> bool:
    """Whether the readings differ along this axis."""
    if not -x.ndim <= axis < x.ndim or not x.size:
        return False
    t = x.t
    return bool((np.take(t, [0], axis) != t).any())


def _spacing(x: Traced, axis: int) -> int:
    """How many readings lie between two places of this axis."""
    if not x.size:
        return 1
    places = np.moveaxis(x.t, axis, 0).reshape(x.shape[axis], -1).max(axis=1, initial=0)
    apart = np.diff(places[places < ENDED])
    return int(apart.max(initial=1))


def _strides(c: Call, x: Traced) -> int:
    """The largest step along the time axis."""
    if c.node.op == "Slice":
        steps = c.inputs[4] if c.has(4) and isinstance(c.inputs[4], np.ndarray) else np.ones(1)
        return int(min(np.abs(steps).max(initial=1), 64)) if any(along_time(x, a) for a in range(x.ndim)) else 1
    strides = enumerate(c.node.attributes.get("strides") or (), 2)
    return max((int(s) for axis, s in strides if along_time(x, axis)), default=1)


def _kernels(c: Call, x: Traced) -> Iterable[Sequence[int]]:
    """Axis, kernel, dilation and the two pads of each spatial axis."""
    n, given = x.ndim - 2, c.node.attributes
    weights = c.inputs[1].shape[2:] if len(c.inputs) > 1 and isinstance(c.inputs[1], np.ndarray) else ()
    kernel = [int(k) for k in weights or given.get("kernel_shape", ())]
    dilations, pads = list(given.get("dilations") or [1] * n), list(given.get("pads") or [0] * 2 * n)
    if len(kernel) == len(dilations) == n and len(pads) == 2 * n:
        yield from ((k + 2, kernel[k], dilations[k], pads[k], pads[k + n]) for k in range(n))
