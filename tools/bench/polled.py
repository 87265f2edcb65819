"""Robots that are polled, measured: how regularly each is asked, how long an answer takes to become an action.

    python -m tools.bench.polled [--seconds S] [--rate HZ …] [--withhold N] [--json] [DIALECT …]

Each robot is a process of its own behind a pseudo-terminal (`firmware_bridge/simulator/dialects`); every N-th answer is
withheld. An action follows each reading. What must hold is in `tests/long/test_polled.py`; here nothing is judged.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tty
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from firmware_bridge.events import Gap, Reading
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.simulator.dialects.robot_side import robot_side
from firmware_bridge.values import Action

ROOT = Path(__file__).resolve().parents[2]
RATES = (50.0, 100.0)
_SHORT = 8  # bytes: an answer that only says that an action has come
SERVOS = [1, 2, 3, 4, 5, 6]
_GOALS = {f"goal_position_{id}": {"min": 0, "max": 359} for id in SERVOS}
_SERVO_ACTION = {"register": "goal_position", "safe": "hold", "fields": _GOALS}
_JOINTS = {"registers": ["present_position", "present_velocity"]}
_STICKS = {f"rc_{channel}": {"min": 1000, "max": 2000, "safe": 1500} for channel in range(1, 5)}
TABLES: dict[str, dict[str, Any]] = {
    "msp": {
        "dialect": "msp",
        "reading": {"it": {"message": "RAW_IMU"}},
        "action": {"act": {"message": "SET_RAW_RC", "fields": _STICKS, "watchdog_ms": 300}},
    },
    "feetech": {
        "dialect": "feetech",
        "servos": SERVOS,
        "reading": {"it": _JOINTS},
        "action": {"act": _SERVO_ACTION},
    },
    "dynamixel": {
        "dialect": "dynamixel",
        "servos": SERVOS,
        "reading": {"it": _JOINTS},
        "action": {"act": _SERVO_ACTION},
    },
}


def main() -> int:
    """The command; with --robot, the robot's process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("dialects", nargs="*", metavar="DIALECT", help=", ".join(TABLES))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--withhold", type=int, default=100, help="every so many answers, one; 0: none")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--robot", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.robot:
        return _robot(options.robot, options.withhold)
    rows = [
        measure(name, rate, options.seconds, options.withhold)
        for name in options.dialects or TABLES
        for rate in options.rate or RATES
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print(" | ".join(rows[0]))
        for row in rows:
            print(" | ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    return 0


def measure(dialect: str, rate_hz: float, seconds: float, withhold: int) -> dict[str, Any]:
    """One robot at one rate. Times in ms; `processor` in % of one core."""
    table = json.loads(json.dumps(TABLES[dialect]))
    table["reading"]["it"]["rate_hz"] = rate_hz
    link = cast(Dialect, LinkConfig(table, "robot.toml", ROOT).open())
    command = [sys.executable, "-m", "tools.bench.polled", "--robot", dialect, "--withhold", str(withhold)]
    robot = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert robot.stdout is not None
    path = robot.stdout.readline().strip()
    port = SerialPort(path, 1_000_000)
    asked_ns: list[int] = []
    gaps: list[int] = []
    took_ns: list[int] = []
    readings, asked, end_ns = 0, 0, 0
    action = Action("act", tuple(cast(float, field.safe) for field in link.actions["act"].form.fields))
    used = time.process_time()
    for chunk in port.chunks():
        end_ns = end_ns or chunk.t_ns + int(seconds * 1e9)
        if chunk.t_ns >= end_ns:
            break
        events = link.receive(chunk)
        gaps += [event.count for event in events if isinstance(event, Gap)]
        if any(isinstance(event, Reading) for event in events):
            readings += 1
            begun = time.perf_counter_ns()
            port.write(link.send(chunk.t_ns, action))
            took_ns.append(time.perf_counter_ns() - begun)
        port.write(link.outgoing())
        if (now := link.report()["asked"]) > asked:
            asked = now
            asked_ns.append(chunk.t_ns)
        if (due_ns := link.due_ns) is not None:
            port.wake_at(due_ns)
    used = time.process_time() - used
    port.write_last(link.stop(end_ns), link.cut)
    port.close()
    answers, _ = robot.communicate()
    intervals = sorted(b - a for a, b in pairwise(asked_ns))
    return {
        "dialect": dialect,
        "rate_hz": rate_hz,
        "readings": readings,
        "gaps": len(gaps),
        "lost": sum(gaps),
        "withheld": int(answers or 0),
        "late": link.counters.faults.get("late", 0),
        "not_asked": (not_asked := link.report()["not_asked"]),
        "open": asked + not_asked - readings - sum(gaps),  # asked when time was up, and neither come nor given up
        "interval_p50": _percentile(intervals, 50),
        "interval_p99": _percentile(intervals, 99),
        "interval_max": _percentile(intervals, 100),
        "arrival_to_action_p50": port.stats.latency.percentile_ns(50) / 1e6,
        "arrival_to_action_p99": port.stats.latency.percentile_ns(99) / 1e6,
        "processor": 100 * used / seconds,
    }


def _percentile(ordered_ns: Sequence[int], percent: float) -> float:
    """In ms."""
    return ordered_ns[min(len(ordered_ns) - 1, int(len(ordered_ns) * percent / 100))] / 1e6 if ordered_ns else 0.0


def _robot(dialect: str, withhold: int) -> int:
    """Answers until the terminal's other end is closed, then says how many answers it withheld."""
    table = json.loads(json.dumps(TABLES[dialect]))
    table["reading"]["it"]["rate_hz"] = 1
    robot = robot_side(cast(Dialect, LinkConfig(table, "robot.toml", ROOT).open()))
    fields = robot.readings["it"].form.fields
    robot.reading("it", 0, [float(k) for k in range(len(fields))])
    master, slave = os.openpty()
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    number = withheld = 0
    opened = False
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        if not opened:
            os.close(slave)  # from now on the end of the other side is seen
            opened = True
        robot.receive(data)
        answer = robot.answers()
        number += len(answer) > _SHORT
        if withhold and len(answer) > _SHORT and number % withhold == 0:
            withheld += 1
        else:
            os.write(master, answer)
    print(withheld)
    return 0


if __name__ == "__main__":
    sys.exit(main())
