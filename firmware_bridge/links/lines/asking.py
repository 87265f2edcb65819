"""When the readings that a robot prints only on request are asked for.

Its rule: each reading with a `request` at its own `rate_hz`, one request in the air at a time (`links/polling.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.links.declarations import ReadingDeclaration
from firmware_bridge.links.lines.kinds import Kind
from firmware_bridge.links.polled import TIMEOUT, TIMEOUT_MS
from firmware_bridge.links.polling import Poll, Polling
from firmware_bridge.table import Table


def schedule(table: Table, kinds: Sequence[Kind], readings: dict[str, ReadingDeclaration]) -> Polling | None:
    """What is asked when; None where nothing is. table: [link], whose error says that its time-out cannot be."""
    polls = [
        Poll(kind.name, (kind.request,), int(period_ns))
        for kind in kinds
        if kind.request is not None and (period_ns := readings[kind.name].period_ns) is not None
    ]
    timeout_ms = table.take("timeout_ms", float, None)
    if not polls:
        if timeout_ms is not None:
            raise table.fail("timeout_ms", "is given, but no reading has a request that would be answered")
        return None
    shortest_ns = min(poll.period_ns for poll in polls if poll.period_ns is not None)
    if timeout_ms is None:
        return Polling(polls, min(int(TIMEOUT * shortest_ns), TIMEOUT_MS * 1_000_000))
    if not 0.1 <= timeout_ms <= shortest_ns / 1e6:
        why = f"must be from 0.1 to {shortest_ns / 1e6:g}, the time between two requests"
        raise table.fail("timeout_ms", f"{why}, not {timeout_ms:g}")
    return Polling(polls, int(timeout_ms * 1e6))
