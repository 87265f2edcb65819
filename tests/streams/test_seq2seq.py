"""Encoder and decoder: the memory is handed over, and the decoder reads its own words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback
from edge_lstm.core.model import Model
from edge_lstm.errors import FeedbackError, ReadingError, StateError
from edge_lstm.streams.seq2seq import Translator
from tests.support.models import nets

WORDS = ("<start>", "<stop>", "one", "two", "three")


def part(seed: int, name: str, units: int = 12, layer: str = "lstm", outputs: bool = True) -> Model:
    w, b = nets.Weights(seed, units), Builder()
    y = nets.cell(b, "lstm", b.input("x", 5), units, w, layer)
    b.output("y", b.softmax(b.dense(y, W=8 * w(5, units), b=w(5))))
    channels = (Channel("word", vocabulary=WORDS),), (Channel("next", vocabulary=WORDS),)
    feedback = (Feedback("next", "word"),) if outputs else ()
    return Model(b.build(), *channels, name=name, feedback=feedback)


def translator(**more: object) -> Translator:
    pair = part(1, "encoder", outputs=False), part(2, "decoder")
    return Translator(*pair, start="<start>", stop="<stop>", **more)  # type: ignore[arg-type]


def test_the_answer_is_the_decoder_by_hand():
    """The encoder's memory, the start word, then each word as the next reading, until the stop word or the limit."""
    translator_ = translator(limit=7)
    for sentence in (["one"], ["two", "three"], ["three", "one", "two", "one"], []):
        answer = translator_.translate([{"word": word} for word in sentence])
        encoder, decoder = part(1, "e").stream(), part(2, "d").stream()
        for word in sentence:
            encoder.step({"word": word})
        decoder.resume(encoder.state)
        word, words = "<start>", []
        for _ in range(8):
            y = decoder.step({"word": word})
            assert y.tobytes() == answer.outputs[len(words)].tobytes()
            word = WORDS[int(np.argmax(y))]
            if word == "<stop>" or len(words) == 7:
                break
            words.append(word)
        assert answer.words == words
        assert answer.stopped is (word == "<stop>")
        assert translator_.translate([{"word": word} for word in sentence]).words == words


def test_samples_repeat_with_their_seed():
    """Drawn words are the same for a seed and differ between seeds."""
    answers = {tuple(translator(limit=30).translate([], choose="sample", seed=seed).words) for seed in (1, 1, 2, 3)}
    assert len(answers) == 3


def test_what_does_not_go_together_is_named():
    """Other states, other sizes, no feedback, an unknown start or stop word: each is a sentence."""
    encoder, decoder = part(1, "enc"), part(2, "dec")
    with pytest.raises(StateError, match=r"'enc' remembers .*12.*'dec' .*8"):
        Translator(encoder, part(2, "dec", 8), start="<start>", stop="<stop>")
    with pytest.raises(StateError, match="names and sizes"):
        Translator(part(1, "enc", layer="rnn0"), decoder, start="<start>", stop="<stop>")
    with pytest.raises(FeedbackError, match="declares no feedback"):
        Translator(encoder, part(2, "dec", outputs=False), start="<start>", stop="<stop>")
    with pytest.raises(ReadingError, match="stop word 'end'"):
        Translator(encoder, decoder, start="<start>", stop="end")
    with pytest.raises(ReadingError, match="no word 'begin'"):
        Translator(encoder, decoder, start="begin", stop="<stop>")
    valued = replace(decoder, feedback=(Feedback("next", "word", "value"),))
    with pytest.raises(FeedbackError, match="one word"):
        Translator(encoder, valued, start="<start>", stop="<stop>")


def test_a_stream_resumes_only_what_fits():
    """States by name and size, of finite numbers; else StateError and the memory unchanged."""
    stream = part(1, "enc").stream()
    stream.step({"word": "one"})
    before, state = stream.snapshot(), stream.state
    for wrong, words in (
        ({"lstm.h": state["lstm.h"]}, r"remembers lstm.h \(12\), lstm.c \(12\), not lstm.h"),
        ({**state, "lstm.c": np.zeros(3)}, "'lstm.c' of 'enc' has 12 values"),
        ({**state, "lstm.c": np.full(12, np.nan)}, "NaN"),
    ):
        with pytest.raises(StateError, match=words):
            stream.resume(wrong)
    assert stream.snapshot() == before
    other = part(1, "enc").stream()
    other.resume(state)
    assert other.step({"word": "two"}).tobytes() == stream.step({"word": "two"}).tobytes()
