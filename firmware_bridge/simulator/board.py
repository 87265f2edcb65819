"""What stands behind a simulated port: a board with its own time, whatever it simulates and whatever protocol it has.

Its rule: `now_us` is the time since its power switch was turned on, and moves in `advance` alone.
"""

from __future__ import annotations

from typing import Protocol


class Board(Protocol):
    """The two-wheeled robot with our protocol (`robot.Robot`), or a table played in any dialect (`played.Played`)."""

    now_us: int

    @property
    def next_us(self) -> int:
        """`now_us` of the next reading."""

    @property
    def taken(self) -> int:
        """Readings so far, sent or not."""

    def receive(self, data: bytes) -> None:
        """Bytes from the host, arrived now."""

    def outgoing(self) -> bytes:
        """Answers that wait to be sent; `advance` takes them along as well."""

    def advance(self, dt_us: int) -> bytes:
        """Let dt_us µs pass; what the board sends meanwhile, in whole messages."""

    def reset(self) -> None:
        """It starts again."""

    def dropped(self, messages: int) -> None:
        """The port reports how many messages did not fit into its buffer."""
