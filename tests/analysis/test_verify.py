"""verify: a model equal to its graph passes with every timing; one changed weight is found, with its step."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

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
from tests.support.graphs.onnx_files import Array, node, onnxruntime_run, save

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


@pytest.mark.parametrize("scheme", ["int8", "int8-weights", "float16"])
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


def softmax_file(path: Path, classes: int, amplitude: float) -> Path:
    """An LSTM over a window of 33, and the softmax of logits far from zero."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return (rng.normal(size=shape) * 0.5).astype(np.float32)

    constants = {"W": draw(1, 64, 3) * 2, "R": draw(1, 64, 16) * 2, "B": draw(1, 128)}
    constants |= {"D": draw(16, classes) * np.float32(2 * amplitude), "d": draw(classes), "zero": np.array([0])}
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "W", "R", "B"], ["Y", "Yh"], hidden_size=16),
        node("Squeeze", ["Yh", "zero"], ["q"]),
        node("MatMul", ["q", "D"], ["m"]),
        node("Add", ["m", "d"], ["a"]),
        node("Softmax", ["a"], ["y"], axis=-1),
    ]
    return save(path, nodes, constants, {"x": [1, 33, 3]}, {"y": [1, classes]}, opset=13)


@pytest.mark.parametrize(("classes", "amplitude"), [(50, 10), (50, 30), (5, 50)])
def test_rounding_of_float32_itself_is_no_alarm(tmp_path: Path, classes: int, amplitude: float) -> None:
    """Probabilities of large logits part by more than the tolerance in any two float32 runtimes: as far as the model
    itself is from float64 they agree, and the report has the true difference. A wrong weight is found all the same."""
    path = softmax_file(tmp_path / "m.onnx", classes, amplitude)
    model = import_onnx(path)
    report = verify(model, path, short=True)
    assert report.ok
    assert errors(report) == pytest.approx(true_errors(model, path))
    assert not verify(off_by(model, 0, 1e-2), path, short=True).ok


def test_what_is_chaotic_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a network that amplifies the last bit until it decides everything, the readings before that are compared, the
    others are counted as left out, and none of them is called equal; a wrong weight is found in the first ones."""
    rng = np.random.default_rng(1)
    constants = {
        "W": rng.normal(0, 1, (1, 16, 2)),
        "R": rng.normal(0, 0.7, (1, 16, 16)),
        "M": rng.normal(0, 1, (16, 1)),
    }
    nodes = [
        node("RNN", ["x", "W", "R", "", "", "h_in"], ["Y", "h_out"], hidden_size=16),
        node("Squeeze", ["h_out", "zero"], ["h"]),
        node("MatMul", ["h", "M"], ["y"]),
    ]
    ins, outs = {"x": [1, 1, 2], "h_in": [1, 1, 16]}, {"y": [1, 1], "h_out": [1, 1, 16]}
    floats = {k: v.astype(np.float32) for k, v in constants.items()} | {"zero": np.array([0])}
    path = save(tmp_path / "m.onnx", nodes, floats, ins, outs, opset=13)
    model = import_onnx(path)
    long = next(run for run in verify(model, path).runs if run.name == "long")
    assert long.unjudged == long.steps - long.compared > 0
    assert long.error < 0.1
    assert not long.ok  # too few of 10,000 are left
    assert all(run.error < 0.1 and not run.unjudged for run in verify(model, path, short=True).runs)
    assert not verify(off_by(model, 0, 1e-3), path, short=True).ok
    edge_lstm.save(model, tmp_path / "m.npz")
    assert main(["verify", str(tmp_path / "m.npz"), "--against", str(path)]) == 1
    assert "readings are left out: there rounding alone may move" in capsys.readouterr().out


@pytest.mark.parametrize("length", [33, 34, 100])
def test_chunks_of_any_length_are_compared_chunk_after_chunk(tmp_path: Path, length: int) -> None:
    """A graph for so many readings that hands its states on is one continuous stream, and equals ONNX Runtime over
    chunks of that length. A log that holds no whole chunk is a sentence."""
    rng = np.random.default_rng(0)
    constants = {
        "W": rng.normal(0, 0.5, (1, 12, 2)),
        "R": rng.normal(0, 0.5, (1, 12, 3)),
        "D": rng.normal(0, 0.5, (3, 1)),
    }
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "W", "R", "", "", "h0", "c0"], ["Y", "hn", "cn"], hidden_size=3),
        node("Squeeze", ["Y", "one"], ["Ys"]),
        node("Transpose", ["Ys"], ["Yb"], perm=[1, 0, 2]),
        node("MatMul", ["Yb", "D"], ["y"]),
    ]
    floats = {k: v.astype(np.float32) for k, v in constants.items()} | {"one": np.array([1])}
    ins, outs = (
        {"x": [1, length, 2], "h0": [1, 1, 3], "c0": [1, 1, 3]},
        {"y": [1, length, 1], "hn": [1, 1, 3], "cn": [1, 1, 3]},
    )
    path = save(tmp_path / "m.onnx", nodes, floats, ins, outs, opset=13)
    model = import_onnx(path)
    assert (model.timing.mode, model.timing.first_output, model.program.output_size) == ("continuous", 1, 1)
    report = verify(model, path, short=True)
    assert report.ok
    assert min(run.compared for run in report.runs) >= length
    rows = np.random.default_rng(2).normal(0, 1, (3 * length, 2)).astype(np.float32)
    h = c = np.zeros((1, 1, 3), np.float32)
    expected = []
    for k in range(3):
        y, h, c = onnxruntime_run(path, {"x": rows[None, k * length : (k + 1) * length], "h0": h, "c0": c})
        expected.append(y[0])
    assert np.abs(np.asarray(model.stream().run(rows)) - np.concatenate(expected)).max() < 1e-6
    with pytest.raises(ImportModelError, match="too short to compare"):
        verify(model, path, log=rows[: length - 1], short=True)


def masked_policy(path: Path) -> Path:
    """A recurrent actor and critic whose states an input blanks, as 1 - episode_start."""
    rng = np.random.default_rng(3)
    constants: dict[str, Array] = {"zero": np.array([0]), "1": np.array(1, np.float32), "shape": np.array([1, -1, 1])}
    nodes = [
        node("Unsqueeze", ["observation", "zero"], ["x"]),
        node("Sub", ["1", "episode_start"], ["inverse"]),
        node("Reshape", ["inverse", "shape"], ["keep"]),
    ]
    ins: dict[str, list[Any]] = {"observation": [1, 5]}
    outs: dict[str, list[Any]] = {}
    for name, count in (("pi", 2), ("vf", 1)):
        for part, shape in (("W", (1, 32, 5)), ("R", (1, 32, 8)), ("M", (8, count))):
            constants[f"{name}_{part}"] = rng.normal(0, 0.5, shape).astype(np.float32)
        nodes += [node("Mul", ["keep", f"{name}_{s}"], [f"{name}_{s}_kept"]) for s in "hc"]
        states = [f"{name}_h_kept", f"{name}_c_kept"]
        after = [f"{name}_h_out", f"{name}_c_out"]
        nodes.append(
            node("LSTM", ["x", f"{name}_W", f"{name}_R", "", "", *states], [f"{name}_Y", *after], hidden_size=8)
        )
        nodes.append(node("Squeeze", [f"{name}_h_out", "zero"], [f"{name}_s"]))
        nodes.append(node("MatMul", [f"{name}_s", f"{name}_M"], [f"{name}_y"]))
        ins |= {f"{name}_{s}": [1, 1, 8] for s in "hc"}
        outs |= {f"{name}_y": [1, count]} | {one: [1, 1, 8] for one in after}
    return save(path, nodes, constants, ins | {"episode_start": [1]}, outs)


def test_masks_of_states_are_fed_0_and_1(tmp_path: Path) -> None:
    """An input that the states are multiplied with (1 - episode_start) gets 0 and 1 in a comparison, for some readings
    each: -30 would make the states grow without end, and no two runtimes would agree. The stream equals ONNX Runtime
    with its states handed on and blanked."""
    path = masked_policy(tmp_path / "m.onnx")
    model = import_onnx(path)
    names = [c.name for c in model.inputs]
    assert names[5:] == ["episode_start"]
    draw = Readings(model, graph_of(model, path), np.random.default_rng(0))
    for _, rows in runs(draw, short=False):
        assert set(np.unique(rows[:, 5])) == {0, 1}
        assert 2 < np.abs(np.diff(rows[:, 5])).sum() < len(rows) / 4
        assert np.abs(rows[:, :5]).max() > 2
    report = verify(model, path)
    assert report.ok
    assert report.error < TOLERANCE
    states = {f"{name}_{s}": np.zeros((1, 1, 8), np.float32) for name in ("pi", "vf") for s in "hc"}
    stream = model.stream()
    for t in range(20):
        x = (((3 * t + np.arange(5)) % 7 - 3) / 3).astype(np.float32)
        start = np.array([t in (0, 5)], np.float32)
        results = onnxruntime_run(path, {"observation": x[None], "episode_start": start, **states})
        found = dict(zip(["pi_y", "pi_h", "pi_c", "vf_y", "vf_h", "vf_c"], results, strict=True))
        states = {n: found[n] for n in states}
        y = stream.step(np.concatenate([x, start]))
        assert y is not None
        assert np.abs(y - np.concatenate([found["pi_y"], found["vf_y"]], axis=1)[0]).max() < 1e-6
