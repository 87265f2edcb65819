"""Every engine × every promise of a stream: native at each number of lanes, the kernels as plain Python functions, the
plain engine, and ONNX Runtime.

An engine's bits are its own (only the native engine's are the same at every number of lanes); what is promised here is
what a stream in front of any of them may rely on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.timing import Timing
from edge_lstm.engines.choose import engine_for
from edge_lstm.engines.native.session import Native
from edge_lstm.engines.onnxruntime.session import OnnxRuntime
from edge_lstm.engines.plain import Plain
from edge_lstm.engines.protocol import Engine, Session
from edge_lstm.engines.status import BAD_INDEX, BAD_READING, NOT_YET, OK
from edge_lstm.errors import EdgeLstmError, ReadingError, StateError
from edge_lstm.importers import import_onnx
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.half_nets import halved
from tests.support.models.nets import network
from tests.support.models.quantized_nets import quantized_network

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "onnx"
INPUTS = 8
IN_PYTHON = os.environ.get("NUMBA_DISABLE_JIT") == "1"  # then the native engine is its kernels as plain functions
READINGS = 18 if IN_PYTHON else 40  # there a step takes milliseconds
ENGINES: dict[str, Engine] = {"kernels in Python": Native(4)} if IN_PYTHON else {
    "native, 4 lanes": Native(4),
    "native, 8 lanes": Native(8),
    "native, 16 lanes": Native(16),
    "plain": Plain(),
    "onnxruntime": OnnxRuntime(),
}  # fmt: skip
SCALED = tuple(Channel(f"a{k}", "m/s²", 2.0, 0.5) for k in range(INPUTS))


def _onnx_model(timing: Timing) -> Model:
    """A small LSTM that ONNX Runtime runs, one step with states, or a window of 5."""
    name = "lstm_window_legacy15.onnx" if timing.windowed else "lstm_step_legacy11.onnx"
    model = import_onnx(VECTORS / name, engine="onnxruntime")
    return model if timing.windowed else replace(model, timing=timing)


def readings(model: Model, count: int = READINGS, seed: int = 0) -> Floats:
    """(count, n_inputs), as anybody's."""
    width = model.program.input_size
    drawn: Floats = np.random.default_rng(seed).normal(0, 1, (count, width)).astype(np.float32)
    return drawn


def _network(timing: Timing) -> Model:
    return replace(network(units=9, inputs=INPUTS), timing=timing, inputs=SCALED)


MODELS: dict[str, Callable[[], Model]] = {
    "continuous": lambda: _network(Timing()),
    "every third from the fifth on": lambda: _network(Timing(first_output=5, stride=3)),
    "window": lambda: _network(Timing.over_window(6)),
    "window, zeros before": lambda: _network(Timing.over_window(6, "zeros")),
    "int8": lambda: quantized_network("lstm", "int8", INPUTS, 9, 3, 1, 0),
    "float16": lambda: halved(_network(Timing())),
}
ONNX_MODELS: dict[str, Callable[[], Model]] = {
    "continuous": lambda: _onnx_model(Timing()),
    "every third from the fifth on": lambda: _onnx_model(Timing(first_output=5, stride=3)),
    "whole window": lambda: _onnx_model(Timing.over_window(5, whole=True)),
}
CASES = [
    pytest.param(engine, make, id=f"{name}: {model}")
    for name, engine in ENGINES.items()
    for model, make in (ONNX_MODELS if engine.name == "onnxruntime" else MODELS).items()
]


def stepped(stream: Stream, xs: Floats) -> Floats:
    """As `run`, by steps: NaN where there is no output."""
    ys = np.full((len(xs), stream.model.program.output_size), np.nan, np.float32)
    for x, row in zip(xs, ys, strict=True):
        if (y := stream.step(x)) is not None:
            row[:] = y
    return ys


@pytest.mark.parametrize(("engine", "make"), CASES)
class TestPromises:
    """What holds for every engine and every timing."""

    def test_any_split_of_a_log_gives_the_same_bits(self, engine: Engine, make: Callable[[], Model]) -> None:
        """One run, steps, and runs of any lengths: the same bytes, outputs and memory."""
        model = make()
        xs = readings(model)
        whole, one, parts = (Stream(model, engine) for _ in range(3))
        expected = whole.run(xs)
        assert stepped(one, xs).tobytes() == expected.tobytes()
        pieces = [parts.run(xs[a:b]) for a, b in ((0, 1), (1, 1), (1, 8), (8, 9), (9, len(xs)))]
        assert np.concatenate(pieces).tobytes() == expected.tobytes()
        assert whole.snapshot() == one.snapshot() == parts.snapshot()

    def test_outputs_come_when_the_timing_says(self, engine: Engine, make: Callable[[], Model]) -> None:
        """An output with exactly the readings that `Timing.comes_with` names; None from `step` with all others."""
        model = make()
        xs = readings(model)
        there = [not np.isnan(y).any() for y in Stream(model, engine).run(xs)]
        assert there == [model.timing.comes_with(k) for k in range(1, len(xs) + 1)]
        stream = Stream(model, engine)
        assert [stream.step(x) is not None for x in xs] == there

    def test_a_refused_reading_changes_nothing(self, engine: Engine, make: Callable[[], Model]) -> None:
        """NaN, infinity and a wrong length: an error that names the channel or the row, the memory as it was, and the
        next reading as if nothing had been."""
        model = make()
        xs = readings(model)
        stream, undisturbed = Stream(model, engine), Stream(model, engine)
        stream.run(xs[:9])
        undisturbed.run(xs[:9])
        before = stream.snapshot()
        for value in (np.nan, np.inf, -np.inf):
            bad = xs[9].copy()
            bad[1] = value
            with pytest.raises(ReadingError, match=re.escape(f"in channel {model.inputs[1].name!r}")):
                stream.step(bad)
            with pytest.raises(ReadingError, match=r"^row 3 holds"):
                stream.run(np.stack([*xs[9:12], bad, xs[12]]))
        with pytest.raises(ReadingError, match="expected"):
            stream.step(xs[9][:-1])
        assert stream.snapshot() == before
        assert stream.run(xs[9:]).tobytes() == undisturbed.run(xs[9:]).tobytes()

    def test_a_snapshot_is_everything(self, engine: Engine, make: Callable[[], Model]) -> None:
        """Restored in another stream, and after a reset in the same one, it goes on to the same bits; a damaged one is
        refused and changes nothing."""
        model = make()
        xs = readings(model)
        stream, other = Stream(model, engine), Stream(model, engine)
        stream.run(xs[:13])
        snapshot, expected = stream.snapshot(), stream.run(xs[13:])
        other.restore(snapshot)
        assert other.run(xs[13:]).tobytes() == expected.tobytes()
        damaged = bytearray(snapshot)
        damaged[45] ^= 1
        before = other.snapshot()
        with pytest.raises(StateError, match="damaged"):
            other.restore(bytes(damaged))
        assert other.snapshot() == before

    def test_reset_is_the_beginning(self, engine: Engine, make: Callable[[], Model]) -> None:
        """After a reset a stream gives what a new one does."""
        model = make()
        xs = readings(model)
        stream = Stream(model, engine)
        expected = stream.run(xs)
        stream.reset()
        assert stream.snapshot() == Stream(model, engine).snapshot()
        assert stepped(stream, xs).tobytes() == expected.tobytes()

    def test_streams_are_independent(self, engine: Engine, make: Callable[[], Model]) -> None:
        """Two streams of one model share no memory; states are copies that nobody can write to."""
        model = make()
        xs = readings(model)
        one, other = Stream(model, engine), Stream(model, engine)
        beginning = other.snapshot()
        one.run(xs)
        assert other.snapshot() == beginning
        for values in one.state.values():
            assert not values.flags.writeable

    def test_the_memory_can_be_taken_up_by_name(self, engine: Engine, make: Callable[[], Model]) -> None:
        """`resume(state)` remembers what the other stream does, and where outputs come with each reading goes on to the
        same bits; infinity and unknown names are refused, and so is the state of one of a window's many."""
        model = make()
        xs = readings(model)
        one, other = Stream(model, engine), Stream(model, engine)
        one.run(xs[:10])
        if model.timing.mode == "window":
            with pytest.raises(StateError, match="remembers"):
                other.resume(one.state)
            return
        other.resume(one.state)
        assert {n: v.tobytes() for n, v in other.state.items()} == {n: v.tobytes() for n, v in one.state.items()}
        if model.timing.each:
            assert other.run(xs[10:]).tobytes() == one.run(xs[10:]).tobytes()
        with pytest.raises(StateError, match="NaN or infinity"):
            other.resume({name: np.full_like(v, np.inf) for name, v in one.state.items()})
        with pytest.raises(StateError, match="remembers"):
            other.resume({"nothing": np.zeros(1)})

    def test_streams_together_give_the_bits_of_each_alone(
        self, engine: Engine, make: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Five streams that step together, and logs of different lengths, with threads or without: each as alone; one
        that refuses a reading leaves all as they were."""
        monkeypatch.setattr("edge_lstm.streams.stream._WORTH_A_THREAD", 1)
        model = make()
        if model.timing.mode == "window" or not model.timing.each:
            with pytest.raises(ReadingError, match="use a Stream for each"):
                Streams(model, 5, engine)
            return
        logs = [readings(model, 20 - 3 * k, k) for k in range(5)]
        alone = [Stream(model, engine).run(log) for log in logs]
        together = Streams(model, 5, engine)
        for threads in (1, 2):
            got = together.run(logs, threads=threads)
            assert [y.tobytes() for y in got] == [y.tobytes() for y in alone]
            together.reset()
        for t in range(8):
            ys = together.step(np.stack([log[t] for log in logs]))
            assert [y.tobytes() for y in ys] == [y[t].tobytes() for y in alone]
        before = together.snapshot()
        bad = np.stack([log[7] for log in logs])
        bad[3, 0] = np.nan
        with pytest.raises(ReadingError, match="of stream 3"):
            together.step(bad)
        logs[2][4, 1] = np.inf
        with pytest.raises(ReadingError, match="row 4 of stream 2"):
            together.run(logs)
        assert together.snapshot() == before

    def test_a_session_keeps_the_protocol(self, engine: Engine, make: Callable[[], Model]) -> None:
        """`x` and `y` are its own arrays; statuses are those of status.py; a checkpoint takes readings back; a stream
        taken over from another session goes on as there."""
        model = make()
        session: Session = engine.open(model)
        xs = readings(model)
        assert session.x.shape == (1, model.program.input_size)
        assert session.y.shape == (1, model.program.output_size)
        session.x[0] = xs[0]
        assert session.advance() == (OK if model.timing.comes_with(1) else NOT_YET)
        at, before = session.checkpoint(), session.snapshot()
        ys = np.full((1, 9, model.program.output_size), np.nan, np.float32)
        status, taken = session.advance_many(xs[None, 1:10], ys)
        assert (status, taken) == (OK if model.timing.comes_with(10) else NOT_YET, 9)
        after = session.snapshot()
        session.back_to(at)
        assert session.snapshot() == before
        bad = xs[None, 1:10].copy()
        bad[0, 5, 0] = np.nan
        assert session.advance_many(bad, ys) == (BAD_READING, 5)
        session.back_to(at)
        other = engine.open(model)
        other.take_over(session, slice(None), slice(None))
        other.advance_many(xs[None, 1:10], ys)
        assert other.snapshot() == after
        assert isinstance(session.refusal(BAD_READING, bad[0, 5], "the reading"), ReadingError)

    def test_a_forecast_leaves_the_stream_alone(self, engine: Engine, make: Callable[[], Model]) -> None:
        """What is rolled ahead is another memory of the same engine: where the model declares no feedback it is
        refused, and the stream goes on as if nobody had asked."""
        stream = Stream(make(), engine)
        xs = readings(stream.model)
        stream.run(xs[:12])
        before = stream.snapshot()
        with pytest.raises(EdgeLstmError, match="feedback"):
            stream.forecast(3)
        assert stream.snapshot() == before


@pytest.mark.parametrize("name", [n for n, e in ENGINES.items() if e.name != "onnxruntime"])
def test_a_number_that_names_no_row_is_refused(name: str) -> None:
    """A lookup outside its table: BAD_INDEX, an error, nothing changed."""
    build = Builder()
    x = build.input("x", 1)
    h = build.state("h", 2)
    row = build.lookup(x, [[1.0, 2.0], [3.0, 4.0]])
    build.next(h, build.binary("add", row, h))
    build.output("y", h)
    model = Model(build.build(), channels_for(("x",), (1,)), channels_for(("y",), (2,)))
    session = ENGINES[name].open(model)
    session.x[0] = 2.0
    assert session.advance() == BAD_INDEX
    stream = Stream(model, ENGINES[name])
    stream.step([1.0])
    before = stream.snapshot()
    with pytest.raises(ReadingError, match="beyond the model's vocabulary"):
        stream.step([2.0])
    assert stream.snapshot() == before


@pytest.mark.skipif(IN_PYTHON, reason="here the native engine's kernels are plain Python themselves")
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_native_is_near_the_plain_formulas(make: Callable[[], Model]) -> None:
    """The plain engine is an oracle: the native engine's numbers are within float32's rounding of it (integers of
    quantized values may round the other way), and their snapshots, of the same model, are as long."""
    model = make()
    xs = readings(model)
    native, plain = Stream(model, Native()), Stream(model, Plain())
    ours, theirs = native.run(xs), plain.run(xs)
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.nanmax(np.abs(ours - theirs)) < 2e-5
    assert len(native.snapshot()) == len(plain.snapshot())


@pytest.mark.long
@pytest.mark.skipif(IN_PYTHON, reason="it is what runs this")
def test_the_kernels_in_python_keep_every_promise() -> None:
    """The same class with NUMBA_DISABLE_JIT=1, where the native engine's kernels are ordinary Python."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__))]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.skipif(IN_PYTHON, reason="one look is enough")
def test_each_model_gets_the_engine_that_runs_it() -> None:
    """ONNX Runtime for what holds a graph, the native engine for everything else; and a graph is refused elsewhere."""
    graph = _onnx_model(Timing())
    assert (engine_for(graph).name, engine_for(_network(Timing())).name) == ("onnxruntime", "native")
    for engine in (Native(), Plain()):
        with pytest.raises(EdgeLstmError, match="ONNX Runtime"):
            engine.open(graph)
    with pytest.raises(EdgeLstmError, match="holds no ONNX graph"):
        OnnxRuntime().open(_network(Timing()))
