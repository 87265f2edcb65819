"""Hashes of many steps of the models in `tests/support/models/cases.py`, equal however the steps are
taken: one by one, as a log, as one stream of several, as windows each computed alone; with 4, 8 and 16 lanes; here and
on another CPU.

    python -m tests.support.oracles.bit_hashes      # makes tests/vectors/hashes.json anew

Its rule: readings are made of integers and one multiplication, so any computer makes the same; every bit of every
output counts, but for the sign and payload of NaN, which IEEE 754 leaves open. The hashes that are kept are made anew
only when the arithmetic was meant to change.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native.session import Native
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.cases import Case, quantized, ten
from tools.arm.bits import canonical

Floats = npt.NDArray[np.float32]
VECTORS = Path(__file__).parents[2] / "vectors" / "hashes.json"
LANES = (4, 8, 16)
FEW, MANY = 10_000, 100_000  # readings whose hashes are kept; the few are the first of the many
_PART = 10_000  # readings at a time: outputs of many readings would fill the memory
_WINDOWS = 500  # computed at a time


def all_cases() -> list[Case]:
    """Ten models in float32 and twenty quantized ones."""
    return ten() + quantized()


def log_of(case: Case, count: int) -> Floats:
    """(count, n_inputs) readings, even over ±2 times the case's scale (splitmix64 of their number, its upper bits)."""
    size = case.model.program.input_size
    z = np.arange(1, count * size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    integers = (z ^ (z >> np.uint64(31))) >> np.uint64(40)  # 24 bits, so float32 holds each exactly
    unit = (integers.astype(np.float32) - np.float32(2**23)) * np.float32(2**-22)
    readings: Floats = (unit * np.float32(case.scale)).reshape(count, size)
    return readings


def hash_of(parts: Iterator[Floats]) -> dict[int, str]:
    """readings -> the hash of so many outputs, for those numbers that are kept."""
    digest, count, found = hashlib.sha256(), 0, {}
    for ys in parts:
        for end in (FEW, MANY):
            if count < end <= count + len(ys):
                digest.update(canonical(ys[: end - count]))
                found[end] = digest.copy().hexdigest()[:16]
                ys, count = ys[end - count :], end
        digest.update(canonical(ys))
        count += len(ys)
    return found


def _parts(log: Floats) -> Iterator[Floats]:
    return (log[start : start + _PART] for start in range(0, len(log), _PART))


def by_run(model: Model, log: Floats, lanes: int | None) -> Iterator[Floats]:
    """Log by log."""
    stream = Stream(model, Native(lanes))
    return (stream.run(part) for part in _parts(log))


def by_step(model: Model, log: Floats, lanes: int | None) -> Iterator[Floats]:
    """Reading by reading; NaN where there is no output."""
    stream = Stream(model, Native(lanes))
    for part in _parts(log):
        ys = np.full((len(part), model.program.output_size), np.nan, np.float32)
        for x, row in zip(part, ys, strict=True):
            if (y := stream.step(x)) is not None:
                row[:] = y
        yield ys


def by_streams(model: Model, log: Floats, lanes: int | None) -> Iterator[Floats]:
    """As the second of six streams, in groups and alone, the others of other readings and lengths."""
    streams = Streams(model, 6, Native(lanes))
    for part in _parts(log):
        others = [part[::-1][: len(part) - 7 * k] for k in range(6)]
        others[1] = part
        yield streams.run(others)[1]


def by_windows(model: Model, log: Floats, lanes: int | None) -> Iterator[Floats]:
    """Each window from the reset state, as a stream of its own that ends with it."""
    width = model.timing.window
    assert width is not None
    streams = Streams(replace(model, timing=Timing()), _WINDOWS, Native(lanes))
    windows = np.lib.stride_tricks.sliding_window_view(log, width, axis=0)  # (windows, inputs, width)
    yield np.full((width - 1, model.program.output_size), np.nan, np.float32)
    for start in range(0, len(windows), _WINDOWS):
        some = windows[start : start + _WINDOWS]
        xs = np.zeros((_WINDOWS, *some.shape[1:]), np.float32)
        xs[: len(some)] = some
        streams.reset()
        for t in range(width):
            ys = streams.step(xs[:, :, t])
        yield ys[: len(some)].copy()


Way = Callable[[Model, Floats, "int | None"], Iterator[Floats]]


def ways(model: Model) -> Mapping[str, Way]:
    """How the steps of this model can be taken."""
    last: dict[str, Way] = {"streams": by_streams} if model.timing.window is None else {"windows": by_windows}
    return {"run": by_run, "step": by_step} | last


def kept() -> dict[str, dict[str, str]]:
    """Name of the model -> readings -> hash, as in the repository."""
    found: dict[str, dict[str, str]] = json.loads(VECTORS.read_text())
    return found


def main() -> int:
    """Keeps the hashes of MANY readings, where all ways agree on them."""
    found: dict[str, dict[str, str]] = {}
    for case in all_cases():
        log = log_of(case, MANY)
        hashes = [hash_of(way(case.model, log, lanes)) for lanes in LANES for way in ways(case.model).values()]
        if any(other != hashes[0] for other in hashes):
            print(f"{case.name}: the bits depend on how the steps are taken", file=sys.stderr)
            return 1
        found[case.name] = {str(count): value for count, value in hashes[0].items()}
        print(f"{case.name}: {hashes[0]}", flush=True)
    VECTORS.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
