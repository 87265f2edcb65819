"""Explanations: time constants and influences that can be worked out by hand, and the commands that show them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.analysis.explain import explain, longest_first
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.feedback import Feedback
from edge_lstm.core.model import Model
from edge_lstm.errors import LogError
from edge_lstm.logs.series import Series, read_table
from edge_lstm.streams.gates import in_words
from tests.streams.test_rollout import DINNERS
from tests.support.models import nets


def clock(*shares: float) -> Model:
    """An LSTM whose units keep known shares of their memory, and whose possibilities see input a only."""
    units, b = len(shares), Builder()
    x = b.input("x", 2)
    W, bias = np.zeros((4 * units, 2)), np.zeros(4 * units)
    bias[units : 2 * units] = [np.log(f / (1 - f)) for f in shares]
    W[2 * units : 3 * units, 0] = 1.0
    h, c = b.state("h", units), b.state("c", units)
    h_next, c_next = b.lstm(x, h, c, W=W, R=np.zeros((4 * units, units)), b=bias, name="clock")
    b.next(h, h_next)
    b.next(c, c_next)
    b.output("y", h_next)
    return Model(b.build(), (Channel("a", "V"), Channel("b", "V")), channels_for(("y",), (units,)), name="clock")


def series(count: int = 400, width: int = 2) -> Series:
    return Series("made", np.arange(count) / 100, nets.readings(count, width, seed=3))


def test_time_constants_follow_from_the_forget_gate():
    """A unit that keeps the share f remembers -1 / ln f readings; the longest comes first."""
    found = explain(clock(0.5, 0.99, 0.9), series())
    for unit, f in zip(found.units, (0.5, 0.99, 0.9), strict=True):
        assert unit.kept == pytest.approx(f, rel=1e-5)
        assert unit.readings == pytest.approx(-1 / np.log(f), rel=1e-3)
    assert longest_first(found.units, "clock") == [1, 2, 0]
    assert in_words(clock(0.5), "clock.f") == "forgetting"


def test_influence_names_the_input_that_moves_a_gate():
    """Only input a moves the possibilities; nothing moves the gates that see no input, and b moves nothing."""
    found = explain(clock(0.5, 0.9), series()).influence
    assert found["clock.g", "a"] > 0.3
    assert found["clock.g", "b"] == found["clock.f", "a"] == found["clock.i", "b"] == 0


def test_a_part_of_a_log_remembers_what_was_before_it():
    """Between two times the gates are those of the whole run; readings with a hole are left out and counted."""
    model, log = nets.network("lstm", 2, 8, 1), series()
    whole, part = explain(model, log), explain(model, log, 1.0, 2.0)
    assert part.t_s[0] == 1.0
    assert part.t_s[-1] == 2.0
    assert part.gates["lstm0.c"].tobytes() == whole.gates["lstm0.c"][100:201].tobytes()
    log.xs[7, 0] = np.nan
    assert explain(model, log).left_out == 1
    with pytest.raises(LogError, match="no output between 90"):
        explain(model, log, 90.0)


def run(*arguments: object) -> int:
    from edge_lstm.cli import main

    return main([str(a) for a in arguments])


def dinners(folder: Path, missing: int | None = None) -> tuple[Path, Path]:
    """A log of dinners round and round, and a model that predicts tomorrow's."""
    b = Builder()
    x, h = b.input("x", 3), b.state("h", 3)
    y = b.rnn(x, h, W=5 * np.roll(np.eye(3), 1, axis=0), R=np.zeros((3, 3)), b=np.zeros(3), name="cook")
    b.next(h, y)
    b.output("y", b.softmax(b.map("affine", y, alpha=4.0)))
    words = (Channel("dinner", vocabulary=DINNERS),)
    edge_lstm.save(Model(b.build(), words, words, feedback=(Feedback("dinner", "dinner"),)), folder / "cook.npz")
    cells = ["" if k == missing else DINNERS[k % 3] for k in range(30)]
    (folder / "log.csv").write_text("time (s),dinner\n" + "".join(f"{k},{cell}\n" for k, cell in enumerate(cells)))
    return folder / "log.csv", folder / "cook.npz"


def test_the_forecast_command_says_what_comes_and_what_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """14 dinners ahead, all as they came; a CSV with both, and a picture."""
    log, model = dinners(tmp_path)
    options = ["--model", model, "--at", 14, "--steps", 14, "-o", tmp_path / "f.csv", "--plot", tmp_path / "f.png"]
    assert run("forecast", log, *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["channels"]["dinner"]["right"] == found["compared"] == 14
    assert found["channels"]["dinner"]["words"][:3] == ["pizza", "sushi", "waffles"]
    rows = list(csv.reader((tmp_path / "f.csv").read_text().splitlines()))
    assert len(rows) == 15
    assert [row[1:4] for row in rows[1:]] == [row[4:7] for row in rows[1:]]
    assert (tmp_path / "f.png").stat().st_size > 10_000
    assert run("forecast", log, "--model", model, "--at", 25, "--steps", 14) == 0
    assert "4 of 4 words as they came" in capsys.readouterr().out


def test_what_cannot_be_forecast_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """No feedback, a time outside the log, a reading that is missing just then: exit code 2 and a sentence."""
    log, model = dinners(tmp_path, missing=14)
    edge_lstm.save(nets.network(), tmp_path / "plain.npz")
    for options, words in (
        (["--model", tmp_path / "plain.npz", "--at", 3], "declares no feedback"),
        (["--model", model, "--at", 99], "from 0 to 29 s, none at 99 s"),
        (["--model", model, "--at", 14], "missing or not usable"),
    ):
        assert run("forecast", log, *options, "--steps", 3) == 2
        assert words in capsys.readouterr().err


def test_the_explain_command_writes_pictures_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A picture for each layer, and the numbers read back to the gates of the stream."""
    rows = nets.readings(50, 8)
    titles = [f"x[{k}]" for k in range(8)]
    lines = [",".join(["t_ms", *titles]), *(",".join([str(10 * k), *map(str, row)]) for k, row in enumerate(rows))]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    model = nets.network("gru", layers=2, units=6)
    edge_lstm.save(model, tmp_path / "m.npz")
    assert run("explain", tmp_path / "log.csv", "--model", tmp_path / "m.npz", "-o", tmp_path / "out", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "gates-gru0.png",
        "gates-gru1.png",
        "units.csv",
        "influence.csv",
        "gates.csv",
    }
    assert found["influence"]["gru0.z"]["in_words"] == "forgetting"
    assert len(found["longest_memories"]) == 5
    table = list(csv.reader((tmp_path / "out" / "gates.csv").read_text().splitlines()))
    place = table[0].index("gru1.z[0]")
    gates = model.stream(gates=True).run_gates(rows)[1]["gru1.z"]
    read_back = np.array([row[place : place + 6] for row in table[1:]], np.float32)
    assert read_back.tobytes() == np.ascontiguousarray(gates).tobytes()


def test_a_series_holds_words_and_holes(tmp_path: Path):
    """Words become one-hot, an empty cell NaN."""
    log, model = dinners(tmp_path, missing=4)
    found = read_table(log, edge_lstm.load(model))
    assert found.xs[1].tolist() == [0, 1, 0]
    assert np.isnan(found.xs[4]).all()
    assert found.row_at(7.5) == 7
    assert found.period_s == 1.0
