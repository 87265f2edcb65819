"""C reads the same vectors as Python; its tables are checked; it is clean under warnings and sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.robots.frame_vectors import write_header
from tests.support.robots.toolchain import HERE, SANITIZE, SOURCES, compile_c, need, run

REFUSED = {  # what bridge_begin says, by the number in bridge_problem
    1: "small-ring ring-for-long no-output",
    2: "boot-id",
    3: "no-timeout timeout",
    4: "same-name slash field-twice no-device underscore control",
    5: "same-id zero-id",
    6: "no-fields too-long",
    7: "no-rate scale-zero expression bare-point hexadecimal"
    " too-old half-a-ms negative-age exponent-age no-age age-of-reading",
    8: "limits-of-reading no-limits safe-outside limit-beyond-type",
}


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("gcc", ("-O2",)), ("gcc", SANITIZE), pytest.param("clang", SANITIZE, marks=pytest.mark.long)],
)
def test_c_reads_the_frame_vectors_whole_and_byte_by_byte(
    tmp_path: Path, compiler: str, flags: tuple[str, ...]
) -> None:
    """Every case of frames.json, received and sent, and half a million bytes of storm; also under sanitizers."""
    need(compiler)
    cases = write_header(tmp_path / "frame_cases.h")
    program = compile_c(compiler, tmp_path / "vectors", [HERE / "vectors.c"], *flags)
    assert run(program) == f"{cases}\n"


def test_nothing_that_arrives_breaks_what_must_hold(tmp_path: Path) -> None:
    """Ten thousand random lists of frames, bytes, times and readings, under sanitizers: outputs stay within limits,
    silence makes them safe, and all that is sent is intact. (tests/long/test_fuzz.py goes on for two minutes.)"""
    program = compile_c("gcc", tmp_path / "fuzz", [HERE / "fuzz.c"], "-DSTANDALONE", *SANITIZE)
    assert run(program, "10000") == "10000\n"


def test_wrong_tables_are_refused_before_anything_moves(tmp_path: Path) -> None:
    """A table that would make a wrong dictionary is refused with its reason, and no output is touched; good ones set
    the outputs safe."""
    program = compile_c("gcc", tmp_path / "tables", [SOURCES / "bridge.c", HERE / "tables.c"], *SANITIZE)
    said = {name: (int(problem), int(outputs)) for name, problem, outputs in map(str.split, run(program).splitlines())}
    expected = {name: (number, 0) for number, names in REFUSED.items() for name in names.split()}
    expected |= dict.fromkeys(("no-formats", "long", "exponent"), (0, 0)) | dict.fromkeys(
        ("good", "limit-within-scaled", "no-limit", "longest"), (0, 1)
    )
    assert said == expected


LEVELS = [  # one for each compiler; the others are long
    *(("gcc", "-O3"), ("clang", "-O0"), ("arm-none-eabi-gcc", "-Os")),
    *(pytest.param("gcc", level, marks=pytest.mark.long) for level in ("-O0", "-Os")),
    *(pytest.param("clang", level, marks=pytest.mark.long) for level in ("-Os", "-O3")),
    *(pytest.param("arm-none-eabi-gcc", level, marks=pytest.mark.long) for level in ("-O0", "-O3")),
]


@pytest.mark.parametrize(("compiler", "level"), LEVELS)
@pytest.mark.parametrize("source", ["bridge.c", "edge_lstm.c"])
def test_the_sources_compile_without_a_warning(tmp_path: Path, compiler: str, level: str, source: str) -> None:
    """C99, -Wall -Wextra -Wconversion -Wshadow -pedantic, whatever the optimization."""
    compile_c(compiler, tmp_path / "object.o", [SOURCES / source], "-c", level, "-Wdouble-promotion")


def test_the_headers_are_good_cpp(tmp_path: Path) -> None:
    """An Arduino sketch is C++: the headers and their tables compile there."""
    need("g++")
    sketch = tmp_path / "sketch.cpp"
    table = '{BRIDGE_SCALED("x", BRIDGE_U8, "V", 0.5, 0)}'
    sketch.write_text(
        '#include "bridge.h"\n#include "edge_lstm.h"\n'
        f"static const bridge_field X[] = {table};\n"
        'extern const bridge_format FORMATS[] = {BRIDGE_READING("x", 1, 10, X)};\n'
    )
    run(
        "g++",
        "-std=gnu++11",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{SOURCES}",
        "-c",
        str(sketch),
        "-o",
        str(tmp_path / "o"),
    )
