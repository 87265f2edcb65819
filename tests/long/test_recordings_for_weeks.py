"""Recordings that rotate, are killed again and again and may take no more than they are given: each file replays alone,
and no kill costs more than the last second."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.reader import open_recordings

KILLS, KEEP = 12, 60_000_000
PROGRAM = textwrap.dedent(
    """
    import resource, sys, time
    from pathlib import Path
    from firmware_bridge.events import Hello, Reading
    from firmware_bridge.recordings.limits import Limits
    from firmware_bridge.recordings.recorder import Recorder
    from firmware_bridge.recordings.shelf import following, named
    from firmware_bridge.values import Chunk
    from tests.support.robots import ROBOT
    first = int(sys.argv[2])
    path = named(Path(sys.argv[1]), "robot")
    while path.exists():
        path = following(path, 1)
    recorder = Recorder(path, {}, {}, keyframe_s=0.5, limits=Limits(rotate_s=1.5, keep_bytes=%d))
    number = first
    recorder.keyframe(number * 1_000_000, number)
    recorder.event(Hello(0, "robot", "1", 7, ROBOT))
    begun = time.monotonic()
    while True:
        t_ns = number * 1_000_000
        recorder.received(Chunk(t_ns, number.to_bytes(8, "little") * 500))
        recorder.event(Reading(t_ns, "wheels", number, t_ns // 1000, (number, 0.5, 0.25)))
        number += 1
        if recorder.keyframe_due(t_ns):
            recorder.keyframe(t_ns, number)
        if recorder.failed or recorder.dropped:
            sys.exit(f"{recorder.failed} {recorder.dropped}")
        if number %% 50 == 0:
            print(time.monotonic_ns(), number, flush=True)
        if (wait_s := begun + (number - first) / 1000 - time.monotonic()) > 0:
            time.sleep(wait_s)
    """
)


@pytest.mark.long
def test_killed_again_and_again(tmp_path: Path) -> None:
    """1 kHz with 4 kB a reading, a new file each 1.5 s, killed at a random moment: what the folder holds begins
    anywhere, but has no hole larger than the last second before a kill; each file begins with its keyframe."""
    rng, number, ends = random.Random(13), 0, []
    root = Path(__file__).parents[2]
    for _ in range(KILLS):
        command = [sys.executable, "-c", PROGRAM % KEEP, str(tmp_path), str(number)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True)
        until_s, said = time.monotonic() + rng.uniform(1.5, 6.0), [0, number]
        assert process.stdout is not None
        for line in process.stdout:
            said = [*map(int, line.split())]
            if time.monotonic() > until_s:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        number = said[1] + 10_000  # the next run begins elsewhere
        ends.append(said[1])
        taken = sum(path.stat().st_size for path in tmp_path.glob("*.mcap"))
        assert taken <= KEEP
    last: dict[int, int] = {}  # by the run's number
    for one in open_recordings(tmp_path):
        items = one.wire()
        head = next(items, None)
        if head is None:  # killed when it had just begun this file
            continue
        assert isinstance(head, Keyframe)
        at = head.state()
        for item in items:
            if isinstance(item, Keyframe):
                assert item.state() == at
            else:
                assert item.data == at.to_bytes(8, "little") * 500
                at += 1
        run = sum(at > end + 5000 for end in ends)
        last[run] = max(last.get(run, 0), at)
    assert len(last) >= 2
    for run, at in last.items():
        assert at >= ends[run] - 1000
