"""Distributions of outputs: what NumPy says of all numbers at once, and the same whoever counted which part."""

from __future__ import annotations

import json
from base64 import b64encode

import numpy as np
import pytest

from edge_lstm.fleet.distribution import QUANTILES, Distribution, _bucket, merged


def of(*parts: np.ndarray) -> Distribution:
    found = []
    for part in parts:
        one = Distribution()
        one.add(part)
        found.append(one)
    return merged(found)


@pytest.fixture
def numbers() -> np.ndarray:
    random = np.random.default_rng(16)
    return np.concatenate([random.normal(100, 3, 5000), random.normal(-0.01, 0.001, 3000)]).astype(np.float32)


def test_it_says_what_numpy_says(numbers: np.ndarray) -> None:
    """Least, greatest, mean and deviation are NumPy's; quantiles are right to one part in 4096."""
    found = of(numbers).summary()
    assert (found["min"], found["max"]) == (numbers.min(), numbers.max())
    assert found["mean"] == pytest.approx(numbers.mean(dtype=np.float64), rel=1e-12)
    assert found["std"] == pytest.approx(numbers.std(dtype=np.float64), rel=1e-12)
    for share in QUANTILES:
        exact = np.quantile(numbers, share, method="lower")
        assert found[f"q{round(100 * share):02}"] == pytest.approx(exact, rel=1 / 4096)


def test_parts_come_to_the_same(numbers: np.ndarray) -> None:
    """Counts and quantiles are the same however the numbers are parted, and mean and deviation to the last digits."""
    whole, parted = of(numbers).summary(), of(*np.array_split(numbers, 7)).summary()
    for name, value in whole.items():
        assert parted[name] == (pytest.approx(value, rel=1e-12) if name in ("mean", "std") else value)


def test_missing_and_infinite_numbers_are_counted() -> None:
    """NaN is missing; an infinity is a number, and not in the mean; nothing at all is None."""
    found = of(np.array([1, np.nan, np.inf, 3, -np.inf], np.float32)).summary()
    assert (found["count"], found["missing"], found["infinite"]) == (4, 1, 2)
    assert (found["mean"], found["min"], found["max"], found["q50"]) == (2.0, None, None, pytest.approx(1, rel=1e-3))
    assert of(np.array([np.nan], np.float32)).summary()["mean"] is None


def test_zeros_of_both_signs_and_the_smallest_numbers() -> None:
    """Around 0 the order is the numbers' own."""
    tiny = np.float32(1e-45)
    found = of(np.array([-1, -tiny, -0.0, 0.0, tiny, 1], np.float32)).summary()
    assert (found["min"], found["max"]) == (-1, 1)
    assert abs(found["q50"]) < 1e-38


@pytest.mark.parametrize("scale", [0.0, 1e-42, 1e-3, 1.0, 1e38])
def test_counting_by_a_table_is_counting_by_sorting(scale: float) -> None:
    """Numbers of either sign, zeros among them, dense or few and far apart: the buckets are those of a sort, of all at
    once as in parts."""
    random = np.random.default_rng(5)
    for count in (1, 40, 9000):
        values = (random.normal(0, 1, count) * 10.0 ** random.integers(-6, 1, count) * scale).astype(np.float32)
        values[random.integers(0, count, count // 3)] = 0
        keys, counts = np.unique(_bucket(values), return_counts=True)
        for found in (of(values), of(*np.array_split(values, 3)), Distribution()):
            if not found.count:
                for part in np.array_split(values, 3):
                    found.add(part)
            assert np.array_equal(found.buckets[0], keys)
            assert np.array_equal(found.buckets[1], counts)


def test_a_damaged_record_is_refused(numbers: np.ndarray) -> None:
    """Buckets that are cut, are no packed bytes, or are in no order are a ValueError, as any damage of a record is."""
    good = of(numbers).as_json()
    backwards = Distribution(8000, buckets=(np.array([3, 2]), np.array([1, 7999]))).as_json()["buckets"]
    far = Distribution(8000, buckets=(np.array([1 << 40]), np.array([8000]))).as_json()["buckets"]
    for buckets in (good["buckets"][:80], "?", b64encode(b"none of zstd's").decode(), backwards, far):
        with pytest.raises(ValueError):
            Distribution.from_json(good | {"buckets": buckets})


def test_a_record_holds_all_of_it(numbers: np.ndarray) -> None:
    """What is read from JSON is what was written, to the bit: also where nothing was counted, and where one number came
    more often than 32 bits count."""
    often = Distribution(1 << 40, buckets=(np.array([-7, 90_000]), np.array([1, (1 << 40) - 1])))
    for found in (of(numbers, np.array([np.nan, np.inf], np.float32)), Distribution(), often):
        back = Distribution.from_json(json.loads(json.dumps(found.as_json())))
        assert back.as_json() == found.as_json()
        assert all(map(np.array_equal, back.buckets, found.buckets))
