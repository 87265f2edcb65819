"""Runs the kernels as ordinary Python (NUMBA_DISABLE_JIT=1) and tells which of their lines were executed, and whether
they gave the compiled machine's bits.

    python -m tests.support.oracles.kernel_coverage [--readings N]

The models are those of `tests/support/models/cases.py`, and a few whose readings are refused. Exit code 1 where
a bit differs or a line of a kernel was never reached.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from numba.core import config

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native import kernels
from edge_lstm.engines.native.session import Native
from edge_lstm.errors import EdgeLstmError
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.cases import Case
from tests.support.models.nets import CELLS, Weights, network
from tests.support.models.quantized_nets import quantized_network
from tests.support.oracles.bit_hashes import all_cases, log_of
from tests.support.robots import small_robot
from tools.arm.bits import canonical

FOLDER = Path(kernels.__file__).parent
LANES = 16  # the fewest operations of NumPy
# By the end of a case's name: as Arm has, where sums take inputs by four, and as AVX2 has, where they are made for
# three streams at a time. Only in Python: the bits are those of any number of lanes.
MANY_INPUTS, MANY_STREAMS = " of many inputs", " of many streams"
OTHER_LANES = {MANY_INPUTS: 4, MANY_STREAMS: 8}


def more() -> list[Case]:
    """A dense layer over rows whose width no vector divides; cells whose inputs' share of the sums is computed ahead; a
    model that speaks at every other reading; and models that refuse readings: states that would become infinite, of
    several streams, also as integers, and a row that is not there."""
    b, w = Builder(), Weights(1, 7)
    b.output("y", b.dense(b.input("x", 14), W=w(3, 7), b=w(3), rows=2))
    rows = Model(b.build(), channels_for(("x",), (14,)), channels_for(("y",), (6,)))
    b = Builder()
    b.output("y", b.lookup(b.input("x", 1), np.eye(3, dtype=np.float32)))
    table = Model(b.build(), channels_for(("x",), (1,)), channels_for(("y",), (3,)))
    refusing = [("row", table), ("memory", small_robot.unstable())]
    refusing += [(f"integers, {scheme}", _infinite(scheme)) for scheme in ("int8", "int8-dynamic")]
    wide = [Case(f"{kind}{MANY_INPUTS}", network(kind, inputs=17, units=20)) for kind in CELLS]
    many = [Case(f"{kind}{MANY_STREAMS}", network(kind, inputs=3, units=11), streams=5) for kind in CELLS]
    seldom = replace(network("gru"), timing=Timing(first_output=3, stride=2))
    b = Builder()
    h, two = b.state("h", 1), np.full((1, 1), 2.0)
    y = b.rnn(b.input("x", 1), h, W=two, R=two, b=np.zeros(1), activation="relu")
    b.next(h, y)
    b.output("y", y)
    growing = Model(b.build(), channels_for(("x",), (1,)), channels_for(("y",), (1,)))
    refused = [Case("memories", growing, streams=5, scale=1.69e38)]
    refused += [Case(name, model, scale=1.69e38) for name, model in refusing]
    return [Case("rows", rows), *wide, *many, Case("seldom", seldom), *refused]


def _infinite(scheme: str) -> Model:
    """A layer of integers behind what becomes infinite."""
    b = Builder()
    huge = b.map("affine", b.input("x", 16), alpha=3e38)
    inner = quantized_network("rnn", scheme, inputs=16, units=3).program.operations[0]
    h = b.state("h", 3)
    attributes: Any = dict(inner.attributes)
    y = b.quantized_rnn(huge, h, weights=dict(inner.weights), **attributes)
    b.next(h, y)
    b.output("y", y)
    return Model(b.build(), channels_for(("x",), (16,)), channels_for(("y",), (3,)))


def results(readings: int) -> dict[str, str]:
    """What each model gives, all bits, in hexadecimal."""
    found = {}
    counts = [(case, readings) for case in all_cases()] + [(case, 2 * readings) for case in more()]
    for case, count in counts:
        log, ys = log_of(case, count + (case.model.timing.window or 0)), []
        lanes = [few for end, few in OTHER_LANES.items() if config.DISABLE_JIT and case.name.endswith(end)]
        native = Native(*lanes or [LANES])
        if case.streams > 1:
            logs = [log[k % 3 :] for k in range(case.streams)]  # of unequal length
            with contextlib.suppress(EdgeLstmError):
                ys += Streams(case.model, case.streams, native).run(logs)
        else:
            stream = Stream(case.model, native)
            for x in (*log, np.full(log.shape[1], np.nan)):
                try:
                    y = stream.step(x)
                except EdgeLstmError:
                    y = None
                ys.append(np.zeros(0, np.float32) if y is None else y.copy())
            with contextlib.suppress(EdgeLstmError):
                ys.append(Stream(case.model, native).run(log))
        found[case.name] = b"|".join(map(canonical, ys)).hex()
    return found


def of_kernels(path: Path) -> set[int]:
    """The lines of a file that belong to the bodies of kernels."""
    source = path.read_text()
    names = {
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "kernel" for d in node.decorator_list)
    }

    def lines(code: CodeType) -> Iterator[int]:
        for part in code.co_consts:
            if isinstance(part, CodeType):
                yield from lines(part)
        yield from (line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno)

    functions = [part for part in compile(source, str(path), "exec").co_consts if isinstance(part, CodeType)]
    bodies = {line for function in functions if function.co_name in names for line in lines(function)}
    first = {f.co_firstlineno for f in functions}
    return {line for line in bodies if line not in first and not source.splitlines()[line - 1].startswith("def ")}


def traced(readings: int) -> dict[str, Any]:
    """Results, and the lines executed by file; in a process with NUMBA_DISABLE_JIT=1."""
    files = {str(path): set[int]() for path in FOLDER.glob("*.py")}
    left: dict[CodeType, set[int]] = {}  # lines not yet executed: a function without any is traced no more

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        left[frame.f_code].discard(frame.f_lineno)
        files[frame.f_code.co_filename].add(frame.f_lineno)
        return local

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code not in left:
            known = code.co_filename in files
            lines = {line for _, _, line in code.co_lines() if line is not None} - {code.co_firstlineno}
            left[code] = lines if known else set()
        return local if left[code] else None

    sys.settrace(called)
    found = results(readings)
    sys.settrace(None)
    return {"results": found, "lines": {name: sorted(lines) for name, lines in files.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readings", type=int, default=5, help="of each model, and those that fill its window")
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.traced:
        print(json.dumps(traced(options.readings)))
        return
    command = [
        sys.executable,
        "-m",
        "tests.support.oracles.kernel_coverage",
        "--traced",
        "--readings",
        str(options.readings),
    ]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout)
    compiled = results(options.readings)
    different = [name for name, bits in compiled.items() if told["results"][name] != bits]
    print(f"{len(compiled)} models, {len(different)} of them with other bits than compiled", *different)
    missed = 0
    for path in sorted(FOLDER.glob("*.py")):
        if lines := of_kernels(path):
            never = sorted(lines - set(told["lines"][str(path)]))
            missed += len(never)
            share = 1 - len(never) / len(lines)
            print(
                f"{path.name:16} {len(lines):4} lines of kernels  {share:6.1%}  {', '.join(map(str, never))}".rstrip()
            )
    sys.exit(bool(different or missed))


if __name__ == "__main__":
    main()
