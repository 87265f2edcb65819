"""The kernels as ordinary Python (NUMBA_DISABLE_JIT=1): the compiled interpreter's bits, and every line of them."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
from numba.core.extending import _Intrinsic

from edge_lstm.engines.native.kernels import integers, plain, simd

ROOT = Path(__file__).parents[3]


def test_python_gives_the_compiled_bits_and_reaches_every_line():
    """Float32 and quantized models, windows, streams together: not a bit differs, no line of a kernel is missed."""
    command = [sys.executable, "-m", "tests.support.oracles.kernel_coverage", "--readings", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of them with other bits than compiled" in done.stdout
    covered = {line.split()[0]: line.split()[5] for line in done.stdout.splitlines()[1:]}
    assert {"lstm.py", "gru.py", "rnn.py", "dense.py", "interpreter.py", "quantized.py"} <= set(covered)
    assert set(covered.values()) == {"100.0%"}


def test_every_intrinsic_has_its_plain_function():
    """Whatever kernels may call of simd.py and integers.py is in plain.py too."""
    for module in (simd, integers):
        own = {
            name
            for name, value in vars(module).items()
            if isinstance(value, _Intrinsic) and not name.startswith("_") and name != "apply"
        }
        assert own
        assert own <= set(vars(plain)), own - set(vars(plain))


def nearest(exact: Fraction) -> np.float32:
    """The float32 nearest to an exact number; of two equally near ones the even one."""
    about = np.float32(float(exact))
    candidates = [about, np.nextafter(about, np.float32(np.inf)), np.nextafter(about, np.float32(-np.inf))]
    finite = [c for c in candidates if np.isfinite(c)]
    return min(finite, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1))


def test_fma_is_rounded_once():
    """fma(a, b, c) is the float32 nearest to the exact a b + c: for any bits, for results among the denormals, and for
    sums that float64 would first round to the middle of two float32."""
    random = np.random.default_rng(0)
    a, b, c = (random.normal(0, 1, 3000) * 2.0 ** random.integers(-60, 60, 3000) for _ in "abc")
    a, b = a.astype(np.float32), b.astype(np.float32)
    c = np.where(np.arange(3000) % 2, -a * b, c).astype(np.float32)  # half of them cancel
    small = np.float32(2.0) ** np.float32(-75)
    half = np.float32(1 + 2.0**-12)  # its square has a bit at the middle of two float32
    hard = [(half, half, np.float32(2.0**-60 * s)) for s in (-1, 0, 1)]
    hard += [(np.float32(1 + 2.0**-23), np.float32(1 - 2.0**-23), np.float32(s * 2.0**-100)) for s in (-1, 1)]
    hard += [(x * small, y * small, np.float32(0)) for x, y in zip(a[:200], b[:200], strict=True) if abs(x * y) < 8]
    a, b, c = (np.concatenate([v, np.float32(w)]) for v, w in zip((a, b, c), zip(*hard, strict=True), strict=True))
    got = plain.fma(a, b, c)
    for x, y, z, value in zip(a.tolist(), b.tolist(), c.tolist(), got, strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        if abs(exact) < 2.0**127:
            assert value == nearest(exact), (x, y, z)


def test_fma_without_care_would_round_twice():
    """The test above can fail: float64 rounded to float32 differs for a number of those sums."""
    one = np.float32(1 + 2.0**-12)
    c = np.float32(2.0**-60)
    twice = np.float32(np.float64(one) * np.float64(one) + np.float64(c))
    assert twice != plain.fma(np.float32([one]), np.float32([one]), np.float32([c]))[0]
