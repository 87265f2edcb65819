"""One program of inputs, model and outputs: every step in it, in Python and in exported C; and what cannot be one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.storage import load, save
from edge_lstm.core.timing import Timing
from edge_lstm.errors import ProgramError
from edge_lstm.signals.joined import join
from edge_lstm.signals.programs import Inputs, Outputs, inputs_of, outputs_of
from edge_lstm.signals.runtime import Signals
from tests.firmware.test_edge_lstm_c import bits, build, c_run, write_models
from tests.signals.test_steps import WRITTEN, log
from tests.support.models.nets import network
from tests.support.models.signals import tables

RATE = 100.0
# Every step of an input and every source; the last one's outputs go through every step, too.
PARTS = [f'[[inputs.x.part]]\nfrom = ["a", "b", "c"]\ndo = [ {{ {written} }} ]\n' for written in WRITTEN]
PARTS += [
    '[[inputs.x.part]]\ngravity = ["a", "b", "c", "d"]\n',
    '[[inputs.x.part]]\ngravity = { roll = "a", pitch = "b" }\n',
    '[[inputs.x.part]]\nprevious = "y"\n',
    '[[inputs.x.part]]\nprevious = "first"\ndo = [ { low_pass_hz = 3 } ]\n',
    "[[inputs.x.part]]\nconstant = [1, 2]\n",
]
OUTPUTS = [
    f'[outputs.out{k}]\nfrom = ["y[0]", "y[1]", "y[2]"]\ndo = [ {{ {written} }} ]\n'
    for k, written in enumerate(WRITTEN)
]
TEXT = "\n".join(
    ["[inputs.x]\ndo = [ { clip = [-5, 5] } ]", *PARTS, *OUTPUTS, '[outputs.first]\nfrom = "y[0]"\ndo=[{offset = 1}]']
)


def everything() -> tuple[Inputs, Model, Outputs]:
    """A GRU behind every step and source, and every step behind it."""
    width = 3 * len(WRITTEN) + 3 * 3 - 2 * 2 + 3 + 3 + 4 + 1 + 2
    model = replace(network("gru", width, 16, 4), rate_hz=RATE)
    declared = tables(TEXT)
    outputs = outputs_of(declared, model, RATE)
    assert outputs is not None
    return inputs_of(declared, model, {}, {}, RATE), model, outputs


def apart(made: tuple[Inputs, Model, Outputs], raws: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The outputs of the three run one after the other."""
    signals, stream, model = Signals(*made), made[1].stream(), made[1]
    ys = [signals.outputs(stream.step(signals.channels(raw)))[len(model.outputs) :] for raw in raws.tolist()]  # type: ignore[arg-type]
    return np.array(ys, np.float32)


def raws_of(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """(T, 4): usual, tiny and huge readings, and no quaternion of zeros."""
    xs = log(random, False)
    xs[~xs.any(axis=1)] = 1e-3
    return np.concatenate([xs, random.normal(size=(len(xs), 1)).astype(np.float32)], axis=1)


def test_together_and_apart_have_the_same_bits(rng: np.random.Generator, tmp_path: Path) -> None:
    """Every step and source before and behind a GRU: joined, and saved and loaded."""
    made, raws = everything(), raws_of(rng)
    expected = apart(made, raws)
    assert len(np.unique(expected)) > 10_000
    joined = join(*made)
    assert bits(joined.stream().run(raws)) == bits(expected)
    save(joined, tmp_path / "joined.npz")
    assert bits(load(tmp_path / "joined.npz").stream().run(raws)) == bits(expected)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_in_c_too(compiler: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """The same, exported for a board."""
    made, raws = everything(), raws_of(rng)
    expected = apart(made, raws)
    write_models(tmp_path, [join(*made)])
    ys, statuses = c_run(build(tmp_path, compiler, "-O2"), 0, raws, expected.shape[1])
    assert not any(statuses)
    assert bits(ys) == bits(expected)


def test_without_outputs_the_model_s_own_come() -> None:
    """A file with inputs alone joins into a model with the model's outputs, and what is carried over is one of them."""
    model = network("lstm", 2, 8, 1)
    made = inputs_of(
        tables('[inputs.x]\n[[inputs.x.part]]\nfrom="a"\n[[inputs.x.part]]\nprevious="y"'), model, {}, {}, 1.0
    )
    joined, stream, signals = join(made, model, None).stream(), model.stream(), Signals(made, model, None)
    for raw in (1.0, -2.0, 0.5):
        y = stream.step(signals.channels((raw,)))
        assert y is not None
        assert signals.outputs(y) == joined.step([raw]).tolist()  # type: ignore[union-attr]


def test_a_step_that_would_carry_over_infinity_is_refused() -> None:
    """Together, where apart the output before would stay: the named difference. Nothing of it is taken."""
    b = Builder()
    b.output("y", b.map("exp", b.input("x", 2).part(0, 1)))
    model = Model(b.build(), channels_for(("x",), (2,)), (Channel("y"),), name="exp")
    text = '[inputs.x]\n[[inputs.x.part]]\nfrom="a"\n[[inputs.x.part]]\nprevious="y"'
    stream = join(inputs_of(tables(text), model, {}, {}, None), model, None).stream()
    stream.step([1.0])
    before = stream.snapshot()
    with pytest.raises(Exception, match="infinite"):
        stream.step([1000.0])
    assert stream.snapshot() == before


def test_what_cannot_be_one_program_says_why() -> None:
    """A window, a stride, words: a sentence that names it."""
    declared = tables('[inputs.x]\n[[inputs.x.part]]\nfrom = ["a", "b"]')
    words = replace(network("rnn", 2, 4, 1, channels=(Channel("x", vocabulary=("p", "q")),)), name="talks")
    for model, why in (
        (network("rnn", 2, 4, 1, window=5), "no output with each reading"),
        (replace(network("rnn", 2, 4, 1), timing=Timing(first_output=2, stride=2)), "no output with each reading"),
        (words, "takes words as 'x'"),
    ):
        source = network("rnn", 2, 4, 1) if model is words else model
        with pytest.raises(ProgramError, match=why):
            join(inputs_of(declared, source, {}, {}, None), model, None)
