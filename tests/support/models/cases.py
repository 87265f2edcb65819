"""Ten models that together use every kind of operation, every function and every way of advancing, for comparing bits,
and twenty quantized ones: every layer in every scheme.

A model that is added here is compared by every test that compares bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operations.functions import BINARY_FUNCTIONS, MAP_FUNCTIONS, REDUCE_FUNCTIONS
from tests.support.models.half_nets import half_heads, halved
from tests.support.models.nets import Weights, cell, network
from tests.support.models.quantized_nets import Integers, quantized_network


@dataclass(frozen=True)
class Case:
    """A model, and how many streams of it advance together (for a window model: one)."""

    name: str
    model: Model
    streams: int = 1
    scale: float = 1.0  # of the readings, which are normal


def _model(b: Builder, inputs: int, outputs: int) -> Model:
    return Model(b.build(), channels_for(("x",), (inputs,)), channels_for(("y",), (outputs,)))


def every_function() -> Model:
    """Each map and each binary function, where and lookup; inputs reach far enough to saturate and to overflow exp."""
    b, size = Builder(), 7
    x = b.input("x", size)
    parts = [b.map(name, x, alpha=0.25, beta=1.5) for name in MAP_FUNCTIONS]
    turned = b.take(x.elements[::-1])
    parts += [b.binary(name, x, turned) for name in BINARY_FUNCTIONS]
    positive = b.map("relu", x)
    parts.append(b.where(positive, x, turned))
    saturated = b.map("clip", b.map("sigmoid", x), alpha=0.0, beta=1.0)
    row = b.map("thresholded_relu", saturated, alpha=2.0)  # zero, always: row 0 of the table
    parts.append(b.lookup(row.part(0, 1), Weights(5, size)(3, size)))
    for number, part in enumerate(parts):
        b.output(f"y{number}", part)
    return _model(b, size, size * len(parts))


def every_row_operation() -> Model:
    """Softmax, its logarithm and each reduction over three rows, behind a recurrent layer with relu."""
    b, w = Builder(), Weights(3, 12)
    h = b.state("rnn.h", 12, w(12))
    y = b.rnn(b.input("x", 5), h, W=w(12, 5), R=w(12, 12), b=w(12), activation="relu", name="rnn")
    b.next(h, y)
    results = [b.softmax(y, rows=3), b.softmax(y, rows=3, log=True)]
    results += [b.reduce(name, y, rows=3) for name in REDUCE_FUNCTIONS]
    for number, result in enumerate(results):
        b.output(f"y{number}", result)
    return _model(b, 5, sum(r.size for r in results))


def mixed_stack() -> Model:
    """LSTM, GRU and RNN on top of each other, sizes that no vector divides."""
    b, w = Builder(), Weights(4, 21)
    y = b.input("x", 6)
    for kind, units in (("lstm", 21), ("gru", 13), ("rnn", 9)):
        y = cell(b, kind, y, units, w, kind)
    b.output("y", b.dense(y, W=w(3, 9), b=w(3), activation="sigmoid"))
    return _model(b, 6, 3)


def scaled() -> Model:
    """Channels with scale and offset."""
    odd = np.random.default_rng(5).uniform(0.1, 3, (8, 2))
    channels = tuple(Channel(f"c{k}", "m/s", float(s), float(o)) for k, (s, o) in enumerate(odd))
    return network("lstm", inputs=8, units=16, channels=channels, seed=5)


def ten() -> list[Case]:
    """The models."""
    return [
        Case("lstm", network("lstm", units=16)),
        Case("gru", network("gru", inputs=5, units=33, seed=1)),
        Case("rnn", network("rnn", inputs=3, units=17, seed=2)),
        Case("three lstm layers", network("lstm", inputs=7, units=24, layers=3, seed=3), scale=3.0),
        Case("lstm, gru, rnn", mixed_stack()),
        Case("lstm, window of 12", network("lstm", units=20, window=12, seed=6)),
        Case("gru, 7 streams", network("gru", units=32, seed=7), streams=7),
        Case("lstm with units of measure, 6 streams", scaled(), streams=6),
        Case("every function", every_function(), scale=30.0),
        Case("softmax and reductions, 5 streams", every_row_operation(), streams=5),
    ]


def heads() -> Model:
    """Quantized heads behind a layer in float32: over four rows, of each scheme; and over so many inputs that int16 has
    to leave bits."""
    b, w = Builder(), Weights(8, 12)
    h = cell(b, "gru", b.input("x", 4), 12, w, "gru")
    parts = []
    for seed, scheme in enumerate(("int8", "int16", "int8-weights")):
        integers = Integers(scheme, seed, 12)
        parts.append(b.quantized_dense(h, scheme=scheme, weights=integers(5, 3, None, "b"), rows=4, name=scheme))
    wide = b.dense(h, W=w(700, 12), b=w(700), activation="tanh")
    wide_weights = Integers("int16", 9, 700)(3, 700, None, "b")
    parts.append(b.quantized_dense(wide, scheme="int16", weights=wide_weights, name="wide"))
    for number, part in enumerate(parts):
        b.output(f"y{number}", part)
    return replace(_model(b, 4, sum(part.size for part in parts)), name="quantized heads")


def dynamic_heads() -> Model:
    """A head over four rows, each with a largest value of its own; the first of them is often zero throughout."""
    b, w = Builder(), Integers("int8-dynamic", 13, 12)
    x = b.map("thresholded_relu", b.input("x", 12), alpha=1.0)
    y = b.quantized_dense(x, scheme=w.scheme, weights=w(5, 3, None, "b"), rows=4, name="rows")
    b.output("y", b.quantized_dense(y, scheme=w.scheme, weights=w(3, 20, None, "b"), name="head"))
    return replace(_model(b, 12, 3), name="int8-dynamic heads")


def quantized() -> list[Case]:
    """The quantized models."""
    return [
        Case("int8 lstm", quantized_network("lstm", "int8", inputs=11, units=32)),
        Case("int8 gru", quantized_network("gru", "int8", inputs=5, units=33, seed=1), scale=3.0),
        Case("int8 rnn", quantized_network("rnn", "int8", inputs=3, units=17, seed=2)),
        Case("int8, three lstm layers", quantized_network("lstm", inputs=7, units=24, layers=3, seed=3)),
        Case("int8 lstm, window of 12", quantized_network("lstm", units=20, window=12, seed=6)),
        Case("int16 gru, two layers", quantized_network("gru", "int16", inputs=2, units=20, layers=2, seed=4)),
        Case("int16 lstm", quantized_network("lstm", "int16", inputs=1, units=1, outputs=1, seed=5), scale=3.0),
        Case("int8-weights lstm, 6 streams", quantized_network("lstm", "int8-weights", units=16, seed=7), streams=6),
        Case("int8-weights rnn", quantized_network("rnn", "int8-weights", inputs=3, units=9, seed=8)),
        Case("quantized heads", heads()),
        Case("int8-dynamic lstm", quantized_network("lstm", "int8-dynamic", inputs=11, units=32, seed=9)),
        Case("int8-dynamic gru, 3 streams", quantized_network("gru", "int8-dynamic", 5, 33, seed=10), streams=3),
        Case(
            "int8-dynamic rnn", quantized_network("rnn", "int8-dynamic", 3, 17, activation="relu", seed=11), scale=9.0
        ),
        Case("int8-dynamic lstm, window of 12", quantized_network("lstm", "int8-dynamic", 6, 20, seed=12, window=12)),
        Case("int8-dynamic heads", dynamic_heads()),
        Case("float16 lstm", halved(network("lstm", inputs=19, units=50, seed=14))),
        Case("float16 gru, 7 streams", halved(network("gru", inputs=5, units=33, seed=15)), streams=7),
        Case("float16 rnn, two layers", halved(network("rnn", inputs=3, units=17, layers=2, seed=16)), scale=3.0),
        Case("float16 lstm, window of 12", halved(network("lstm", units=20, window=12, seed=17))),
        Case("float16 heads", half_heads()),
    ]
