"""The bits themselves: outputs of many readings against hashes kept in the repository, which an emulated Arm CPU
(`tests/long/test_arm.py`) and an emulated arm64 Python (`tools/arm/python`) are compared with as well.
`tests/long/test_hashes.py` takes ten times as many."""

from __future__ import annotations

import pytest

from tests.support.models.cases import Case
from tests.support.oracles import bit_hashes

KEPT = bit_hashes.kept()


@pytest.mark.parametrize("case", bit_hashes.all_cases(), ids=lambda case: case.name)
def test_the_bits_are_those_kept_however_the_steps_are_taken(case: Case) -> None:
    """Ten thousand readings, in float32 and quantized, with 4, 8 and 16 lanes, by step, by run, as one of several
    streams or as windows each computed alone: the same hash, and the one in the repository."""
    log = bit_hashes.log_of(case, bit_hashes.FEW)
    found = {
        (lanes, name): bit_hashes.hash_of(way(case.model, log, lanes))
        for lanes in bit_hashes.LANES
        for name, way in bit_hashes.ways(case.model).items()
    }
    expected = {bit_hashes.FEW: KEPT[case.name][str(bit_hashes.FEW)]}
    assert found == dict.fromkeys(found, expected)


def test_one_bit_of_one_output_changes_the_hash() -> None:
    """The comparison notices the last bit of one output among all, and takes one NaN for another."""
    case = bit_hashes.all_cases()[0]
    ys = case.model.stream().run(bit_hashes.log_of(case, bit_hashes.FEW))
    changed = ys.copy()
    changed.view("uint32")[1234, 0] ^= 1
    assert bit_hashes.hash_of(iter([ys])) != bit_hashes.hash_of(iter([changed]))
    ys[5, 0], changed = float("nan"), ys.copy()
    changed[5, 0] = -float("nan")
    changed.view("uint32")[5, 0] |= 77
    assert bit_hashes.hash_of(iter([ys])) == bit_hashes.hash_of(iter([changed]))
