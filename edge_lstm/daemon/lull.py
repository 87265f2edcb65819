"""The lull between two readings, in which the work beside the loop is done.

Its rule: whoever works beside the loop (status, answers, keeper, display) has the interpreter while it does. A thread
that begins at any moment is there when a reading comes, or takes the interpreter in the middle of one: then each hands
it to the other, some 50 µs and a wake-up each time. So such a thread waits for the loop to be done with a chunk, and
one of them goes on then: at 1 kHz it has 0.8 ms.

Never: let the loop wait, or let anybody wait for a loop that hangs: after `LONGEST_S` it goes on without.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress

LONGEST_S = 0.1  # a port gives a chunk every 20 ms, silence included


class Lull:
    """One loop's. `wait` is for any other thread."""

    def __init__(self) -> None:
        self._waiting: deque[threading.Lock] = deque()  # held until the loop lets it go

    def begins(self) -> None:
        """In the loop's thread: it is done with a chunk. Whoever has waited longest goes on."""
        if self._waiting:
            with suppress(IndexError):  # who waited has given up just now
                self._waiting.popleft().release()

    def wait(self, longest_s: float = LONGEST_S) -> bool:
        """Until the loop is done with a chunk; False: it was not in time."""
        mine = threading.Lock()
        mine.acquire()
        self._waiting.append(mine)
        if mine.acquire(timeout=longest_s):
            return True
        try:
            self._waiting.remove(mine)
        except ValueError:  # let go just now
            return True
        return False
