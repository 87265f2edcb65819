"""What the long checks share: `pytest -m long` runs them, as tools/check does; the usual run leaves them out.

Its rule: a check asks for its volume here and draws everything from seeds, so that --volume 0.01 sees in a minute that
all of them work, --first-seed tries what was never tried, and the name of a failure holds its seeds. Checks of many
seeds come in shards, which parallel workers share; a failure is a report of every seed that failed. -rP shows what
those that passed have counted.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test marked `seeds(count, shard)` its ranges of seeds, one after the other."""
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is None:
        return
    count, shard = marker.args
    first, volume = metafunc.config.getoption("first_seed"), metafunc.config.getoption("volume")
    end = first + max(1, round(count * volume))
    shards = [range(start, min(start + shard, end)) for start in range(first, end, shard)]
    metafunc.parametrize("seeds", shards, ids=[f"seeds {part.start} to {part.stop - 1}" for part in shards])


@pytest.fixture(scope="session")
def volume(pytestconfig: pytest.Config) -> Callable[[float], int]:
    """How much of an amount to do in this run: all of it where --volume is 1."""
    share: float = pytestconfig.getoption("volume")
    return lambda amount: max(1, round(amount * share))
