"""The whole path over a link that is damaged on purpose; tests/long/test_damaged_link.py takes a million bytes."""

from __future__ import annotations

from pathlib import Path

from tests.support.robots.fault_run import fault_run


def test_the_fault_run_finds_everything_in_order(tmp_path: Path) -> None:
    """60,000 damaged bytes: every check of the fault run holds, and faults really were made."""
    found = fault_run(tmp_path / "faults.mcap", 1, 60_000)
    assert all(found.checks.values()), found
    assert found.figures["faults made"]["flip"] > 5
