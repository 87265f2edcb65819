"""When the readings of a recording were taken: by the board's clock, where it has one.

Its rule: a reading's time at this host holds what the way here did to it (bursts of USB, a busy machine), and a curve
over it shows holes where nothing is missing. The board's own time does not. Between two boots the host's time says how
long it was; a board without a clock, or one whose clock was set meanwhile, has only the host's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_DRIFT, _SLACK_S = 0.01, 1.0  # a board's clock that is off by more was set: quartz is a hundred times better


def taken_s(
    t_ns: Sequence[int], t_device_us: Sequence[int], boots: Sequence[int]
) -> tuple[npt.NDArray[np.float64], bool]:
    """Seconds since the first reading (T,), and whether the board's clock says all of them. t_ns: when they arrived;
    boots: the same number for readings of one boot."""
    host_s = (np.array(t_ns, np.int64) - (t_ns[0] if len(t_ns) else 0)).astype(np.float64) * 1e-9
    device, boot = np.array(t_device_us, np.int64), np.array(boots, np.int64)
    begins = np.flatnonzero((np.diff(boot) != 0) | (np.diff(device) < 0)) + 1
    found, by_board = host_s.copy(), True
    for part in np.split(np.arange(len(found)), begins):
        if len(part) < 2:
            continue
        own_s = (device[part] - device[part[0]]).astype(np.float64) * 1e-6
        passed_s = host_s[part[-1]] - host_s[part[0]]
        if own_s[-1] > 0 and abs(own_s[-1] - passed_s) <= _SLACK_S + _DRIFT * passed_s:
            found[part] = host_s[part[0]] + own_s
        else:
            by_board = False
    return np.maximum.accumulate(found) if len(found) else found, by_board
