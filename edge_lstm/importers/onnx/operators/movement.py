"""ONNX operators that only move data, in NumPy.

Its rule: a function here never looks at an element, so it works on weights, on shapes and on the origins
of `provenance.py` alike, exactly as the operator's specification says (onnx.ai, operators, operator sets 7 to 25).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from edge_lstm.importers.onnx.call import Call, sized
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.operators.record import ENDLESS, Moves, Numbers, Operator


def _reshape(c: Call) -> Array:
    c.arity(2)
    x = c.array(0)
    shape = c.ints("shape", 1, "shape")
    if shape is None:
        raise c.fail("its shape is missing")
    if not c.attribute("allowzero", 0):
        shape = [x.shape[k] if d == 0 else d for k, d in enumerate(shape)]
    return x.reshape(shape)  # type: ignore[no-any-return]


def _flatten(c: Call) -> Array:
    c.arity(1)
    x = c.array(0)
    axis = c.attribute("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        raise c.misfit(f"axis {axis} does not exist in {x.ndim} dimensions")
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), -1) if x.size else x.reshape(math.prod(x.shape[:axis]), 0)  # type: ignore[no-any-return]


def _squeeze(c: Call) -> Array:
    c.arity(2)
    x = c.array(0)
    axes = c.ints("axes", 1, "axes")
    if axes is None:
        return x.squeeze()  # type: ignore[no-any-return]
    return x.squeeze(tuple(c.axis(a, x.ndim) for a in axes))  # type: ignore[no-any-return]


def _unsqueeze(c: Call) -> Array:
    c.arity(2)
    axes = c.ints("axes", 1, "axes")
    if axes is None:
        raise c.fail("its axes are missing")
    return np.expand_dims(c.array(0), tuple(axes))


def _transpose(c: Call) -> Array:
    c.arity(1)
    perm = c.attribute("perm")
    return np.transpose(c.array(0), perm)


def _slice(c: Call) -> Array:
    c.arity(5)
    x = c.array(0)
    starts, ends = c.ints("starts", 1, "starts"), c.ints("ends", 2, "ends")
    if starts is None or ends is None:
        raise c.fail("its starts or ends are missing")
    axes = c.ints("axes", 3, "axes") or list(range(len(starts)))
    steps = c.ints("steps", 4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise c.fail("starts, ends, axes and steps differ in length")
    index: list[slice] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = c.axis(axis, x.ndim)
        size = x.shape[axis]
        if step == 0:
            raise c.fail("a step of 0")
        start += size if start < 0 else 0
        end += size if end < 0 else 0
        if step > 0:
            index[axis] = slice(min(max(start, 0), size), min(max(end, 0), size), step)
        else:
            start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
            index[axis] = slice(start, end if end >= 0 else None, step)
    return x[tuple(index)]  # type: ignore[no-any-return]


def _gather_elements(c: Call) -> Array:
    c.arity(2)
    x, indices = c.array(0), c.constant(1, "indices")
    axis = c.axis(c.attribute("axis", 0), x.ndim)
    size = x.shape[axis]
    if ((indices < -size) | (indices >= size)).any():
        raise c.misfit(f"its indices do not fit an axis of {size}")
    part = tuple(slice(None) if k == axis else slice(d) for k, d in enumerate(indices.shape))
    if indices.ndim != x.ndim or any(d > x.shape[k] for k, d in enumerate(indices.shape) if k != axis):
        raise c.misfit(f"its indices of shape {list(indices.shape)} do not fit {list(x.shape)}")
    return np.take_along_axis(x[part], np.where(indices < 0, indices + size, indices), axis)


def _concat(c: Call) -> Array:
    axis = c.attribute("axis")
    arrays = [c.array(k) for k in range(len(c.inputs))]
    if axis is None or not arrays:
        raise c.fail("its axis or its inputs are missing")
    sized(c, [sum(a.size for a in arrays)])
    return np.concatenate(arrays, c.axis(axis, arrays[0].ndim))


def _split(c: Call) -> tuple[Array, ...]:
    c.arity(2)
    x = c.array(0)
    axis = c.axis(c.attribute("axis", 0), x.ndim)
    count = len(c.node.outputs)
    asked = c.attribute("num_outputs")
    if asked is not None and asked != count:
        raise c.fail(f"attribute num_outputs = {asked}, but it has {count} outputs")
    sizes = c.ints("split", 1, "split")
    if sizes is None:
        chunk = -(-x.shape[axis] // count)
        if asked is None and chunk * count != x.shape[axis]:
            raise c.misfit(f"an axis of {x.shape[axis]} does not split into {count} equal parts")
        sizes = [min(chunk, x.shape[axis] - k * chunk) for k in range(count)]
    if len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise c.misfit(f"parts of {sizes} do not make up an axis of {x.shape[axis]} in {count} outputs")
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


def _expand(c: Call) -> Array:
    c.arity(2)
    x = c.array(0)
    shape = np.broadcast_shapes(x.shape, tuple(int(d) for d in c.constant(1, "shape")))
    return np.broadcast_to(x, sized(c, shape))


def _tile(c: Call) -> Array:
    c.arity(2)
    x, repeats = c.array(0), c.constant(1, "repeats")
    if len(repeats) != x.ndim:
        raise c.fail(f"{len(repeats)} repeats for {x.ndim} dimensions")
    sized(c, [d * int(r) for d, r in zip(x.shape, repeats, strict=True)])
    return np.tile(x, [int(r) for r in repeats])


def _pad(c: Call) -> Array:
    c.arity(4)
    x = c.array(0)
    pads = c.ints("pads", 1, "pads")
    mode = c.attribute("mode", "constant")
    value = c.attribute("value")
    fill = c.array(2) if c.has(2) else np.zeros((), x.dtype) if value is None else np.asarray(value, x.dtype)
    axes = [c.axis(int(a), x.ndim) for a in c.constant(3, "axes")] if c.has(3) else list(range(x.ndim))
    if pads is None or len(pads) != 2 * len(axes):
        raise c.fail(f"pads = {pads} do not fit {len(axes)} axes")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise c.fail(f"attribute mode = {mode!r} is not supported; known are constant, reflect, edge, wrap")
    around = [(0, 0)] * x.ndim
    for k, axis in enumerate(axes):
        around[axis] = (pads[k], pads[k + len(axes)])
    cut = tuple(slice(max(-a, 0), max(d - max(-b, 0), 0)) for (a, b), d in zip(around, x.shape, strict=True))
    x, around = x[cut], [(max(a, 0), max(b, 0)) for a, b in around]  # less than nothing is taken away
    sized(c, [d + sum(a) for d, a in zip(x.shape, around, strict=True)])
    if mode == "constant":
        return np.pad(x, around, constant_values=fill.reshape(()))
    return np.pad(x, around, mode=mode)


def _depth_to_space(c: Call) -> Array:
    c.arity(1)
    x, size = c.array(0), c.attribute("blocksize")
    n, d, h, w = x.shape
    if c.attribute("mode", "DCR") == "DCR":
        parts = x.reshape(n, size, size, d // size**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, d // size**2, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, d // size**2, h * size, w * size)  # type: ignore[no-any-return]


def _space_to_depth(c: Call) -> Array:
    c.arity(1)
    x, size = c.array(0), c.attribute("blocksize")
    n, d, h, w = x.shape
    parts = x.reshape(n, d, h // size, size, w // size, size).transpose(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, d * size**2, h // size, w // size)  # type: ignore[no-any-return]


def _reverse_sequence(c: Call) -> Array:
    """Each sequence of the batch reversed as far as it is long; the rest stays where it is."""
    c.arity(2)
    x, lengths = c.array(0), c.constant(1, "sequence_lens").reshape(-1)
    batch, time = c.axis(c.attribute("batch_axis", 1), x.ndim), c.axis(c.attribute("time_axis", 0), x.ndim)
    if {batch, time} != {0, 1} or len(lengths) != x.shape[batch]:
        raise c.misfit(f"batch_axis = {batch}, time_axis = {time}, {len(lengths)} lengths: not for {list(x.shape)}")
    if lengths.dtype.kind not in "iu" or ((lengths < 0) | (lengths > x.shape[time])).any():
        raise c.misfit(f"sequence_lens = {lengths[:8].tolist()} do not fit {x.shape[time]} places")
    result = np.array(np.moveaxis(x, batch, 0))
    for row, length in zip(result, lengths.tolist(), strict=True):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(result, 0, batch)


def _scatter_nd(c: Call) -> Array:
    c.arity(3)
    x, indices, updates = c.array(0), c.constant(1, "indices"), c.array(2)
    if c.attribute("reduction", "none") != "none":
        raise c.fail(f"attribute reduction = {c.attribute('reduction')!r} is not supported; known is none")
    result = np.array(x)
    result[tuple(np.moveaxis(indices, -1, 0))] = updates
    return result


def _identity(c: Call) -> Array:
    c.arity(1)
    return c.array(0)  # type: ignore[no-any-return]


# --- how far they move along their axes -------------------------------------------------------------------------------


def _slice_reach(c: Call, rank: int, numbers: Numbers) -> Iterable[tuple[int, int]]:
    for name, place in (("starts", 1), ("ends", 2)):
        far = [n if abs(n) < ENDLESS else 0 for n in numbers(name, place)]
        yield from zip(numbers("axes", 3) or range(len(far)), far, strict=False)


def _pad_reach(c: Call, rank: int, numbers: Numbers) -> Iterable[tuple[int, int]]:
    pads = numbers("pads", 1)
    axes = numbers("axes", 3) or list(range(rank))
    yield from zip([*axes, *axes], pads, strict=False)


def gather_reach(c: Call, rank: int, numbers: Numbers) -> Iterable[tuple[int, int]]:
    """From the first place to the one that is taken."""
    yield int(c.node.attributes.get("axis", 0)), max(map(abs, numbers("indices", 1)), default=0) + 1


def _split_reach(c: Call, rank: int, numbers: Numbers) -> Iterable[tuple[int, int]]:
    yield int(c.node.attributes.get("axis", 0)), max(map(abs, numbers("split", 1)), default=0)


RECORDS = (
    Operator("Concat", fold=_concat, moves=Moves(data=None), joins=True),
    Operator("DepthToSpace", fold=_depth_to_space, moves=Moves()),
    Operator("Expand", fold=_expand, moves=Moves()),
    Operator("Flatten", fold=_flatten, moves=Moves()),
    Operator("GatherElements", fold=_gather_elements, moves=Moves(), reach=gather_reach),
    Operator("Identity", fold=_identity, moves=Moves(), same=True),
    Operator("Pad", fold=_pad, moves=Moves((0, 2)), reach=_pad_reach),
    Operator("Reshape", fold=_reshape, moves=Moves(), same=True),
    Operator("ReverseSequence", fold=_reverse_sequence, moves=Moves()),
    Operator("ScatterND", fold=_scatter_nd, moves=Moves((0, 2))),
    Operator("Slice", fold=_slice, moves=Moves(), reach=_slice_reach),
    Operator("SpaceToDepth", fold=_space_to_depth, moves=Moves()),
    Operator("Split", fold=_split, moves=Moves(), reach=_split_reach),
    Operator("Squeeze", fold=_squeeze, moves=Moves(), same=True),
    Operator("Tile", fold=_tile, moves=Moves()),
    Operator("Transpose", fold=_transpose, moves=Moves()),
    Operator("Unsqueeze", fold=_unsqueeze, moves=Moves(), same=True),
)
