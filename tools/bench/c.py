"""The C machine on this computer beside the one in Python (Numba) and beside an LSTM whose sizes are template
arguments, in the style of RTNeural (`static.cpp`): processor time per reading of a log taken in one call, as a
Markdown table.

    python -m tools.bench.c [--rounds 15] [--units 8 16 32 64]

Its rule: the same weights and readings; before any timing the C machine's outputs equal Python's bit for bit, and the
template's are close. A ratio is the median over rounds of two times taken one after the other. Needs gcc, g++ and Eigen
(Debian: libeigen3-dev). RTNeural itself is in no package registry; it was not measured.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.firmware.export import firmware
from edge_lstm.quantization import quantize
from tools.bench.network import INPUTS, OUTPUTS, Network

Floats = npt.NDArray[np.float32]
ROOT = Path(__file__).parents[2]
STEPS = 2000
OPTIMIZED = ("-O3", "-march=native", "-shared", "-fPIC")
_SHIM = """
#include "model.h"
static float arena[MODEL_ARENA];
static edge_lstm_stream stream;
void run(const float *xs, float *ys, int count);
void run(const float *xs, float *ys, int count)
{
    edge_lstm_begin(&stream, &MODEL, arena);
    for (; count--; xs += MODEL_INPUTS, ys += MODEL_OUTPUTS) edge_lstm_step(&stream, xs, ys);
}
"""


def _pointer(array: Floats) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _build(folder: Path, name: str, *command: str | Path) -> ctypes.CDLL:
    """A shared library, from a compiler's command line without its output."""
    subprocess.run([*command, "-o", folder / f"{name}.so", "-lm"], check=True)
    return ctypes.CDLL(str(folder / f"{name}.so"))


class Peer:
    """Something that takes the log in one call from the reset state, and its outputs."""

    def __init__(self, take: Callable[[], None], outputs: Floats) -> None:
        self._take, self._outputs = take, outputs

    def outputs(self) -> Floats:
        """(STEPS, OUTPUTS)."""
        self._take()
        taken: Floats = self._outputs.copy()
        return taken

    def seconds(self) -> float:
        """Per reading."""
        start = time.thread_time()  # other programs' share does not count
        self._take()
        return (time.thread_time() - start) / STEPS


def in_python(model: Model, xs: Floats) -> Peer:
    """Numba's machine."""
    stream, ys = model.stream(), np.zeros((STEPS, OUTPUTS), np.float32)

    def take() -> None:
        stream.reset()
        ys[:] = stream.run(xs)

    return Peer(take, ys)


def in_c(model: Model, xs: Floats, folder: Path) -> Peer:
    """edge_lstm.c with the model's header."""
    sources = ROOT / "firmware_bridge" / "c"
    (folder / "model.h").write_text(firmware(model, "model").text)
    (folder / "shim.c").write_text(_SHIM)
    includes = (f"-I{sources}", f"-I{folder}")
    files = (folder / "shim.c", sources / "edge_lstm.c")
    library = _build(folder, model.name, "gcc", "-std=c99", *OPTIMIZED, *includes, *files)
    ys = np.zeros((STEPS, OUTPUTS), np.float32)
    return Peer(lambda: library.run(_pointer(xs), _pointer(ys), STEPS), ys)


def in_template(model: Model, xs: Floats, folder: Path, *flags: str) -> Peer:
    """The LSTM with its sizes as template arguments, in C++."""
    lstm, dense = model.program.operations
    sizes = (f"-DINPUTS={INPUTS}", f"-DUNITS={lstm.inputs[1].size}", f"-DOUTPUTS={OUTPUTS}")
    source = Path(__file__).with_name("static.cpp")
    options = ("-std=c++17", "-I/usr/include/eigen3", *OPTIMIZED, *flags, *sizes)
    library = _build(folder, "-".join((model.name, "template", *flags)), "g++", *options, source)
    weights = [lstm.weights["W"], lstm.weights["R"], lstm.weights["b"], dense.weights["W"], dense.weights["b"]]
    library.static_load(*map(_pointer, weights))
    ys = np.zeros((STEPS, OUTPUTS), np.float32)
    reset = [state.reset for state in model.program.states]
    return Peer(lambda: library.static_run(*map(_pointer, reset), _pointer(xs), _pointer(ys), STEPS), ys)


def peers(units: int, folder: Path) -> dict[str, Peer]:
    """Name -> peer, the first being what ratios refer to; their outputs have been compared."""
    xs = np.random.default_rng(units).normal(0, 1, (STEPS, INPUTS)).astype(np.float32)
    whole = replace(Network.random(units).model(), name="float32")
    small = replace(quantize(whole, xs, "int8"), name="int8")
    found = {
        "edge-lstm in Python (Numba)": in_python(whole, xs),
        "edge_lstm.c": in_c(whole, xs, folder),
        "C++ templates over Eigen": in_template(whole, xs, folder),
        "the same with -ffast-math": in_template(whole, xs, folder, "-ffast-math"),
        "int8: edge-lstm in Python": in_python(small, xs),
        "int8: edge_lstm.c": in_c(small, xs, folder),
    }
    outputs = {name: peer.outputs() for name, peer in found.items()}
    expected = outputs["edge-lstm in Python (Numba)"]
    assert outputs["edge_lstm.c"].tobytes() == expected.tobytes()
    assert outputs["int8: edge_lstm.c"].tobytes() == outputs["int8: edge-lstm in Python"].tobytes()
    for name in ("C++ templates over Eigen", "the same with -ffast-math"):
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)
    return found


def measure(units: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> (median seconds per reading, median of its ratio to the first)."""
    with tempfile.TemporaryDirectory() as folder:
        found = peers(units, Path(folder))
        times = np.array([[min(peer.seconds() for _ in range(3)) for peer in found.values()] for _ in range(rounds)])
    ratios = np.median(times / times[:, :1], axis=0)
    return dict(zip(found, zip(np.median(times, axis=0).tolist(), ratios.tolist(), strict=True), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--units", type=int, nargs="+", default=[8, 16, 32, 64])
    options = parser.parse_args()
    if not (shutil.which("gcc") and shutil.which("g++") and Path("/usr/include/eigen3").exists()):
        print("tools.bench.c needs gcc, g++ and Eigen (Debian: apt install g++ libeigen3-dev)", file=sys.stderr)
        return 2
    columns = [measure(units, options.rounds) for units in options.units]
    print("| µs per reading, LSTM of | " + " | ".join(f"{units} units" for units in options.units) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name in columns[0]:
        cells = [f"{1e6 * column[name][0]:.2f} ({column[name][1]:.1f} ×)" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
