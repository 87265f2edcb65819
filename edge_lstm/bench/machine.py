"""The machine that a model is measured on: what it is, and how far it disturbed the measurement.

Its rule: what the system does not report counts as nothing; a disturbance is reported in a sentence and
subtracted from no figure.
"""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from edge_lstm.engines.native.cpu import default_lanes

Values = dict[str, Any]


def machine() -> Values:
    """What this is measured on."""
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)", cpu.read_text() if cpu.exists() else "", re.M)
    board = Path("/proc/device-tree/model")
    named = names[0] if names else board.read_text().strip("\0") if board.exists() else platform.machine()
    return {
        "cpu": named,
        "cores": os.cpu_count(),
        "lanes": default_lanes(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


class Disturbance:
    """What the system says it took from this process since this was made."""

    def __init__(self) -> None:
        self._then = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float, float]:
        """ns on the clock, ns waited for a core, ticks taken by other guests of the host, ticks in all."""
        waited, stolen, ticks = 0.0, 0.0, 1.0
        try:
            waited = float(Path("/proc/thread-self/schedstat").read_text().split()[1])
            fields = [float(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
            stolen, ticks = fields[7], sum(fields)
        except (OSError, ValueError, IndexError):  # not Linux, or it does not report it
            pass
        return float(time.perf_counter_ns()), waited, stolen, ticks

    def shares(self) -> tuple[float, float]:
        """Of the time: waited for a core that other processes had; taken by other guests."""
        ns, waited, stolen, ticks = (now - then for now, then in zip(self._now(), self._then, strict=True))
        return waited / ns, stolen / max(ticks, 1.0)


def noise(disturbance: Disturbance, step: Values, empty: Values) -> Values:
    """How far the machine, and not the model, decided the times; `why`: a sentence for each sign, none where it is
    quiet."""
    waited, stolen = disturbance.shares()
    why = []
    if waited > 0.01:
        why.append(f"other processes kept it from a core for {waited:.0%} of the time")
    if stolen > 0.01:
        why.append(f"other guests of this host took {stolen:.0%} of the time")
    if step["spread"] > 1.15:
        why.append(f"the median step changed by {step['spread'] - 1:.0%} while it was measured")
    if empty["max"] > max(100.0, 20 * step["p50"]):
        why.append(f"a loop without any step was held up for {empty['max']:,.0f} µs as well")
    return {"waited": waited, "stolen": stolen, "spread": step["spread"], "why": why}
