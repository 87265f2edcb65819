"""A clean Debian, an ordinary user, the lines of INSTALL.md: the simulated robot is driven and replayed, bit by bit.

`tools/clean_root` does it; each way takes some minutes, mostly a registry's. Of the ten, as
many are done as --volume says, in the order below; at least one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.package.built import ROOT

pytestmark = pytest.mark.long
CANNOT = 3
TRIES = [
    ("bookworm", "slim"),
    ("trixie", "deb"),
    ("trixie", "pipx"),
    ("bookworm", "venv"),
    ("bookworm", "pipx"),
    ("trixie", "venv"),
    ("bookworm", "uv"),
    ("trixie", "uv"),
    ("bookworm", "deb"),
    ("trixie", "slim"),
]


@pytest.mark.parametrize("number", range(len(TRIES)), ids=["-".join(one) for one in TRIES])
def test_installed_driven_replayed(number: int, volume: Callable[[float], int]) -> None:
    """Every line of the page does what it should; the replay has no differing bit; a Debian package leaves nothing."""
    if number >= volume(len(TRIES)):
        pytest.skip(f"--volume {(number + 1) / len(TRIES)} asks for it")
    suite, way = TRIES[number]
    done = subprocess.run(
        [ROOT / "tools/clean_root", suite, way], capture_output=True, text=True, check=False, timeout=3600
    )
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differing bits" in done.stdout
