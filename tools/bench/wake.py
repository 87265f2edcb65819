"""How exactly a port wakes a link that polls its robot: a table of intervals, on a pseudo-terminal.

    python -m tools.bench.wake [--seconds S] [--json]

A board answers each poll at once; the link asks again each period, as a dialect does: its next time is the last one's
plus the period. Intervals are those of the polls written. Aim: p99 at most the period + 2 ms. Nothing here judges it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
import tty
from itertools import pairwise

from edge_lstm.robot.loop import steady
from firmware_bridge.ports.serial_port import SerialPort

PERIODS_MS = (1, 2, 5, 10, 20)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each period")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(period, options.seconds) for period in PERIODS_MS]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(f"{value:g}" for value in row.values()) + " |")
    return 0


def measure(period_ms: int, seconds: float) -> dict[str, float]:
    """Intervals in ms between the polls of one run."""
    master, slave = os.openpty()
    tty.setraw(slave)
    board = threading.Thread(target=_answer, args=(master,), daemon=True)
    port = SerialPort(os.ttyname(slave))
    board.start()
    period_ns, sent_ns = period_ms * 1_000_000, list[int]()
    due_ns = end_ns = 0
    with steady():
        for chunk in port.chunks():
            if not due_ns:
                due_ns, end_ns = chunk.t_ns + period_ns, chunk.t_ns + int(seconds * 1e9)
            if chunk.t_ns >= due_ns:
                port.write(b"poll")
                sent_ns.append(time.monotonic_ns())
                due_ns += period_ns * ((chunk.t_ns - due_ns) // period_ns + 1)
            port.wake_at(due_ns)
            if chunk.t_ns > end_ns:
                break
    port.close()
    os.close(slave)
    os.close(master)
    intervals = sorted(b - a for a, b in pairwise(sent_ns))
    at = {name: intervals[min(int(part * len(intervals)), len(intervals) - 1)] / 1e6 for name, part in _PARTS.items()}
    return {"period (ms)": period_ms, "polls": len(sent_ns)} | {key: round(value, 3) for key, value in at.items()}


_PARTS = {"p1": 0.01, "p50": 0.5, "p99": 0.99, "max": 1.0}


def _answer(master: int) -> None:
    try:
        while data := os.read(master, 4096):
            os.write(master, data)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
