"""Compilers and the emulated board as tests find them: what is missing is a skip that names the Debian package.

Its rule: everything is built into the folder given, from the sources in firmware_bridge/c, with warnings as errors.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HERE = ROOT / "tests" / "firmware"  # programs in C that only tests need
SOURCES = ROOT / "firmware_bridge" / "c"
BOARD = SOURCES / "board"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
PACKAGES = {
    "gcc": "gcc",
    "g++": "g++",
    "clang": "clang",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi and libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}


def need(*programs: str) -> None:
    """Skip the test where one of these is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt install {PACKAGES[program]})")


def compile_c(compiler: str, output: Path, sources: Sequence[Path], *flags: str) -> Path:
    """Build with STRICT and these flags; the compiler's own words are the failure."""
    need(compiler)
    includes = (f"-I{SOURCES}", f"-I{HERE}", f"-I{output.parent}")
    libraries = () if "-c" in flags else ("-lm",)
    command = [
        compiler,
        *STRICT,
        "-ffp-contract=off",
        *flags,
        *includes,
        *map(str, sources),
        "-o",
        str(output),
        *libraries,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "libclang_rt" in done.stderr:
        pytest.skip("clang has no sanitizers here (Debian: apt install libclang-rt-14-dev, or that of its version)")
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return output


def run(program: Path | str, *arguments: str, text: str = "", timeout: float = 300) -> str:
    """Run a program that was built; its output. A crash or a sanitizer's report is the failure."""
    done = subprocess.run([str(program), *arguments], input=text, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{program} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
