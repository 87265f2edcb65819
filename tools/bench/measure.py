"""Measuring: contenders take turns in short rounds, and what counts is the median of the rounds' ratios.

Absolute times belong to one machine and one moment; a ratio compares two neighbours of one round.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import edge_lstm
from edge_lstm.bench.measure import allocated, first_start
from edge_lstm.bench.timing import block
from tools.bench.hand import c_library
from tools.bench.network import INPUTS, Contender, Floats, Network
from tools.bench.peers import GENERAL, ONE_STREAM, OURS, OURS_INT8, SAME_DOOR, by_lanes, contenders, on_cores

Work = Callable[[], object]
LOGS = 16  # at once
LONG_LOG, SHORT_LOG = 1000, 30  # readings of each
TOGETHER = 64  # streams, a step of all beside a step of one
CORES = 2
_FEW = 2
FLOOR = "floor: one pass over the weights"
Figures = dict[str, dict[str, float]]  # name -> {"us": ..., "ratio": their time / ours}


def seconds(work: Work, calls: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds per call."""
    start = clock()
    for _ in range(calls):
        work()
    return (clock() - start) / calls


def compare(
    works: Mapping[str, Work], rounds: int, block_s: float = 5e-4, base: str = OURS, long: bool = False
) -> Figures:
    """Medians over rounds of each one's µs per call, and of its time in terms of `base`'s in the same round.

    long: calls that take longer than the system lets a process run at a stretch, and stay in this thread. Its own time
    is taken then, so that what else runs on the machine does not decide. Where a block is a call or two, each is called
    once before, untimed: else whoever comes after the one with most memory would pay for it.
    """
    clock = time.thread_time if long else time.perf_counter
    calls = {name: max(1, int(block_s / max(seconds(work, 1), seconds(work, 3)))) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    turns = list(works.items())
    for _ in range(rounds):
        turns.reverse()  # whoever comes after a pool whose threads still spin has half a core: not always the same one
        for name, work in turns:
            if calls[name] <= _FEW:
                work()
            times[name].append(seconds(work, calls[name], clock))
    return {
        name: {
            "us": statistics.median(found) * 1e6,
            "ratio": statistics.median(t / ours for t, ours in zip(found, times[base], strict=True)),
        }
        for name, found in times.items()
    }


def per_reading(figures: Figures, readings: int) -> Figures:
    """The same with µs per reading."""
    return {name: {**f, "us": f["us"] / readings} for name, f in figures.items()}


def readings(count: int) -> Floats:
    """(count, I) normal."""
    return np.random.default_rng(1).normal(0, 1, (count, INPUTS)).astype(np.float32)


def logs_on_cores(network: Network, folder: Path, rounds: int, count: int, streams: int) -> Figures:
    """As `logs`, on two cores: µs that pass, per reading of one log."""
    works = on_cores(network, folder, readings(count * streams).reshape(count, streams, INPUTS), CORES)
    return per_reading(compare(works, rounds), count * streams)


def step(found: dict[str, Contender], rounds: int, base: str = OURS) -> Figures:
    """One reading, one call from Python."""
    x = readings(1)[0]
    return compare({name: lambda c=c: c.step(x) for name, c in found.items()}, rounds, base=base)  # type: ignore[misc]


def log(found: dict[str, Contender], rounds: int, count: int, base: str = OURS) -> Figures:
    """Many readings in one call, µs per reading."""
    xs = readings(count)
    works = {name: lambda c=c: c.log(xs) for name, c in found.items() if c.log}
    return per_reading(compare(works, rounds, base=base, long=True), count)


def logs(found: dict[str, Contender], rounds: int, count: int, streams: int) -> Figures:
    """As many logs at once, µs per reading of one of them."""
    xs = readings(count * streams).reshape(count, streams, INPUTS)
    works = {name: c.logs(xs) for name, c in found.items() if c.logs}
    return per_reading(compare(works, rounds, long=True), count * streams)


def kernel(network: Network, found: dict[str, Contender], folder: Path, rounds: int) -> Figures:
    """No Python per reading: ours and C over 1,000 readings in one call, and one pass over the weights."""
    count = 1000
    xs = readings(count)
    names = [OURS, *(name for name in found if name.startswith("C,") and name != SAME_DOOR)]
    works: dict[str, Work] = {name: lambda c=found[name]: c.log(xs) for name in names}  # type: ignore[misc]
    if shutil.which("gcc") is None:
        return per_reading(compare(works, rounds, long=True), count)
    library = c_library(folder)
    weights = np.zeros(network.weight_bytes // 4 + 128, np.float32)
    times = ctypes.c_long(count)

    def floor() -> None:
        library.read_pass(ctypes.c_void_p(weights.ctypes.data), ctypes.c_long(weights.size), times)

    return per_reading(compare({**works, FLOOR: floor}, rounds, long=True), count)


def streams(found: dict[str, Contender], count: int, rounds: int) -> Figures:
    """One step of `count` streams together, µs per call."""
    xs = np.tile(readings(1), (count, 1))
    return compare({name: lambda c=c: c.batch(xs) for name, c in found.items() if c.batch}, rounds)  # type: ignore[misc]


def streams_of_one_size(network: Network, rounds: int) -> Figures:
    """A step of 64 streams together beside one stream's, µs for one of them."""
    model, xs = network.model(), np.tile(readings(1), (TOGETHER, 1))
    one, many = model.stream(), model.streams(TOGETHER)
    found = compare({OURS: lambda: many.step(xs), ONE_STREAM: lambda: one.step(xs[0])}, rounds)
    share = {OURS: 1 / TOGETHER, ONE_STREAM: 1.0}
    return {
        name: {"us": f["us"] * share[name], "ratio": f["ratio"] * share[name] / share[OURS]}
        for name, f in found.items()
    }


def window(network: Network, found: dict[str, Contender], rounds: int, length: int = 32) -> Figures:
    """A window model's step, beside running the window's readings again at every reading."""
    xs = readings(length)
    stream = network.model(window=length).stream()
    stream.run(xs)
    works: dict[str, Work] = {OURS: lambda: stream.step(xs[0])}
    for name, c in found.items():
        if c.log and name in (OURS, *GENERAL):
            works[f"{name}: {length} readings again"] = lambda c=c: c.log(xs)  # type: ignore[misc]
    return compare(works, rounds)


def latency(found: dict[str, Contender], steps: int) -> dict[str, dict[str, float]]:
    """µs of single steps, timed one by one in turns of 1,000, and the bytes that a step allocates. As many steps as
    asked for of ours and of C; a fiftieth of the others."""
    xs = [readings(1)[0]] * 1000
    counts = {name: steps if name.startswith((OURS, "C,")) else steps // 50 for name in found}
    times: dict[str, list[Any]] = {name: [] for name in found}
    for first in range(0, steps, len(xs)):
        for name, contender in found.items():
            if first < max(counts[name], len(xs)):
                times[name].append(block(contender.step, xs))
    result = {}
    for name, parts in times.items():
        own = np.concatenate(parts)
        percents = (50, 99, 99.9, 99.99, 100)
        p50, p99, p999, p9999, most = (float(np.percentile(own, q)) / 1e3 for q in percents)
        memory = allocated(found[name].step, xs)
        result[name] = {
            "steps": len(own), "p50": p50, "p99": p99, "p99.9": p999, "p99.99": p9999, "max": most,
            "p99.9 / p50": p999 / p50, "bytes kept": memory["kept_bytes"], "for a moment": memory["momentary_bytes"],
        }  # fmt: skip
    return result


FIRST = f"{OURS}, the very first start, nothing in a cache"
STARTS = {
    OURS: "import edge_lstm; y = edge_lstm.load('{folder}/model.npz').stream().step([0.5] * 8)",
    "ONNX Runtime, run()": (
        "import numpy as np, onnxruntime as o; z = np.zeros((1, 1, 64), np.float32)\n"
        "s = o.InferenceSession('{folder}/lstm.onnx'); x = np.full((1, 1, 8), 0.5, np.float32)\n"
        "y = s.run(['y'], {{'x': x, 'h': z, 'c': z}})"
    ),
    "LiteRT, fused LSTM": (
        "import numpy as np; from ai_edge_litert.interpreter import Interpreter\n"
        "i = Interpreter('{folder}/fused.tflite', num_threads=1); i.allocate_tensors()\n"
        "i.set_tensor(0, np.full((1, 1, 8), 0.5, np.float32)); i.invoke()"
    ),
    "OpenVINO": (
        "import numpy as np, openvino as ov; z = np.zeros((1, 64), np.float32)\n"
        "m = ov.Core().compile_model('{folder}/cell.onnx', 'CPU'); m([np.full((1, 8), 0.5, np.float32), z, z])"
    ),
    "torch": (
        "import torch; c = torch.nn.LSTMCell(8, 64); h = torch.nn.Linear(64, 4)\n"
        "with torch.inference_mode(): y = h(c(torch.full((1, 8), 0.5))[0])"
    ),
    "NumPy, import alone": "import numpy",
    "Numba, import alone": "import numba",
}
# Not getrusage: its maximum begins with the size of the process that forked this one.
_RSS = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def start(network: Network, names: list[str], folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Process start to first prediction and the process's end, seconds, caches warm; and the most memory it had."""
    import subprocess

    edge_lstm.save(network.model(), folder / "model.npz")
    network.lstm_onnx(folder / "lstm.onnx")
    network.cell_onnx(folder / "cell.onnx")
    if "LiteRT, fused LSTM" in names:
        from tools.bench import tflite

        (folder / "fused.tflite").write_bytes(tflite.fused(network))
    wanted = [name for name in STARTS if name in names or name.endswith("alone")]
    times: dict[str, list[float]] = {name: [] for name in wanted}
    memory: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name in wanted:
            begin = time.perf_counter()
            code = STARTS[name].format(folder=folder) + _RSS
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            if turn:  # the first one warms the caches
                times[name].append(time.perf_counter() - begin)
                memory[name] = int(done.stdout.split()[-1]) / 1024
    result = {n: {"seconds": statistics.median(t), "MiB": memory[n]} for n, t in times.items()}
    result[FIRST] = dict(zip(("seconds", "MiB"), first_start(folder / "model.npz"), strict=True))
    return result


def lanes(network: Network, rounds: int, count: int) -> Figures:
    """A log by each number of lanes, µs per reading."""
    return per_reading(compare(by_lanes(network, readings(count)), rounds, long=True), count)


def quantized(network: Network, folder: Path, rounds: int, rows: dict[str, Any]) -> None:
    """int8 beside int8: steps, logs, and how far everybody is from float64."""
    all_of_them = contenders(network, folder, quantized=True)
    found, wrong = all_of_them.found, all_of_them.wrong
    rows["int8"][network.units] = step(found, rounds, OURS_INT8)
    rows["int8 log"][network.units] = log(found, max(3, rounds // 5), 10_000, OURS_INT8)
    errors = {**{name: c.error for name, c in found.items()}, **wrong}
    rows["int8 error"][network.units] = {name: {"us": error} for name, error in errors.items()}
    rows["wrong"] += [(name, network.units, error) for name, error in wrong.items()]


def everything(
    sizes: tuple[int, ...], counts: tuple[int, ...], rounds: int, folder: Path, steps: int
) -> dict[str, Any]:
    """All rows, as JSON can hold them."""
    names = (
        "step", "kernel", "log", "logs", "logs on cores", "short logs on cores", "lanes", "streams",
        "streams of one size", "window", "int8", "int8 log", "int8 error",
    )  # fmt: skip
    rows: dict[str, Any] = {name: {} for name in names}
    rows["wrong"] = []  # name, units, how far it is off: left out of the rows of that size
    for units in sizes:
        print(f"{units} units ...", file=sys.stderr, flush=True)
        network = Network.random(units)
        all_of_them = contenders(network, folder, LOGS)
        found = all_of_them.found
        rows["wrong"] += [(name, units, error) for name, error in all_of_them.wrong.items()]
        rows["step"][units] = step(found, rounds)
        rows["kernel"][units] = kernel(network, found, folder, rounds)
        rows["log"][units] = log(found, max(3, rounds // 5), 10_000)
        rows["logs"][units] = logs(found, max(3, rounds // 5), LONG_LOG, LOGS)
        rows["lanes"][units] = lanes(network, max(3, rounds // 5), 10_000)
        if len(os.sched_getaffinity(0)) >= CORES:
            rows["logs on cores"][units] = logs_on_cores(network, folder, max(3, rounds // 5), LONG_LOG, LOGS)
            rows["short logs on cores"][units] = logs_on_cores(network, folder, rounds, SHORT_LOG, LOGS)
        rows["streams of one size"][units] = streams_of_one_size(network, rounds)
        quantized(network, folder, rounds, rows)
    network = Network.random(64)
    for count in counts:
        print(f"{count} streams ...", file=sys.stderr, flush=True)
        rows["streams"][count] = streams(contenders(network, folder, count).found, count, rounds)
    print("single steps, new processes ...", file=sys.stderr, flush=True)
    all_of_them = contenders(network, folder)
    found = all_of_them.found
    rows["window"][network.units] = window(network, found, rounds)
    chosen = [name for name in (OURS, SAME_DOOR, "LiteRT, cell graph", "ONNX Runtime, run()") if name in found]
    rows["latency"] = latency({name: found[name] for name in chosen}, steps)
    rows["start"] = start(network, list(found), folder, max(3, rounds // 8))
    rows["absent"] = all_of_them.absent
    rows["weight bytes"] = {units: Network.random(units).weight_bytes for units in sizes}
    return rows
