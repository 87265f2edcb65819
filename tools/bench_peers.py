"""Everybody who runs the network: ours first, then each peer that is installed, one thread each.

A contender gets a NumPy array and returns one, and carries its states as its makers want it. A factory raises
ImportError or FileNotFoundError where its runtime is not there; it is then left out, by name.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench_network import INPUTS, OUTPUTS, Floats, Network

OURS = "edge-lstm"


@dataclass
class Contender:
    """step: (I,) to (O,). log: (T, I) to (T, O), from the reset state. batch: (N, I) to (N, O), N streams' one step."""

    step: Callable[[Floats], Any]
    reset: Callable[[], object]
    log: Callable[[Floats], Any] | None = None
    batch: Callable[[Floats], Any] | None = None


def _ours(network: Network, folder: Path, streams: int) -> Contender:
    model = network.model()
    stream, many = model.stream(), model.streams(streams)

    def log(xs: Floats) -> Floats:
        stream.reset()
        return stream.run(xs)

    return Contender(stream.step, stream.reset, log, many.step)


def _onnx_session(path: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _onnxruntime(network: Network, folder: Path, streams: int) -> Contender:
    session = _onnx_session(network.lstm_onnx(folder / "lstm.onnx"))
    zero, zeros = (np.zeros((1, n, network.units), np.float32) for n in (1, streams))
    state, states = [zero, zero], [zeros, zeros]

    def step(x: Floats) -> Any:
        y, *state[:] = session.run(None, {"x": x.reshape(1, 1, INPUTS), "h": state[0], "c": state[1]})
        return y

    def log(xs: Floats) -> Any:
        return session.run(["y"], {"x": xs[:, None], "h": zero, "c": zero})[0]

    def batch(xs: Floats) -> Any:
        y, *states[:] = session.run(None, {"x": xs[None], "h": states[0], "c": states[1]})
        return y

    def reset() -> None:
        state[:], states[:] = [zero, zero], [zeros, zeros]

    return Contender(step, reset, log, batch)


def _onnxruntime_binding(network: Network, folder: Path, streams: int) -> Contender:
    """The cell graph with every input and output bound once; two bindings that hand the states to each other."""
    import onnxruntime as ort

    session = _onnx_session(network.cell_onnx(folder / "cell.onnx"))
    x, y = np.zeros((1, INPUTS), np.float32), np.zeros((1, OUTPUTS), np.float32)
    states = np.zeros((2, 2, 1, network.units), np.float32)
    values = [[ort.OrtValue.ortvalue_from_numpy(states[k, j]) for j in range(2)] for k in range(2)]
    bindings = []
    for old, new in ((0, 1), (1, 0)):
        binding = session.io_binding()
        binding.bind_cpu_input("x", x)
        for j, name in enumerate(("h", "c")):
            binding.bind_ortvalue_input(name, values[old][j])
            binding.bind_ortvalue_output(f"{name}1", values[new][j])
        binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
        bindings.append(binding)
    turn = [0]

    def step(reading: Floats) -> Any:
        x[0] = reading
        session.run_with_iobinding(bindings[turn[0]])
        turn[0] ^= 1
        return y

    def reset() -> None:
        for value in values[turn[0]]:
            value.update_inplace(np.zeros((1, network.units), np.float32))

    return Contender(step, reset)


def _litert(kind: str) -> Callable[[Network, Path, int], Contender]:
    def make(network: Network, folder: Path, streams: int) -> Contender:
        from ai_edge_litert.interpreter import Interpreter

        from tools import bench_tflite

        interpreter = Interpreter(model_content=getattr(bench_tflite, kind)(network), num_threads=1)
        interpreter.allocate_tensors()
        inputs = [d["index"] for d in interpreter.get_input_details()]
        outputs = [d["index"] for d in interpreter.get_output_details()]
        zero = np.zeros((1, network.units), np.float32)
        state = [zero, zero]

        def fused(x: Floats) -> Any:
            interpreter.set_tensor(inputs[0], x.reshape(1, 1, INPUTS))
            interpreter.invoke()
            return interpreter.get_tensor(outputs[0])

        def cell(x: Floats) -> Any:
            interpreter.set_tensor(inputs[0], x.reshape(1, INPUTS))
            interpreter.set_tensor(inputs[1], state[0])
            interpreter.set_tensor(inputs[2], state[1])
            interpreter.invoke()
            state[:] = interpreter.get_tensor(outputs[1]), interpreter.get_tensor(outputs[2])
            return interpreter.get_tensor(outputs[0])

        def reset() -> None:
            state[:] = zero, zero
            interpreter.reset_all_variables()

        return Contender(fused if kind == "fused" else cell, reset)

    return make


def _openvino(network: Network, folder: Path, streams: int) -> Contender:
    """The cell graph made stateful, so that the states never leave the runtime."""
    import openvino as ov
    from openvino._offline_transformations import apply_make_stateful_transformation

    core = ov.Core()
    model = core.read_model(network.cell_onnx(folder / "cell.onnx"))
    apply_make_stateful_transformation(model, {"h": "h1", "c": "c1"})
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    x = np.zeros((1, INPUTS), np.float32)
    request.set_tensor("x", ov.Tensor(x, shared_memory=True))
    y = request.get_output_tensor(0).data

    def step(reading: Floats) -> Any:
        x[0] = reading
        request.infer()
        return y

    return Contender(step, request.reset_state)


_NCNN = """7767517
5 7
Input x 0 1 x 0=8 1=1
Input h 0 1 h 0={units} 1=1
Input c 0 1 c 0={units} 1=1
LSTM lstm 3 3 x h c s h1 c1 0={units} 1={size} 2=0
InnerProduct head 1 1 s y 0={outputs} 1=1 2={head}
"""


def _ncnn(network: Network, folder: Path, streams: int) -> Contender:
    import ncnn

    units = network.units
    text = _NCNN.format(units=units, size=4 * units * INPUTS, outputs=OUTPUTS, head=OUTPUTS * units)
    (folder / "lstm.param").write_text(text)
    tag = np.zeros(1, np.float32)  # weights follow as float32
    gates = [network.rows("ifog", a) for a in (network.W, network.b, network.R)]
    parts = [part for array in (*gates, network.V) for part in (tag, array.ravel())] + [network.v]
    (folder / "lstm.bin").write_bytes(np.concatenate(parts).tobytes())
    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = 1, False
    net.opt.use_fp16_storage = net.opt.use_fp16_packed = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.load_param(str(folder / "lstm.param"))
    net.load_model(str(folder / "lstm.bin"))

    zero = np.zeros((1, units), np.float32)  # a Mat keeps only the address of its array
    state = [ncnn.Mat(zero), ncnn.Mat(zero)]

    def step(x: Floats) -> Any:
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(x.reshape(1, INPUTS)))
        extractor.input("h", state[0])
        extractor.input("c", state[1])
        _, y = extractor.extract("y")
        _, h = extractor.extract("h1")
        _, c = extractor.extract("c1")
        state[:] = h, c
        return np.array(y)

    def reset() -> None:
        state[:] = ncnn.Mat(zero), ncnn.Mat(zero)

    return Contender(step, reset)


def _tract(network: Network, folder: Path, streams: int) -> Contender:
    import tract

    model = tract.onnx().load(str(network.cell_onnx(folder / "cell.onnx"))).into_model().into_runnable()
    zero = np.zeros((1, network.units), np.float32)
    state: list[Any] = [zero, zero]

    def step(x: Floats) -> Any:
        y, *state[:] = model.run([x.reshape(1, INPUTS), *state])
        return y.to_numpy()

    def reset() -> None:
        state[:] = zero, zero

    return Contender(step, reset)


def _torch(network: Network, folder: Path, streams: int) -> Contender:
    """LSTMCell for a step, nn.LSTM for a log."""
    import torch

    torch.set_num_threads(1)
    cell, lstm = torch.nn.LSTMCell(INPUTS, network.units), torch.nn.LSTM(INPUTS, network.units)
    head = torch.nn.Linear(network.units, OUTPUTS)
    weights = [torch.from_numpy(a) for a in (network.W, network.R, network.b, np.zeros_like(network.b))]
    with torch.no_grad():
        for parameters in (cell.parameters(), lstm.parameters()):
            for parameter, weight in zip(parameters, weights, strict=True):
                parameter.copy_(weight)
        head.weight.copy_(torch.from_numpy(network.V))
        head.bias.copy_(torch.from_numpy(network.v))
    state: list[Any] = [None, None]

    def many(x: Floats, number: int) -> Any:
        with torch.inference_mode():
            state[number] = cell(torch.from_numpy(x), state[number])
            return head(state[number][0]).numpy()

    def log(xs: Floats) -> Any:
        with torch.inference_mode():
            return head(lstm(torch.from_numpy(xs))[0]).numpy()

    def reset() -> None:
        state[:] = None, None

    return Contender(lambda x: many(x.reshape(1, INPUTS), 0), reset, log, lambda xs: many(xs, 1))


def _numpy(network: Network, folder: Path, streams: int) -> Contender:
    """As one tunes it by hand: one product for all gates and the bias, into arrays that are kept, one tanh for all."""
    units = network.units
    half = np.float32(0.5)
    # sigmoid(v) = tanh(v / 2) / 2 + 1 / 2, for the first three of i f o g
    scale = np.repeat(np.float32([0.5, 0.5, 0.5, 1]), units)
    columns = np.concatenate([network.W, network.R, network.b[:, None]], axis=1)
    matrix = np.ascontiguousarray((network.rows("ifog", columns) * scale[:, None]).T)
    head = np.ascontiguousarray(np.concatenate([network.V, network.v[:, None]], axis=1).T)

    def stepper(count: tuple[int, ...]) -> tuple[Callable[[Floats], Any], Callable[[], None]]:
        joined, sums = (np.zeros((*count, n), np.float32) for n in (INPUTS + units + 1, 4 * units))
        joined[..., -1] = 1
        x_part, h, h_and_one = joined[..., :INPUTS], joined[..., INPUTS:-1], joined[..., INPUTS:]
        i, f, o, g = (sums[..., k * units : (k + 1) * units] for k in range(4))
        gates, c = sums[..., : 3 * units], np.zeros((*count, units), np.float32)
        y = np.zeros((*count, OUTPUTS), np.float32)

        def step(x: Floats) -> Any:
            x_part[...] = x
            np.matmul(joined, matrix, out=sums)
            np.tanh(sums, out=sums)
            np.multiply(gates, half, out=gates)
            np.add(gates, half, out=gates)
            np.multiply(c, f, out=c)
            np.multiply(i, g, out=g)
            np.add(c, g, out=c)
            np.tanh(c, out=h)
            np.multiply(h, o, out=h)
            return np.matmul(h_and_one, head, out=y)

        def reset() -> None:
            h[...], c[...] = 0, 0

        return step, reset

    step, reset = stepper(())
    batch, reset_batch = stepper((streams,))
    return Contender(step, lambda: (reset(), reset_batch()), None, batch)


def _numba(network: Network, folder: Path, streams: int) -> Contender:
    """Twenty lines as most would write them."""
    import numba

    units = network.units
    W, R, b, V, v = network.W, network.R, network.b, network.V, network.v
    arrays = {"h": np.zeros(units, np.float32), "c": np.zeros(units, np.float32)}

    @numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
    def step(x: Any, h: Any, c: Any, W: Any, R: Any, b: Any, V: Any, v: Any, y: Any) -> Any:
        sums = b.copy()
        for row in range(4 * units):
            for k in range(INPUTS):
                sums[row] += W[row, k] * x[k]
            for k in range(units):
                sums[row] += R[row, k] * h[k]
        for u in range(units):
            i, f = 1 / (1 + np.exp(-sums[u])), 1 / (1 + np.exp(-sums[units + u]))
            o = 1 / (1 + np.exp(-sums[3 * units + u]))
            c[u] = f * c[u] + i * np.tanh(sums[2 * units + u])
            h[u] = o * np.tanh(c[u])
        for row in range(OUTPUTS):
            y[row] = v[row]
            for k in range(units):
                y[row] += V[row, k] * h[k]

    @numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
    def run(xs: Any, h: Any, c: Any, W: Any, R: Any, b: Any, V: Any, v: Any, ys: Any) -> Any:
        for t in range(len(xs)):
            step(xs[t], h, c, W, R, b, V, v, ys[t])

    y = np.zeros(OUTPUTS, np.float32)

    def reset() -> None:
        arrays["h"][:], arrays["c"][:] = 0, 0

    def one(x: Floats) -> Any:
        step(x, arrays["h"], arrays["c"], W, R, b, V, v, y)
        return y

    def log(xs: Floats) -> Any:
        reset()
        ys = np.empty((len(xs), OUTPUTS), np.float32)
        run(xs, arrays["h"], arrays["c"], W, R, b, V, v, ys)
        return ys

    return Contender(one, reset, log)


def c_library(folder: Path) -> Any:
    """bench_lstm.c, compiled for this CPU. Raises FileNotFoundError where there is no gcc."""
    library = folder / "bench_lstm.so"
    if not library.exists():
        source = Path(__file__).with_name("bench_lstm.c")
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, source, "-o", library, "-lm"], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.read_pass.restype = ctypes.c_float
    return loaded


def _c(kind: str) -> Callable[[Network, Path, int], Contender]:
    def make(network: Network, folder: Path, streams: int) -> Contender:
        library = c_library(folder)
        try:
            new, step, run = (getattr(library, f"lstm_{kind}_{name}") for name in ("new", "step", "run"))
        except AttributeError:
            raise ImportError(f"this CPU has no {kind}") from None
        new.restype = ctypes.c_void_p
        arrays = [a.ctypes.data_as(ctypes.c_void_p) for a in (network.W, network.R, network.b, network.V, network.v)]
        handle = ctypes.c_void_p(new(INPUTS, network.units, OUTPUTS, *arrays))
        x, y = np.zeros(INPUTS, np.float32), np.zeros(OUTPUTS, np.float32)
        to, result = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)

        def one(reading: Floats) -> Any:
            x[:] = reading
            step(handle, to, result)
            return y

        def reset() -> None:
            library.lstm_reset(handle)

        def log(xs: Floats) -> Any:
            reset()
            ys = np.empty((len(xs), OUTPUTS), np.float32)
            run(handle, ctypes.c_void_p(xs.ctypes.data), ctypes.c_void_p(ys.ctypes.data), ctypes.c_long(len(xs)))
            return ys

        return Contender(one, reset, log)

    return make


FACTORIES: dict[str, Callable[[Network, Path, int], Contender]] = {
    OURS: _ours,
    "LiteRT, fused LSTM": _litert("fused"),
    "LiteRT, cell graph": _litert("cell"),
    "NumPy by hand": _numpy,
    "ONNX Runtime, IOBinding": _onnxruntime_binding,
    "ONNX Runtime, run()": _onnxruntime,
    "OpenVINO": _openvino,
    "ncnn": _ncnn,
    "tract": _tract,
    "torch": _torch,
    "Numba, naive": _numba,
    "C, gcc -O3": _c("plain"),
    "C, AVX-512 intrinsics": _c("avx512"),
}
# A general runtime is what a robot's program would be written against; the others are written for one network by hand.
GENERAL = tuple(name for name in FACTORIES if name.startswith(("LiteRT", "ONNX", "OpenVINO", "ncnn", "tract", "torch")))


def contenders(network: Network, folder: Path, streams: int = 64) -> tuple[dict[str, Contender], dict[str, str]]:
    """All that are here, by name; and why the others are not. Each has been compared with float64."""
    xs = np.random.default_rng(0).normal(0, 1, (60, INPUTS)).astype(np.float32)
    exact = network.exact(xs)
    found: dict[str, Contender] = {}
    absent: dict[str, str] = {}
    for name, make in FACTORIES.items():
        (own := folder / f"{network.units} {name}").mkdir(exist_ok=True)
        try:
            contender = make(network, own if not name.startswith("C,") else folder, streams)
        except (ImportError, FileNotFoundError) as error:
            absent[name] = str(error)
            continue
        _agree(name, contender, xs, exact, streams)
        found[name] = contender
    return found, absent


def _agree(name: str, contender: Contender, xs: Floats, exact: Any, streams: int) -> None:
    """Raise where a contender does not compute the network."""
    contender.reset()
    results: dict[str, Any] = {"step": [np.array(contender.step(x)).reshape(-1) for x in xs]}
    if contender.log:
        results["log"] = np.array(contender.log(xs)).reshape(len(xs), -1)
    if contender.batch:
        contender.reset()
        rows = [np.array(contender.batch(np.tile(x, (streams, 1)))).reshape(streams, -1)[-1] for x in xs]
        results["batch"] = rows
    for what, ys in results.items():
        if (error := float(np.abs(np.array(ys) - exact).max())) > 2e-5:
            raise SystemExit(f"{name}, {what}, differs from float64 by {error}: nothing is timed")
    contender.reset()
