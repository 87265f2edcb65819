"""How long `edge-lstm import` takes for a model of 10 MB, comparison with ONNX Runtime included: one line.

The file is two LSTM layers of 460 units with a dense head, as PyTorch's older exporter writes them (open length). The
median of three processes, from start to end. Aim: under 3 s on an idle machine; nothing here judges it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.onnx_files import Array, node, save  # noqa: E402

UNITS, INPUTS = 460, 64


def model(path: Path) -> Path:
    """x [B, T, 64] to y [B, T, 8]."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        weights: Array = (rng.uniform(-1, 1, shape) / UNITS**0.5).astype(np.float32)
        return weights

    nodes = [node("Transpose", ["x"], ["s0"], perm=[1, 0, 2])]
    constants = {"one": np.array([1]), "M": draw(UNITS, 8), "b": draw(8)}
    for k, width in enumerate((INPUTS, UNITS)):
        constants |= {f"W{k}": draw(1, 4 * UNITS, width), f"R{k}": draw(1, 4 * UNITS, UNITS)}
        constants[f"B{k}"] = draw(1, 8 * UNITS)
        nodes.append(node("LSTM", [f"s{k}", f"W{k}", f"R{k}", f"B{k}"], [f"Y{k}"], hidden_size=UNITS))
        nodes.append(node("Squeeze", [f"Y{k}", "one"], [f"s{k + 1}"]))
    nodes += [node("MatMul", ["s2", "M"], ["m"]), node("Add", ["m", "b"], ["a"])]
    nodes.append(node("Transpose", ["a"], ["y"], perm=[1, 0, 2]))
    return save(path, nodes, constants, {"x": ["B", "T", INPUTS]}, {"y": ["B", "T", 8]})


def main() -> None:
    """Measures."""
    with tempfile.TemporaryDirectory() as name:
        path = model(Path(name) / "large.onnx")
        command = [sys.executable, "-m", "edge_lstm.cli", "import", str(path), "-o", f"{name}/large.npz"]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        size = path.stat().st_size / 1e6
        print(f"edge-lstm import of {size:.1f} MB, compared with ONNX Runtime: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
