"""A stream between threads, copied and pickled: a clear exception or right bits, never another stream's memory."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lstm.core.feedback import Policy
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native.session import Native
from edge_lstm.engines.plain import Plain
from edge_lstm.engines.protocol import Engine
from edge_lstm.errors import ThreadError
from edge_lstm.streams.missing import MissingReadings
from edge_lstm.streams.stream import Stream, Streams
from tests.support.models.nets import network, readings

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("engine", [Native(), Plain()], ids=["native", "plain"])
@pytest.mark.parametrize("window", [None, 5])
def test_a_copied_stream_is_a_stream_of_its_own(make: Callable[[Any], Any], engine: Engine, window: int | None) -> None:
    """It goes on to the same bits as the first, whose memory it does not touch; its forecast is the first's."""
    model, xs = network(window=window), readings(40, 8)
    stream = Stream(model, engine)
    stream.run(xs[:13])
    before, other = stream.snapshot(), make(stream)
    expected = other.run(xs[13:])
    assert stream.snapshot() == before
    assert stream.run(xs[13:]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_copied_streams_gates_and_fillers_share_nothing(make: Callable[[Any], Any]) -> None:
    """Streams together, a stream with gates, and one with missing readings: the copy goes its own way."""
    model, xs = network(), readings(40, 8)
    together = Streams(model, 5)
    together.step(xs[:5])
    several = make(together)
    assert several.step(xs[5:10]).tobytes() == together.step(xs[5:10]).tobytes()
    held = together.snapshot()
    several.step(xs[:5])
    assert together.snapshot() == held
    gates = model.stream(gates=True)
    gates.run(xs[:9])
    other = make(gates)
    held = gates.snapshot()
    assert other.run(xs[9:]).tobytes() == copy.deepcopy(gates).run(xs[9:]).tobytes()
    assert gates.snapshot() == held
    filling = MissingReadings(model.stream(), Policy("hold"))
    filling.step(xs[0])
    twin = make(filling)
    held = filling.stream.snapshot()
    twin.missing(3)
    assert filling.stream.snapshot() == held
    assert (filling.not_real, twin.not_real) == (0, 3)


def test_a_model_is_copied_by_being_itself_and_pickled_by_its_parts() -> None:
    """What never changes need not be copied; a pickle is checked anew, its arrays frozen, its digest the same."""
    model = network(layers=2)
    assert copy.copy(model) is copy.deepcopy(model) is model
    assert copy.deepcopy(model.program) is model.program
    model.stream()  # engines keep things with a model, which do not travel
    other = pickle.loads(pickle.dumps(model))
    assert (other.digest, other.timing) == (model.digest, model.timing)
    assert not any(w.flags.writeable for op in other.program.operations for w in op.weights.values())
    xs = readings(20, 8)
    assert other.stream().run(xs).tobytes() == model.stream().run(xs).tobytes()


def test_a_session_is_not_copied() -> None:
    """It points to its own arrays: a copy of it would not."""
    with pytest.raises(TypeError, match="copy or pickle its stream"):
        copy.copy(Native().open(network()))


@pytest.mark.parametrize("engine", [Native(), Plain()], ids=["native", "plain"])
def test_use_by_another_thread_in_the_middle_of_a_call_is_refused(engine: Engine) -> None:
    """While one thread runs a log, every use by another is a ThreadError that changes nothing; afterwards all is as if
    nobody had tried."""
    model, xs = network(), readings(30, 8)
    stream, undisturbed = Stream(model, engine), Stream(model, engine)
    uses: list[Callable[[], Any]] = [
        lambda: stream.step(xs[0]),
        lambda: stream.run(xs),
        lambda: stream.state,
        stream.snapshot,
        stream.reset,
        lambda: stream.restore(undisturbed.snapshot()),
        lambda: stream.resume(undisturbed.state),
        lambda: copy.copy(stream),
    ]
    refused: list[str] = []

    def others() -> None:
        for use in uses:
            with pytest.raises(ThreadError) as error:
                use()
            refused.append(str(error.value))

    session = stream._session
    real = session.advance_many

    def meanwhile(*arguments: Any) -> tuple[int, int]:
        thread = threading.Thread(target=others)
        thread.start()
        thread.join()
        return real(*arguments)

    session.advance_many = meanwhile  # type: ignore[assignment]
    ys = stream.run(xs)
    assert len(refused) == len(uses)
    assert all("in use by another thread" in text for text in refused)
    assert ys.tobytes() == undisturbed.run(xs).tobytes()
    assert stream.snapshot() == undisturbed.snapshot()


def test_threads_that_share_a_stream_get_right_bits_or_an_exception() -> None:
    """Four threads step and run one stream as fast as they can: no crash, and what was taken is a sequence of whole
    calls, so the memory at the end is that of some order of them. Here all readings are equal, so their number says
    it."""
    model = network()
    x = readings(1, 8)[0]
    log, stream, taken, refused = np.tile(x, (2000, 1)), model.stream(), [0] * 4, [0] * 4

    def work(number: int) -> None:
        for k in range(400):
            try:
                if (k + number) % 4:
                    stream.step(x)
                    taken[number] += 1
                else:
                    stream.run(log)
                    taken[number] += len(log)
            except ThreadError:
                refused[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    undisturbed = model.stream()
    undisturbed.run(np.tile(x, (sum(taken), 1)))
    assert stream.snapshot() == undisturbed.snapshot()


def test_numpy_s_errors_are_the_caller_s_own() -> None:
    """np.errstate(all="raise") around a step changes nothing: overflow in a channel's scale, or in a network, is found
    and reported by us."""
    for engine in (Native(), Plain()):
        model, xs = network(), readings(30, 8) * 1e30
        expected = Stream(model, engine).run(xs)
        stream = Stream(model, engine)
        with np.errstate(all="raise"):
            assert stream.run(xs).tobytes() == expected.tobytes()
            stream.reset()
            stream.step(xs[0].astype(np.float64))


def test_timing_is_data() -> None:
    """A timing is compared, hashed by its parts where it has no axes, and pickled."""
    timing = Timing.over_window(6, "zeros")
    assert pickle.loads(pickle.dumps(timing)) == timing
    assert {timing, Timing.over_window(6, "zeros")} == {timing}
