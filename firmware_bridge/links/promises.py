"""What a link can notice of what goes wrong, and what it cannot: said at every start and in every summary.

Its rule: what cannot be known is said to be unknown, never shown as zero. Our own protocol notices everything below, so
it has nothing to say; what a robot with a firmware of its own speaks, seldom does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promises:
    """The defaults are our own protocol's."""

    damage: bool = True  # each message carries a check, so a damaged one is never taken for a reading
    uncounted: tuple[str, ...] = ()  # readings of which nobody can know whether one was lost
    undated: tuple[str, ...] = ()  # readings without a clock of the robot's: their time is that of their arrival
    unguarded: tuple[str, ...] = ()  # actions that stay in force if this program dies
    also: tuple[str, ...] = ()  # whatever else a dialect has to say

    def sentences(self) -> tuple[str, ...]:
        """What people should know, most serious first; none where everything is noticed."""
        said = []
        if self.unguarded:
            said.append(
                f"if this program dies, the robot's last action stays ({', '.join(self.unguarded)}: no watchdog_ms in "
                "robot.toml)"
            )
        if not self.damage:
            said.append(
                "this link has no checksum: a damaged byte can become a wrong value that nobody notices; limits and a "
                "counter catch some"
            )
        if self.uncounted:
            said.append(
                f"lost readings are unknown ({', '.join(self.uncounted)}: neither a counter nor a time with rate_hz in "
                "robot.toml)"
            )
        if self.undated:
            said.append(
                f"the robot's clock is unknown ({', '.join(self.undated)}: no time in robot.toml), so times are those "
                "of arrival, and a restart is not noticed"
            )
        return (*said, *self.also)


ALL = Promises()
