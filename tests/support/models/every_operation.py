"""Models that between them use every operation of the C runtime, in the sizes that go wrong: one, odd, larger than a
vector."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.firmware.table import BINARIES, MAPS, REDUCTIONS
from tests.support.models.cases import quantized
from tests.support.models.nets import Weights, cell, network

ALPHA_BETA = {
    "leaky_relu": (0.01, 0.0),
    "elu": (0.7, 0.0),
    "selu": (1.67326319, 1.05070102),
    "hard_sigmoid": (0.2, 0.5),
    "thresholded_relu": (0.4, 0.0),
    "clip": (-1.5, float("inf")),
    "affine": (-1.7, 0.3),
}


def _finished(b: Builder, inputs: int, outputs: dict[str, int], name: str, window: int | None = None) -> Model:
    channels = channels_for(tuple(outputs), tuple(outputs.values()))
    timing = Timing() if window is None else Timing.over_window(window)
    return Model(b.build(), channels_for(("x",), (inputs,)), channels, timing=timing, name=name)


def all_maps() -> Model:
    """Every map function, each over the same six inputs."""
    b = Builder()
    x = b.input("x", 6)
    for function in MAPS:
        alpha, beta = ALPHA_BETA.get(function, (0.0, 0.0))
        b.output(function, b.map(function, x, alpha=alpha, beta=beta))
    return _finished(b, 6, dict.fromkeys(MAPS, 6), "all maps")


def all_shapes() -> Model:
    """take, binary with and without one value, where, lookup, dense rows, softmax, reduce, parts of slots, constants, a
    state of no layer."""
    b = Builder()
    x = b.input("x", 12)
    last = b.state("last", 12, np.linspace(-1, 1, 12))
    b.next(last, x)
    ten = b.constant([10.0])
    moved = b.take(x.elements.reshape(3, 4).T.ravel())
    signs, truths = b.map("relu", b.map("sign", x)), b.map("not", b.map("relu", last))
    parts = {
        "moved": moved,
        "scaled": b.binary("mul", ten, x.part(3, 5)),
        "less": b.binary("sub", x.part(1, 6), ten),
        **{f: b.binary(f, x, last) for f in BINARIES},
        **{f"{f} truths": b.binary(f, signs, truths) for f in ("and", "or", "less_or_equal", "equal")},
        "where": b.where(signs, x, last),
        "rows": b.dense(x, W=np.arange(20).reshape(5, 4) / 7, b=np.ones(5), rows=3),
        "looked up": b.lookup(
            b.map("round", b.map("clip", x.part(0, 3), alpha=-0.5, beta=4.5)), np.arange(15).reshape(5, 3) / 3
        ),
        "softmax": b.softmax(x, rows=3),
        "log_softmax": b.softmax(x, rows=3, log=True),
        **{f"row_{f}": b.reduce(f, moved, rows=4) for f in REDUCTIONS},
        **{f"place_{f}": b.reduce(f, signs, rows=3) for f in ("argmax", "argmin")},
        "state": last.part(2, 3),
    }
    for name, slot in parts.items():
        b.output(name, slot)
    return _finished(b, 12, {name: slot.size for name, slot in parts.items()}, "all shapes")


def mixed() -> Model:
    """LSTM, GRU and both kinds of RNN in a row, normalized at the entrance, with a head of two layers and softmax."""
    b, w = Builder(), Weights(5, 11)
    x = b.input("x", 5)
    y = b.binary("div", b.binary("sub", x, b.constant([12.0, 0, -3, 1, 7])), b.constant([2.0, 0.1, 1, 30, 5]))
    for kind, units in (("lstm", 11), ("gru", 6), ("rnn", 3)):
        y = cell(b, kind, y, units, w, kind)
    h = b.state("relu.h", 4)
    y = b.rnn(y, h, W=w(4, 3), R=w(4, 4), b=w(4), activation="relu", name="relu")
    b.next(h, y)
    hidden = b.dense(y, W=w(9, 4), b=w(9), activation="tanh")
    b.output("p", b.softmax(b.dense(hidden, W=w(3, 9))))
    return _finished(b, 5, {"p": 3}, "mixed")


def shift_register() -> Model:
    """States that take their neighbours' old values."""
    b = Builder()
    x = b.input("x", 1)
    stages = [b.state(f"s{k}", 1) for k in range(4)]
    b.next(stages[0], x)
    for before, after in itertools.pairwise(stages):
        b.next(after, before)
    for k, stage in enumerate(stages):
        b.output(f"s{k}", stage)
    return _finished(b, 1, {f"s{k}": 1 for k in range(4)}, "shift register")


def scaled() -> Model:
    """Channels with units: scaling in and out, and a one-hot one."""
    channels = (
        Channel("speed", "rad/s", 3.0, 0.5),
        Channel("floor", vocabulary=("wood", "tile")),
        Channel("u", "V", 0.4, 12.0),
    )
    return network("gru", 4, 10, 2, seed=9, channels=channels)


def quantized_models() -> list[Model]:
    """Twenty: every quantized layer in every scheme."""
    return [replace(case.model, name=case.name) for case in quantized()]


def models() -> list[Model]:
    """Thirteen in float32, twenty quantized."""
    return [
        network("lstm", 8, 16, 4, seed=1),
        network("lstm", 1, 1, 1, seed=2),
        network("gru", 5, 13, 3, seed=3),
        network("rnn", 3, 33, 2, seed=4),
        network("lstm", 7, 7, 5, layers=3, seed=5),
        network("gru", 2, 20, 17, layers=2, seed=6),
        network("lstm", 3, 9, 2, seed=7, window=12),
        scaled(),
        all_maps(),
        all_shapes(),
        mixed(),
        shift_register(),
        replace(network("gru", 2, 4, 2, seed=8), timing=Timing(first_output=7, stride=3), name="seldom"),
        *quantized_models(),
    ]
