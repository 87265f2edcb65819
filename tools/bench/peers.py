"""Everybody who runs the network: ours first, then each peer that is installed, one thread each; those written for one
network by hand are in `hand.py`.

A contender gets a NumPy array and returns one, and carries its states as its makers want it. A factory raises
ImportError or FileNotFoundError where its runtime is not there; it is then left out, by name. So is a peer whose
outputs are not the network's (int8 that saturates on CPUs without VNNI, for one), with how far they are off: what
computes something else is not timed. If that is ours, nothing is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.model import Model
from edge_lstm.engines.native.session import Native
from edge_lstm.quantization.convert import Scheme, quantize
from edge_lstm.streams.stream import Stream
from tools.bench.hand import by_c, by_c_same_door, by_numba, by_numpy
from tools.bench.network import INPUTS, OUTPUTS, Contender, Floats, Network

OURS = "edge-lstm"
ONE_CORE, ONE_STREAM = f"{OURS}, one core", f"{OURS}, one stream"
SAME_DOOR = "C, AVX-512, through our door"
CLOSE, CLOSE_INT8 = 2e-5, 0.05  # largest differences from float64; outputs are about ±1


def _ours(network: Network, folder: Path, streams: int) -> Contender:
    return _of_model(network.model(), streams)


def _ours_quantized(scheme: Scheme) -> Callable[[Network, Path, int], Contender]:
    """Calibrated on readings such as everybody gets."""
    calibration = np.random.default_rng(2).normal(0, 1, (2000, INPUTS)).astype(np.float32)
    return lambda network, folder, streams: _of_model(quantize(network.model(), calibration, scheme), streams)


def _of_model(model: Model, streams: int) -> Contender:
    stream, many = model.stream(), model.streams(streams)

    def log(xs: Floats) -> Floats:
        stream.reset()
        return stream.run(xs)

    def logs(xs: Floats) -> Callable[[], Any]:
        each = [np.ascontiguousarray(log) for log in xs.swapaxes(0, 1)]

        def run() -> list[Floats]:
            many.reset()
            return many.run(each)

        return run

    def reset() -> None:
        stream.reset()
        many.reset()

    return Contender(stream.step, reset, log, logs, many.step)


def _onnx_session(path: Path, threads: int = 1) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _quantized_onnx(network: Network, folder: Path) -> Path:
    """The LSTM operator as ONNX Runtime's own tool quantizes it: DynamicQuantizeLSTM, int8 weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / "int8.onnx"
    logging.disable(logging.WARNING)
    quantize_dynamic(
        network.lstm_onnx(folder / "lstm.onnx"), path, op_types_to_quantize=["LSTM"], weight_type=QuantType.QInt8
    )
    logging.disable(logging.NOTSET)
    return path


def _onnxruntime(network: Network, folder: Path, streams: int) -> Contender:
    return _onnx_lstm(network, network.lstm_onnx(folder / "lstm.onnx"), streams)


def _onnxruntime_int8(network: Network, folder: Path, streams: int) -> Contender:
    return _onnx_lstm(network, _quantized_onnx(network, folder), streams)


def _onnx_lstm(network: Network, path: Path, streams: int) -> Contender:
    session = _onnx_session(path)
    zero, zeros = (np.zeros((1, n, network.units), np.float32) for n in (1, streams))
    state, states = [zero, zero], [zeros, zeros]

    def step(x: Floats) -> Any:
        y, *state[:] = session.run(None, {"x": x.reshape(1, 1, INPUTS), "h": state[0], "c": state[1]})
        return y

    def log(xs: Floats) -> Any:
        return session.run(["y"], {"x": xs[:, None], "h": zero, "c": zero})[0]

    def logs(xs: Floats) -> Callable[[], Any]:
        return lambda: session.run(["y"], {"x": xs, "h": zeros, "c": zeros})[0]

    def batch(xs: Floats) -> Any:
        y, *states[:] = session.run(None, {"x": xs[None], "h": states[0], "c": states[1]})
        return y

    def reset() -> None:
        state[:], states[:] = [zero, zero], [zeros, zeros]

    return Contender(step, reset, log, logs, batch)


def _onnxruntime_binding(network: Network, folder: Path, streams: int) -> Contender:
    return _bound(network, network.cell_onnx(folder / "cell.onnx"), ())


def _onnxruntime_int8_binding(network: Network, folder: Path, streams: int) -> Contender:
    return _bound(network, _quantized_onnx(network, folder), (1,))


def _bound(network: Network, path: Path, time: tuple[int, ...]) -> Contender:
    """Every input and output bound once; two bindings that hand the states to each other. time: an axis more."""
    import onnxruntime as ort

    session = _onnx_session(path)
    x, y = np.zeros((*time, 1, INPUTS), np.float32), np.zeros((*time, 1, OUTPUTS), np.float32)
    states = np.zeros((2, 2, *time, 1, network.units), np.float32)
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
        x[...] = reading
        session.run_with_iobinding(bindings[turn[0]])
        turn[0] ^= 1
        return y

    def reset() -> None:
        for value in values[turn[0]]:
            value.update_inplace(np.zeros((*time, 1, network.units), np.float32))

    return Contender(step, reset)


def _litert(kind: str, int8: bool = False) -> Callable[[Network, Path, int], Contender]:
    def make(network: Network, folder: Path, streams: int) -> Contender:
        from ai_edge_litert.interpreter import Interpreter

        from tools.bench import tflite

        interpreter = Interpreter(model_content=getattr(tflite, kind)(network, int8), num_threads=1)
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

    def log(xs: Floats) -> Any:  # (T, I) or (T, N, I)
        with torch.inference_mode():
            return head(lstm(torch.from_numpy(xs))[0]).numpy()

    def reset() -> None:
        state[:] = None, None

    return Contender(
        lambda x: many(x.reshape(1, INPUTS), 0), reset, log, lambda xs: lambda: log(xs), lambda xs: many(xs, 1)
    )


FACTORIES: dict[str, Callable[[Network, Path, int], Contender]] = {
    OURS: _ours,
    "LiteRT, fused LSTM": _litert("fused"),
    "LiteRT, cell graph": _litert("cell"),
    "NumPy by hand": by_numpy,
    "ONNX Runtime, IOBinding": _onnxruntime_binding,
    "ONNX Runtime, run()": _onnxruntime,
    "OpenVINO": _openvino,
    "ncnn": _ncnn,
    "tract": _tract,
    "torch": _torch,
    "Numba, naive": by_numba,
    "C, gcc -O3": by_c("plain"),
    "C, AVX-512 intrinsics": by_c("avx512"),
    SAME_DOOR: by_c_same_door,
}
OURS_INT8, OURS_DYNAMIC = f"{OURS}, int8", f"{OURS}, int8-dynamic"
QUANTIZED: dict[str, Callable[[Network, Path, int], Contender]] = {
    OURS_INT8: _ours_quantized("int8"),
    OURS_DYNAMIC: _ours_quantized("int8-dynamic"),
    f"{OURS}, int16": _ours_quantized("int16"),
    f"{OURS}, int8-weights": _ours_quantized("int8-weights"),
    f"{OURS}, float16": _ours_quantized("float16"),
    f"{OURS}, float32": _ours,
    "LiteRT, fused LSTM, int8": _litert("fused", int8=True),
    "LiteRT, cell graph, int8": _litert("cell", int8=True),
    "ONNX Runtime DynamicQuantizeLSTM, IOBinding": _onnxruntime_int8_binding,
    "ONNX Runtime DynamicQuantizeLSTM, run()": _onnxruntime_int8,
}
# A general runtime is what a robot's program would be written against; the others are written for one network by hand.
GENERAL = tuple(
    name
    for name in (*FACTORIES, *QUANTIZED)
    if name.startswith(("LiteRT", "ONNX", "OpenVINO", "ncnn", "tract", "torch"))
)


@dataclass
class Contenders:
    """By name: those who compute the network, each compared with float64; why others are not here; and how far off
    those are who compute something else."""

    found: dict[str, Contender] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, float] = field(default_factory=dict)


def contenders(network: Network, folder: Path, streams: int = 64, quantized: bool = False) -> Contenders:
    """All that are installed. Exit where ours are wrong."""
    xs = np.random.default_rng(0).normal(0, 1, (60, INPUTS)).astype(np.float32)
    exact = network.exact(xs)
    result = Contenders()
    for name, make in (QUANTIZED if quantized else FACTORIES).items():
        (own := folder / f"{network.units} {name}").mkdir(exist_ok=True)
        try:
            contender = make(network, own if not name.startswith("C,") else folder, streams)
        except (ImportError, FileNotFoundError) as error:
            result.absent[name] = str(error)
            continue
        contender.error = _error(contender, xs, exact, streams)
        if contender.error <= (CLOSE_INT8 if quantized else CLOSE):
            result.found[name] = contender
        elif name.startswith(OURS):
            raise SystemExit(f"{name} differs from float64 by {contender.error}: nothing is timed")
        else:
            result.wrong[name] = contender.error
    return result


def on_cores(network: Network, folder: Path, xs: Floats, threads: int) -> dict[str, Callable[[], Any]]:
    """Calls that run the logs xs (T, N, I) on several cores, and ours on one; their results have been compared, and
    theirs left out where they differ. Exit where ours do."""
    streams, count = network.model().streams(xs.shape[1]), threads
    each = [np.ascontiguousarray(log) for log in xs.swapaxes(0, 1)]
    session = _onnx_session(network.lstm_onnx(folder / "lstm.onnx"), threads)
    zeros = np.zeros((1, xs.shape[1], network.units), np.float32)

    def ours(threads: int) -> list[Floats]:
        streams.reset()
        return streams.run(each, threads=threads)

    def theirs() -> Any:
        return session.run(["y"], {"x": xs, "h": zeros, "c": zeros})[0]

    together = np.stack(ours(count), axis=1)
    if (together != np.stack(ours(1), axis=1)).any():
        raise SystemExit(f"ours on {threads} cores differ from ours on one: nothing is timed")
    works: dict[str, Callable[[], Any]] = {OURS: lambda: ours(count), ONE_CORE: lambda: ours(1)}
    if np.abs(theirs() - together).max() <= CLOSE:
        works["ONNX Runtime, run()"] = theirs
    return works


def by_lanes(network: Network, xs: Floats) -> dict[str, Callable[[], Any]]:
    """Calls that run a log with vectors of each number of lanes (EDGE_LSTM_LANES), and OURS with those that suit this
    CPU; the bits have been compared."""
    streams = {f"{OURS}, {lanes} lanes": Stream(network.model(), Native(lanes)) for lanes in (4, 8, 16)}
    streams[OURS] = network.model().stream()

    def log(stream: Stream) -> Floats:
        stream.reset()
        return stream.run(xs)

    results = {name: log(stream).tobytes() for name, stream in streams.items()}
    if len(set(results.values())) != 1:
        raise SystemExit("another number of lanes gives other bits: nothing is timed")
    return {name: lambda stream=stream: log(stream) for name, stream in streams.items()}  # type: ignore[misc]


def _error(contender: Contender, xs: Floats, exact: Any, streams: int) -> float:
    """The largest difference from what the network gives, of whatever a contender can do."""
    contender.reset()
    results: dict[str, Any] = {"step": [np.array(contender.step(x)).reshape(-1) for x in xs]}
    if contender.log:
        results["log"] = np.array(contender.log(xs)).reshape(len(xs), -1)
    if contender.logs:
        tiled = np.ascontiguousarray(np.tile(xs[:, None], (1, streams, 1)))
        found = contender.logs(tiled)()
        results["logs"] = found[-1] if isinstance(found, list) else np.array(found).reshape(len(xs), streams, -1)[:, -1]
    if contender.batch:
        contender.reset()
        rows = [np.array(contender.batch(np.tile(x, (streams, 1)))).reshape(streams, -1)[-1] for x in xs]
        results["batch"] = rows
    contender.reset()
    return max(float(np.nan_to_num(np.abs(np.array(ys) - exact), nan=np.inf).max()) for ys in results.values())
