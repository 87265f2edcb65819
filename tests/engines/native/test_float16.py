"""Weights of float16: the bits of float32 with the same weights, on every way through the engine, in half the room."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native.cpu import this_cpu
from edge_lstm.engines.native.image import Image, Loaded
from edge_lstm.engines.native.kernels.compile import compile_image
from edge_lstm.engines.native.kernels.simd import arenas, halves, integers, kernel, read, store, weight
from edge_lstm.engines.native.layout import lay_out
from edge_lstm.engines.native.session import Native
from edge_lstm.engines.plain import Plain
from edge_lstm.engines.status import OK
from edge_lstm.errors import ProgramError
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.half_nets import half_heads, halved, widened
from tests.support.models.nets import CELLS, network, readings

LANES = (4, 8, 16)


@kernel
def _widen(kinds, frame_address):  # type: ignore[no-untyped-def]
    """frame: addresses of float16 and of as many float32, and how many."""
    V, _, _, _, Q = kinds
    frame = integers(frame_address)
    values, found = halves(Q, read(frame, 0)), arenas(read(frame, 1), 0)
    for k in range(0, read(frame, 2), V.lanes):
        store(V, found, k, weight(V, values, k))
    return OK


def test_every_float16_is_widened_exactly():
    """All 63,488 finite ones, those below the normal ones and both zeros, to the bits that Python's struct says: by
    this CPU's instruction, and by the shifts of CPUs that have none."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    bits = bits[np.isfinite(bits.view(np.float16))]
    assert bits.size == 63_488
    expected = np.array(struct.unpack(f"<{bits.size}e", bits.tobytes()), np.float32)
    for family, lanes in (("plain", 4), (this_cpu(16).family, 16)):
        loaded = Loaded(Image.from_bytes(compile_image(lanes, family=family, run=_widen)))
        function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.address("edge_lstm_run"))
        found = np.full(bits.size, np.nan, np.float32)
        frame = np.array([bits.ctypes.data, found.ctypes.data, bits.size], np.int64)
        assert function(frame.ctypes.data) == OK
        assert found.tobytes() == expected.tobytes(), family


def same_bits(model: Model, count: int, seed: int) -> None:
    """One by one, as a log, and as several of unequal length, with all lanes, from a reset state of its own."""
    twin, size = widened(model), model.program.input_size
    xs = readings(count, size, seed, scale=2.0)
    expected = twin.stream().run(xs).tobytes()
    logs = [] if model.timing.window else [readings(count - k, size, seed + k) for k in range(7)]
    together = [log.tobytes() for log in Streams(twin, 7).run(logs)] if logs else []
    for lanes in LANES:
        stream = Stream(model, Native(lanes))
        assert stream.run(xs).tobytes() == expected
        stream.reset()
        steps = [stream.step(x) for x in xs]
        assert steps[-1] is not None
        assert steps[-1].tobytes() == expected[-steps[-1].nbytes :]
        if logs:
            assert [log.tobytes() for log in Streams(model, 7, Native(lanes)).run(logs)] == together


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(CELLS),
    inputs=st.integers(1, 40),
    units=st.integers(1, 70),
    outputs=st.integers(1, 40),
    layers=st.integers(1, 2),
    seed=st.integers(0, 2**16),
)
def test_the_bits_are_those_of_float32_with_these_weights(kind, inputs, units, outputs, layers, seed):
    """Each cell, of any size and stacked, with a head: widening is exact, and nothing else differs."""
    model = halved(network(kind, inputs, units, outputs, layers, seed))
    same_bits(model, 12, seed)


def test_heads_and_windows_have_them_too():
    """Rows that no vector divides, weights at the ends of what float16 holds, and windows."""
    same_bits(half_heads(), 20, 0)
    for kind in CELLS:
        same_bits(halved(replace(network(kind, 5, 21, 3), timing=Timing.over_window(4))), 20, 1)


def test_a_layer_may_be_float16_beside_others():
    """Of two layers and a head each alone."""
    whole = network("gru", 5, 20, 3, layers=2)
    for number in range(3):
        operations = list(whole.program.operations)
        operations[number] = halved(whole).program.operations[number]
        same_bits(replace(whole, program=replace(whole.program, operations=tuple(operations))), 12, number)


def test_the_weights_take_half_the_room():
    """Of 128 units, where biases are little, for all lanes."""
    for lanes in LANES:
        half, whole = (lay_out(m, lanes).weights.nbytes for m in (halved(network(units=128)), network(units=128)))
        assert half < 0.51 * whole


def test_the_plain_engine_computes_it_too():
    """NumPy's formulas, which widen likewise."""
    model = halved(network("gru", 5, 20, 3))
    xs = readings(50, 5)
    np.testing.assert_allclose(Stream(model, Plain()).run(xs), model.stream().run(xs), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"R": np.float32}, "weight R is float32 .*, needs float16"),
        ({"W": np.float32}, "weight R is float16 .*, needs float32"),
        ({"b": np.float16}, "weight b is float16 .*, needs float32"),
        ({"W": ">f2", "R": ">f2"}, "weight W is >f2 .*, needs float"),
        ({"W": np.float64}, "weight W is float64 .*, needs float32"),
    ],
)
def test_arrays_of_other_types_are_refused(change, message):
    """A layer is in float16 or it is not, and biases are float32, as its machine has them."""
    program = halved(network("lstm")).program
    weights = dict(program.operations[0].weights)
    for key, dtype in change.items():
        weights[key] = weights[key].astype(dtype)
        weights[key].flags.writeable = False
    operations = (replace(program.operations[0], weights=weights), *program.operations[1:])
    with pytest.raises(ProgramError, match=message):
        replace(program, operations=operations)


def test_infinity_is_refused():
    """What overflowed when somebody made float16 of it is no weight."""
    program = network("lstm").program
    weights = dict(program.operations[0].weights)
    with np.errstate(over="ignore"):
        weights |= {key: (weights[key] * 1e6).astype(np.float16) for key in "WR"}
    for key in "WR":
        weights[key].flags.writeable = False
    with pytest.raises(ProgramError, match="weight W holds NaN or infinity"):
        replace(program, operations=(replace(program.operations[0], weights=weights), *program.operations[1:]))
