"""Makes the compiled steps that come with the package, for every kind of CPU, on any computer.

    python -m tools.compiled                       after the kernels changed; a minute and a half
    python -m tools.compiled FOLDER --cpu aarch64 --lanes 4 8 16      others, into a cache of that CPU

Its rule: what is there already, whole and of these kernels, is left alone; in the package's folder whatever else lies
there goes.
A name holds the digest of the kernels' source, so a step of other kernels is never loaded (`engines/native/loader.py`);
`tests/engines/native/test_compiled.py` wants those of the kernels that are here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_lstm.core.storage import write_whole
from edge_lstm.engines.native import loader
from edge_lstm.engines.native.cpu import BY_NAME, CPUS
from edge_lstm.engines.native.kernels.compile import compile_image


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tools.compiled", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", default=loader.SHIPPED)
    parser.add_argument("--cpu", choices=list(BY_NAME), nargs="+", help="for these only")
    parser.add_argument("--lanes", type=int, choices=(4, 8, 16), nargs="+", help="instead of those that suit the CPU")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    chosen = [BY_NAME[name] for name in options.cpu] if options.cpu else list(CPUS)
    wanted = {loader.file_name(cpu, n): (cpu, n) for cpu in chosen for n in options.lanes or [cpu.lanes]}
    for name, (cpu, lanes) in wanted.items():
        path = options.folder / name
        if not path.exists() or loader.unsealed(path.read_bytes()) is None:
            write_whole(path, loader.sealed(compile_image(lanes, cpu)))
            print(f"{path}: {path.stat().st_size:,} bytes", flush=True)
    if options.folder == loader.SHIPPED and not (options.cpu or options.lanes):
        for path in options.folder.iterdir():
            if path.name not in wanted:
                path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
