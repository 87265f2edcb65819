"""A stock robot and `edge-lstm run`, each a process of its own, for a while; then what the robot knows beside what the
host has recorded.

Its rule: what was delivered, and what the host noticed, is what its own recording says.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware_bridge.recordings.contents import EVENTS, READINGS
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.simulator.played import Values
from tests.support.robots import stock

EDGE_LSTM = [sys.executable, "-m", "edge_lstm"]
ROBOT = [sys.executable, "-m", "tests.support.robots.stock.robot"]
LONGEST_S = 60.0  # until something has happened; only there so that a broken program does not hang the tests


@dataclass
class Truth:
    """What the robot has sent and obeyed."""

    readings: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)  # actions obeyed and safe outputs, in order
    damages: list[str] = field(default_factory=list)


def truth_of(path: Path) -> Truth:
    """Of a truth in JSON lines; a line that is not yet whole is left out."""
    found = Truth()
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            event = json.loads(line)
            if "reading" in event:
                found.readings.append(event)
            elif "damage" in event:
                found.damages.append(event["damage"])
            else:
                found.commands.append(event)
    return found


@contextlib.contextmanager
def robot(folder: Path, kind: str, rate_hz: float, damaged: float = 0.0) -> Iterator[Path]:
    """A robot behind folder/port for the time of the block; the path of its truth, which is whole after it."""
    truth, link = folder / "truth.jsonl", folder / "port"
    command = [*ROBOT, kind, "--link", str(link), "--truth", str(truth), "--rate", str(rate_hz)]
    with subprocess.Popen([*command, "--damaged", str(damaged)]) as process:
        try:
            until(link.is_symlink, process)
            yield truth
        finally:
            process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def host(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`edge-lstm run` with a recording for the time of the block; killed with it."""
    recording = folder / "run.mcap"
    command = [*EDGE_LSTM, "run", str(folder / "robot.toml"), "--port", str(folder / "port"), "--json"]
    command += ["--record", str(recording), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Any, process: subprocess.Popen[Any] | None = None) -> None:
    """Wait for a condition, or for the end of a process, which is a failure."""
    end = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < end, "it never came"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.02)


def grown(path: Path, size: int = 4_000) -> bool:
    """Whether a recording has something in it."""
    return path.exists() and path.stat().st_size > size


@dataclass
class Outcome:
    """One run, seen from both sides."""

    kind: str
    summary: dict[str, Any]
    truth: Truth
    delivered: list[Values]  # the readings that the host got, as its recording has them
    events: list[dict[str, Any]]  # what else its link noticed
    replayed: dict[str, Any]  # `replay --verify`
    last_words: str  # the last that was written to the robot, as its link explains it

    @property
    def known_lost(self) -> int:
        """How many readings the host says are missing."""
        return sum(event["count"] for event in self.events if event["event"] == "gap")

    @property
    def wrong(self) -> list[Values]:
        """Delivered, and never sent."""
        sent = self._sent()
        return [values for values in self.delivered if stock.key(self.kind, values) not in sent]

    @property
    def missing(self) -> int:
        """Sent between the first and the last one delivered, and not delivered."""
        places = self._sent()
        found = {places[key] for values in self.delivered if (key := stock.key(self.kind, values)) in places}
        return max(found) - min(found) + 1 - len(found) if found else 0

    def _sent(self) -> dict[tuple[int, ...], int]:
        return {stock.key(self.kind, reading["values"]): k for k, reading in enumerate(self.truth.readings)}


def run(folder: Path, kind: str, rate_hz: float, seconds: float, damaged: float = 0.0) -> Outcome:
    """Both for so long, then Ctrl-C for the host and a moment later for the robot."""
    stock.folder(folder, kind, rate_hz)
    with robot(folder, kind, rate_hz, damaged) as truth:
        with host(folder) as process:
            until(lambda: grown(folder / "run.mcap") or process.poll() is not None)
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, err
        time.sleep(0.2)
    *_, (_, last) = open_recording(folder / "run.mcap").sent()
    said = stock.dialect(kind, rate_hz).explain(last)
    seen = delivered(folder, kind), noticed(folder)
    return Outcome(kind, json.loads(out), truth_of(truth), *seen, replay(folder), said)


def delivered(folder: Path, kind: str) -> list[Values]:
    """The readings in the recording, in order."""
    (form,) = (item.form for item in stock.dialect(kind, 1.0).readings.values())
    rows = open_recording(folder / "run.mcap").values(READINGS + form.name)
    return [tuple(row[field.name] for field in form.fields) for _, row in rows]


def noticed(folder: Path) -> list[dict[str, Any]]:
    """The other events in it."""
    return [event for _, event in open_recording(folder / "run.mcap").values(EVENTS)]


def replay(folder: Path) -> dict[str, Any]:
    """`edge-lstm replay --verify` of the run."""
    command = [*EDGE_LSTM, "replay", str(folder / "run.mcap"), "--verify", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
