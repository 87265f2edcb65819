"""`edge-lstm quantize` as people meet it, and every command of its page."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for, flat_names
from edge_lstm.core.model import Model
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.models.nets import network
from tests.support.robots import small_robot

PAGE = Path(edge_lstm.__file__).parent / "quantization" / "README.md"
EXAMPLES = PAGE.parents[1] / "examples"


def write_log(path: Path, model: Model, count: int = 600, seed: int = 1) -> np.ndarray:
    """A CSV log with the model's channels; returns its readings."""
    xs = np.random.default_rng(seed).normal(0, 1, (count, len(model.inputs))).astype(np.float32)
    titles = [f"{c.name} ({c.unit})" if c.unit else c.name for c in model.inputs]
    rows = (f"{k / 100},{','.join(map(repr, row))}" for k, row in enumerate(xs.tolist()))
    path.write_text("\n".join([f"time (s),{','.join(titles)}", *rows]) + "\n")
    return xs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with model.npz and log.csv."""
    small_robot.folder(tmp_path)
    write_log(tmp_path / "log.csv", edge_lstm.load(tmp_path / "model.npz"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """A command that must fail: its exit code and its one sentence; no model was written, whole or in part."""
    before = set(Path.cwd().iterdir())
    code = main(["quantize", *arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert set(Path.cwd().iterdir()) == before
    return code, err


def test_the_report_as_json_is_that_of_the_file(place: Path, capsys: pytest.CaptureFixture[str]):
    """One JSON object; the file holds the model whose digest it prints; the last fifth of the log was held out, and
    rows and times are those of the log."""
    assert main(["quantize", "model.npz", "--calibrate", "log.csv", "-o", "q.npz", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    model, quantized = edge_lstm.load("model.npz"), edge_lstm.load("q.npz")
    assert (printed["source_digest"], printed["digest"]) == (model.digest, quantized.digest)
    assert printed["scheme"] == quantized.provenance["quantized"]["scheme"] == "int8"
    assert printed["quantized"]["readings"] == 480
    assert printed["held_out"] == ["log.csv (its last 20%)"]
    assert [o["name"] for o in printed["outputs"]] == list(flat_names(model.outputs))
    assert all(w["row"] >= 480 and w["t_s"] == pytest.approx(w["row"] / 100) for w in printed["worst"])
    assert printed["file_bytes"] == [Path(name).stat().st_size for name in ("model.npz", "q.npz")]
    assert printed["step"]["ratio"] > 0
    assert printed["log"]["quantized_us"] > 0


def test_the_report_for_people_names_layers_readings_and_sizes(place: Path, capsys: pytest.CaptureFixture[str]):
    """Outputs, layers with what was kept, the worst readings, bytes and what to do are on the screen."""
    command = "quantize model.npz --calibrate log.csv --keep dense --scheme int16 -o q.npz"
    assert main(shlex.split(command)) == 0
    text = capsys.readouterr().out
    model = edge_lstm.load("model.npz")
    for word in (*flat_names(model.outputs), "kept float32", "worst readings", "times smaller", "tolerable", "q.npz"):
        assert word in text, word
    assert "in int16" in text


def test_readings_beyond_the_range_are_named_with_what_to_do(place: Path, capsys: pytest.CaptureFixture[str]):
    """A held-out log that goes further than the calibration's: the channel, and the advice to calibrate with such
    readings, for people and as JSON."""
    model = edge_lstm.load("model.npz")
    xs = write_log(place / "other.csv", model, 200, 3)
    text = (place / "other.csv").read_text()
    first = text.splitlines()[1].split(",")
    (place / "other.csv").write_text(text.replace(",".join(first), ",".join([first[0], "55.5", *first[2:]])))
    command = "quantize model.npz --calibrate log.csv --held-out other.csv -o q.npz"
    assert main(shlex.split(command)) == 0
    out = capsys.readouterr().out
    name = model.inputs[0].name
    assert f"note: channel '{name}' was calibrated over" in out
    assert "reached 55.5" in out
    assert f"Clipped: {name}" in out
    assert "calibrate with a log that holds such readings" in out
    assert "whichever is larger" in out
    assert main([*shlex.split(command), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["beyond"][0]["reached"] == 55.5
    assert len(xs) == 200


def test_what_the_log_s_times_are_taken_for_is_said(place: Path, capsys: pytest.CaptureFixture[str]):
    """A time column that ends in _us is in microseconds, which is a note on stderr; where none that the model's rate
    allows is said, the unit is asked for."""
    text = (place / "log.csv").read_text().splitlines()
    rows = [line.split(",", 1) for line in text[1:]]
    command = "quantize model.npz --calibrate log.csv -o q.npz --json"
    for title, unit, words in (
        ("t_device_us", "", "the only one that always increases"),
        ("t", " --time-unit us", ""),
    ):
        lines = [f"{k * 10_000},{rest}" for k, (_, rest) in enumerate(rows)]
        (place / "log.csv").write_text("\n".join([f"{title},{text[0].split(',', 1)[1]}", *lines]) + "\n")
        if unit:
            assert main(shlex.split(command)) == 2
            assert "'t' does not say its unit, and its rows would come at 0.0001 Hz in s" in capsys.readouterr().err
        assert main(shlex.split(command + unit)) == 0
        out, err = capsys.readouterr()
        assert words in err
        assert 4.7 < max(w["t_s"] for w in json.loads(out)["worst"]) <= 5.99


def test_a_held_out_log_and_several_to_calibrate(place: Path, capsys: pytest.CaptureFixture[str]):
    """All of the calibration logs calibrate when another one is held out."""
    model = edge_lstm.load("model.npz")
    write_log(place / "second.csv", model, 200, 2)
    write_log(place / "other.csv", model, 100, 3)
    command = "quantize model.npz --calibrate log.csv --calibrate second.csv --held-out other.csv -o q.npz --json"
    assert main(shlex.split(command)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["quantized"]["readings"], printed["held_out"]) == (800, ["other.csv"])
    assert printed["outputs"][0]["held_out"]["readings"] == 100


def test_rows_with_a_hole_are_left_out_and_counted(place: Path, capsys: pytest.CaptureFixture[str]):
    """A cell without a number costs its row, no more, and is reported."""
    lines = (place / "log.csv").read_text().splitlines()
    lines[10] = re.sub(r",[^,]+,", ",,", lines[10], count=1)
    (place / "log.csv").write_text("\n".join(lines) + "\n")
    assert main(shlex.split("quantize model.npz --calibrate log.csv -o q.npz --json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["left_out"], printed["quantized"]["readings"]) == (1, 480)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            lambda text: re.sub(r"(?m)^([^,]+),[^,]+", r"\1,0", text).replace(",0,", ",wheel_speed_left (rad/s),", 1),
            2,
            "is 0 in all",
        ),
        (lambda text: "\n".join(line.rsplit(",", 1)[0] for line in text.splitlines()), 2, "no column"),
        (lambda text: "\n".join(text.splitlines()[:40]), 2, "too few"),
        (lambda text: text.splitlines()[0] + "\n", 2, "no rows"),
        (lambda text: re.sub(r"(?m)^([\d.]+),[^,]+", r"\1,nan", text), 2, "has no number in any row"),
        (lambda text: "", 2, "is empty"),
    ],
)
def test_a_log_that_shows_no_range_is_refused(place: Path, capsys: pytest.CaptureFixture[str], change, code, words):
    """A channel that is always 0, one that is not there, too few rows, none, no numbers: one sentence that names the
    log, and nothing is written."""
    path = place / "log.csv"
    path.write_text(change(path.read_text()))
    found, sentence = failing(capsys, "model.npz", "--calibrate", "log.csv", "-o", "q.npz")
    assert found == code
    assert words in sentence
    assert "log.csv" in sentence


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("model.npz --calibrate log.csv -o q.npz --keep nothing", 2, "there is no such layer; there are"),
        ("model.npz --calibrate log.csv -o q.npz --keep lstm --keep dense", 2, "every layer stays float32"),
        ("model.npz --calibrate log.csv -o model.npz", 2, "would be overwritten"),
        ("model.npz --calibrate log.csv -o q.npz --scheme int4", 2, "int4"),
        ("model.npz --calibrate nowhere.csv -o q.npz", 2, "nowhere.csv: there is no such file"),
        ("nowhere.npz --calibrate log.csv -o q.npz", 2, "nowhere.npz"),
        ("model.npz --calibrate log.csv -o nowhere/q.npz", 4, "there is no folder"),
        ("model.npz --calibrate log.csv -o q.npz --plot q.txt", 2, "not the suffix of a picture"),
    ],
)
def test_what_was_asked_wrongly_is_said(place: Path, capsys: pytest.CaptureFixture[str], arguments, code, words):
    """Unknown layers, outputs over inputs, files that are not there: one sentence and the exit code."""
    found, sentence = failing(capsys, *shlex.split(arguments))
    assert (found, words in sentence) == (code, True), sentence


def test_every_command_of_the_page_does_what_it_says(place: Path, capsys: pytest.CaptureFixture[str]):
    """QUANTIZE.md, top to bottom: its commands, its Python, and its import of integer weights."""
    pytest.importorskip("matplotlib")
    page = PAGE.read_text()
    model = edge_lstm.load(EXAMPLES / "slip_stall.npz")
    edge_lstm.save(model, "slip_stall.npz")
    drives = [write_log(place / name, model, 600, k) for k, name in enumerate(("drive.csv", "other.csv"))]
    commands = re.findall(r"(?m)^    edge-lstm (.*)$", page) + re.findall(r"`edge-lstm (import .*?)`", page)
    assert len(commands) == 3
    scale = np.float32(0.01)
    weights = {f"lstm.weight_{k}_l0": np.ones((16, n), np.int8) for k, n in (("ih", 3), ("hh", 4))}
    np.savez("weights.npz", **weights, **{f"{key}.scale": scale for key in weights})  # type: ignore[arg-type]
    for command in commands:
        assert main(shlex.split(command)) == 0, capsys.readouterr().err
    assert {p.name for p in place.iterdir()} >= {"slip_stall-int8.npz", "error.png", "q.npz", "net.npz"}
    assert edge_lstm.load("net.npz").provenance["quantized"]["scheme"] == "int8-weights"
    (code,) = re.findall(r"(?s)```python\n(.*?)```", page)
    exec(code, {"drives": drives})
    assert 0 < float(capsys.readouterr().out.splitlines()[-1]) < 0.1


def test_a_window_model_is_quantized_from_a_log_too(place: Path, capsys: pytest.CaptureFixture[str]):
    """Its outputs begin where the float32 model's do, and the report counts them."""
    model = network("gru", inputs=2, units=8, window=7)
    edge_lstm.save(model, "window.npz")
    write_log(place / "log.csv", model)
    command = "quantize window.npz --calibrate log.csv -o q.npz --json --channels"
    assert main([*shlex.split(command), "x[0],x[1]"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["outputs"][0]["held_out"]["readings"] == 120 - 6
    assert edge_lstm.load("q.npz").timing.window == 7


def test_readings_that_only_the_quantized_model_fails_at_are_reported(place: Path, capsys: pytest.CaptureFixture[str]):
    """log() of what int8 makes negative in the held-out log: a line with their number, infinite errors in the tables,
    null in JSON, and the picture is drawn. On the calibration log it is refused in a sentence; nothing is written."""
    b = Builder()
    b.output("y", b.map("log", b.dense(b.input("x", 2), W=np.float32([[1, -1]]), b=np.float32([1e-3]))))
    model = Model(b.build(), channels_for(("x",), (2,)), channels_for(("y",), (1,)))
    edge_lstm.save(model, "log.npz")
    rng = np.random.default_rng(0)
    for name, least in (("good.csv", 0.05), ("bad.csv", 0.0)):
        base = rng.uniform(-1, 1, 600)
        rows = zip(base + rng.uniform(least, 0.3, 600), base, strict=True)
        lines = [f"{k / 100},{one},{two}" for k, (one, two) in enumerate(rows)]
        Path(name).write_text("\n".join(["time (s),x[0],x[1]", *lines]) + "\n")
    command = ["quantize", "log.npz", "--calibrate", "good.csv", "--held-out", "bad.csv", "-o", "q.npz"]
    assert main([*command, "--plot", "error.png"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"at \d of them only the quantized model says NaN or infinity", said)
    assert re.search(r"(?m)^bad.csv .* nan *$", said)
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["failed"] > 0
    assert printed["error"] is printed["outputs"][0]["held_out"]["rms"] is None
    code, sentence = failing(capsys, "log.npz", "--calibrate", "bad.csv", "-o", "new.npz")
    assert code == 2
    assert "because of dense: keep such layers float32" in sentence


def test_a_recording_calibrates_through_its_own_channels(place: Path, capsys: pytest.CaptureFixture[str]):
    """The fields of its readings feed the channels as its robot.toml says."""
    config = parse_config(small_robot.CONFIG, "robot.toml", Path())
    recorder = Recorder(place / "run.mcap", {}, {"robot.toml": small_robot.CONFIG.encode()}, wait=True)
    run(SimulatedPort(Robot(4), 5.0), Bridge(), Controller(small_robot.model(), config), recorder)
    recorder.close()
    assert main(shlex.split("quantize model.npz --calibrate run.mcap -o q.npz --json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["calibration"] == ["run.mcap"]
    assert 700 < printed["quantized"]["readings"] <= 800


def test_both_int8_schemes_stand_side_by_side_and_one_is_recommended(place: Path, capsys: pytest.CaptureFixture[str]):
    """Whichever of the two is asked for, the same two errors are on the screen and in the JSON, each that of the model
    that the scheme makes, and the nearer one is recommended; int16 and float16 have no such neighbour, and what is
    float16 says so when it is looked at, and is said to be calibrated by nothing."""
    found = {}
    for scheme in ("int8", "int8-dynamic"):
        assert (
            main(shlex.split(f"quantize model.npz --calibrate log.csv --scheme {scheme} -o {scheme}.npz --json")) == 0
        )
        found[scheme] = json.loads(capsys.readouterr().out)
        assert edge_lstm.load(f"{scheme}.npz").provenance["quantized"]["scheme"] == scheme
    both = found["int8"]["schemes"]
    assert both == found["int8-dynamic"]["schemes"]
    assert [one["scheme"] for one in both] == ["int8", "int8-dynamic"]
    assert [one["error"] for one in both] == [found[scheme]["error"] for scheme in ("int8", "int8-dynamic")]
    assert both[1]["error"] < both[0]["error"] / 2
    assert {printed["recommended"] for printed in found.values()} == {"int8-dynamic"}
    assert main(shlex.split("quantize model.npz --calibrate log.csv -o q.npz")) == 0
    text = capsys.readouterr().out
    assert "recommended: int8-dynamic on a computer; int8 is less work on a microcontroller" in text
    assert "this model is in int8: quantize with --scheme int8-dynamic for the other" in text
    for scheme in ("int16", "float16"):
        assert main(shlex.split(f"quantize model.npz --calibrate log.csv --scheme {scheme} -o q.npz --json")) == 0
        printed = json.loads(capsys.readouterr().out)
        assert (printed["scheme"], printed["schemes"], printed["recommended"]) == (scheme, [], scheme)
    assert printed["error"] < both[1]["error"] / 2
    assert main(shlex.split("quantize model.npz --calibrate log.csv --scheme float16 -o q.npz")) == 0
    text = capsys.readouterr().out
    assert "nothing is calibrated" in text
    assert "calibrated on" not in text
    assert main(["inspect", "q.npz"]) == 0
    assert "dense float16" in capsys.readouterr().out
