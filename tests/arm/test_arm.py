"""The short version of tools/arm: one number of lanes, few readings. Needs no Arm hardware."""

from __future__ import annotations

import pytest

from edge_lstm.kernels.compile import machine_code
from tools import arm_bits, arm_machine
from tools.arm_models import ten


@pytest.mark.skipif(bool(arm_bits.missing()), reason=arm_bits.missing())
def test_ten_models_give_the_same_bits_on_an_emulated_arm_cpu():
    """Outputs and states of every kind of operation are the same here and on a Cortex-A72, and the loops over inputs
    are vector multiply-adds for both CPUs."""
    code = machine_code(4)
    assert not list(arm_bits.show(code))
    for name, here, there in arm_bits.compare(ten(), 4, code, 50, ("cortex-a72",)):
        assert here.outputs.size
        assert there["cortex-a72"].digest == here.digest, name


def test_a_loop_without_vector_instructions_would_be_found():
    """Of two loops, the one that multiplies on whole vectors is told from the one that does so on single values."""
    loop = ".LBB0_1:\n\tldr\ts0, [x1], #4\n\t{}\n\tb.ne\t.LBB0_1\n"
    name = "_ZN4lstm4lstmSpecies_284_2c_201_29"
    found = [
        arm_machine.inner_loops(f"{name}:\n{loop.format(line)}", "4lstm4lstm")
        for line in ("fmla\tv0.4s, v1.4s, v2.s[0]", "fmadd\ts0, s1, s2, s0")
    ]
    assert [arm_machine.vectors(loops[0], "fmla") for loops in found] == [1, 0]
