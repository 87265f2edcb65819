"""What recording costs a loop of one's own: µs of a step, alone and through `edge_lstm.record`, and of an action.

    python -m tools.bench.own_loop [--seconds 3] [--json]

Each step has its time, paced at 500 Hz as a loop would be, alone and recorded in turns of a second, so that what else
runs on the machine disturbs both alike. Nothing here judges it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np

import edge_lstm
from tools.bench.network import Network

HZ = 500


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=3, help="of each kind of step")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(units, options.seconds) for units in UNITS]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    return 0


UNITS = (16, 64)


def measure(units: int, seconds: int) -> dict[str, str | float]:
    """µs of the steps of an LSTM of so many units, p50 and p99; "back to back": the mean without a pause."""
    model = Network.random(units).model()
    x = np.random.default_rng(1).normal(size=model.program.input_size).astype(np.float32)
    stream = model.stream()
    with (
        tempfile.TemporaryDirectory() as folder,
        edge_lstm.record(Path(folder) / "loop.mcap", model) as r,
    ):
        kinds: dict[str, Callable[[], object]] = {
            "step alone": lambda: stream.step(x),
            "recorded": lambda: r.step(x),
            "action": lambda: r.action({"left": 0.25, "right": 0.5}),
        }
        times: dict[str, list[int]] = {name: [] for name in kinds}
        for _ in range(seconds):
            for name, work in kinds.items():
                times[name] += _paced(work)
        hot = {name: _hot(kinds[name]) for name in ("step alone", "recorded")}
    row: dict[str, str | float] = {"units": str(units)}
    for name, found in times.items():
        p50, p99 = np.percentile(found, (50, 99)) / 1e3
        row |= {f"{name} p50": float(p50), f"{name} p99": float(p99)}
    return row | {f"{name} back to back": us for name, us in hot.items()}


def _hot(work: Callable[[], object]) -> float:
    """µs of a call, the least of several blocks."""
    return min(timeit.repeat(work, number=1000, repeat=9)) / 1000 * 1e6


def _paced(work: Callable[[], object]) -> list[int]:
    """ns of each call, for a second."""
    found, due_ns = [], time.perf_counter_ns()
    for _ in range(HZ):
        due_ns += 10**9 // HZ
        time.sleep(max(0, due_ns - time.perf_counter_ns()) / 1e9)
        begun_ns = time.perf_counter_ns()
        work()
        found.append(time.perf_counter_ns() - begun_ns)
    return found


if __name__ == "__main__":
    sys.exit(main())
