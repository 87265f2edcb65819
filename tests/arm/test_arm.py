"""What tests/long/test_arm.py looks for in compiled loops would be missed where it is not there. Needs no Arm."""

from __future__ import annotations

from tools.arm import machine


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
