"""What this project means to reach, and what one run of tools/bench/run found: ratios only, never absolute times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.bench.peers import GENERAL, ONE_CORE, ONE_STREAM, OURS, OURS_DYNAMIC, SAME_DOOR

Figures = dict[str, dict[str, float]]  # name -> {"us": ..., "ratio": their time / ours}
Rows = dict[Any, Figures]
ORT = "ONNX Runtime, run()"
FLOAT32 = f"{OURS}, float32"


def fastest(figures: Figures) -> float | None:
    """Of the general runtimes, their time in terms of ours; None where none is here."""
    return min((figure["ratio"] for name, figure in figures.items() if name in GENERAL), default=None)


def c_for_this_cpu(figures: Figures) -> float | None:
    """Of the programs in C, intrinsics where this CPU has them, the faster one's time in terms of ours."""
    return min((figure["ratio"] for name, figure in figures.items() if name.startswith("C,")), default=None)


def of(name: str) -> Callable[[Figures], float | None]:
    """One contender's time in terms of ours."""
    return lambda figures: figures[name]["ratio"] if name in figures else None


def in_terms_of(own: str, get: Callable[[Figures], float | None]) -> Callable[[Figures], float | None]:
    """As `get`, in terms of another contender of ours."""

    def found(figures: Figures) -> float | None:
        time = get(figures)
        return None if time is None or own not in figures else time / figures[own]["ratio"]

    return found


def nearer(figures: Figures) -> float | None:
    """How many times as far from float64 the nearest general runtime is as int8-dynamic."""
    errors = [figure["us"] for name, figure in figures.items() if name in GENERAL]
    return min(errors) / figures[OURS_DYNAMIC]["us"] if errors and OURS_DYNAMIC in figures else None


SIZES = (8, 16, 32, 64, 128, 256)
MANY_LOGS = {8: 2, 16: 2, 32: 2, 64: 2, 128: 1.5, 256: 1.5}
# work, row, size -> at least so many times as fast, whose time in terms of ours
AIMS: tuple[tuple[str, str, dict[int, float], Callable[[Figures], float | None]], ...] = (
    (
        "step, the fastest peer called from Python",
        "step",
        {8: 8, 16: 8, 32: 8, 64: 5, 128: 3, 256: 1.8},
        fastest,
    ),
    ("kernel alone, C for this CPU", "kernel", dict.fromkeys(SIZES, 1.0), c_for_this_cpu),
    (
        "a log of 10,000 readings, ONNX Runtime",
        "log",
        {8: 3, 16: 3, 32: 3, 64: 2, 128: 1.6, 256: 1.6},
        of(ORT),
    ),
    ("16 logs at once, ONNX Runtime", "logs", MANY_LOGS, of(ORT)),
    ("16 logs at once on two cores, ONNX Runtime on two", "logs on cores", MANY_LOGS, of(ORT)),
    ("the same, ours on one core", "logs on cores", dict.fromkeys(SIZES, 1.0), of(ONE_CORE)),
    (
        "16 logs of 30 readings on two cores, ours on one",
        "short logs on cores",
        dict.fromkeys(SIZES, 1.0),
        of(ONE_CORE),
    ),
    ("int8 step, our float32", "int8", {128: 2, 256: 3}, of(FLOAT32)),
    ("int8 step, the fastest int8 peer", "int8", {128: 3, 256: 2.2}, fastest),
    ("int8-dynamic step, our float32", "int8", {128: 2, 256: 3}, in_terms_of(OURS_DYNAMIC, of(FLOAT32))),
    ("int8-dynamic step, the fastest int8 peer", "int8", {128: 3, 256: 2.2}, in_terms_of(OURS_DYNAMIC, fastest)),
    ("int8-dynamic, error of the nearest int8 peer", "int8 error", dict.fromkeys(SIZES, 1), nearer),
    ("64 streams together (H = 64), ONNX Runtime", "streams", {64: 2.0}, of(ORT)),
    ("one of 64 streams, one alone", "streams of one size", {64: 1 / 0.3, 256: 1 / 0.2}, of(ONE_STREAM)),
    ("a window of 32 readings, our 32 readings again", "window", {64: 2.5}, of(f"{OURS}: 32 readings again")),
    ("a window of 32 readings, ONNX Runtime", "window", {64: 5}, of(f"{ORT}: 32 readings again")),
)


def table(rows: dict[str, Any]) -> list[str]:
    """Markdown: each aim, and what was found for each size; those that were missed in bold."""
    lines = ["| how many times as fast as | " + " | ".join(map(str, SIZES)) + " |", "|---" * 7 + "|"]
    for work, row, aims, get in AIMS:
        cells = []
        for size in SIZES:
            figures = rows.get(row, {}).get(size)  # an older run lacks some
            value = get(figures) if figures and size in aims else None
            cells.append("" if value is None else _cell(value, aims[size]))
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
    return [*lines, "", *(f"- {line}" for line in others(rows))]


def _cell(value: float, aim: float) -> str:
    text = f"{value:.2f} (aim {aim:.3g})"
    return text if value >= aim else f"**{text}**"


def others(rows: dict[str, Any]) -> list[str]:
    """The aims that are not a ratio of times."""
    said = []
    start = rows["start"]
    if ORT in start:
        more = start[OURS]["seconds"] - start[ORT]["seconds"]
        said.append(
            f"process start to first prediction: {more:+.3f} s beside ONNX Runtime (aim: at most +0.1), "
            f"{start[OURS]['MiB']:.0f} MiB (aim: at most 60)"
        )
    latency = rows["latency"]
    if SAME_DOOR in latency:
        ours, theirs = (latency[name]["p99.9 / p50"] for name in (OURS, SAME_DOOR))
        said.append(
            f"p99.9 / p50 over {latency[OURS]['steps']:,} steps: {ours:.2f}, C through the same door {theirs:.2f}; "
            f"{latency[OURS]['bytes kept']:g} bytes kept per step"
        )
    return said
