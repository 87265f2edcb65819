"""ONNX's own node tests for LSTM, GRU and RNN, made by the installed onnx package's case code, on the native engine."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test.case.node as cases
import pytest

from edge_lstm.importers import import_onnx

OPERATORS = ("LSTM", "GRU", "RNN")
Case = tuple[onnx.ModelProto, list[Any], list[Any], float, float]


def node_tests() -> dict[str, Case]:
    """Name -> model, inputs, outputs, relative and absolute tolerance."""
    for operator in OPERATORS:  # each file adds its cases; collect_testcases would compute those of all operators
        import_module(f"{cases.__name__}.{operator.lower()}")
    found: dict[str, Case] = {}
    for case in cases._NodeTestCases:
        if case.model.graph.node[0].op_type in OPERATORS:
            ((inputs, outputs),) = case.data_sets
            found[case.name] = (case.model, list(inputs), list(outputs), case.rtol, case.atol)
    return found


CASES = node_tests()


def test_there_are_cases() -> None:
    """All of ONNX's cases for these operators are tried: onnx 1.19 and 1.20 have 12, onnx 1.23 has 18."""
    assert len(CASES) >= 12


@pytest.mark.parametrize("name", CASES)
def test_a_node_test_of_onnx(tmp_path: Path, name: str) -> None:
    """A stream that has taken the whole sequence gives every expected output within the case's own tolerance; weights
    and states are given as constants."""
    model, inputs, outputs, rtol, atol = CASES[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    batch_first = any(a.name == "layout" and a.i for a in model.graph.node[0].attribute)
    time = 1 if batch_first else 0
    names = [v.name for v in model.graph.input]
    x = inputs[names.index("X")]
    constants = {n: v for n, v in zip(names, inputs, strict=True) if n != "X"}
    length = x.shape[time]
    options = {"time_axis": time} if length > 1 else {"time_axis": "none"}
    brought = import_onnx(path, "window", window=length, constants=constants, **options)
    streams = np.moveaxis(x, 1 - time, 0)  # (B, T, I)
    alike = brought.program.input_size == x.shape[2]  # one program for each stream of the batch
    results = [brought.stream().run(s)[-1] for s in streams] if alike else None
    whole = None if alike else brought.stream().run(np.moveaxis(x, time, 0).reshape(length, -1))[-1]
    start = 0
    for expected in outputs:
        if whole is not None:
            y = whole[start : start + expected.size].reshape(expected.shape)
            start += expected.size
        else:
            assert results is not None
            axis = 0 if batch_first else expected.ndim - 2
            shape = [1 if k == axis else d for k, d in enumerate(expected.shape)]
            size = expected.size // len(results)
            y = np.concatenate([r[start : start + size].reshape(shape) for r in results], axis)
            start += size
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, rtol, atol)
    assert start == (results[0].size if results else whole.size)  # type: ignore[union-attr]
