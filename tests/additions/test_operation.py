"""A made-up operation, added from outside: programs with it are checked, saved, loaded and run by the plain engine, and
refused by name where it has no kernel (the native engine) and no number (C).

Files touched: one, the operation's record (`hypot.py`), and one line, in `edge_lstm.core.operations.KINDS` (here at run
time). One that stays also gets its kernel, its C and a case in `tests/support/models/every_operation.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Slot
from edge_lstm.core.operations import KINDS
from edge_lstm.engines.native.session import Native
from edge_lstm.engines.plain import Plain
from edge_lstm.errors import ProgramError
from edge_lstm.firmware.export import firmware
from edge_lstm.streams.stream import Stream
from tests.additions.hypot import HYPOT

NO_KERNEL = r"operation 0 \(hypot length\) has no kernel in the native engine; the plain engine runs it"
NO_C = r"operation 0 \(hypot length\) is not in the C runtime, which has lstm, gru"


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operation's line in KINDS."""
    monkeypatch.setitem(KINDS, "hypot", HYPOT)  # type: ignore[arg-type]


def model() -> Model:
    """An LSTM of 3 on the lengths of three vectors in the plane, which says how long the first will be."""
    drawn = np.random.default_rng(5)
    builder = Builder()
    a, b = builder.input("a", 3), builder.input("b", 3)
    (lengths,) = builder.add("hypot", (a, b), (3,), name="length")
    h, c = builder.state("lstm.h", 3), builder.state("lstm.c", 3)
    W, R, bias = (drawn.normal(0, 1, shape).astype(np.float32) for shape in ((12, 3), (12, 3), 12))
    h_next, c_next = builder.lstm(lengths, h, c, W=W, R=R, b=bias, name="lstm")
    builder.next(h, h_next)
    builder.next(c, c_next)
    builder.output("y", builder.dense(h_next, W=np.ones((1, 3)), name="head"))
    channels = tuple(Channel(f"{axis}{k}") for axis in "ab" for k in range(3))
    return Model(builder.build(), channels, (Channel("next"),), name="lengths", feedback=(Feedback("next", "a0"),))


def without_hypot(model: Model) -> Model:
    """The same network from the lengths on, the lengths being its input."""
    lstm, head = model.program.operations[1:]
    builder = Builder()
    x, h, c = builder.input("lengths", 3), builder.state("lstm.h", 3), builder.state("lstm.c", 3)
    h_next, c_next = builder.lstm(x, h, c, **lstm.weights)
    builder.next(h, h_next)
    builder.next(c, c_next)
    builder.output("y", builder.dense(h_next, **head.weights))
    return Model(builder.build(), tuple(Channel(f"x{k}") for k in range(3)), model.outputs)


def test_the_plain_engine_runs_it_from_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    """Saved and loaded it is the same model; its outputs are those of the rest of the network on the lengths."""
    edge_lstm.save(model(), tmp_path / "m.npz")
    loaded = edge_lstm.load(tmp_path / "m.npz")
    assert loaded.digest == model().digest
    stream, xs = Stream(loaded, Plain()), rng.normal(0, 3, (50, 6)).astype(np.float32)
    lengths = np.sqrt(xs[:, :3].astype(np.float64) ** 2 + xs[:, 3:].astype(np.float64) ** 2).astype(np.float32)
    expected = Stream(without_hypot(loaded), Plain()).run(lengths)
    np.testing.assert_allclose(stream.run(xs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda builder, a, b: builder.add("hypot", (a,), (2,)), "needs 2 inputs and 1 outputs"),
        (lambda builder, a, b: builder.add("hypot", (a, b), (3,)), "sizes 2, 2 and 3 must be equal"),
        (lambda builder, a, b: builder.add("hypot", (a, b), (2,), {"W": np.ones(1)}), "has weights, needs none"),
        (lambda builder, a, b: builder.add("hypot", (a, b), (2,), None, {"p": 2}), "this kind does not know"),
    ],
)
def test_its_check_is_the_programs(wrong: Callable[[Builder, Slot, Slot], tuple[Slot, ...]], why: str) -> None:
    """What its record says it must not be is refused when the program is made."""
    builder = Builder()
    (y,) = wrong(builder, builder.input("a", 2), builder.input("b", 2))
    builder.output("y", y)
    with pytest.raises(ProgramError, match=rf"^operation 0 \(hypot\).*{why}"):
        builder.build()


def test_where_it_cannot_run_it_is_refused_by_name() -> None:
    """The native engine, which is the one that a stream takes by itself, and C."""
    for refused in (model().stream, lambda: Native(8).open(model())):
        with pytest.raises(ProgramError, match=NO_KERNEL):
            refused()
    with pytest.raises(ProgramError, match=NO_C):
        firmware(model())


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("replay log.csv --model m.npz", NO_KERNEL),
        ("forecast log.csv --model m.npz --at 9 --steps 5", NO_KERNEL),
        ("quantize m.npz --calibrate log.csv -o q.npz", NO_KERNEL),
        ("explain log.csv --model m.npz -o out", NO_KERNEL),
        ("bench m.npz", NO_KERNEL),
        ("firmware m.npz -o m.h", NO_C),
    ],
)
def test_every_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, why: str
) -> None:
    """One sentence, no traceback, and no defect of ours."""
    monkeypatch.chdir(tmp_path)
    edge_lstm.save(model(), tmp_path / "m.npz")
    rows = (f"{k},{','.join(str((k + j) % 5) for j in range(6))}\n" for k in range(200))
    (tmp_path / "log.csv").write_text("t (s),a0,a1,a2,b0,b1,b2\n" + "".join(rows))
    assert main(command.split()) == 2
    assert re.fullmatch(f"edge-lstm: {why}.*\n", capsys.readouterr().err)


def test_inspect_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As any other operation."""
    edge_lstm.save(model(), tmp_path / "m.npz")
    assert main(["inspect", str(tmp_path / "m.npz")]) == 0
    assert "hypot" in capsys.readouterr().out
