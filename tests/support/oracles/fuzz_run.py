"""Looks for inputs of `fuzz_bridge.py` that reach new code of the bridge, with atheris (pip install edge-lstm[fuzz]).

    python -m tests.support.oracles.fuzz_run FOLDER … [-max_total_time=600]     (all that libFuzzer takes)

Its rule: the bridge is first imported under atheris, so that each of its branches is seen; this file imports none of
it. Inputs that are worth keeping go into the first folder. To keep no more than is needed of several:

    python -m tests.support.oracles.fuzz_run -set_cover_merge=1 tests/vectors/corpus/bridge FOLDER …
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    with atheris.instrument_imports(include=["firmware_bridge", "mcap"]):
        from tests.support.oracles import fuzz_bridge
    again = f"{sys.executable} -m tests.support.oracles.fuzz_run"  # what libFuzzer gives the shell to merge
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input.mcap")
        atheris.Setup([again, *sys.argv[1:]], lambda data: fuzz_bridge.check(data, path))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
