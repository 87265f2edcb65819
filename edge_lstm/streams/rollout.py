"""The closed loop: a network's output becomes its next reading.

    Loop      (output, last reading) → the reading that the model expects next
    roll      so many steps of that, from a given memory

Rule: what is drawn is drawn from a counter and the declared seed, so the same loop says the same again, anywhere. The
channels do the scaling: both ends are physical. Inputs without feedback keep their last value.

Never: touch the stream that is forecast; a memory of its own is rolled ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Channel, Choose, Model
from edge_lstm.errors import FeedbackError

if TYPE_CHECKING:
    from edge_lstm.core.program import Floats
    from edge_lstm.streams.stream import Stream

_WORD = (1 << 64) - 1


class Forecast(NamedTuple):
    """readings float32 (n, n_inputs): what the model expects; outputs float32 (n, n_outputs): what it makes of them.

    `readings[0]` comes from the output that was there before, `readings[k]` from `outputs[k - 1]`.
    """

    readings: Floats
    outputs: Floats


def uniform(seed: int, number: int) -> float:
    """The number-th draw of a seed, in [0, 1): SplitMix64 (Steele, Lea & Flood 2014) of a counter, 53 bits."""
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) & _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _WORD
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def start_of(channels: tuple[Channel, ...], name: str) -> int:
    """Where the numbers of this channel begin."""
    return sum(c.width for c in channels[: [c.name for c in channels].index(name)])


def probabilities(meaning: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The words' probabilities, float64 summing to 1, from an output's numbers; see `meaning_of`."""
    p = values.astype(np.float64)
    if meaning in ("score", "log"):
        p = np.exp(p - p.max())
    total = p.sum()
    shares: npt.NDArray[np.float64] = p / total if total > 0 else np.full(p.shape, 1 / p.size)
    return shares


def meaning_of(model: Model, name: str) -> str:
    """What the numbers of an output channel with a vocabulary are, by what makes them: "share" (softmax, sigmoid: in
    proportion to the probability), "log" (its logarithm) or "score" (anything else: softmax makes it probabilities)."""
    elements = np.concatenate([o.slot.elements for o in model.program.outputs])
    element = int(elements[start_of(model.outputs, name)])
    for op in reversed(model.program.operations):
        slot = op.outputs[0]
        if not slot.offset <= element < slot.offset + slot.size:
            continue
        function = op.attributes.get("function")
        if op.kind == "take":
            element = int(op.weights["indices"][element - slot.offset])
        elif op.kind == "map" and function == "identity":
            element += op.inputs[0].offset - slot.offset
        elif op.kind == "softmax":
            return "log" if op.attributes["log"] else "share"
        else:
            return "share" if op.kind == "map" and function == "sigmoid" else "score"
    return "score"


class _Words:
    """One categorical feedback: the place of each of the output's words in the input."""

    def __init__(self, model: Model, output: Channel, input: Channel, choose: Choose, seed: int) -> None:
        start, to = start_of(model.outputs, output.name), start_of(model.inputs, input.name)
        self.source, self.target = slice(start, start + output.width), slice(to, to + input.width)
        self.places = [to + input.vocabulary.index(word) for word in output.vocabulary]
        self.seed = seed if choose == "sample" else None
        self.meaning = meaning_of(model, output.name)

    def put(self, y: Floats, x: Floats, draw: int) -> None:
        values = y[self.source]
        if not np.isfinite(values).all():
            x[self.target] = np.nan
            return
        if self.seed is None:
            word = int(values.argmax())
        else:
            reached = probabilities(self.meaning, values).cumsum()
            word = int(np.searchsorted(reached, uniform(self.seed, draw) * reached[-1], side="right"))
            word = min(word, int(np.searchsorted(reached, reached[-1])))  # where the product rounds up to the whole
        x[self.target] = 0.0
        x[self.places[word]] = 1.0


class Loop:
    """A model's closed loop. FeedbackError where the model declares no feedback.

    choose, seed: instead of what the model declares (only for channels with vocabularies). `draw` counts the readings
    made; `fed` bool (n_inputs,) says which numbers of a reading come from an output.
    """

    def __init__(self, model: Model, choose: Choose | None = None, seed: int | None = None) -> None:
        if not model.feedback:
            raise FeedbackError(
                f"model {model.name!r} declares no feedback: nothing says which output predicts which input "
                "(edge-lstm import --feedback OUTPUT=INPUT, or Model(feedback=…))"
            )
        self.draw = 0
        self.fed: npt.NDArray[np.bool_] = np.zeros(model.program.input_size, np.bool_)
        self._words: list[_Words] = []
        source: list[int] = []
        target: list[int] = []
        for feedback in model.feedback:
            output = next(c for c in model.outputs if c.name == feedback.output)
            input = next(c for c in model.inputs if c.name == feedback.input)
            start, to = start_of(model.outputs, output.name), start_of(model.inputs, input.name)
            self.fed[to : to + input.width] = True
            words = bool(output.vocabulary and input.vocabulary)
            chosen = (choose if words else None) or feedback.choose or ("best" if words else "value")
            if chosen == "value":
                source.extend(range(start, start + output.width))
                target.extend(range(to, to + input.width))
            else:
                used = feedback.seed if seed is None else seed
                self._words.append(_Words(model, output, input, chosen, used + len(self._words)))
        self._source, self._target = np.array(source, np.intp), np.array(target, np.intp)
        self._x: Floats = np.zeros(model.program.input_size, np.float32)

    def __call__(self, y: Floats, x: Floats) -> Floats:
        """The reading expected after output y and reading x; a kept buffer, valid until the next call."""
        self._x[:] = x
        if self._source.size:
            self._x[self._target] = y[self._source]
        for words in self._words:
            words.put(y, self._x, self.draw)
        self.draw += 1
        return self._x


def roll(twin: Stream, loop: Loop, steps: int, x: Floats, y: Floats | None) -> Forecast:
    """`steps` steps of the closed loop on a stream that nobody else uses, after reading x and output y; without y, x
    is the first reading of the forecast. FeedbackError where the model has said nothing to go on from."""
    readings = np.empty((steps, x.size), np.float32)
    outputs = np.empty((steps, twin.model.program.output_size), np.float32)
    for k in range(steps):
        if y is not None:
            x = loop(y, x)
        elif k:
            model = twin.model
            often = f", then with every {model.every}-th" if model.every > 1 else ""
            when = f"a window of {model.window} readings" if model.window else f"from reading {model.first} on{often}"
            raise FeedbackError(f"model {model.name!r} has no output yet ({when})")
        readings[k] = x
        y = twin.step(x)
        outputs[k] = np.nan if y is None else y
    return Forecast(readings, outputs)
