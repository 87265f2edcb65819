"""The one tanh, sigmoid, exp, log and what is made of them, against float64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operations.functions import MAP_FUNCTIONS
from tests.support.models.nets import one_map

SIZE = 4096


def apply(
    function: str, values: npt.NDArray[np.float32], alpha: float = 0.0, beta: float = 0.0
) -> npt.NDArray[np.float32]:
    """The function over any number of values, through the interpreter."""
    rows = np.resize(values, (-(-values.size // SIZE), SIZE))
    return one_map(function, SIZE, alpha, beta).stream().run(rows).ravel()[: values.size]


@pytest.fixture(scope="module", params=[40_009, pytest.param(4001, marks=pytest.mark.long)])
def floats(request: pytest.FixtureRequest) -> npt.NDArray[np.float32]:
    """Every so many-th of all finite float32, so every exponent and both signs with a hundred thousand values, or a
    million."""
    bits = np.arange(0, 2**32, request.param, dtype=np.uint32)
    values = bits.view(np.float32)
    return values[np.isfinite(values)]


@pytest.mark.parametrize(
    ("function", "exact", "bound"),
    [
        ("tanh", np.tanh, 3e-7),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), 1.7e-7),
        ("erf", np.vectorize(math.erf, otypes=[float]), 6e-7),
        ("softsign", lambda x: x / (1 + np.abs(x)), 9e-8),
    ],
)
def test_bounded_functions_stay_within_the_documented_error(function, exact, bound, floats):
    """tanh, sigmoid, erf and softsign differ from float64 by less than activations.py allows, over the whole range."""
    with np.errstate(over="ignore"):
        expected = exact(floats.astype(np.float64))
    assert np.abs(apply(function, floats) - expected).max() < bound


@pytest.mark.parametrize("function", MAP_FUNCTIONS)
def test_nan_stays_nan(function):
    """No function makes a plausible number of NaN (here log of -1): it reaches the check of the state, which refuses
    it."""
    b = Builder()
    x = b.input("x", 20)
    nan = b.map("log", x)
    b.output("y", b.map(function, nan, alpha=0.25, beta=0.5))
    b.output("min", b.binary("min", nan, x))
    b.output("max", b.binary("max", x, nan))
    b.output("row", b.reduce("max", b.take(np.concatenate([nan.elements[:1], x.elements]))))
    model = Model(b.build(), channels_for(("x",), (20,)), channels_for(("y", "min", "max", "row"), (20, 20, 20, 1)))
    y = model.stream().step(np.full(20, -1.0))
    assert np.isnan(y[20:]).all()
    assert np.isnan(y[:20]).all() or (function == "not" and (y[:20] == 0).all())


def test_saturated_gates_are_exactly_open_or_shut():
    """sigmoid(±17) is exactly 1 and 0, and tanh(±9) exactly ±1, so a saturated gate neither leaks nor admits
    anything."""
    assert apply("sigmoid", np.float32([17, -17, 1e30, -1e30])).tolist() == [1, 0, 1, 0]
    assert apply("tanh", np.float32([9, -9, 1e30, -1e30])).tolist() == [1, -1, 1, -1]


def test_exp_is_accurate_wherever_the_result_is_a_normal_number(floats):
    """exp has a relative error below 1e-7, is zero below the normal numbers and infinite above them."""
    with np.errstate(over="ignore", under="ignore"):
        expected = np.exp(floats.astype(np.float64))
    got = apply("exp", floats)
    normal = (floats >= -87.3365) & (floats <= 88.7228)
    assert (np.abs(got[normal] - expected[normal]) <= 1e-7 * expected[normal]).all()
    assert (got[floats < -87.337] == 0).all()
    assert np.isposinf(got[floats > 88.723]).all()


def test_log_is_accurate_over_all_positive_numbers(floats):
    """log has an error below 1e-7 of max(1, |log x|); zero and denormals give minus infinity, negative numbers NaN."""
    positive = floats[floats >= 2.0**-126]
    expected = np.log(positive.astype(np.float64))
    assert (np.abs(apply("log", positive) - expected) <= 1e-7 * np.maximum(1, np.abs(expected))).all()
    low = floats[(floats >= 0) & (floats < 2.0**-126)]
    assert np.isneginf(apply("log", low)).all()
    assert np.isnan(apply("log", floats[floats < 0])).all()


def test_softplus_neither_overflows_nor_loses_small_values(floats):
    """softplus has a relative error below 5e-7 wherever the result is a normal number."""
    with np.errstate(over="ignore", under="ignore"):
        expected = np.logaddexp(0.0, floats.astype(np.float64))
    got = apply("softplus", floats)
    normal = expected > 2e-38
    assert (np.abs(got[normal] - expected[normal]) <= 5e-7 * expected[normal]).all()


@pytest.mark.parametrize(
    ("function", "alpha", "beta", "exact"),
    [
        ("identity", 0.0, 0.0, lambda x: x),
        ("relu", 0.0, 0.0, lambda x: np.maximum(x, 0)),
        ("leaky_relu", 0.125, 0.0, lambda x: np.where(x < 0, np.float32(0.125) * x, x)),
        ("thresholded_relu", 0.5, 0.0, lambda x: np.where(x > 0.5, x, 0)),
        ("clip", -0.5, 2.0, lambda x: np.clip(x, -0.5, 2.0)),
        ("abs", 0.0, 0.0, np.abs),
        ("neg", 0.0, 0.0, np.negative),
        ("reciprocal", 0.0, 0.0, lambda x: np.float32(1) / x),
    ],
)
def test_exact_functions_are_exact(function, alpha, beta, exact, floats):
    """What IEEE 754 defines exactly comes out exactly."""
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(apply(function, floats, alpha, beta), exact(floats))


@pytest.mark.parametrize(
    ("function", "alpha", "beta", "exact"),
    [
        ("elu", 0.75, 0.0, lambda x: np.where(x < 0, 0.75 * np.expm1(np.minimum(x, 0)), x)),
        ("selu", 1.6732632, 1.050701, lambda x: 1.050701 * np.where(x > 0, x, 1.6732632 * np.expm1(np.minimum(x, 0)))),
        ("hard_sigmoid", 0.2, 0.5, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        ("affine", 1.7, -0.3, lambda x: 1.7 * x - 0.3),
    ],
)
def test_parametrized_functions_follow_onnx(function, alpha, beta, exact):
    """Functions with alpha and beta compute ONNX's formula, within rounding, over the range that networks use."""
    x = np.linspace(-30, 30, 100_001).astype(np.float32)
    expected = exact(x.astype(np.float64))
    assert np.abs(apply(function, x, alpha, beta) - expected).max() < 3e-7 * max(1.0, np.abs(expected).max())


def test_square_root_is_correctly_rounded(floats):
    """sqrt is IEEE 754's."""
    positive = floats[floats >= 0]
    np.testing.assert_array_equal(apply("sqrt", positive), np.sqrt(positive))
