"""The Python bridge fuzzed for two minutes with atheris, which learns which inputs reach new code.

It begins with the kept inputs, which tests/firmware_bridge/test_kept_inputs.py plays without atheris, too. An input
that fails is left in out/fuzz. `pip install .[fuzz]`; --volume 5 is ten minutes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.firmware_bridge.test_kept_inputs import KEPT
from tests.support.robots.toolchain import ROOT

pytestmark = pytest.mark.long
SECONDS = 120
LIMITS = ("-max_len=5000", "-timeout=10", "-rss_limit_mb=1024")  # bytes, seconds and MiB of an input


def test_nothing_that_arrives_breaks_what_must_hold(tmp_path: Path, volume: Callable[[float], int]) -> None:
    """On the line, as a dictionary, as a recording: only errors that are declared, bounded events, counters that are
    right, the same from bytes in other pieces; within 10 s and 1 GiB."""
    pytest.importorskip("atheris", reason="atheris is not installed: pip install edge-lstm[fuzz]")
    found, seconds = ROOT / "out" / "fuzz", volume(SECONDS)
    found.mkdir(parents=True, exist_ok=True)
    time_and_place = (f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={found}/")
    # A process begins with the largest memory of the one it was forked from as its own peak (Linux, execve), and
    # libFuzzer reads the peak: the shell between is a small parent, so the limit is the fuzzer's and not pytest's.
    command = ("sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "tests.support.oracles.fuzz_run")
    done = subprocess.run(
        (*command, str(tmp_path), str(KEPT), *time_and_place, *LIMITS),
        cwd=ROOT, capture_output=True, text=True, timeout=seconds + 300, check=False,
    )  # fmt: skip
    print(*done.stderr.splitlines()[-12:], sep="\n")
    assert done.returncode == 0, done.stderr[-4000:]
