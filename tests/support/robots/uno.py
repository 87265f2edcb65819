"""Sketches of ours on an emulated Arduino Uno, as tests find them: what is missing is a skip that names the packages.

Its rule: the sketches in arduino/ know nothing of this project; they write and read text as sketches do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.arduino.uno import Uno, build, missing

SKETCHES = Path(__file__).with_name("arduino")


@contextmanager
def uno(folder: Path, sketch: str) -> Iterator[Uno]:
    """A board with a sketch, running for the time of the block behind folder/robot."""
    if packages := missing():
        pytest.skip(f"no emulated Arduino (Debian: apt install {' '.join(packages)})")
    work = folder / "build"
    work.mkdir(exist_ok=True)
    with Uno(build(work, SKETCHES / f"{sketch}.ino"), folder / "robot") as board:
        yield board
