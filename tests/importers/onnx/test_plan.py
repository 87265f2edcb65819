"""A plan: equal operations are one, only what is needed is written, and data movement costs nothing where it can."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.plan import Plan
from tests.support.oracles.reference import Reference


def test_equal_operations_are_one_step() -> None:
    """The same operation on the same values is written once and remembers both sources."""
    plan = Plan()
    x = plan.input("x", 4)
    (a,) = plan.step("map", [x], [4], source=["one"], function="tanh", alpha=0.0, beta=0.0)
    (b,) = plan.step("map", [x], [4], source=["two"], function="tanh", alpha=0.0, beta=0.0)
    (c,) = plan.step("map", [x], [4], function="elu", alpha=1.0, beta=0.0)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    (operation,) = plan.program([("y", a)]).operations
    assert operation.source == ("one", "two")


def test_views_where_values_lie_together_and_takes_where_not() -> None:
    """A slice is a view of its slot; a permutation is one `take`, made once for all who read it."""
    plan = Plan()
    x = plan.input("x", 6)
    (a,) = plan.step("map", [x[2:5]], [3], function="neg", alpha=0.0, beta=0.0)
    (b,) = plan.step("map", [x[::-1]], [6], function="neg", alpha=0.0, beta=0.0)
    (c,) = plan.step("map", [x[::-1]], [6], function="abs", alpha=0.0, beta=0.0)
    program = plan.program([("y", np.concatenate([a, b, c]))])
    assert [op.kind for op in program.operations] == ["map", "take", "map", "map", "take"]
    x_value = np.array([1, -2, 3, -4, 5, -6.0])
    expected = np.concatenate([-x_value[2:5], -x_value[::-1], np.abs(x_value[::-1])])
    assert np.array_equal(Reference(program).step(x_value), expected)


def test_a_constant_added_to_a_dense_layer_is_its_bias() -> None:
    """Either operand order; but not where the sum without bias is used too."""
    for used in (False, True):
        plan = Plan()
        x = plan.input("x", 2)
        weights = {"W": np.array([[1, 2], [3, 4], [5, 6]], np.float32)}
        (m,) = plan.step("dense", [x], [3], weights=weights)
        (y,) = plan.step("binary", [plan.constant([10, 20, 30]), m], [3], function="add")
        program = plan.program([("y", y), ("m", m)] if used else [("y", y)])
        assert [op.kind for op in program.operations] == (["dense", "binary"] if used else ["dense"])
        assert Reference(program).step([1, 1])[:3].tolist() == [13, 27, 41]


def test_what_nothing_needs_is_not_written() -> None:
    """Steps and states without a way to an output are left out."""
    plan = Plan()
    x, lonely = plan.input("x", 2), plan.state("lonely", 2)
    (lonely.next,) = plan.step("binary", [lonely.ids, x], [2], function="add")
    (y,) = plan.step("map", [x], [2], function="exp", alpha=0.0, beta=0.0)
    program = plan.program([("y", y)])
    assert (len(program.operations), program.states) == (1, ())


def test_constants_among_values() -> None:
    """Constants and values can be read together; a constant for all elements is kept once."""
    plan = Plan()
    x = plan.input("x", 2)
    mixed = np.concatenate([plan.constant([5, 7]), x])
    (y,) = plan.step("binary", [mixed, plan.constant(np.full(4, 2))], [4], function="mul")
    program = plan.program([("y", y)])
    assert Reference(program).step([1, 3]).tolist() == [10, 14, 2, 6]
    with pytest.raises(ImportModelError, match="NaN or infinite"):
        plan.constant([np.inf])


def test_importing_the_importers_loads_neither_onnx_nor_numba() -> None:
    """`edge-lstm --help` must not pay for what it does not use."""
    code = "import sys, edge_lstm.importers; print([m for m in ('onnx', 'numba', 'onnxruntime') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
