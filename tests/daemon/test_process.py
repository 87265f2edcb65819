"""Whether a run's process is there: not another one with its number, no zombie, and until it has really ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.process import began, lives
from tests.cli.test_live import until

ENDING = """
import sys, time
from pathlib import Path
from edge_lstm.daemon.writer import Block
block = Block(Path(sys.argv[1]), {"name": "cart"})
sys.stdin.readline()
block.close()
print("closed", flush=True)
sys.stdin.readline()
"""


def test_another_process_with_the_number_of_one_that_is_gone_is_not_it():
    """A number is given again after some weeks; a run that was killed does not live for it."""
    here = os.getpid()
    assert lives(here, began(here))
    assert lives(here, 0)
    assert not lives(here, began(here) - 1)


def test_one_that_nobody_has_noted_yet_is_gone():
    """A zombie."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        until(lambda: not lives(child.pid, 0))
        assert child.returncode is None


def test_a_run_is_gone_when_its_process_is(tmp_path: Path):
    """Its status has ended when the robot is safe; what it still writes, its recording above all, comes after."""
    path = tmp_path / "status"
    command = [sys.executable, "-c", ENDING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        until(path.exists)
        with BlockReader(path) as block:
            assert not block.ended
            child.stdin.write("\n")
            assert child.stdout.readline() == "closed\n"
            assert block.ended
            assert not block.gone
            child.stdin.write("\n")
            until(lambda: block.gone)
