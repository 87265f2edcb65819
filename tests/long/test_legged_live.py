"""A legged policy entirely from robot.toml at 200 Hz, live: a robot behind a real pseudo-terminal with a firmware of
its own and two readings, the real `edge-lstm run`, Ctrl-C, and what both sides know."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.robots.legged import Twin, folder, outputs
from tests.support.robots.stock.runs import grown, host, replay, truth_of, until
from tools.bench.legged import POSE, policy

pytestmark = pytest.mark.long
SECONDS = 5
ROBOT = [sys.executable, "-m", "tests.support.robots.legged"]


def test_live_it_is_the_policy_by_hand_and_ctrl_c_leaves_it_standing(
    tmp_path: Path, volume: Callable[[float], int]
) -> None:
    """5 s: no reading lost, every target within 1e-5 of NumPy's from the recorded readings, the robot obeyed those
    targets and stands at the end, and the recording replays to the same bits."""
    folder(tmp_path)
    link, told = tmp_path / "port", tmp_path / "truth.jsonl"
    with subprocess.Popen([*ROBOT, "--link", str(link), "--truth", str(told)]) as robot:
        try:
            until(link.is_symlink, robot)
            with host(tmp_path) as process:
                until(lambda: grown(tmp_path / "run.mcap", 100_000) or process.poll() is not None)
                time.sleep(max(2, volume(SECONDS)))
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            time.sleep(0.2)
        finally:
            robot.send_signal(signal.SIGINT)
    summary, model = json.loads(out), policy()
    assert summary["lost"] == 0
    assert summary["damaged"] == {}
    assert summary["steps"] > 0
    twin = Twin(tmp_path / "run.mcap", model)
    assert 0 < twin.without < len(twin.targets)
    made = outputs(tmp_path / "run.mcap")
    assert made.shape == twin.targets.shape
    assert np.abs(made - twin.targets).max() <= 1e-5
    *moves, stands = [event["values"] for event in truth_of(told).commands if "action" in event]
    assert stands == pytest.approx(POSE, abs=1e-6)
    assert len(moves) > 0.98 * summary["link"]["actions_sent"]  # of the readings of one chunk the newest is answered
    assert moves
    known = {tuple(row) for row in made.tolist()}
    assert all(tuple(values) in known for values in moves)
    comparison = replay(tmp_path)["comparison"]
    assert (comparison["differing_bits"], comparison["same"], comparison["cut"]) == (0, True, "")
