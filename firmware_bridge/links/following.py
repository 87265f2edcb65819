"""A robot's clock and a robot's counter, followed from reading to reading: what is missing, what cannot be.

Its rule: a number is believed if it goes on from the last one within the time that has passed; a message can arrive
late but never early. One that does not is a fault: it may be what a damaged digit has made of it. If the next one goes
on from there, the clock has jumped or the robot has started again, and both are believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SLACK_NS = 250_000_000  # a message that is this early against the most punctual one so far is still believed
DRIFT = 0.01  # and a clock that is wrong by a hundredth: a ceramic resonator's


@dataclass(frozen=True, slots=True)
class Step:
    """What a number says. `refused`: why it is not believed, "" if it is."""

    forward_ns: float = 0.0  # since the last believed one
    time_ns: int = 0  # since the robot's clock began, without wraps
    restarted: bool = False
    refused: str = ""


class RobotClock:
    """The time column of a reading. tick_ns: what one of its units is; wrap: the units after which it begins again at
    0, None: never."""

    def __init__(self, tick_ns: float, wrap: int | None = None) -> None:
        self.tick_ns, self.wrap = tick_ns, wrap
        self.restart()

    def restart(self) -> None:
        """Nothing is known any more; the next number is believed."""
        self._raw: float | None = None  # the last one believed
        self._time_ns = 0.0  # the same in 64 bits
        self._t_ns = 0  # when it arrived
        self._lead_ns = 0.0  # the most by which the robot's clock was ahead of ours
        self._doubted: tuple[float, int] | None = None  # the last one that was not believed, and when it arrived

    def accept(self, t_ns: int, raw: float, booted: bool) -> Step:
        """booted: the robot has said in between that it starts (a header line, a boot message)."""
        if not math.isfinite(raw) or raw < 0:
            return Step(refused=f"{raw:g} is no time")
        if self._raw is None:
            self._believe(t_ns, raw, raw * self.tick_ns)
            return Step(time_ns=int(self._time_ns))
        forward = (raw - self._raw) % self.wrap if self.wrap else raw - self._raw
        forward_ns = forward * self.tick_ns
        time_ns = self._time_ns + forward_ns
        most = self._lead_ns + SLACK_NS + (t_ns - self._t_ns) * DRIFT
        if forward_ns >= 0 and time_ns - t_ns <= most:
            self._believe(t_ns, raw, time_ns)
            return Step(forward_ns, int(time_ns))
        back = raw < self._raw
        if (back and booted) or self._goes_on(t_ns, raw):
            gone_ns = 0.0 if back else forward_ns
            self.restart()
            self._believe(t_ns, raw, raw * self.tick_ns if back else time_ns)
            return Step(gone_ns, int(self._time_ns), restarted=back)
        self._doubted = raw, t_ns
        return Step(refused=f"the robot's clock says {raw:g} after {self._raw:g}")

    def _goes_on(self, t_ns: int, raw: float) -> bool:
        """Whether it follows the last one that was not believed."""
        if self._doubted is None:
            return False
        before, then_ns = self._doubted
        return 0 <= (raw - before) * self.tick_ns <= (t_ns - then_ns) * (1 + DRIFT) + SLACK_NS and raw != before

    def _believe(self, t_ns: int, raw: float, time_ns: float) -> None:
        lead_ns = time_ns - t_ns
        if self._raw is None or lead_ns > self._lead_ns:
            self._lead_ns = lead_ns
        self._raw, self._time_ns, self._t_ns, self._doubted = raw, time_ns, t_ns, None


class RobotCounter:
    """A column that grows by one with each reading. wrap: after so many it begins again at 0; period_ns: of the
    readings, None where it is not known."""

    def __init__(self, wrap: int, period_ns: float | None) -> None:
        self.wrap, self._period_ns = wrap, period_ns
        self.restart()

    def restart(self) -> None:
        """Nothing is known any more; the next number is believed."""
        self._last: int | None = None
        self._t_ns = 0
        self._doubted: int | None = None

    def accept(self, t_ns: int, raw: float, booted: bool) -> tuple[int, str]:
        """How many readings are missing before this one, and why it is not believed ("": it is)."""
        if not math.isfinite(raw) or raw < 0 or raw % 1:
            return 0, f"{raw:g} is no count"
        number = int(raw) % self.wrap
        if self._last is None or booted:
            self._last, self._t_ns, self._doubted = number, t_ns, None
            return 0, ""
        step = (number - self._last) % self.wrap
        if step == 0:
            return 0, f"the counter says {number} twice"
        if step - 1 > self._most(t_ns):
            if self._doubted is None or (number - self._doubted) % self.wrap != 1:
                self._doubted = number
                return 0, f"the counter says {number} after {self._last}"
            step = 1  # how many it was, nobody knows
        self._last, self._t_ns, self._doubted = number, t_ns, None
        return step - 1, ""

    def _most(self, t_ns: int) -> float:
        """How many can be missing."""
        if self._period_ns is None:
            return self.wrap // 2
        return (t_ns - self._t_ns + SLACK_NS) * (1 + DRIFT) / self._period_ns + 1
