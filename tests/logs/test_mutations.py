"""The first damaged recordings, CSV logs and robot.toml of tests/long/test_mutations.py, which tries ten thousand under
a cap on memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.oracles import csv_mutations
from tests.support.oracles.format_mutations import outcome as of_formats
from tests.support.oracles.log_mutations import outcome


@pytest.mark.parametrize("first", range(0, 150, 50))
def test_a_damaged_log_is_one_clear_error_or_what_it_says(tmp_path: Path, first: int) -> None:
    """Never another exception."""
    kinds = [(seed, *outcome(seed, tmp_path)) for seed in range(first, first + 50)]
    assert [one for one in kinds if one[1] == "defect"] == []


@pytest.mark.parametrize("first", range(0, 140, 70))
def test_a_damaged_log_of_any_format_is_one_clear_error_or_what_it_says(tmp_path: Path, first: int) -> None:
    """The first of those that tests/long/test_mutations.py tries: never another exception."""
    kinds = [(seed, *of_formats(seed, tmp_path)) for seed in range(first, first + 70)]
    assert [one for one in kinds if one[1] == "defect"] == []


@pytest.mark.parametrize("first", range(0, 150, 50))
def test_a_damaged_csv_log_is_one_sentence_or_rows(tmp_path: Path, first: int) -> None:
    """Of every delimiter, time, encoding and packing, with any options."""
    kinds = [(seed, *csv_mutations.outcome(seed, tmp_path)) for seed in range(first, first + 50)]
    assert [one for one in kinds if one[1] == "defect"] == []
