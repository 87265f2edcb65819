"""A dialect's mistakes are faults, so that a robot outlives them; a test does not: here they raise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import pytest

from firmware_bridge.links.dialect import Dialect


@pytest.fixture(autouse=True)
def mistakes_raise(request: pytest.FixtureRequest) -> Iterator[None]:
    """In all tests but those marked `mistakes`."""
    if "mistakes" in request.keywords:
        yield
        return

    def mistake(self: Dialect, method: str, error: Exception, data: bytes = b"") -> NoReturn:
        raise AssertionError(f"{type(self).__name__}.{method} raised") from error

    name = f"_{Dialect.__name__}__mistake"
    before = getattr(Dialect, name)
    setattr(Dialect, name, mistake)
    yield
    setattr(Dialect, name, before)
