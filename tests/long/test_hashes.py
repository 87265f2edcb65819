"""The bits of 25 models over 100,000 readings; `tests/engines/native/test_hashes.py` takes the first tenth of them."""

from __future__ import annotations

import pytest

from tests.support.models.cases import Case
from tests.support.oracles import bit_hashes

pytestmark = pytest.mark.long
KEPT = bit_hashes.kept()


@pytest.mark.parametrize("lanes", bit_hashes.LANES)
@pytest.mark.parametrize("case", bit_hashes.all_cases(), ids=lambda case: case.name)
def test_the_bits_are_those_kept_however_the_steps_are_taken(
    case: Case, lanes: int, pytestconfig: pytest.Config
) -> None:
    """By step, by run, as one of several streams or as windows each computed alone: the hash that is kept."""
    count = bit_hashes.MANY if pytestconfig.getoption("volume") >= 1 else bit_hashes.FEW
    log = bit_hashes.log_of(case, count)
    found = {name: bit_hashes.hash_of(way(case.model, log, lanes)) for name, way in bit_hashes.ways(case.model).items()}
    expected = {kept: KEPT[case.name][str(kept)] for kept in (bit_hashes.FEW, bit_hashes.MANY) if kept <= count}
    assert found == dict.fromkeys(found, expected)
