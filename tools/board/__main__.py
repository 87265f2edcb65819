"""An emulated robot board (Cortex-M4F in QEMU) with the real firmware, for `edge-lstm run` and whatever else opens a
serial port.

    tools/board/run [--link /tmp/robot] [--rate 200] [--network MODEL.npz] [--seconds S]
    tools/board/run --install        install what it needs (Debian)
    tools/board/run --bits MODEL.npz run the network alone, 10,000 readings, and compare its bits with Python
                [--scheme int8]  the same quantized, calibrated on the readings of the self-test
    tools/board/run --sizes          flash, RAM and stack of the C files

With --network the board also runs the network and sends its outputs as readings `network`. Enter "reset" to press its
reset button; Ctrl-C switches it off. Exit codes: 0 done; 1 bits differ; 2 something is missing.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

from edge_lstm.core.model import Model
from edge_lstm.core.storage import load
from edge_lstm.firmware.export import fingerprint, firmware, vector_outputs, vector_readings
from edge_lstm.quantization import quantize
from edge_lstm.quantization.convert import Scheme
from tools.board.image import Board, BoardError, build, install, run_bits, sizes

BITS_STEPS = 10_000
CALIBRATION_STEPS = 1000
SCHEMES = get_args(Scheme)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/board/run", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--link", type=Path, default=Path("/tmp/robot"), help="name of the port (default %(default)s)")
    parser.add_argument("--rate", type=int, default=200, help="readings per second, 1 to 1000 (default %(default)s)")
    parser.add_argument("--network", type=Path, metavar="MODEL.npz", help="run this network on the board, too")
    parser.add_argument(
        "--bits", type=Path, metavar="MODEL.npz", help="compare this network's bits with Python, and end"
    )
    parser.add_argument("--scheme", choices=SCHEMES, help="with --bits: quantize the network first")
    parser.add_argument("--seconds", type=float, help="end after so long (default: with Ctrl-C)")
    parser.add_argument("--sizes", action="store_true", help="print what the C files take on a Cortex-M4F, and end")
    parser.add_argument("--install", action="store_true", help="install the Debian packages that are missing")
    options = parser.parse_args()
    if not 1 <= options.rate <= 1000:
        parser.error(f"--rate {options.rate}: the board takes a reading at most each millisecond")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.install:
            install()
            return 0
        if options.sizes:
            for file, values in sizes().items():
                for what, count in values.items():
                    print(f"{file:12} {what:32} {count:6,} bytes")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            return bits(Path(folder), options.bits, options.scheme) if options.bits else run(Path(folder), options)
    except BoardError as error:
        print(f"tools/board/run: {error} (tools/board/run --install does that)", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def bits(folder: Path, path: Path, scheme: Scheme | None) -> int:
    """The network alone on the board, against Python."""
    model = load(path)
    if scheme:
        model = quantize(model, vector_readings(model, CALIBRATION_STEPS), scheme)
    made = firmware(model)
    print(f"{made.flash_bytes:,} bytes in flash, {made.arena_bytes:,} bytes of arena, about {made.cycles:,} cycles")
    return 0 if same_bits(folder, model, str(path)) else 1


def same_bits(folder: Path, model: Model, name: str) -> bool:
    """Whether the board's outputs and self-test are Python's."""
    image = build(folder, "bits", model=model, flags=(f"-DSTEPS={BITS_STEPS}",))
    failed, found = run_bits(image)
    expected = fingerprint(vector_outputs(model, BITS_STEPS))
    same = not failed and found == expected
    verdict = "equal" if same else "DIFFERENT"
    print(f"{name}: {BITS_STEPS} readings, board {found:08x}, Python {expected:08x}: {verdict}", flush=True)
    return same


def run(folder: Path, options: argparse.Namespace) -> int:
    """The robot until it is switched off."""
    image = build(
        folder, "robot", model=load(options.network) if options.network else None, flags=(f"-DRATE_HZ={options.rate}",)
    )
    with Board(image, options.link) as board:
        print(f"{options.link} is {board.device}; try: edge-lstm run robot.toml --port {options.link}", flush=True)
        end = time.monotonic() + options.seconds if options.seconds else float("inf")
        inputs = [sys.stdin]
        while time.monotonic() < end:
            ready, _, _ = select.select(inputs, [], [], 0.2)
            if board.process.poll() is not None:
                raise BoardError(f"the emulator ended with {board.process.returncode}")
            if ready and not (line := os.read(sys.stdin.fileno(), 4096)):
                inputs = []  # no terminal: nothing more to hear
            elif ready and line.strip() == b"reset":
                board.reset()
                print("reset", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
