"""The bits of twenty-five models on emulated Cortex-A72 and A76."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.models.cases import Case
from tests.support.oracles import bit_hashes
from tools.arm.bits import Emulated, compare, missing, show
from tools.arm.machine import CPUS

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(missing()), reason=missing())]
READINGS = 10_000
Machines = dict[int, dict[str, Emulated]]  # lanes -> CPU -> the machine


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """Compiled once for all models."""
    folder = tmp_path_factory.mktemp("arm")
    return {lanes: {cpu: Emulated(cpu, lanes, folder) for cpu in CPUS} for lanes in bit_hashes.LANES}


def test_every_loop_over_inputs_has_vector_instructions() -> None:
    """fmla, and for quantized layers sdot or smull, on both CPUs; the loops are printed."""
    assert not list(show())


@pytest.mark.parametrize("case", bit_hashes.all_cases(), ids=lambda case: case.name)
def test_arm_gives_the_same_bits(case: Case, machines: Machines, volume: Callable[[float], int]) -> None:
    """Outputs and states, of all streams, with 4, 8 and 16 lanes, here and there; and the outputs' hash is the one that
    is kept."""
    log = bit_hashes.log_of(case, max(50, volume(READINGS)))
    digests = set()
    for lanes, emulated in machines.items():
        here, there = compare(case.model, log, case.streams, lanes, emulated)
        digests |= {here.digest, *(result.digest for result in there.values())}
        for count, value in bit_hashes.hash_of(iter([here.outputs[0]])).items():
            assert value == bit_hashes.kept()[case.name][str(count)], f"{lanes} lanes"
    assert len(digests) == 1
