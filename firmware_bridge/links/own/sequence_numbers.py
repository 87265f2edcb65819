"""The numbers of one reading format, as the host follows them: which are missing, which readings to refuse.

Its rule: every missing number between two readings is known: exactly, up to 65535 of them; in a longer silence the
count is estimated, as the one of those that the number allows that fits the device's clock and the declared rate best
(exact while that rate is right to a few percent; without a declared rate it is only known modulo 65536). Readings
missing before the very first one are known if the board started while we were listening (`begin`), else they are not. A
reading that is not newer than the last one is never let through, and a number is not believed that is further ahead
than the device's clock and the declared rate allow.
"""

from __future__ import annotations

from typing import ClassVar

from firmware_bridge.remembered import Remembers

_NONE = -1  # what is expected before the first reading: any number
DUPLICATE = -1
BACKWARD = -2
AHEAD = -3

# So many times the declared rate may a number run ahead, and by so many readings at once: a rate that is only roughly
# right is no reason to doubt.
_FASTER, _BURST = 4, 64


class ReadingSequence(Remembers):
    """Follows one format. `rate_hz` is how often its readings come, None if that is not known."""

    REMEMBERED: ClassVar = {"_expected": int, "_last_us": int, "_settled": bool}
    __slots__ = ("_expected", "_last_us", "_rate_hz", "_settled", "_wrap_us")

    def __init__(self, rate_hz: float | None) -> None:
        self._expected = _NONE
        self._last_us = 0
        self._settled = True
        self._rate_hz = rate_hz or 0.0
        # After the time of so many readings, 16 bits of number no longer show how many are missing. A quarter of
        # the numbers, so that even a clock half as quick as declared is asked in time.
        self._wrap_us = 16384e6 / rate_hz if rate_hz else float("inf")

    def begin(self, t_us: int) -> None:
        """The board has just started (its clock said `t_us`), so its first number is 0: others before the first one
        that comes are missing."""
        self._expected, self._last_us = 0, t_us

    def unsettle(self) -> None:
        """The device has just confirmed that it is the same boot: the next jump ahead is accepted, however far."""
        self._settled = False

    def accept(self, seq: int, t_us: int) -> int:
        """How many readings are missing before this one; or DUPLICATE, BACKWARD or AHEAD, and it is to be refused.

        BACKWARD is a number or a time before the last one: bytes that came twice, or a board that has started again.
        AHEAD is a number that cannot have been reached in the time that has passed.
        """
        missing = 0
        elapsed_us = t_us - self._last_us
        if seq != self._expected or not 0 <= elapsed_us <= self._wrap_us:
            missing = self._jump(seq, elapsed_us)
            if missing < 0:
                return missing
        self._expected = (seq + 1) & 0xFFFF
        self._last_us = t_us
        self._settled = True
        return missing

    def _jump(self, seq: int, elapsed_us: int) -> int:
        if self._expected == _NONE:
            return 0
        missing = (seq - self._expected) & 0xFFFF
        if missing == 0xFFFF and elapsed_us == 0:
            return DUPLICATE
        if elapsed_us < 0:
            return BACKWARD
        likely = elapsed_us * 1e-6 * self._rate_hz - 1
        if elapsed_us > self._wrap_us:
            # Of all counts that this number allows, the one nearest to what the elapsed time allows.
            return missing + max(0, round((likely - missing) / 65536)) * 65536
        if missing >= 0x8000 and self._settled:
            return BACKWARD
        if self._rate_hz and missing > _FASTER * (likely + 1) + _BURST:
            # The device has confirmed that it is the same boot: its numbers are others now, the time is what is known.
            return AHEAD if self._settled else max(0, round(likely))
        return missing
