"""The first damaged recordings, CSV logs and robot.toml of tests/long/test_mutations.py, which tries ten thousand under
a cap on memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.oracles.log_mutations import outcome


@pytest.mark.parametrize("first", range(0, 150, 50))
def test_a_damaged_log_is_one_clear_error_or_what_it_says(tmp_path: Path, first: int) -> None:
    """Never another exception."""
    kinds = [(seed, *outcome(seed, tmp_path)) for seed in range(first, first + 50)]
    assert [one for one in kinds if one[1] == "defect"] == []
