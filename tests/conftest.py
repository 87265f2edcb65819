"""Shared by all tests: what they draw from, and the compiled steps, which are made once before parallel workers would
each make their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.support import drawing

# Hypothesis: no test judges time. The usual run tries the same few examples every time, so that its verdict is the
# code's and not the day's; tools/check draws many others. What says a number of its own takes long for each.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
ANY = settings.get_profile("any machine")
settings.register_profile("usual", ANY, max_examples=40, derandomize=True)
settings.register_profile("long", ANY, max_examples=300, print_blob=True)
settings.load_profile("usual")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the long checks (tests/long)."""
    group = parser.getgroup("long checks")
    group.addoption("--volume", type=float, default=1.0, help="share of the long checks' usual volume (default 1)")
    group.addoption("--first-seed", type=int, default=0, help="the first of the seeds that they try (default 0)")
    group.addoption("--idle", action="store_true", help="nothing else runs here: judge times, too")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Fill the cache for every number of lanes that tests use."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    from edge_lstm.engines.native import loader

    for lanes in (4, 8, 16):
        loader.warm(lanes)


@pytest.fixture(autouse=True)
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """What the test draws from, seeded by its own name; helpers draw from it through `tests.support.drawing`."""
    return drawing.begin(request.node.name)
