"""Which of a few kinds of CPU this one is: what the step is compiled for.

Code for a kind runs on every CPU that has its instructions, so it is made beforehand and comes with the package
(`python -m tools.compiled`). Vectors and sums of integers are written for the kind; code for one CPU alone is no
faster (a Zen 4). Its rule: only instructions and speed differ between kinds; every bit of every result is the same.

$EDGE_LSTM_CPU (a name below) and $EDGE_LSTM_LANES (4, 8, 16) override what is found, to try what other CPUs run; one
that lacks the instructions stops with SIGILL.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_lstm.errors import CacheError

_CPUINFO = Path("/proc/cpuinfo")
_V2 = "cx16 popcnt ssse3 sse4_1 sse4_2"
_V3 = f"{_V2} avx avx2 bmi1 bmi2 f16c fma abm movbe"
_V4 = f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@dataclass(frozen=True)
class Cpu:
    """A kind of CPU. llvm, features: LLVM's names for it; family: how it sums integers (`kernels/integers.py`); flags:
    what Linux must report of it."""

    name: str
    architecture: str
    llvm: str
    features: str
    lanes: int
    family: str
    flags: str = ""


# Best first. The Arm ones are a Raspberry Pi 4 and before; a Raspberry Pi 5, a Jetson Orin, and most since 2018.
CPUS = (
    Cpu("x86-64-v4-vnni", "x86_64", "x86-64-v4", "+avx512vnni", 16, "vnni512", f"{_V4} avx512_vnni"),
    Cpu("x86-64-v4", "x86_64", "x86-64-v4", "", 16, "avx2", _V4),
    Cpu("x86-64-v3-vnni", "x86_64", "x86-64-v3", "+avxvnni", 8, "vnni256", f"{_V3} avx_vnni"),
    Cpu("x86-64-v3", "x86_64", "x86-64-v3", "", 8, "avx2", _V3),
    Cpu("x86-64-v2", "x86_64", "x86-64-v2", "", 4, "plain", _V2),
    Cpu("x86-64", "x86_64", "x86-64", "", 4, "plain"),
    Cpu("aarch64-dotprod", "aarch64", "cortex-a76", "", 4, "dotprod", "asimddp asimdrdm asimdhp fphp atomics lrcpc"),
    Cpu("aarch64", "aarch64", "cortex-a72", "", 4, "neon"),
)
BY_NAME = {cpu.name: cpu for cpu in CPUS}


def _architecture() -> str:
    """Of this process: a Python of 32 bits may run on a Linux of 64."""
    return platform.machine() if sys.maxsize > 1 << 32 else f"{platform.machine()} with a Python of 32 bits"


def runs_here(cpu: Cpu) -> bool:
    """Whether this machine's CPU has all that code for this kind needs."""
    if cpu.architecture != _architecture():
        return False
    try:
        reported = re.search(r"^(?:flags|Features)\s*:(.*)$", _CPUINFO.read_text("ascii", "replace"), re.MULTILINE)
    except OSError:
        reported = None
    return set(cpu.flags.split()) <= set(reported[1].split() if reported else ())


@functools.cache
def this_cpu(lanes: int = 16) -> Cpu:
    """The best kind that this CPU is one of, for vectors of so many lanes. Fewer than 16 are for a kind without
    AVX-512: LLVM would put two vectors of 8 into one of its registers, one value at a time, and so be slower than a CPU
    that lacks it, which 8 lanes stand for. Raises CacheError where there is none."""
    if wanted := os.environ.get("EDGE_LSTM_CPU"):
        if wanted not in BY_NAME:
            raise CacheError(f"EDGE_LSTM_CPU is {wanted!r}; it can be {', '.join(BY_NAME)}")
        if (chosen := BY_NAME[wanted]).architecture != _architecture():
            raise CacheError(f"EDGE_LSTM_CPU is {wanted!r}, for {chosen.architecture}; this is {_architecture()}")
        there = set(chosen.flags.split())
        found = [c for c in CPUS if c.architecture == chosen.architecture and set(c.flags.split()) <= there]
    else:
        found = [cpu for cpu in CPUS if runs_here(cpu)]
    for cpu in found:
        if cpu.lanes <= max(lanes, 8):
            return cpu
    raise CacheError(f"the native engine runs on x86-64 and 64-bit Arm, not on {_architecture()}")


@functools.cache
def default_lanes() -> int:
    """The lanes that suit this CPU: 16 with AVX-512, 8 with AVX2, else 4."""
    if wanted := os.environ.get("EDGE_LSTM_LANES"):
        if wanted not in ("4", "8", "16"):
            raise CacheError(f"EDGE_LSTM_LANES is {wanted!r}; it can be 4, 8 or 16")
        return int(wanted)
    return this_cpu().lanes
