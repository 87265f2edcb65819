"""Weeks in an hour: a robot that is unplugged, whose board starts again, and a run that is killed and started again as
systemd would, while its recordings rotate and may take no more than they are given.

Its rule: what was sent is what the robot's own books say, in a process of its own; and every file that ever was is
looked at, also those that the run has deleted meanwhile (a second name in another folder keeps them).

--volume 1 is the hour: at 1 kHz, a day's readings at 42 Hz. Times are not judged, so others may use the machine.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.recordings.reader import open_recordings
from tests.cli.test_live import EDGE_LSTM, until
from tests.support.robots import small_robot
from tests.support.robots.planned_robot import BOOK, KINDS

pytestmark = pytest.mark.long

RATE_HZ, HOUR_S, LEAST_S = 1000, 3600, 100
ROTATE_S, KILLS, HAPPENS = 60, 20, 10  # in an hour; and so many unplugs, so many resets
KEEP, RESUME_S, RESTART_S, LATE_S = 50_000_000, 20.0, 1.0, 22.0  # late: later than what is remembered may be
OLD, OLD_BYTES = 9, 5_400_000  # recordings of another robot that stand there already
UNDER_WAY_NS = 1_000_000_000  # what nobody had read when the device went; a busy machine may be that late
GROWN_KIB = 4096  # of a life without an end
CALM = 0.4  # the share of the time, the last, in which nobody kills
SAID = re.compile(r"the memory (goes on from (?P<name>\S+), (?P<age>[\d.]+) s after its end|begins reset: (?P<why>.+))")


@dataclass
class Life:
    """One process of the run. samples: (s, resident KiB, descriptors)."""

    number: int
    begun_ns: int
    ended_ns: int = 0
    how: str = ""  # kill, stop
    said: str = ""
    samples: list[tuple[float, int, int]] = field(default_factory=list)


@dataclass
class Weeks:
    """What happened, and what is left of it."""

    lives: list[Life] = field(default_factory=list)
    most_bytes: int = 0
    files: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Plan:
    """How long, and what is to happen. lives: (how long a life is, how it ends, s until the next)."""

    seconds: float
    rotate_s: float
    robot: list[tuple[str, float, float]]
    lives: list[tuple[float, str, float]]

    @classmethod
    def of(cls, seconds: float) -> Plan:
        """As much as in an hour, where the time is long enough for it."""
        rng = random.Random(13)
        kills, happens = min(KILLS, max(4, round(seconds / 24))), min(HAPPENS, max(2, round(seconds / 40)))
        slot = seconds / (2 * happens)
        robot = [
            (("unplug", "reset")[k % 2], k * slot + rng.uniform(0.2, 0.9) * slot, rng.uniform(0.3, 1.5))
            for k in range(2 * happens)
        ]
        slot = seconds * (1 - CALM) / (kills + 1)
        lives = []
        for number in range(kills + 1):
            how = "stop" if number == kills // 2 else "kill"
            pause_s = LATE_S if number % 5 == 3 else RESTART_S
            lives.append((max(5.0, slot - pause_s) * rng.uniform(0.6, 1.0), how, pause_s))
        lives[1] = (1.5, "kill", RESTART_S)  # while it is still starting
        rotate_s = ROTATE_S if seconds >= HOUR_S / 3 else max(5.0, ROTATE_S * seconds / HOUR_S)
        return cls(seconds, rotate_s, robot, lives)


def test_weeks(tmp_path: Path, volume: Callable[[float], int]) -> None:
    """Each file replays alone to the last bit, and all of them in order; of what the robot sent while somebody listened
    at most the last second before each kill is missing; the memory goes on after each kill and begins reset where it
    is too old or the run was ended, and says which; the folder is never over its limit, what is marked stays, and
    neither memory nor descriptors grow."""
    plan = Plan.of(max(LEAST_S, volume(HOUR_S)))
    marked = _prepare(tmp_path, plan)
    weeks = _live(tmp_path, plan)
    assert weeks.most_bytes <= KEEP
    assert marked.exists()
    assert len(list((tmp_path / "recordings").glob("cart-*.mcap"))) < OLD, "the limit was never reached"
    _judge_memory(tmp_path, weeks, plan)
    _judge_growth(weeks)
    _judge_files(tmp_path)
    _judge_losses(tmp_path, weeks)


def _prepare(folder: Path, plan: Plan) -> Path:
    """robot.toml, and recordings of another robot that nearly fill what may be kept; returns one that is marked."""
    table = f'keep = "{KEEP // 1_000_000} MB"\nrotate = "{plan.rotate_s:g} s"\nresume = "{RESUME_S:g} s"\n'
    small_robot.folder(folder, small_robot.CONFIG + table + '[port]\ndevice = "port"\n')
    (folder / "recordings").mkdir()
    (folder / "all").mkdir()
    for number in range(OLD):
        path = folder / "recordings" / f"cart-20200101T00000{number}Z.mcap"
        path.write_bytes(bytes(OLD_BYTES))
        os.utime(path, (1.6e9 + number,) * 2)
    marked = folder / "recordings" / "cart-20200101T000000Z.mcap"
    marked.with_suffix(".mark").write_text("{}\n")
    marked.write_bytes(b"kept")
    return marked


def _live(folder: Path, plan: Plan) -> Weeks:
    weeks, root = Weeks(), Path(__file__).parents[2]
    words = [str(folder / "port"), str(folder / "books"), str(RATE_HZ), json.dumps(plan.robot)]
    robot = subprocess.Popen([sys.executable, "-m", "tests.support.robots.planned_robot", *words], cwd=root)
    try:
        until((folder / "port").is_symlink)
        end_s = time.monotonic() + plan.seconds
        for life_s, how, pause_s in plan.lives:
            _one_life(folder, weeks, time.monotonic() + life_s, how)
            _look_until(folder, weeks, time.monotonic() + pause_s)
        _one_life(folder, weeks, max(end_s, time.monotonic() + 20), "stop")
    finally:
        robot.terminate()
        assert robot.wait(20) == 0
    return weeks


def _one_life(folder: Path, weeks: Weeks, end_s: float, how: str) -> None:
    life = Life(len(weeks.lives), time.time_ns(), how=how)
    weeks.lives.append(life)
    with _started(folder, life) as process:
        _look_until(folder, weeks, end_s, process)
        assert process.poll() is None, f"it ended by itself: {_log(folder, life)}"
        life.ended_ns = time.time_ns()
        process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
        assert process.wait(60) == (-signal.SIGKILL if how == "kill" else 0), _log(folder, life)
    _look(folder, weeks)
    found = SAID.search(_log(folder, life))
    life.said = found[0] if found else ""


@contextmanager
def _started(folder: Path, life: Life) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [*EDGE_LSTM, "run", "robot.toml", "--wait"]
    with (folder / f"life-{life.number}.txt").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _log(folder: Path, life: Life) -> str:
    return (folder / f"life-{life.number}.txt").read_text(errors="replace")[-100_000:]


def _look_until(folder: Path, weeks: Weeks, end_s: float, process: subprocess.Popen[bytes] | None = None) -> None:
    """Look at the folder five times a second, and at the process once."""
    sampled_s = 0.0
    while (now_s := time.monotonic()) < end_s and (process is None or process.poll() is None):
        _look(folder, weeks)
        if process is not None and now_s - sampled_s >= 1:
            sampled_s = now_s
            with suppress(OSError, LookupError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                kib = int(status.partition("RssAnon:")[2].split()[0])
                weeks.lives[-1].samples.append((now_s, kib, len([*Path(f"/proc/{process.pid}/fd").iterdir()])))
        time.sleep(0.2)


def _look(folder: Path, weeks: Weeks) -> None:
    """A second name for each new file, and what all of them take."""
    taken = 0
    for path in (folder / "recordings").glob("*.mcap"):
        with suppress(FileNotFoundError):
            taken += path.stat().st_size
            if path.name not in weeks.files and not path.name.startswith("cart-"):
                os.link(path, folder / "all" / path.name)
                weeks.files.add(path.name)
    weeks.most_bytes = max(weeks.most_bytes, taken)


def _judge_memory(folder: Path, weeks: Weeks, plan: Plan) -> None:
    """What each life said of what it remembers, beside what the files say."""
    names, silent = {path.name: path for path in (folder / "all").iterdir()}, 0
    for before, life in zip([None, *weeks.lives], weeks.lives, strict=False):
        print(f"life {life.number:2} {(life.ended_ns - life.begun_ns) / 1e9:7.1f} s, {life.how}: {life.said}")
        said = SAID.fullmatch(life.said)
        if said is None:  # killed before it had come so far, which a busy machine does in some seconds
            assert life.ended_ns - life.begun_ns < 15e9, _log(folder, life)
            silent += 1
            continue
        if before is None:
            assert "there is no recording" in life.said
        elif before.how == "stop":
            assert "ended by itself" in life.said
        elif (late := re.search(r"ends ([\d.]+) s ago, and \[recording\] resume says 20 s", life.said)) is not None:
            assert float(late[1]) > RESUME_S
            assert plan.lives[before.number][2] == LATE_S or not before.said
        else:
            assert said["name"] in names, life.said
            assert float(said["age"]) <= RESUME_S
            assert life.begun_ns - before.ended_ns < RESUME_S * 1e9
    went_on = sum("goes on" in life.said for life in weeks.lives)
    killed = sum(how == "kill" and pause_s == RESTART_S for _, how, pause_s in plan.lives)
    print(
        f"of {len(weeks.lives)} lives {went_on} went on; {killed} were started again within {RESTART_S:g} s of a kill"
    )
    assert went_on >= killed - max(1, silent)  # one is killed while it starts


def _judge_growth(weeks: Weeks) -> None:
    """The last life is the long one: its second quarter beside its last."""
    samples = weeks.lives[-1].samples
    quarters = [[np.median([one[k] for one in part]) for k in (1, 2)] for part in _quarters(samples)]
    print("resident KiB, descriptors, of each quarter of the last life:", *(f"{a:.0f}, {b:.0f};" for a, b in quarters))
    assert quarters[3][0] - quarters[1][0] < GROWN_KIB
    assert quarters[3][1] == quarters[1][1]


def _quarters(samples: list[Any]) -> list[list[Any]]:
    size = max(1, len(samples) // 4)
    return [samples[k * size : (k + 1) * size] for k in range(4)]


def _judge_files(folder: Path) -> None:
    """Each alone, and all in order; one that was killed before anything was answered has nothing to compare."""
    paths, empty = sorted((folder / "all").iterdir()), 0
    for path in paths:
        comparison, notes, code = _verified(path)
        assert not comparison or comparison["differing_bits"] == 0, (path, comparison)
        if code:
            assert not comparison or not comparison["writes"], (path, notes, comparison)
            empty += 1
    whole, notes, code = _verified(folder / "all")
    bits = whole["differing_bits"]
    print(f"{len(paths)} files, {empty} of them without an answer; {whole['writes']} writes, {bits} bits differ")
    assert (code, whole["differing_bits"], whole["same"]) == (0, 0, True), (notes, whole)
    assert not [note for note in notes if "does not go on where" in note]
    assert empty <= 3


def _verified(path: Path) -> tuple[dict[str, Any], list[str], int]:
    """(comparison, notes, code) of `replay --verify`."""
    done = subprocess.run([*EDGE_LSTM, "replay", str(path), "--verify", "--json"], capture_output=True, text=True)
    if not done.stdout:
        return {}, [done.stderr], done.returncode
    tree = json.loads(done.stdout)
    notes = [note for one in tree.get("files", [tree]) for note in one["notes"]]
    return dict(tree["comparison"]), notes, done.returncode


def _judge_losses(folder: Path, weeks: Weeks) -> None:
    """The robot's books beside the recordings'."""
    books = np.fromfile(folder / "books", BOOK)
    is_reading = books["kind"] == KINDS.index("reading")
    refused = np.zeros(len(books), bool)
    refused[:-1] = books["kind"][1:] == KINDS.index("no room")
    sent = books[is_reading & ~refused]
    held = _held(folder / "all")
    arrived = {(boot, t_us): t_ns for boot, t_us, t_ns in held}
    assert len(arrived) == len(held), "a reading is in two files"
    keys = list(zip(sent["boot"].tolist(), sent["t_device_us"].tolist(), strict=True))
    assert not arrived.keys() - set(keys), "a reading that nobody sent"
    lost = np.array([key not in arrived for key in keys])
    times = np.array(sorted(arrived.values()))

    def next_ns(t_ns: int) -> int:
        """When the first reading after it arrived."""
        at = int(np.searchsorted(times, t_ns, side="right"))
        return int(times[at]) if at < len(times) else 1 << 62

    # Nobody was there: before the first, from each end of a life to the next reading, and while the link was made anew.
    away = [(0, int(times[0]))]
    before_kills = []
    for life, after in zip(weeks.lives, [*weeks.lives[1:], None], strict=True):
        # Told to stop, it may still have taken what was there.
        away.append((life.ended_ns, 1 << 62 if after is None else next_ns(after.begun_ns)))
        if life.how == "kill":
            before_kills.append((life.ended_ns - 1_000_000_000, life.ended_ns))
    for kind in ("unplug", "plug", "reset"):
        for t_ns in books["t_ns"][books["kind"] == KINDS.index(kind)].tolist():
            away.append((t_ns - UNDER_WAY_NS, next_ns(t_ns + 450_000_000)))  # the board's start takes 0.4 s
    in_last_second, excused = _within(sent["t_ns"], before_kills), _within(sent["t_ns"], away)
    unexplained = lost & ~in_last_second & ~excused
    of_kills = lost & in_last_second & ~excused
    each = [int((of_kills & _within(sent["t_ns"], [one])).sum()) for one in before_kills]
    full = books["t_ns"][refused]
    full = full[~_within(full, away)]
    print(f"{len(sent)} readings sent; {int(refused.sum())} more found no room, {len(full)} while somebody listened")
    print(f"{len(arrived)} readings recorded; the most that the folder took: {weeks.most_bytes} bytes")
    print(f"lost before the kills: {sorted(each)}; while nobody was there {int((lost & excused).sum())}")
    print(f"unexplained: {int(unexplained.sum())}, at {sent['t_ns'][unexplained][:20].tolist()}")
    assert not unexplained.any()
    apart = [(b - a) / 1e9 for a, b in away[1:] if b < 1 << 62]
    print(f"from an end to the next reading, s: median {np.median(apart):.2f}, longest {max(apart):.2f}")
    assert max(apart) < LATE_S + 30


def _within(times: np.ndarray, spans: list[tuple[int, int]]) -> np.ndarray:
    found = np.zeros(len(times), bool)
    for begin, end in spans:
        found |= (times >= begin) & (times <= end)
    return found


def _held(folder: Path) -> list[tuple[int, int, int]]:
    """(boot, t_device_us, t_ns) of each reading in a folder."""
    found = []
    for recording in open_recordings(folder):
        boot = 0
        for topic, t_ns, tree in recording.trees({"/link", "/readings/imu_wheels"}):
            if topic == "/link":
                boot = tree["boot_id"] if tree["event"] in ("hello", "reset") else boot
            else:
                found.append((boot, tree["_t_device_us"], t_ns))
    return found
