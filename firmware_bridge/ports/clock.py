"""The host's time of what happens: that of the wall clock when it was begun, and steady from then on."""

from __future__ import annotations

import time
from collections.abc import Callable


def steady_clock() -> Callable[[], int]:
    """ns since 1970. Anchored once: a wall clock that is set meanwhile does not move it."""
    anchor_ns, monotonic_ns = time.time_ns() - time.monotonic_ns(), time.monotonic_ns
    return lambda: anchor_ns + monotonic_ns()
