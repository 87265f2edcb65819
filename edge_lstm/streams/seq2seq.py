"""Encoder and decoder: one sequence in, another one out (Sutskever, Vinyals & Le 2014).

    encoder, decoder = edge_lstm.load("encoder.npz"), edge_lstm.load("decoder.npz")
    translator = Translator(encoder, decoder, start="<start>", stop="<stop>")
    translator.translate([{"word": "hello"}, {"word": "world"}]).words      # ["bonjour", "monde"]

Its rule: two models, two files, joined by the names of their states. The encoder reads the sequence; its memory
becomes the decoder's; the decoder begins with the start word and feeds back its own words, until it gives the stop word
or the limit is reached (`stopped` has which).

Never: keep anything from one sequence to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.core.readable import Readable
from edge_lstm.errors import FeedbackError, ReadingError, StateError
from edge_lstm.streams.rollout import Rollout

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Choose
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats


class Translation(NamedTuple):
    """words: without the stop word. outputs float32 (n, n_outputs): the decoder's, that of the stop word included.
    stopped: False where the limit ended it."""

    words: list[str]
    outputs: Floats
    stopped: bool


class Translator(metaclass=Readable):
    """An encoder and a decoder. Raises FeedbackError, StateError or ReadingError where they do not go together."""

    def __init__(self, encoder: Model, decoder: Model, *, start: str, stop: str, limit: int = 100) -> None:
        """start, stop: words of the decoder's vocabularies; limit: the most words of an answer."""
        self.encoder, self.decoder, self.limit = encoder.stream(), decoder.stream(), limit
        Rollout(decoder)
        words = [f for f in decoder.feedback if any(c.name == f.output and c.vocabulary for c in decoder.outputs)]
        if len(words) != 1 or words[0].choose == "value":
            raise FeedbackError(
                f"the decoder {decoder.name!r} must feed back one word; it feeds back "
                f"{', '.join(f.output for f in words) or 'none'}"
            )
        self._output = next(c for c in decoder.outputs if c.name == words[0].output)
        self._input = next(c for c in decoder.inputs if c.name == words[0].input)
        if stop not in self._output.vocabulary:
            raise ReadingError(f"the stop word {stop!r} is none of the words of output {self._output.name!r}")
        if len(decoder.inputs) != 1:
            others = ", ".join(c.name for c in decoder.inputs if c is not self._input)
            raise ReadingError(f"the decoder {decoder.name!r} has more inputs than its own word: {others}")
        self._first, self._stop = decoder.encode({self._input.name: start}), stop
        sizes = [{s.name: s.slot.size for s in m.program.states} for m in (encoder, decoder)]
        if sizes[0] != sizes[1]:
            raise StateError(
                f"the encoder {encoder.name!r} remembers {sizes[0]}, the decoder {decoder.name!r} {sizes[1]}: "
                "names and sizes must be the same"
            )

    def translate(
        self,
        sequence: Iterable[Mapping[str, Any] | npt.ArrayLike],
        *,
        choose: Choose | None = None,
        seed: int | None = None,
    ) -> Translation:
        """The decoder's answer to a sequence of readings (vectors, or values by channel name).

        choose, seed: as in `Stream.forecast`. ReadingError: a reading that the encoder refuses.
        """
        self.encoder.reset()
        for reading in sequence:
            self.encoder.step(reading)
        self.decoder.resume(self.encoder.state)
        rollout, x = Rollout(self.decoder.model, choose, seed), self._first
        words: list[str] = []
        outputs: list[Floats] = []
        while True:
            y = self.decoder.step(x)
            if y is None:
                raise FeedbackError(f"the decoder {self.decoder.model.name!r} has no output with every reading")
            outputs.append(y.copy())
            x = rollout(y, x)
            word = self._input.vocabulary[int(x.argmax())]
            if word == self._stop or len(words) == self.limit:
                return Translation(words, np.array(outputs), word == self._stop)
            words.append(word)
