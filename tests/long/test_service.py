"""`edge-lstm run` for as long as it takes to meet another robot on its port."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from firmware_bridge.simulator.robot import Robot
from tests.cli.test_live import EDGE_LSTM, grown, replay, simulated, until
from tests.support.robots import small_robot

pytestmark = pytest.mark.long


def test_another_firmware_for_a_moment_is_waited_past(tmp_path: Path):
    """The pinned robot, then a stranger on the same port, then the pinned one again: one run with one note, no action
    for the stranger, and a replay with the same bits."""
    link = tmp_path / "port"
    digest = Robot(0, 200.0).device.dictionary.digest.hex()
    config = small_robot.folder(tmp_path, small_robot.CONFIG + f'[robot]\ndictionary = "{digest}"\n')
    with contextlib.ExitStack() as stack:
        with simulated(link, "--seed", "1"):
            command = [*EDGE_LSTM, "run", str(config), "--port", str(link), "--json"]
            command += ["--record", str(tmp_path / "run.mcap")]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            until(grown(tmp_path / "run.mcap"))
        with simulated(link, "--rate", "100"):
            assert process.stderr is not None
            said = next(line for line in process.stderr if "waiting for the right robot" in line)
            time.sleep(0.5)
        size = (tmp_path / "run.mcap").stat().st_size
        with simulated(link, "--seed", "2"):
            until(grown(tmp_path / "run.mcap", size + 60_000))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert digest in said
    assert "waiting for the right robot" not in err  # once
    summary = json.loads(out)
    assert sum("does not fit" in note for note in summary["notes"]) == 1
    code, again = replay(tmp_path, "-o", str(tmp_path / "out.csv"))
    assert (code, again["comparison"]["differing_bits"]) == (0, 0)
    assert again["actions"] == summary["actions"] == again["readings"]
