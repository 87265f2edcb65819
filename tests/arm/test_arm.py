"""The short version of tests/long/test_arm.py: one number of lanes, few readings. Needs no Arm hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.oracles import bit_hashes
from tools.arm import bits, machine

CPU = "cortex-a76"  # the long test takes the other one, too


@pytest.mark.skipif(bool(bits.missing()), reason=bits.missing())
def test_models_give_the_same_bits_on_an_emulated_arm_cpu(tmp_path: Path) -> None:
    """Outputs and states of every third of the twenty models, float32 and quantized, are the same here and on a
    Cortex-A76, and the loops over inputs are vector multiply-adds: fmla, and sdot for int8."""
    assert not list(bits.show((CPU,)))
    emulated = {CPU: bits.Emulated(CPU, 4, tmp_path)}
    for case in bit_hashes.all_cases()[::3]:
        here, there = bits.compare(case.model, bit_hashes.log_of(case, 50), case.streams, 4, emulated)
        assert here.outputs.size
        assert there[CPU].digest == here.digest, case.name


def test_a_loop_without_vector_instructions_would_be_found() -> None:
    """Of two loops, the one that multiplies on whole vectors is told from the one that does so on single values."""
    loop = ".LBB0_1:\n\tldr\ts0, [x1], #4\n\t{}\n\tb.ne\t.LBB0_1\n"
    name = "_ZN4lstm4lstmSpecies_284_2c_201_29"
    found = [
        machine.inner_loops(f"{name}:\n{loop.format(line)}", "4lstm4lstm")
        for line in ("fmla\tv0.4s, v1.4s, v2.s[0]", "fmadd\ts0, s1, s2, s0")
    ]
    assert [machine.vectors(loops[0], "fmla") for loops in found] == [1, 0]


def test_the_loop_of_a_scheme_is_told_from_another_scheme_s() -> None:
    """int8 has its own loop beside int8-weights, so that sdot is looked for where it belongs."""
    loop = ".LBB0_1:\n\tsdot\tv0.4s, v1.16b, v2.16b\n\tb.hi\t.LBB0_1\n"
    names = [
        f"_ZN9quantized5_lstmSpecies_284_2c_201_29Scheme_28{scheme}_2c_20x_29" for scheme in ("int8", "int8_2dweights")
    ]
    for scheme, name in zip(("int8", "int8-weights"), names, strict=True):
        for wanted in ("int8", "int8-weights"):
            loops = machine.inner_loops(f"{name}:\n{loop}", "9quantized5_lstm", 1, wanted)
            assert [machine.vectors(found, "sdot") for found in loops] == ([1] if wanted == scheme else [])
