"""What disturbs a reading, and what helps: writes tools/bench/results/JITTER.md.

    python -m tools.bench.jitter [--seconds S] [--output FILE.md]

The paced part of `edge-lstm bench` (a step of the robot's model each millisecond, from when it was due to when its
output was there) and the live loop (`live.py`), alone and beside two busy processes for each core, with and without
the options of [realtime]; first steps, denormals, collections of garbage. Needs the right to a priority: root has it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "edge_lstm/examples/slip_stall.npz"
OPTIONS: dict[str, dict[str, Any]] = {
    "as any process": {},
    "priority": {"priority": 50},
    "priority, locked memory": {"priority": 50, "lock_memory": True},
    "priority, locked memory, one core": {"priority": 50, "lock_memory": True, "cpu": 1},
}
INTRODUCTION = """
# What disturbs a reading, and what helps

Written by `python -m tools.bench.jitter`. µs on this machine in this hour; what counts is the difference between
rows. *Busy*: beside two processes for each core that do nothing but compute; *alone*: beside whatever else the machine
did, see the load.
""".strip()
PACED = """
import json, sys
import edge_lstm
from edge_lstm.bench.measure import paced, readings
from edge_lstm.robot.realtime import Realtime, applied, warm_up
from edge_lstm.robot.loop import steady
model = edge_lstm.load(sys.argv[1])
stream, rows = model.stream(), list(readings(model, 1000))
warm_up(model)
with steady(), applied(Realtime(required=True, **json.loads(sys.argv[3]))):
    print(json.dumps(paced(stream.step, rows, 1000.0, float(sys.argv[2]))))
"""
INSIDE = """
import gc, json, sys, time
import numpy
import edge_lstm
from edge_lstm.bench.timing import block
from edge_lstm.robot.realtime import warm_up
model = edge_lstm.load(sys.argv[1])
stream, size = model.stream(), model.program.input_size
if sys.argv[2] == "warm":
    warm_up(model)
def us(value, count):
    return float(numpy.median(block(stream.step, [numpy.full(size, value, numpy.float32)] * count))) / 1e3
found = {"first": us(0.0, 1), "later": us(0.0, 1000), "usual": us(0.5, 20000), "denormal": us(1e-40, 20000)}
import edge_lstm.cli.run, edge_lstm.cli.live, edge_lstm.robot.controller, rich.live, rich.table, mcap.writer, serial
def collect():
    return float(numpy.median(block(lambda nothing: gc.collect(), [None] * 20))) / 1e3
found["whole"] = collect()
gc.freeze()
found["frozen"] = collect()
print(json.dumps(found))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each row")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results") / "JITTER.md")
    options = parser.parse_args()
    from edge_lstm.bench.machine import machine

    described = machine()
    parts = [
        INTRODUCTION,
        f"- {datetime.date.today()}; {described['cpu']}, {described['cores']} cores; {described['system']}\n"
        f"- load average before: {os.getloadavg()[0]:.2f}",
        "## A step each millisecond: from when it was due to when its output was there",
        *table(["", "p50", "p99", "p99.9", "max", "late"], list(paced(options.seconds))),
        "p50 is mostly what it takes to wake a sleeping process. Late: the next reading was due already.",
        "## The live loop at 1 kHz: from bytes received to the action written",
        *table(["", "p50", "p99", "max", "lost"], list(live(options.seconds))),
        "With recording and display, which share the interpreter's lock with the loop. The loop sleeps between\n"
        "readings; a real-time process that did not would be stopped for 50 ms of each second (`sched_rt_runtime_us`).",
        "## Inside the process",
        *inside(),
    ]
    options.output.write_text("\n\n".join(parts) + "\n")
    print(options.output.read_text())
    return 0


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """One Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return ["\n".join(lines)]


@contextmanager
def busy(really: bool) -> Iterator[None]:
    """Two processes for each core that compute."""
    count = 2 * (os.cpu_count() or 1) if really else 0
    loads = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


def told(command: list[str]) -> dict[str, Any]:
    """The JSON that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if not done.stdout:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every option, alone and then beside the load."""
    for load in (False, True):
        for name, wanted in OPTIONS.items():
            label = f"{'busy' if load else 'alone'}, {name}"
            print(label, "...", file=sys.stderr, flush=True)
            with busy(load):
                yield label, wanted


def paced(seconds: float) -> Iterator[list[str]]:
    """A step each millisecond."""
    for label, wanted in rows():
        found = told([sys.executable, "-c", PACED, str(MODEL), str(seconds), json.dumps(wanted)])
        cells = [f"{found[key]:,.0f}" for key in ("p50", "p99", "p99.9", "max")]
        yield [label, *cells, f"{found['late']:,} of {found['calls']:,}"]


def live(seconds: float) -> Iterator[list[str]]:
    """The live loop, which must not lose a reading either."""
    for label, wanted in rows():
        flags = [f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}") for key, value in wanted.items()]
        command = [sys.executable, "-m", "tools.bench.live", "--seconds", str(seconds), "--json"]
        found = told([*command, f"--run={' '.join(flags)}"])
        yield [label, *(f"{1e3 * ms:,.0f}" for ms in found["latency p50, p99, max (ms)"]), str(found["lost"])]


def inside() -> list[str]:
    """First steps, denormals, collections of garbage."""
    cold, warm = ([told([sys.executable, "-c", INSIDE, str(MODEL), how]) for _ in range(5)] for how in ("cold", "warm"))

    def median(runs: list[dict[str, Any]], key: str) -> str:
        value = statistics.median(run[key] for run in runs)
        return f"{value:.3g}" if value < 100 else f"{value:,.0f}"

    return table(
        ["", "µs"],
        [
            ["first step of a process", median(cold, "first")],
            [
                "first step after the warm-up, which `edge-lstm run` does before it opens the port",
                median(warm, "first"),
            ],
            ["a later step", median(warm, "later")],
            ["a step, readings of 0.5", median(warm, "usual")],
            ["a step, readings of 1e-40 (denormal)", median(warm, "denormal")],
            ["one collection of garbage, everything imported", median(warm, "whole")],
            [
                "the same after `gc.freeze()`, as in the live loop (between readings)",
                median(warm, "frozen"),
            ],
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
