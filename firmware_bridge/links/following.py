"""A robot's clock and a robot's counter, followed from reading to reading: what is missing, what cannot be.

Its rule: a number is believed if it goes on from the last one within the time that has passed; a message can arrive
late but never early. One that does not is a fault: it may be what a damaged digit has made of it. If the next one goes
on from there, the clock has jumped or the robot has started again, and both are believed.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

from firmware_bridge.remembered import Remembers

SLACK_NS = 250_000_000  # a message that is this early against the most punctual one so far is still believed
DRIFT = 0.03  # and a clock that is wrong by this part: an RC oscillator's, once it is calibrated
_SLOW_NS = 5_000_000_000  # the longest period that is added to it
_LAST_NS = 2.0**73  # a clock that says more, 300,000 years, says nothing


class Step(NamedTuple):
    """What a clock says. `refused`: why it is not believed, "" if it is."""

    forward_ns: float = 0.0  # since the last believed one
    missing: int = 0  # readings that should have come since then, as the declared rate says
    time_us: int = 0  # since the robot's clock began, without wraps
    restarted: bool = False
    refused: str = ""


class RobotClock(Remembers):
    """The time column of a reading. tick_ns: what one of its units is; wrap: the units after which it begins again at
    0, None: never. One that has been seen to count further than that does not begin again there."""

    REMEMBERED: ClassVar = {
        **dict.fromkeys(("_turned", "_lead_ns", "_late_ns", "_still"), float),
        "_raw": float | None,
        "_t_ns": int,
        "_doubted": tuple[float, int] | None,
    }

    def __init__(self, tick_ns: float, wrap: int | None = None) -> None:
        self.tick_ns, self.wrap = tick_ns, wrap
        self.restart()

    def restart(self) -> None:
        """Nothing is known any more; the next number is believed."""
        self._raw: float | None = None  # the last one believed
        self._turned = 0.0  # the units by which it has begun again so far
        self._t_ns = 0  # when it arrived
        self._lead_ns = 0.0  # the most by which the robot's clock was ahead of ours, lately
        self._late_ns = 0.0  # the most by which a message came after that, lately
        self._still = 0.0  # readings, negative, that came while the clock stood still: its next tick is theirs, too
        self._doubted: tuple[float, int] | None = None  # the last one that was not believed, and when it arrived

    def accept(self, t_ns: int, raw: float, booted: bool, period_ns: float | None = None) -> Step:
        """booted: the robot has said in between that it starts (a header line, a boot message). period_ns: from one
        reading to the next, None: not declared, so nothing is known to be missing."""
        if not math.isfinite(raw) or raw < 0 or raw * self.tick_ns >= _LAST_NS:
            return Step(refused=f"{raw:g} is no time")
        last = self._raw
        if last is None:
            return self._believe(t_ns, raw, 0.0, 0.0, 0)
        passed_ns = t_ns - self._t_ns
        turned = self._turned + self._turns(raw, last, passed_ns)
        forward_ns = (raw - last + turned - self._turned) * self.tick_ns
        early_ns = (raw + turned) * self.tick_ns - t_ns - self._lead_ns
        slack_ns = SLACK_NS + passed_ns * DRIFT
        if period_ns is not None and period_ns > SLACK_NS:  # several readings of a slow robot may have waited together
            slack_ns += min(period_ns, _SLOW_NS)
        on_time = forward_ns >= 0 and early_ns <= slack_ns
        if on_time and (raw >= last or -early_ns <= slack_ns + 2 * self._late_ns):
            return self._believe(t_ns, raw, turned, forward_ns, self._missing(forward_ns, period_ns))
        back = raw < last
        if (back and booted) or self._goes_on(t_ns, raw, slack_ns):
            self._raw, self._late_ns = None, 0.0  # the lead begins afresh
            if back:
                self._still = 0.0
                return self._believe(t_ns, raw, 0.0, 0.0, 0, restarted=True)
            missing = self._missing(forward_ns, period_ns)
            return self._believe(t_ns, raw, turned, min(forward_ns, passed_ns), missing)
        self._doubted = raw, t_ns
        return Step(refused=f"the robot's clock says {raw:g} after {last:g}")

    def _turns(self, raw: float, last: float, passed_ns: int) -> float:
        """The units by which it has begun again since the last one: as often as fits best with the time that has
        passed."""
        if self.wrap is None or last >= self.wrap or raw >= self.wrap:
            return 0.0
        turns = 1 if raw < last else 0
        whole_ns = self.wrap * self.tick_ns
        left_ns = passed_ns - (raw + turns * self.wrap - last) * self.tick_ns
        return float(self.wrap) * (turns + max(0, round(left_ns / whole_ns)))

    def _goes_on(self, t_ns: int, raw: float, slack_ns: float) -> bool:
        """Whether it follows the last one that was not believed."""
        if self._doubted is None:
            return False
        before, then_ns = self._doubted
        return before < raw and (raw - before) * self.tick_ns <= t_ns - then_ns + slack_ns

    def _missing(self, forward_ns: float, period_ns: float | None) -> int:
        """How many readings are missing. A clock that is coarser than the readings stands still between its ticks."""
        if period_ns is None:
            return 0
        periods = forward_ns / period_ns
        owed = self._still + periods - 1
        missing = max(0, math.ceil(owed - 0.5))
        self._still = owed if forward_ns == 0 else min(0.0, max(owed, self._still, -periods))
        return missing

    def _believe(
        self, t_ns: int, raw: float, turned: float, forward_ns: float, missing: int, restarted: bool = False
    ) -> Step:
        lead_ns = ahead_ns = (raw + turned) * self.tick_ns - t_ns
        if self._raw is not None:  # both fade, so that a slow clock is not given more and more room ahead
            fade_ns = (t_ns - self._t_ns) * DRIFT
            lead_ns = max(ahead_ns, self._lead_ns - fade_ns)
            self._late_ns = max(lead_ns - ahead_ns, self._late_ns - fade_ns)
        self._raw, self._turned, self._t_ns, self._lead_ns, self._doubted = raw, turned, t_ns, lead_ns, None
        return Step(forward_ns, missing, round((raw + turned) * (self.tick_ns / 1000)), restarted)


class RobotCounter(Remembers):
    """A column that grows by one with each reading. wrap: after so many it begins again at 0; period_ns: of the
    readings, None where it is not known."""

    REMEMBERED: ClassVar = {"_last": int | None, "_t_ns": int, "_doubted": int | None}

    def __init__(self, wrap: int, period_ns: float | None) -> None:
        self.wrap, self._period_ns = wrap, period_ns
        self.restart()

    def restart(self) -> None:
        """Nothing is known any more; the next number is believed."""
        self._last: int | None = None
        self._t_ns = 0
        self._doubted: int | None = None

    def goes_back(self, raw: float) -> bool:
        """Whether it is less than the last one, and not the first after the greatest."""
        return self._last is not None and 0 <= raw < self._last and (raw - self._last) % self.wrap != 1

    def accept(self, t_ns: int, raw: float, forward_ns: float | None) -> tuple[int, str]:
        """How many readings are missing before this one, and why it is not believed ("": it is). forward_ns: by which
        the robot's own clock has gone on since the last one, where it has one."""
        if not math.isfinite(raw) or raw < 0 or raw % 1:
            return 0, f"{raw:g} is no count"
        number = int(raw) % self.wrap
        missing = 0
        if self._last is not None:
            step = (number - self._last) % self.wrap
            if step == 0:
                return 0, f"the counter says {number} twice"
            passed_ns = t_ns - self._t_ns if forward_ns is None else forward_ns
            least, most = self._bounds(passed_ns)
            missing = step - 1
            if missing > most:
                if self._doubted is None or (number - self._doubted) % self.wrap != 1:
                    self._doubted = number
                    return 0, f"the counter says {number} after {self._last}"
                missing = 0  # how many it was, nobody knows
            elif 0 < missing < least:  # it has gone all the way round, once or more
                whole = missing + math.ceil((least - missing) / self.wrap) * self.wrap
                missing = whole if whole <= most else missing
        self._last, self._t_ns, self._doubted = number, t_ns, None
        return missing, ""

    def _bounds(self, passed_ns: float) -> tuple[float, float]:
        """How many must, and how many can be missing."""
        if self._period_ns is None:
            return 0, self.wrap // 2
        least_ns, most_ns = passed_ns * (1 - DRIFT) - SLACK_NS, passed_ns * (1 + DRIFT) + SLACK_NS
        return least_ns / self._period_ns - 1, most_ns / self._period_ns + 1
