"""What a test draws: from a generator seeded by the test's own name, so that it depends on no other test, nor on the
order in which they run.

Its rule: tests/conftest.py begins a generator before each test, and nothing is drawn outside one; what several tests
share is data, made from a seed of its own.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

_of_test: list[np.random.Generator] = []


def begin(name: str) -> np.random.Generator:
    """The generator of a test, from now on what `generator` gives."""
    _of_test[:] = [np.random.default_rng(zlib.crc32(name.encode()))]
    return _of_test[0]


def generator() -> np.random.Generator:
    """That of the test that runs. Raises RuntimeError outside of tests: what is drawn then would depend on imports."""
    if not _of_test:
        raise RuntimeError("nothing is drawn outside a test: make shared data from a seed of its own")
    return _of_test[0]


def draw(*shape: int) -> npt.NDArray[np.float32]:
    """Weights or readings of this shape, normal with a spread of 0.6."""
    return generator().normal(0, 0.6, shape).astype(np.float32)
