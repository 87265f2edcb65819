"""What becomes of a damaged model file: one clear error, or a model; and a model from a graph equals the graph.

Its rule: only EdgeLstmError is an error; everything else that is raised is a defect. Run as a program it is a worker,
`python -m tests.support.oracles.mutation_run MIB`: it reads seeds from its input, one on each line, and
writes what became of each as a line of JSON, under a cap on its memory.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError

import numpy as np
from google.protobuf.message import DecodeError

import edge_lstm
from edge_lstm.analysis.verify import verify
from edge_lstm.core.model import Model
from edge_lstm.errors import EdgeLstmError
from edge_lstm.importers import from_arrays, import_onnx
from tests.support.graphs.mutations import Mutation
from tests.support.oracles.nearer_to_float64 import FACTOR, from_exact

ABSURD = 1e6  # weights beyond this: between two float32 runtimes nothing can be told
LOUD = 20_000  # characters of an error: more is no sentence


def outcome(seed: int, folder: Path, stage: Callable[[str], None] = lambda _: None) -> tuple[str, str]:
    """(kind, text) for the file of this seed. Kinds: refused, equal, unlike,
    no oracle (ONNX Runtime refuses it), runs (a model file), not written, defect."""
    stage("write")
    mutation = Mutation(seed)
    try:
        path = mutation.write(folder)
    except (ValueError, TypeError, IndexError, OverflowError, DecodeError, TokenError) as error:  # nothing to try
        return "not written", str(error)
    stage("read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _read(mutation.kind, path, "auto" if seed % 4 == 0 else "native")
        stage("run")
        _takes_readings(model)
    except EdgeLstmError as error:
        text = str(error)
        clear = text.strip() and len(text) < LOUD and "internal" not in text
        return ("refused" if clear else "defect"), text[:300]
    except BaseException as error:
        return "defect", f"{mutation.story}: {type(error).__name__}: {error}"[:600]
    if not mutation.kind.startswith("onnx"):
        return "runs", ""
    stage("oracle")
    return _compared(model, path, mutation.story)


def _read(kind: str, path: Path, engine: str) -> Model:
    if kind.startswith("onnx"):
        return import_onnx(path, engine=engine)
    return from_arrays(path) if kind == "weights" else edge_lstm.load(path)


def _takes_readings(model: Model) -> None:
    """A few readings through the machine: whatever the file says, it must not reach beyond its memory."""
    stream = model.stream()
    for value in (0.0, 1.0, -3.0):
        stream.step(np.full(model.program.input_size, value, np.float32))


def _compared(model: Model, path: Path, story: list[str]) -> tuple[str, str]:
    try:
        report = verify(model, path, short=True)
    except EdgeLstmError as error:
        return "no oracle", f"{story}: {error}"[:600]
    except Exception as error:
        return "defect", f"{story}: in verify: {type(error).__name__}: {error}"[:600]
    if report.ok:
        return "equal", ""
    worst = max(report.runs, key=lambda run: run.error)
    program = model.program
    arrays = [*(w for op in program.operations for w in op.weights.values()), *(s.reset for s in program.states)]
    absurd = any(np.abs(a).max(initial=0) > ABSURD for a in arrays if a.dtype.kind == "f")
    if absurd:
        return "unlike, absurd weights", f"{story}: {worst}"
    with np.errstate(all="ignore"):
        ours, theirs = from_exact(model, path)
    fault = ours > FACTOR * theirs
    return ("unlike" if fault else "float64 is as far from ONNX Runtime"), f"{story}: {ours:.1e} {theirs:.1e} {worst}"


def worker(attempt: Callable[[int, Path, Callable[[str], None]], tuple[str, str]]) -> None:
    """Seeds from standard input, answers to standard output."""
    mebibytes = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(3):
            attempt(seed, folder, lambda _: None)  # everything is loaded before the cap is set
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + (mebibytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for line in sys.stdin:
            seed = int(line)

            def stage(what: str, seed: int = seed) -> None:
                print(json.dumps({"seed": seed, "stage": what}), flush=True)

            kind, text = attempt(seed, folder, stage)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps({"seed": seed, "kind": kind, "text": text, "MiB": peak}), flush=True)


if __name__ == "__main__":
    worker(outcome)
