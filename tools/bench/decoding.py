"""What a reading costs the processor: µs from its bytes to the event, for each shape of text, beside packed numbers in
one frame and in several, CAN frames and our own protocol.

    python -m tools.bench.decoding [--json]

Seven numbers a reading, its clock where the shape has one; the robots are those of the simulator, everything in this
process. The least of many rounds, so that other programs count little; nothing here judges it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.link import Link
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.simulator.dialects.own import OwnRobot
from firmware_bridge.simulator.dialects.robot_side import RobotSide, robot_side
from firmware_bridge.values import Chunk

NAMES = ["gx", "gy", "gz", "ax", "ay", "az", "vbat"]
RATE_HZ, ROUNDS, READINGS = 1000, 30, 300
PERIOD_NS = 10**9 // RATE_HZ
_CLOCK = {"fields": ["ms", *NAMES], "time": "ms"}
_STRUCT = {"head": "AA 55", "layout": "<I7f", "checksum": "xor", **_CLOCK}
_PARTS = [
    {"layout": f"<{len(names)}f", "fields": names} for names in (NAMES[at : at + 2] for at in range(0, len(NAMES), 2))
]
TABLES: dict[str, dict[str, Any]] = {
    "lines, csv": {"shape": "csv", **_CLOCK},
    "lines, csv with a checksum": {"shape": "csv", "prefix": "$P,", "checksum": "nmea", **_CLOCK},
    "lines, pairs": {"shape": "pairs", **_CLOCK},
    "lines, json": {"shape": "json", "where": {"T": 1001}, **_CLOCK},
    "lines, teleplot": {"shape": "teleplot", **_CLOCK},
    "struct": _STRUCT,
    "struct, four frames": {
        "frame": [{"head": f"55 5{k}", "checksum": "sum8"} | part for k, part in enumerate(_PARTS)]
    },
    "slcan, four frames": {"frame": [{"id": 0x100 + k} | part for k, part in enumerate(_PARTS)]},
}
LINKS: dict[str, dict[str, Any]] = {"slcan": {"bitrate": 1_000_000}}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure("own", *_own())]
    for name, table in TABLES.items():
        dialect = name.partition(",")[0]
        values = {"dialect": dialect, "reading": {"imu": table}} | LINKS.get(dialect, {})
        made = LinkConfig(values, "bench", Path()).open()
        rows.append(measure(name, made, robot_side(cast(Dialect, made))))
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" * len(rows[0]) + "|")
    for row in rows:
        cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
        print("| " + " | ".join(cells) + " |")
    return 0


def measure(name: str, link: Link, robot: RobotSide) -> dict[str, Any]:
    """One row: bytes and µs a reading, and the share of a core at 1 kHz."""
    t_ns = 0
    for chunk in (Chunk(0, b"bench", "opened"), *(Chunk(0, b"\n" if "lines" in name else b""),) * 10):
        link.receive(chunk)  # our own protocol shakes hands first
        robot.tick(0)
        robot.receive(link.outgoing())
        link.receive(Chunk(0, robot.answers()))
    best, size = math.inf, 0
    for _ in range(ROUNDS):
        chunks = []
        for _ in range(READINGS):
            t_ns += PERIOD_NS
            chunks.append(Chunk(t_ns, robot.reading("imu", t_ns // 1000, _values(t_ns))))
        size = len(chunks[-1].data)
        begin = time.process_time_ns()
        for chunk in chunks:
            link.receive(chunk)
        best = min(best, (time.process_time_ns() - begin) / READINGS)
    seen = link.counters
    if seen.readings != ROUNDS * READINGS:
        raise RuntimeError(f"{name}: {seen.readings} of {ROUNDS * READINGS} readings: {seen.faults}")
    share = f"% of a core at {RATE_HZ} Hz"
    return {"dialect": name, "bytes": size, "µs a reading": best / 1e3, share: best * RATE_HZ / 1e7}


def _own() -> tuple[Link, RobotSide]:
    fields = tuple(Field(name, "f32", "") for name in NAMES)
    return Bridge(), OwnRobot(Dictionary((Format("imu", 1, "reading", fields, RATE_HZ),), "bench", "1"))


def _values(t_ns: int) -> Sequence[float]:
    """Four decimals, never twice the same."""
    t = t_ns / 1e9
    return [round(math.sin(t * (k + 1)), 4) for k in range(len(NAMES))]


if __name__ == "__main__":
    sys.exit(main())
