"""The main job for a minute at 1 kHz, measured: a simulated robot behind a pseudo-terminal, `edge-lstm run` with a
recording and a live view in a process of its own, then the recording verified.

    python -m tools.bench.live [--rate HZ] [--seconds S] [--plain] [--keep FILE.mcap] [--json]

What must hold is in `tests/long/test_soak.py`; here nothing is judged.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "edge_lstm"]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="a line per second instead of the view on a terminal")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--keep", type=Path, help="keep the recording here")
    parser.add_argument("--run", default="", help="more options for `edge-lstm run`, as one argument")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        recording = None if options.no_record else options.keep or Path(name) / "live.mcap"
        more = options.run.split()
        figures = measure(Path(name), options.rate, options.seconds, options.seed, options.plain, recording, more)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for key, value in figures.items():
            print(f"{key:36} {value}")
    return 0


def measure(
    folder: Path,
    rate: float,
    seconds: float,
    seed: int = 1,
    plain: bool = False,
    recording: Path | None = None,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Run both processes, watch the host's, and say what it came to. plain: no view on a terminal; more: options of
    `edge-lstm run`. Without a recording there is nothing to verify: `differing bits` is None."""
    link = folder / "robot"
    simulate = [*COMMAND, "simulate", "--link", str(link), "--rate", str(rate), "--seed", str(seed)]
    robot = subprocess.Popen(simulate, stdout=subprocess.DEVNULL)
    try:
        while not link.is_symlink():
            if robot.poll() is not None:
                sys.exit("the simulated robot did not start")
            time.sleep(0.05)
        record = ["--no-record"] if recording is None else ["--record", str(recording)]
        run = [*COMMAND, "run", str(configured(folder)), "--port", str(link), "--json", *record]
        summary, samples = watch([*run, *more, "--seconds", str(seconds)], plain)
    finally:
        robot.terminate()
        robot.wait()
    memory = [kib for _, kib, _ in samples]
    (first_s, _, first_cpu), (last_s, _, last_cpu) = samples[min(2, len(samples) - 1)], samples[-1]
    middle = len(memory) // 2
    return {
        "readings": summary["readings"],
        "steps": summary["steps"],
        "lost": summary["lost"],
        "damaged": summary["damaged"],
        "latency p50, p99, max (ms)": [round(summary[f"latency_{k}_ms"], 4) for k in ("p50", "p99", "max")],
        "CPU share of one core": round((last_cpu - first_cpu) / max(last_s - first_s, 1e-9), 3),
        "memory at a quarter, half, end (KiB)": [memory[middle // 2], memory[middle], memory[-1]],
        "memory growth, second half (KiB)": max(memory[-5:]) - max(memory[max(middle - 3, 0) : middle + 2]),
        "recording (MB)": round(recording.stat().st_size / 1e6, 1) if recording else None,
        "differing bits": differing_bits(recording) if recording else None,
        "notes": summary["notes"],
    }


def configured(folder: Path, name: str = "robot", more: str = "") -> Path:
    """NAME.toml in a folder: the example's, which takes a robot of any rate, with further tables."""
    example = ROOT / "edge_lstm" / "examples"
    shutil.copy(example / "slip_stall.npz", folder)
    text = (example / "robot.toml").read_text().replace("[model]\n", "[model]\nany_rate = true\n")
    path = folder / f"{name}.toml"
    path.write_text(text + more)
    return path


def differing_bits(recording: Path) -> int:
    """How many bits the replay of a recording differs in. Ends where it cannot be replayed, with the reason."""
    replay = [*COMMAND, "replay", str(recording), "--verify", "--json"]
    done = subprocess.run(replay, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    comparison = json.loads(done.stdout)["comparison"]
    return int(comparison["differing_bits"]) if comparison["same"] else max(1, int(comparison["differing_bits"]))


def watch(command: list[str], plain: bool) -> tuple[dict[str, Any], list[tuple[float, int, float]]]:
    """(the JSON summary, samples of (s, resident KiB, CPU s)) of a process; its stderr is a terminal unless plain."""
    ours, theirs = pty.openpty()
    errors = subprocess.DEVNULL if plain else theirs
    terminal = dict(os.environ, TERM="xterm-256color", COLUMNS="120", LINES="40")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=terminal)
    os.close(theirs)
    threading.Thread(target=_swallow, args=(ours,), daemon=True).start()
    begun = time.monotonic()
    samples: list[tuple[float, int, float]] = []
    while process.poll() is None:
        time.sleep(0.5)
        kib, cpu_s = _usage(process.pid)
        if kib:  # 0: it has just ended
            samples.append((time.monotonic() - begun, kib, cpu_s))
    output, _ = process.communicate()
    if not output:
        sys.exit(f"{' '.join(command)} ended with code {process.returncode} and no summary")
    return json.loads(output), samples


def _swallow(terminal: int) -> None:
    """Read what the terminal shows, as a person's terminal would."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        return


def _usage(pid: int) -> tuple[int, float]:
    """(resident KiB, CPU seconds so far) from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024, ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
