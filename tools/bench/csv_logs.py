"""A CSV log through a model: seconds of 300,000 rows of 10 columns, read, and with -o, in a process of its own, as a
user has it; and of the reader alone, beside NumPy's and, where they are installed, pandas' and pyarrow's.

    python -m tools.bench.csv_logs [--rows N] [--beside TREE] [--json]

--beside: another tree of this project, measured in turns with this one. CPU seconds say more than seconds on a machine
that is not quiet. Nothing here judges; the aim is a third of 0.1's.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.importers import from_arrays
from edge_lstm.logs.csv_log import CsvLog

ROOT = Path(__file__).parents[2]
COLUMNS, HIDDEN, ROUNDS = 9, 16, 3


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), options.rows, options.beside)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for what, (wall, cpu) in found.items():
        print(f"{what:40} {wall:7.2f} s  {cpu:7.2f} s of CPU  {options.rows / cpu / 1e3:7.0f} k rows per s of CPU")
    return 0


def measure(folder: Path, rows: int, beside: Path | None) -> dict[str, tuple[float, float]]:
    """What is measured → (seconds, seconds of CPU), the least of some rounds."""
    log, model = folder / "log.csv", folder / "model.npz"
    _write(log, rows)
    save(_model(), model)
    found: dict[str, tuple[float, float]] = {}
    trees = {"": ROOT} | ({f" ({beside})": beside} if beside else {})
    for _ in range(ROUNDS):
        for label, tree in trees.items():
            for what, more in (("replay", []), ("replay -o", ["-o", str(folder / "out.csv")])):
                command = [sys.executable, "-m", "edge_lstm", "replay", str(log), "--model", str(model), *more]
                _least(found, what + label, lambda c=command, t=tree: _run(c, t), resource.RUSAGE_CHILDREN)  # type: ignore[misc]
        for what, read in _readers().items():
            _least(found, what, lambda r=read: r(log), resource.RUSAGE_SELF)  # type: ignore[misc]
    return found


def _least(found: dict[str, tuple[float, float]], what: str, do: Callable[[], object], who: int) -> None:
    before, begun = resource.getrusage(who), time.perf_counter()
    do()
    wall, after = time.perf_counter() - begun, resource.getrusage(who)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    old = found.get(what, (wall, cpu))
    found[what] = min(old[0], wall), min(old[1], cpu)


def _run(command: list[str], tree: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)


def _readers() -> dict[str, Callable[[Path], object]]:
    found: dict[str, Callable[[Path], object]] = {"reader alone": _ours, "numpy.loadtxt": _numpy}
    if importlib.util.find_spec("pandas"):
        found["pandas.read_csv"] = _pandas
    if importlib.util.find_spec("pyarrow"):
        found["pyarrow.csv"] = _pyarrow
    return found


def _ours(path: Path) -> object:
    log = CsvLog(path)
    return [block.values for block in log.blocks(log.columns[1:])]


def _numpy(path: Path) -> object:
    return np.loadtxt(path, delimiter=",", skiprows=1)


def _pandas(path: Path) -> object:
    return importlib.import_module("pandas").read_csv(path)


def _pyarrow(path: Path) -> object:
    return importlib.import_module("pyarrow.csv").read_csv(path)


def _write(path: Path, rows: int) -> None:
    values = np.cumsum(np.random.default_rng(0).normal(0, 0.01, (rows, COLUMNS)), axis=0)
    with path.open("w") as file:
        file.write("time_s," + ",".join(f"c{k}" for k in range(COLUMNS)) + "\n")
        for k, row in enumerate(values.tolist()):
            file.write(f"{k * 0.005:.3f}," + ",".join(f"{x:.6f}" for x in row) + "\n")


def _model() -> Model:
    rng = np.random.default_rng(1)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return (rng.normal(size=shape) * 0.4).astype(np.float32)

    weights = {
        "lstm.weight_ih_l0": drawn(4 * HIDDEN, COLUMNS),
        "lstm.weight_hh_l0": drawn(4 * HIDDEN, HIDDEN),
        "lstm.bias_ih_l0": drawn(4 * HIDDEN),
        "lstm.bias_hh_l0": drawn(4 * HIDDEN),
        "fc.weight": drawn(3, HIDDEN),
        "fc.bias": drawn(3),
    }
    inputs, outputs = [Channel(f"c{k}") for k in range(COLUMNS)], [Channel(name) for name in "abc"]
    return from_arrays(weights, rate_hz=200.0, inputs=inputs, outputs=outputs)


if __name__ == "__main__":
    sys.exit(main())
