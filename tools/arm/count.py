"""What a reading costs on Arm, without Arm: one table of what was counted, what is predicted and what was measured,
tools/bench/results/ARM.md and ARM.json.

    tools/arm/run --table [--units 8 16 …]

The network of tools/bench (8 inputs → LSTM of H units → dense 4). Counted: instructions per reading under emulation
(`counting.py`), of a whole call from Python (`contenders.py`: ours, ONNX Runtime's and LiteRT's aarch64 wheels), of the
compiled step alone, and of C. Predicted: cycles of the compiled step (`prediction.py`). Measured: what
`tools/bench/run` left on Arm boards. Its rule: the three are never added, divided or compared with each other, and each
row says which it is.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.firmware.export import firmware
from tools.arm import bits, contenders, counting, machine, prediction
from tools.arm.bits import COMPILER, Emulated, Run
from tools.arm.counting import Counter, CountingError
from tools.bench.network import INPUTS, Network
from tools.bench.peers import OURS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tools" / "bench" / "results"
ARM_PYTHON = ROOT / "out" / "arm-python"  # tools/arm/python puts it there
SIZES = (8, 16, 32, 64, 128, 256)
KINDS = ("counted", "predicted", "measured")
UNITS = {"counted": "instructions", "predicted": "cycles", "measured": "µs"}
# The CPU that runs the code under emulation → LLVM's model that predicts it. Neoverse N1 is a server's A76.
MODELS = {"cortex-a72": "cortex-a72", "cortex-a76": "neoverse-n1"}
STEP, LOG, IN_C = f"{OURS}: the compiled step alone", f"{OURS}: a log in one call", f"{OURS} in C, gcc -O3"
LOG_READINGS = 512
LANES = 4
WORKERS = 4
# What the kernel tells a program of its CPU. QEMU 7.2 leaves it as it is here, and ONNX Runtime ends on reading that.
FEATURES = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": ("0xd0b", "fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"),
}
_MAIN = """
#include <sched.h>
#include <stdlib.h>
#include "model.h"
static float arena[MODEL_ARENA];
static edge_lstm_stream stream;
int main(int count, char **arguments)
{
    float x[MODEL_INPUTS] = {0.5f, -0.25f}, y[MODEL_OUTPUTS];
    edge_lstm_begin(&stream, &MODEL, arena);
    sched_yield();
    for (int k = 1; k < count; k++) {
        for (long calls = strtol(arguments[k], NULL, 10); calls; calls--)
            if (edge_lstm_step(&stream, x, y) != EDGE_LSTM_OK) return 1;
        sched_yield();
    }
    return 0;
}
"""
TEXT = """
Written by `tools/arm/run --table`, on a computer that is no Arm; figures in [ARM.json](ARM.json). 8 inputs → LSTM of H
units → dense 4, float32, one reading. (n ×) is theirs in terms of ours, of the same kind and CPU.

- **Counted**: instructions per reading, executed under QEMU's emulation of that CPU, every one of them: N readings
  and 2 N between marks, and the difference divided by N. *From Python* is a whole call, a NumPy array in and a NumPy
  array out, as in the other pages here; the wheels are those of PyPI for aarch64. An instruction is no time: a
  division is one, and so is a load that waits for memory.
- **Predicted**: cycles per reading of the compiled step, activations included, by LLVM's models: each instruction
  that was executed, in its order, taken through the model. It believes every branch foreseen and all memory in the
  nearest cache, which at 128 and 256 units it is not. LLVM's model of Cortex-A72 is that of A57, with the longest
  time that a division may take; Neoverse N1 is the core of Cortex-A76.
- **Measured**: {measured}
""".strip()
NOT_MEASURED = """
nothing yet: no board was at hand. On one, `tools/bench/run --peers` leaves its times in
  `tools/bench/results/aarch64/` (Cortex-A72 and before) or `aarch64-dotprod/`, and
  `python -m tools.arm.count --page` puts them here.
""".strip()
MEASURED = """
µs per reading on a board, as `tools/bench/run --peers` left them; `python -m tools.arm.count --page`
  put them here.
""".strip()

Figures = dict[str, dict[str, dict[str, float]]]  # CPU → what → H → the figure


def missing() -> str:
    """What is not there, as a sentence; empty where all is."""
    python = "" if (ARM_PYTHON / "peers" / "ready").exists() else "no wheels for Arm: tools/arm/python --peers"
    stale = not all(machine.shipped(cpu, LANES) for cpu in MODELS)
    step = "no compiled steps of these kernels: python -m tools.compiled" if stale else ""
    return "; ".join(filter(None, (bits.missing(), counting.missing(), prediction.missing(), python, step)))


def per_reading(between: list[int], readings: int, what: str) -> float:
    """Instructions per reading, from what lies between marks: warming up, N readings, 2 N, and both again. Raises
    CountingError where it does not repeat."""
    _, one, two, again, twice = between
    if two - one != twice - again:
        raise CountingError(f"{what}: {two - one} instructions, and then {twice - again}, for {readings} readings")
    return (two - one) / readings


def alone(counter: Counter, emulated: Emulated, network: Network) -> Iterator[tuple[str, float]]:
    """Counted: the compiled step, reading by reading and a log in one call."""
    log = np.random.default_rng(0).normal(0, 1, (LOG_READINGS, INPUTS)).astype(np.float32)
    for what, xs, calls in ((STEP, log[:1], 100), (LOG, log, 1)):
        command = emulated.command(Run(network.model(), xs, 1, LANES), calls, calls, 2 * calls, calls, 2 * calls)
        yield what, per_reading(counter.counts(command, 6), calls * len(xs), what)


def predicted(counter: Counter, emulated: Emulated, network: Network, model: str) -> float:
    """Predicted cycles of the compiled step: of three readings without those of one, so two: every other one takes
    the blocks backwards."""
    x = np.random.default_rng(0).normal(0, 1, (1, INPUTS)).astype(np.float32)
    _, one, three = counter.traces(emulated.command(Run(network.model(), x, 1, LANES), 4, 1, 3), 4)
    return (prediction.cycles(three, model) - prediction.cycles(one, model)) / 2


def in_c(counter: Counter, cpu: str, network: Network, folder: Path) -> float:
    """Counted: edge_lstm.c with the model's header."""
    sources = ROOT / "firmware_bridge" / "c"
    (folder / "model.h").write_text(firmware(network.model(), "model").text)
    (folder / "main.c").write_text(_MAIN)
    command: list[str | Path] = [
        COMPILER,
        "-std=gnu99",
        "-O3",
        f"-mcpu={cpu}",
        "-static",
        f"-I{sources}",
        f"-I{folder}",
    ]
    subprocess.run([*command, folder / "main.c", sources / "edge_lstm.c", "-o", folder / "main", "-lm"], check=True)
    calls = 20
    between = counter.counts([folder / "main", *map(str, (calls, calls, 2 * calls, calls, 2 * calls))], 6)
    return per_reading(between, calls, IN_C)


def from_python(cpu: str, sizes: tuple[int, ...]) -> list[tuple[dict[str, Any], list[float]]]:
    """Counted: each contender's whole call from Python; what it is, and instructions per reading, twice."""
    part, features = FEATURES[cpu]
    about = (
        "processor: 0",
        f"Features: {features}",
        "CPU implementer: 0x41",
        "CPU architecture: 8",
        f"CPU part: {part}",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "root"  # what is in Debian's, and files of this CPU's
        (root / "proc").mkdir(parents=True)
        for entry in (ARM_PYTHON / "root").iterdir():
            if entry.name != "proc":
                (root / entry.name).symlink_to(entry)
        (root / "proc" / "cpuinfo").write_text("\n".join((*about, "", "")))
        environment = {
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"),
            "PYTHONPATH": f"{ARM_PYTHON / 'peers'}{os.pathsep}{ROOT}",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(folder),
            "EDGE_LSTM_CPU": machine.KINDS[cpu].name,
            "EDGE_LSTM_CACHE_DIR": str(folder / "cache"),
        }
        each, steps, names = len(contenders.LOOPS) + 1, contenders.STEPS, folder / "contenders"
        command: list[str | Path] = [root / "usr" / "bin" / "python3.11", "-m", "tools.arm.contenders"]
        command += [folder, names, *map(str, sizes)]
        marks = each * len(contenders.NAMES) * len(sizes)
        between = Counter(folder, cpu).counts(command, marks, ("-L", root), environment)
        found = []
        for number, line in enumerate(names.read_text().splitlines()):
            _, one, two, again, twice = between[number * each : number * each + each - 1]
            found.append((json.loads(line), [(two - one) / steps, (twice - again) / steps]))
        return found


def without_python(cpu: str, network: Network) -> tuple[dict[str, float], float]:
    """Counted: the compiled step and C; and predicted cycles of the compiled step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counter, emulated = Counter(folder, cpu), Emulated(cpu, LANES, folder)
        counted = {**dict(alone(counter, emulated, network)), IN_C: in_c(counter, cpu, network, folder)}
        return counted, predicted(counter, emulated, network, MODELS[cpu])


def everything(sizes: tuple[int, ...]) -> dict[str, Any]:
    """All that is counted and predicted, with the versions and how far repeated counts differ. Emulators and models
    work side by side: nothing here is timed."""
    counted: Figures = {cpu: {} for cpu in MODELS}
    cycles: Figures = {model: {} for model in MODELS.values()}
    versions, apart = {"LLVM": prediction.version()}, 0.0
    with ThreadPoolExecutor(WORKERS) as pool:
        calls = {cpu: pool.submit(from_python, cpu, sizes) for cpu in MODELS}
        work = [(units, cpu) for units in sorted(sizes, reverse=True) for cpu in MODELS]
        steps = {(units, cpu): pool.submit(without_python, cpu, Network.random(units)) for units, cpu in work}
    for cpu, model in MODELS.items():
        for about, (first, second) in calls[cpu].result():
            counted[cpu].setdefault(f"{about['name']}, from Python", {})[str(about["units"])] = (first + second) / 2
            apart = max(apart, abs(first - second) / first)
            if about["version"]:
                versions[about["package"]] = about["version"]
        for units in sizes:
            figures, predictions = steps[units, cpu].result()
            for what, figure in figures.items():
                counted[cpu].setdefault(what, {})[str(units)] = figure
            cycles[model].setdefault(STEP, {})[str(units)] = predictions
    date = datetime.date.today().isoformat()
    return {"date": date, "versions": versions, "repeats within": apart, "counted": counted, "predicted": cycles}


def measured(results: Path) -> Figures:
    """What `tools/bench/run` left on Arm boards: µs of a step from Python and of the step alone."""
    found: Figures = {}
    for path in sorted(results.glob("aarch64*/results.json")):
        rows, rounds = json.loads(path.read_text())["rows"], found.setdefault(path.parent.name, {})
        for row, where in (("step", "from Python"), ("kernel", "a log in one call")):
            for units, figures in rows[row].items():
                for name in (OURS, *contenders.NAMES):
                    if name in figures:
                        rounds.setdefault(f"{name}, {where}", {})[units] = figures[name]["us"]
    return found


def table(result: dict[str, Any], sizes: list[str]) -> list[str]:
    """One Markdown table; each row says of which kind its figures are. (n ×): in terms of ours in the same rows."""
    lines = ["| | CPU | per reading, H = | " + " | ".join(sizes) + " |", "|---" * (len(sizes) + 3) + "|"]
    for kind in KINDS:
        for cpu, rows in result[kind].items():
            ours = rows.get(f"{OURS}, from Python", {})
            for what, figures in rows.items():
                theirs = what.endswith("from Python") and not what.startswith(OURS)
                cells = []
                for n in sizes:
                    cell = f"{figures[n]:,.{2 if kind == 'measured' else 0}f}" if n in figures else ""
                    cells.append(cell + (f" ({figures[n] / ours[n]:.2f} ×)" if theirs and cell and n in ours else ""))
                lines.append(f"| {kind}, {UNITS[kind]} | {cpu} | {what} | " + " | ".join(cells) + " |")
        if not result[kind]:
            lines.append(f"| {kind}, {UNITS[kind]} |" + " |" * (len(sizes) + 2))
    return lines


def page(result: dict[str, Any]) -> str:
    """The Markdown."""
    sizes = sorted({n for kind in KINDS for rows in result[kind].values() for f in rows.values() for n in f}, key=int)
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    parts = [
        "# Arm: instructions counted, cycles predicted",
        "",
        *TEXT.format(measured=MEASURED if result["measured"] else NOT_MEASURED).splitlines(),
        "",
        f"{result['date']}; {versions}. The compiled step and C repeat to the last instruction,",
        f"calls from Python within {result['repeats within']:.1%} (Python's own caches).",
        "",
        *table(result, sizes),
        "",
    ]
    return "\n".join(parts)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tools/arm/run --table", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--units", type=int, nargs="+", default=SIZES, help="sizes of the LSTM (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder of the page")
    parser.add_argument(
        "--page", action="store_true", help="count nothing: write the page again, with what was measured"
    )
    options = parser.parse_args()
    kept = options.output / "ARM.json"
    if options.page:
        result = json.loads(kept.read_text())
    else:
        if complaint := missing():
            print(complaint, file=sys.stderr)
            return 2
        result = everything(tuple(options.units))
    result["measured"] = measured(options.output)
    kept.write_text(json.dumps(result, indent=1) + "\n")
    (options.output / "ARM.md").write_text(page(result))
    print(page(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
