"""verify: a model equal to its graph passes with every timing; one changed weight is found, with its step."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest

import edge_lstm
from edge_lstm.analysis.verify import TOLERANCE, Readings, Report, Run, graph_of, oracle, outputs, runs, verify
from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.errors import EdgeLstmError, ImportModelError, ReadingError
from edge_lstm.importers import import_onnx
from edge_lstm.quantization import quantize
from tests.support.graphs.heads import head_file
from tests.support.graphs.onnx_files import node

FOLDER = Path(__file__).parents[1] / "vectors" / "onnx"
MEANINGS = {
    "step": "lstm_step_legacy11",
    "open sequence": "gru_seq_legacy11",
    "newest output only": "lstm_seq_legacy14_last_perceptron",
    "window": "lstm_window_dynamo18",
    "rolled up": "rnn_window_dynamo18",
}


def spoilt(model: Model) -> Model:
    """The model with one weight of its first dense layer changed by a thousandth."""
    operations = list(model.program.operations)
    k = next(k for k, op in enumerate(operations) if op.kind == "dense")
    weight = operations[k].weights["W"].copy()
    weight.flat[0] += 1e-3
    weight.flags.writeable = False
    operations[k] = dataclasses.replace(operations[k], weights={**operations[k].weights, "W": weight})
    return dataclasses.replace(model, program=dataclasses.replace(model.program, operations=tuple(operations)))


@pytest.mark.parametrize("name", MEANINGS.values(), ids=MEANINGS)
def test_a_model_equals_its_graph_in_every_meaning_in_time(name: str) -> None:
    """Random readings, saturation, large steps and 10,000 steps are within 1e-5 of the output's range."""
    path = FOLDER / f"{name}.onnx"
    report = verify(import_onnx(path), path)
    assert {run.name for run in report.runs} == {"random", "saturation", "large steps", "long"}
    assert max(run.steps for run in report.runs) == 10_000
    assert report.ok, report


@pytest.mark.parametrize("name", MEANINGS.values(), ids=MEANINGS)
def test_a_changed_weight_is_found(name: str) -> None:
    """One weight off by a thousandth is beyond the tolerance, and the first such step is named."""
    path = FOLDER / f"{name}.onnx"
    report = verify(spoilt(import_onnx(path)), path, short=True)
    assert not report.ok
    assert any(run.first_step >= 0 for run in report.runs)


def off_by(model: Model, row: int, amount: float) -> Model:
    """The model with one weight of this row of its dense layer changed."""
    operations = list(model.program.operations)
    k = next(k for k, op in enumerate(operations) if op.kind == "dense")
    weight = operations[k].weights["W"].copy()
    weight[row, 0] += amount
    weight.flags.writeable = False
    operations[k] = dataclasses.replace(operations[k], weights={**operations[k].weights, "W": weight})
    return dataclasses.replace(model, program=dataclasses.replace(model.program, operations=tuple(operations)))


@pytest.mark.parametrize(
    ("gain", "offset", "wrong"),
    [(1, 0, 1e-3), (1e-3, 1, 1e-5), (1e-3, -50, 1e-3), (1e-6, 0, 1e-8), (1e3, 0, 1), (1e3, 1e5, 1)],
)
def test_a_changed_weight_is_found_in_an_output_that_hardly_changes(
    tmp_path: Path, gain: float, offset: float, wrong: float
) -> None:
    """One wrong weight is found though the output is nearly constant or tiny, as soon as the output's own float32 can
    hold the difference, and though a thousand times larger one stands beside it."""
    rng = np.random.default_rng(3)
    M = (rng.normal(0, 1, (4, 2)) * [gain, 1000 * gain]).astype(np.float32)
    nodes = [node("MatMul", ["h", "M"], ["m"]), node("Add", ["m", "b"], ["y"])]
    path = head_file(tmp_path / "m.onnx", nodes, {"M": M, "b": np.array([offset, 0], np.float32)}, width=2)
    model = import_onnx(path)
    assert verify(model, path, short=True).ok
    assert not verify(off_by(model, 0, wrong), path, short=True).ok


def true_errors(model: Model, path: Path) -> list[float]:
    """Of each short run: the largest difference of any number, as a part of that number's range, counted once more."""
    graph, found, known = graph_of(model, path), [], None
    for _, rows in runs(Readings(model, graph, np.random.default_rng(0)), short=True):
        steps, expected = oracle(model, graph, rows.astype(np.float32))
        extent = np.ptp(expected, axis=0)
        known = extent if known is None else np.maximum(known, extent)
        found.append(float((np.abs(outputs(model, rows.astype(np.float32))[steps] - expected) / known).max()))
    return found


def errors(report: Report) -> list[float]:
    return [run.error for run in report.runs]


@pytest.mark.parametrize("scheme", ["int8", "int8-weights"])
def test_a_quantized_error_is_told_whole(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a quantized model the error is the difference as a part of the output's range, nothing being put down to
    rounding; the report notes that it is quantized; exit code 1 beyond the tolerance, 0 within it."""
    path = FOLDER / "gru_seq_legacy11.onnx"
    model = import_onnx(path)
    seen = np.random.default_rng(1).normal(0, 1, (500, model.program.input_size)).astype(np.float32)
    made = quantize(model, seen, scheme)  # type: ignore[arg-type]
    report = verify(made, path, short=True)
    assert errors(report) == pytest.approx(true_errors(made, path))
    assert not any(run.ok or run.rounding for run in report.runs)
    assert "the model is quantized" in report.notes[0]
    assert not verify(model, path, short=True).notes
    edge_lstm.save(made, tmp_path / "m.npz")
    command = ["verify", str(tmp_path / "m.npz"), "--against", str(path)]
    assert main(command) == 1
    assert "the model is quantized: errors are expected" in capsys.readouterr().out
    assert main([*command, "--tolerance", "1"]) == 0


def test_rounding_alone_is_no_difference(tmp_path: Path) -> None:
    """An output that is a hundred thousandth of the sum it is left over from passes; and the report says how far
    rounding moves it, and how far off it is, as a part of its true range."""
    nodes = [node("MatMul", ["h", "M"], ["m"]), node("Add", ["m", "b"], ["a"]), node("Sub", ["a", "b"], ["y"])]
    constants = {"M": np.full((4, 1), 0.01, np.float32), "b": np.array([1000], np.float32)}
    path = head_file(tmp_path / "m.onnx", nodes, constants, width=1)
    model = import_onnx(path)
    report = verify(model, path, short=True)
    assert report.ok
    assert max(run.rounding for run in report.runs) > 1e-3
    assert report.error > TOLERANCE
    assert errors(report) == pytest.approx(true_errors(model, path))


def test_channels_in_physical_units_are_compared_in_the_networks(tmp_path: Path) -> None:
    """Scale and offset of channels are no difference."""
    path = FOLDER / "gru_step_legacy14.onnx"
    model = import_onnx(path)
    inputs = tuple(Channel(c.name, "V", 3.0, 1.0) for c in model.inputs)
    outputs = tuple(Channel(c.name, "A", 0.5, -1.0) for c in model.outputs)
    log = np.random.default_rng(0).normal(1, 3, (50, len(inputs)))
    report = verify(dataclasses.replace(model, inputs=inputs, outputs=outputs), path, log=log, short=True)
    assert report.ok
    assert report.runs[-1].name == "log"


def test_a_model_of_another_graph_is_refused(tmp_path: Path) -> None:
    """A file that the model was not made from is an error, not a difference."""
    model = import_onnx(FOLDER / "lstm_step_legacy11.onnx")
    with pytest.raises(ImportModelError, match="was made from another file"):
        verify(model, FOLDER / "rnn_seq_legacy11.onnx")
    with pytest.raises(ImportModelError, match="not made from an ONNX file"):
        verify(dataclasses.replace(model, timing=Timing()), FOLDER / "lstm_step_legacy11.onnx")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 where they are equal, 1 where not; --json holds every run; a CSV log is compared too."""
    path = FOLDER / "gru_step_legacy14.onnx"
    model = import_onnx(path)
    edge_lstm.save(model, tmp_path / "good.npz")
    edge_lstm.save(spoilt(model), tmp_path / "bad.npz")
    names = [c.name for c in model.inputs]
    lines = [",".join(["t", *names]), *(",".join(map(str, [0.01 * k, *[0.1 * k] * len(names)])) for k in range(20))]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    arguments = ["--against", str(path), "--log", str(tmp_path / "log.csv"), "--json"]
    assert main(["verify", str(tmp_path / "good.npz"), *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    assert found["runs"][-1]["name"] == "log"
    assert main(["verify", str(tmp_path / "bad.npz"), "--against", str(path)]) == 1
    assert "from step" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "good.npz"), "--against", str(tmp_path / "none.onnx")]) == 2


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        *(("--tolerance", value, "above 0 and at most 1") for value in ("0", "-1", "nan", "inf", "2")),
        ("--seed", "-1", "x>=0"),
        ("--channels", "a,b", "no meaning without --log"),
    ],
)
def test_options_beyond_their_range(
    option: str, value: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tolerance that is not above 0 and at most 1, a negative seed, columns of no log: exit code 2 and a sentence,
    and an error in Python."""
    path = FOLDER / "gru_step_legacy14.onnx"
    model = import_onnx(path)
    edge_lstm.save(model, tmp_path / "m.npz")
    assert main(["verify", str(tmp_path / "m.npz"), "--against", str(path), option, value]) == 2
    err = capsys.readouterr().err
    assert option in err
    assert words in err
    if option != "--channels":
        given = {option[2:]: float(value) if option == "--tolerance" else int(value)}
        with pytest.raises(EdgeLstmError, match=f"{option[2:]} = "):
            verify(model, path, short=True, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "log", [[], np.zeros((0, 3)), np.zeros((5, 4)), np.zeros(3), [[1, 2, 3], [1]], [["a", "b", "c"]], [[0, np.nan, 0]]]
)
def test_a_log_that_is_none(log: list[object]) -> None:
    """No reading, another width, ragged rows, words, NaN: a ReadingError, nothing else."""
    path = FOLDER / "gru_step_legacy14.onnx"
    with pytest.raises(ReadingError):
        verify(import_onnx(path), path, log=log, short=True)  # type: ignore[arg-type]


def test_columns_of_a_log_that_have_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a log's columns are not called as the channels, the error names --channels, and --channels matches them."""
    path = FOLDER / "gru_step_legacy14.onnx"
    model = import_onnx(path)
    edge_lstm.save(model, tmp_path / "m.npz")
    titles = [f"column {k}" for k in range(len(model.inputs))]
    rows = [",".join(["t", *titles, "more"]), *(",".join(["1"] * (len(titles) + 2)) for _ in range(3))]
    for k in range(1, 4):
        rows[k] = f"{k}{rows[k][1:]}"
    (tmp_path / "log.csv").write_text("\n".join(rows))
    command = ["verify", str(tmp_path / "m.npz"), "--against", str(path), "--log", str(tmp_path / "log.csv")]
    assert main(command) == 2
    assert "--channels" in capsys.readouterr().err
    assert main([*command, "--channels", ",".join(titles)]) == 0
    assert "log " in capsys.readouterr().out


def test_another_file_with_the_same_graph_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of other bytes than the one imported is compared all the same, and the report notes that it is another."""
    path, other = FOLDER / "gru_step_legacy14.onnx", tmp_path / "other.onnx"
    proto = onnx.load(path)
    proto.doc_string = "exported again"
    onnx.save(proto, other)
    edge_lstm.save(import_onnx(path), tmp_path / "m.npz")
    for file, noted in ((path, False), (other, True)):
        assert main(["verify", str(tmp_path / "m.npz"), "--against", str(file)]) == 0
        assert ("this is not the file the model was imported from" in capsys.readouterr().out) == noted


def test_an_infinite_error_is_null_in_json() -> None:
    """JSON has no infinity: where one side is NaN, the error is null."""
    run = Run("random", "y", 3, 3, math.inf, 0, 0)
    assert Report(TOLERANCE, (run,)).as_json()["runs"][0]["error"] is None
