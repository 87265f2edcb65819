"""Many random stacks with strides and look-ahead over time against ONNX Runtime;
`tests/importers/onnx/test_strides.py` tries the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.importers import import_onnx
from tests.support.graphs.stacks import agrees, random_lengths, random_stack

pytestmark = pytest.mark.long


@pytest.mark.seeds(1000, 50)
def test_random_stacks_equal_onnxruntime(tmp_path: Path, seeds: range) -> None:
    """None is refused, and no place of an output is further off than 1e-5 of its range, comes at another reading, or is
    missing."""
    failed, places = [], 0
    for seed in seeds:
        stack, pace = random_stack(seed)
        path = stack.save(tmp_path / "m.onnx")
        try:
            model = import_onnx(path, engine="machine")
            xs, lengths = random_lengths(seed, model)
            assert model.timing.stride == pace
            places += agrees(model, path, xs, lengths)
        except (EdgeLstmError, AssertionError) as error:
            failed.append(f"seed {seed}: {type(error).__name__} {error}")
    print(f"{places} places of outputs compared")
    assert not failed, "\n".join(failed)
