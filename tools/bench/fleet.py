"""Many logs: readings a second of one worker, of two, of a local Dask cluster of two, and of ONNX Runtime on two cores.

    python -m tools.bench.fleet [--drives N] [--seconds S] [--rounds R] [--page]

Its rule: simulated readings as Parquet files, the example model and the ONNX file that it was imported from. Each
contender is a process of its own that does the whole job: it reads each log, runs it, writes its outputs as Parquet,
and says of each output how it is distributed over all logs. They take turns. ONNX Runtime's files are written once as
pyarrow writes by default, and once with the options that we write with. Seconds of CPU, its workers' too, are told
beside seconds: on a machine that is not quiet only they say anything. What a contender needs to begin (imports,
workers, the first log) is measured with one short log for each worker and taken off.

The defaults are 500 drives of 300 s: about 2 GB of disk, and 6 minutes on two free cores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.model import Model
from edge_lstm.core.storage import load
from edge_lstm.fleet.distribution import QUANTILES
from edge_lstm.fleet.job import How
from edge_lstm.fleet.plan import logs_of
from edge_lstm.fleet.results import as_table, parquet_options
from edge_lstm.fleet.run import replay
from edge_lstm.fleet.workers import Dask, Pool

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tools" / "bench" / "results" / "FLEET.md"
MODEL, GRAPH = (ROOT / "edge_lstm" / "examples" / name for name in ("slip_stall.npz", "slip_stall.onnx"))
HZ = 200
CONTENDERS = {
    "1 worker": "edge-lstm, 1 worker",
    "2 workers": "edge-lstm, 2 workers",
    "dask": "edge-lstm, Dask, 2 workers",
    "onnx": "ONNX Runtime, 2 workers",
    "onnx, our options": "ONNX Runtime, 2 workers, written as we write",
}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--drives", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=300.0, help="of each drive, at 200 Hz")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.folder)))
        return 0
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "drives", options.drives, round(options.seconds * HZ))
        write(folder / "short", 2, 16)
        found = measure(folder, options.rounds)
    lines = table(found, options, (before, os.getloadavg()[0]))
    print("\n".join(lines))
    if options.page:
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def write(folder: Path, count: int, rows: int) -> None:
    """Drives as Parquet: each channel wanders about, from a seed of its own."""
    pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    folder.mkdir()
    names = [channel.name for channel in load(MODEL).inputs]
    for k in range(count):
        values = np.cumsum(np.random.default_rng(k).normal(0, 0.02, (len(names), rows)), axis=1).astype(np.float32)
        columns = {"time_s": np.arange(rows) / HZ} | dict(zip(names, values, strict=True))
        pq.write_table(pa.table(columns), folder / f"drive_{k:04}.parquet")


def one(contender: str, folder: Path) -> dict[str, Any]:
    """All logs of a folder by one contender: how many readings, and the memory of a worker at most, MB."""
    results = folder.with_name("results")
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    if contender.startswith("onnx"):
        context = get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            way = partial(by_onnx, results=results, as_we=contender != "onnx")
            done = list(pool.map(way, sorted(folder.glob("*.parquet"))))
            names = [channel.name for channel in _model().outputs]
            spread = dict(zip(names, pool.map(partial(distribution, results), names), strict=True))
        (results / "summary.json").write_text(json.dumps(spread))
        return {"readings": sum(count for count, _ in done), "peak": max(peak for _, peak in done)}
    pool_of = {"1 worker": lambda: Pool(1), "2 workers": lambda: Pool(2)}
    cluster = None
    if contender == "dask":
        cluster = import_module("distributed").LocalCluster(2, threads_per_worker=1, dashboard_address=None)
    workers = Dask(cluster.scheduler_address) if cluster is not None else pool_of[contender]()
    how = How(model=MODEL, digest=_model().digest, results=results, form="parquet")
    found = replay(logs_of([folder]), how, workers)
    workers.close()
    if cluster is not None:
        cluster.close()
    assert not found.failed, found.failed[0].error
    return {"readings": found.summary()["readings"], "peak": max(found.workers.values())}


@lru_cache(maxsize=1)
def _session() -> Any:
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(GRAPH), options)


@lru_cache(maxsize=1)
def _model() -> Model:
    return load(MODEL)


def by_onnx(path: Path, results: Path, as_we: bool) -> tuple[int, int]:
    """A whole log at once, as somebody with pyarrow and ONNX Runtime does it; how many readings, and memory in MB."""
    pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    table = pq.read_table(path)
    xs = np.stack([table[c.name].to_numpy() for c in _model().inputs], axis=1)
    (ys,) = _session().run(None, {"readings": xs[:, None]})
    names = [channel.name for channel in _model().outputs]
    columns = dict(zip(names, np.ascontiguousarray(ys.reshape(len(xs), -1).T), strict=True))
    columns = {"t_s": table["time_s"].to_numpy(), **columns}
    if as_we:
        found = as_table(columns)
        pq.write_table(found, results / path.name, **parquet_options(found.schema))
    else:
        pq.write_table(pa.table(columns), results / path.name)
    return len(xs), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def distribution(results: Path, name: str) -> list[float]:
    """What our summary says of an output over all logs, of all its numbers at once."""
    table = import_module("pyarrow.parquet").read_table
    every = np.concatenate([table(path, columns=[name])[name].to_numpy() for path in results.glob("*.parquet")])
    numbers = every[~np.isnan(every)]
    plain = numbers.min(), numbers.max(), numbers.mean(dtype=np.float64), numbers.std(dtype=np.float64)
    return [len(every) - len(numbers), *map(float, plain), *np.quantile(numbers, QUANTILES).tolist()]


def measure(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Of each contender medians: readings, seconds, seconds of CPU, both without what it needs to begin; MB."""
    names = [name for name in CONTENDERS if name != "dask" or find_spec("distributed")]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for _ in range(rounds):
        for name in names:
            start, _ = _timed(name, folder / "short")
            whole, said = _timed(name, folder / "drives")
            if whole[1] < 1.5 * start[1]:  # of CPU, which a machine that is not quiet does not change
                raise SystemExit("the logs are too few to be told from the beginning: more --drives, or --seconds")
            times[name].append((whole[0] - start[0], whole[1] - start[1]))
            found[name] = said
    for name in names:
        wall, cpu = (statistics.median(values) for values in zip(*times[name], strict=True))
        found[name] |= {"seconds": wall, "cpu": cpu}
    return found


def _timed(name: str, folder: Path) -> tuple[tuple[float, float], dict[str, float]]:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "tools.bench.fleet", "--one", name, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (wall, cpu), json.loads(done.stdout.splitlines()[-1])


def table(found: dict[str, dict[str, float]], options: argparse.Namespace, load_average: Sequence[float]) -> list[str]:
    """The page."""
    lines = [
        "# Many logs",
        "",
        f"Written by `python -m tools.bench.fleet --drives {options.drives} --seconds {options.seconds:g} --rounds"
        f" {options.rounds} --page`.",
        "Simulated readings of 11 channels as Parquet, the example model `slip_stall` (5,764 weights); in the end",
        "there is a Parquet file of outputs for each log, and each output's distribution over all logs. ONNX Runtime",
        "takes the graph that the model was imported from, whole logs, with pyarrow and NumPy; its files are written",
        "by pyarrow's defaults, and once more with the options that we write with. Medians of the rounds, without",
        "what each needs to begin.",
        "",
        f"- date: {datetime.date.today().isoformat()}",
        f"- system: {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        f"- Python: {platform.python_version()}",
        f"- {options.drives} drives of {options.seconds:g} s at {HZ} Hz; load average before and after:"
        f" {load_average[0]:.1f}, {load_average[1]:.1f}",
        "",
        "| | readings/s | readings per s of CPU | µs of CPU per reading | MB of a worker at most |",
        "|---|---|---|---|---|",
    ]
    for name, one_ in found.items():
        rate, per_cpu = one_["readings"] / one_["seconds"], one_["readings"] / one_["cpu"]
        lines.append(
            f"| {CONTENDERS[name]} | {rate:,.0f} | {per_cpu:,.0f} | {1e6 / per_cpu:.3f} | {one_['peak']:.0f} |"
        )
    first, two = found["1 worker"], found["2 workers"]
    ratio = {what: first[what] / two[what] for what in ("seconds", "cpu")}
    lines += [
        "",
        f"- Two workers against one: {ratio['seconds']:.2f} x by the clock; the work of both costs"
        f" {1 / ratio['cpu']:.2f} x the CPU of one.",
    ]
    for name, what in (("onnx", "as people write it"), ("onnx, our options", "written as we write")):
        times = {clock: found[name][clock] / two[clock] for clock in ("seconds", "cpu")}
        lines.append(
            f"- Against ONNX Runtime on as many cores, {what}: {times['seconds']:.2f} x by the clock,"
            f" {times['cpu']:.2f} x by CPU."
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
