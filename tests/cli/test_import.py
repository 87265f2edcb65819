"""`edge-lstm import`: options reach the importers, names reach the model, and what has no meaning is an error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import common, import_model, main
from edge_lstm.core.model import Model
from tests.cli.test_live import until
from tests.support.graphs.onnx_files import node, save

VECTORS = Path(__file__).parents[1] / "vectors" / "onnx"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A PyTorch LSTM of 4 with a Linear of 2 on 3 inputs, saved with NumPy."""
    random = np.random.default_rng(0)
    shapes = {
        "lstm.weight_ih_l0": (16, 3),
        "lstm.weight_hh_l0": (16, 4),
        "lstm.bias_ih_l0": (16,),
        "lstm.bias_hh_l0": (16,),
    }
    shapes |= {"head.weight": (2, 4), "head.bias": (2,)}
    path = tmp_path / "weights.npz"
    np.savez(path, **{k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()})
    return path


def test_weights_become_a_model_with_the_names_given(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Names, units, rate and window of the command line are in the file, and it runs."""
    model = tmp_path / "model.npz"
    words = ["--channels", "a (A),b [rad/s],c", "--outputs", "x,y", "--rate", "100", "--name", "tiny"]
    assert main(["import", str(weights), "-o", str(model), *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    loaded = edge_lstm.load(model)
    assert [(c.name, c.unit) for c in loaded.inputs] == [("a", "A"), ("b", "rad/s"), ("c", "")]
    assert [c.name for c in loaded.outputs] == ["x", "y"]
    assert (loaded.rate_hz, loaded.timing.window, loaded.name) == (100.0, None, "tiny")
    assert found["digest"] == loaded.digest
    assert loaded.stream().step(np.zeros(3, np.float32)).shape == (2,)
    assert main(["import", str(weights), "-o", str(model), "--window", "5"]) == 0
    assert edge_lstm.load(model).timing.window == 5
    assert "window" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--channels", "a,b"], "--channels: 2 names for the 3 channels"),
        (["--mode", "window"], "--mode has no meaning for .npz"),
        (["--state", "h=h_out"], "--state has no meaning for .npz"),
        (["--order", "head,lstm"], "head"),
    ],
)
def test_what_does_not_fit_is_said(weights: Path, tmp_path: Path, capsys, words: list[str], sentence: str):
    """Wrong counts and options of the other kind of file: code 2, one sentence, no file."""
    model = tmp_path / "model.npz"
    assert main(["import", str(weights), "-o", str(model), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not model.exists()


def test_a_left_over_array_is_an_error(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One array more than the network has: refused by its name."""
    with np.load(weights) as arrays:
        np.savez(tmp_path / "more.npz", **arrays, stray=np.zeros(3, np.float32))
    assert main(["import", str(tmp_path / "more.npz"), "-o", str(tmp_path / "model.npz")]) == 2
    assert "stray" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suffix", "hint"), [(".pt", "torch.onnx.export"), (".h5", "tf2onnx"), (".txt", ".onnx, .npz")]
)
def test_other_files_get_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, hint: str):
    """A file that cannot be imported: what to make of it instead."""
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"x")
    assert main(["import", str(path)]) == 2
    assert hint in capsys.readouterr().err


def test_an_onnx_file_is_brought_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A graph of the test vectors goes in by the command, with what time means and why."""
    sources = sorted(VECTORS.glob("*.onnx"))
    if not sources:
        pytest.skip("no vectors here")
    assert main(["import", str(sources[0]), "-o", str(tmp_path / "model.npz")]) == 0
    out = capsys.readouterr().out
    assert "digest" in out
    assert edge_lstm.load(tmp_path / "model.npz").digest[:16] in out
    assert main(["import", str(sources[0]), "-o", str(tmp_path / "m.npz"), "--cell", "lstm"]) == 2
    assert "--cell has no meaning for .onnx" in capsys.readouterr().err


def test_what_takes_long_says_what_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two seconds a line on the error output says what is being done; a quick import says nothing there."""
    command = ["import", str(VECTORS / "lstm_step_legacy11.onnx"), "-o", str(tmp_path / "m.npz"), "--no-verify"]
    monkeypatch.setattr(common, "PATIENCE_S", 60)
    assert main(command) == 0
    assert not capsys.readouterr().err
    monkeypatch.setattr(common, "PATIENCE_S", 0.01)
    read = import_model._read

    said: list[str] = []

    def shown() -> bool:
        said.append(capsys.readouterr().err)
        return " … " in "".join(said)

    def slow(source: Path, options: dict[str, Any]) -> Model:
        until(shown)
        return read(source, options)

    monkeypatch.setattr(import_model, "_read", slow)
    assert main(command) == 0
    wanted = r"lstm_step_legacy11\.onnx: finding what its axes and states mean … \d+ s"
    assert re.search(wanted, "".join(said))


def scaling_of(path: Path) -> list[tuple[str, str, float, float]]:
    model = edge_lstm.load(path)
    return [(c.name, c.unit, c.scale, c.offset) for c in (*model.inputs, *model.outputs)]


def test_a_network_trained_on_normalized_readings(weights: Path, tmp_path: Path) -> None:
    """--channels "NAME (UNIT) *SCALE +OFFSET": the model takes physical readings, and gives what the bare network gives
    for (x - offset) / scale, in physical units."""
    bare, out = tmp_path / "bare.npz", tmp_path / "out.npz"
    assert main(["import", str(weights), "-o", str(bare)]) == 0
    channels = "ax (m/s²) *2 +9.81, ay (m/s²) -3, gz[2] *.5"
    assert main(["import", str(weights), "-o", str(out), "--channels", channels, "--outputs", "a (A) *3, b"]) == 0
    assert scaling_of(out) == [
        ("ax", "m/s²", 2, 9.81), ("ay", "m/s²", 1, -3), ("gz[2]", "", 0.5, 0), ("a", "A", 3, 0), ("b", "", 1, 0)
    ]  # fmt: skip
    x = np.random.default_rng(0).normal(0, 1, (20, 3)).astype(np.float32)
    raw, scaled = (
        edge_lstm.load(bare).stream().run(x),
        edge_lstm.load(out).stream().run(x * [2, 1, 0.5] + [9.81, -3, 0]),
    )
    assert np.abs(np.asarray(scaled) - np.asarray(raw) * [3, 1]).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.json", '{"a": {"mean": 1, "std": 2}, "b": [3, 4], "c": {"mu": 5, "sigma": 6}}'),
        ("s.json", '{"mean": {"a": 1, "b": 3, "c": 5}, "std": {"c": 6, "b": 4, "a": 2}}'),
        ("s.json", '{"mean": [1, 3, 5], "scale": [2, 4, 6]}'),
        ("s.csv", "name,mean,std\nc,5,6\na,1,2\nb,3,4\n"),
        ("s.csv", ",mean,std\na,1,2\nb,3,4\nc,5,6\n"),
    ],
)
def test_means_and_deviations_of_a_file(weights: Path, tmp_path: Path, name: str, text: str) -> None:
    """--normalize takes them by name, or in the inputs' order where there are no names: offset and scale."""
    (tmp_path / name).write_text(text)
    command = ["import", str(weights), "-o", str(tmp_path / "m.npz"), "--channels", "a,b,c"]
    assert main([*command, "--normalize", str(tmp_path / name)]) == 0
    assert scaling_of(tmp_path / "m.npz")[:3] == [("a", "", 2, 1), ("b", "", 4, 3), ("c", "", 6, 5)]
    np.savez(tmp_path / "s.npz", mean=[1, 3, 5], std=[2, 4, 6])
    assert main([*command, "--normalize", str(tmp_path / "s.npz")]) == 0
    assert scaling_of(tmp_path / "m.npz")[2] == ("c", "", 6, 5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--channels", "a (m/s) fast,b,c"], "'fast' behind the unit of 'a (m/s) fast' is not understood"),
        (["--channels", "a (m/s) 2,b,c"], "'2' behind the unit"),
        (["--channels", "a,b"], "2 names for the 3 channels"),
        (["--normalize", "s.json"], "'a' is no channel of"),
        (["--channels", "a,b,c", "--normalize", "s.json"], "the input 'c' is not in it"),
        (["--channels", "a *2,b,c", "--normalize", "s.json"], "'a' is scaled by --channels or --outputs already"),
        (["--channels", "a,b,c", "--normalize", "zero.json"], "deviation must be above 0"),
        (["--channels", "a,b,c", "--normalize", "none.json"], "there is no such file"),
        (["--channels", "a,b,c", "--normalize", "bad.csv"], "its columns must be name, mean and std"),
        (["--channels", "a,b,c", "--normalize", "weights.npz"], "must hold mean and std"),
        (["--channels", "a,b,c", "--normalize", "list.json"], "mean and std by name are meant"),
    ],
)
def test_scaling_that_is_not_understood(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    sentence: str,
) -> None:
    """Text behind a unit, names that are none, inputs left out, a deviation of 0: exit code 2 and a sentence."""
    monkeypatch.chdir(tmp_path)
    Path("s.json").write_text('{"a": [0, 1], "b": [0, 1]}')
    Path("zero.json").write_text('{"a": [0, 1], "b": [0, 0], "c": [0, 1]}')
    Path("bad.csv").write_text("a,b,c\n1,2,3\n")
    Path("list.json").write_text("[1, 2]")
    assert main(["import", str(weights), "-o", "m.npz", *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("m.npz").exists()


def test_that_inputs_are_taken_as_raw_is_said(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import says that readings go in as they are, with the options that change it, unless a channel is scaled."""
    command = ["import", str(weights), "-o", str(tmp_path / "m.npz")]
    assert main(command) == 0
    assert "readings go into the network as they are; if it was trained on normalized ones" in capsys.readouterr().out
    assert main([*command, "--channels", "a *2,b,c"]) == 0
    assert "as they are" not in capsys.readouterr().out


def test_a_stage_shows_what_speaks_for_each_axis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--stage axes shows every assignment that was tried, the one that is taken first, with what speaks for it and its
    states, and of each other why it is refused; as JSON the same. Nothing is written."""
    source = tmp_path / "m.onnx"
    source.write_bytes((VECTORS / "lstm_window_legacy15.onnx").read_bytes())
    assert main(["import", str(source), "--stage", "axes"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.startswith("yes") and "a layer carries its state along it" in line for line in shown)
    assert main(["import", str(source), "--stage", "axes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, *others = found["rows"]
    assert (first["taken"], first["length"]) == (True, 5)
    assert "axis 1 is time" in first["axes"]
    assert all(not row["taken"] for row in others)
    assert found["refused"] is None
    assert not (tmp_path / "m.npz").exists()
    assert main(["import", str(source), "--stage", "axes", "-o", str(tmp_path / "m.npz")]) == 2
    beside = source.with_suffix(".npz")
    beside.mkdir()  # where a model could not be written
    assert main(["import", str(source), "--stage", "axes"]) == 0
    beside.rmdir()
    np.savez(beside, x=np.zeros(1))
    capsys.readouterr()
    assert main(["import", str(beside), "--stage", "read"]) == 2
    assert "--stage has no meaning for .npz files" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["read", "options", "fold", "axes", "lower", "outputs", "program"])
def test_every_stage_can_be_looked_at(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each stage has rows, in a table and as JSON."""
    words = ["import", str(VECTORS / "lstm_step_dynamo18_packed.onnx"), "--stage", stage]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stage"] == stage
    assert found["rows"]
    assert len(table.splitlines()) > len(found["rows"])


def test_a_refused_graph_shows_how_far_it_came(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of a graph that is refused --stage axes shows what was tried and which question is open; a stage that was not
    reached says why."""
    rng = np.random.default_rng(0)
    nodes = [node("MatMul", ["x", "A"], ["f"]), node("Tanh", ["f"], ["y"])]
    source = save(
        tmp_path / "m.onnx", nodes, {"A": rng.normal(0, 1, (4, 4)).astype(np.float32)}, {"x": [1, 4]}, {"y": [1, 4]}
    )
    assert main(["import", str(source), "--stage", "axes"]) == 0
    shown = capsys.readouterr().out
    assert "no memory" in shown
    assert "refused: the graph has no memory" in shown
    assert "--state x=y" in shown
    assert main(["import", str(source), "--stage", "program"]) == 0
    assert "refused: the graph has no memory" in capsys.readouterr().out
