"""How regular the times of a log are: what a network trained at one rate should know about the readings it gets.

Its rule: figures only, computed from the times as given; nothing is resampled or sorted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LONG = 5  # medians: from here on a distance is a gap
_SAMPLE = 1000  # numbers of which the middle is guessed


@dataclass(frozen=True)
class Jitter:
    """Distances between neighbouring readings, in seconds."""

    rows: int
    seconds: float  # from the first to the last
    median_dt_s: float
    min_dt_s: float
    max_dt_s: float
    rate_hz: float  # 1 / median, what the log means to be
    irregular: float  # share of distances further than 50 % from the median
    backwards: int  # distances of zero or less

    def as_dict(self) -> dict[str, Any]:
        """For --json; a figure that does not exist (fewer than two rows) is None."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}

    def sentence(self) -> str:
        """One line for people."""
        if self.rows < 2:
            return "fewer than two rows, so no rate"
        rate = f" ({self.rate_hz:.4g} Hz)" if math.isfinite(self.rate_hz) else ""
        text = (
            f"dt median {self.median_dt_s * 1e3:.4g} ms{rate}, min {self.min_dt_s * 1e3:.4g} ms, "
            f"max {self.max_dt_s * 1e3:.4g} ms, {self.irregular:.2%} outside ±50 %"
        )
        return text + (f", {self.backwards} going back or standing still" if self.backwards else "")


def jitter(t_s: npt.NDArray[np.float64]) -> Jitter:
    """t_s: (T,) float64 seconds. Never raises; without two rows the figures are NaN."""
    if len(t_s) < 2:
        return Jitter(len(t_s), 0.0, math.nan, math.nan, math.nan, math.nan, 0.0, 0)
    dt = np.diff(t_s)
    median = middle(dt)
    return Jitter(
        rows=len(t_s),
        seconds=float(t_s[-1] - t_s[0]),
        median_dt_s=median,
        min_dt_s=float(dt.min()),
        max_dt_s=float(dt.max()),
        rate_hz=1 / median if median > 0 else math.nan,
        irregular=int(np.count_nonzero(np.abs(dt - median) > 0.5 * abs(median))) / len(dt),
        backwards=int(np.count_nonzero(dt <= 0)),
    )


def middle(numbers: npt.NDArray[Any]) -> float:
    """The median of numbers, not none, which hold no NaN, as NumPy says it. Of times that keep to a rate most are one
    of a few numbers; that it is such a one is counted in a tenth of the time that sorting takes."""
    guess = np.median(numbers[:: 1 + len(numbers) // _SAMPLE])
    first, last = (len(numbers) - 1) // 2, len(numbers) // 2  # places of the middle, in order
    if np.count_nonzero(numbers < guess) <= first and last < np.count_nonzero(numbers <= guess):
        return float(guess)
    return float(np.median(numbers))


def irregularities(
    t_s: npt.NDArray[np.float64],
    lines: Sequence[int] | npt.NDArray[np.int64],
    begins: Sequence[int] = (),
    timing: Jitter | None = None,
    place: str = "line",
) -> list[str]:
    """Sentences about what disturbs a recurrent network: times that do not increase, and gaps. lines: of each row;
    begins: rows with which another recording begins, the time before which says nothing; timing: of these times, where
    it is known already; place: what the lines are, if no lines (`Log.place`)."""
    timing = timing or jitter(t_s)
    if not timing.backwards and not timing.max_dt_s > LONG * timing.median_dt_s:
        return []
    dt = np.diff(t_s)
    inside = np.ones(len(dt), np.bool_)
    inside[[k - 1 for k in begins if k]] = False
    notes = []
    back = np.flatnonzero((dt <= 0) & inside)
    if len(back):
        many = "once" if len(back) == 1 else f"{len(back)} times"
        notes.append(f"the time goes back or stands still {many}, first at {place} {lines[back[0] + 1]}")
    ahead = dt[dt > 0]
    median = float(np.median(ahead)) if len(ahead) else math.inf
    gaps = np.flatnonzero((dt > LONG * median) & inside)
    if len(gaps):
        longest = int(np.argmax(np.where(inside, dt, 0)))
        notes.append(
            f"{len(gaps)} {'gap is' if len(gaps) == 1 else 'gaps are'} longer than {LONG} × the usual {median:.4g} s, "
            f"the longest {dt[longest]:.4g} s before {place} {lines[longest + 1]}"
        )
    return notes
