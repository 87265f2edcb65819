"""Hours of a robot through the real recorder, as fast as it takes them, in a process of their own; then a judgement of
what grew: memory, descriptors, and the time that closing takes.

Its rule: what is judged are slopes per hour of recorded time, after a first part in which caches fill; so an hour shows
what a week would come to. `plant` puts a fault in, to show that it would be seen.

    python -m tests.support.oracles.recorder_soak FILE.mcap SECONDS RATE_HZ [memory | descriptors | closing]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from firmware_bridge.events import Hello, Reading
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk
from tests.support.robots import ROBOT

ROOT = Path(__file__).parents[3]
SAMPLES = 200
LEAK_PER_HOUR = 1_000_000  # bytes, planted
CLOSING_PER_HOUR = 0.3  # s, planted: 7 s a day was the fault that this was made for

KIB_PER_HOUR, KIB = 400.0, 2048.0  # of resident memory: the slope, and in all
CLOSING_S, CLOSING_S_PER_HOUR = 0.2, 1 / 24  # a day is closed within 1.2 s, whatever else this machine does


@dataclass(frozen=True)
class Soak:
    """What was seen. hours: of recorded time, one for each sample; resident: KiB; descriptors: open files."""

    hours: list[float]
    resident: list[int]
    descriptors: list[int]
    closing_s: float
    dropped: int
    failed: str

    def complaints(self) -> list[str]:
        """A sentence for each thing that grows; none where a week would be as the first hour."""
        first = len(self.hours) // 5
        hours, resident = np.array(self.hours[first:]), np.array(self.resident[first:])
        slope = float(np.polyfit(hours, resident, 1)[0])
        grown = float(np.median(resident[-10:]) - np.median(resident[:10]))
        found = []
        if (slope > KIB_PER_HOUR and grown > 0) or grown > KIB:
            found.append(f"memory grows by {slope:.0f} KiB an hour, {grown:.0f} KiB in all")
        if self.descriptors[-1] > self.descriptors[first]:
            found.append(f"{self.descriptors[-1] - self.descriptors[first]} more files are open")
        if self.closing_s > CLOSING_S + CLOSING_S_PER_HOUR * self.hours[-1]:
            found.append(f"closing takes {self.closing_s:.2f} s after {self.hours[-1]:.2f} h")
        if self.dropped or self.failed:
            found.append(f"{self.dropped} items are missing: {self.failed}")
        return found


def soak(path: Path, seconds: float, rate_hz: float, plant: str = "") -> Soak:
    """Record in a process of its own, whose memory nothing else has touched."""
    command = [
        sys.executable,
        "-m",
        "tests.support.oracles.recorder_soak",
        str(path),
        str(seconds),
        str(rate_hz),
        plant,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return Soak(**json.loads(done.stdout))


def main() -> None:
    """The process."""
    path, seconds, rate_hz, plant = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    recorder = Recorder(path, {}, {}, wait=True, queue_items=1000)  # of one length, so that its memory is
    recorder.event(Hello(0, "robot", "1", 7, ROBOT))
    readings, period_ns = int(seconds * rate_hz), round(1e9 / rate_hz)
    every = max(1, readings // SAMPLES)
    found = Soak([], [], [], 0.0, 0, "")
    leaked: list[object] = []
    for number in range(readings):
        t_ns = number * period_ns
        recorder.received(Chunk(t_ns, b"%036d" % number))
        recorder.sent(t_ns, b"%016d" % number)
        recorder.event(Reading(t_ns, "wheels", number & 65535, t_ns // 1000, (number / 7, 0.5, 0.25)))
        recorder.values("/outputs", t_ns, {"slip": number / 3, "_not_real": 0})
        recorder.values("/actions/limits", t_ns, {"left": number / 9, "right": 0.1})
        if number % every == every - 1:
            found.hours.append(t_ns / 3.6e12)
            found.resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4)
            found.descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
            if plant == "memory":
                leaked += [bytes([7]) * 100 for _ in range(int(LEAK_PER_HOUR * every / rate_hz / 3600 / 133))]
            elif plant == "descriptors" and len(found.hours) % 50 == 0:
                leaked.append(path.open("rb"))
    begun = time.monotonic()
    recorder.close()
    if plant == "closing":
        time.sleep(CLOSING_PER_HOUR * found.hours[-1])
    closing_s = time.monotonic() - begun
    print(json.dumps(asdict(found) | {"closing_s": closing_s, "dropped": recorder.dropped, "failed": recorder.failed}))


if __name__ == "__main__":
    main()
