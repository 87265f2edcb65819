"""pandas.merge_asof(direction="backward", tolerance=…) of one column, by NumPy alone; `test_ticks` compares the two.

Its rule: written as the definition says, value by value, and knows nothing of the code it judges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def merge_asof(
    keys: npt.NDArray[np.int64], right: npt.NDArray[np.int64], values: npt.NDArray[np.float64], tolerance: int
) -> npt.NDArray[np.float64]:
    """For each key the value of the last `right` that is not above it and not further away than the tolerance; NaN
    where there is none. Both sorted."""
    last = np.searchsorted(right, keys, side="right") - 1
    there = (last >= 0) & (keys - right[np.maximum(last, 0)] <= tolerance)
    return np.where(there, values[np.maximum(last, 0)], np.nan)
