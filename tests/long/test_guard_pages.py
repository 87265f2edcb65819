"""Interrupted calls with every array between guard pages: compiled code touches nothing that was freed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.robots.toolchain import need

_PLANTED = """
import ctypes, sys
from pathlib import Path
import numba, numpy as np
from tests.support.system.guard_pages import guard

@numba.njit
def read(values, index):
    return values[index]

guard(Path(sys.argv[1]))
xs = np.arange(6.0)
place = ctypes.cast(xs.ctypes.data, ctypes.POINTER(ctypes.c_double))
unowned = np.ctypeslib.as_array(place, (7,))
if sys.argv[2] == "freed":
    del xs
read(unowned, 6 if sys.argv[2] == "behind" else 5)
"""


@pytest.mark.long
@pytest.mark.parametrize(("what", "code"), [("inside", 0), ("freed", -signal.SIGSEGV), ("behind", -signal.SIGSEGV)])
def test_guard_pages_find_what_they_are_for(tmp_path: Path, what: str, code: int) -> None:
    """Compiled code that reads a freed array, or one element behind an array's end, ends the process; inside it does
    not."""
    need("gcc")
    done = subprocess.run([sys.executable, "-c", _PLANTED, tmp_path, what], capture_output=True, text=True)
    assert done.returncode == code, done.stderr


@pytest.mark.long
def test_interrupts_between_guard_pages(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Interrupts all over `run`, `Streams.run`, `forecast`, `replay` and `quantize`, and threads that share a stream:
    the process lives, so no compiled code read or wrote a freed array."""
    need("gcc")
    share = 0.05 * float(pytestconfig.getoption("volume"))
    tests = ["tests/long/test_interrupts.py", "tests/streams"]
    command = [sys.executable, "-m", "tests.support.system.guard_pages", tmp_path, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*map(str, command), "-m", "long or not long", f"--volume={share}", "-p", "no:xdist", *tests],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
