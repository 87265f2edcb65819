"""Arm without Arm hardware: the loops of the compiled step on Cortex-A72 and A76, and the bits of models there.

    tools/arm/run [MODEL.npz …] [--readings 10000] [--lanes N]

Prints the loops over inputs and checks that they have vector instructions; takes each model through pseudo-random
readings under emulation and compares outputs and states with this machine's. Exit code 1: a difference, or a loop
without vector instructions; 2: something is not installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from edge_lstm.core.storage import load
from edge_lstm.firmware.export import vector_readings
from tools.arm.bits import Emulated, compare, missing, show
from tools.arm.machine import CPUS

LANES = (4, 8, 16)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tools/arm/run", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("models", metavar="MODEL.npz", type=Path, nargs="*", help="compare the bits of these, too")
    parser.add_argument("--readings", type=int, default=10_000, help="of each model (default %(default)s)")
    parser.add_argument("--lanes", type=int, choices=LANES, action="append", help="only so many lanes")
    options = parser.parse_args()
    if complaint := missing():
        print(complaint, file=sys.stderr)
        return 2
    complaints = list(show())
    for lanes in options.lanes or LANES if options.models else ():
        with tempfile.TemporaryDirectory() as folder:
            machines = {cpu: Emulated(cpu, lanes, Path(folder)) for cpu in CPUS}
            for path in options.models:
                model = load(path)
                here, there = compare(model, vector_readings(model, options.readings), 1, lanes, machines)
                print(f"{path}: {lanes} lanes, {here.digest}", flush=True)
                different = [cpu for cpu, result in there.items() if result.digest != here.digest]
                complaints += [f"{path}: {lanes} lanes give other bits on {cpu}" for cpu in different]
    print("\n".join(complaints) or "vector instructions and the same bits everywhere")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
