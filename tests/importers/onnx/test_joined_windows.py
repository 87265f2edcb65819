"""Windows whose readings are joined with each other before a recurrent layer reads them (their mean taken away, a
normalization over time, backwards): time is the axis along which the layer reads, never the features, and a whole
sequence is one reading only where the caller says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import draw, generator
from tests.support.graphs.onnx_files import Array, difference, onnxruntime_run
from tests.support.graphs.step_graphs import Draft

UNITS, WIDTH = 5, 3
BACK = -(2**31) + 1


def _backwards(d: Draft, x: str) -> str:
    return d.add("Slice", x, d.whole(-1), d.whole(BACK), d.whole(1), d.whole(-1))


def _without_mean(d: Draft, x: str) -> str:
    centred = d.add("Sub", x, d.add("ReduceMean", x, axes=[1]))
    size = d.add("Sqrt", d.add("ReduceMean", d.add("Mul", centred, centred), axes=[1]))
    return d.add("Div", centred, d.add("Add", size, d.weights_of(1e-3)))


def _normalized(d: Draft, x: str) -> str:
    columns = d.add("Transpose", x, perm=[0, 2, 1])
    return d.add(
        "Transpose", d.add("InstanceNormalization", columns, d.weights(WIDTH), d.weights(WIDTH)), perm=[0, 2, 1]
    )


def _less_one(d: Draft, x: str, first: bool) -> str:
    edge = (d.whole(0), d.whole(1)) if first else (d.whole(-1), d.whole(2**31 - 1))
    return d.add("Sub", x, d.add("Slice", x, *edge, d.whole(1)))


def _sums(d: Draft, x: str) -> str:
    d.constants["axis"] = np.array(1)
    return d.add("CumSum", x, "axis", exclusive=1)


def _gated(d: Draft, x: str) -> str:
    mean = d.add("ReduceMean", x, axes=[1], keepdims=1)
    return d.add("Mul", x, d.add("Sigmoid", d.add("MatMul", mean, d.weights(WIDTH, WIDTH))))


def _attention(d: Draft, x: str) -> str:
    q, k, v = (d.add("MatMul", x, d.weights(WIDTH, WIDTH)) for _ in range(3))
    return d.add("MatMul", d.add("Softmax", d.add("MatMul", q, d.add("Transpose", k, perm=[0, 2, 1])), axis=2), v)


JOINED: dict[str, Callable[[Draft, str], str]] = {
    "backwards": _backwards,
    "less their mean": _without_mean,
    "normalized over time": _normalized,
    "less the first": lambda d, x: _less_one(d, x, True),
    "less the newest": lambda d, x: _less_one(d, x, False),
    "sums of those before": _sums,
    "gated by their mean": _gated,
    "attention": _attention,
}


def network(path: Path, make: Callable[[Draft, str], str], shape: list[Any], width: int = WIDTH) -> Path:
    """What is made of x [1, T, WIDTH], an LSTM on it, and its newest output."""
    d = Draft(generator())
    y, *_ = d.recurrent("LSTM", d.add("Transpose", make(d, "x"), perm=[1, 0, 2]), width, UNITS, [])
    newest = d.add("Gather", d.add("Squeeze", y, d.whole(1)), d.whole(-1), axis=0)
    d.add("MatMul", d.add("Squeeze", newest, d.whole(0)), d.weights(UNITS, 2), out="y")
    return d.save(path, {"x": shape}, {"y": [1, 2]})


def windows(path: Path, rows: Array, length: int) -> Array:
    """ONNX Runtime on each window of so many rows."""
    ends = range(length, len(rows) + 1)
    return np.array([onnxruntime_run(path, {"x": rows[None, t - length : t]})[0].reshape(-1) for t in ends])


@pytest.mark.parametrize("length", [6, 3])
@pytest.mark.parametrize("name", JOINED)
def test_the_axis_along_which_the_layer_reads_is_time(tmp_path: Path, name: str, length: int) -> None:
    """Without a word, as a window, and told the axis: a window of readings, equal to ONNX Runtime at each; told to take
    the features for time, it refuses."""
    path = network(tmp_path / "m.onnx", JOINED[name], [1, length, WIDTH])
    rows = draw(20, WIDTH)
    ways: list[dict[str, Any]] = [{}, {"mode": "window"}, {"time_axis": 1}, {"mode": "window", "time_axis": 1}]
    for options in ways:
        model = import_onnx(path, engine="native", **options)
        assert (model.timing.window, model.program.input_size) == (length, WIDTH)
        y = np.asarray(model.stream().run(rows))
        assert difference(y[length - 1 :], windows(path, rows, length)) < 1e-5
    for mode in ("auto", "window"):
        with pytest.raises(ImportModelError, match="time_axis = 2, but the recurrent layers read along another axis"):
            import_onnx(path, mode=mode, time_axis=2)


@pytest.mark.parametrize("name", JOINED)
def test_an_open_length_is_asked_for(tmp_path: Path, name: str) -> None:
    """Where the length is open a stream is refused with the way on, a window, which is ONNX Runtime's then."""
    path = network(tmp_path / "m.onnx", JOINED[name], [1, "T", WIDTH])
    with pytest.raises(ImportModelError, match=r"mode='window', window=T \(--mode window --window T\)"):
        import_onnx(path)
    rows = draw(20, WIDTH)
    model = import_onnx(path, mode="window", window=6)
    assert difference(np.asarray(model.stream().run(rows))[5:], windows(path, rows, 6)) < 1e-5


def test_where_every_place_is_made_of_all_alike_it_is_asked(tmp_path: Path) -> None:
    """A dense layer over the whole window in front shows no axis: the question names both, and the answer is right."""

    def mixed(d: Draft, x: str) -> str:
        flat = d.add("MatMul", d.add("Reshape", x, d.whole(1, 6 * WIDTH)), d.weights(6 * WIDTH, 4 * WIDTH))
        return d.add("Reshape", flat, d.whole(1, 4, WIDTH))

    path = network(tmp_path / "m.onnx", mixed, [1, 6, WIDTH])
    for mode in ("auto", "window"):
        with pytest.raises(ImportModelError, match="is time is not clear: say time_axis=1 or 2 "):
            import_onnx(path, mode=mode)
    rows = draw(20, WIDTH)
    model = import_onnx(path, time_axis=1)
    assert difference(np.asarray(model.stream().run(rows))[5:], windows(path, rows, 6)) < 1e-5


def test_a_lost_state_is_no_window_of_one(tmp_path: Path) -> None:
    """A graph of one reading whose layer begins from a constant has lost its state, as a window, too."""
    path = network(tmp_path / "m.onnx", lambda d, x: x, [1, 1, WIDTH])
    for options in ({}, {"window": 1}, {"time_axis": 1}, {"time_axis": 2}):
        with pytest.raises(ImportModelError, match="the state was lost when the model was exported"):
            import_onnx(path, mode="window", **options)


def test_a_reading_that_brings_its_sequence_is_said(tmp_path: Path) -> None:
    """One run as one reading, a new sequence in each, is taken where both are said, as the refusal says it."""
    path = network(tmp_path / "m.onnx", lambda d, x: x, [1, 6, WIDTH])
    with pytest.raises(ImportModelError, match="mode='window', time_axis='none'"):
        import_onnx(path, time_axis="none")
    model = import_onnx(path, mode="window", time_axis="none")
    rows = draw(5, 6 * WIDTH)
    expected = np.array([onnxruntime_run(path, {"x": row.reshape(1, 6, WIDTH)})[0].reshape(-1) for row in rows])
    assert difference(np.asarray(model.stream().run(rows)), expected) < 1e-5


def test_what_is_joined_over_a_batch_says_what_was_taken_for_it(tmp_path: Path) -> None:
    """Streams that are joined are refused with the axis that was taken for the batch, and never the features."""
    d = Draft(generator())
    y, *_ = d.recurrent("LSTM", d.add("Transpose", "x", perm=[1, 0, 2]), WIDTH, UNITS, [])
    now = d.add("Transpose", d.add("Squeeze", y, d.whole(1)), perm=[1, 0, 2])
    d.add("Sub", now, d.add("ReduceMean", now, axes=[0]), out="y")
    path = d.save(tmp_path / "m.onnx", {"x": ["B", "T", WIDTH]}, {"y": ["B", "T", UNITS]})
    with pytest.raises(ImportModelError, match=r"different streams .* \('x': axis 1 is time, axis 0 is the batch\)"):
        import_onnx(path)


@pytest.mark.parametrize("length", ["T", 6])
@pytest.mark.parametrize("at", ["front", "head"])
def test_a_batch_that_is_open_in_name_only_is_asked_for(tmp_path: Path, at: str, length: int | str) -> None:
    """A Reshape to a batch of one, traced, joins the streams of an open batch: the refusal names the batch with its
    size, and that is taken."""
    d = Draft(generator())
    x = d.add("Reshape", "x", d.whole(1, -1, WIDTH)) if at == "front" else "x"
    y, *_ = d.recurrent("LSTM", d.add("Transpose", x, perm=[1, 0, 2]), WIDTH, UNITS, [])
    now = d.add("Transpose", d.add("Squeeze", y, d.whole(1)), perm=[1, 0, 2])
    d.add("Reshape", now, d.whole(1, -1, UNITS), out="y")
    path = d.save(tmp_path / "m.onnx", {"x": ["batch", length, WIDTH]}, {"y": ["batch", length, UNITS]})
    with pytest.raises(ImportModelError, match=r"made for a batch of one, say sizes=\{'batch': 1\} \(--size batch=1\)"):
        import_onnx(path)
    model, rows = import_onnx(path, sizes={"batch": 1}, mode="continuous"), draw(6, WIDTH)
    (expected,) = onnxruntime_run(path, {"x": rows[None]})
    assert difference(np.asarray(model.stream().run(rows)), expected[0]) < 1e-5


def _quantized(d: Draft, x: str) -> str:
    """A dense layer whose product is quantized as it comes, as ONNX Runtime's tool writes it."""
    d.outputs("DynamicQuantizeLinear", [x], ["q", "scale", "zero"])
    d.constants["weights"] = d.rng.integers(-127, 127, (WIDTH, WIDTH)).astype(np.int8)
    whole = d.add("Cast", d.add("MatMulInteger", "q", "weights", "zero"), to=1)
    return d.add("Mul", whole, d.add("Mul", "scale", d.weights_of(0.01)))


OF_ONNX_RUNTIME: dict[str, Callable[[Draft, str], str]] = {
    "quantized in front": _quantized,
    "sines, backwards": lambda d, x: d.add("Sin", _backwards(d, x)),
}


@pytest.mark.parametrize("length", [6, "T"])
@pytest.mark.parametrize("name", OF_ONNX_RUNTIME)
def test_the_axis_is_found_where_only_onnx_runtime_has_an_operator(
    tmp_path: Path, name: str, length: int | str
) -> None:
    """Dynamic quantization takes its scale from all readings, so that all places change with each: the axis along which
    they change most is time. An open length is refused as a stream, with the way on."""
    path = network(tmp_path / "m.onnx", OF_ONNX_RUNTIME[name], [1, length, WIDTH])
    options: dict[str, Any] = {}
    if length == "T":
        with pytest.raises(ImportModelError, match=r"Use mode='window', window=T"):
            import_onnx(path)
        options = {"mode": "window", "window": 6}
    rows = draw(20, WIDTH)
    with pytest.warns(UserWarning, match="runs with ONNX Runtime"):
        model = import_onnx(path, **options)
    assert (model.timing.window, model.program.input_size) == (6, WIDTH)
    assert difference(np.asarray(model.stream().run(rows))[5:], windows(path, rows, 6)) < 1e-6


def test_an_axis_that_no_probe_shows_is_believed_for_a_window(tmp_path: Path) -> None:
    """Where an operator that only ONNX Runtime has joins all readings alike, the question names the axes; the answer is
    taken for a window, and refused where a layer reads along another axis."""

    def waves(d: Draft, x: str) -> str:
        return d.add("Sin", _without_mean(d, x))

    path, rows = network(tmp_path / "m.onnx", waves, [1, 6, WIDTH]), draw(20, WIDTH)
    with pytest.raises(ImportModelError, match=r"For a window of readings say time_axis=1 or 2 "):
        import_onnx(path)
    with pytest.warns(UserWarning, match="runs with ONNX Runtime"):
        model = import_onnx(path, time_axis=1)
    assert difference(np.asarray(model.stream().run(rows))[5:], windows(path, rows, 6)) < 1e-6
    plain = network(tmp_path / "plain.onnx", lambda d, x: d.add("Sin", x), [1, 6, WIDTH])
    with pytest.raises(ImportModelError, match="no recurrent layer's sequence follows axis 2 of the inputs"):
        import_onnx(plain, time_axis=2)


def test_an_open_length_is_no_lost_state(tmp_path: Path) -> None:
    """Where all readings of an open length are joined, ONNX Runtime's importer does not speak of a lost state; where
    the sequence is one reading whatever is open, it does."""

    def waves(d: Draft, x: str) -> str:
        return d.add("Sin", _without_mean(d, x))

    path = network(tmp_path / "open.onnx", waves, [1, "T", WIDTH])
    with pytest.raises(ImportModelError, match=r"say time_axis=1 or 2 .* and window=T") as refused:
        import_onnx(path)
    assert "state was lost" not in str(refused.value)
    lost = network(tmp_path / "lost.onnx", lambda d, x: d.add("Sin", x), [1, 1, WIDTH])
    with pytest.raises(ImportModelError, match="state was lost"):
        import_onnx(lost)


def _edges(d: Draft, y: str) -> str:
    parts = [d.add("Slice", y, d.whole(0), d.whole(1), d.whole(1)), d.add("Slice", y, d.whole(-1), "end", d.whole(1))]
    return d.add("Concat", *parts, axis=2)


def _counted(d: Draft, y: str, make: Callable[[str], str]) -> str:
    """y times what is made of the numbers 0 … T - 1 of its readings, as floats."""
    count = d.add("Squeeze", d.add("Slice", d.add("Shape", "x"), d.whole(1), d.whole(2), d.whole(0)), d.whole(0))
    zero, one = (d.add("Squeeze", d.whole(k)) for k in (0, 1))
    numbers = d.add("Cast", d.add("Range", zero, count, one), to=1)
    return d.add("Mul", y, d.add("Reshape", make(numbers), d.whole(1, -1, 1)))


SHOWN: dict[str, Callable[[Draft, str], str]] = {
    "turned round": _backwards,
    "the one before": lambda d, y: d.add("Slice", y, d.whole(-2), d.whole(-1), d.whole(1)),
    "the first and the newest": _edges,
    "weighed by their number": lambda d, y: _counted(d, y, lambda n: d.add("Exp", d.add("Neg", n))),
    "their product": lambda d, y: d.add("ReduceProd", y, axes=[1]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_outputs_that_no_stream_can_show_have_a_way_on(tmp_path: Path, name: str) -> None:
    """Over an open length the refusal of what an output shows names the window, which is then ONNX Runtime's."""
    d = Draft(generator())
    d.constants["end"] = np.array([2**31 - 1])
    y, *_ = d.recurrent("LSTM", d.add("Transpose", "x", perm=[1, 0, 2]), WIDTH, UNITS, [])
    d.add("Identity", SHOWN[name](d, d.add("Transpose", d.add("Squeeze", y, d.whole(1)), perm=[1, 0, 2])), out="y")
    path = d.save(tmp_path / "m.onnx", {"x": [1, "T", WIDTH]}, {"y": [1, "N", "M"]})
    with pytest.raises(ImportModelError, match=r"Use mode='window', window=T \(--mode window --window T\)"):
        import_onnx(path)
    rows = draw(20, WIDTH)
    model = import_onnx(path, mode="window", window=6)
    assert difference(np.asarray(model.stream().run(rows))[5:], windows(path, rows, 6)) < 1e-5
