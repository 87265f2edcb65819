"""Every way of adding integers that this CPU has, for comparing quantized layers with the exact twin (`exact_twin.py`).

Its rule: a CPU chooses one family of instructions (`kernels/integers.py`), and the tests that run on it see no other;
here quantized layers are compiled for the lesser ones too.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from edge_lstm.core.model import Model
from edge_lstm.engines.native.cpu import CPUS, runs_here
from edge_lstm.engines.native.image import Image, Loaded
from edge_lstm.engines.native.kernels import abi, quantized
from edge_lstm.engines.native.kernels import compile as compiler
from edge_lstm.engines.native.kernels.abi import ROW
from edge_lstm.engines.native.kernels.elementwise import give_out, move, take_in
from edge_lstm.engines.native.kernels.simd import arenas, floats, integers, kernel, read
from edge_lstm.engines.native.session import NativeSession
from edge_lstm.engines.status import OK
from tests.support.models.nets import readings
from tests.support.models.quantized_nets import CELLS, SCHEMES, quantized_network
from tests.support.oracles.exact_twin import Exact

LANES = (4, 8, 16)


@kernel
def _only_integers(kinds, frame_address):  # type: ignore[no-untyped-def]
    """The part of `machine.run` that quantized layers need, for one copy: compiled in a quarter of the time."""
    V, _, V1, _, Q = kinds
    frame = integers(frame_address)
    rows = read(frame, abi.STEP_ROWS) + read(frame, abi.COMMIT_ROWS) + read(frame, abi.OUTPUT_ROWS)
    table, weights = integers(read(frame, abi.TABLE)), floats(read(frame, abi.WEIGHTS))
    arena = arenas(read(frame, abi.ARENA), 0)
    for t in range(read(frame, abi.STEPS)):
        x = arenas(read(frame, abi.X) + 4 * t * read(frame, abi.X_STEP), 0)
        y = arenas(read(frame, abi.Y_OUT) + 4 * t * read(frame, abi.Y_STEP), 0)
        for number in range(rows):
            row = number * ROW
            kind, n = read(table, row + abi.KIND), read(table, row + abi.N)
            a, out = read(table, row + abi.A), read(table, row + abi.Y)
            if kind >= abi.QUANTIZE:
                status = quantized.execute(V, V1, Q, table, row, kind, weights, arena, t & 1)
                if status != OK:
                    return status
            elif kind == abi.INPUT:
                take_in(V, x, a, arena, out, n)
            elif kind == abi.OUTPUT:
                give_out(V, arena, a, y, out, n)
            elif kind != abi.CHECK:
                move(V, arena, a, arena, out, n)
    return OK


@functools.cache
def _compiled(lanes: int, family: str) -> tuple[Any, Any]:
    """What is loaded, and the function in it."""
    loaded = Loaded(Image.from_bytes(compiler.compile_image(lanes, family=family, run=_only_integers)))
    return loaded, ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.address("edge_lstm_run"))


def run_with(model: Model, xs: Any, lanes: int, family: str) -> Any:
    """The outputs of a log, float32 (T, n_outputs), by these instructions."""
    session, taken = NativeSession(model, 1, lanes), np.ascontiguousarray(xs, np.float32)
    ys = np.zeros((len(xs), model.program.output_size), np.float32)
    status = _compiled(lanes, family)[1](session.frame_for(taken[None], ys[None]).ctypes.data)
    assert status == OK, f"status {status}"
    return ys


def families_here() -> set[str]:
    """Those that this CPU has the instructions of."""
    found = {cpu.family for cpu in CPUS if runs_here(cpu)} | {"plain"}
    return found | {"vnni256"} if "vnni512" in found else found  # the same instruction, on shorter vectors


def differences(family: str, lanes: int) -> list[str]:
    """Names of the networks, of every cell in every scheme and of awkward sizes, whose bits differ."""
    found = []
    for number, (kind, scheme) in enumerate((k, s) for k in CELLS for s in SCHEMES):
        for inputs, units in ((8, 16), (5, 33), (13, 70), (1, 1)):
            model = quantized_network(kind, scheme, inputs, units, 3, 2, number)
            xs = readings(5, inputs, number, scale=2.0)  # some beyond what the scales hold
            if run_with(model, xs, lanes, family).tobytes() != Exact(model).run(xs).tobytes():
                found.append(f"{model.name} of {inputs} inputs")
    return found
