"""A stream: bits equal however a log is cut, errors that change nothing, snapshots, windows, threads."""

from __future__ import annotations

import dataclasses
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native import session
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.session import Native, NativeSession
from edge_lstm.errors import ReadingError, StateError
from edge_lstm.quantization import quantize
from edge_lstm.streams import pool
from edge_lstm.streams import stream as streams_module
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.nets import CELLS, network, readings


@pytest.fixture(autouse=True, scope="module")
def every_log_is_worth_a_thread():
    """Logs of a test are short; left alone they would all be taken by one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams_module, "_WORTH_A_THREAD", 1)
        yield


def stepped(stream: Stream, xs) -> bytes:
    """All outputs of `step`, as bytes; NaN where there is none."""
    nothing = np.full(stream.model.program.output_size, np.nan, np.float32)
    return b"".join((nothing if (y := stream.step(x)) is None else y).tobytes() for x in xs)


@given(
    kind=st.sampled_from(CELLS),
    cuts=st.lists(st.tuples(st.booleans(), st.integers(1, 30)), min_size=1, max_size=8),
    window=st.sampled_from([None, 1, 2, 7]),
    seed=st.integers(0, 1000),
)
def test_any_mixture_of_step_and_run_gives_the_same_bits(kind, cuts, window, seed):
    """A log gives the same bits in one run, reading by reading, and in any mixture, in both meanings of time."""
    model = network(kind, units=11, seed=seed, window=window)
    xs = readings(sum(n for _, n in cuts), 8, seed)
    whole = model.stream()
    expected = whole.run(xs).tobytes()
    mixed, start, got = model.stream(), 0, b""
    for as_run, n in cuts:
        part = xs[start : start + n]
        got += mixed.run(part).tobytes() if as_run else stepped(mixed, part)
        start += n
    assert got == expected
    assert mixed.snapshot() == whole.snapshot()


@settings(max_examples=20)
@given(kind=st.sampled_from(CELLS), window=st.integers(1, 9), seed=st.integers(0, 1000))
def test_a_window_gives_exactly_what_the_last_readings_give_alone(kind, window, seed):
    """In window mode each output has the bits of a fresh stream that takes just the last T readings."""
    model = network(kind, units=9, seed=seed, window=window)
    alone = Model(model.program, model.inputs, model.outputs)
    xs = readings(25, 8, seed)
    got = model.stream().run(xs)
    assert np.isnan(got[: window - 1]).all()
    for t in range(window - 1, len(xs)):
        assert got[t].tobytes() == alone.stream().run(xs[t - window + 1 : t + 1])[-1].tobytes()


def test_step_says_not_yet_until_the_first_window_is_full():
    """Before T readings, step of a window model returns None; from then on an output."""
    stream = network(window=3).stream()
    assert [stream.step(x) is None for x in readings(5, 8)] == [True, True, False, False, False]


def test_a_model_speaks_when_it_says():
    """With ready = 3 and every = 2, outputs come at the readings 3, 5, 7, ..., with the bits of a model that always
    speaks."""
    plain = network("gru")
    model = dataclasses.replace(plain, timing=Timing(first_output=3, stride=2))
    xs = readings(9, 8)
    expected, stream = plain.stream().run(xs), model.stream()
    spoken = [stream.step(x) for x in xs[:4]]
    assert [y is not None for y in spoken] == [False, False, True, False]
    rest = stream.run(xs[4:])
    assert [bool(np.isfinite(y).all()) for y in rest] == [True, False, True, False, True]
    assert rest[::2].tobytes() == expected[4::2].tobytes()
    stream.reset()
    assert stream.step(xs[0]) is None


BAD_READINGS = [
    ([1.0] * 7, "expected 8 numbers"),
    ([1.0] * 9, "expected 8 numbers"),
    ([1.0], "expected 8 numbers"),
    (1.0, "expected 8 numbers"),
    (np.zeros((1, 8), np.float32), r"shape \(1, 8\)"),
    (np.zeros((8, 1), np.float32), r"shape \(8, 1\)"),
    (["1"] * 8, "real numbers"),
    ([None] * 8, "real numbers"),
    (np.zeros(8, np.complex64), "real numbers"),
    (np.zeros(8, np.bool_), "real numbers"),
    ([[1.0], [2.0, 3.0]], "ragged"),
    ([1.0, 2.0, float("nan"), 0, 0, 0, 0, 0], r"holds nan in channel 'x\[2\]'"),
    (np.float32([0, 0, 0, 0, 0, 0, 0, np.inf]), r"holds inf in channel 'x\[7\]'"),
    ([0, 0, 0, 0, 0, 0, 0, 1e39], r"holds inf in channel 'x\[7\]'"),
]


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("x", "message"), BAD_READINGS)
def test_a_bad_reading_is_refused_and_changes_nothing(x, message, window):
    """Wrong length, type, layout, NaN and infinity raise ReadingError that says which; the stream goes on as if it
    had not been."""
    model, xs = network(window=window), readings(6, 8)
    stream, undisturbed = model.stream(), model.stream()
    stream.run(xs[:3])
    undisturbed.run(xs[:3])
    before = stream.snapshot()
    with pytest.raises(ReadingError, match=message):
        stream.step(x)
    assert stream.snapshot() == before
    assert stepped(stream, xs[3:]) == stepped(undisturbed, xs[3:])


def test_run_refuses_a_log_with_a_bad_row_as_a_whole():
    """A NaN in row 5 is named, and none of the rows before it was taken."""
    stream, xs = network().stream(), readings(10, 8)
    xs[5, 2] = np.nan
    before = stream.snapshot()
    with pytest.raises(ReadingError, match=r"row 5 holds nan in channel 'x\[2\]'"):
        stream.run(xs)
    assert stream.snapshot() == before
    with pytest.raises(ReadingError, match=r"expected \(readings, 8\)"):
        stream.run(xs[:, :4])


def test_readings_of_other_kinds_are_converted_not_misread():
    """Lists, float64, integers, strided and big-endian arrays give the bits of the same float32 reading."""
    model, x = network(), np.arange(8, dtype=np.float32)
    expected = model.stream().step(x).tobytes()
    others = [
        x.tolist(),
        x.astype(">f4"),
        x.astype(np.float64),
        x.astype(np.int16),
        np.repeat(x, 3)[::3],
        tuple(range(8)),
    ]
    for other in others:
        assert model.stream().step(other).tobytes() == expected


def test_an_exploding_network_is_stopped_before_its_memory_is_infinite():
    """Where a step would make the state infinite it raises StateError, and the finite state before it stays."""
    b = Builder()
    x, h = b.input("x", 1), b.state("rnn.h", 1)
    y = b.rnn(x, h, W=[[1.0]], R=[[1e20]], b=[0.0], activation="relu")
    b.next(h, y)
    b.output("y", y)
    stream = Model(b.build(), channels_for(("x",), (1,)), channels_for(("y",), (1,))).stream()
    stream.run([[1.0], [1.0]])
    with pytest.raises(StateError, match="unstable"):
        stream.step([1.0])
    assert stream.state["rnn.h"].tolist() == [np.float32(1e20)]


@pytest.mark.parametrize("window", [None, 4])
def test_a_snapshot_restores_the_future(window):
    """After restore, in the same stream or another one, the same readings give the same bits again."""
    model, xs = network("gru", window=window), readings(30, 8)
    stream = model.stream()
    stream.run(xs[:10])
    snapshot = stream.snapshot()
    future = stream.run(xs[10:]).tobytes()
    other = model.stream()
    for restored in (stream, other):
        restored.restore(snapshot)
        assert restored.run(xs[10:]).tobytes() == future


def test_a_foreign_or_damaged_snapshot_is_refused():
    """A snapshot of another model, a cut one and one with a flipped bit raise StateError, the state being unchanged."""
    stream, foreign = network(seed=1).stream(), network(seed=2).stream().snapshot()
    stream.run(readings(3, 8))
    before = stream.snapshot()
    damaged = before[:50] + bytes([before[50] ^ 1]) + before[51:]
    cases = (foreign, "is of model"), (before[:-1], "bytes"), (damaged, "checksum"), (b"", "bytes"), ("x", "is bytes")
    for snapshot, message in cases:
        with pytest.raises(StateError, match=message):
            stream.restore(snapshot)
        assert stream.snapshot() == before


def test_reset_goes_back_to_the_models_own_initial_state():
    """reset restores the trained initial state, not zero."""
    model, xs = network("lstm", seed=5), readings(4, 8)
    stream = model.stream()
    first, initial = stream.run(xs).tobytes(), model.program.states[0].reset
    assert initial.any()
    stream.reset()
    np.testing.assert_array_equal(stream.state["lstm0.h"], initial)
    assert stream.run(xs).tobytes() == first


def test_the_memory_is_readable_by_layer_name():
    """state gives h and c by name: the head applied to h is the output."""
    model = network(seed=3)
    stream = model.stream()
    y = stream.step(readings(1, 8)[0])
    head = model.program.operations[-1].weights
    assert set(stream.state) == {"lstm0.h", "lstm0.c"}
    np.testing.assert_allclose(head["W"] @ stream.state["lstm0.h"] + head["b"], y, rtol=1e-5)
    with pytest.raises(TypeError):
        stream.state["lstm0.h"] = 0  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        stream.state["lstm0.h"][:] = 0


def test_the_output_is_a_view_that_cannot_be_written():
    """step returns its one output buffer, read-only: a caller who holds on to it sees the next output."""
    stream, xs = network().stream(), readings(2, 8)
    first = stream.step(xs[0])
    copied = first.copy()
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    assert stream.step(xs[1]) is first
    assert not np.array_equal(first, copied)


def test_channels_scale_readings_and_outputs():
    """physical = network * scale + offset, in and out, in step and run alike."""
    plain = network(inputs=2, outputs=1)
    scaled = Model(
        plain.program,
        (Channel("current", "A", scale=2.0, offset=1.0), Channel("speed", "rad/s", scale=4.0)),
        (Channel("torque", "N m", scale=8.0, offset=-3.0),),
    )
    xs = readings(20, 2)
    expected = plain.stream().run((xs - np.float32([1, 0])) / np.float32([2, 4])) * np.float32(8) + np.float32(-3)
    got = scaled.stream().run(xs)
    np.testing.assert_array_equal(got, expected)
    assert stepped(scaled.stream(), xs) == got.tobytes()


def test_many_streams_of_one_model_run_in_threads_at_once():
    """Eight threads, each with its own stream of one model, get the bits that each log gives alone."""
    model = network(units=64)
    logs = [readings(2000, 8, seed) for seed in range(8)]
    expected = [model.stream().run(xs).tobytes() for xs in logs]
    got: list[bytes | None] = [None] * len(logs)

    def work(number: int) -> None:
        got[number] = model.stream().run(logs[number]).tobytes()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_run_releases_the_gil():
    """While one thread is inside a long run, another one goes on computing in Python."""
    stream = network(units=256, layers=2).stream()
    xs, progress, done = readings(20_000, 8), [], threading.Event()

    def work() -> None:
        stream.run(xs)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        progress.append(None)
    thread.join()
    assert len(progress) > 10_000


def test_a_step_allocates_nothing():
    """Ten thousand steps leave no Python object behind and raise the peak by less than one array."""
    import tracemalloc

    stream, x = network().stream(), readings(1, 8)[0]
    stream.step(x)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(10_000):
        stream.step(x)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200
    assert peak - before < 1000


@settings(max_examples=30)
@given(
    kind=st.sampled_from(CELLS),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=11),
    layers=st.integers(1, 2),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_streams_together_give_the_bits_that_each_gives_alone(kind, lengths, layers, threads, seed):
    """Logs of any lengths run side by side, on one core or several, then stepped together, give each stream the bits it
    would have alone."""
    model = network(kind, units=19, layers=layers, seed=seed)
    together, alone = model.streams(len(lengths)), [model.stream() for _ in lengths]
    logs = [readings(n, 8, seed + k) for k, n in enumerate(lengths)]
    for got, stream, log in zip(together.run(logs, threads=threads), alone, logs, strict=True):
        assert got.tobytes() == stream.run(log).tobytes()
    xs = readings(len(lengths), 8, seed + 99)
    for got, stream, x in zip(together.step(xs), alone, xs, strict=True):
        assert got.tobytes() == stream.step(x).tobytes()
    for number, stream in enumerate(alone):
        for name, value in stream.state.items():
            assert together.state[name][number].tobytes() == value.tobytes()
    side_by_side = model.streams(len(lengths))
    side_by_side.run(logs)
    side_by_side.step(xs)
    assert together.snapshot() == side_by_side.snapshot()


def growing() -> Model:
    """h' = relu(2 h + 2 x): readings of one make it infinite with the 127th."""
    b, two = Builder(), np.full((1, 1), 2.0)
    h = b.state("h", 1)
    y = b.rnn(b.input("x", 1), h, W=two, R=two, b=np.zeros(1), activation="relu")
    b.next(h, y)
    b.output("y", y)
    return Model(b.build(), channels_for(("x",), (1,)), channels_for(("y",), (1,)))


@settings(max_examples=30)
@given(row=st.integers(0, 199), lanes=st.sampled_from((4, 8, 16)), rest=st.integers(0, 90))
def test_a_log_is_refused_at_the_row_at_which_a_step_is(row, lanes, rest):
    """Wherever in a log a reading is refused, `run` names its row and changes nothing, and the rows before it give what
    they give without it."""
    model, xs = network(units=19), readings(row + 1 + rest, 8)
    stream, expected = Stream(model, Native(lanes)), Stream(model, Native(lanes)).run(xs[:row])
    before, good = stream.snapshot(), xs[:row].copy()
    xs[row, 3] = np.inf
    with pytest.raises(ReadingError, match=rf"row {row} holds inf in channel 'x\[3\]'"):
        stream.run(xs)
    assert stream.snapshot() == before
    assert stream.run(good).tobytes() == expected.tobytes()


def test_a_memory_that_grows_is_refused_in_the_middle_of_a_log():
    """A state that becomes infinite at some row of a log is refused there, alone, side by side and on several cores."""
    one, many, ones = growing().stream(), growing().streams(5), np.ones((200, 1), np.float32)
    with pytest.raises(StateError, match=r"^row 126 "):
        one.run(ones)
    assert np.isfinite(growing().stream().run(ones[:126])).all()
    for threads in (1, 2):
        with pytest.raises(StateError, match=r"^row 126 of stream 1 "):
            many.run([ones[:3], ones, ones[:0], ones[:9], ones[:5]], threads=threads)
        assert many.state["h"].tolist() == [[0.0]] * 5
    assert one.state["h"].tolist() == [0.0]


def looking_up() -> Model:
    """A table of two rows, so that readings of 0 and 1 have one."""
    b = Builder()
    b.output("y", b.lookup(b.input("x", 1), [[1.0], [2.0]]))
    return Model(b.build(), channels_for(("x",), (1,)), channels_for(("y",), (1,)))


def test_the_stream_that_refuses_is_the_one_that_is_named():
    """Where one stream among several overflows or looks up what is not there, the sentence names it, and its row."""
    growing_ones = growing().streams(4)
    growing_ones.run([np.ones((126 if k == 2 else 3, 1), np.float32) for k in range(4)])
    before = growing_ones.snapshot()
    with pytest.raises(StateError, match=r"^the reading of stream 2 would"):
        growing_ones.step(np.ones((4, 1)))
    assert growing_ones.snapshot() == before
    tables, logs = looking_up().streams(6), np.ones((6, 9, 1), np.float32)
    logs[4, 7] = 2
    with pytest.raises(ReadingError, match=r"^the reading of stream 4 gives a number beyond"):
        tables.step(logs[:, 7])
    for threads in (1, 3):
        with pytest.raises(ReadingError, match=r"^row 7 of stream 4 gives a number beyond"):
            tables.run(list(logs), threads=threads)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_log_was_not_taken(error, monkeypatch):
    """An interrupt or a lack of memory behind the compiled call, when outputs are lost, leaves the memory as it was
    before: of a stream, of streams side by side, and in threads, also where their memories are taken over."""

    def interrupted(function, call):
        """function, which ends its `call`-th call with the error."""
        calls = []

        def wrapped(*arguments):
            result = function(*arguments)
            calls.append(None)
            if len(calls) == call:
                raise error
            return result

        return wrapped

    model, logs = network(), [readings(20, 8, k) for k in range(12)]
    stream, streams = model.stream(), model.streams(12)
    streams.run(logs)
    before = stream.snapshot(), streams.snapshot()
    for one in (stream, streams):
        with monkeypatch.context() as patch:
            patch.setattr(one._session, "advance_many", interrupted(one._session.advance_many, 1))
            with pytest.raises(error):
                one.run(logs[0] if one is stream else logs)
        assert (stream.snapshot(), streams.snapshot()) == before
    with monkeypatch.context() as patch:  # parts are taken over and given back, some by this thread
        patch.setattr(NativeSession, "take_over", interrupted(NativeSession.take_over, 4))
        with pytest.raises(error):
            streams.run(logs, threads=2)
    assert streams.snapshot() == before[1]
    undisturbed = model.streams(12)
    undisturbed.run(logs)
    for got, expected in zip(streams.run(logs, threads=2), undisturbed.run(logs), strict=True):
        assert got.tobytes() == expected.tobytes()


def test_a_very_large_arena_is_not_made_nine_times_over(monkeypatch):
    """Where the arenas for many readings at once would exceed their limit, none are made, and the bits are the same."""
    model, xs = network(), readings(50, 8)
    going_ahead, one_by_one = model.stream(), model.stream()
    expected = going_ahead.run(xs)
    assert isinstance(going_ahead._session, NativeSession)
    assert isinstance(one_by_one._session, NativeSession)
    ahead = going_ahead._session._ahead
    assert ahead is not None
    assert ahead.size <= session._MOST_AHEAD_FLOATS
    monkeypatch.setattr(session, "_MOST_AHEAD_FLOATS", ahead.size - 1)
    assert one_by_one.run(xs).tobytes() == expected.tobytes()
    assert one_by_one._session._ahead is None


@pytest.mark.parametrize("count", [9, 16, 19])
def test_large_weights_are_read_for_sixteen_streams_at_a_time(count, monkeypatch):
    """Sixteen arenas of two readings each, and the bits that each stream has alone."""
    model, logs = network(units=19), [readings(30, 8, k) for k in range(count)]
    monkeypatch.setattr(session, "_LARGE_FLOATS", 0)
    together = model.streams(count)
    for got, log in zip(together.run(logs), logs, strict=True):
        assert got.tobytes() == model.stream().run(log).tobytes()
    assert isinstance(together._session, NativeSession)
    frame = together._session._long_frame
    assert frame[abi.AHEAD_COPIES] == min(count, 16)


@pytest.mark.parametrize(("lanes", "group"), [(4, 4), (8, 2), (16, 4)])
def test_logs_that_share_a_pass_over_the_weights_stay_together(lanes, group, monkeypatch):
    """Parts of whole groups, no more threads than groups, and the bits of one thread; what is made for the threads is
    kept for the next call; integers, which share nothing, go one by one."""
    shards: list[int] = []
    made = Native.open

    def noting(self, model, streams=1, digest=None):
        shards.append(streams)
        return made(self, model, streams, digest)

    model, logs = network(units=19), [readings(9 + k, 8, k) for k in range(10)]
    for count, threads in ((10, 2), (9, 8), (group, 2), (1, 2)):
        one, many = Streams(model, count, Native(lanes)), Streams(model, count, Native(lanes))
        with monkeypatch.context() as patched:
            patched.setattr(Native, "open", noting)
            got = many.run(logs[:count], threads=threads)
            groups = -(-count // group)
            made_now = list(shards)
            if groups == 1:
                assert not made_now
            else:
                assert made_now[0] == count
                assert made_now[1:] == [made_now[1]] * min(threads, groups)
                assert made_now[1] % group == 0
            again = many.run(logs[:count], threads=threads)
            assert shards == made_now
        assert [y.tobytes() for y in got] == [y.tobytes() for y in one.run(logs[:count])]
        assert [y.tobytes() for y in again] == [y.tobytes() for y in one.run(logs[:count])]
        assert many.snapshot() == one.snapshot()
        shards.clear()
    assert quantize(model, readings(200, 8)).streams(2)._session.group == 1


@pytest.mark.parametrize(("lengths", "size"), [([40] * 16, 8), ([40] * 16 + [30] * 48, 16), (range(10, 26), 4)])
def test_logs_of_one_length_are_dealt_out_in_parts_that_read_the_weights_seldom(lengths, size):
    """In parts of four groups or more where two threads get as many; smaller ones where the work in them is unequal."""
    streams = Streams(network(), len(lengths), Native(8))
    streams.run([readings(length, 8, k) for k, length in enumerate(lengths)], threads=2)
    assert [len(own.x) for own in streams._kept[1:]] == [size] * 2


def test_short_logs_stay_in_one_thread_and_help_that_never_comes_is_not_waited_for(monkeypatch):
    """What is done before another thread would be awake is not dealt out; where all others are busy, or none can be
    had, the caller does everything, with the same bits."""
    model, logs = network(), [readings(40, 8, k) for k in range(9)]
    expected = [y.tobytes() for y in model.streams(9).run(logs)]
    begin, began = threading.Event(), []
    with monkeypatch.context() as patch:
        patch.setattr(streams_module, "_WORTH_A_THREAD", 24_000_000)
        patch.setattr(streams_module, "with_help", lambda *_: began.append(None))
        assert [y.tobytes() for y in model.streams(9).run(logs, threads=4)] == expected
        assert not began
    with ThreadPoolExecutor(1) as busy:
        busy.submit(begin.wait)
        monkeypatch.setattr(pool, "_pools", [busy])
        assert [y.tobytes() for y in model.streams(9).run(logs, threads=4)] == expected
        begin.set()
    assert [y.tobytes() for y in model.streams(9).run(logs, threads=4)] == expected  # that pool takes nothing any more


def test_help_that_a_refused_thread_leaves_behind_is_waited_for(monkeypatch):
    """Where the system gives no more threads, the pool keeps what was asked, and one of its threads that becomes free
    may begin it: what that one took belongs to the results, too."""
    free, begun = threading.Event(), threading.Event()
    caller, waiting, done = threading.get_ident(), [1, 2], []

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    def work():
        part = waiting.pop()
        if threading.get_ident() == caller:
            free.set()
            assert begun.wait(10)
        else:
            begun.set()
            time.sleep(0.2)  # still at work when the caller has nothing left to do
        done.append(part)
        return part

    with ThreadPoolExecutor(2) as limited:
        limited.submit(free.wait)
        with monkeypatch.context() as patch:
            patch.setattr(pool, "_pools", [limited])
            patch.setattr(threading.Thread, "start", refuse)
            assert sorted(pool.with_help(2, work)) == sorted(done) == [1, 2]


def test_a_child_process_has_threads_of_its_own():
    """After a fork, none of the parent's threads is waited for."""
    model, logs = network(), [readings(40, 8, k) for k in range(9)]
    streams = model.streams(9)
    expected = b"".join(y.tobytes() for y in streams.run(logs, threads=4))
    streams.reset()
    with multiprocessing.get_context("fork").Pool(1) as workers:
        (got,) = workers.map(_run_in_threads, [(streams, logs)])
    assert got == expected


def _run_in_threads(given) -> bytes:
    streams, logs = given
    return b"".join(y.tobytes() for y in streams.run(logs, threads=4))


def test_a_shard_that_fails_leaves_every_stream_as_it_was():
    """Whichever of the threads meets an infinite state, no stream of the others has moved either."""
    for bad in range(9):
        streams = growing().streams(9)
        streams.step(np.ones((9, 1), np.float32))
        before = streams.snapshot()
        logs = [np.full((200, 1), number == bad, np.float32) * 0.5 for number in range(9)]
        logs = [log if number == bad else log[:9] for number, log in enumerate(logs)]
        with pytest.raises(StateError):
            streams.run(logs, threads=3)
        assert streams.snapshot() == before


def test_a_bad_reading_of_one_stream_is_named_and_changes_none():
    """NaN in one stream's reading or log, a wrong shape or a wrong number of logs changes no stream."""
    streams, xs = network().streams(3), readings(3, 8)
    streams.step(xs)
    before, bad = streams.snapshot(), xs.copy()
    bad[1, 4] = np.nan
    log = np.stack([xs[0], bad[1]])
    for call, message in (
        (lambda: streams.step(bad), r"stream 1 holds nan in channel 'x\[4\]'"),
        (lambda: streams.step(xs[:2]), r"expected \(3, 8\)"),
        (lambda: streams.run([xs, xs, log]), r"row 1 of stream 2 holds nan in channel 'x\[4\]'"),
        (lambda: streams.run([xs, xs]), "expected 3 logs"),
        *(
            (lambda threads=threads: streams.run([xs, xs, xs], threads=threads), f"{threads!r} threads cannot take")
            for threads in (0, -1, None, "2", 1.5)
        ),
        (lambda: network(window=3).streams(2), "window of 3"),
        (lambda: network().streams(0), "0 streams"),
        (lambda: network().streams(1.5), "1.5 streams"),
        (lambda: network().streams(10**9), "1000000000 streams"),
    ):
        with pytest.raises(ReadingError, match=message):
            call()
        assert streams.snapshot() == before
