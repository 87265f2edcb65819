"""What a model declares: which outputs predict which inputs, and what stands in for missing readings.

Its rule: declarations only; `streams/rollout.py` and `streams/missing.py` act on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_lstm.core.readable import Readable
from edge_lstm.errors import ModelFileError

Choose = Literal["value", "best", "sample"]
Missing = Literal["skip", "hold", "predict"]
CHOICES: tuple[Choose, ...] = ("value", "best", "sample")
MISSING: tuple[Missing, ...] = ("skip", "hold", "predict")


@dataclass(frozen=True)
class Feedback(metaclass=Readable):
    """An output channel that predicts what an input channel will hold in the next reading: the closed loop.

    choose: "value" hands over the numbers, in physical units (so each channel's own scaling applies); "best" the most
    probable word, as one-hot; "sample" a word drawn by its probability, from `seed`. None means "best" where both
    channels have a vocabulary and "value" elsewhere. Words are matched by name.
    """

    output: str
    input: str
    choose: Choose | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.choose not in (None, *CHOICES):
            raise ModelFileError(f"feedback {self.output!r}: choose must be one of {CHOICES}, not {self.choose!r}")
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 64:
            raise ModelFileError(f"feedback {self.output!r}: seed {self.seed!r} is not a whole number below 2^64")


@dataclass(frozen=True)
class Policy(metaclass=Readable):
    """What stands in for a reading, or for the channels of one, that did not come.

    missing: "skip" nothing, the memory waits; "hold" the last value; "predict" the model's own prediction
    (`Feedback`), and the last value in channels without one. longest_gap: after more missing readings than this in a
    row the memory is reset; None means never.
    """

    missing: Missing = "skip"
    longest_gap: int | None = None

    def __post_init__(self) -> None:
        if self.missing not in MISSING:
            raise ModelFileError(f"policy: missing must be one of {MISSING}, not {self.missing!r}")
        if self.longest_gap is not None and (type(self.longest_gap) is not int or self.longest_gap < 0):
            raise ModelFileError(f"policy: longest_gap must be a number of readings, not {self.longest_gap!r}")


AS_IT_COMES = Policy()  # nothing stands in for a missing reading, and no gap is too long
