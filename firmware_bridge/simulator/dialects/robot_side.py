"""What every robot's half of a dialect is: readings to bytes, bytes to actions, and answers where it is asked.

Its rule: sans-IO and deterministic, as the link that it talks to; time is the robot's own clock, in µs since it started
(it wraps in the bytes, as the real clocks do, never here). It is made of the link's own declarations, so that a
configuration says both halves; what it writes for a reading is what such firmware writes, with the declared scale and
offset undone. Nothing that arrives raises.
"""

from __future__ import annotations

from collections.abc import Sequence

Obeyed = tuple[str, tuple[float, ...]]  # an action's name and its values in the order of its fields, in physical units


class RobotSide:
    """One robot's firmware. A dialect's class derives from this; it is made with the link (`links.dialects.open_link`),
    whose `readings` and `actions` declare the formats."""

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        """The message of a reading taken at `t_us`: physical values, one for each channel of the format in its order,
        without the time and the counter, which it writes itself. A polled robot keeps them until it is asked: b""."""
        raise NotImplementedError

    def receive(self, data: bytes) -> list[Obeyed]:
        """The actions that are obeyed because of these bytes, in order; what arrived damaged is none."""
        raise NotImplementedError

    def answers(self) -> bytes:
        """What it says without a reading: answers to requests, heartbeats that are due; each once."""
        return b""

    def tick(self, t_us: int) -> None:
        """Time has come to `t_us`; called before what happens then, and at least every 10 ms."""

    def restart(self) -> None:
        """It starts again: half messages are forgotten, its clock and its counters begin at 0."""
