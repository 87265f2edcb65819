"""What somebody says about a log that does not say it itself: the options of every command that takes one.

Its rule: plain values, the same for every format; a reader takes what means something to it, and refuses the rest with
`refuse`. Nothing that is said contradicts the log in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from edge_lstm.errors import LogError


@dataclass(frozen=True)
class Asked:
    """None, False, 0 and (): nothing was said, the log is taken as it is."""

    time: str | None = None  # the time column
    time_unit: str | None = None  # s, ms, us, ns, or how dates are written ("%d.%m.%Y %H:%M:%S")
    rate_hz: float | None = None  # rows are readings at this rate: there is no time column
    names: tuple[str, ...] = ()  # of the columns, in the place of a header
    skip_lines: int = 0  # at the beginning, which are no table
    skip_bad: bool = False  # lines that cannot be read are left out, and counted
    encoding: str | None = None  # of the text: latin-1, utf-16, …
    hex: bool | None = None  # whether cells are hexadecimal; None: refused where both may be meant
    episode: str | None = None  # a column; where its value changes, another recording begins. "none": there is one only
    clock: str | None = None  # whose times count, of a log of messages: log, or header (header.stamp)
    model_hz: float | None = None  # the rate of the model that is to run: a unit of time is judged by it

    def refuse(self, path: Path, taken: Iterable[str], what: str) -> None:
        """LogError where something was said that is none of `taken`. what: the log, for people ("an ULog")."""
        for field in fields(self):
            if field.name not in (*taken, "model_hz") and getattr(self, field.name) not in (None, (), 0, False):
                option = {"rate_hz": "rate"}.get(field.name, field.name).replace("_", "-")
                raise LogError(f"{path}: --{option} does not go with {what}")


NOTHING = Asked()
