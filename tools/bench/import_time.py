"""How long `edge-lstm import` takes for a model of 10 MB, comparison with ONNX Runtime included: one line.

    python -m tools.bench.import_time
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
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper, save

ROOT = Path(__file__).resolve().parents[2]
UNITS, INPUTS = 460, 64


def model(path: Path) -> Path:
    """x [B, T, 64] to y [B, T, 8]."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> npt.NDArray[np.float32]:
        weights: npt.NDArray[np.float32] = (rng.uniform(-1, 1, shape) / UNITS**0.5).astype(np.float32)
        return weights

    nodes = [helper.make_node("Transpose", ["x"], ["s0"], perm=[1, 0, 2])]
    constants: dict[str, npt.NDArray[Any]] = {"one": np.array([1]), "M": draw(UNITS, 8), "b": draw(8)}
    for k, width in enumerate((INPUTS, UNITS)):
        constants |= {f"W{k}": draw(1, 4 * UNITS, width), f"R{k}": draw(1, 4 * UNITS, UNITS)}
        constants[f"B{k}"] = draw(1, 8 * UNITS)
        nodes.append(helper.make_node("LSTM", [f"s{k}", f"W{k}", f"R{k}", f"B{k}"], [f"Y{k}"], hidden_size=UNITS))
        nodes.append(helper.make_node("Squeeze", [f"Y{k}", "one"], [f"s{k + 1}"]))
    nodes += [helper.make_node("MatMul", ["s2", "M"], ["m"]), helper.make_node("Add", ["m", "b"], ["a"])]
    nodes.append(helper.make_node("Transpose", ["a"], ["y"], perm=[1, 0, 2]))
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("B", "T", size))
        for name, size in {"x": INPUTS, "y": 8}.items()
    )
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "large", [x], [y], held)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def main() -> None:
    """Measures."""
    with tempfile.TemporaryDirectory() as name:
        path = model(Path(name) / "large.onnx")
        command = [sys.executable, "-m", "edge_lstm", "import", str(path), "-o", f"{name}/large.npz"]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        size = path.stat().st_size / 1e6
        print(f"edge-lstm import of {size:.1f} MB, compared with ONNX Runtime: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
