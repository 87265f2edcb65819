"""The C bridge against the Python bridge over a damaged wire, ten million bytes, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.robots.c_device import CDevice, build
from tests.support.robots.wire import CSession, most_wrong

pytestmark = pytest.mark.long
RATE = 2e-3  # faults per byte


@pytest.mark.seeds(1, 1)
def test_no_corrupt_frame_is_accepted_beyond_what_a_crc_lets_through(
    tmp_path: Path, seeds: range, volume: Callable[[float], int]
) -> None:
    """What was really sent against what was accepted: no crash, and of the damaged frames one in 65,536 at most (a CRC
    of 16 bits), with room for chance."""
    library = build(tmp_path)
    for seed in seeds:
        session = CSession(CDevice(library), 1 + seed, RATE)
        while session.bytes < volume(10_000_000):
            session.run(1000)
        allowed = most_wrong(session.damaged_frames)
        print(*(f"{name:24} {value:>12,}" for name, value in session.report().items()), sep="\n")
        print(f"{'allowed by the CRC':24} {allowed:>12.1f}   (expected {session.damaged_frames / 65536:.2f})")
        assert session.wrong <= allowed
        assert session.bridge.state != "closed"
