"""What is said about a log is said in the same words to every command that takes one."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.cli.bench import command as bench
from edge_lstm.cli.explain import command as explain
from edge_lstm.cli.forecast import command as forecast
from edge_lstm.cli.quantize import command as quantize
from edge_lstm.cli.replay import command as replay
from edge_lstm.cli.tables import OF_TABLES, option_of
from edge_lstm.cli.verify import command as verify
from edge_lstm.core.storage import save
from tests.support.robots import small_robot


@pytest.mark.parametrize("command", [replay, forecast, explain, quantize, verify, bench])
def test_every_command_has_every_option(command: click.Command):
    """One decorator: none lacks one, and each is typed alike."""
    typed = {option for parameter in command.params for option in parameter.opts}
    assert {option_of(name) for name in OF_TABLES} <= typed


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "log.txt", "--model", "m.npz", "-o", "out.csv"],
        ["explain", "log.txt", "--model", "m.npz", "-o", "gates"],
        ["quantize", "m.npz", "--calibrate", "log.txt", "-o", "small.npz"],
        ["verify", "m.npz", "--inputs", "log.txt", "--expect", "expected.csv"],
        ["bench", "m.npz", "--log", "log.txt", "--seconds", "0.01", "--readings", "50"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_obeys_them(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each takes the same log with the same options: a decimal comma, no header, columns by other names and units, no
    time. Without them each refuses it."""
    monkeypatch.chdir(tmp_path)
    model = small_robot.model(rate_hz=100.0)
    save(model, tmp_path / "m.npz")
    rows = np.random.default_rng(5).normal(0, 3, (400, 4)).round(3)
    Path("log.txt").write_text("\n".join(";".join(map(str, row)).replace(".", ",") for row in rows.tolist()) + "\n")
    outputs = model.stream().run(rows)
    names = ",".join(c.name for c in model.outputs)
    Path("expected.csv").write_text("\n".join([names, *(",".join(map(repr, row)) for row in outputs.tolist())]) + "\n")
    assert main(words) == 2
    channels = ",".join(f"{c.name}={short} *1" for c, short in zip(model.inputs, "abcd", strict=True))
    assert main([*words, "--names", "a,b,c,d", "--channels", channels, "--rate", "100"]) == 0


def test_a_log_of_a_serial_monitor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """A banner, boot lines, no header, semicolons, a decimal comma, Windows' letters: refused with what to type until
    all is said, then the outputs of the clean log; a recording takes none of these options."""
    monkeypatch.chdir(tmp_path)
    save(small_robot.model(rate_hz=100.0), tmp_path / "m.npz")
    names = "wheel_speed_left,wheel_speed_right,current_left,current_right"
    rows = np.random.default_rng(5).normal(0, 3, (30, 4)).round(3)
    clean = [f"{10 * k},{','.join(map(str, row))}" for k, row in enumerate(rows.tolist())]
    Path("clean.csv").write_text("\n".join([f"t_ms,{names}", *clean]) + "\n")
    worn = [line.replace(",", ";").replace(".", ",") for line in clean]
    worn[4:4] = ["ets Jul 29 2019 12:21:46", "rst:0x1 (POWERON_RESET)"]
    Path("worn.log").write_bytes("\r\n".join(["=~=~= PuTTY log für COM3 =~=~=", *worn, ""]).encode("cp1252"))
    said: list[str] = []
    steps = [
        ("--encoding cp1252", ["--encoding", "cp1252"]),
        ("--names t,a,b,c,d", ["--names", f"t_ms,{names}"]),
        ("--skip-bad", ["--skip-bad"]),
    ]
    for word, option in steps:
        assert main(["replay", "worn.log", "--model", "m.npz", *said]) == 2
        assert word in capsys.readouterr().err
        said += option
    assert main(["replay", "worn.log", "--model", "m.npz", *said, "-o", "worn.csv"]) == 0
    assert "2 of 32 lines left out (--skip-bad)" in capsys.readouterr().out
    assert main(["replay", "clean.csv", "--model", "m.npz", "-o", "out.csv"]) == 0
    assert Path("worn.csv").read_text() == Path("out.csv").read_text()
    Path("x.mcap").write_bytes(b"")
    assert main(["replay", "x.mcap", "--skip-bad"]) == 2
    assert "--skip-bad does not go with a recording" in capsys.readouterr().err


def test_outputs_are_compared_with_those_of_another_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """The same outputs: code 0 and the errors. One that is off, one that is missing, one row too few: code 1 or 2, with
    the line; a column that is not there: its name."""
    monkeypatch.chdir(tmp_path)
    model = small_robot.model(rate_hz=100.0)
    save(model, tmp_path / "m.npz")
    rows = np.random.default_rng(6).normal(0, 3, (20, 4)).round(3)
    lines = [f"{10 * k},{','.join(map(str, row))}" for k, row in enumerate(rows.tolist())]
    titles = "t_ms,wheel_speed_left,wheel_speed_right,current_left,current_right"
    Path("log.csv").write_text("\n".join([titles, *lines]) + "\n")
    ys = model.stream().run(rows.astype(np.float32))
    names = [c.name for c in model.outputs]
    same = [",".join(names), *(",".join(f"{y:.6g}" for y in row) for row in ys.tolist())]
    off, gone = list(same), list(same)
    off[8] = ",".join(["9", *off[8].split(",")[1:]])
    gone[9] = "," + gone[9].split(",", 1)[1]

    def compared(text: list[str]) -> tuple[int, str]:
        Path("ref.csv").write_text("\n".join(text) + "\n")
        code = main(["replay", "log.csv", "--model", "m.npz", "--expect", "ref.csv"])
        return code, "".join(capsys.readouterr())

    code, out = compared(same)
    assert code == 0
    assert f"expected {names[0]}: 20 of 20 rows compared, largest error" in out
    for text, what in (
        (off, "1 row differs by more than 0.0001, first in line 9"),
        (gone, "1 row has a number in only one of both, first in line 10"),
    ):
        code, out = compared(text)
        assert code == 1
        assert what in out
    assert compared(same[:-1])[0] == 2
    code, out = compared(["other" + same[0][len(names[0]) :], *same[1:]])
    assert code == 2
    assert f"has no column '{names[0]}'" in out
