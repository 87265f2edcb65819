"""The closed loop: what may be declared, words in and out, and what is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_lstm
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.core.model import Model
from edge_lstm.core.outputs import Word
from edge_lstm.errors import FeedbackError, ModelFileError, ReadingError
from edge_lstm.streams.rollout import Rollout, uniform
from tests.support.models import nets

DINNERS = ("pizza", "sushi", "waffles")
DAYS = ("monday", "tuesday")


def diner(last: str = "softmax", **more: object) -> Model:
    """dinner (3 words), day (2 words), late → lstm → dinner (the same words in another order) and mood."""
    inputs = (
        Channel("dinner", vocabulary=DINNERS),
        Channel("day", vocabulary=DAYS),
        Channel("late", "min", scale=10.0),
    )
    outputs = (Channel("next", vocabulary=("waffles", "pizza", "sushi")), Channel("mood", "min", offset=2.0))
    w, b = nets.Weights(3, 8), Builder()
    y = nets.cell(b, "lstm", b.input("x", 6), 8, w, "lstm")
    scores = b.dense(y, W=6 * w(3, 8), b=w(3))
    made = {
        "softmax": lambda: b.softmax(scores),
        "log": lambda: b.softmax(scores, log=True),
        "sigmoid": lambda: b.map("sigmoid", scores),
        "score": lambda: scores,
    }[last]()
    b.output("next", b.take(made.elements))
    b.output("mood", b.dense(y, W=w(1, 8), b=w(1)))
    feedback = (Feedback("next", "dinner"), Feedback("mood", "late"))
    return Model(b.build(), inputs, outputs, name="diner", **{"feedback": feedback, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("feedback", "words"),
    [
        (Feedback("nxt", "dinner"), ["no output channel 'nxt'", "next, mood"]),
        (Feedback("next", "diner"), ["no input channel 'diner'", "dinner, day, late"]),
        (Feedback("next", "day"), ["no word 'waffles'"]),
        (Feedback("next", "late"), ["3 wide", "1"]),
        (Feedback("mood", "late", "best"), ["needs a vocabulary in both"]),
        (Feedback("next", "dinner", "value"), ["vocabularies differ"]),
    ],
)
def test_feedback_that_does_not_fit_is_refused_by_name(feedback: Feedback, words: list[str]):
    """A missing channel, another vocabulary, another width: ModelFileError names it and what there is."""
    with pytest.raises(ModelFileError) as caught:
        diner(feedback=(feedback,))
    for word in words:
        assert word in str(caught.value)


def test_two_outputs_cannot_feed_one_input_and_units_must_agree():
    """One input has one source; minutes do not become seconds."""
    with pytest.raises(ModelFileError, match="another output feeds this input already"):
        diner(feedback=(Feedback("mood", "late"), Feedback("mood", "late")))
    model = diner()
    seconds = (*model.outputs[:1], replace(model.outputs[1], unit="s"))
    with pytest.raises(ModelFileError, match="'s', the input in 'min'"):
        replace(model, outputs=seconds)


def test_feedback_and_policy_travel_in_the_file_and_count_in_the_digest(tmp_path: Path):
    """Saved and loaded, they are equal; with others the digest differs; without any, it is what it always was."""
    model = diner(policy=Policy("predict", 30))
    edge_lstm.save(model, tmp_path / "m.npz")
    loaded = edge_lstm.load(tmp_path / "m.npz")
    assert (loaded.feedback, loaded.policy, loaded.digest) == (model.feedback, model.policy, model.digest)
    digests = {diner().digest, model.digest, diner(feedback=()).digest, diner(policy=Policy("hold")).digest}
    assert len(digests) == 4
    from edge_lstm.core.storage import describe

    assert not {"feedback", "policy"} & set(describe(diner(feedback=()))[0])


def test_a_policy_to_predict_needs_feedback():
    """A model that cannot predict its readings cannot have the policy to."""
    with pytest.raises(ModelFileError, match="declares no feedback"):
        diner(feedback=(), policy=Policy("predict"))
    with pytest.raises(FeedbackError, match="declares no feedback"):
        Rollout(diner(feedback=()))


def test_a_reading_may_carry_word_index_or_vector():
    """All three are the same reading; None and NaN are a missing one; step takes the mapping as it takes the vector."""
    model = diner()
    by_word = model.encode({"dinner": "sushi", "day": "tuesday", "late": 12.5})
    assert by_word.tolist() == [0, 1, 0, 0, 1, 12.5]
    assert (by_word == model.encode({"late": 12.5, "dinner": 1, "day": np.array([0, 1])})).all()
    missing = model.encode({"dinner": None, "day": float("nan"), "late": None})
    assert np.isnan(missing).all()
    one, other = model.stream(), model.stream()
    assert one.step({"dinner": "sushi", "day": 1, "late": 12.5}).tobytes() == other.step(by_word).tobytes()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dinner": "monday"}, ["'dinner' has no word 'monday'", "a word of channel 'day'"]),
        ({"dinner": "soup"}, ["'dinner' has no word 'soup'", "pizza, sushi, waffles"]),
        ({"dinner": 3}, ["3 words; 3 is no index"]),
        ({"dinner": -1}, ["-1 is no index"]),
        ({"dinner": 1.5}, ["takes a word, its index or a vector of 3"]),
        ({"dinner": [1, 0]}, ["a vector of 3 numbers"]),
        ({"late": "pizza"}, ["'late' takes a number"]),
        ({"lunch": 1}, ["no input channel 'lunch'", "dinner, day, late"]),
    ],
)
def test_bad_words_are_refused_and_the_state_is_unchanged(values: dict[str, object], words: list[str]):
    """Unknown word, word of another channel, wrong length: ReadingError names channel and word, nothing moved."""
    stream = diner().stream()
    stream.step({"dinner": "pizza", "day": 0, "late": 0})
    before = stream.snapshot()
    with pytest.raises(ReadingError) as caught:
        stream.step({"dinner": 0, "day": 0, "late": 0.0, **values})
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(ReadingError, match="'day' is left out"):
        stream.step({"dinner": "pizza", "late": 0})
    assert stream.snapshot() == before


@pytest.mark.parametrize("last", ["softmax", "log", "score", "sigmoid"])
def test_outputs_decode_to_words_with_probabilities(last: str):
    """Whatever the last layer is, the probabilities are those of softmax (of sigmoid: its shares) and sum to 1."""
    model = diner(last)
    y = model.stream().step({"dinner": "pizza", "day": 0, "late": 3})
    found = model.decode(y)
    word = found["next"]
    assert isinstance(word, Word)
    assert sum(word.probabilities.values()) == pytest.approx(1)
    assert word.probability == max(word.probabilities.values()) == word.probabilities[word.word]
    assert found["mood"] == pytest.approx(float(y[3]))
    if last == "sigmoid":
        assert word.probability == pytest.approx(float(y[:3].max() / y[:3].sum()))
    else:
        reference = diner("softmax").stream().step({"dinner": "pizza", "day": 0, "late": 3})
        assert list(word.probabilities.values()) == pytest.approx(reference[:3].tolist(), abs=1e-6)
    with pytest.raises(ReadingError, match="4 numbers"):
        model.decode(y[:3])


def test_the_loop_matches_words_by_name_and_keeps_the_rest():
    """The best word becomes one-hot at its own place in the input; a number goes over; the day stays."""
    loop = Rollout(diner())
    x = loop(np.array([0.7, 0.2, 0.1, 4.5], np.float32), np.array([1, 0, 0, 0, 1, 9.0], np.float32))
    assert x.tolist() == [0, 0, 1, 0, 1, 4.5]
    assert loop.fed.tolist() == [True, True, True, False, False, True]


def test_samples_follow_the_probabilities_and_the_seed():
    """10,000 draws come within 2 % of the probabilities; the same seed draws the same, another seed otherwise."""
    y, x = np.array([0.7, 0.2, 0.1, 0.0], np.float32), np.zeros(6, np.float32)

    def draws(seed: int, count: int) -> list[int]:
        loop = Rollout(diner(), "sample", seed)
        return [int(loop(y, x)[:3].argmax()) for _ in range(count)]

    found = draws(1, 10_000)
    assert np.bincount(found) / 10_000 == pytest.approx([0.2, 0.1, 0.7], abs=0.02)
    assert draws(1, 50) == found[:50] != draws(2, 50)


def test_a_word_without_probability_is_never_drawn(monkeypatch: pytest.MonkeyPatch):
    """Not even by a draw that rounds up to one."""
    monkeypatch.setattr("edge_lstm.streams.rollout.uniform", lambda seed, draw: 1.0)
    x = Rollout(diner(), "sample")(np.array([0.7, 0.3, 0.0, 0.0], np.float32), np.zeros(6, np.float32))
    assert x[:3].tolist() == [1, 0, 0]  # pizza, the second word of the output


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_draws_are_numbers_below_one(seed: int, number: int):
    """Any seed and count give a draw in [0, 1), the same each time."""
    assert 0 <= uniform(seed, number) < 1
    assert uniform(seed, number) == uniform(seed, number)


def test_the_import_command_declares_feedback(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """--feedback OUTPUT=INPUT ends up in the model file; what is no pair, or names no channel, is refused by name."""
    from edge_lstm.cli import main

    source = Path(__file__).parents[2] / "edge_lstm" / "examples" / "slip_stall.onnx"
    inputs = ",".join(f"in{k}" for k in range(11))
    command = ["import", str(source), "-o", str(tmp_path / "m.npz"), "--channels", inputs, "--outputs", "a,b,c,d"]
    assert main([*command, "--feedback", "a=in0", "--feedback", "c=in5"]) == 0
    assert edge_lstm.load(tmp_path / "m.npz").feedback == (Feedback("a", "in0"), Feedback("c", "in5"))
    assert main(["inspect", str(tmp_path / "m.npz")]) == 0
    assert "a predicts the next in0" in capsys.readouterr().out
    assert main([*command, "--feedback", "a"]) == 2
    assert "OUTPUT=INPUT is meant" in capsys.readouterr().err
    assert main([*command, "--feedback", "a=in99"]) == 2
    assert "no input channel 'in99'" in capsys.readouterr().err
