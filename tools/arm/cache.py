"""Fills the cache of an emulated arm64 Python with the machine, compiled here: python -m tools.arm.cache CPU FOLDER

Its rule: what is put there is the object that LLVM makes here for that CPU (`machine.py`), under the name that the
emulated Python itself asks for; whoever wants Numba to make it there, under emulation, leaves this out.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from tools.arm import machine


def main() -> int:
    """Names of files come on standard input, as `loader` makes them: step-LANES-KEY.o."""
    cpu, folder = sys.argv[1], Path(sys.argv[2])
    for name in sys.stdin.read().split():
        path = folder / name
        if not path.exists():
            code = machine.object_for(cpu, int(name.split("-")[1]))
            path.write_bytes(hashlib.sha256(code).digest() + code)
            print(f"{path.name}: made here for {cpu}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
