"""The first two hundred damaged model files of tests/long/test_mutations.py, which tries ten
thousand under a cap on memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.oracles.mutation_run import outcome


@pytest.mark.parametrize("tens", range(20))
def test_a_damaged_file_is_one_clear_error_or_what_it_says(tmp_path: Path, tens: int) -> None:
    """Never another exception; and a graph that is read equals ONNX Runtime where that reads it too."""
    kinds = [outcome(10 * tens + k, tmp_path) for k in range(10)]
    assert [k for k in kinds if k[0] in ("defect", "unlike")] == []
