"""The C bridge fuzzed under address and undefined-behaviour sanitizers, for two minutes.

With clang it is libFuzzer, which learns which inputs reach new code; without, a program that makes inputs from a seed.
An input that fails is left in out/fuzz. Debian: apt install clang libclang-rt-14-dev
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.robots.toolchain import HERE, ROOT, SANITIZE, SOURCES, need, run

pytestmark = pytest.mark.long
SECONDS = 120
START = bytes.fromhex("01080a00000001000000")
ACTION = bytes.fromhex("010e0b0200000000803f0a0007000000")


def build(compiler: str, program: Path, *flags: str) -> bool:
    """Whether the fuzzer could be built."""
    command = [compiler, "-std=c99", f"-I{SOURCES}", *SANITIZE, *flags, str(HERE / "fuzz.c"), "-lm", "-o", str(program)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_nothing_that_arrives_breaks_what_must_hold(tmp_path: Path, volume: Callable[[float], int]) -> None:
    """Outputs stay within limits, silence makes them safe, all that is sent is intact, and no sanitizer complains."""
    program, seconds = tmp_path / "fuzz", volume(SECONDS)
    try:
        learns = build("clang", program, "-fsanitize=fuzzer")
    except FileNotFoundError:
        learns = False
    if learns:
        corpus, found = tmp_path / "corpus", ROOT / "out" / "fuzz"
        corpus.mkdir()
        found.mkdir(parents=True, exist_ok=True)
        (corpus / "start").write_bytes(START)
        (corpus / "action").write_bytes(ACTION)
        limits = (f"-max_total_time={seconds}", "-max_len=4096", "-verbosity=0", "-print_final_stats=1")
        run(program, *limits, f"-artifact_prefix={found}/", str(corpus), timeout=seconds + 300)
        return
    print("no clang with libFuzzer here: inputs from a seed instead")
    need("gcc")
    assert build("gcc", program, "-DSTANDALONE")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run(program, "200000")
