"""Shared by all tests: the compiled steps are made once, before parallel workers would each make their own."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # no test judges time
settings.load_profile("any machine")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Fill the cache for every number of lanes that tests use."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    from edge_lstm.engines.native import loader

    for lanes in (4, 8, 16):
        loader.warm(lanes)
