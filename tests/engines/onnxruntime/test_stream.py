"""ONNX Runtime behind the same Stream: its numbers, its memory, its refusals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.errors import ReadingError, StateError
from edge_lstm.importers import import_onnx
from edge_lstm.streams import stream as streams_module
from edge_lstm.streams.pool import with_help
from tests.support.graphs.fallback_graphs import CASES, Case, readings

EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def model_of(case: Case, folder: Path) -> tuple[Model, Path]:
    path = case.make(folder / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_onnx(path, **case.options), path


@EACH
def test_every_output_is_what_onnx_runtime_gives(case: Case, tmp_path: Path) -> None:
    """Over 200 readings: the same bits as single calls of ONNX Runtime, and 1e-6 of the range to a whole sequence."""
    model, path = model_of(case, tmp_path)
    rows = readings(case, 200)
    expected, y = case.expected(path, rows), model.stream().run(rows)
    assert y.shape == expected.shape
    assert np.array_equal(np.isnan(y), np.isnan(expected))
    assert np.isfinite(y[-1]).all()
    if case.exact:
        assert np.array_equal(y, expected.astype(np.float32), equal_nan=True)
    assert np.nanmax(np.abs(y - expected)) <= 1e-6 * (np.nanmax(expected) - np.nanmin(expected))


@EACH
def test_single_readings_and_logs_give_the_same_bits(case: Case, tmp_path: Path) -> None:
    """Any mixture of step, run and snapshots, in this stream or another one, comes to the same bits."""
    model, _ = model_of(case, tmp_path)
    rows = readings(case, 40)
    whole = model.stream().run(rows)
    stream, other, found = model.stream(), model.stream(), []
    found.append(stream.run(rows[:7]))
    for row in rows[7:20]:
        y = stream.step(row)
        found.append(np.full((1, whole.shape[1]), np.nan) if y is None else y[None].copy())
    other.run(rows[::-1])
    other.restore(stream.snapshot())
    stream.reset()
    found.append(other.run(rows[20:]))
    assert np.array_equal(np.concatenate(found), whole, equal_nan=True)
    assert np.array_equal(stream.run(rows), whole, equal_nan=True)


@EACH
def test_a_refused_reading_changes_nothing(case: Case, tmp_path: Path) -> None:
    """NaN, a wrong length, an index outside a table: an error, alone or within a log, and the memory is as before."""
    model, _ = model_of(case, tmp_path)
    rows = readings(case, 30)
    stream, other = model.stream(), model.stream()
    stream.run(rows[:15])
    other.run(rows[:15])
    before = stream.snapshot()
    bad = [np.full(rows.shape[1], np.nan, np.float32), np.zeros(rows.shape[1] + 1, np.float32)]
    bad += [np.full(1, 6, np.float32)] if case.whole_numbers else []
    for x in bad:
        with pytest.raises(ReadingError):
            stream.step(x)
        assert stream.snapshot() == before
    for x in (b for b in bad if b.size == rows.shape[1]):
        with pytest.raises(ReadingError, match="row 3"):
            stream.run(np.concatenate([rows[15:18], x[None], rows[18:]]))
        assert stream.snapshot() == before
    assert np.array_equal(stream.run(rows[15:]), other.run(rows[15:]))


@EACH
def test_several_streams_are_each_their_own(case: Case, tmp_path: Path) -> None:
    """Streams side by side have the bits of a Stream each, in steps and in logs of different lengths."""
    model, _ = model_of(case, tmp_path)
    logs = [readings(case, count, seed) for seed, count in enumerate((6, 9, 4))]
    if model.timing.first_output > 1:
        with pytest.raises(ReadingError, match="has no output with every reading"):
            model.streams(3)
        return
    alone = [model.stream().run(log) for log in logs]
    streams = model.streams(3)
    for t in range(4):
        assert np.array_equal(streams.step(np.stack([log[t] for log in logs])), np.stack([y[t] for y in alone]))
    streams.reset()
    assert all(np.array_equal(a, b) for a, b in zip(streams.run(logs), alone, strict=True))


def test_logs_of_a_graph_are_dealt_out_to_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred readings are: ONNX Runtime takes a thousand times as long for one as the native engine."""
    model, _ = model_of(CASES["LSTM and Sin"], tmp_path)
    asked: list[int] = []

    def noting(threads: int, work: Callable[[], int]) -> list[int]:
        asked.append(threads)
        return with_help(threads, work)

    monkeypatch.setattr(streams_module, "with_help", noting)
    logs = [readings(CASES["LSTM and Sin"], 60, seed) for seed in range(4)]
    found = model.streams(4).run(logs, threads=2)
    assert asked == [2]
    assert all(np.array_equal(y, model.stream().run(log)) for y, log in zip(found, logs, strict=True))


def test_states_have_names_and_can_be_taken_up(tmp_path: Path) -> None:
    """The states inside a sequence graph are read by layer, and another stream goes on from them."""
    model, _ = model_of(CASES["LSTM and Sin"], tmp_path)
    rows = readings(CASES["LSTM and Sin"], 20)
    stream, other = model.stream(), model.stream()
    whole = stream.run(rows)
    assert {name: v.shape for name, v in stream.state.items()} == {"n_Y.h": (5,), "n_Y.c": (5,)}
    assert np.allclose(np.sin(stream.state["n_Y.h"]), whole[-1], atol=1e-6)
    stream.reset()
    stream.run(rows[:10])
    other.resume(stream.state)
    assert np.array_equal(other.run(rows[10:]), whole[10:])
    with pytest.raises(StateError, match=r"remembers n_Y\.h"):
        other.resume({"h": np.zeros(5)})


def test_a_learned_initial_state_is_where_it_begins(tmp_path: Path) -> None:
    """The reset state is the graph's own, not zero."""
    model, _ = model_of(CASES["2 GRU and com.microsoft.Gelu"], tmp_path)
    begin = model.stream().state
    assert np.abs(begin["n_Y.h"]).min() > 0
    assert not begin["n_Y2.h"].any()


def test_physical_units_are_scaled_as_on_the_machine(tmp_path: Path) -> None:
    """(x - offset) / scale goes in, y * scale + offset comes out."""
    case = CASES["LSTM step and TopK"]
    model, path = model_of(case, tmp_path)
    inputs = tuple(Channel(c.name, "", 2.0, 3.0) for c in model.inputs)
    outputs = tuple(Channel(c.name, "", 0.5, -1.0) for c in model.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaled = import_onnx(path, inputs=inputs, outputs=outputs)
    rows = readings(case, 10)
    assert np.array_equal(scaled.stream().run(rows * 2 + 3), model.stream().run((rows * 2 + 3 - 3) / 2) * 0.5 - 1)
    assert scaled.digest != model.digest


@pytest.mark.parametrize("name", ["window of 12", "attention"])
def test_zeros_before_the_first_window(name: str, tmp_path: Path) -> None:
    """before_window = "zeros": an output from the first reading on, that of the window with zeros in front."""
    case = CASES[name]
    _, path = model_of(case, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = import_onnx(path, before_window="zeros", **case.options)
    rows = readings(case, 20)
    length = model.provenance["window"]
    padded = np.concatenate([np.zeros((length - 1, rows.shape[1]), np.float32), rows])
    assert np.array_equal(model.stream().run(rows), case.expected(path, padded)[length - 1 :].astype(np.float32))


def test_streams_of_one_model_in_several_threads(tmp_path: Path) -> None:
    """They share the session, and each has the bits it has alone."""
    model, _ = model_of(CASES["LSTM and Sin"], tmp_path)
    logs = [readings(CASES["LSTM and Sin"], 300, seed) for seed in range(4)]
    alone = [model.stream().run(log) for log in logs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda log: model.stream().run(log), logs))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
