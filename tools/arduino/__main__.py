"""A sketch on an emulated Arduino (its processor in simavr), built with the real Arduino core, as a serial port.

    tools/arduino/run SKETCH.ino [--board uno] [--with FILE.c] [--link /tmp/robot] [--seconds S]
    tools/arduino/run --install      install what it needs (Debian)

Enter "reset" to press its reset button, "unplug" and "plug" for its cable; Ctrl-C switches it off. Sketches to try:
tests/support/robots/arduino. Exit codes: 0 done; 2 something is missing, or the sketch cannot be built.
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

from tools.arduino.board import BOARDS, Arduino, ArduinoError, build, install


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tools/arduino/run", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("sketch", nargs="?", type=Path, metavar="SKETCH.ino")
    parser.add_argument("--board", choices=BOARDS, default="uno", help="(default %(default)s)")
    parser.add_argument("--with", dest="library", type=Path, action="append", default=[], help="a C file it needs")
    parser.add_argument("--link", type=Path, default=Path("/tmp/robot"), help="name of the port (default %(default)s)")
    parser.add_argument("--seconds", type=float, help="end after so long (default: with Ctrl-C)")
    parser.add_argument("--install", action="store_true", help="install the Debian packages that are missing")
    options = parser.parse_args()
    if not options.install and options.sketch is None:
        parser.error("which sketch? tests/support/robots/arduino has some")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.install:
            install()
            return 0
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder), options)
    except ArduinoError as error:
        print(f"tools/arduino/run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def run(folder: Path, options: argparse.Namespace) -> None:
    """The board until it is switched off."""
    image = build(folder, options.sketch, options.board, options.library)
    with Arduino(image, options.link, options.board) as board:
        print(f"{options.link} is {board.device}; try: edge-lstm listen {options.link}", flush=True)
        commands = {b"reset": board.reset, b"unplug": board.unplug, b"plug": board.plug}
        end = time.monotonic() + options.seconds if options.seconds else float("inf")
        inputs = [sys.stdin]
        while time.monotonic() < end:
            ready, _, _ = select.select(inputs, [], [], 0.2)
            if board.process.poll() is not None:
                raise ArduinoError(f"the board ended with {board.process.returncode}")
            if ready and not (line := os.read(sys.stdin.fileno(), 4096)):
                inputs = []  # no terminal: nothing more to hear
            elif ready and (command := commands.get(line.strip())):
                command()
                print(line.strip().decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
