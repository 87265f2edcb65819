"""The network as one writes it by hand, for itself alone: NumPy, Numba, C."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.engines.native import loader
from tools.bench.network import INPUTS, OUTPUTS, Contender, Floats, Network


def by_numpy(network: Network, folder: Path, streams: int) -> Contender:
    """As one tunes it by hand: one product for all gates and the bias, into arrays that are kept, one tanh for all."""
    units = network.units
    half = np.float32(0.5)
    # sigmoid(v) = tanh(v / 2) / 2 + 1 / 2, for the first three of i f o g
    scale = np.repeat(np.array([0.5, 0.5, 0.5, 1], np.float32), units)
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
    return Contender(step, lambda: (reset(), reset_batch()), batch=batch)


def by_numba(network: Network, folder: Path, streams: int) -> Contender:
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
    """lstm.c, compiled for this CPU. Raises FileNotFoundError where there is no gcc."""
    library = folder / "bench_lstm.so"
    if not library.exists():
        source = Path(__file__).with_name("lstm.c")
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, source, "-o", library, "-lm"], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.read_pass.restype = ctypes.c_float
    return loaded


def by_c(kind: str) -> Callable[[Network, Path, int], Contender]:
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


def by_c_same_door(network: Network, folder: Path, streams: int) -> Contender:
    """The intrinsics, called as our machine is: no ctypes between, the reading checked and copied in the same way."""
    library = c_library(folder)
    try:
        new, step = library.lstm_avx512_new, library.lstm_avx512_method
    except AttributeError:
        raise ImportError("this CPU has no avx512") from None
    new.restype = ctypes.c_void_p
    arrays = [a.ctypes.data_as(ctypes.c_void_p) for a in (network.W, network.R, network.b, network.V, network.v)]
    handle = new(INPUTS, network.units, OUTPUTS, *arrays)
    x, y = np.zeros(INPUTS, np.float32), np.zeros(OUTPUTS, np.float32)
    frame = np.array([handle, x.ctypes.data, y.ctypes.data], np.int64)
    method = loader._method(ctypes.cast(step, ctypes.c_void_p).value or 0, b"step")
    call: Any = loader._bind(method, frame.ctypes.data)
    reading: Any = memoryview(x)  # type: ignore[arg-type]
    kept = (library, method, frame)  # as long as the function below

    def one(value: Floats, kept: Any = kept) -> Any:
        reading[:] = value
        call()
        return y

    return Contender(one, lambda: library.lstm_reset(ctypes.c_void_p(handle)))
