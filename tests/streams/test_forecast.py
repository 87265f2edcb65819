"""Forecasts: the closed loop ahead of a stream, which stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback
from edge_lstm.core.model import Model
from edge_lstm.errors import FeedbackError, ReadingError
from tests.streams.test_rollout import diner
from tests.support.models import nets


def follower(kind: str = "lstm", window: int | None = None, exogenous: int = 1) -> Model:
    """Three inputs, two of them predicted by the outputs, in other physical scales."""
    channels = (
        Channel("a", "m", 2.0, 1.0),
        Channel("b", "m", 0.5, -3.0),
        *(Channel(f"u{k}") for k in range(exogenous)),
    )
    model = nets.network(kind, 2 + exogenous, 12, 2, 2, window=window, channels=channels)
    outputs = (Channel("a+", "m", 2.0, 1.0), Channel("b+", "m", 0.5, -3.0))
    feedback = (Feedback("a+", "a"), Feedback("b+", "b"))
    return Model(model.program, model.inputs, outputs, 100.0, model.timing, name=model.name, feedback=feedback)


@pytest.mark.parametrize("kind", nets.CELLS)
@pytest.mark.parametrize("window", [None, 5])
def test_a_forecast_is_the_closed_loop_by_hand_and_leaves_the_stream_alone(kind: str, window: int | None):
    """Every reading is the output before, in physical units, the rest as last read; same bits as stepping that by hand;
    the snapshot, the latest output and what comes next are bit-identical to never having asked."""
    model = follower(kind, window)
    stream, other = model.stream(), model.stream()
    for x in nets.readings(9, 3, seed=4):
        y = stream.step(x)
        other.step(x)
    last, before = y.copy(), stream.snapshot()
    readings, outputs = stream.forecast(20)
    assert stream.snapshot() == before
    assert y.tobytes() == last.tobytes()
    for reading, output in zip(readings, outputs, strict=True):
        assert reading.tobytes() == np.array([*last, x[2]], np.float32).tobytes()
        last = other.step(reading).copy()
        assert last.tobytes() == output.tobytes()
    again = stream.forecast(20)
    assert again.outputs.tobytes() == outputs.tobytes()


def test_run_leaves_the_same_present_as_steps():
    """After a whole log at once the forecast is the one after single steps."""
    model, xs = follower(), nets.readings(50, 3)
    one, other = model.stream(), model.stream()
    one.run(xs)
    for x in xs:
        other.step(x)
    assert one.forecast(5).outputs.tobytes() == other.forecast(5).outputs.tobytes()


def test_words_are_forecast_as_words():
    """A categorical loop goes on with one-hot readings; sampled ones repeat with their seed."""
    stream = diner().stream()
    stream.step({"dinner": "pizza", "day": "monday", "late": 0})
    readings, _ = stream.forecast(30)
    assert (readings[:, :3].sum(axis=1) == 1).all()
    assert (readings[:, 3:5] == [1, 0]).all()
    one, same, other = (stream.forecast(30, choose="sample", seed=seed).readings for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one[:, :3] != other[:, :3]).any()


def test_a_forecast_without_a_present_says_so_and_takes_a_first_reading():
    """At the beginning, after reset and restore there is no latest output; x begins; a refused reading is not one."""
    model = follower()
    stream = model.stream()
    first = np.array([0.1, 0.2, 0.3], np.float32)
    with pytest.raises(FeedbackError, match="give the first reading as x"):
        stream.forecast(3)
    forecast = stream.forecast(3, x=first)
    assert forecast.readings[0].tolist() == first.tolist()
    stream.step(first)
    assert stream.forecast(2).outputs.tobytes() == forecast.outputs[1:].tobytes()
    stream.restore(stream.snapshot())
    with pytest.raises(FeedbackError):
        stream.forecast(3)
    stream.step(first)
    with pytest.raises(ReadingError):
        stream.step([np.nan, 0, 7])
    with pytest.raises(FeedbackError):
        stream.forecast(3)
    with pytest.raises(FeedbackError, match="0 steps"):
        stream.forecast(0)
    with pytest.raises(FeedbackError, match="declares no feedback"):
        nets.network().stream().forecast(3)


def test_a_window_that_is_not_full_cannot_be_forecast():
    """Without an output there is nothing to go on with; the error says how many readings are needed."""
    stream = follower(window=5).stream()
    stream.step([0, 0, 0])
    with pytest.raises(FeedbackError):
        stream.forecast(2)
    with pytest.raises(FeedbackError, match="window of 5"):
        stream.forecast(2, x=[0, 0, 0])
