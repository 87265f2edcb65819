"""The actions that a robot is obeying: how long each holds, when it is written again, when the robot must be made safe.

Its rule: an action holds until a newer one, or until it is stale; then the robot's safe output follows, whatever
happened in between: a robot that has restarted or was unplugged may have kept its outputs. What was written before a
restart or a loss is never written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from firmware_bridge.remembered import Remembers
from firmware_bridge.values import Action

FRESH_NS = 250_000_000  # how long an action holds without another, unless `hold_ns` is longer


class _Written(NamedTuple):
    """The last action of one kind."""

    action: Action
    stale_ns: int  # until when it holds
    again_ns: int | None  # when it is written again


class InForce(Remembers):
    """repeat_ns: of each action, after how long it is written again while it holds; None: it is not."""

    REMEMBERED: ClassVar = {"moved": bool, "_last": dict[str, _Written]}

    def __init__(self, repeat_ns: Mapping[str, int | None]) -> None:
        self.moved = False  # an action was written since the robot was made safe
        self._repeat_ns = repeat_ns
        self._last: dict[str, _Written] = {}

    @property
    def due_ns(self) -> int | None:
        """When the next one is to be written again, or is stale."""
        due = [item.stale_ns for item in self._last.values()]
        due += [item.again_ns for item in self._last.values() if item.again_ns is not None]
        return min(due, default=None)

    def wrote(self, t_ns: int, action: Action, hold_ns: int) -> None:
        """A new one."""
        self.moved = True
        repeat_ns = self._repeat_ns[action.format]
        again_ns = None if repeat_ns is None else t_ns + repeat_ns
        self._last[action.format] = _Written(action, t_ns + max(FRESH_NS, hold_ns), again_ns)

    def again(self, t_ns: int) -> list[Action]:
        """Those that are to be written again now."""
        found = []
        for name, (action, stale_ns, again_ns) in self._last.items():
            repeat_ns = self._repeat_ns[name]
            if again_ns is not None and repeat_ns is not None and t_ns >= again_ns:
                self._last[name] = _Written(action, stale_ns, t_ns + repeat_ns)
                found.append(action)
        return found

    def stale(self, t_ns: int) -> bool:
        """Whether one no longer holds."""
        return any(t_ns >= item.stale_ns for item in self._last.values())

    def restarted(self) -> None:
        """The robot has restarted: they are not written again."""
        for name, item in self._last.items():
            self._last[name] = item._replace(again_ns=None)

    def lost(self) -> None:
        """Nothing can be written; `moved` stays."""
        self._last.clear()

    def made_safe(self) -> None:
        """The safe output is written."""
        self._last.clear()
        self.moved = False
