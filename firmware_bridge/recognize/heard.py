"""The first bytes that a port has delivered since it was opened, and when each of them arrived.

Its rule: bounded memory, whatever arrives and for however long: later bytes are counted, not kept. Times are the
chunks'.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

from firmware_bridge.values import Chunk

KEPT_BYTES = 1 << 17  # eleven seconds at 115,200 baud, and what is looked through in a tenth of a second


class Heard:
    """Chunks in, bytes with their times out. most: of bytes that are kept."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self.count = 0  # of all bytes since the port was opened, kept or not
        self.data = bytearray()
        self.first_ns: int | None = None  # of the first chunk, with bytes or without
        self.last_ns = 0
        self._most = most
        self._starts = array("q")  # where in `data` begins what arrived at another time,
        self._times = array("q")  # and when that was

    def feed(self, chunk: Chunk) -> None:
        """Take a chunk in. A port that is opened (again) begins afresh: another board may be behind it."""
        if chunk.link == "opened" or self.first_ns is None:
            self.__init__(self._most)  # type: ignore[misc]
            self.first_ns = chunk.t_ns
        self.last_ns = chunk.t_ns
        if chunk.link != "data" or not chunk.data:
            return
        self.count += len(chunk.data)
        if room := self._most - len(self.data):
            if not self._times or self._times[-1] != chunk.t_ns:
                self._starts.append(len(self.data))
                self._times.append(chunk.t_ns)
            self.data += chunk.data[:room]

    @property
    def seconds(self) -> float:
        """From the opening to the last chunk."""
        return 0.0 if self.first_ns is None else (self.last_ns - self.first_ns) / 1e9

    @property
    def begins_whole(self) -> bool:
        """Whether the first bytes came a while after the opening, so that they are not the rest of something."""
        return bool(self._times) and self._times[0] - (self.first_ns or 0) > _WHOLE_NS

    def time_of(self, offset: int) -> int:
        """When the byte at this place of `data` arrived, in ns."""
        return self._times[max(bisect_right(self._starts, offset) - 1, 0)]

    def starts(self) -> frozenset[int]:
        """Where in `data` begins what arrived at one time: mostly where the device began to send."""
        return frozenset(self._starts)


_WHOLE_NS = 100_000_000
_LEAST_NS = 50_000_000  # a burst says nothing of a rate


def rate_of(times: list[int]) -> float | None:
    """How many of these times there are in a second. The first ones may have waited in the system's buffer, all with
    one time, so the count begins with the second time that differs. None: too few."""
    later = [t_ns for t_ns in times if t_ns > times[0]]
    if len(later) < 3 or later[-1] - later[0] < _LEAST_NS:
        return None
    return (len(later) - 1) * 1e9 / (later[-1] - later[0])


def nice_rate(rate_hz: float | None) -> float | None:
    """The usual rate that this is within 3 % of, else the rate to three figures: what goes into a configuration."""
    if rate_hz is None:
        return None
    near = min(_USUAL, key=lambda usual: abs(usual - rate_hz))
    return near if abs(near - rate_hz) <= 0.03 * near else float(f"{rate_hz:.3g}")


_USUAL = tuple(digit * 10.0**power for power in range(-1, 5) for digit in (1, 1.25, 2, 2.5, 3, 4, 5, 6, 8))
