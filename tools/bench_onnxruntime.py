"""Speed of a step and of a whole log beside ONNX Runtime: the same network, outputs compared before anything is timed.

8 inputs → LSTM of H units → dense 4, float32, one thread everywhere. Both sides get a NumPy array and return one, and
carry the state. The two take turns in short rounds, and what is printed is the median of the rounds' ratios: absolute
times belong to one machine and one moment.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import edge_lstm

INPUTS, OUTPUTS = 8, 4
SIZES = (8, 16, 32, 64, 128, 256)


def lstm_graph(units: int, path: Path) -> None:
    """A step graph (states in and out) whose time axis is dynamic, so that it runs a whole log as well."""
    random = np.random.default_rng(units)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.uniform(-1, 1, shape).astype(np.float32) / np.float32(units**0.5), name)

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["Y", "h_out", "c_out"], hidden_size=units),
            helper.make_node("Squeeze", ["Y", "one"], ["flat"]),
            helper.make_node("MatMul", ["flat", "head"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["y"]),
        ],
        "lstm",
        [value("x", "T", 1, INPUTS), value("h", 1, 1, units), value("c", 1, 1, units)],
        [value("y", "T", 1, OUTPUTS), value("h_out", 1, 1, units), value("c_out", 1, 1, units)],
        [
            weights("W", 1, 4 * units, INPUTS),
            weights("R", 1, 4 * units, units),
            weights("B", 1, 8 * units),
            weights("head", units, OUTPUTS),
            weights("bias", OUTPUTS),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def compare(ours: Callable[[], object], theirs: Callable[[], object], calls: int, rounds: int) -> dict[str, float]:
    """Medians of our time, their time and the rounds' ratios."""
    pairs = [(seconds(ours, calls), seconds(theirs, calls)) for _ in range(rounds)]
    return {
        "ours_us": statistics.median(a for a, _ in pairs) * 1e6,
        "onnxruntime_us": statistics.median(b for _, b in pairs) * 1e6,
        "ratio": statistics.median(b / a for a, b in pairs),
    }


def measure(units: int, folder: Path) -> dict[str, dict[str, float]]:
    path = folder / f"lstm{units}.onnx"
    lstm_graph(units, path)
    model = edge_lstm.import_onnx(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    log = np.random.default_rng(1).normal(0, 1, (10_000, INPUTS)).astype(np.float32)
    stream, zero = model.stream(), np.zeros((1, 1, units), np.float32)
    reference = session.run(["y"], {"x": log[:, None], "h": zero, "c": zero})[0].reshape(-1, OUTPUTS)
    error = float(np.abs(stream.run(log) - reference).max())
    if error > 1e-5:
        sys.exit(f"the two differ by {error} at {units} units: nothing is timed")

    x, state = log[0], [zero, zero]
    x3 = x.reshape(1, 1, INPUTS)

    def their_step() -> None:
        _, state[0], state[1] = session.run(None, {"x": x3, "h": state[0], "c": state[1]})

    feeds = {"x": log[:, None].copy(), "h": zero, "c": zero}
    return {
        "step": compare(lambda: stream.step(x), their_step, 400, 41),
        "log": compare(lambda: stream.run(log), lambda: session.run(["y"], feeds), 1, 11),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    results = {}
    print(f"{platform.machine()}, Python {platform.python_version()}, ONNX Runtime {ort.__version__}\n")
    print("| units | step, µs | ONNX Runtime, µs | ratio | log of 10,000, ms | ONNX Runtime, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for units in SIZES:
            found = results[units] = measure(units, Path(folder))
            step, log = found["step"], found["log"]
            print(
                f"| {units} | {step['ours_us']:.2f} | {step['onnxruntime_us']:.1f} | {step['ratio']:.1f} × "
                f"| {log['ours_us'] / 1e3:.2f} | {log['onnxruntime_us'] / 1e3:.2f} | {log['ratio']:.2f} × |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
