"""The power is cut at any moment of a run: what the disk had flushed is there, of what it was given since any sectors
are or are not (tests/support/system/remembering_disk.py), and ext4 comes back by its journal as after a real cut."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.layout import SENT
from edge_lstm.errors import DaemonError
from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.reader import open_recording, open_recordings
from tests.cli.test_live import EDGE_LSTM, simulated, until
from tests.support.robots import small_robot
from tests.support.system.remembering_disk import Cut, log_of, mounted, remembering, why_not

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

DISK_BYTES, CUTS, SECONDS, LOST_NS = 64 << 20, 40, 30.0, 2_000_000_000
CONFIG = small_robot.CONFIG + 'rotate = "3 s"\nkeyframe = "1 s"\nresume = "1 h"\nfloor = "1 MB"\n'


def test_power_cuts(tmp_path: Path, volume: Callable[[float], int]) -> None:
    """Wherever the power is cut, at most the last two seconds are missing, what is left replays to the last bit, and
    the same command records and drives again, from what was remembered where anything was."""
    rng = random.Random(13)
    begun_ns, ended_ns = _run(tmp_path)
    log = log_of(tmp_path)
    made = open_recordings(_kept(tmp_path))
    times = [one.times() for one in made]
    first_ns = min(one[0] for one in times if one is not None)
    print(f"{log.flushes} flushes, {len(made)} files; the first chunk came {(first_ns - begun_ns) / 1e6:.0f} ms later")
    lost, went_on = [], 0
    for number in range(volume(CUTS)):
        cut = log.cut(_moment(number, begun_ns, ended_ns, [one[0] for one in times if one is not None], rng), rng)
        last_ns, said = _after(tmp_path, cut)
        went_on += "goes on" in said
        missing_s = (cut.t_ns - max(last_ns, first_ns)) / 1e9
        lost.append(missing_s)
        assert cut.t_ns - max(last_ns, first_ns) <= LOST_NS, (number, cut.t_ns, cut.kept, cut.unflushed, said)
        assert "goes on" in said or not last_ns, (number, said)
    lost.sort()
    middle = lost[len(lost) // 2]
    print(f"{len(lost)} cuts, {went_on} went on; lost at most {lost[-1]:.2f} s, in the middle {middle:.2f} s")


def _moment(number: int, begun_ns: int, ended_ns: int, files_ns: list[int], rng: random.Random) -> int:
    """A third of them in the first seconds, when the folder and its first file have only just been made, a third where
    the next file is begun, and a third anywhere."""
    if number % 3 == 0:
        return rng.randrange(begun_ns, begun_ns + 4_000_000_000)
    if number % 3 == 1:
        return max(begun_ns, rng.choice(files_ns) + rng.randrange(-200_000_000, 300_000_000))
    return rng.randrange(begun_ns, ended_ns)


def _run(folder: Path) -> tuple[int, int]:
    """A run whose recordings are on a disk that remembers. From when to when it was recording."""
    (folder / "live" / "recordings").mkdir(parents=True)
    small_robot.folder(folder / "live", CONFIG)
    with (
        simulated(folder / "port", "--seed", "3", "--faults", "reset=0.1,silence=0.1"),
        remembering(folder, folder / "live" / "recordings", DISK_BYTES),
    ):
        with _started(folder / "live", folder / "port") as process:
            until(lambda: list((folder / "live" / "recordings").glob("*.mcap")))
            begun_ns = time.time_ns()
            time.sleep(SECONDS)
            ended_ns = time.time_ns()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        _kept(folder).mkdir()
        for path in (folder / "live" / "recordings").glob("*.mcap"):
            (_kept(folder) / path.name).write_bytes(path.read_bytes())
    return begun_ns, ended_ns


def _kept(folder: Path) -> Path:
    """The recordings of the run that nobody cut off."""
    return folder / "whole"


def _started(folder: Path, port: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    command = [*EDGE_LSTM, "run", "robot.toml", "--wait", "--port", str(port), *more]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _answers(place: Path, pid: int) -> int:
    """How many actions the run of this process has sent since it began; 0 where there is none."""
    try:
        with BlockReader(place) as block:
            return int((block.rows(0)[2]["flags"] & SENT).sum()) if block.status().pid == pid else 0
    except DaemonError:
        return 0


def _after(folder: Path, cut: Cut) -> tuple[int, str]:
    """What a cut left: the last time that is recorded (0: none), and what the next run said."""
    place = folder / "cut"
    (place / "recordings").mkdir(parents=True, exist_ok=True)
    small_robot.folder(place, CONFIG)
    (folder / "image").write_bytes(cut.image)
    with mounted(folder / "image", place / "recordings"):
        last_ns = 0
        for path in (place / "recordings").glob("*.mcap"):
            with contextlib.suppress(RecordingError):
                last_ns = max(last_ns, (open_recording(path).times() or (0, 0))[1])
        with (
            simulated(folder / "port", "--seed", "4"),
            _started(place, folder / "port") as process,
        ):
            try:
                until(lambda: _answers(place / "edge-lstm" / "cut", process.pid) > 50)
                process.send_signal(signal.SIGTERM)
                out, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        assert process.returncode == 0, out
        said = re.search(r"the memory (goes on|begins reset).*", out)
        assert said is not None, out
        verify = [*EDGE_LSTM, "replay", str(place / "recordings"), "--verify", "--json"]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["comparison"]["differing_bits"] == 0
    return last_ns, said[0]
