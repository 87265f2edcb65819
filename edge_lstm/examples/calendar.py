"""The flatmate's evenings: pizza, sushi, waffles and round again, with weekday, month and late meetings beside.

Its rule: a year is a deterministic function of its number and seed. Two years to learn from, the next to score.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel

DINNERS = ("pizza", "sushi", "waffles")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
MEETING = ("no", "yes")

DINNER = Channel("dinner", vocabulary=DINNERS)
VOTERS = (
    Channel("weekday", vocabulary=WEEKDAYS),
    Channel("month", vocabulary=MONTHS),
    Channel("late_meeting", vocabulary=MEETING),
)
FIRST = date(2023, 1, 1)
LEARNT_DAYS, HELD_OUT_DAYS = 730, 365
SEED = 3


@dataclass(frozen=True)
class Days:
    """Indices, one per day: dinner (T,), and voters (T, 3) in the order of VOTERS."""

    dinner: npt.NDArray[np.int64]
    voters: npt.NDArray[np.int64]

    def __getitem__(self, part: slice) -> Days:
        return Days(self.dinner[part], self.voters[part])


def days() -> Days:
    """Three years of evenings."""
    count = LEARNT_DAYS + HELD_OUT_DAYS
    dates = [FIRST + timedelta(k) for k in range(count)]
    late = (np.random.default_rng(SEED).random(count) < 0.3).astype(np.int64)
    voters = np.array([(day.weekday(), day.month - 1, busy) for day, busy in zip(dates, late, strict=True)], np.int64)
    return Days(np.arange(count) % len(DINNERS), voters)


def one_hot(indices: npt.NDArray[np.int64], *channels: Channel) -> npt.NDArray[np.float32]:
    """(T, channels) or (T,) indices to (T, sum of widths) float32."""
    columns = indices.reshape(len(indices), len(channels))
    return np.concatenate([np.eye(c.width, dtype=np.float32)[columns[:, k]] for k, c in enumerate(channels)], axis=1)
