"""The commands as people meet them, with what strangers try first."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import COMMANDS, OLD_NAMES, main
from edge_lstm.engines.native.loader import SHIPPED
from tests.support.commands import called
from tests.support.robots import small_robot

EDGE_LSTM = [sys.executable, "-m", "edge_lstm"]
EXAMPLES = Path(__file__).parents[2] / "edge_lstm" / "examples"


def process(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [*EDGE_LSTM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)  # type: ignore[call-overload]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with model.npz, robot.toml and log.csv."""
    small_robot.folder(tmp_path)
    rows = np.random.default_rng(1).normal(0, 2, (200, 4))
    text = "time (s),wheel_speed_left,wheel_speed_right,current_left,current_right\n"
    text += "".join(f"{k / 200},{','.join(map(str, row))}\n" for k, row in enumerate(rows.tolist()))
    (tmp_path / "log.csv").write_text(text)
    return tmp_path


@pytest.fixture
def failing(capsys: pytest.CaptureFixture[str]):
    """Run a command that must fail: returns (exit code, its one sentence)."""

    def run(*arguments: object) -> tuple[int, str]:
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("edge-lstm: ")
        assert "Traceback" not in err
        return code, lines[0]

    return run


@pytest.mark.parametrize(
    "arguments", [["--help"], ["inspect", "{model}"], ["inspect", "{model}", "--json"], ["run", "--help"]]
)
def test_help_and_inspect_import_nothing_heavy(arguments: list[str], tmp_path: Path):
    """None of numba, onnx, onnxruntime, matplotlib, mcap and llvmlite is loaded to tell what there is."""
    small_robot.folder(tmp_path)
    words = [a.format(model=tmp_path / "model.npz") for a in arguments]
    script = (
        "import sys; from edge_lstm.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'numba', 'onnx', 'onnxruntime', 'matplotlib', 'mcap', 'llvmlite', 'serial'} & set(sys.modules);"
        "print('HEAVY', sorted(heavy), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60, check=True
    )
    assert "HEAVY [] 0" in done.stdout


def test_inspect_shows_what_is_in_a_model(place: Path):
    """As JSON every channel, operation, weight and state; as text the same for people."""
    found = json.loads(called("inspect", place / "model.npz", "--json").stdout)
    assert [c["name"] for c in found["inputs"]] == [c.name for c in small_robot.INPUTS]
    assert found["inputs"][0] == {
        "name": "wheel_speed_left",
        "unit": "rad/s",
        "scale": 5.0,
        "offset": 0.0,
        "vocabulary": [],
    }
    assert found["digest"] == small_robot.model().digest
    assert (found["weights"], found["multiply_adds"], found["window"]) == (452, 416, None)
    assert found["operations"][0]["weights"] == {"W": [32, 4], "R": [32, 8], "b": [32]}
    assert [s["name"] for s in found["states"]] == ["lstm.h", "lstm.c"]
    text = called("inspect", place / "model.npz").stdout
    for word in ("wheel_speed_left", "rad/s", "lstm", "416 multiply-adds", "continuous", found["digest"]):
        assert word in text


def test_old_names_of_commands_still_work_and_are_not_listed(capsys: pytest.CaptureFixture[str]):
    """`fields` and `warm` are `describe` and `compile`; help lists the new names, each once and by what one wants, and
    each command says its old one."""
    for old, new in OLD_NAMES.items():
        assert main([old, "--help"]) == 0
        assert f"`edge-lstm {old}` is the old name of this command" in capsys.readouterr().out
        assert old not in COMMANDS
        assert new in COMMANDS
    assert main(["--help"]) == 0
    text = capsys.readouterr().out.split("Options:")[1].split("Exit codes")[0]
    listed = re.findall(r"(?m)^  ([a-z]+) ", text)
    assert listed == list(COMMANDS)
    assert re.findall(r"(?m)^(\S.*):$", text)[:2] == ["A model", "A robot"]


def test_compile_says_where_and_how_long(capsys: pytest.CaptureFixture[str]):
    """Of the step that came with the package: that it did, its file, the seconds; nothing is compiled for it."""
    assert main(["compile", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert Path(done["path"]).parent == SHIPPED
    assert not done["compiled"]
    assert done["seconds"] > 0
    assert main(["compile"]) == 0
    out, err = capsys.readouterr()
    assert f"the step for {done['lanes']} lanes came with the package, loaded in " in out
    assert not err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["replay", "no.csv", "--model", "model.npz"], 2, ["no.csv", "no such file"]),
        (["replay", ".", "--model", "model.npz"], 2, ["is a folder of recordings that cannot be read"]),
        (["replay", "empty.csv", "--model", "model.npz"], 2, ["empty.csv", "is empty"]),
        (["replay", "header.csv", "--model", "model.npz"], 2, ["header.csv", "no rows"]),
        (["replay", "junk.csv", "--model", "model.npz"], 2, ["junk.csv", "zero byte"]),
        (["replay", "junk.mcap"], 2, ["junk.mcap"]),
        (["replay", "empty.mcap"], 2, ["empty.mcap"]),
        (["replay", "narrow.csv", "--model", "model.npz"], 2, ["narrow.csv", "no column 'wheel_speed_right'"]),
        (["replay", "log.csv"], 2, ["log.csv", "--model"]),
        (["replay", "log.csv", "--model", "no.npz"], 2, ["no.npz", "No such file"]),
        (["replay", "log.csv", "--model", "junk.npz"], 2, ["junk.npz", "not a model file"]),
        (["replay", "log.csv", "--model", "."], 2, ["directory"]),
        (["replay", "log.csv", "--model", "model.npz", "--verify"], 2, ["--verify", "table"]),
        (["replay", "log.csv", "--model", "model.npz", "--speed", "fast"], 2, ["'fast'", "max"]),
        (["replay", "log.csv", "--model", "model.npz", "--time", "nope"], 2, ["no column 'nope'"]),
        (["replay", "log.csv", "--model", "model.npz", "-o", "no/out.csv"], 4, ["no/out.csv", "no folder"]),
        (["replay", "log.csv", "--model", "model.npz", "-o", "."], 4, ["cannot be written", "folder"]),
        (["replay", "log.csv", "--model", "model.npz", "--plot", "x.bmp"], 2, ["'.bmp'", ".png"]),
        (["replay", "log.csv", "--model", "model.npz", "--truth", "x.csv"], 2, ["--truth"]),
        (["inspect", "no.npz"], 2, ["no.npz", "No such file"]),
        (["inspect", "."], 2, ["directory"]),
        (["inspect", "junk.npz"], 2, ["junk.npz", "not a model file"]),
        (["inspect", "cut.npz"], 2, ["cut.npz", "damaged"]),
        (["inspect"], 2, ["Missing argument", "edge-lstm inspect --help"]),
        (["run", "no.toml"], 2, ["no.toml", "No such file"]),
        (["run", "robot.toml"], 2, ["[port] device", "--port"]),
        (["run", "robot.toml", "--port", "/dev/no-such-port"], 3, ["/dev/no-such-port"]),
        (["run", "robot.toml", "--port", "x", "--record", "a", "--no-record"], 2, ["contradict"]),
        (["run", "bad.toml"], 2, ["bad.toml", "[polcy]", "'policy'"]),
        (["run", "robot.toml", "--secnds", "3"], 2, ["--secnds", "--seconds"]),
        (["import", "no.onnx"], 2, ["no.onnx", "no such file"]),
        (["import", "log.csv"], 2, ["log.csv", "is not one to import", ".onnx, .npz"]),
        (["import", "junk.onnx"], 2, ["junk.onnx"]),
        (["import", "model.npz"], 2, ["over its source", "-o"]),
        (["simulate", "--link", "no/robot"], 4, ["no folder", "make it"]),
        (["run", "robot.toml", "--port", "/dev/null", "--record", "no/x.mcap"], 4, ["no folder", "make it"]),
        (["replay", "log.csv", "--model", "model.npz", "-o", "log.csv"], 2, ["-o log.csv", "overwritten"]),
        (["replay", "log.csv", "--model", "model.npz", "-o", "model.npz"], 2, ["model.npz", "overwritten"]),
        (["replay", "log.csv", "--model", "model.npz", "--plot", "a.png", "-o", "a.png"], 2, ["-o writes there"]),
        (["import", "model.npz", "-o", "q.onnx"], 2, ["q.onnx", "q.npz"]),
        (["describe", "/dev/no-such-port"], 3, ["/dev/no-such-port"]),
        (["simulate", "--link", "robot", "--faults", "flop=1"], 2, ["'flop'", "flip"]),
        (["simulate", "--link", "log.csv", "--seconds", "1"], 3, ["log.csv"]),
        (["simulate", "--link", "robot", "--rate", "9000"], 2, ["9000", "5000"]),
        (["simulate", "--link", "robot", "--seconds", "0.1", "--truth", "no/t.csv"], 4, ["no/t.csv"]),
        (["walk"], 2, ["walk"]),
    ],
)
def test_what_strangers_try_first(place: Path, monkeypatch: pytest.MonkeyPatch, failing, arguments, code, words):
    """One sentence on stderr, nothing on stdout, the right exit code, no traceback."""
    monkeypatch.chdir(place)
    for name, content in {
        "empty.csv": b"",
        "empty.mcap": b"",
        "header.csv": (place / "log.csv").read_bytes().split(b"\n")[0],
        "junk.csv": bytes(range(256)),
        "junk.mcap": bytes(range(256)),
        "junk.npz": bytes(range(256)),
        "junk.onnx": bytes(range(256)),
        "cut.npz": (place / "model.npz").read_bytes()[:2000],
        "narrow.csv": b"time,wheel_speed_left\n0,1\n1,1\n",
        "bad.toml": small_robot.CONFIG.encode() + b"[polcy]\n",
    }.items():
        (place / name).write_bytes(content)
    found, sentence = failing(*arguments)
    assert found == code, sentence
    for word in words:
        assert word in sentence
    assert not list(place.glob(".*partial"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read and write everything")
def test_no_permission_is_said(place: Path, failing):
    """A file that may not be read, and a folder that may not be written to, are named."""
    (place / "log.csv").chmod(0)
    assert failing("replay", place / "log.csv", "--model", place / "model.npz")[0] == 2
    (place / "log.csv").chmod(0o600)
    place.chmod(0o500)
    code, sentence = failing("replay", place / "log.csv", "--model", place / "model.npz", "-o", place / "out.csv")
    place.chmod(0o700)
    assert code == 4
    assert "out.csv" in sentence


def test_a_full_disk_is_said(place: Path, failing):
    """/dev/full stands for a disk without room: exit code 4 and the file's name; it is still a device afterwards."""
    for command in (
        ("replay", place / "log.csv", "--model", place / "model.npz"),
        ("import", EXAMPLES / "slip_stall.onnx", "--no-verify"),
        ("firmware", place / "model.npz"),
    ):
        code, sentence = failing(*command, "-o", "/dev/full")
        assert code == 4, sentence
        assert "/dev/full" in sentence
        assert Path("/dev/full").is_char_device()


def test_replay_of_a_table_writes_time_readings_and_outputs(place: Path):
    """The result has a row for each row, numbers that read back to the same bits, and the summary as JSON."""
    done = process("replay", place / "log.csv", "--model", place / "model.npz", "-o", place / "out.csv", "--json")
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert (summary["readings"], summary["steps"], summary["missing"]) == (200, 200, 0)
    assert summary["timing"]["rate_hz"] == pytest.approx(200)
    assert summary["digest"] == small_robot.model().digest
    lines = (place / "out.csv").read_text().splitlines()
    assert lines[0].split(",")[:2] == ["time (s)", "wheel_speed_left"]
    rows = np.array([line.split(",") for line in lines[1:]], np.float64)
    expected = small_robot.model().stream().run(rows[:, 1:5].astype(np.float32))
    assert rows[:, 5:9].astype(np.float32).tobytes() == expected.tobytes()
    text = called("replay", place / "log.csv", "--model", place / "model.npz").stdout
    assert "200 readings over 1.0 s, 200 steps" in text
    assert "200 Hz" in text


def test_a_result_is_not_there_after_an_error(place: Path, failing):
    """A bad cell in the last row: no out.csv, nothing half-written beside it, and the old one would have stayed."""
    with (place / "log.csv").open("a") as file:
        file.write("1.0,1,2,3,x\n")
    arguments = ("replay", place / "log.csv", "--model", place / "model.npz", "-o", place / "out.csv")
    code, sentence = failing(*arguments)
    assert code == 2
    assert "line 202, column 'current_right': 'x'" in sentence
    assert not (place / "out.csv").exists()
    (place / "out.csv").write_text("old")
    failing(*arguments)
    assert (place / "out.csv").read_text() == "old"
    assert {p.name for p in place.iterdir()} == {"model.npz", "robot.toml", "log.csv", "out.csv"}


def test_a_picture_of_a_table(place: Path):
    """--plot writes a PNG; without matplotlib the sentence says what to install."""
    done = called("replay", place / "log.csv", "--model", place / "model.npz", "--plot", place / "out.png")
    assert done.returncode == 0, done.stderr
    assert (place / "out.png").read_bytes().startswith(b"\x89PNG")
    hidden = place / "matplotlib.py"
    hidden.write_text("raise ModuleNotFoundError")
    without = dict(os.environ, PYTHONPATH=str(place))
    arguments = ("replay", place / "log.csv", "--model", place / "model.npz", "--plot", place / "no.png")
    done = process(*arguments, env=without)
    assert done.returncode == 2
    assert "install matplotlib" in done.stderr or "install 'matplotlib>=" in done.stderr
    assert not (place / "no.png").exists()


def test_a_reader_that_goes_away_is_no_traceback(place: Path):
    """`edge-lstm inspect … | true` ends quietly."""
    command = f"{sys.executable} -m edge_lstm inspect {place / 'model.npz'} --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_a_defect_is_one_sentence_with_its_place(monkeypatch: pytest.MonkeyPatch, failing, place: Path):
    """An exception nobody expected: exit code 70, what and where, and how to see more."""

    def broken(path: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("edge_lstm.core.storage.load", broken)
    code, sentence = failing("inspect", place / "model.npz")
    assert code == 70
    for word in ("ZeroDivisionError: oh", "test_commands.py", "--traceback"):
        assert word in sentence
