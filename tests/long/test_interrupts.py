"""An interrupt at every bytecode boundary of a call, one after the other: nothing dangles, nothing was taken.

A trace function raises at the n-th opcode of our own code; then the memory is what it was before the call, and the next
call gives the bits of a stream that nobody interrupted.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import edge_lstm
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import replay_table
from tests.support.models.nets import network, readings

_RETURNS = {dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap}
OURS = str(Path(edge_lstm.__file__).parent)


class Stop(BaseException):
    """As KeyboardInterrupt, but nobody else's."""


def interrupted_at(call: Callable[[], object], number: int) -> bool:
    """Whether the call was ended by an interrupt at opcode `number` of our code; False: it was over before."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        # CPython looks for signals at calls and at jumps back; what is left of a function that returns cannot undo it.
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] not in _RETURNS:
            count += 1
            if count == number:
                raise Stop
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Stop:
        return True
    finally:
        sys.settrace(before)
    return False


def everywhere(call: Callable[[], object], most: int) -> Iterator[int]:
    """Interrupts the call at every opcode, or at so many spread over all of them."""
    last = 1
    while interrupted_at(call, last) and last < 1 << 22:
        last *= 2
    low = last // 2
    while last - low > 1:  # the first number that is beyond the call
        middle = (low + last) // 2
        low, last = (middle, last) if interrupted_at(call, middle) else (low, middle)
    for number in np.unique(np.linspace(1, low, min(most, low)).astype(int)).tolist():
        interrupted_at(call, number)
        yield number


@pytest.fixture
def most(request: pytest.FixtureRequest) -> int:
    """How many interrupts of each call."""
    return max(30, int(6000 * request.config.getoption("--volume")))


@pytest.mark.long
def test_run(most: int) -> None:
    """`Stream.run`, of a continuous model and of one with a window: memory and latest output as before, next bits
    right."""
    for window in (None, 5):
        model, xs = network(window=window), readings(40, 8)
        stream, undisturbed = model.stream(), model.stream()
        stream.run(xs[:9])
        undisturbed.run(xs[:9])
        before, expected = stream.snapshot(), undisturbed.run(xs[9:20]).tobytes()

        def call() -> None:
            stream.run(xs)  # noqa: B023
            stream.restore(before)  # noqa: B023

        for number in everywhere(call, most):
            if stream.snapshot() != before:  # the interrupt came after `run` had returned
                stream.restore(before)
            assert stream.run(xs[9:20]).tobytes() == expected, number
            stream.restore(before)


@pytest.mark.long
def test_an_interrupted_run_was_not_taken(most: int) -> None:
    """Wherever the interrupt ends `run` itself, no reading of it was taken."""
    model, xs = network(), readings(40, 8)
    stream = model.stream()
    stream.run(xs[:9])
    before = stream.snapshot()
    ended = [0]

    def call() -> None:
        stream.run(xs)
        ended[0] += 1
        stream.restore(before)

    tried = seen = 0
    for _ in everywhere(call, most):
        tried += 1
        if not ended[0]:
            seen += 1
            assert stream.snapshot() == before
        stream.restore(before)
        ended[0] = 0
    assert seen > tried // 3


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 2])
def test_streams(most: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Streams.run` and `Streams.step`, also with threads."""
    monkeypatch.setattr("edge_lstm.streams.stream._WORTH_A_THREAD", 1)
    model, logs = network(units=9), [readings(12 - k, 8, k) for k in range(6)]
    streams, undisturbed = model.streams(6), model.streams(6)
    before, expected = streams.snapshot(), [y.tobytes() for y in undisturbed.run(logs)]
    xs = np.stack([log[0] for log in logs])

    def call() -> None:
        streams.run(logs, threads=threads)
        streams.restore(before)
        streams.step(xs)
        streams.restore(before)

    for number in everywhere(call, most if threads == 1 else most // 4):
        streams.restore(before)
        assert [y.tobytes() for y in streams.run(logs)] == expected, number
        streams.restore(before)


@pytest.mark.long
def test_forecast(most: int) -> None:
    """`Stream.forecast` never touches the stream, interrupted or not."""
    channels = tuple(Channel(name) for name in "ab")
    model = network(inputs=2, outputs=2, channels=channels)
    outputs = (Channel("a+"), Channel("b+"))
    model = edge_lstm.Model(
        model.program, channels, outputs, feedback=(Feedback("a+", "a"), Feedback("b+", "b")), name="follower"
    )
    stream = model.stream()
    stream.run(readings(12, 2))
    before, expected = stream.snapshot(), stream.forecast(5)
    for number in everywhere(lambda: stream.forecast(5), most):
        assert stream.snapshot() == before, number
        again = stream.forecast(5)
        assert again.outputs.tobytes() == expected.outputs.tobytes()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a log that nobody closed
def test_replay_and_quantize(most: int, tmp_path: Path) -> None:
    """A replayed table and a quantization, interrupted anywhere: the model runs on to the same bits, and a second try
    gives what an undisturbed one does."""
    model = network(inputs=2, units=6, channels=(Channel("a"), Channel("b")))
    rows = readings(150, 2)
    path = tmp_path / "log.csv"
    path.write_text("t_s,a,b\n" + "".join(f"{k / 100},{a},{b}\n" for k, (a, b) in enumerate(rows.tolist())))

    def replay() -> Any:
        log = CsvLog(path)
        return replay_table(log, model, match(log, model)[0], keep=True)[1]

    def quantize() -> Any:
        return edge_lstm.quantize(model, rows).digest

    outputs = {n: y.tobytes() for n, y in replay().outputs.items()}
    digest, ys = quantize(), model.stream().run(rows).tobytes()
    for number in everywhere(replay, most // 20):
        assert model.stream().run(rows).tobytes() == ys, number
    assert {n: y.tobytes() for n, y in replay().outputs.items()} == outputs
    for number in everywhere(quantize, most // 60):
        assert model.stream().run(rows).tobytes() == ys, number
    assert quantize() == digest
