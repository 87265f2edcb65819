"""Runs every measurement and writes the page of this kind of CPU: tools/bench/results/KIND/{README.md,results.json,
units.png,streams.png}; and tools/bench/results/README.md, where the aims of all kinds stand side by side.

KIND is `edge_lstm/engines/native/cpu.py`'s name and the CPU's family and model, so what another CPU gave stays.
EDGE_LSTM_CPU and EDGE_LSTM_LANES run what other CPUs would, on a page of its own that says so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_lstm.engines.native.cpu import default_lanes, this_cpu
from tools.bench import aims, measure
from tools.bench.peers import GENERAL, OURS, OURS_INT8

SIZES = (8, 16, 32, 64, 128, 256)
COUNTS = (1, 4, 16, 64, 256)
PACKAGES = ("numpy", "onnxruntime", "ai-edge-litert", "openvino", "ncnn", "tract", "torch", "numba", "llvmlite")
INTRODUCTION = """
Written by `tools/bench/run`; figures in `results.json`. 8 inputs → LSTM of H units → dense 4, the same weights, outputs
compared with float64 before timing, one thread. A NumPy array in, a NumPy array out, the states carried as the runtime
wants it. Times are medians in µs and belong to this machine and hour; (n ×) is the median over rounds of their time in
terms of ours in the same round. Whole logs are timed by the thread's own time, so that what else runs does not count.
""".strip()
SIDE_BY_SIDE = """
Written by `tools/bench/run`, of what each run left. A ratio belongs to its machine and is a median inside one run; two
machines' times are compared nowhere. Beside this: [what disturbs a reading](JITTER.md), [many logs](FLEET.md),
[dialects](DIALECTS.md), [a recording](RECORDING.md), [Arm, counted and predicted](ARM.md).
""".strip()
WHY = """
Where an aim is missed:

- A log of 64 units and more, a step of 128 and more: a reading is one pass over its weights, and the kernel lies within
  a third of that floor (dotted in each page's first picture). A reading of ONNX Runtime's log takes 1.7 to 2.1 times
  the floor at 64 units, 1.2 to 1.3 times at 256.
- A step to 32 units: the kernel takes a tenth to two fifths of it, the rest is the call from Python.
- 16 logs of 64 units and more: weights are read once for several, so multiply-adds count, as many of them for both.
- Short logs on two cores, to 128 units, on pages before 2026-11-30: one thread is chosen, so both rows are the same
  work. Contenders had one order then, in which ours stood behind a pool whose threads were still spinning.
""".strip()
FLOOR = measure.FLOOR
_WHICH = ("cpu family", "model", "CPU part")  # in /proc/cpuinfo, on x86 and on Arm
C = "C, AVX-512 intrinsics"
# Lines of the first plot: name, colour, dashes where no Python stands between readings.
LINES = (
    (OURS, "#c1121f", "step"), ("LiteRT, fused LSTM", "#2a6f97", "step"), ("LiteRT, cell graph", "#61a5c2", "step"),
    ("ONNX Runtime, IOBinding", "#2d6a4f", "step"), ("ONNX Runtime, run()", "#74c69d", "step"),
    ("NumPy by hand", "#9c6644", "step"), ("torch", "#7b2cbf", "step"), (C, "#6c757d", "step"),
    (OURS_INT8, "#f4a261", "int8"), ("LiteRT, cell graph, int8", "#a9d6e5", "int8"),
    (OURS, "#c1121f", "kernel"), (C, "#6c757d", "kernel"), (FLOOR, "#000000", "kernel"),
)  # fmt: skip


def machine() -> dict[str, str]:
    """What was measured on what."""
    found: dict[str, str] = {
        "date": datetime.date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
    }
    text = _cpuinfo()
    names = re.findall(r"^model name\s*: (.*)", text, re.M)
    found["CPU"] = f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, one used"
    widest = [flag for flag in ("avx512f", "avx512_vnni", "avx2", "asimd") if re.search(rf"\b{flag}\b", text)]
    told = [f"{name}={os.environ[name]}" for name in ("EDGE_LSTM_CPU", "EDGE_LSTM_LANES") if name in os.environ]
    how = f"{this_cpu().name}, {default_lanes()} lanes{f' (by {chr(32).join(told)})' if told else ''}"
    found["vectors"] = f"{how}; the CPU has {', '.join(widest)}"
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = size
    found["Python"] = platform.python_version()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def table(rows: dict[Any, dict[str, dict[str, float]]], unit: str, base: str = OURS) -> list[str]:
    """A Markdown table: contenders down, sizes across; each time, and in terms of ours."""
    if not (sizes := list(rows)):
        return ["Not measured: this machine has too few cores for it."]
    lines = [f"| {unit} | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
    for name in dict.fromkeys(name for size in sizes for name in rows[size]):
        cells = []
        for size in sizes:
            figures = rows[size].get(name)
            if figures is None:
                cells.append("")
            else:
                ratio = f" ({figures['ratio']:.2f} ×)" if "ratio" in figures and name != base else ""
                cells.append(number(figures["us"]) + ratio)
        bold = "**" if name == base else ""
        lines.append(f"| {bold}{name}{bold} | " + " | ".join(cells) + " |")
    return lines


def fastest(rows: dict[Any, dict[str, dict[str, float]]]) -> list[str]:
    """One line: how much longer the fastest general runtime takes than we do."""
    cells = []
    for figures in rows.values():
        ratio, name = min(((f["ratio"], n) for n, f in figures.items() if n in GENERAL), default=(0, ""))
        cells.append(f"{ratio:.2f} × ({name})" if name else "")
    return ["| *fastest general runtime* | " + " | ".join(cells) + " |"]


def page(result: dict[str, Any]) -> str:
    """The Markdown."""
    rows = result["rows"]
    fields = ("steps", "p50", "p99", "p99.9", "p99.99", "max", "p99.9 / p50", "bytes kept", "for a moment")
    parts = [
        "# Speed beside every peer",
        "",
        INTRODUCTION,
        "",
        *(f"- {key}: {value}" for key, value in result["machine"].items()),
        f"- load average of the machine before and after: {result['load']}",
        *(f"- not installed, left out: {name} ({why})" for name, why in rows["absent"].items()),
        *(f"- computes something else, left out: {who} at H = {n}, off by {by:.2g}" for who, n, by in rows["wrong"]),
        "",
        "## What this project means to reach, and what was found here",
        "", *aims.table(rows),
        "",
        "## One reading, one call from Python",
        "", *table(rows["step"], "µs, H ="), *fastest(rows["step"]),
        "", "![time against hidden size](units.png)",
        "",
        "## The kernel alone: 1,000 readings in one call, per reading",
        "", *table(rows["kernel"], "µs, H ="),
        "",
        "## A log of 10,000 readings in one call, per reading",
        "", *table(rows["log"], "µs, H ="), *fastest(rows["log"]),
        "",
        f"## {measure.LOGS} logs of {measure.LONG_LOG:,} readings at once, per reading of one of them",
        "", *table(rows["logs"], "µs, H ="),
        "",
        f"## The same on {measure.CORES} cores: µs that pass",
        "", *table(rows["logs on cores"], "µs, H ="),
        "",
        f"## {measure.LOGS} logs of {measure.SHORT_LOG} readings on {measure.CORES} cores: µs that pass",
        "", *table(rows["short logs on cores"], "µs, H ="),
        "",
        "## A log of 10,000 readings by each number of lanes, per reading",
        "", *table(rows["lanes"], "µs, H ="),
        "",
        "The bits are the same.",
        "",
        "## int8: one reading, one call from Python",
        "", *table(rows["int8"], "µs, H =", OURS_INT8), *fastest(rows["int8"]),
        "",
        "LiteRT's files hold int8 matrices and quantize what they are multiplied by as they go, as does ONNX Runtime's",
        "operator; so does our int8-dynamic, while our int8 has fixed scales, from a log.",
        "",
        "## int8: a log of 10,000 readings in one call, per reading",
        "", *table(rows["int8 log"], "µs, H =", OURS_INT8),
        "",
        "## int8: the largest difference from float64 over 60 readings",
        "", *table(rows["int8 error"], "of outputs of about ±1, H =", OURS_INT8),
        "",
        "## Many streams of one model, one step of all (H = 64)",
        "", *table(rows["streams"], "µs per call, streams ="),
        "", "![time against number of streams](streams.png)",
        "",
        f"## One of {measure.TOGETHER} streams that step together, beside one stream alone",
        "", *table(rows["streams of one size"], "µs, H ="),
        "",
        "## A window of 32 readings at every reading",
        "", *table(rows["window"], "µs, H ="),
        "",
        "## Single steps (H = 64)",
        "",
        "| | " + " | ".join(fields) + " |", "|---" * (len(fields) + 1) + "|",
        *(f"| {n} | " + " | ".join(number(f[k]) for k in fields) + " |" for n, f in rows["latency"].items()),
        "",
        "µs, timed one by one in turns of 1,000. Bytes: of Python's memory per step, kept after it, and at most taken",
        "for a moment (ours: NumPy's note about the reading that it shows). [What disturbs a reading](../JITTER.md).",
        "",
        "## Process start → first prediction → end, caches warm",
        "",
        "| | seconds | RSS, MiB |", "|---|---|---|",
        *(f"| {n} | {f['seconds']:.3f} | {f['MiB']:.0f} |" for n, f in rows["start"].items()),
        "",
    ]  # fmt: skip
    return "\n".join(parts)


def kind() -> str:
    """What the folder of this run's page is called: what the engine takes the CPU for, and which one of those it is,
    since one adds 512 bits at once and another 256 twice."""
    cpu, text = this_cpu(), _cpuinfo()
    which = [found[1] for word in _WHICH if (found := re.search(rf"(?m)^{word}\s*: (\w+)$", text))]
    lanes = [] if default_lanes() == cpu.lanes else [f"{default_lanes()}-lanes"]
    return "-".join([cpu.name, *which, *lanes])


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def side_by_side(folder: Path) -> str:
    """The Markdown of all kinds of CPU that were measured, from what each run left."""
    parts = [
        "# Speed beside every peer, on each kind of CPU",
        "",
        *SIDE_BY_SIDE.splitlines(),
        "",
        *WHY.splitlines(),
        "",
    ]
    for path in sorted(folder.glob("*/results.json")):
        result = json.loads(path.read_text())
        rows = {
            name: {int(key) if key.isdigit() else key: value for key, value in row.items()}
            for name, row in result["rows"].items()
            if isinstance(row, dict)
        }
        about = result["machine"]
        parts += [f"## [{path.parent.name}]({path.parent.name}/README.md)", ""]
        parts += [
            f"{about['CPU']}; {about['vectors']}; {about['date']}; load {result['load']}.",
            "",
            *aims.table(rows),
            "",
        ]
    return "\n".join(parts)


def plots(result: dict[str, Any], folder: Path) -> None:
    """Time against hidden size, and against the number of streams, each with the floor of one pass over the weights."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = result["rows"]
    figure, axes = plt.subplots(figsize=(11, 6), layout="constrained")
    for name, colour, row in LINES:
        if not (sizes := [size for size in rows[row] if name in rows[row][size]]):
            continue
        alone = row == "kernel" and name != FLOOR
        style = ":" if name == FLOOR else "--" if alone else "-"
        times = [rows[row][size][name]["us"] for size in sizes]
        label = f"{name}, no Python per reading" if alone else name
        axes.plot(sizes, times, style, color=colour, marker=".", label=label)
    _finish(axes, "One reading, one core", "LSTM units", "µs per reading", list(rows["step"]))
    figure.savefig(folder / "units.png", dpi=110)

    figure, axes = plt.subplots(figsize=(11, 5), layout="constrained")
    counts = list(rows["streams"])
    for name, colour, row in LINES:
        if row == "step" and all(name in rows["streams"][n] for n in counts):
            times = [rows["streams"][n][name]["us"] / n for n in counts]
            axes.plot(counts, times, color=colour, marker=".", label=name)
    if FLOOR in rows["kernel"][64]:
        floor = rows["kernel"][64][FLOOR]["us"]
        axes.plot(counts, [floor / n for n in counts], "k:", label="floor: weights read once for all streams")
        axes.plot(counts, [floor] * len(counts), color="#999999", ls=":", label="floor: weights read once for each")
    _finish(axes, "Streams stepping together, H = 64", "streams", "µs per stream and reading", counts)
    figure.savefig(folder / "streams.png", dpi=110)
    plt.close("all")


def _finish(axes: Any, title: str, x: str, y: str, ticks: list[int]) -> None:
    axes.set(xscale="log", yscale="log", title=title, xlabel=x, ylabel=y)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("results"), help="the folder of all kinds of CPU"
    )
    parser.add_argument("--quick", action="store_true", help="two sizes, few rounds: to see that it works")
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--steps", type=int, default=10_000_000, help="single steps timed one by one")
    arguments = parser.parse_args()
    rounds, steps = (5, 2000) if arguments.quick else (arguments.rounds, arguments.steps)
    sizes, counts = ((16, 64), (1, 64)) if arguments.quick else (SIZES, COUNTS)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure.everything(sizes, counts, rounds, Path(temporary), steps)
    load = f"{before:.2f}, {os.getloadavg()[0]:.2f}"
    result = {"machine": machine(), "load": load, "rounds": rounds, "rows": rows}
    folder = arguments.output / kind()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "README.md").write_text(page(result))
    plots(result, folder)
    (arguments.output / "README.md").write_text(side_by_side(arguments.output))
    print(page(result))


if __name__ == "__main__":
    main()
