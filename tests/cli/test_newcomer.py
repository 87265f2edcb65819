"""What a newcomer met at the command line, held off for every command: a test is of the kind, not of the case."""

from __future__ import annotations

import importlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import COMMANDS, codes, main
from edge_lstm.cli.paper import Paper, columns
from edge_lstm.cli.values import VALUES, takes_words, taught
from edge_lstm.core.storage import save
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from tests.support.models import nets
from tests.support.robots import small_robot

EXAMPLES = Path(edge_lstm.__file__).parent / "examples"
EDGE_LSTM = (sys.executable, "-m", "edge_lstm")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command, those of groups too, with the words of its help."""
    waiting = [(name, taught(name, importlib.import_module(file).command)) for name, file in COMMANDS.items()]
    while waiting:
        name, command = waiting.pop(0)
        yield name, command
        if isinstance(command, click.Group):
            waiting += [(f"{name} {inner}", one) for inner, one in command.commands.items()]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the test is, with model.npz, log.csv and the shipped network."""
    monkeypatch.chdir(tmp_path)
    small_robot.folder(tmp_path)
    rows = np.random.default_rng(1).normal(0, 2, (300, 4))
    text = "time (s),wheel_speed_left,wheel_speed_right,current_left,current_right\n"
    text += "".join(f"{k / 200},{','.join(map(str, row))}\n" for k, row in enumerate(rows.tolist()))
    (tmp_path / "log.csv").write_text(text)
    shutil.copy(EXAMPLES / "slip_stall.npz", "slip_stall.npz")
    return tmp_path


def test_every_value_has_a_word_that_teaches():
    """No help says TEXT, PATH or FLOAT for a value, and no word stands for an option that is not there."""
    spelled: set[str] = set()
    for name, command in commands():
        for option in command.params:
            if isinstance(option, click.Option) and takes_words(option):
                assert option.metavar, f"{name} {option.opts[-1]}"
                spelled |= {option.opts[-1], f"{name} {option.opts[-1]}"}
    assert set(VALUES) <= spelled, set(VALUES) - spelled


def test_what_a_command_is_about_comes_first():
    """A model, a log, a robot.toml, a port or a run is an argument of the commands about it, and of no other: where a
    log is the argument the model is an option, and the other way round."""
    about = re.compile(r"\[?(ROBOT\.toml|LOG|MODEL|PORT|NAME|SOURCE|NEW|FILE|FOLDER|TEXT|WHAT|\{get)")
    for name, command in commands():
        context = click.Context(command)
        arguments = [one.make_metavar(context) for one in command.params if isinstance(one, click.Argument)]
        if arguments:
            assert about.match(arguments[0]), (name, arguments)
        options = {option for one in command.params if isinstance(one, click.Option) for option in one.opts}
        assert not ("MODEL" in arguments and "--model" in options), name
        assert not ("LOG" in arguments and {"--log", "--inputs"} & options), name


def test_options_of_a_log_stand_in_one_order():
    """In the help of every command that reads one: which columns, what the file is, several rates; the last refer to
    those before them."""
    which, what, several = "channels", "time_column time_unit rate_hz names skip_lines skip_bad", "clock tick max_age"
    order = [which, *what.split(), "encoding", "hexadecimal", "episode", *several.split()]
    found = {
        name: [option.name for option in command.params if option.name in order]
        for name, command in commands()
        if any(option.name == "skip_bad" for option in command.params)
    }
    assert {"replay", "verify", "quantize", "bench", "channels"} <= set(found)
    for name, options in found.items():
        assert options == [option for option in order if option in options], name


def test_a_misspelt_command_is_answered_with_the_one_meant(capsys: pytest.CaptureFixture[str]):
    """Of the program and of its groups; what is like nothing is answered with all."""
    for words, meant in (
        (["exampel"], "'example'"),
        (["service", "instal"], "'install'"),
        (["qqq"], "valid: 'import'"),
        (["example", "diner"], "no example 'diner'; did you mean 'dinner'"),
    ):
        assert main(words) == codes.MEND
        out, err = capsys.readouterr()
        assert not out
        assert meant in err, err


def test_a_misspelt_file_is_answered_with_the_one_beside_it(place: Path, capsys: pytest.CaptureFixture[str]):
    """A log, a model, a configuration, whatever a command takes; one that is like none is only said to be missing."""
    shutil.copy(EXAMPLES / "slip_stall.onnx", "slip_stall.onnx")
    for line, meant in (
        ("replay lgo.csv --model model.npz", "log.csv"),
        ("channels logs.csv", "log.csv"),
        ("replay log.csv --model slip_stal.npz", "slip_stall.npz"),
        ("inspect slipstall.npz", "slip_stall.npz"),
        ("inspect slip_stall", "slip_stall.npz"),
        ("run robto.toml", "robot.toml"),
        ("import slip-stall.onnx", "slip_stall.onnx"),
        (f"import {place}/slip-stall.onnx", f"{place}/slip_stall.onnx"),
        ("verify slip_stall.npz --against stall.onnx", "slip_stall.onnx"),
        ("bench slip_stall.npz --against slipstall.onnx", "slip_stall.onnx"),
    ):
        assert main(line.split()) == codes.MEND, line
        assert f"; did you mean '{meant}'?" in capsys.readouterr().err, line
    for line in ("inspect zzz.npz", "channels slip_stall.csv", "run nowhere/robot.toml"):
        assert main(line.split()) == codes.MEND, line
        assert "did you mean" not in capsys.readouterr().err, line


def test_what_is_given_in_the_wrong_order_is_said(place: Path, capsys: pytest.CaptureFixture[str]):
    """A model where a log or a port comes first."""
    for line, sentence in (
        ("replay model.npz log.csv", "a model? the log comes first, then --model MODEL"),
        ("init model.npz port", "model.npz is a file and no port; PORT comes first, then MODEL"),
    ):
        assert main(line.split()) == codes.MEND, line
        assert sentence in capsys.readouterr().err, line


def test_no_word_of_a_help_is_cut_at_60_columns():
    """A word that is longer than its column is broken wherever it ends, and cannot be copied."""
    for name, command in commands():
        shown = set(click.Context(command, info_name=name, terminal_width=60).get_help().split())
        for option in command.params:
            words = (option.help or "").split() if isinstance(option, click.Option) else []
            assert not {word for word in words if len(word) > 12} - shown, (name, option.opts)


def test_help_is_on_stdout_whoever_asks(capsys: pytest.CaptureFixture[str]):
    """--help is an answer and ends with 0; no command at all is a mistake of a script, and ends with 2."""
    for words, code in ((["--help"], 0), (["-h"], 0), (["run", "--help"], 0), ([], 2), (["service"], 2)):
        assert main(words) == code
        out, err = capsys.readouterr()
        assert out.startswith("Usage: edge-lstm"), words
        assert not err, words


@pytest.mark.parametrize("arguments", ["--help", "inspect slip_stall.npz"])
def test_a_reader_that_is_gone_is_no_difference(place: Path, arguments: str):
    """`… | true` ends with 4, of click's help and of rich's tables as of all else; 1 would say that there is one."""
    command = f"{' '.join(EDGE_LSTM)} {arguments} | true; exit ${{PIPESTATUS[0]}}"  # true ends before Python begins
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (codes.NOT_WRITTEN, "")


def test_no_number_is_cut_at_60_columns(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """In a file and on a terminal of 60 columns the tables of inspect, quantize and bench say what they say at 200."""
    monkeypatch.setattr("edge_lstm.cli.bench.lines", lambda found: iter([("a log", "words " * 30)]))
    asked = (
        ["inspect", "slip_stall.npz"],
        ["quantize", "model.npz", "--calibrate", "log.csv", "-o", "q.npz"],
        ["bench", "model.npz", "--readings", "200", "--seconds", "0.05"],
    )

    def said(words: list[str], columns: str, terminal: str) -> str:
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("FORCE_COLOR", terminal)
        assert main(words) == 0
        out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        rows = [line.rstrip() for line in out.splitlines()]
        shown = [row for row in rows if not row.startswith(("a log", "words", "digest", " "))]
        return "\n".join(re.sub(r"\d[\d,.]*", "9", row) for row in shown)  # what is measured changes

    for words, terminal in zip(asked, ("1", "", "1"), strict=True):
        narrow = said(words, "60", terminal)
        assert not re.search(r"\S…", narrow), narrow
        if words[0] == "inspect":
            assert narrow == said(words, "200", "1") == said(words, "60", "")


def test_every_terminal_can_be_written_to(place: Path):
    """Where letters are ASCII or latin-1, signs are spelled: no error, no riddle, and of Chinese, which cannot be, a
    word about what can."""
    environment = {"PATH": "/usr/bin", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(EXAMPLES.parents[1])}

    def printed(*words: str) -> tuple[str, str]:
        done = subprocess.run([*EDGE_LSTM, *words], capture_output=True, timeout=60, check=True, env=environment)
        return done.stdout.decode("ascii"), done.stderr.decode("ascii")

    text, _ = printed("inspect", "slip_stall.npz")
    assert "m/s2" in text
    assert "11 32 32 -> 32 32" in text
    assert "W 128x11" in text
    assert "slip_stall.onnx -> a.npz" in printed("import", str(EXAMPLES / "slip_stall.onnx"), "-o", "a.npz")[0]
    assert "m/s2" in printed("docs", "px4")[0]
    assert "delay, damage ... a recording" in printed("--help")[0]
    assert "SECONDS        ... for so many" in printed("at", "--help")[0]
    assert "MS, or COLUMN=MS,..." in " ".join(printed("verify", "-h")[0].split())
    assert "systemd" in printed("service", "install", "--help")[0]
    _, err = printed("example", "dinner", "--lang", "zh")
    assert "LANG=C.UTF-8" in err


def test_inspect_says_what_a_window_costs(place: Path, capsys: pytest.CaptureFixture[str]):
    """A window of 50 costs 50 times a step, for 50 windows take each reading: the firmware's number, and the host's."""
    one, windows = nets.network(), nets.network(window=50)
    save(one, "one.npz")
    save(windows, "windows.npz")
    step = one.program.multiply_adds
    assert (one.multiply_adds, windows.program.multiply_adds) == (step, step)
    head = next(op.multiply_adds for op in windows.program.operations if op.kind == "dense")
    assert windows.multiply_adds == 50 * (step - head) + head  # the output's layer is computed for the window that ends
    assert main(["inspect", "one.npz"]) == main(["inspect", "windows.npz"]) == 0
    out = capsys.readouterr().out
    assert f"{step:,} multiply-adds per reading\n" in out
    assert f"{windows.multiply_adds:,} multiply-adds per reading: 50 windows are under way and each takes it" in out


def test_a_model_that_is_replaced_is_said(place: Path, capsys: pytest.CaptureFixture[str]):
    """Import and quantize say which model they put another in the place of; the same again is no news."""
    shutil.copy(EXAMPLES / "slip_stall.onnx", "slip_stall.onnx")
    digest = edge_lstm.load("model.npz").digest[:16]
    command = ["import", "slip_stall.onnx", "-o", "model.npz", "--no-verify"]
    assert main(command) == 0
    assert f"note: model.npz held another model, small, digest {digest}…; it is replaced" in capsys.readouterr().err
    assert main(command) == 0
    assert "replaced" not in capsys.readouterr().err
    Path("model.npz").write_text("something else")
    assert main(command) == 0
    assert "model.npz was there, and no model file; it is replaced" in capsys.readouterr().err


def test_explain_without_matplotlib_writes_the_numbers(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Its tables need no library for pictures; and what is too much is said with the limit, before it is computed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["explain", "log.csv", "--model", "model.npz", "-o", "out"]) == 0
    out, err = capsys.readouterr()
    assert "no pictures: pictures need matplotlib" in err
    assert "out/gates.csv" in out
    assert {path.name for path in Path("out").iterdir()} == {"gates.csv", "units.csv", "influence.csv"}
    monkeypatch.setattr("edge_lstm.cli.explain._WIDEST", 100)
    monkeypatch.setattr("edge_lstm.analysis.explain.explain", None)
    assert main(["explain", "log.csv", "--model", "model.npz", "-o", "out"]) == codes.MEND
    assert "300 readings are more than the 100 of which every gate is written" in capsys.readouterr().err


def test_a_recording_brings_its_model(place: Path, capsys: pytest.CaptureFixture[str]):
    """explain and forecast take the model that a recording holds, as replay does; a table has none."""
    model = nets.network("gru", inputs=2)
    with edge_lstm.record("loop.mcap", model) as r:
        for k in range(50):
            r.step(np.full(2, np.sin(k / 5), np.float32))
    assert main(["explain", "loop.mcap", "-o", "out", "--json"]) == 0
    assert main(["forecast", "loop.mcap", "--at", "0", "--steps", "3"]) == codes.MEND
    assert "declares no feedback" in capsys.readouterr().err
    assert main(["explain", "log.csv", "-o", "out"]) == codes.MEND
    assert "log.csv: is a log of numbers and holds no model; say which with --model" in capsys.readouterr().err


def test_a_robot_toml_of_another_editor(place: Path, capsys: pytest.CaptureFixture[str]):
    """A byte order mark, as editors of Windows leave it, is no error; a text without quotes is shown with them."""
    text = Path("robot.toml").read_text()
    Path("robot.toml").write_text(text, encoding="utf-8-sig")
    assert main(["check", "robot.toml"]) == 0
    capsys.readouterr()
    for line, meant in (
        ("file = my-net.npz", 'file = "my-net.npz"'),
        ("device = /dev/ttyACM0  # usb", 'device = "/dev/ttyACM0"'),
    ):
        Path("bad.toml").write_text(f"[model]\n{line}\n")
        assert main(["check", "bad.toml"]) == codes.MEND
        assert f"; a text stands in quotes: {meant}" in capsys.readouterr().out
    Path("bad.toml").write_text("[model\n")
    assert main(["check", "bad.toml"]) == codes.MEND
    assert "in quotes" not in capsys.readouterr().out


def test_what_bare_weights_do_not_hold_is_said(place: Path, capsys: pytest.CaptureFixture[str]):
    """A state_dict has no softmax of its head: import says so once, and not where it was answered."""
    rng = np.random.default_rng(0)
    sizes = {"lstm.weight_ih_l0": (32, 2), "lstm.weight_hh_l0": (32, 8), "lstm.bias_ih_l0": (32,)}
    sizes |= {"lstm.bias_hh_l0": (32,), "head.weight": (3, 8), "head.bias": (3,)}
    np.savez("w.npz", **{name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()})
    assert main(["import", "w.npz", "-o", "m.npz"]) == 0
    assert "(softmax, sigmoid) is not in the weights; if it is wanted, say --activations softmax" in (
        capsys.readouterr().out
    )
    assert main(["import", "w.npz", "-o", "m.npz", "--activations", "softmax"]) == 0
    assert "not in the weights" not in capsys.readouterr().out


def test_results_go_down_a_pipe(place: Path):
    """`-o /dev/stdout` writes to whoever reads: the table and nothing else, the summary is on the error output; not
    together with --json, which would stand in the table."""
    begun = [*EDGE_LSTM, "replay", "log.csv", "--model", "model.npz", "-o", "/dev/stdout"]
    done = subprocess.run(begun, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("time (s),wheel_speed_left")
    width = done.stdout.splitlines()[0].count(",")
    assert {line.count(",") for line in done.stdout.splitlines()} == {width}
    assert "\nwritten /dev/stdout\n" in done.stderr
    done = subprocess.run([*begun, "--json"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (codes.MEND, "")
    assert "name a file for one of them" in done.stderr


@pytest.mark.parametrize(
    "typed",
    [
        "replay log.csv --model model.npz -o OUT",
        "forecast log.csv --model model.npz --at 0.5 --steps 3 -o OUT",
        "quantize model.npz --calibrate log.csv -o OUT",
        "import slip_stall.npz -o OUT",
        "gate model.npz log.csv -o OUT",
    ],
)
def test_an_output_is_never_the_input_nor_a_dash(place: Path, capsys: pytest.CaptureFixture[str], typed: str) -> None:
    """What a command reads stays as it is, whichever command: it names the file and asks for another. A dash, which
    means a pipe elsewhere, makes no file of that name; the sentence says what does."""
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    read = typed.split()[1]
    assert main(typed.replace("OUT", read).split()) == codes.MEND
    assert re.search("would be overwritten, and it is read|written over its source", capsys.readouterr().err)
    assert main(typed.replace("OUT", "-").split()) == codes.MEND
    assert "/dev/stdout" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in place.iterdir() if path.is_file()} == before


def test_explain_writes_no_table_over_its_log(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tables have names of their own in a folder, one of which the log may have."""
    shutil.copy("log.csv", "gates.csv")
    assert main(["explain", "gates.csv", "--model", "model.npz", "-o", "."]) == codes.MEND
    assert "gates.csv would be overwritten" in capsys.readouterr().err
    assert Path("gates.csv").read_bytes() == Path("log.csv").read_bytes()


@pytest.mark.parametrize(
    ("typed", "said", "unsaid"),
    [
        ("import a.onnx --chanels x", "there is no option --chanels; did you mean --channels? (see", "--help'"),
        ("verify m.npz --onnx a.onnx", "there is no option --onnx (see edge-lstm verify --help)", "--json"),
        ("import slip_stall.npz --rate 100Hz", "'100Hz' is not a number (see", "float"),
        ("listen /dev/null --baud fast", "'fast' is not a whole number (see", "integer"),
        ("replay --foxglove d.mcap", "if it is not meant as one, write --foxglove 8765 before it (see", "integer"),
        ("run", "edge-lstm run [OPTIONS] ROBOT.toml (see", "CONFIG"),
        ("quantize slip_stall.npz", "edge-lstm quantize … --calibrate LOG (see", "float"),
        ("replay log.csv slip_stall.npz", "slip_stall.npz is a model and no log: --model slip_stall.npz", "--jobs"),
    ],
)
def test_what_was_mistyped_is_answered_with_what_is_meant(
    place: Path, capsys: pytest.CaptureFixture[str], typed: str, said: str, unsaid: str
) -> None:
    """One sentence in words that a field engineer has: the option that is meant or none, a number, what is missing."""
    assert main(typed.split()) == codes.MEND
    err = capsys.readouterr().err
    assert said in err
    assert unsaid not in err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "run robot.toml --port /dev/null --record d.csv",
            "what is written is a recording, not a table: --record d.mcap",
        ),
        (f"import {EXAMPLES}/slip_stall.onnx -o b.onnx", "what is written is a model, not an ONNX graph: -o b.npz"),
        ("quantize slip_stall.npz --calibrate log.csv -o b.csv", "is a model, not a table: -o b.npz"),
        ("replay log.csv --model model.npz -o b.mcap", "is a table, not a recording: -o b.csv"),
        ("replay log.csv --model model.npz -o b.xlsx", "is a table, not a spreadsheet: -o b.csv"),
        ("replay log.csv --model model.npz -o b.parquet", "is a table, not a file of Parquet or Arrow: -o b.csv"),
        ("forecast log.csv --model model.npz --at 0 --steps 3 -o b.json", "is a table, not JSON: -o b.csv"),
    ],
)
def test_an_output_is_not_named_for_what_it_is_not(
    place: Path, capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    """A recording that is called .csv is taken for a table by whoever meets it next."""
    assert main(typed.split()) == codes.MEND
    assert said in capsys.readouterr().err
    assert not list(place.glob("[bd].*"))


def test_a_file_that_may_not_be_read_is_named(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No value is invalid where only the rights are missing."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert main(["inspect", "slip_stall.npz"]) == codes.MEND
    assert capsys.readouterr().err == "edge-lstm: slip_stall.npz: may not be read: permission denied\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("min = 0,2", "a number has a decimal point: min = 0.2"),
        ("device = robot", 'a text stands in quotes: device = "robot"'),
        ("[model]\n[model]", "what stands below this second [model] belongs below the first"),
        ("min: 0.2", "the line is: min: 0.2"),
    ],
)
def test_a_line_that_is_no_toml_is_shown_with_what_is_meant(line: str, said: str) -> None:
    """The parser's own words name a column; a person needs the line."""
    with pytest.raises(ConfigError, match="is not valid TOML") as caught:
        parse_config(line + "\n", "robot.toml", Path())
    assert str(caught.value).endswith(said)


def test_no_table_is_squeezed_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich takes a dumb terminal to have 80 columns: the title of the last column was cut."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout", screen := Screen())
    console = Paper()
    console.whole(columns(*(f"a long title {k}" for k in range(9))))
    assert "a long title 8" in screen.getvalue()
