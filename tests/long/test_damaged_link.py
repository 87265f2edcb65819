"""A million bytes over a link that is damaged on purpose, with resets and unplugging, recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.robots.fault_run import fault_run

pytestmark = pytest.mark.long


@pytest.mark.seeds(1, 1)
def test_the_fault_run_finds_everything_in_order(tmp_path: Path, seeds: range, volume: Callable[[float], int]) -> None:
    """No exception; no reading with a wrong number; every damaged frame counted; every missing reading known; and the
    replay makes the same bits."""
    for seed in seeds:
        found = fault_run(tmp_path / "faults.mcap", 1 + seed, max(60_000, volume(1_000_000)))
        print(*(f"{name:28} {value}" for name, value in found.figures.items()), sep="\n")
        assert all(found.checks.values()), found
