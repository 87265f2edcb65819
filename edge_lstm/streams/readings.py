"""Whatever a caller gives as readings → float32, checked before a stream takes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.errors import ReadingError

_FLOAT32 = np.dtype(np.float32)


def as_readings(model: Model, x: npt.ArrayLike, shape: Sequence[int]) -> Floats:
    """x as float32 of this shape (-1: any length), or ReadingError."""
    if (
        type(x) is np.ndarray
        and x.dtype is _FLOAT32
        and x.flags.c_contiguous
        and (x.shape == shape or (len(shape) == x.ndim == 2 and shape == (-1, x.shape[1])))
    ):
        return x
    try:
        array = np.asarray(x)
    except ValueError:
        raise ReadingError(f"a reading must be {shape[-1]} numbers, this one is ragged") from None
    if array.dtype.kind not in "fiu":
        raise ReadingError(f"a reading must be real numbers, this one is of type {array.dtype}")
    if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
        inputs = model.inputs
        names = ", ".join(c.name for c in inputs[:8]) + (", …" if len(inputs) > 8 else "")
        wanted = ", ".join("readings" if want == -1 else str(want) for want in shape)
        wanted = f"({wanted})" if len(shape) > 1 else f"{wanted} numbers"
        raise ReadingError(f"expected {wanted} ({names}), got an array of shape {array.shape}")
    with np.errstate(all="ignore"):  # a value beyond float32's range becomes infinite, which every engine refuses
        converted: Floats = np.ascontiguousarray(array, dtype=np.float32)
    return converted
