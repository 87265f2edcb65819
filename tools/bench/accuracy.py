"""Tries every finite float32 as input of tanh, sigmoid, exp and log, through the machine, against float64.

    python -m tools.bench.accuracy [--every N] [--function tanh]

Prints the largest error and where it is as Markdown, and compares it with what `kernels/activations.py` documents;
exit code 1 where a bound is exceeded. Takes about five minutes on one core; `--every 1009` takes a second.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
WIDTH, CHUNK = 4096, 1 << 18  # values in one reading, values at a time
_SMALLEST = 2.0**-126
_EXP_LOWEST, _EXP_HIGHEST = float(np.float32(-87.33654)), float(np.float32(88.72284))


@dataclass(frozen=True)
class Documented:
    """One function: exact(x), the error's scale(x, exact) and its bound, and where the result is fixed."""

    exact: Callable[[Doubles], Doubles]
    measure: str
    scale: Callable[[Doubles], Doubles]
    bound: float
    fixed: Callable[[Doubles], tuple[npt.NDArray[np.bool_], Doubles]]


def _nowhere(x: Doubles) -> tuple[npt.NDArray[np.bool_], Doubles]:
    return np.zeros(x.shape, np.bool_), x


def _exp_fixed(x: Doubles) -> tuple[npt.NDArray[np.bool_], Doubles]:
    """Zero where the result would be a denormal, infinity where it rounds to more than the largest float32."""
    return (x < _EXP_LOWEST) | (x >= _EXP_HIGHEST), np.where(x < 0, 0.0, math.inf)


def _log_fixed(x: Doubles) -> tuple[npt.NDArray[np.bool_], Doubles]:
    """Minus infinity at zero and denormals, NaN below."""
    return x < _SMALLEST, np.where(x < 0, math.nan, -math.inf)


FUNCTIONS = {
    "tanh": Documented(np.tanh, "absolute", np.ones_like, 3e-7, _nowhere),
    "sigmoid": Documented(lambda x: 1 / (1 + np.exp(-x)), "absolute", np.ones_like, 1.7e-7, _nowhere),
    "exp": Documented(np.exp, "relative", lambda y: y, 1e-7, _exp_fixed),
    "log": Documented(np.log, "relative to max(1, abs(log x))", lambda y: np.maximum(1.0, np.abs(y)), 1e-7, _log_fixed),
}


def machine(function: str) -> Callable[[Floats], Floats]:
    """The function over any number of finite values, as a model of one operation."""
    b = Builder()
    b.output("y", b.map(function, b.input("x", WIDTH)))
    stream = Model(b.build(), channels_for(("x",), (WIDTH,)), channels_for(("y",), (WIDTH,))).stream()

    def apply(values: Floats) -> Floats:
        rows = np.zeros(-(-values.size // WIDTH) * WIDTH, np.float32)
        rows[: values.size] = values
        return stream.run(rows.reshape(-1, WIDTH)).ravel()[: values.size]

    return apply


def largest(name: str, every: int) -> tuple[float, float, int, int]:
    """The largest error, the input where it is, how many inputs were tried, how many fixed results were wrong."""
    documented, apply = FUNCTIONS[name], machine(name)
    worst, place, tried, wrong = 0.0, 0.0, 0, 0
    for start in range(0, 1 << 32, CHUNK * every):
        bits = np.arange(start, min(start + CHUNK * every, 1 << 32), every, dtype=np.uint64).astype(np.uint32)
        inputs = bits.view(np.float32)
        inputs = inputs[np.isfinite(inputs)]
        if not inputs.size:
            continue
        x, y = inputs.astype(np.float64), apply(inputs).astype(np.float64)
        with np.errstate(all="ignore"):
            fixed, values = documented.fixed(x)
            exact = documented.exact(x)
            error = np.abs(y - exact) / documented.scale(exact)
        wrong += int((fixed & (y != values) & ~(np.isnan(y) & np.isnan(values))).sum())
        error[fixed] = 0
        error[np.isnan(error)] = math.inf  # a NaN where there should be a number
        tried += inputs.size
        if (highest := float(error.max())) > worst:
            worst, place = highest, float(x[int(error.argmax())])
    return worst, place, tried, wrong


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--every", type=int, default=1, help="try only every N-th float32")
    parser.add_argument("--function", choices=FUNCTIONS, action="append", help="only this one")
    arguments = parser.parse_args()
    print("| function | inputs | error | largest | at | documented | fixed results wrong |")
    print("|---|---|---|---|---|---|---|")
    failed = False
    for name in arguments.function or FUNCTIONS:
        documented = FUNCTIONS[name]
        worst, place, tried, wrong = largest(name, arguments.every)
        failed |= worst >= documented.bound or wrong > 0
        cells = (name, f"{tried:,}", documented.measure, f"{worst:.3e}", f"{place!r}", f"< {documented.bound:g}", wrong)
        print("|", " | ".join(map(str, cells)), "|", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
