"""What a recording costs: µs per reading of the loop and of the writer's thread, and bytes per reading on the disk.

    python -m tools.bench.recording [--beside TREE] [--seconds S] [--rate HZ] [--json | --page]

A reading of ten float32 fields, an answer, three outputs, an action of two values, at 1 kHz in its own time: the loop's
side does what `robot/loop.py` does for each chunk, the thread writes meanwhile. Both are CPU times of their threads, so
that other programs count little. `--beside` takes turns with another checkout (such as an earlier version, by `git
worktree add`), each in a process of its own, and says the medians of the rounds and of their ratios. `--page` writes
results/RECORDING.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edge_lstm.robot import loop
from edge_lstm.robot.controller import Decision
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Event, Hello, Reading
from firmware_bridge.formats import Field, Format
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Action, Chunk

ROUNDS, SECONDS, RATE_HZ = 5, 5.0, 1000
PAGE = Path(__file__).parent / "results" / "RECORDING.md"
OUTPUTS = ("torque_limit", "slip", "confidence")
ROBOT = Dictionary(
    (
        Format("imu", 1, "reading", tuple(Field(f"channel_{k}", "f32", "rad/s") for k in range(10)), RATE_HZ),
        Format("motor", 2, "action", tuple(Field(name, "f32", "N m", 1, 0, -9, 9, 0) for name in ("left", "right"))),
    ),
    "bench",
    "1",
)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=int, default=RATE_HZ)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--once", action="store_true", help="one round, as JSON")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure(options.seconds, options.rate)))
        return 0
    load = os.getloadavg()[0]
    trees = {"now": Path(__file__).parents[2]} | ({"beside": options.beside} if options.beside else {})
    rounds = [
        {name: _round(tree, options.seconds, options.rate) for name, tree in trees.items()} for _ in range(ROUNDS)
    ]
    found: dict[str, dict[str, float]] = {}
    for name in trees:
        found[name] = {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]}
    if options.beside:
        ratios = {key: [one["now"][key] / one["beside"][key] for one in rounds] for key in rounds[0]["beside"]}
        found["now / beside"] = {key: statistics.median(values) for key, values in ratios.items()}
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    if options.page:
        PAGE.write_text(_page(found, options.rate, options.seconds, (load, os.getloadavg()[0])))
        return 0
    for name, figures in found.items():
        print(name)
        for key, value in figures.items():
            print(f"    {key:40} {value:8.2f}")
    return 0


def _page(found: dict[str, dict[str, float]], rate_hz: int, seconds: float, load: tuple[float, float]) -> str:
    """The results, for people."""
    from tools.bench.page import machine  # not by the processes that measure

    lines = [
        "# What a recording costs",
        "",
        "Written by `python -m tools.bench.recording --beside TREE --page`. A reading of ten float32 fields, an answer",
        "of 17 bytes, three outputs and an action of two values; *loop*: of the robot's thread, *thread*: of the",
        "writer's, µs of CPU time per reading. *Beside* is the version before form 4, in the same run; what counts are",
        "the ratios, medians over the rounds of each round's.",
        "",
        *(f"- {name}: {value}" for name, value in machine().items() if name in ("date", "system", "CPU", "Python")),
        f"- {rate_hz} Hz, {ROUNDS} rounds of {seconds:g} s; load average before and after: {load[0]:.2f},"
        f" {load[1]:.2f}",
        "",
        f"| | {' | '.join(found)} |",
        f"|---|{'---|' * len(found)}",
    ]
    for key in found["now"]:
        cells = [f"{figures[key]:.2f}" if key in figures else "" for figures in found.values()]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _round(tree: Path, seconds: float, rate_hz: int) -> dict[str, float]:
    """One round of a checkout, by this file's code."""
    run = f"import runpy; runpy.run_path({str(Path(__file__).resolve())!r}, run_name='__main__')"
    command = [sys.executable, "-c", run, "--once", "--seconds", str(seconds), "--rate", str(rate_hz)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(seconds: float, rate_hz: int) -> dict[str, float]:
    """What is measured → its figure."""
    found: dict[str, float] = {}
    for compression in ("lz4", "zstd", "none"):
        options: dict[str, Any] = {} if compression == "lz4" else {"compression": compression}
        try:
            with tempfile.TemporaryDirectory() as folder, loop.steady():  # as a live run
                loop_us, thread_us, size = _drive(Path(folder) / "run.mcap", seconds, rate_hz, **options)
        except TypeError:  # an earlier version, which knows lz4 alone
            continue
        if compression == "lz4":
            found |= {"loop, µs": loop_us, "thread, µs": thread_us, "both, µs": loop_us + thread_us}
        found[f"bytes per reading, {compression}"] = size
    return found


def _drive(path: Path, seconds: float, rate_hz: int, **options: Any) -> tuple[float, float, float]:
    """(µs of the loop, µs of the thread, bytes) per reading."""
    recorder = Recorder(path, **options)
    recorder.event(Hello(0, "bench", "1", 7, ROBOT))
    time.sleep(0.1)
    later = getattr(recorder, "later", None)
    binding: Any = SimpleNamespace(
        feed=SimpleNamespace(joined=()), action=ROBOT["motor"], output_names=OUTPUTS, dictionary=ROBOT
    )
    rng = np.random.default_rng(0)
    count = int(seconds * rate_hz)
    walk = np.cumsum(rng.normal(0, 0.01, (count, 13)), 0).astype(np.float32).tolist()
    thread = time.pthread_getcpuclockid(recorder._thread.ident or 0)
    begun_thread, spent, begun_s = time.clock_gettime(thread), 0.0, time.monotonic()
    for number, row in enumerate(walk):
        due_s = begun_s + number / rate_hz
        if (wait_s := due_s - time.monotonic()) > 0:
            time.sleep(wait_s)
        t_ns = number * (1_000_000_000 // rate_hz) + int(rng.integers(0, 90_000))
        values = tuple(row[:10])
        wire = b"\x01" + ROBOT["imu"].pack(values) + number.to_bytes(8, "little") + b"crc\0"
        answer = b"\x02" + bytes(np.float32(row[:2]).tobytes()) + number.to_bytes(4, "little") + b"crc\0"
        chunk, reading = Chunk(t_ns, wire), Reading(t_ns, "imu", number, t_ns // 1000, values)
        action = Action("motor", (math.tanh(row[0]), math.tanh(row[1])))
        decision = Decision(binding, reading, action, row[10:])
        start = time.thread_time()
        recorder.received(chunk)
        recorder.sent(t_ns, answer)
        done: list[tuple[Event, Decision | None]] = [(reading, decision)]
        if later is not None:
            later(loop._record, done, 0)
        else:
            loop._record(recorder, done, 0)  # type: ignore[arg-type]  # an earlier version
        spent += time.thread_time() - start
    while recorder._queue:
        time.sleep(0.01)
    time.sleep(0.6)
    thread_s = time.clock_gettime(thread) - begun_thread
    recorder.close()
    if recorder.dropped or recorder.failed:
        raise SystemExit(f"not whole: {recorder.dropped} {recorder.failed} {recorder.odd}")
    return spent / count * 1e6, thread_s / count * 1e6, path.stat().st_size / count


if __name__ == "__main__":
    raise SystemExit(main())
