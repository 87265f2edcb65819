"""Device time → host time, from the arrivals of readings.

Its rule: a message can arrive late but never early, so the truth is the line *under* all points (device time, host -
device), the lower envelope. Of each second only the least delayed reading is kept; the line is the edge of their
lower convex hull that lies under the middle of the window. Bounded memory, no clock of its own.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import ClassVar, NamedTuple

from firmware_bridge.remembered import Remembers

WINDOW_US = 1_000_000
WINDOWS = 120


class ClockFit(NamedTuple):
    """host_ns ≈ device_us * 1000 + offset_ns + drift * (device_us - at_us) * 1000; a `drift` of 1e-6 is 1 ppm."""

    at_us: int
    offset_ns: int
    drift: float


class DeviceClock(Remembers):
    """The envelope of one boot of one device."""

    REMEMBERED: ClassVar = {"_points": deque[tuple[int, int]], "_window_end": int, "_best": tuple[int, int]}

    def __init__(self) -> None:
        self._points: deque[tuple[int, int]] = deque(maxlen=WINDOWS)  # (device µs, least host - device in ns)
        self._window_end = -1
        self._best = (0, 0)

    def note(self, t_ns: int, t_device_us: int) -> None:
        """One message: the device's time on it and the host's time of its arrival."""
        offset_ns = t_ns - t_device_us * 1000
        if t_device_us < self._window_end:
            if offset_ns < self._best[1]:
                self._best = (t_device_us, offset_ns)
            return
        if self._window_end >= 0:
            self._points.append(self._best)
        self._window_end = t_device_us + WINDOW_US
        self._best = (t_device_us, offset_ns)

    def fit(self) -> ClockFit | None:
        """The line, None before the first message. Drift is 0 until two windows are known."""
        if self._window_end < 0:
            return None
        points = [*self._points, self._best]
        hull: list[tuple[int, int]] = []
        for x, y in points:
            # Drop the last point while it lies on or above the line from the one before it to the new one (exact).
            while len(hull) >= 2:
                (x0, y0), (x1, y1) = hull[-2:]
                if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0):
                    break
                hull.pop()
            hull.append((x, y))
        last_us = points[-1][0]
        if len(hull) == 1:
            return ClockFit(last_us, hull[0][1], 0.0)
        middle = (points[0][0] + last_us) / 2
        left, right = next((pair for pair in pairwise(hull) if pair[1][0] >= middle), (hull[-2], hull[-1]))
        drift = (right[1] - left[1]) / ((right[0] - left[0]) * 1000)
        return ClockFit(last_us, round(left[1] + drift * (last_us - left[0]) * 1000), drift)

    def host_ns(self, t_device_us: int) -> int | None:
        """The host's time at a device's time: when a message would arrive with the shortest delay seen."""
        line = self.fit()
        if line is None:
            return None
        return t_device_us * 1000 + line.offset_ns + round(line.drift * (t_device_us - line.at_us) * 1000)
