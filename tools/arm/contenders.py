"""Contenders of `tools/bench` under an emulated Arm CPU, with marks around their steps: `count.py` starts it there.

    PYTHON -m tools.arm.contenders FOLDER NAMES UNITS …

For each network and each contender it compares outputs with float64, then takes so many readings one by one as LOOPS
says. Between the marks stands nothing but a loop that calls; the file NAMES gets a line of JSON for each contender:
units, name, package, version.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tools.bench import peers
from tools.bench.network import INPUTS, Contender, Floats, Network

STEPS = 40
LOOPS = (3, 1, 2, 1, 2)  # times STEPS; the first for whatever Python does in its first calls, the last to see it repeat
COMPARED = 60
# Name in tools/bench → the package whose version counts.
NAMES = {
    peers.OURS: "edge-lstm",
    "LiteRT, fused LSTM": "ai-edge-litert",
    "LiteRT, cell graph": "ai-edge-litert",
    "ONNX Runtime, IOBinding": "onnxruntime",
    "ONNX Runtime, run()": "onnxruntime",
    "NumPy by hand": "numpy",
}


def take(contender: Contender, readings: list[Floats]) -> None:
    """One call for each reading, and a mark."""
    step = contender.step
    for x in readings:
        step(x)
    os.sched_yield()


def main() -> None:
    """The command."""
    folder, names, *sizes = sys.argv[1:]
    random = np.random.default_rng(0)
    xs = random.normal(0, 1, (COMPARED, INPUTS)).astype(np.float32)
    once = list(random.normal(0, 1, (STEPS, INPUTS)).astype(np.float32))
    for network in (Network.random(int(units)) for units in sizes):
        exact = network.exact(xs)
        for name, package in NAMES.items():
            contender = peers.FACTORIES[name](network, Path(folder), 1)
            error = max(float(np.abs(contender.step(x) - y).max()) for x, y in zip(xs, exact, strict=True))
            if error > peers.CLOSE:
                raise SystemExit(
                    f"{name} differs from float64 by {error} with {network.units} units: nothing is counted"
                )
            known = None if name == peers.OURS else version(package)
            about = {"units": network.units, "name": name, "package": package, "version": known}
            with Path(names).open("a") as file:
                print(json.dumps(about), file=file)
            gc.collect()
            gc.disable()
            os.sched_yield()
            for readings in [times * once for times in LOOPS]:
                take(contender, readings)
            gc.enable()


if __name__ == "__main__":
    main()
