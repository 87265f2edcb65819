"""What the C tests share: the shim, built once for each process."""

from __future__ import annotations

import ctypes

import pytest

from tests.support.robots import c_device


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The C bridge as a shared library."""
    return c_device.build(tmp_path_factory.mktemp("shim"))
