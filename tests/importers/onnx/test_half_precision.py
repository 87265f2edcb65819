"""Networks in float16 whose head stands behind a Transpose, as batch_first writes it: ONNX Runtime ends the process
while it loads them. Here they are brought in, and no process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from edge_lstm.engines.onnxruntime.graph import open_session
from tests.support.drawing import draw, generator
from tests.support.graphs.onnx_files import difference
from tests.support.graphs.step_graphs import Draft

UNITS, WIDTH = 5, 3


def network(path: Path, half: bool) -> Path:
    """x [1, 6, WIDTH] → LSTM → Transpose → MatMul, within Casts to float16 and back."""
    d = Draft(generator())
    x = d.add("Cast", "x", to=10 if half else 1)
    y, *_ = d.recurrent("LSTM", d.add("Transpose", x, perm=[1, 0, 2]), WIDTH, UNITS, [])
    turned = d.add("Transpose", d.add("Squeeze", y, d.whole(1)), perm=[1, 0, 2])
    d.add("Cast", d.add("MatMul", turned, d.weights(UNITS, 2)), to=1, out="y")
    kinds = {np.dtype(np.float32): np.float16 if half else np.float32}
    d.constants = {name: array.astype(kinds.get(array.dtype, array.dtype)) for name, array in d.constants.items()}
    return d.save(path, {"x": [1, 6, WIDTH]}, {"y": [1, 6, 2]})


def test_a_half_network_ends_no_process(tmp_path: Path) -> None:
    """In a process of its own: imported as a window, compared with the graph, and run; equal to ONNX Runtime without
    the optimization that ends it."""
    path, rows = network(tmp_path / "m.onnx", half=True), draw(12, WIDTH)
    np.save(tmp_path / "rows.npy", rows)
    program = (
        "import sys, numpy as np; from edge_lstm.importers import import_onnx; from edge_lstm.analysis.verify import"
        " verify; m = import_onnx(sys.argv[1], mode='window'); verify(m, sys.argv[1]);"
        " np.save(sys.argv[3], m.stream().run(np.load(sys.argv[2])))"
    )
    files = [str(path), str(tmp_path / "rows.npy"), str(tmp_path / "y.npy")]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, *files], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    expected = np.array([session.run(None, {"x": rows[None, t - 6 : t]})[0].reshape(-1) for t in range(6, 13)])
    assert difference(np.load(tmp_path / "y.npy")[5:], expected[:, -np.load(tmp_path / "y.npy").shape[1] :]) < 1e-2


def test_what_is_left_out_changes_no_bit(tmp_path: Path) -> None:
    """A float32 network of these operators has the bits of ONNX Runtime with all optimizations."""
    path, x = network(tmp_path / "m.onnx", half=False), draw(1, 6, WIDTH)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for source in (path, path.read_bytes()):
        assert np.array_equal(open_session(source).run(None, {"x": x})[0], plain.run(None, {"x": x})[0])
