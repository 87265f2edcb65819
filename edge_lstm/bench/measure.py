"""A model on this machine, measured: how long a reading takes and how evenly, what it allocates, how fast a log goes,
how many streams at once, how a process starts; beside ONNX Runtime where the graph is given.

Its rule: timed is what a user does with `Model` and `Stream`, nothing inside them. Nothing is timed beside another
before their outputs have been compared. A busy machine is kept apart from a slow model: the same loop is
timed without a step, and the system is asked how long this process waited for a core. Times are in µs.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.bench.machine import Disturbance, Values, machine, noise
from edge_lstm.bench.timing import Call, Plan, Times, block, clock, percentiles
from edge_lstm.errors import EdgeLstmError, ReadingError
from edge_lstm.robot.loop import steady
from edge_lstm.robot.realtime import applied

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats

Tell = Callable[[str, float], None]  # what is being measured, and how much of it is done (0 to 1)

BLOCK = 1000  # calls between two looks at the clock on the wall
COUNTS = (1, 4, 16, 64, 256)  # streams
MARGIN = 2.0  # a rate is sustained where p99.9 of a step takes at most one part in so many of its period
USUAL_HZ = 1000.0  # where the model does not say its rate


def readings(model: Model, count: int, seed: int = 0) -> Floats:
    """(count, n_inputs) in physical units: normal about each channel's offset, words one-hot, row numbers of tables
    within the table. Readings that the model refuses all the same become zeros."""
    random = np.random.default_rng(seed)
    parts = []
    for channel in model.inputs:
        if channel.vocabulary:
            parts.append(np.eye(channel.width)[random.integers(0, channel.width, count)])
        else:
            parts.append(channel.offset + channel.scale * random.normal(0, 1, (count, 1)))
    rows: Floats = np.concatenate(parts, axis=1).astype(np.float32)
    tables = {op.inputs[0].offset: len(op.weights["table"]) for op in model.program.operations if op.kind == "lookup"}
    start = 0
    for named in model.program.inputs:
        if named.slot.offset in tables:
            rows[:, start : start + named.slot.size] = random.integers(
                0, tables[named.slot.offset], (count, named.slot.size)
            )
        start += named.slot.size
    try:
        model.stream().run(rows[:100])
    except ReadingError:
        rows[:] = 0
    return rows


# --- single calls


def single(call: Call, arguments: Sequence[Any], plan: Plan, tell: Callable[[float], None]) -> tuple[Values, Values]:
    """Percentiles of single calls, and of the same loop without one: each block of calls is followed by as long a
    time of empty ones, so that both meet the same disturbances. The first also says how much block medians differ."""
    ours, empty = Times(), Times()
    medians: list[float] = []
    end = clock() + 2 * plan.seconds * 1e9
    wanted = None if plan.readings is None else max(1, round(plan.readings / len(arguments)))
    begin = clock()
    while not medians or (len(medians) < wanted if wanted else clock() < end):
        started = clock()
        own = block(call, arguments)
        took = clock() - started
        ours.add(own)
        medians.append(float(np.median(own)))
        until = clock() + took
        empty.add(block(id, arguments))
        while clock() < until:
            empty.add(block(id, arguments))
        tell(len(medians) / wanted if wanted else (clock() - begin) / (end - begin))
    spread = float(np.percentile(medians, 90) / max(np.percentile(medians, 10), 1.0))
    return ours.summary() | {"spread": spread}, empty.summary()


def paced(call: Call, arguments: Sequence[Any], rate_hz: float, seconds: float) -> Values:
    """One call each 1 / rate_hz, as on a robot: from when it was due to when it was done. `late`: done after the next
    one was due."""
    period = int(1e9 / rate_hz)
    count = max(1, int(seconds * rate_hz))
    times = np.zeros(count, np.int64)
    due = clock() + period
    for k in range(count):
        if (wait := due - clock()) > 0:
            time.sleep(wait / 1e9)
        call(arguments[k % len(arguments)])
        times[k] = clock() - due
        due += period
    return percentiles(times) | {"rate_hz": rate_hz, "late": int((times > period).sum())}


def allocated(call: Call, arguments: Sequence[Any]) -> Values:
    """Bytes of Python's memory per call: kept afterwards, and at most taken for a moment; and collections of garbage
    that so many calls caused."""

    def traced(work: Call) -> tuple[float, int]:
        for argument in arguments:
            work(argument)
        tracemalloc.start()
        try:
            for argument in arguments:
                work(argument)
            before, _ = tracemalloc.get_traced_memory()  # twice: the first makes what the second finds
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            for argument in arguments:
                work(argument)
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return (after - before) / len(arguments), peak - before

    collections = sum(kind["collections"] for kind in gc.get_stats())
    for argument in arguments:
        call(argument)
    collections = sum(kind["collections"] for kind in gc.get_stats()) - collections
    (kept, peak), (empty_kept, empty_peak) = traced(call), traced(id)
    return {
        "calls": len(arguments),
        "kept_bytes": kept - empty_kept,
        "momentary_bytes": max(0, peak - empty_peak),
        "collections": collections,
    }


# --- many readings, many streams, a new process


def per_call(work: Callable[[], object], seconds: float, least: int = 5) -> float:
    """Median µs of a call that takes long enough to be timed alone."""
    times: list[int] = []
    end = clock() + seconds * 1e9
    while len(times) < least or (clock() < end and len(times) < 100_000):
        begin = clock()
        work()
        times.append(clock() - begin)
    return float(np.median(times)) / 1e3


def whole_log(model: Model, rows: Floats, seconds: float) -> Values:
    """`Stream.run` over all rows."""
    stream = model.stream()
    us = per_call(lambda: stream.run(rows), seconds)
    return {"readings": len(rows), "us": us / len(rows), "per_s": 1e6 * len(rows) / us}


def many_streams(model: Model, rows: Floats, seconds: float) -> Values:
    """One step of so many streams together, µs per stream; {"why": ...} for a model that cannot."""
    found: Values = {}
    for count in COUNTS:
        try:
            streams = model.streams(count)
        except (EdgeLstmError, MemoryError) as error:
            return found or {"why": str(error)}
        xs = np.resize(rows, (count, rows.shape[1]))
        found[str(count)] = per_call(lambda s=streams, x=xs: s.step(x), seconds / len(COUNTS)) / count  # type: ignore[misc]
    return found


_START = """
import sys, time
import numpy
import edge_lstm
stream = edge_lstm.load(sys.argv[1]).stream()
reading = numpy.zeros(stream.model.program.input_size, numpy.float32)
times, clock = [], time.perf_counter_ns
for _ in range(200):
    begin = clock()
    try:
        stream.step(reading)
    except edge_lstm.EdgeLstmError:
        pass
    times.append(clock() - begin)
    if len(times) == 1:
        first = time.monotonic_ns()
status = open("/proc/self/status").read() if sys.platform == "linux" else "VmHWM: 0"
print(first, times[0], sorted(times)[100], status.split("VmHWM:")[1].split()[0])
"""


STARTS = 3, 15  # new processes: at least, at most


def start(path: Path, seconds: float) -> Values:
    """New processes up to their first prediction: medians of seconds, of the first step and of a later one (µs), and of
    the most memory that was resident (MiB)."""
    found: list[tuple[float, ...]] = []
    end = clock() + seconds * 1e9
    least, most = STARTS
    while len(found) < least or (clock() < end and len(found) < most):
        found.append(_started(path))
    names = ("seconds", "first_step_us", "later_step_us", "rss_mib")
    return dict(zip(names, np.median(np.array(found), axis=0).tolist(), strict=True))


def _started(path: Path, **environment: str) -> tuple[float, float, float, float]:
    begin = time.monotonic_ns()  # the clock of all processes
    command = [sys.executable, "-c", _START, str(path.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise EdgeLstmError(f"{path}: a new process could not run it: {done.stderr.strip().splitlines()[-1]}")
    first, step, later, kib = map(int, done.stdout.split()[-4:])
    return (first - begin) / 1e9, step / 1e3, later / 1e3, kib / 1024


def first_start(path: Path) -> tuple[float, float]:
    """Seconds and MiB of a start with a cache folder that is empty; it compiles where no step that is shipped fits."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, _, _, mib = _started(path, EDGE_LSTM_CACHE_DIR=folder)
    return seconds, mib


# --- all of it


def measure(
    model: Model, path: Path, plan: Plan, against: Path | None, tell: Tell, log: Floats | None = None
) -> Values:
    """Everything that `edge-lstm bench` reports, as JSON values. path: the model's file; log: (T, n_inputs) in physical
    units, the readings to take, over and over where more are needed, instead of random ones. Raises EdgeLstmError where
    the graph `against` is not the model's, or does not run."""

    def taken(count: int, seed: int = 0) -> Floats:
        return readings(model, count, seed) if log is None else np.resize(log, (count, log.shape[1]))

    rows = taken(BLOCK)
    single_rows = list(rows)
    stream = model.stream()
    stream.run(
        taken(max(BLOCK, model.timing.window or model.timing.first_output), 1)
    )  # the first output has come, code is warm
    found: Values = {"model": model.name, "digest": model.digest, "file": str(path), "machine": machine()}
    found["readings"] = None if log is None else {"rows": len(log)}
    rate_hz = model.rate_hz or USUAL_HZ
    if against is not None:  # first: another model's graph must not waste a minute
        from edge_lstm.bench.onnx import beside

        tell("ONNX Runtime", 0.0)
        found["onnxruntime"] = beside(model, against, rows, plan)
    with steady():
        disturbance = Disturbance()
        step, empty = single(stream.step, single_rows, plan, lambda share: tell("single steps", share))
        found |= {"step_us": step, "empty_us": empty, "noise": noise(disturbance, step, empty)}
        tell(f"a reading every 1/{rate_hz:g} s", 0.0)
        with applied(plan.realtime) as refused:
            found["paced_us"] = paced(stream.step, single_rows, rate_hz, min(plan.seconds, 1e5 / rate_hz))
        found |= {"realtime": str(refused.granted), "refused": refused}
        tell("a whole log", 0.0)
        affordable = min(4_000_000 // rows.shape[1], int(plan.seconds * 1e5 / step["p50"]))
        long = taken(max(100, min(10_000, affordable)))
        found["log"] = whole_log(model, long, plan.seconds / 3)
        tell("many streams", 0.0)
        found["streams_us"] = many_streams(model, rows, plan.seconds / 3)
    found["allocated"] = allocated(stream.step, single_rows)
    tell("new processes", 0.0)
    found["start"] = start(path, plan.seconds)
    if plan.compile:
        tell("a new process that has to compile", 0.0)
        found["start"]["compiling_seconds"], _ = first_start(path)
    found |= {"sustains_hz": 1e6 / (MARGIN * step["p99.9"]), "margin": MARGIN}
    return found
